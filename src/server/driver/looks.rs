//! What is only looked at: nothing here changes the engine.

use super::Driver;
use crate::engine::machine::{Ask, StateMachine};
use crate::server::inbox::Segment;
use crate::server::requests::Reply;
use copycat_storage::Entry;

impl<M: StateMachine> Driver<M> {
    /// Answers a sequential query that need not wait for anything; see [`Engine::query_now`].
    pub(crate) fn query_now(&self, index: u64, ask: &Ask) -> Option<Reply> {
        Some(self.reply(self.engine.query_now(index, ask)?))
    }

    pub(super) fn entries(&self, from: u64, limit: usize, bytes: usize) -> Result<Vec<Entry>, String> {
        let storage = self.engine.storage();
        let from = from.max(storage.first_index());
        if from > storage.last_index() {
            return Ok(Vec::new());
        }
        storage.entries(from, limit, bytes).map_err(|e| e.to_string())
    }

    /// Entries of these indexes, of at most so many bytes, one at least.
    pub(super) fn pick(&self, indexes: &[u64], bytes: usize) -> Result<Vec<Entry>, String> {
        let (mut found, mut sum) = (Vec::new(), 0);
        for &index in indexes {
            let entry = self.engine.storage().get(index).map_err(|e| e.to_string())?;
            let entry = entry.ok_or_else(|| format!("entry {index} is not in the log"))?;
            sum += entry.data.len();
            if sum > bytes && !found.is_empty() {
                break;
            }
            found.push(entry.to_owned());
        }
        Ok(found)
    }

    pub(super) fn segments(&self) -> Vec<Segment> {
        let storage = self.engine.storage();
        let (durable, global) = (storage.snapshot().map_or(0, |s| s.index), self.engine.global_index());
        let segments = storage.segments();
        let last = segments.last().map_or(0, |segment| segment.id);
        let pinned_by = |segment: &copycat_storage::SegmentInfo| match () {
            () if segment.id == last => Some("active"),
            () if segment.last > durable => Some("above the snapshot"),
            () if storage.references_between(segment.first, segment.last) > 0 => Some("referred to by the snapshot"),
            () if segment.tombstones > 0 && segment.last > global => Some("above the global index"),
            () => None,
        };
        let segments = segments.into_iter();
        let told = |info: copycat_storage::SegmentInfo| Segment {
            live: self.engine.live_between(info.first, info.last),
            pinned_by: pinned_by(&info),
            info,
        };
        segments.map(told).collect()
    }
}
