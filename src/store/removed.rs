//! When keys were removed, as far as that is remembered: whoever waits for a key to change must be told of a removal
//! that came before the question.
//!
//! Invariants: at most [`REMEMBERED`] removals are remembered, the latest ones; any other was at or below `floor`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Removals that are remembered. Of an older one, whoever asks is told "it may have changed", and looks again.
const REMEMBERED: usize = 16 * 1024;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Removed {
    index: BTreeMap<Arc<[u8]>, u64>,
    order: VecDeque<(u64, Arc<[u8]>)>,
    floor: u64,
}

/// What a snapshot keeps: the removals in order, and the floor.
#[derive(Debug)]
pub(super) struct FrozenRemoved {
    pub(super) order: VecDeque<(u64, Arc<[u8]>)>,
    pub(super) floor: u64,
}

impl Removed {
    pub(super) fn note(&mut self, key: Arc<[u8]>, index: u64) {
        self.order.push_back((index, Arc::clone(&key)));
        self.index.insert(key, index);
        if self.order.len() > REMEMBERED
            && let Some((index, key)) = self.order.pop_front()
        {
            self.floor = index;
            if self.index.get(&key) == Some(&index) {
                self.index.remove(&key);
            }
        }
    }

    pub(super) fn freeze(&self) -> FrozenRemoved {
        FrozenRemoved { order: self.order.clone(), floor: self.floor }
    }

    /// As it was, if just those keys are there that were.
    pub(super) fn thaw(FrozenRemoved { order, floor }: FrozenRemoved, exists: impl Fn(&[u8]) -> bool) -> Self {
        let gone = order.iter().filter(|(_, key)| !exists(key));
        Self { index: gone.map(|(index, key)| (Arc::clone(key), *index)).collect(), order, floor }
    }

    /// The key is there again.
    pub(super) fn forget(&mut self, key: &[u8]) {
        self.index.remove(key);
    }

    /// When the key was last removed; if that is not remembered, an index that it was not above.
    pub(super) fn last(&self, key: &[u8]) -> u64 {
        self.index.get(key).copied().unwrap_or(self.floor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &[u8]) -> Arc<[u8]> {
        name.into()
    }

    #[test]
    fn the_latest_removals_are_known_and_older_ones_bounded() {
        let mut r = Removed::default();
        assert_eq!(r.last(b"a"), 0);
        r.note(key(b"a"), 5);
        r.note(key(b"b"), 6);
        assert_eq!((r.last(b"a"), r.last(b"b"), r.last(b"c")), (5, 6, 0));
        r.forget(b"b");
        assert_eq!(r.last(b"b"), 0, "it exists: its version tells");
        r.note(key(b"a"), 9);
        for i in 0..REMEMBERED as u64 - 1 {
            r.note(key(&i.to_be_bytes()), 10 + i);
        }
        assert_eq!((r.last(b"a"), r.last(b"c")), (9, 6), "its first removal is forgotten, not its second");
        r.note(key(b"z"), 100_000);
        assert_eq!((r.last(b"a"), r.last(b"c")), (9, 9));
        assert!(r.index.len() <= REMEMBERED && r.order.len() == REMEMBERED);
    }
}
