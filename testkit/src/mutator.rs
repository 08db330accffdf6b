//! Bytes that were right once: changed, cut, repeated, with lengths and depths blown up.

use crate::Rng;

/// How long what comes out may be, if what goes in is not longer.
const LONGEST: usize = 64 * 1024;
/// How bincode begins a number of 2, 4, 8 or 16 bytes, and other bytes that are seldom right.
const MARKS: [u8; 10] = [251, 252, 253, 254, 255, 0, 1, 0x7F, 0x80, 0xC0];

/// Changes bytes at random; the same seed changes them alike.
#[derive(Clone, Debug)]
pub struct Mutator(Rng);

impl Mutator {
    /// All that it will do follows from this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Rng::new(seed))
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.0.below(n as u64)).unwrap_or_default()
    }

    /// One of these, and changed in one to four ways.
    pub fn change(&mut self, samples: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = samples[self.below(samples.len())].clone();
        for _ in 0..=self.below(4) {
            self.once(&mut bytes, samples);
        }
        bytes
    }

    fn once(&mut self, bytes: &mut Vec<u8>, samples: &[Vec<u8>]) {
        let length = bytes.len();
        let at = self.below(length + 1);
        let some = at..(at + 1 + self.below(16)).min(length).max(at);
        match self.below(9) {
            0 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << self.0.below(8)),
            1 => {
                let mark = MARKS[self.below(MARKS.len())];
                bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = mark);
            }
            // A length or a number out of all bounds.
            2 => {
                let size = 1 << self.0.range(1, 5);
                let huge: Vec<u8> = (0..size).map(|_| self.0.next_u64().to_le_bytes()[0]).collect();
                let mark = [251, 252, 253, 254][usize::try_from(self.0.below(4)).unwrap_or_default()];
                bytes.splice(at..(at + 1).min(length), [vec![mark], huge].concat());
            }
            3 => bytes.truncate(at),
            4 => drop(bytes.drain(some)),
            // Something within itself within itself.
            5 => {
                let piece = bytes[some].to_vec();
                let times = 1 << self.below(15);
                let times = times.min((LONGEST.saturating_sub(length)) / piece.len().max(1));
                bytes.splice(at..at, piece.repeat(times));
            }
            6 => {
                let more: Vec<u8> = (0..=self.below(8)).map(|_| self.0.next_u64().to_le_bytes()[0]).collect();
                bytes.splice(at..at, more);
            }
            // The end of another.
            7 => {
                let other = &samples[self.below(samples.len())];
                let from = self.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            _ => bytes[some].reverse(),
        }
        bytes.truncate(LONGEST.max(length));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_changes_alike_and_nothing_grows_without_end() {
        let samples = [b"one sample".to_vec(), Vec::new(), vec![7; 300]];
        let (mut one, mut other) = (Mutator::new(5), Mutator::new(5));
        let mut changed = 0;
        for _ in 0..10_000 {
            let bytes = one.change(&samples);
            assert_eq!(bytes, other.change(&samples));
            assert!(bytes.len() <= LONGEST);
            changed += usize::from(!samples.contains(&bytes));
        }
        assert!(changed > 8000, "{changed} of 10,000");
    }
}
