//! A snapshot's file.
//!
//! | at | size | field |
//! |---|---|---|
//! | 0 | 8 | magic `CCATSNAP` |
//! | 8 | 2 | format version |
//! | 10 | 2 | 0 |
//! | 12 | 4 | CRC32C of the 96 bytes, with this field 0 |
//! | 16 | 8 | index |
//! | 24 | 8 | term of the entry there |
//! | 32 | 8 | log time there, ms |
//! | 40 | 8 | bytes of payload |
//! | 48 | 8 | number of references |
//! | 56 | 4 | number of term runs |
//! | 60 | 4 | bytes of a block of payload; the last block may be shorter |
//! | 64 | 4 | checksum of the tables |
//! | 68 | 4 | id of the first segment that was installed with a snapshot; 0 = none was |
//! | 72 | 4 | id of the last one |
//! | 76 | 4 | 0 |
//! | 80 | 8 | bytes of the file |
//! | 88 | 8 | 0 |
//!
//! Then the tables: `(first index u64, term u64)` for each run of equal terms from index 1 on;
//! `(index u64, term u64, bytes of data u32, digest u32)` for each entry referred to, in order of
//! index; CRC32C u32 of each block; zeros to a multiple of 8. Then the payload, to the end.

use crate::bytes::{align8, put, u16_at, u32_at, u64_at};
use crate::disk::DiskFile;
use crate::error::{Corrupt, OpenError};

/// The snapshot that counts.
pub(crate) const NAME: &str = "snapshot";
/// One that is being written here.
pub(crate) const WRITING: &str = "snapshot.tmp";
/// One that is being received from another server.
pub(crate) const RECEIVING: &str = "snapshot.part";

/// Bytes of the header.
pub(crate) const HEADER: usize = 96;
/// Bytes of payload with a checksum of their own.
pub(crate) const BLOCK: usize = 64 << 10;

/// More bytes than any snapshot has, and few enough to be added up.
const MOST: u64 = 1 << 48;

const MAGIC: &[u8; 8] = b"CCATSNAP";
const FORMAT: u16 = 1;
const RUN: usize = 16;
const REFERENCE: usize = 24;

/// What a snapshot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// The last entry whose effect it holds.
    pub index: u64,
    /// The term of that entry.
    pub term: u64,
    /// The log's time there, in milliseconds.
    pub time: u64,
    /// Bytes of payload.
    pub payload: u64,
    /// How many log entries it refers to.
    pub references: u64,
    /// Bytes of its file.
    pub size: u64,
    /// Checksum of its content; with index and term it tells whether two servers' snapshots are the same bytes.
    pub checksum: u32,
}

/// A log entry that a snapshot refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Its index.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// Bytes of its data.
    pub length: u32,
    /// [`EntryRef::digest`](crate::EntryRef::digest) of it.
    pub digest: u32,
}

/// The checked header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) info: SnapshotInfo,
    pub(crate) runs: usize,
    /// First and last id of the segments that an install brought; zeros when none did.
    pub(crate) base: (u32, u32),
}

impl Head {
    /// A header for contents of these sizes.
    pub(crate) fn new(index: u64, term: u64, time: u64, payload: usize, references: usize, runs: usize) -> Head {
        let tables = tables_len(runs, references, payload);
        let info = SnapshotInfo {
            index,
            term,
            time,
            payload: payload as u64,
            references: references as u64,
            size: (HEADER + tables + payload) as u64,
            checksum: 0,
        };
        Head { info, runs, base: (0, 0) }
    }

    /// Bytes before the payload.
    pub(crate) fn front(&self) -> usize {
        HEADER + tables_len(self.runs, size(self.info.references), size(self.info.payload))
    }

    pub(crate) fn blocks(&self) -> usize {
        size(self.info.payload).div_ceil(BLOCK)
    }

