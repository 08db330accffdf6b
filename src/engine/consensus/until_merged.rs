//! What the work on snapshots in this engine brings under the same names; to be deleted when it is merged.

use super::{Engine, StateMachine};
use crate::engine::types::Index;
use copycat_storage::Disk;

impl<D: Disk, M: StateMachine> Engine<D, M> {
    /// Takes a snapshot as soon as possible. Returns whether one will be taken.
    pub fn request_snapshot(&mut self) -> bool {
        false
    }

    /// Looks for something to compact as soon as possible. Returns whether that can be.
    pub fn request_compaction(&mut self, _major: bool) -> bool {
        false
    }

    /// Whether a snapshot or a compaction is under way or wanted.
    #[must_use]
    pub fn is_working(&self) -> bool {
        false
    }

    /// Through which index all available members that keep the state have the log.
    #[must_use]
    pub fn global_index(&self) -> Index {
        0
    }
}
