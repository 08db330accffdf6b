//! Which entries a state machine holds.

use crate::engine::entry::{DecodeError, Decoder, Encoder};
use crate::engine::types::Index;
use imbl::OrdMap;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Indexes in one chunk.
const CHUNK: u64 = 64 * WORDS as u64;
const WORDS: usize = 64;
/// The last place in a chunk.
const LAST: u16 = 4095;

/// One bit an index: most entries are held once, and neighbours are held together.
///
/// Invariant: `count` is the number of bits set, and is not 0; `more` names indexes whose bit is set.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Chunk {
    bits: [u64; WORDS],
    count: u32,
    /// How often, beyond once, an entry is held: one that changes several keys is held for each.
    more: BTreeMap<u16, u32>,
}

impl Chunk {
    const EMPTY: Self = Self { bits: [0; WORDS], count: 0, more: BTreeMap::new() };

    fn has(&self, at: u16) -> bool {
        self.bits[usize::from(at / 64)] & 1 << (at % 64) != 0
    }

    /// How many there are from `first` to `last`.
    fn between(&self, first: u16, last: u16) -> u32 {
        let (from, to) = (usize::from(first / 64), usize::from(last / 64));
        let masked = |word: usize| {
            let low = if word == from { u64::MAX << (first % 64) } else { u64::MAX };
            let high = if word == to { u64::MAX >> (63 - last % 64) } else { u64::MAX };
            (self.bits[word] & low & high).count_ones()
        };
        (from..=to).map(masked).sum()
    }

    fn indexes(&self) -> impl Iterator<Item = u16> + '_ {
        self.bits
            .iter()
            .zip((0u16..).step_by(64))
            .flat_map(|(&word, base)| (0..64).filter(move |bit| word & 1 << bit != 0).map(move |bit| base + bit))
    }
}

/// The held entries, and how often each is held. A copy costs next to nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::engine) struct Live {
    chunks: OrdMap<u64, Arc<Chunk>>,
    count: usize,
}

fn place(index: Index) -> (u64, u16) {
    #[allow(clippy::cast_possible_truncation)] // at most `LAST`
    let at = (index % CHUNK) as u16;
    (index / CHUNK, at)
}

impl Live {
    pub(in crate::engine) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn has(&self, index: Index) -> bool {
        let (chunk, at) = place(index);
        self.chunks.get(&chunk).is_some_and(|chunk| chunk.has(at))
    }

    /// How many there are from `first` to `last`.
    pub(in crate::engine) fn between(&self, first: Index, last: Index) -> usize {
        if first > last {
            return 0;
        }
        let ((low, from), (high, to)) = (place(first), place(last));
        let part = |(&at, chunk): (&u64, &Arc<Chunk>)| match (at == low, at == high) {
            (false, false) => chunk.count,
            (starts, ends) => chunk.between(if starts { from } else { 0 }, if ends { to } else { LAST }),
        };
        self.chunks.range(low..=high).map(part).sum::<u32>() as usize
    }

    pub(super) fn hold(&mut self, index: Index) {
        let (chunk, at) = place(index);
        if !self.chunks.contains_key(&chunk) {
            self.chunks.insert(chunk, Arc::new(Chunk::EMPTY));
        }
        let Some(chunk) = self.chunks.get_mut(&chunk).map(Arc::make_mut) else { unreachable!("it is there") };
        if chunk.has(at) {
            *chunk.more.entry(at).or_default() += 1;
        } else {
            chunk.bits[usize::from(at / 64)] |= 1 << (at % 64);
            chunk.count += 1;
            self.count += 1;
        }
    }

    /// Returns whether the entry is no longer held at all.
    pub(super) fn release(&mut self, index: Index) -> bool {
        let (number, at) = place(index);
        let Some(chunk) = self.chunks.get_mut(&number).map(Arc::make_mut) else { return false };
        if !chunk.has(at) {
            return false;
        }
        if let Some(more) = chunk.more.get_mut(&at) {
            *more -= 1;
            if *more == 0 {
                chunk.more.remove(&at);
            }
            return false;
        }
        chunk.bits[usize::from(at / 64)] &= !(1 << (at % 64));
        chunk.count -= 1;
        self.count -= 1;
        if chunk.count == 0 {
            self.chunks.remove(&number);
        }
        true
    }

    /// In order.
    pub(super) fn indexes(&self) -> impl Iterator<Item = Index> + '_ {
        self.chunks.iter().flat_map(|(number, chunk)| chunk.indexes().map(move |at| number * CHUNK + u64::from(at)))
    }

    pub(super) fn save(&self, to: &mut Encoder) {
        to.put(&(self.count as u64));
        let mut before = 0;
        for (number, chunk) in &self.chunks {
            for at in chunk.indexes() {
                let index = number * CHUNK + u64::from(at);
                to.put(&(index - before, chunk.more.get(&at).copied().unwrap_or_default()));
                before = index;
            }
        }
    }

    pub(super) fn load(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let mut live = Self::default();
        let (count, mut index): (u64, Index) = (from.take()?, 0);
        for _ in 0..count {
            let (step, more): (u64, u32) = from.take()?;
            index =
                index.checked_add(step).filter(|_| step > 0).ok_or_else(|| DecodeError::new("held out of order"))?;
            live.hold(index);
            if more > 0 {
                let (number, at) = place(index);
                let Some(chunk) = live.chunks.get_mut(&number).map(Arc::make_mut) else { unreachable!("it is held") };
                chunk.more.insert(at, more);
            }
        }
        Ok(live)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_counts_as_a_plain_map_does(
            steps in prop::collection::vec((any::<bool>(), 1u64..20_000, 0u64..4), 1..300),
            first in 0u64..20_000,
            length in 0u64..20_000,
        ) {
            let (mut live, mut plain) = (Live::default(), BTreeMap::<Index, u32>::new());
            for (hold, index, near) in steps {
                // Near the edges of words and chunks.
                let index = if near == 0 { index } else { (index / 64 * 64).max(64) - 1 + near / 2 };
                if hold {
                    live.hold(index);
                    *plain.entry(index).or_default() += 1;
                } else {
                    let gone = plain.get(&index) == Some(&1);
                    prop_assert_eq!(live.release(index), gone);
                    if gone {
                        plain.remove(&index);
                    } else if let Some(held) = plain.get_mut(&index) {
                        *held -= 1;
                    }
                }
            }
            prop_assert_eq!(live.len(), plain.len());
            prop_assert!(live.indexes().eq(plain.keys().copied()));
            prop_assert_eq!(live.between(first, first + length), plain.range(first..=first + length).count());
            prop_assert_eq!(live.between(first + 1, first), 0);
            prop_assert_eq!(live.has(first), plain.contains_key(&first));
            let mut to = Encoder::default();
            live.save(&mut to);
            let bytes = to.finish();
            prop_assert_eq!(Live::load(&mut Decoder::new(&bytes)), Ok(live));
        }
    }
}