    pub(crate) fn encode(&self) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        let runs = u32::try_from(self.runs).expect("fewer runs than 4 billion terms");
        put(&mut out, 0, MAGIC);
        put(&mut out, 8, &FORMAT.to_le_bytes());
        put(&mut out, 16, &self.info.index.to_le_bytes());
        put(&mut out, 24, &self.info.term.to_le_bytes());
        put(&mut out, 32, &self.info.time.to_le_bytes());
        put(&mut out, 40, &self.info.payload.to_le_bytes());
        put(&mut out, 48, &self.info.references.to_le_bytes());
        put(&mut out, 56, &runs.to_le_bytes());
        put(&mut out, 60, &u32::try_from(BLOCK).expect("64 KiB").to_le_bytes());
        put(&mut out, 64, &self.info.checksum.to_le_bytes());
        put(&mut out, 68, &self.base.0.to_le_bytes());
        put(&mut out, 72, &self.base.1.to_le_bytes());
        put(&mut out, 80, &self.info.size.to_le_bytes());
        let crc = crc32c::crc32c(&out);
        put(&mut out, 12, &crc.to_le_bytes());
        out
    }

    /// Reads the header at the beginning of a file of `len` bytes.
    pub(crate) fn decode(file: &str, bytes: &[u8], len: u64) -> Result<Head, OpenError> {
        let corrupt = |reason| OpenError::Corrupt(corrupt(file, 0, 0, reason));
        if bytes.len() < HEADER || bytes[..8] != MAGIC[..] {
            return Err(corrupt("not a snapshot"));
        }
        let mut copy = [0; HEADER];
        copy.copy_from_slice(&bytes[..HEADER]);
        put(&mut copy, 12, &[0; 4]);
        if u32_at(bytes, 12) != crc32c::crc32c(&copy) {
            return Err(corrupt("wrong checksum of the snapshot's header"));
        }
        let format = u16_at(bytes, 8);
        if format > FORMAT {
            return Err(OpenError::FutureFormat { file: file.to_owned(), found: format, known: FORMAT });
        }
        let info = SnapshotInfo {
            index: u64_at(bytes, 16),
            term: u64_at(bytes, 24),
            time: u64_at(bytes, 32),
            payload: u64_at(bytes, 40),
            references: u64_at(bytes, 48),
            size: u64_at(bytes, 80),
            checksum: u32_at(bytes, 64),
        };
        let head =
            Head { info, runs: size(u64::from(u32_at(bytes, 56))), base: (u32_at(bytes, 68), u32_at(bytes, 72)) };
        // Bounds first: nothing read from the disk is used as a length unchecked.
        let plausible =
            len <= MOST && info.payload <= len && info.references <= len / REFERENCE as u64 && head.runs as u64 <= len;
        if info.size != len || !plausible || head.front() as u64 + info.payload != len {
            return Err(corrupt("the snapshot does not have the size in its header"));
        }
        if size(u64::from(u32_at(bytes, 60))) != BLOCK || info.index == 0 || head.base.0 > head.base.1 {
            return Err(corrupt("the snapshot's header contradicts itself"));
        }
        Ok(head)
    }
}

fn tables_len(runs: usize, references: usize, payload: usize) -> usize {
    RUN * runs + REFERENCE * references + align8(4 * payload.div_ceil(BLOCK))
}

fn size(value: u64) -> usize {
    usize::try_from(value).expect("a 64-bit machine")
}

pub(crate) fn corrupt(file: &str, offset: usize, index: u64, reason: &'static str) -> Corrupt {
    Corrupt { file: file.to_owned(), offset: offset as u64, index, reason }
}

/// The tables' bytes.
pub(crate) fn tables(runs: &[(u64, u64)], references: &[Reference], blocks: &[u32], payload: usize) -> Vec<u8> {
    let mut out = vec![0; tables_len(runs.len(), references.len(), payload)];
    for (i, (first, term)) in runs.iter().enumerate() {
        put(&mut out, RUN * i, &first.to_le_bytes());
        put(&mut out, RUN * i + 8, &term.to_le_bytes());
    }
    let start = RUN * runs.len();
    for (i, reference) in references.iter().enumerate() {
        let place = start + REFERENCE * i;
        put(&mut out, place, &reference.index.to_le_bytes());
        put(&mut out, place + 8, &reference.term.to_le_bytes());
        put(&mut out, place + 16, &reference.length.to_le_bytes());
        put(&mut out, place + 20, &reference.digest.to_le_bytes());
    }
    let start = start + REFERENCE * references.len();
    for (i, crc) in blocks.iter().enumerate() {
        put(&mut out, start + 4 * i, &crc.to_le_bytes());
    }
    out
}

/// A snapshot whose header and tables were checked.
#[derive(Debug)]
#[cfg_attr(feature = "planted-bugs", derive(Clone))]
pub(crate) struct SnapshotFile<F> {
    pub(crate) name: &'static str,
    pub(crate) file: F,
    pub(crate) head: Head,
}

