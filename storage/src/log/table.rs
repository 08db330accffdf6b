//! The index table at the end of a sealed segment.
//!
//! It ends at the end of the file, so that it is found without knowing where the entries end:
//!
//! `offset u32 × count`, zeros to a multiple of 8, `(first index u64, term u64) × runs`, and a
//! footer of 32 bytes: magic `CCATEND1`, count u32, runs u32, end of the entries u32,
//! CRC32C u32 (salted, of everything in the table but this field), 8 bytes of zeros.

use crate::bytes::{align8, at, narrow, put, u32_at, u64_at};

/// Bytes of the footer.
pub(crate) const FOOTER: usize = 32;
const MAGIC: &[u8; 8] = b"CCATEND1";

/// Bytes that a table takes. Room for it is kept while entries are appended.
pub(crate) fn footprint(count: usize, runs: usize) -> usize {
    align8(4 * count) + 16 * runs + FOOTER
}

/// The table's bytes, to be written so that they end at the end of the file.
pub(crate) fn encode(offsets: &[u32], runs: &[(u64, u64)], end: u32, salt: u32) -> Vec<u8> {
    let mut out = vec![0; footprint(offsets.len(), runs.len())];
    for (i, offset) in offsets.iter().enumerate() {
        put(&mut out, 4 * i, &offset.to_le_bytes());
    }
    let start = align8(4 * offsets.len());
    for (i, (first, term)) in runs.iter().enumerate() {
        put(&mut out, start + 16 * i, &first.to_le_bytes());
        put(&mut out, start + 16 * i + 8, &term.to_le_bytes());
    }
    let footer = out.len() - FOOTER;
    put(&mut out, footer, MAGIC);
    put(&mut out, footer + 8, &narrow(offsets.len()).to_le_bytes());
    put(&mut out, footer + 12, &narrow(runs.len()).to_le_bytes());
    put(&mut out, footer + 16, &end.to_le_bytes());
    let crc = crc(&out, salt);
    put(&mut out, footer + 20, &crc.to_le_bytes());
    out
}

pub(crate) fn crc(table: &[u8], salt: u32) -> u32 {
    let field = table.len() - FOOTER + 20;
    let crc = crc32c::crc32c_append(salt, &table[..field]);
    crc32c::crc32c_append(crc, &table[field + 4..])
}

/// A checked table of a sealed segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    /// Where the offsets begin in the file.
    pub(crate) start: u32,
    /// How many entries there are; at least 1.
    pub(crate) count: u32,
    /// Where the entries end.
    pub(crate) end: u32,
    /// First index and term of each run of equal terms.
    pub(crate) runs: Vec<(u64, u64)>,
}

impl Table {
    /// Reads and checks the table at the end of a segment's bytes.
    pub(crate) fn read(bytes: &[u8], first: u64, salt: u32) -> Result<Table, &'static str> {
        let damaged = "wrong checksum of the segment's index table";
        let footer = bytes.len().checked_sub(FOOTER).ok_or(damaged)?;
        let raw = &bytes[footer..];
        let (count, runs) = (at(u32_at(raw, 8)), at(u32_at(raw, 12)));
        // Bounds first: nothing read from the disk is used as a length unchecked.
        if raw[..8] != MAGIC[..] || count > bytes.len() || runs > count || count == 0 {
            return Err(damaged);
        }
        let start = bytes.len().checked_sub(footprint(count, runs)).ok_or(damaged)?;
        let table = &bytes[start..];
        if u32_at(raw, 20) != crc(table, salt) {
            return Err(damaged);
        }
        let at_run = align8(4 * count);
        let list: Vec<(u64, u64)> =
            (0..runs).map(|i| at_run + 16 * i).map(|place| (u64_at(table, place), u64_at(table, place + 8))).collect();
        if list.first().map(|run| run.0) != Some(first) {
            return Err("the segment's index table belongs elsewhere");
        }
        Ok(Table { start: narrow(start), count: narrow(count), end: u32_at(raw, 16), runs: list })
    }

    /// Where entry number `position` (from 0) of the segment lies.
    pub(crate) fn offset(&self, bytes: &[u8], position: u32) -> u32 {
        u32_at(bytes, at(self.start) + 4 * at(position))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_reads_back_and_any_flipped_bit_is_seen() {
        let mut bytes = vec![0; 512];
        let table = encode(&[64, 128, 200], &[(5, 1), (7, 4)], 300, 9);
        let start = bytes.len() - table.len();
        put(&mut bytes, start, &table);
        let read = Table::read(&bytes, 5, 9).unwrap();
        assert_eq!((read.count, read.end), (3, 300));
        assert_eq!(read.runs, [(5, 1), (7, 4)]);
        assert_eq!(read.offset(&bytes, 2), 200);
        assert!(Table::read(&bytes, 5, 8).is_err());
        assert!(Table::read(&bytes, 6, 9).is_err());
        for bit in start * 8..512 * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Table::read(&bad, 5, 9).is_err(), "bit {bit}");
        }
    }
}
