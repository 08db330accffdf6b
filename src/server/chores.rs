//! Snapshots and compactions that somebody asked for and waits for.

use super::inbox::{ChoreRefusal, Compacted, Taken};
use crate::engine::machine::StateMachine;
use crate::engine::{Engine, Index};
use async_channel::Sender;
use copycat_storage::{Disk, SegmentInfo};
use std::collections::BTreeSet;

/// Those who may wait at once.
const MOST: usize = 64;

type Answer<T> = Sender<Result<T, ChoreRefusal>>;

/// Who waits for what.
#[derive(Debug, Default)]
pub(super) struct Chores {
    /// For a snapshot at or above an index.
    snapshots: Vec<(Index, Answer<Taken>)>,
    compaction: Option<Compaction>,
}

/// Who waits for a compaction.
#[derive(Debug)]
struct Compaction {
    /// The files that the log had, by number and version,
    files: BTreeSet<(u32, u32)>,
    /// and the bytes in them.
    bytes: u64,
    reply: Answer<Compacted>,
}

fn bytes(segments: &[SegmentInfo]) -> u64 {
    segments.iter().map(|segment| u64::from(segment.bytes)).sum()
}

impl Chores {
    /// Takes a snapshot, unless there is one as new.
    pub(super) fn take_snapshot<D: Disk, M: StateMachine>(&mut self, engine: &mut Engine<D, M>, reply: Answer<Taken>) {
        let applied = engine.applied();
        if let Some(info) = engine.storage().snapshot().filter(|info| info.index >= applied) {
            let _ = reply.try_send(Ok(Taken { new: false, info }));
        } else if self.snapshots.len() >= MOST {
            let _ = reply.try_send(Err(ChoreRefusal::Busy));
        } else if engine.request_snapshot() {
            self.snapshots.push((applied, reply));
        } else {
            let _ = reply.try_send(Err(ChoreRefusal::Stateless));
        }
    }

    /// Compacts the log, unless that or a snapshot is under way.
    pub(super) fn compact<D: Disk, M: StateMachine>(
        &mut self,
        engine: &mut Engine<D, M>,
        major: bool,
        reply: Answer<Compacted>,
    ) {
        if self.compaction.is_some() || engine.is_working() {
            let _ = reply.try_send(Err(ChoreRefusal::Busy));
            return;
        }
        let segments = engine.storage().segments();
        if engine.storage().snapshot().is_some() && engine.request_compaction(major) {
            let files = segments.iter().map(|segment| (segment.id, segment.version)).collect();
            self.compaction = Some(Compaction { files, bytes: bytes(&segments), reply });
        } else {
            let (count, bytes) = (segments.len() as u64, bytes(&segments));
            let nothing = Compacted { compacted: false, segments: count, bytes_before: bytes, bytes_after: bytes };
            let _ = reply.try_send(Ok(nothing));
        }
    }

    /// Answers those whose wish is done, or will not be. To be called after the engine was asked for its work.
    pub(super) fn look<D: Disk, M: StateMachine>(&mut self, engine: &Engine<D, M>) {
        if self.snapshots.is_empty() && self.compaction.is_none() {
            return;
        }
        let (working, snapshot) = (engine.is_working(), engine.storage().snapshot());
        self.snapshots.retain(|(index, reply)| {
            let answer = match snapshot.filter(|info| info.index >= *index) {
                Some(info) => Ok(Taken { new: true, info }),
                None if working => return !reply.is_closed(),
                None => Err(ChoreRefusal::Failed),
            };
            let _ = reply.try_send(answer);
            false
        });
        if working {
            return;
        }
        if let Some(Compaction { files, bytes: bytes_before, reply }) = self.compaction.take() {
            let segments = engine.storage().segments();
            let rewritten =
                |segment: &SegmentInfo| segment.version > 1 && !files.contains(&(segment.id, segment.version));
            let compacted = Compacted {
                compacted: segments.iter().any(rewritten),
                segments: segments.len() as u64,
                bytes_before,
                bytes_after: bytes(&segments),
            };
            let _ = reply.try_send(Ok(compacted));
        }
    }
}