impl<F: DiskFile> SnapshotFile<F> {
    /// Checks header and tables; the payload is checked when it is read.
    pub(crate) fn new(name: &'static str, file: F) -> Result<SnapshotFile<F>, OpenError> {
        let head = Head::decode(name, file.bytes(), file.len())?;
        let found = SnapshotFile { name, file, head };
        found.check_tables()?;
        Ok(found)
    }

    /// Checks the tables, as soon as they are there.
    pub(crate) fn check_tables(&self) -> Result<(), Corrupt> {
        let front = self.head.front();
        if crc32c::crc32c(&self.file.bytes()[HEADER..front]) != self.head.info.checksum {
            return Err(corrupt(self.name, HEADER, 0, "wrong checksum of the snapshot's tables"));
        }
        let info = &self.head.info;
        let runs = self.runs();
        let rising = runs.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1);
        let ends = runs.first().map(|run| run.0) == Some(1)
            && runs.last().is_some_and(|run| run.0 <= info.index && run.1 == info.term);
        if !rising || !ends {
            return Err(corrupt(self.name, HEADER, 0, "the snapshot's term runs make no sense"));
        }
        let mut below = 0;
        for i in 0..self.references() {
            let reference = self.reference(i);
            if reference.index <= below || reference.index > info.index {
                let place = self.reference_at(i);
                return Err(corrupt(self.name, place, reference.index, "the snapshot's references make no sense"));
            }
            below = reference.index;
        }
        Ok(())
    }

    pub(crate) fn info(&self) -> SnapshotInfo {
        self.head.info
    }

    /// First index and term of each run of equal terms from 1 to the snapshot's index.
    pub(crate) fn runs(&self) -> Vec<(u64, u64)> {
        let bytes = self.file.bytes();
        let places = (0..self.head.runs).map(|i| HEADER + RUN * i);
        places.map(|place| (u64_at(bytes, place), u64_at(bytes, place + 8))).collect()
    }

    pub(crate) fn references(&self) -> usize {
        size(self.head.info.references)
    }

    /// Where reference number `i` lies in the file.
    pub(crate) fn reference_at(&self, i: usize) -> usize {
        HEADER + RUN * self.head.runs + REFERENCE * i
    }

    pub(crate) fn reference(&self, i: usize) -> Reference {
        let place = self.reference_at(i);
        let bytes = self.file.bytes();
        Reference {
            index: u64_at(bytes, place),
            term: u64_at(bytes, place + 8),
            length: u32_at(bytes, place + 16),
            digest: u32_at(bytes, place + 20),
        }
    }

    /// How many references have an index below this one.
    pub(crate) fn references_below(&self, index: u64) -> usize {
        let (mut low, mut high) = (0, self.references());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.reference(middle).index < index {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Whether it refers to the entry at `index`.
    pub(crate) fn refers(&self, index: u64) -> bool {
        let place = self.references_below(index);
        place < self.references() && self.reference(place).index == index
    }

    /// Block number `i` of the payload, checked.
    pub(crate) fn block(&self, i: usize) -> Result<&[u8], Corrupt> {
        let bytes = self.file.bytes();
        let start = self.head.front() + i * BLOCK;
        let block = &bytes[start..(start + BLOCK).min(bytes.len())];
        let sums = HEADER + RUN * self.head.runs + REFERENCE * self.references();
        if crc32c::crc32c(block) != u32_at(bytes, sums + 4 * i) {
            return Err(corrupt(self.name, start, self.head.info.index, "wrong checksum of a block of the snapshot"));
        }
        Ok(block)
    }

    /// The whole payload, checked.
    pub(crate) fn payload(&self) -> Result<Vec<u8>, Corrupt> {
        let mut out = Vec::with_capacity(size(self.head.info.payload));
        for i in 0..self.head.blocks() {
            out.extend_from_slice(self.block(i)?);
        }
        Ok(out)
    }

    /// At most `most` raw bytes of the file from `offset` on, those of the payload checked.
    pub(crate) fn raw(&self, offset: u64, most: usize) -> Result<&[u8], Corrupt> {
        let bytes = self.file.bytes();
        let from = size(offset).min(bytes.len());
        let to = from.saturating_add(most).min(bytes.len());
        let front = self.head.front();
        if to > front && to > from {
            for i in from.max(front).saturating_sub(front) / BLOCK..=(to - 1 - front) / BLOCK {
                self.block(i)?;
            }
        }
        Ok(&bytes[from..to])
    }
}
