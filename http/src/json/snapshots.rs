//! Snapshots and compactions of a server's own.

use crate::backend;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What is compacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum CompactionKind {
    /// The files for which it is most worth while.
    Minor,
    /// Everything at or below the snapshot, tombstones too.
    Major,
}

/// A compaction to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewCompaction {
    /// What is compacted.
    pub(crate) kind: CompactionKind,
}

/// A compaction that was.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Compaction {
    /// What was compacted.
    kind: CompactionKind,
    /// Something was rewritten; `false`: there was nothing worth it, or no snapshot yet.
    compacted: bool,
    /// How many files the log has now.
    segments: u64,
    /// The bytes of its entries before,
    bytes_before: u64,
    /// and after; more may have come meanwhile.
    bytes_after: u64,
}

impl Compaction {
    pub(crate) fn new(kind: CompactionKind, done: backend::Compaction) -> Self {
        let backend::Compaction { compacted, segments, bytes_before, bytes_after } = done;
        Self { kind, compacted, segments, bytes_before, bytes_after }
    }
}

/// A snapshot.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Snapshot {
    /// The last entry whose effect it holds.
    index: u64,
    /// The term of that entry.
    term: u64,
    /// The bytes of its file.
    bytes: u64,
    /// How many entries of the log it refers to.
    references: u64,
}

impl From<backend::SnapshotTaken> for Snapshot {
    fn from(taken: backend::SnapshotTaken) -> Self {
        let backend::SnapshotTaken { new: _, index, term, bytes, references } = taken;
        Self { index, term, bytes, references }
    }
}
