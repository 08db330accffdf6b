//! Answers to commands with an idempotency key.

use super::SessionError;
use super::outcome::Answer;
use super::session::Admission;
use std::collections::{BTreeMap, VecDeque};

/// How long an answer is kept, in milliseconds of log time. Part of the replicated state.
const KEPT_MS: u64 = 10 * 60 * 1000;

#[derive(Debug)]
struct Kept {
    hash: u64,
    answer: Answer,
}

/// Invariant: an answer is kept for ten minutes of log time, and never dropped before; a leader refuses new keys when
/// there are too many.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    by_key: BTreeMap<String, Kept>,
    /// In the order in which they end.
    order: VecDeque<(u64, String)>,
    bytes: u64,
}

impl Keys {
    /// How many there are, and the bytes of their answers and names.
    pub(crate) fn size(&self) -> (usize, u64) {
        (self.by_key.len(), self.bytes)
    }

    /// Whether the answer to it is kept.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.by_key.contains_key(key)
    }

    pub(crate) fn admit(&self, key: &str, hash: u64) -> Admission {
        match self.by_key.get(key) {
            Some(kept) if kept.hash == hash => Admission::Repeat(kept.answer.clone()),
            Some(_) => Admission::Refused(SessionError::IdempotencyMismatch),
            None => Admission::New,
        }
    }

    pub(crate) fn keep(&mut self, key: String, hash: u64, time: u64, answer: Answer) {
        self.bytes += answer.outcome.bytes() + key.len() as u64;
        self.order.push_back((time.saturating_add(KEPT_MS), key.clone()));
        self.by_key.insert(key, Kept { hash, answer });
    }

    /// Drops what has ended.
    pub(crate) fn expire(&mut self, time: u64) {
        while let Some((end, key)) = self.order.front()
            && *end <= time
        {
            if let Some(kept) = self.by_key.remove(key) {
                self.bytes -= kept.answer.outcome.bytes() + key.len() as u64;
            }
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::*;

    #[test]
    fn an_answer_is_kept_for_ten_minutes_of_log_time_and_no_longer() {
        let mut keys = Keys::default();
        let answer = |index| Answer { index, term: 1, event_index: None, outcome: Outcome::Output(vec![0; 10]) };
        keys.keep("a".into(), 1, 1000, answer(5));
        keys.keep("b".into(), 2, 2000, answer(6));
        assert_eq!(keys.size(), (2, 22));
        assert!(matches!(keys.admit("a", 1), Admission::Repeat(first) if first == answer(5)));
        assert!(matches!(keys.admit("a", 2), Admission::Refused(SessionError::IdempotencyMismatch)));
        keys.expire(1000 + KEPT_MS - 1);
        assert!(matches!(keys.admit("a", 1), Admission::Repeat(_)));
        keys.expire(1000 + KEPT_MS);
        assert!(matches!(keys.admit("a", 1), Admission::New));
        assert!(matches!(keys.admit("b", 2), Admission::Repeat(_)));
        keys.expire(2000 + KEPT_MS);
        assert_eq!(keys.size(), (0, 0));
    }
}
