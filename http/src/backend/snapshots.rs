//! Snapshots, backups and compaction.

use super::Failure;
use futures_lite::stream::Boxed;

/// What a compaction has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compaction {
    /// Something was rewritten.
    pub compacted: bool,
    /// How many files the log has now.
    pub segments: u64,
    /// The bytes of its entries before,
    pub bytes_before: u64,
    /// and after.
    pub bytes_after: u64,
}

/// A snapshot of a server's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotTaken {
    /// It was taken now; else there was one as new.
    pub new: bool,
    /// The last entry whose effect it holds.
    pub index: u64,
    /// The term of that entry.
    pub term: u64,
    /// The bytes of its file.
    pub bytes: u64,
    /// How many entries of the log it refers to.
    pub references: u64,
}

/// A backup on its way.
pub struct Backup {
    /// The last entry whose effect it holds.
    pub index: u64,
    /// The term of that entry.
    pub term: u64,
    /// Its bytes, in pieces of bounded size. Whoever reads must be able to tell that it broke off: nothing after an error
    /// comes.
    pub pieces: Boxed<Result<Vec<u8>, Failure>>,
}

impl std::fmt::Debug for Backup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backup").field("index", &self.index).field("term", &self.term).finish_non_exhaustive()
    }
}
