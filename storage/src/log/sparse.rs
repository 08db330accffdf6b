//! The index table of a segment with holes: which indexes it has, and where.
//!
//! As the table of a whole segment it ends at the end of the file:
//!
//! `index u64 × count`, `offset u32 × count`, zeros to a multiple of 8, `(first index u64, term
//! u64) × runs` (they cover the holes too), and a footer of 32 bytes: magic `CCATHOL1`, count u32,
//! runs u32, end of the entries u32, CRC32C u32 (salted, of everything in the table but this
//! field), the highest index without an entry u64.

use crate::bytes::{align8, at, narrow, put, u32_at, u64_at};
use crate::log::table::{FOOTER, crc};

const MAGIC: &[u8; 8] = b"CCATHOL1";

/// Bytes that a table takes.
pub(crate) fn footprint(count: usize, runs: usize) -> usize {
    8 * count + align8(4 * count) + 16 * runs + FOOTER
}

/// A checked table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sparse {
    /// Where the indexes begin in the file.
    pub(crate) start: u32,
    /// How many entries there are; may be 0.
    pub(crate) count: u32,
    /// Where the entries end.
    pub(crate) end: u32,
    /// First index and term of each run of equal terms; at least 1.
    pub(crate) runs: Vec<(u64, u64)>,
    /// The highest index of the segment that has no entry.
    pub(crate) hole: u64,
}

/// The table's bytes, to be written so that they end at the end of the file.
pub(crate) fn encode(entries: &[(u64, u32)], runs: &[(u64, u64)], end: u32, hole: u64, salt: u32) -> Vec<u8> {
    let mut out = vec![0; footprint(entries.len(), runs.len())];
    let offsets = 8 * entries.len();
    for (i, (index, offset)) in entries.iter().enumerate() {
        put(&mut out, 8 * i, &index.to_le_bytes());
        put(&mut out, offsets + 4 * i, &offset.to_le_bytes());
    }
    let start = offsets + align8(4 * entries.len());
    for (i, (first, term)) in runs.iter().enumerate() {
        put(&mut out, start + 16 * i, &first.to_le_bytes());
        put(&mut out, start + 16 * i + 8, &term.to_le_bytes());
    }
    let footer = out.len() - FOOTER;
    put(&mut out, footer, MAGIC);
    put(&mut out, footer + 8, &narrow(entries.len()).to_le_bytes());
    put(&mut out, footer + 12, &narrow(runs.len()).to_le_bytes());
    put(&mut out, footer + 16, &end.to_le_bytes());
    put(&mut out, footer + 24, &hole.to_le_bytes());
    let crc = crc(&out, salt);
    put(&mut out, footer + 20, &crc.to_le_bytes());
    out
}

impl Sparse {
    /// Reads and checks the table at the end of the bytes of a segment that covers `first` to `last`.
    pub(crate) fn read(bytes: &[u8], first: u64, last: u64, salt: u32) -> Result<Sparse, &'static str> {
        let damaged = "wrong checksum of the segment's index table";
        let footer = bytes.len().checked_sub(FOOTER).ok_or(damaged)?;
        let raw = &bytes[footer..];
        let (count, runs) = (at(u32_at(raw, 8)), at(u32_at(raw, 12)));
        // Bounds first: nothing read from the disk is used as a length unchecked.
        if raw[..8] != MAGIC[..] || count > bytes.len() || runs > bytes.len() || runs == 0 {
            return Err(damaged);
        }
        let start = bytes.len().checked_sub(footprint(count, runs)).ok_or(damaged)?;
        let table = &bytes[start..];
        if u32_at(raw, 20) != crc(table, salt) {
            return Err(damaged);
        }
        let at_run = 8 * count + align8(4 * count);
        let list: Vec<(u64, u64)> =
            (0..runs).map(|i| at_run + 16 * i).map(|place| (u64_at(table, place), u64_at(table, place + 8))).collect();
        let read = Sparse {
            start: narrow(start),
            count: narrow(count),
            end: u32_at(raw, 16),
            runs: list,
            hole: u64_at(raw, 24),
        };
        let inside = (0..read.count).all(|i| (first..=last).contains(&read.index(bytes, i)));
        if read.runs.first().map(|run| run.0) != Some(first) || !inside || !(first..=last).contains(&read.hole) {
            return Err("the segment's index table belongs elsewhere");
        }
        Ok(read)
    }

    /// The index of entry number `position` (from 0).
    pub(crate) fn index(&self, bytes: &[u8], position: u32) -> u64 {
        u64_at(bytes, at(self.start) + 8 * at(position))
    }

    /// Where entry number `position` lies.
    pub(crate) fn offset(&self, bytes: &[u8], position: u32) -> u32 {
        u32_at(bytes, at(self.start) + 8 * at(self.count) + 4 * at(position))
    }

    /// The number of the entry at `index`; `None` for a hole. O(log n).
    pub(crate) fn position(&self, bytes: &[u8], index: u64) -> Option<u32> {
        let below = self.below(bytes, index);
        (below < self.count && self.index(bytes, below) == index).then_some(below)
    }

    /// How many entries have an index below this one.
    pub(crate) fn below(&self, bytes: &[u8], index: u64) -> u32 {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.index(bytes, middle) < index {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_reads_back_and_any_flipped_bit_is_seen() {
        let mut bytes = vec![0; 512];
        let table = encode(&[(6, 64), (9, 128), (11, 200)], &[(5, 1), (8, 4)], 300, 10, 9);
        let start = bytes.len() - table.len();
        put(&mut bytes, start, &table);
        let read = Sparse::read(&bytes, 5, 12, 9).unwrap();
        assert_eq!((read.count, read.end, read.hole), (3, 300, 10));
        assert_eq!(read.runs, [(5, 1), (8, 4)]);
        let places: Vec<_> = (4..=13).map(|index| read.position(&bytes, index)).collect();
        assert_eq!(places, [None, None, Some(0), None, None, Some(1), None, Some(2), None, None]);
        assert_eq!(read.offset(&bytes, 2), 200);
        assert!(Sparse::read(&bytes, 5, 12, 8).is_err());
        assert!(Sparse::read(&bytes, 6, 12, 9).is_err());
        assert!(Sparse::read(&bytes, 5, 10, 9).is_err());
        for bit in start * 8..512 * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Sparse::read(&bad, 5, 12, 9).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_segment_may_have_nothing_but_holes() {
        let table = encode(&[], &[(5, 1)], 64, 12, 9);
        let read = Sparse::read(&table, 5, 12, 9).unwrap();
        assert_eq!((read.count, read.position(&table, 7)), (0, None));
    }
}
