//! What may be said only once it is durable, attached to the flush that makes it so.

use crate::engine::message::Message;
use crate::engine::types::{ServerId, Term};
use std::collections::VecDeque;

#[derive(Debug)]
#[cfg_attr(feature = "planted-bugs", derive(Clone))]
pub(super) enum Promise {
    /// A message.
    Send { to: ServerId, message: Message },
    /// A candidate counts its own vote.
    OwnVote,
}

/// Promises in the order of the write sequence that each waits for. A promise of an earlier term is void.
#[derive(Debug, Default)]
#[cfg_attr(feature = "planted-bugs", derive(Clone))]
pub(super) struct Promises {
    queue: VecDeque<(u64, Term, Promise)>,
}

impl Promises {
    pub(super) fn add(&mut self, sequence: u64, term: Term, promise: Promise) {
        // One flush settles all of them, and each message that makes one bounded work; a hung disk must not grow this.
        if self.queue.len() >= 1024 {
            self.queue.pop_front();
        }
        self.queue.push_back((sequence, term, promise));
    }

    /// What may be said now that everything through `durable` is durable, in term `term`.
    pub(super) fn due(&mut self, durable: u64, term: Term) -> Vec<Promise> {
        let mut due = Vec::new();
        while let Some(&(sequence, _, _)) = self.queue.front()
            && sequence <= durable
        {
            if let Some((_, of, promise)) = self.queue.pop_front()
                && of == term
            {
                due.push(promise);
            }
        }
        due
    }
}
