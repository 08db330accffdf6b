//! One log entry, in memory and as bytes.
//!
//! | at | size | field |
//! |---|---|---|
//! | 0 | 4 | length: 64 + data bytes; 0 = nothing here |
//! | 4 | 4 | CRC32C of salt, file offset and the other 60 header bytes |
//! | 8 | 8 | index |
//! | 16 | 8 | term |
//! | 24 | 8 | time |
//! | 32 | 8 | session |
//! | 40 | 8 | sequence |
//! | 48 | 8 | mark: the highest index known flushed when this was written |
//! | 56 | 4 | CRC32C of the data, seeded with the salt |
//! | 60 | 1 | kind |
//! | 61 | 1 | mode |
//! | 62 | 2 | 0 |
//! | 64 | n | data, then zeros up to a multiple of 8 |
//!
//! The header has a checksum of its own so that looking for entries behind a bad place costs 64
//! bytes a step, whatever lengths a client's value pretends; the data's checksum is among the
//! bytes it covers. The salt is random and secret, so no value can pass as an entry.

use crate::bytes::{align8, at, narrow, put, u32_at, u64_at};

/// Bytes of an entry's header.
pub(crate) const HEADER: usize = 64;

/// One entry of the log. `kind` and `mode` mean nothing to this crate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Position in the log, from 1.
    pub index: u64,
    /// Term of the leader that made it.
    pub term: u64,
    /// The leader's time, in milliseconds.
    pub time: u64,
    /// The client session it belongs to, 0 for none.
    pub session: u64,
    /// Its number within the session.
    pub sequence: u64,
    /// What the engine takes it for.
    pub kind: u8,
    /// Its compaction mode.
    pub mode: u8,
    /// Its payload; may be empty.
    pub data: Vec<u8>,
}

/// An entry whose data lies in the mapped log. Fields as in [`Entry`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryRef<'a> {
    /// Position in the log, from 1.
    pub index: u64,
    /// Term of the leader that made it.
    pub term: u64,
    /// The leader's time, in milliseconds.
    pub time: u64,
    /// The client session it belongs to, 0 for none.
    pub session: u64,
    /// Its number within the session.
    pub sequence: u64,
    /// What the engine takes it for.
    pub kind: u8,
    /// Its compaction mode.
    pub mode: u8,
    /// Its payload.
    pub data: &'a [u8],
}

impl Entry {
    /// The same, its data borrowed.
    pub fn borrow(&self) -> EntryRef<'_> {
        EntryRef {
            index: self.index,
            term: self.term,
            time: self.time,
            session: self.session,
            sequence: self.sequence,
            kind: self.kind,
            mode: self.mode,
            data: &self.data,
        }
    }
}

impl EntryRef<'_> {
    /// CRC32C of the whole entry, the same wherever it lies: what a snapshot that refers to it records.
    pub fn digest(&self) -> u32 {
        let mut head = [0; 42];
        for (at, field) in [self.index, self.term, self.time, self.session, self.sequence].iter().enumerate() {
            put(&mut head, 8 * at, &field.to_le_bytes());
        }
        head[40] = self.kind;
        head[41] = self.mode;
        crc32c::crc32c_append(crc32c::crc32c(&head), self.data)
    }

    /// A copy that owns its data.
    // Named as the thing it does; `ToOwned` cannot be implemented beside `Clone`.
    #[allow(clippy::should_implement_trait, clippy::wrong_self_convention)]
    pub fn to_owned(&self) -> Entry {
        Entry {
            index: self.index,
            term: self.term,
            time: self.time,
            session: self.session,
            sequence: self.sequence,
            kind: self.kind,
            mode: self.mode,
            data: self.data.to_vec(),
        }
    }
}

/// What is wrong at a place where an entry was looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bad {
    /// No room for a header, or its length is 0: nothing was ever written here.
    Nothing,
    /// The length cannot be.
    Length,
    /// The header's checksum is wrong.
    Header,
    /// The data's checksum is wrong.
    Data,
    /// A valid entry, but not the one that belongs here.
    Order,
}

impl Bad {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Bad::Nothing => "no entry where one was flushed",
            Bad::Length => "impossible entry length",
            Bad::Header => "wrong checksum of an entry's header",
            Bad::Data => "wrong checksum of an entry's data",
            Bad::Order => "an entry in the wrong place",
        }
    }
}

/// A header whose checksum is right.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) length: usize,
    pub(crate) index: u64,
    pub(crate) term: u64,
    pub(crate) mark: u64,
    pub(crate) mode: u8,
}

/// Bytes that an entry with `data` bytes of payload takes in a segment.
pub(crate) fn footprint(data: usize) -> usize {
    align8(HEADER + data)
}

