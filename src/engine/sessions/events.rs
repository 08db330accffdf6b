//! The events of one session, kept until they are acknowledged.

use super::entries::Limits;
use crate::engine::entry::{DecodeError, Decoder, Encoder};
use crate::engine::types::Index;
use bincode::{Decode, Encode};
use std::collections::VecDeque;
use std::sync::Arc;

/// All events of a session at one index.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Batch {
    /// The index.
    pub index: Index,
    /// The index of the session's batch before; 0: there was none. Who follows this chain has missed nothing.
    pub previous: Index,
    /// The events, encoded, in order.
    pub events: Vec<Vec<u8>>,
}

impl Batch {
    fn bytes(&self) -> u64 {
        self.events.iter().map(|event| event.len() as u64).sum()
    }
}

/// Invariant: `acknowledged <= last`, and the batches are just those above `acknowledged`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Events {
    /// Shared, so that a session that is frozen for a snapshot is cheap to copy.
    batches: VecDeque<Arc<Batch>>,
    last: Index,
    acknowledged: Index,
    queued: u64,
    bytes: u64,
}

impl Events {
    /// The index of the last batch, 0 before the first.
    pub(crate) fn last(&self) -> Index {
        self.last
    }

    pub(crate) fn acknowledged(&self) -> Index {
        self.acknowledged
    }

    /// All that is to be kept of them.
    pub(super) fn save(&self, to: &mut Encoder) {
        to.put(&(self.last, self.acknowledged));
        to.put_all(self.batches.iter().map(AsRef::as_ref));
    }

    pub(super) fn load(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let (last, acknowledged) = from.take()?;
        let batches: VecDeque<Arc<Batch>> = from.take_all(Arc::new)?;
        let queued = batches.iter().map(|batch| batch.events.len() as u64).sum();
        let bytes = batches.iter().map(|batch| batch.bytes()).sum();
        Ok(Self { batches, last, acknowledged, queued, bytes })
    }

    /// Events that are not acknowledged.
    pub(crate) fn queued(&self) -> u64 {
        self.queued
    }

    /// Adds a batch, unless that would be too much.
    pub(super) fn push(&mut self, index: Index, events: Vec<Vec<u8>>, limits: Limits) -> bool {
        assert!(index > self.last, "events at {index} behind those at {}", self.last);
        let batch = Batch { index, previous: self.last, events };
        let (queued, bytes) = (self.queued + batch.events.len() as u64, self.bytes + batch.bytes());
        if queued > limits.events || bytes > limits.event_bytes {
            return false;
        }
        (self.queued, self.bytes, self.last) = (queued, bytes, index);
        self.batches.push_back(Arc::new(batch));
        true
    }

    /// Forgets all through this index. What is not there yet cannot be acknowledged.
    pub(super) fn acknowledge(&mut self, through: Index) {
        self.acknowledged = self.acknowledged.max(through.min(self.last));
        while let Some(batch) = self.batches.front()
            && batch.index <= self.acknowledged
        {
            self.queued -= batch.events.len() as u64;
            self.bytes -= batch.bytes();
            self.batches.pop_front();
        }
    }

    #[cfg(feature = "planted-bugs")]
    pub(super) fn trim(&mut self, most: usize) {
        while self.batches.len() > most {
            if let Some(batch) = self.batches.pop_front() {
                self.queued -= batch.events.len() as u64;
                self.bytes -= batch.bytes();
            }
        }
    }

    #[cfg(feature = "planted-bugs")]
    pub(super) fn forget_queued(&mut self) {
        (self.queued, self.bytes) = (0, 0);
        self.batches.clear();
    }

    #[cfg(feature = "planted-bugs")]
    pub(super) fn forget_last(&mut self) {
        if self.batches.is_empty() {
            (self.last, self.acknowledged) = (0, 0);
        }
    }

    #[cfg(feature = "planted-bugs")]
    pub(super) fn break_pointer(&mut self) {
        if let Some(batch) = self.batches.back_mut()
            && batch.previous != 0
        {
            let batch = Arc::make_mut(batch);
            batch.previous = batch.index - 1;
        }
    }

    /// The batches behind an index, at most so many bytes of them but at least one.
    pub(super) fn behind(&self, after: Index, bytes: usize) -> Vec<Batch> {
        let first = self.batches.partition_point(|batch| batch.index <= after);
        let mut left = bytes as u64;
        let mut found = Vec::new();
        for batch in self.batches.range(first..) {
            let size = batch.bytes();
            if !found.is_empty() && size > left {
                break;
            }
            left = left.saturating_sub(size);
            found.push(Batch::clone(batch));
        }
        found
    }
}
