//! The events of one session, kept until they are acknowledged.

use super::entries::Limits;
use crate::engine::types::Index;
use bincode::{Decode, Encode};
use std::collections::VecDeque;

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
    batches: VecDeque<Batch>,
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
        self.batches.push_back(batch);
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
    pub(super) fn break_pointer(&mut self) {
        if let Some(batch) = self.batches.back_mut()
            && batch.previous != 0
        {
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
            found.push(batch.clone());
        }
        found
    }
}
