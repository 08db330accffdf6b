//! Answers to commands with an idempotency key.

use super::SessionError;
use super::outcome::Answer;
use super::session::Admission;
use crate::engine::entry::{DecodeError, Decoder, Encoder};
use bincode::{Decode, Encode};
use imbl::OrdMap;
use std::collections::VecDeque;
use std::sync::Arc;

/// How long an answer is kept, in milliseconds of log time. Part of the replicated state.
const KEPT_MS: u64 = 10 * 60 * 1000;

#[derive(Debug, Encode, Decode)]
struct Kept {
    hash: u64,
    /// When it is forgotten, in log time.
    end: u64,
    answer: Answer,
}

/// Invariant: an answer is kept for ten minutes of log time, and never dropped before; a leader refuses new keys when
/// there are too many.
#[derive(Debug, Default)]
#[cfg_attr(feature = "planted-bugs", derive(Clone))]
pub(crate) struct Keys {
    by_key: OrdMap<Arc<str>, Arc<Kept>>,
    /// In the order in which they end.
    order: VecDeque<(u64, Arc<str>)>,
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
        let (key, end): (Arc<str>, u64) = (key.into(), time.saturating_add(KEPT_MS));
        self.order.push_back((end, Arc::clone(&key)));
        self.by_key.insert(key, Arc::new(Kept { hash, end, answer }));
    }

    /// A copy, for a snapshot.
    pub(super) fn freeze(&self) -> FrozenKeys {
        FrozenKeys(self.by_key.clone())
    }

    pub(super) fn load(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let kept: Vec<(Arc<str>, Arc<Kept>)> =
            from.take_all(|(key, kept): (String, Kept)| (key.into(), kept.into()))?;
        let size = |(key, kept): &(Arc<str>, Arc<Kept>)| kept.answer.outcome.bytes() + key.len() as u64;
        let bytes = kept.iter().map(size).sum();
        let mut order: Vec<(u64, Arc<str>)> = kept.iter().map(|(key, kept)| (kept.end, Arc::clone(key))).collect();
        order.sort_by_key(|&(end, _)| end);
        Ok(Self { by_key: kept.into_iter().collect(), order: order.into(), bytes })
    }

    /// Drops what has ended.
    pub(crate) fn expire(&mut self, time: u64) {
        while let Some((end, key)) = self.order.front()
            && *end <= time
        {
            if let Some(kept) = self.by_key.remove(&**key) {
                self.bytes -= kept.answer.outcome.bytes() + key.len() as u64;
            }
            self.order.pop_front();
        }
    }
}

#[derive(Debug)]
pub(super) struct FrozenKeys(OrdMap<Arc<str>, Arc<Kept>>);

impl FrozenKeys {
    pub(super) fn save(&self, to: &mut Encoder) {
        to.put_all(self.0.iter().map(|(key, kept)| (&**key, &**kept)));
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
