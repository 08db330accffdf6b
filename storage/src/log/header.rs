//! A segment's header and its name.
//!
//! | at | size | field |
//! |---|---|---|
//! | 0 | 8 | magic `CCATSEG1` |
//! | 8 | 2 | format version: 2 when bit 1 or 2 of the flags or a version above 1 is used, else 1 |
//! | 10 | 2 | flags: bit 0 sealed, bit 1 installed, bit 2 with holes |
//! | 12 | 4 | CRC32C of the 64 bytes, with this field 0 |
//! | 16 | 4 | id |
//! | 20 | 4 | version |
//! | 24 | 4 | file size |
//! | 28 | 4 | salt of the entries' checksums |
//! | 32 | 8 | first index; 0 = created ahead, unused |
//! | 40 | 8 | mark: unsealed, an index known flushed; sealed, the last index |
//! | 48 | 8 | created, ms |
//! | 56 | 4 | id of the segment that holds entry `first - 1`; 0 = none |
//! | 60 | 4 | how many indexes that segment has below `first`; of no meaning after a settled one |
//!
//! It lies in the file's first sector, so the disk holds an old header or a new one, never a mix.

use crate::bytes::{is_zero, put, u16_at, u32_at, u64_at};
use crate::error::{Corrupt, OpenError};

/// Bytes of a segment's header.
pub(crate) const HEADER: usize = 64;
/// The highest format version known here.
pub(crate) const FORMAT: u16 = 2;
/// What is written when nothing in the file needs a later one.
const PLAIN: u16 = 1;
/// The version of a segment that no compaction has rewritten.
pub(crate) const VERSION: u32 = 1;

const MAGIC: &[u8; 8] = b"CCATSEG1";
const SEALED: u16 = 1;
const INSTALLED: u16 = 2;
const SPARSE: u16 = 4;

/// A decoded header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) sealed: bool,
    /// Came with a snapshot from another server: counts only if the own snapshot says so.
    pub(crate) installed: bool,
    /// Some indexes from `first` to the last have no entry, and the table at the end says which.
    pub(crate) sparse: bool,
    pub(crate) id: u32,
    pub(crate) version: u32,
    pub(crate) size: u32,
    pub(crate) salt: u32,
    pub(crate) first: u64,
    pub(crate) mark: u64,
    pub(crate) created: u64,
    pub(crate) prev: u32,
    pub(crate) prev_count: u32,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        let mut flags = 0;
        for (set, flag) in [(self.sealed, SEALED), (self.installed, INSTALLED), (self.sparse, SPARSE)] {
            if set {
                flags |= flag;
            }
        }
        let format = if self.settled() || self.sparse { FORMAT } else { PLAIN };
        put(&mut out, 0, MAGIC);
        put(&mut out, 8, &format.to_le_bytes());
        put(&mut out, 10, &flags.to_le_bytes());
        put(&mut out, 16, &self.id.to_le_bytes());
        put(&mut out, 20, &self.version.to_le_bytes());
        put(&mut out, 24, &self.size.to_le_bytes());
        put(&mut out, 28, &self.salt.to_le_bytes());
        put(&mut out, 32, &self.first.to_le_bytes());
        put(&mut out, 40, &self.mark.to_le_bytes());
        put(&mut out, 48, &self.created.to_le_bytes());
        put(&mut out, 56, &self.prev.to_le_bytes());
        put(&mut out, 60, &self.prev_count.to_le_bytes());
        let crc = crc32c::crc32c(&out);
        put(&mut out, 12, &crc.to_le_bytes());
        out
    }

    /// Reads the header of the file `name`. `None` when nothing was ever written there: a
    /// creation that a power cut interrupted.
    pub(crate) fn decode(name: &str, bytes: &[u8]) -> Result<Option<SegmentHeader>, OpenError> {
        let corrupt = |reason| OpenError::Corrupt(Corrupt { file: name.to_owned(), offset: 0, index: 0, reason });
        let raw = &bytes[..HEADER.min(bytes.len())];
        if is_zero(raw) {
            return Ok(None);
        }
        if raw.len() < HEADER {
            return Err(corrupt("the file is too short"));
        }
        let mut copy = [0; HEADER];
        copy.copy_from_slice(raw);
        put(&mut copy, 12, &[0; 4]);
        if raw[..8] != MAGIC[..] || u32_at(raw, 12) != crc32c::crc32c(&copy) {
            return Err(corrupt("wrong checksum of the segment header"));
        }
        let format = u16_at(raw, 8);
        let (id, version) = parse(name).ok_or_else(|| corrupt("not a segment's name"))?;
        if format > FORMAT {
            return Err(OpenError::FutureFormat { file: name.to_owned(), found: format, known: FORMAT });
        }
        let header = SegmentHeader {
            sealed: u16_at(raw, 10) & SEALED != 0,
            installed: u16_at(raw, 10) & INSTALLED != 0,
            sparse: u16_at(raw, 10) & SPARSE != 0,
            id: u32_at(raw, 16),
            version: u32_at(raw, 20),
            size: u32_at(raw, 24),
            salt: u32_at(raw, 28),
            first: u64_at(raw, 32),
            mark: u64_at(raw, 40),
            created: u64_at(raw, 48),
            prev: u32_at(raw, 56),
            prev_count: u32_at(raw, 60),
        };
        if header.id != id || header.version != version {
            return Err(corrupt("the header belongs to another file"));
        }
        if header.size as usize != bytes.len() {
            return Err(corrupt("the file does not have the size in its header"));
        }
        if header.first > 0 && header.prev_count as u64 >= header.first
            || (header.prev == 0) != (header.prev_count == 0)
            || header.prev >= header.id
            || header.first > 1 && header.prev == 0
            || header.settled() && (!header.sealed || header.first == 0 || header.mark < header.first)
            || header.sparse && !header.settled()
        {
            return Err(corrupt("the header contradicts itself"));
        }
        Ok(Some(header))
    }

    /// The first index of the segment before this one, if that one is not settled.
    pub(crate) fn prev_first(&self) -> u64 {
        self.first - u64::from(self.prev_count)
    }

    /// Whether this file is a work of compaction or an install: it got its name, or the right to
    /// count, only after all of it was durable. It takes the place of the version of its id before
    /// it, and of those below that it was merged from: `prev` leads past them.
    pub(crate) fn settled(&self) -> bool {
        self.installed || self.version > VERSION
    }

    /// Whether `prev` is the segment that this one follows.
    pub(crate) fn follows(&self, prev: &SegmentHeader) -> bool {
        let fits =
            if prev.settled() { prev.mark.checked_add(1) == Some(self.first) } else { self.prev_first() == prev.first };
        self.prev == prev.id && fits
    }
}