/// The header for `entry` at `offset` of a segment with this salt.
pub(crate) fn encode(entry: EntryRef<'_>, mark: u64, salt: u32, offset: u32) -> [u8; HEADER] {
    let mut out = [0; HEADER];
    put(&mut out, 0, &narrow(HEADER + entry.data.len()).to_le_bytes());
    put(&mut out, 8, &entry.index.to_le_bytes());
    put(&mut out, 16, &entry.term.to_le_bytes());
    put(&mut out, 24, &entry.time.to_le_bytes());
    put(&mut out, 32, &entry.session.to_le_bytes());
    put(&mut out, 40, &entry.sequence.to_le_bytes());
    put(&mut out, 48, &mark.to_le_bytes());
    let data = crc32c::crc32c_append(salt, entry.data);
    put(&mut out, 56, &data.to_le_bytes());
    out[60] = entry.kind;
    out[61] = entry.mode;
    let crc = header_crc(&out, salt, offset);
    put(&mut out, 4, &crc.to_le_bytes());
    out
}

fn header_crc(header: &[u8], salt: u32, offset: u32) -> u32 {
    let mut crc = crc32c::crc32c_append(salt, &offset.to_le_bytes());
    crc = crc32c::crc32c_append(crc, &header[..4]);
    crc32c::crc32c_append(crc, &header[8..HEADER])
}

/// Reads and checks the header at `offset` of a segment's `bytes`; not the data.
pub(crate) fn header(bytes: &[u8], offset: u32, salt: u32) -> Result<Header, Bad> {
    let start = at(offset);
    let Some(rest) = bytes.get(start..) else {
        return Err(Bad::Nothing);
    };
    if rest.len() < HEADER || u32_at(rest, 0) == 0 {
        return Err(Bad::Nothing);
    }
    let length = at(u32_at(rest, 0));
    if length < HEADER || length > rest.len() {
        return Err(Bad::Length);
    }
    if u32_at(rest, 4) != header_crc(rest, salt, offset) {
        return Err(Bad::Header);
    }
    Ok(Header { length, index: u64_at(rest, 8), term: u64_at(rest, 16), mark: u64_at(rest, 48), mode: rest[61] })
}

/// Reads and checks the whole entry at `offset` of a segment's `bytes`.
pub(crate) fn read(bytes: &[u8], offset: u32, salt: u32) -> Result<(Header, EntryRef<'_>), Bad> {
    let header = header(bytes, offset, salt)?;
    let raw = &bytes[at(offset)..at(offset) + header.length];
    let data = &raw[HEADER..];
    if u32_at(raw, 56) != crc32c::crc32c_append(salt, data) {
        return Err(Bad::Data);
    }
    let entry = EntryRef {
        index: header.index,
        term: header.term,
        time: u64_at(raw, 24),
        session: u64_at(raw, 32),
        sequence: u64_at(raw, 40),
        kind: raw[60],
        mode: raw[61],
        data,
    };
    Ok((header, entry))
}

/// The highest mark of any entry header that is valid at any 8-byte step from `from` on.
///
/// Bounded: at most one checksum of 64 bytes a step.
pub(crate) fn highest_mark(bytes: &[u8], from: u32, salt: u32) -> u64 {
    let mut highest = 0;
    let mut offset = align8(at(from));
    while offset + HEADER <= bytes.len() {
        if let Ok(found) = header(bytes, narrow(offset), salt) {
            highest = highest.max(found.mark);
        }
        offset += 8;
    }
    highest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Entry {
        Entry { index: 7, term: 3, time: 11, session: 13, sequence: 17, kind: 2, mode: 5, data: b"value".to_vec() }
    }

    fn place(entry: &Entry, offset: u32, salt: u32) -> Vec<u8> {
        let mut bytes = vec![0; 512];
        put(&mut bytes, at(offset), &encode(entry.borrow(), 6, salt, offset));
        put(&mut bytes, at(offset) + HEADER, &entry.data);
        bytes
    }

    #[test]
    fn an_entry_reads_back() {
        let bytes = place(&sample(), 64, 99);
        let (header, entry) = read(&bytes, 64, 99).unwrap();
        assert_eq!(entry.to_owned(), sample());
        assert_eq!(header.mark, 6);
        assert_eq!(highest_mark(&bytes, 0, 99), 6);
    }

    #[test]
    fn the_salt_and_the_offset_are_part_of_the_checksum() {
        // Were they not, a client could store the image of an entry in a value, and the search
        // behind a bad place would take the mark in it for the log's own.
        let bytes = place(&sample(), 64, 99);
        assert_eq!(read(&bytes, 64, 98).unwrap_err(), Bad::Header);
        let mut moved = vec![0; 512];
        moved[128..].copy_from_slice(&bytes[64..448]);
        assert_eq!(read(&moved, 128, 99).unwrap_err(), Bad::Header);
        assert_eq!(highest_mark(&moved, 0, 99), 0);
    }

    #[test]
    fn every_bit_of_header_and_data_is_covered() {
        let good = place(&sample(), 64, 99);
        for byte in 64..64 + HEADER + 5 {
            for bit in 0..8 {
                let mut bytes = good.clone();
                bytes[byte] ^= 1 << bit;
                assert!(read(&bytes, 64, 99).is_err(), "byte {byte} bit {bit}");
            }
        }
    }
}
