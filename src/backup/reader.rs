//! Reading a backup, and finding out that it is whole.

use super::{BackupError, END, ENTRY, FORMAT, HEADER, MAGIC, MOST, PART, SNAPSHOT};
use copycat_storage::Entry;
use std::io::{ErrorKind, Read};

/// What a backup says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The last entry whose effect it holds.
    pub index: u64,
    /// The term of that entry.
    pub term: u64,
    /// Bytes of the snapshot's file.
    pub snapshot: u64,
    /// How many entries follow it.
    pub entries: u64,
}

/// A part of a backup, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// The next bytes of the snapshot's file.
    Snapshot(Vec<u8>),
    /// The next entry.
    Entry(Entry),
}

/// Reads a backup from its beginning, and checks all of it on the way.
#[derive(Debug)]
pub struct Reader<R> {
    from: R,
    header: Header,
    offset: u64,
    crc: u32,
    parts: u64,
    /// Bytes of the snapshot, and entries, that have come,
    snapshot: u64,
    entries: u64,
    /// and the last of those.
    last: u64,
    ended: bool,
}

fn number(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].try_into().map_or(0, u64::from_le_bytes)
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].try_into().map_or(0, u32::from_le_bytes)
}

fn damaged<T>(offset: u64, reason: impl Into<String>) -> Result<T, BackupError> {
    Err(BackupError::Damaged { offset, reason: reason.into() })
}

impl<R: Read> Reader<R> {
    /// Reads the beginning.
    ///
    /// # Errors
    /// If it is that of no backup, damaged, or cannot be read.
    pub fn new(from: R) -> Result<Self, BackupError> {
        let header = Header { index: 0, term: 0, snapshot: 0, entries: 0 };
        let mut reader =
            Self { from, header, offset: 0, crc: 0, parts: 0, snapshot: 0, entries: 0, last: 0, ended: false };
        let mut bytes = reader.take(HEADER)?;
        if bytes[..8] != MAGIC[..] {
            return damaged(0, "it does not begin as a backup does");
        }
        let format = u16::from_le_bytes([bytes[8], bytes[9]]);
        let told = word(&bytes, 12);
        reader.crc = crc32c::crc32c(&bytes);
        bytes[12..16].fill(0);
        if crc32c::crc32c(&bytes) != told {
            return damaged(0, "its header has another checksum");
        }
        if format > FORMAT {
            return Err(BackupError::FutureFormat { found: format });
        }
        reader.header = Header {
            index: number(&bytes, 16),
            term: number(&bytes, 24),
            snapshot: number(&bytes, 32),
            entries: number(&bytes, 40),
        };
        Ok(reader)
    }

    /// What it says of itself.
    pub fn header(&self) -> Header {
        self.header
    }

    /// The next part; `None` at the end, and then all of it was as it was written.
    ///
    /// # Errors
    /// If it is damaged, or cannot be read. There is nothing more to be read then.
    pub fn next_part(&mut self) -> Result<Option<Part>, BackupError> {
        if self.ended {
            return Ok(None);
        }
        let at = self.offset;
        let head = self.take(PART)?;
        let (kind, length, told) = (word(&head, 0), word(&head, 4), word(&head, 8));
        if !(SNAPSHOT..=END).contains(&kind) || length > MOST || word(&head, 12) != 0 {
            return damaged(at, "no part of a backup begins so");
        }
        let body = self.take(length as usize)?;
        if crc32c::crc32c_append(crc32c::crc32c(&head[..8]), &body) != told {
            return damaged(at, "a part has another checksum");
        }
        if kind == END {
            return self.end(at, &body).map(|()| None);
        }
        self.parts += 1;
        self.crc = crc32c::crc32c_append(crc32c::crc32c_append(self.crc, &head), &body);
        if kind == SNAPSHOT { self.more(at, body) } else { self.entry(at, &body) }.map(Some)
    }

    /// Reads it to its end.
    ///
    /// # Errors
    /// As [`next_part`](Self::next_part).
    pub fn verify(mut self) -> Result<Header, BackupError> {
        while self.next_part()?.is_some() {}
        Ok(self.header)
    }

    fn more(&mut self, at: u64, body: Vec<u8>) -> Result<Part, BackupError> {
        self.snapshot += body.len() as u64;
        if self.entries > 0 || self.snapshot > self.header.snapshot {
            return damaged(at, "more of the snapshot than there is");
        }
        Ok(Part::Snapshot(body))
    }

    fn entry(&mut self, at: u64, body: &[u8]) -> Result<Part, BackupError> {
        if body.len() < ENTRY || self.snapshot != self.header.snapshot {
            return damaged(at, "an entry where none can be");
        }
        let entry = Entry {
            index: number(body, 0),
            term: number(body, 8),
            time: number(body, 16),
            session: number(body, 24),
            sequence: number(body, 32),
            kind: body[40],
            mode: body[41],
            data: body[ENTRY..].to_vec(),
        };
        if entry.index <= self.last || entry.index > self.header.index {
            return damaged(at, format!("entry {} is not in its place", entry.index));
        }
        (self.last, self.entries) = (entry.index, self.entries + 1);
        Ok(Part::Entry(entry))
    }

    fn end(&mut self, at: u64, body: &[u8]) -> Result<(), BackupError> {
        if body.len() != 16 || number(body, 0) != self.parts || word(body, 12) != 0 {
            return damaged(at, "parts are missing");
        }
        if word(body, 8) != self.crc {
            return damaged(at, "the whole has another checksum");
        }
        if self.snapshot != self.header.snapshot || self.entries != self.header.entries {
            return damaged(at, "it ends before all of it has come");
        }
        let mut more = [0];
        loop {
            match self.from.read(&mut more) {
                Ok(0) => break,
                Ok(_) => return damaged(self.offset, "there is something behind its end"),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
        self.ended = true;
        Ok(())
    }

    /// The next bytes. Memory is taken for what comes, not for what a length pretends.
    fn take(&mut self, length: usize) -> Result<Vec<u8>, BackupError> {
        let mut bytes = Vec::new();
        (&mut self.from).take(length as u64).read_to_end(&mut bytes)?;
        if bytes.len() < length {
            return damaged(self.offset + bytes.len() as u64, "it ends too early");
        }
        self.offset += length as u64;
        Ok(bytes)
    }
}