/// The file name of a segment.
pub(crate) fn name(id: u32, version: u32) -> String {
    format!("{id:010}-{version:04}.log")
}

/// The name of a segment while compaction writes it; without meaning after a crash.
pub(crate) fn temporary(id: u32, version: u32) -> String {
    format!("{id:010}-{version:04}.tmp")
}

/// Whether a file name is one of [`temporary`].
pub(crate) fn is_temporary(file: &str) -> bool {
    file.strip_suffix(".tmp").is_some_and(|stem| parse(&format!("{stem}.log")).is_some())
}

/// Id and version from a file name; `None` when it is not a segment's.
pub(crate) fn parse(file: &str) -> Option<(u32, u32)> {
    let (id, version) = file.strip_suffix(".log")?.split_once('-')?;
    let (id, version) = (id.parse().ok()?, version.parse().ok()?);
    (id > 0 && name(id, version) == file).then_some((id, version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways() {
        assert_eq!(name(12, 1), "0000000012-0001.log");
        assert_eq!(parse("0000000012-0001.log"), Some((12, 1)));
        for wrong in ["12-1.log", "0000000012-0001", "0000000000-0001.log", "x", "+000000012-0001.log"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn any_flipped_bit_is_seen() {
        let header = SegmentHeader {
            sealed: false,
            installed: false,
            sparse: false,
            id: 3,
            version: 1,
            size: 4096,
            salt: 77,
            first: 10,
            mark: 9,
            created: 1,
            prev: 2,
            prev_count: 4,
        };
        let file = name(3, 1);
        let mut bytes = vec![0; 4096];
        put(&mut bytes, 0, &header.encode());
        assert_eq!(SegmentHeader::decode(&file, &bytes).unwrap(), Some(header.clone()));
        for bit in 0..HEADER * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&file, &bad).is_err(), "bit {bit}");
        }
        assert_eq!(SegmentHeader::decode(&file, &[0; 4096]).unwrap(), None);
        assert_eq!(SegmentHeader::decode(&file, &[]).unwrap(), None);
    }
}
