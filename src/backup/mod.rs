//! Backups: a snapshot with every log entry that it refers to, in one file that proves itself whole.
//!
//! | at | size | field |
//! |---|---|---|
//! | 0 | 8 | magic `CCATBACK` |
//! | 8 | 2 | format version |
//! | 10 | 2 | 0 |
//! | 12 | 4 | CRC32C of these 64 bytes, with this field 0 |
//! | 16 | 8 | index of the snapshot |
//! | 24 | 8 | term of the entry there |
//! | 32 | 8 | bytes of the snapshot's file |
//! | 40 | 8 | number of entries |
//! | 48 | 16 | 0 |
//!
//! Then parts, each `kind u32, length u32, checksum u32, 0 u32` and so many bytes; the checksum is the CRC32C of kind,
//! length and bytes. First the snapshot's file in order (kind 1), then the entries by rising index (kind 2), then the end
//! (kind 3): `number of parts before it u64, CRC32C of every byte before this part u32, 0 u32`, and nothing behind it.

mod reader;
mod restore;

pub use reader::{Header, Part, Reader};
pub use restore::{Restore, Restored};

use copycat_storage::{EntryRef, SnapshotInfo};
use thiserror::Error;

const MAGIC: &[u8; 8] = b"CCATBACK";
const FORMAT: u16 = 1;
const HEADER: usize = 64;
const PART: usize = 16;
/// What comes before the data of an entry.
const ENTRY: usize = 42;
const SNAPSHOT: u32 = 1;
const LOGGED: u32 = 2;
const END: u32 = 3;
/// The most bytes of a part: no more than the largest segment, which bounds an entry.
const MOST: u32 = copycat_storage::MAX_SEGMENT;

/// Why a backup cannot be read.
#[derive(Debug, Error)]
pub enum BackupError {
    /// It is not what was written, or not all of it.
    #[error("the backup is damaged at byte {offset}: {reason}")]
    Damaged {
        /// Where.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
    /// It was made by a later version.
    #[error("the backup has format version {found}, and this program knows {FORMAT}: use a newer one")]
    FutureFormat {
        /// Which version.
        found: u16,
    },
    /// It could not be read.
    #[error("the backup cannot be read: {0}")]
    Io(#[from] std::io::Error),
}

/// Makes a backup's bytes, piece by piece.
#[derive(Debug)]
pub struct Encoder {
    parts: u64,
    crc: u32,
}

impl Encoder {
    /// Begins with what is backed up; returns the first bytes.
    #[must_use]
    pub fn begin(info: &SnapshotInfo) -> (Self, Vec<u8>) {
        let mut out = vec![0; HEADER];
        out[..8].copy_from_slice(MAGIC);
        out[8..10].copy_from_slice(&FORMAT.to_le_bytes());
        out[16..24].copy_from_slice(&info.index.to_le_bytes());
        out[24..32].copy_from_slice(&info.term.to_le_bytes());
        out[32..40].copy_from_slice(&info.size.to_le_bytes());
        out[40..48].copy_from_slice(&info.references.to_le_bytes());
        let crc = crc32c::crc32c(&out);
        out[12..16].copy_from_slice(&crc.to_le_bytes());
        let crc = crc32c::crc32c(&out);
        (Self { parts: 0, crc }, out)
    }

    /// The next bytes of the snapshot's file.
    ///
    /// # Panics
    /// If they are more than 1 GiB.
    #[must_use]
    pub fn snapshot(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.part(SNAPSHOT, &[bytes])
    }

    /// The next entry.
    ///
    /// # Panics
    /// If it is longer than an entry can be.
    #[must_use]
    pub fn entry(&mut self, entry: EntryRef<'_>) -> Vec<u8> {
        let mut head = Vec::with_capacity(ENTRY);
        for number in [entry.index, entry.term, entry.time, entry.session, entry.sequence] {
            head.extend_from_slice(&number.to_le_bytes());
        }
        head.extend_from_slice(&[entry.kind, entry.mode]);
        self.part(LOGGED, &[&head, entry.data])
    }

    /// The end.
    #[must_use]
    pub fn end(mut self) -> Vec<u8> {
        let mut body = self.parts.to_le_bytes().to_vec();
        body.extend_from_slice(&self.crc.to_le_bytes());
        body.extend_from_slice(&[0; 4]);
        self.part(END, &[&body])
    }

    fn part(&mut self, kind: u32, pieces: &[&[u8]]) -> Vec<u8> {
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        let length = u32::try_from(length).ok().filter(|&length| length <= MOST).expect("a part of at most 1 GiB");
        let mut out = Vec::with_capacity(PART + length as usize);
        out.extend_from_slice(&kind.to_le_bytes());
        out.extend_from_slice(&length.to_le_bytes());
        let crc = pieces.iter().fold(crc32c::crc32c(&out), |crc, piece| crc32c::crc32c_append(crc, piece));
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        pieces.iter().for_each(|piece| out.extend_from_slice(piece));
        self.parts += 1;
        self.crc = crc32c::crc32c_append(self.crc, &out);
        out
    }
}
