//! Answers to commands with an idempotency key.
//!
//! A key ends by log time, and is judged by log time: the log time *now* at a leader, which asks before it logs, and the
//! entry's own when it is applied. So a key that has ended is new again also in a cluster in which nothing is applied that
//! would drop it.

use super::SessionError;
use super::outcome::Answer;
use super::session::Admission;
use crate::engine::entry::{DecodeError, Decoder, Encoder};
use bincode::{Decode, Encode};
use imbl::OrdMap;
use std::collections::BTreeSet;
use std::sync::Arc;

#[derive(Debug, Encode, Decode)]
struct Kept {
    hash: u64,
    /// When it is forgotten, in log time.
    end: u64,
    answer: Answer,
}

impl Kept {
    fn bytes(&self, key: &str) -> u64 {
        self.answer.outcome.bytes() + key.len() as u64
    }
}

/// Invariants: an answer is kept until its end by log time, which its entry says, and never dropped before; a leader refuses
/// new keys when there are too many. `by_end` names just the keys of `by_key`.
#[derive(Debug, Default)]
#[cfg_attr(feature = "planted-bugs", derive(Clone))]
pub(crate) struct Keys {
    by_key: OrdMap<Arc<str>, Arc<Kept>>,
    /// Entries may differ in how long their keys are known, so these do not end in the order in which they came.
    by_end: BTreeSet<(u64, Arc<str>)>,
    bytes: u64,
}

impl Keys {
    /// The answer that is kept for a key and has not ended at this log time.
    fn get(&self, key: &str, time: u64) -> Option<&Arc<Kept>> {
        self.by_key.get(key).filter(|kept| kept.end > time)
    }

    /// Whether the answer to it is kept at this log time.
    pub(crate) fn has(&self, key: &str, time: u64) -> bool {
        self.get(key, time).is_some()
    }

    /// Whether an answer to it is there that has ended at this log time, and is not dropped yet.
    pub(crate) fn is_stale(&self, key: &str, time: u64) -> bool {
        self.by_key.get(key).is_some_and(|kept| kept.end <= time)
    }

    /// Judges a key at this log time.
    pub(crate) fn admit(&self, key: &str, hash: u64, time: u64) -> Admission {
        match self.get(key, time) {
            Some(kept) if kept.hash == hash => Admission::Repeat(kept.answer.clone()),
            Some(_) => Admission::Refused(SessionError::IdempotencyMismatch),
            None => Admission::New,
        }
    }

    /// Whether one more key has room at this log time, behind `coming` that are on their way: fewer than `most`, and their
    /// answers and names below `most_bytes`. Those that have ended and are not dropped yet do not count.
    pub(crate) fn has_room(&self, coming: usize, time: u64, most: usize, most_bytes: u64) -> bool {
        let (mut kept, mut bytes) = (self.by_key.len() + coming, self.bytes);
        let mut ended = self.by_end.iter().take_while(|&&(end, _)| end <= time);
        while kept >= most || bytes >= most_bytes {
            let Some((_, key)) = ended.next() else { return false };
            kept -= 1;
            bytes -= self.by_key.get(key).map_or(0, |kept| kept.bytes(key));
        }
        true
    }

    /// Keeps an answer until `end`, by log time.
    pub(crate) fn keep(&mut self, key: String, hash: u64, end: u64, answer: Answer) {
        let (key, kept): (Arc<str>, Kept) = (key.into(), Kept { hash, end, answer });
        self.bytes += kept.bytes(&key);
        self.by_end.insert((end, Arc::clone(&key)));
        if let Some(before) = self.by_key.insert(Arc::clone(&key), kept.into()) {
            self.bytes -= before.bytes(&key);
            if before.end != end {
                self.by_end.remove(&(before.end, key));
            }
        }
    }

    /// A copy, for a snapshot.
    pub(super) fn freeze(&self) -> FrozenKeys {
        FrozenKeys(self.by_key.clone())
    }

