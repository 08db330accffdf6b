//! Compact marks: which entries of a segment were released.

/// A set of positions, one bit each. Takes memory once something is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    words: Vec<u64>,
    count: usize,
}

impl Marks {
    pub(crate) fn set(&mut self, position: usize) {
        let (word, bit) = (position / 64, 1 << (position % 64));
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        if self.words[word] & bit == 0 {
            self.words[word] |= bit;
            self.count += 1;
        }
    }

    pub(crate) fn get(&self, position: usize) -> bool {
        self.words.get(position / 64).is_some_and(|word| word & (1 << (position % 64)) != 0)
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// The positions in it, rising.
    pub(crate) fn positions(&self) -> impl Iterator<Item = usize> + '_ {
        let words = self.words.iter().enumerate().filter(|(_, word)| **word != 0);
        words.flat_map(|(i, word)| (0..64).filter(move |bit| word & (1 << bit) != 0).map(move |bit| i * 64 + bit))
    }

    /// Forgets everything from position `len` on.
    pub(crate) fn truncate(&mut self, len: usize) {
        let words = len.div_ceil(64);
        if words > self.words.len() {
            return;
        }
        self.words.truncate(words);
        if !len.is_multiple_of(64)
            && let Some(last) = self.words.last_mut()
        {
            *last &= (1 << (len % 64)) - 1;
        }
        self.count = self.words.iter().map(|word| word.count_ones() as usize).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_forgets() {
        let mut marks = Marks::default();
        for position in [0, 63, 64, 200, 64] {
            marks.set(position);
        }
        assert_eq!(marks.count(), 4);
        assert_eq!(marks.positions().collect::<Vec<_>>(), [0, 63, 64, 200]);
        assert!(marks.get(63) && marks.get(200) && !marks.get(62) && !marks.get(100_000));
        marks.truncate(1_000);
        assert_eq!(marks.count(), 4);
        marks.truncate(64);
        assert_eq!((marks.count(), marks.get(64)), (2, false));
        marks.truncate(0);
        assert_eq!(marks.count(), 0);
    }
}
