//! Snapshots: the whole state at one index, so that the entries before it need not be kept.
//!
//! One snapshot counts: the file `snapshot`, replaced by a rename. Everything it needs (the log
//! through its index, the entries that it refers to) is durable before that rename, because the
//! flush job that renames it flushes the log first.

mod file;
mod incoming;
mod job;

use std::sync::{Arc, Weak};

pub use file::{Reference, SnapshotInfo};
pub use incoming::{Incoming, InstallError, Refused, StageJob, Staged};
pub use job::{SnapshotJob, Written};

pub(crate) use file::{NAME, RECEIVING, SnapshotFile, WRITING, corrupt};
pub(crate) use incoming::Begun;
pub(crate) use job::Reader;

use crate::disk::DiskFile;
use crate::error::Corrupt;

/// What the engine gives to be written.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The last entry whose effect it holds.
    pub index: u64,
    /// The log's time there, in milliseconds.
    pub time: u64,
    /// Indexes of the log entries that the payload refers to, in any order, each at or below `index`.
    pub references: Vec<u64>,
    /// The state itself.
    pub payload: Vec<u8>,
}

/// A snapshot that is complete, under a temporary name.
#[cfg_attr(feature = "planted-bugs", derive(Clone))]
pub(crate) struct Commit<F> {
    pub(crate) from: &'static str,
    pub(crate) snapshot: Arc<SnapshotFile<F>>,
    /// A flush job that renames it is out.
    pub(crate) in_flight: bool,
    /// It was given up meanwhile, with the log.
    pub(crate) dropped: bool,
}

/// The one thing besides flushes that may be under way in the background. A snapshot and a
/// compaction exclude each other: neither reads what the other takes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Idle,
    Snapshot,
    Compaction,
}

/// What a storage knows about snapshots.
#[cfg_attr(feature = "planted-bugs", derive(Clone))]
pub(crate) struct Snapshots<F> {
    /// The one that the log stands on.
    pub(crate) current: Option<Arc<SnapshotFile<F>>>,
    /// The next flush deletes the file of one that was given up.
    pub(crate) forget: bool,
    /// The one that the next flush makes durable.
    pub(crate) commit: Option<Commit<F>>,
    pub(crate) work: Work,
    /// Those being streamed: what they refer to stays.
    streams: Vec<Weak<SnapshotFile<F>>>,
    /// Compaction asks for no snapshot.
    #[cfg(feature = "planted-bugs")]
    pub(crate) ignored: bool,
}

impl<F: DiskFile> Snapshots<F> {
    pub(crate) fn new(current: Option<SnapshotFile<F>>) -> Snapshots<F> {
        Snapshots {
            current: current.map(Arc::new),
            forget: false,
            commit: None,
            work: Work::Idle,
            streams: Vec::new(),
            #[cfg(feature = "planted-bugs")]
            ignored: false,
        }
    }

    /// The highest index that the log may not be truncated below.
    pub(crate) fn floor(&self) -> u64 {
        let current = self.current.as_ref().map_or(0, |snapshot| snapshot.info().index);
        self.pending().map_or(current, |commit| commit.snapshot.info().index)
    }

    /// The one that becomes durable.
    pub(crate) fn pending(&self) -> Option<&Commit<F>> {
        self.commit.as_ref().filter(|commit| !commit.dropped)
    }

    /// Gives all of them up. Returns the name of a file that is of no use any more.
    pub(crate) fn give_up(&mut self) -> Option<&'static str> {
        self.current = None;
        self.streams.clear();
        self.forget = true;
        if let Some(commit) = self.commit.as_mut().filter(|commit| commit.in_flight) {
            commit.dropped = true;
            return None;
        }
        self.commit.take().map(|commit| commit.from)
    }

    pub(crate) fn stream(&mut self) -> Option<SnapshotStream<F>> {
        let snapshot = Arc::clone(self.current.as_ref()?);
        self.streams.retain(|stream| stream.strong_count() > 0);
        self.streams.push(Arc::downgrade(&snapshot));
        Some(SnapshotStream { snapshot })
    }

    /// The snapshots whose references must stay in the log.
    pub(crate) fn keep(&self) -> Vec<Arc<SnapshotFile<F>>> {
        let mut keep: Vec<_> = self.current.iter().cloned().collect();
        for stream in self.streams.iter().filter_map(Weak::upgrade) {
            if !keep.iter().any(|other| Arc::ptr_eq(other, &stream)) {
                keep.push(stream);
            }
        }
        keep
    }
}

/// A snapshot being sent to another server. As long as it (or a clone) lives, compaction leaves
/// the entries that it refers to, even when a newer snapshot takes its place.
pub struct SnapshotStream<F: DiskFile> {
    snapshot: Arc<SnapshotFile<F>>,
}

impl<F: DiskFile> Clone for SnapshotStream<F> {
    fn clone(&self) -> Self {
        SnapshotStream { snapshot: Arc::clone(&self.snapshot) }
    }
}

impl<F: DiskFile> std::fmt::Debug for SnapshotStream<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotStream").field("info", &self.info()).finish_non_exhaustive()
    }
}

impl<F: DiskFile> SnapshotStream<F> {
    /// What is streamed.
    pub fn info(&self) -> SnapshotInfo {
        self.snapshot.info()
    }

    /// The log entry that it refers to at this place, in order of index; `None` behind the last.
    pub fn reference(&self, place: usize) -> Option<Reference> {
        (place < self.snapshot.references()).then(|| self.snapshot.reference(place))
    }

    /// At most `most` bytes of the file from `offset` on; empty at its end. The first chunk should
    /// have at least 128 bytes.
    ///
    /// # Errors
    /// [`Corrupt`] when the bytes have changed since they were written.
    pub fn chunk(&self, offset: u64, most: usize) -> Result<&[u8], Corrupt> {
        self.snapshot.raw(offset, most)
    }
}