    pub(super) fn load(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let kept: Vec<(Arc<str>, Arc<Kept>)> =
            from.take_all(|(key, kept): (String, Kept)| (key.into(), kept.into()))?;
        let bytes = kept.iter().map(|(key, kept)| kept.bytes(key)).sum();
        let by_end = kept.iter().map(|(key, kept)| (kept.end, Arc::clone(key))).collect();
        Ok(Self { by_key: kept.into_iter().collect(), by_end, bytes })
    }

    /// Drops what has ended at this log time.
    pub(crate) fn expire(&mut self, time: u64) {
        while self.by_end.first().is_some_and(|&(end, _)| end <= time) {
            let Some((_, key)) = self.by_end.pop_first() else { return };
            if let Some(kept) = self.by_key.remove(&*key) {
                self.bytes -= kept.bytes(&key);
            }
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

    const WINDOW: u64 = 600_000;

    fn answer(index: u64) -> Answer {
        Answer { index, term: 1, event_index: None, outcome: Outcome::Output(vec![0; 10]) }
    }

    #[test]
    fn an_answer_is_kept_until_its_end_by_log_time_and_no_longer() {
        let mut keys = Keys::default();
        keys.keep("a".into(), 1, 1000 + WINDOW, answer(5));
        keys.keep("b".into(), 2, 2000 + WINDOW, answer(6));
        assert_eq!((keys.by_key.len(), keys.bytes), (2, 22));
        assert!(matches!(keys.admit("a", 1, 1000), Admission::Repeat(first) if first == answer(5)));
        assert!(matches!(keys.admit("a", 2, 1000), Admission::Refused(SessionError::IdempotencyMismatch)));
        keys.expire(1000 + WINDOW - 1);
        assert!(matches!(keys.admit("a", 1, 1000 + WINDOW - 1), Admission::Repeat(_)));
        keys.expire(1000 + WINDOW);
        assert!(matches!(keys.admit("a", 1, 0), Admission::New));
        assert!(matches!(keys.admit("b", 2, 1000 + WINDOW), Admission::Repeat(_)));
        keys.expire(2000 + WINDOW);
        assert_eq!((keys.by_key.len(), keys.bytes), (0, 0));
    }

    #[test]
    fn a_key_that_has_ended_is_new_also_before_it_is_dropped() {
        let mut keys = Keys::default();
        keys.keep("a".into(), 1, 2000, answer(5));
        assert!(keys.has("a", 1999) && !keys.has("a", 2000));
        assert!(!keys.is_stale("a", 1999) && keys.is_stale("a", 2000) && !keys.is_stale("b", 2000));
        assert!(matches!(keys.admit("a", 1, 1999), Admission::Repeat(_)));
        assert!(matches!(keys.admit("a", 1, 2000), Admission::New));
        assert!(matches!(keys.admit("a", 2, 2000), Admission::New), "another request may have the key");
    }

    #[test]
    fn a_shorter_window_ends_before_a_longer_one_that_came_first() {
        let mut keys = Keys::default();
        keys.keep("long".into(), 1, 1000 + WINDOW, answer(5));
        keys.keep("short".into(), 2, 2000, answer(6));
        keys.expire(2000);
        assert!(!keys.has("short", 0) && keys.has("long", 2000));
        keys.keep("long".into(), 1, 3000, answer(7));
        assert_eq!((keys.by_key.len(), keys.by_end.len(), keys.bytes), (1, 1, 14));
        keys.expire(3000);
        assert_eq!((keys.by_key.len(), keys.by_end.len(), keys.bytes), (0, 0, 0));
    }

    #[test]
    fn what_has_ended_leaves_room() {
        let mut keys = Keys::default();
        keys.keep("a".into(), 1, 2000, answer(5));
        keys.keep("b".into(), 2, 3000, answer(6));
        assert!(keys.has_room(0, 0, 3, 23) && !keys.has_room(1, 0, 3, 23) && !keys.has_room(0, 0, 3, 22));
        assert!(!keys.has_room(0, 1999, 2, 100) && keys.has_room(0, 2000, 2, 100));
        assert!(!keys.has_room(1, 2000, 2, 100) && keys.has_room(1, 3000, 2, 100));
        assert!(!keys.has_room(0, 2000, 10, 11) && keys.has_room(0, 2000, 10, 12));
        assert!(!keys.has_room(2, 3000, 2, 100));
    }
}
