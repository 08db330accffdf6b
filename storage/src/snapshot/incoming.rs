//! A snapshot that comes from another server, until it takes the place of log and snapshot here.
//!
//! Its bytes go to `snapshot.part`, and the entries that it refers to into segments that count
//! only if the snapshot that counts names them. So everything can be written, and made durable,
//! beside the log that is in use; one rename makes it the log.

use std::io;

use crate::bytes::narrow;
use crate::disk::{Disk, DiskFile, Flush};
use crate::entry::EntryRef;
use crate::error::{AppendError, Corrupt, OpenError};
use crate::log::compaction::runs_between;
use crate::log::{Contents, Segment, SegmentHeader, Writer, segment_name};
use crate::snapshot::file::{HEADER, Head, NAME, RECEIVING, Reference, SnapshotFile, SnapshotInfo};

/// Why a snapshot of another server is not taken, or not yet.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The snapshot here is as new: nothing to do.
    #[error("the snapshot here, at index {own}, is not older than the one offered, at {offered}")]
    Stale {
        /// The index of the one here.
        own: u64,
        /// The index of the one offered.
        offered: u64,
    },
    /// The log here has the entry at its index, of its term, and so all before it: it need only be committed.
    #[error("the log here already leads to the snapshot at index {0}")]
    InLog(u64),
    /// A chunk that does not begin where the last one ended.
    #[error("expected the bytes from offset {expected} on")]
    Offset {
        /// Where to go on.
        expected: u64,
    },
    /// An entry that is not the next one.
    #[error("expected the entry at index {expected}")]
    Order {
        /// The index of the next one; 0 when there is none.
        expected: u64,
    },
    /// What arrived is not what its checksums say, or no snapshot of a format known here.
    #[error("the snapshot that was received is unusable: {0}")]
    Unusable(String),
    /// Another snapshot is about to become durable; after the next flush it can be tried again.
    #[error("another snapshot is about to become durable")]
    Busy,
    /// No segment to go on in could be made, or an earlier flush failed.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The disk refused; it may be full.
    #[error("the disk refused: {0}")]
    Io(#[from] io::Error),
}

impl From<Corrupt> for InstallError {
    fn from(corrupt: Corrupt) -> InstallError {
        InstallError::Unusable(corrupt.to_string())
    }
}

/// What the storage tells about itself when an install is begun.
#[cfg_attr(feature = "planted-bugs", derive(Clone))]
pub(crate) struct Begun {
    pub(crate) segment_size: usize,
    pub(crate) salt: u32,
    pub(crate) now: u64,
    pub(crate) epoch: u32,
}

/// One segment to be written.
#[cfg_attr(feature = "planted-bugs", derive(Clone))]
struct Group {
    first: u64,
    last: u64,
    contents: Contents,
}

/// A snapshot that is being received. Get it from [`Storage::receive`](crate::Storage::receive); it is `Send`, but what
/// it does is copying into memory. To give up, hand it to [`Storage::abandon`](crate::Storage::abandon).
#[cfg_attr(feature = "planted-bugs", derive(Clone))]
pub struct Incoming<D: Disk> {
    disk: D,
    snapshot: SnapshotFile<D::File>,
    received: u64,
    begun: Begun,
    groups: Vec<Group>,
    /// The id of the first group's segment; 0 until the references are known.
    first_id: u32,
    /// Number of the next reference.
    next: usize,
    writer: Option<Writer<D::File>>,
    segments: Vec<Segment<D::File>>,
    made: Vec<String>,
}

impl<D: Disk> std::fmt::Debug for Incoming<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Incoming").field("info", &self.info()).field("received", &self.received).finish_non_exhaustive()
    }
}

impl<D: Disk> Incoming<D> {
    /// Begins with the first bytes of the file, which must hold the header.
    pub(crate) fn begin(disk: D, first: &[u8], begun: Begun) -> Result<Incoming<D>, InstallError> {
        let head = Incoming::<D>::peek(first)?;
        crate::log::compaction::remove_leftover(&disk, RECEIVING)?;
        let file = disk.create(RECEIVING, head.info.size)?;
        Ok(Incoming {
            disk,
            snapshot: SnapshotFile { name: RECEIVING, file, head },
            received: 0,
            begun,
            groups: Vec::new(),
            first_id: 0,
            next: 0,
            writer: None,
            segments: Vec::new(),
            made: vec![RECEIVING.to_owned()],
        })
    }

    /// The header in the first bytes of a snapshot's file.
    pub(crate) fn peek(first: &[u8]) -> Result<Head, InstallError> {
        let len = first.get(80..88).and_then(|raw| raw.try_into().ok()).map_or(0, u64::from_le_bytes);
        Head::decode(RECEIVING, first, len).map_err(|error: OpenError| InstallError::Unusable(error.to_string()))
    }

    /// What is received.
    pub fn info(&self) -> SnapshotInfo {
        self.snapshot.info()
    }

    /// Bytes of the file received so far: where the sender goes on.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Takes the next bytes of the file. Returns whether the references are known now; from then on
    /// [`Storage::stage`](crate::Storage::stage) may be called.
    ///
    /// # Errors
    /// [`InstallError::Offset`], which changes nothing; [`InstallError::Unusable`], after which it should be abandoned.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<bool, InstallError> {
        let info = self.snapshot.info();
        if offset != self.received {
            return Err(InstallError::Offset { expected: self.received });
        }
        let front = self.snapshot.head.front() as u64;
        if bytes.len() as u64 > info.size - self.received {
            return Err(InstallError::Unusable("more bytes than the snapshot has".to_owned()));
        }
        self.snapshot.file.write(offset, bytes);
        let before = self.received;
        self.received += bytes.len() as u64;
        if before < front && self.received >= front {
            // The bytes before must be those of the header that was begun with.
            let head = Incoming::<D>::peek(&self.snapshot.file.bytes()[..HEADER])?;
            if head != self.snapshot.head {
                return Err(InstallError::Unusable("another snapshot's bytes".to_owned()));
            }
            self.snapshot.check_tables()?;
            self.groups = self.plan()?;
        }
        Ok(self.received >= front)
    }

    /// Spreads the references over segments.
    fn plan(&self) -> Result<Vec<Group>, InstallError> {
        let runs = self.snapshot.head.runs;
        let (mut groups, mut contents, mut first) = (Vec::new(), Contents::default(), 1);
        for i in 0..self.snapshot.references() {
            let reference = self.snapshot.reference(i);
            let mut more = contents;
            more.add(reference.length as usize);
            if more.size(runs) > self.begun.segment_size && contents.entries > 0 {
                groups.push(Group { first, last: reference.index - 1, contents });
                first = reference.index;
                more = Contents::default();
                more.add(reference.length as usize);
            }
            if u32::try_from(more.size(runs)).is_err() {
                return Err(InstallError::Unusable("an entry of more than 4 GiB".to_owned()));
            }
            contents = more;
        }
        groups.push(Group { first, last: self.snapshot.info().index, contents });
        Ok(groups)
    }

    /// How many segments there will be, when they have no ids yet.
    pub(crate) fn ids_needed(&self) -> Option<usize> {
        (self.first_id == 0 && !self.groups.is_empty()).then_some(self.groups.len())
    }

    pub(crate) fn set_ids(&mut self, first: u32) {
        self.first_id = first;
    }

    /// The next entry that it needs; `None` when it has all, or does not know them yet.
    pub fn next(&self) -> Option<Reference> {
        let known = !self.groups.is_empty() && self.next < self.snapshot.references();
        known.then(|| self.snapshot.reference(self.next))
    }

    /// The entries that it needs from the next on.
    pub(crate) fn needs(&self) -> impl Iterator<Item = Reference> + '_ {
        let end = if self.groups.is_empty() { self.next } else { self.snapshot.references() };
        (self.next..end).map(|i| self.snapshot.reference(i))
    }

    /// Whether bytes and entries are all there.
    pub fn is_complete(&self) -> bool {
        self.received == self.snapshot.info().size && self.next == self.snapshot.references()
    }

    /// Whether an entry is the one referred to.
    pub(crate) fn matches(reference: &Reference, entry: EntryRef<'_>) -> bool {
        entry.index == reference.index && entry.term == reference.term && entry.digest() == reference.digest
    }

    /// Takes the next entry. The ids are set.
    pub(crate) fn push(&mut self, entry: EntryRef<'_>) -> Result<(), InstallError> {
        let Some(reference) = self.next() else {
            return Err(InstallError::Order { expected: 0 });
        };
        if entry.index != reference.index {
            return Err(InstallError::Order { expected: reference.index });
        }
        if !Self::matches(&reference, entry) || entry.data.len() != reference.length as usize {
            return Err(InstallError::Unusable(format!("entry {} is not the one referred to", entry.index)));
        }
        while self.groups[self.segments.len()].last < entry.index {
            self.close()?;
        }
        self.open()?;
        if let Some(writer) = &mut self.writer {
            writer.push(entry);
        }
        self.next += 1;
        Ok(())
    }

    /// Begins the segment of the present group, if it has not begun.
    fn open(&mut self) -> Result<(), InstallError> {
        if self.writer.is_some() {
            return Ok(());
        }
        let number = self.segments.len();
        let group = &self.groups[number];
        let id = self.first_id + narrow(number);
        let prev_count = match number.checked_sub(1) {
            None => 0,
            Some(before) => self.groups[before].last + 1 - self.groups[before].first,
        };
        let header = SegmentHeader {
            sealed: true,
            installed: true,
            sparse: false,
            id,
            version: 1,
            size: 0,
            salt: crc32c::crc32c_append(self.begun.salt, &id.to_le_bytes()),
            first: group.first,
            mark: group.last,
            created: self.begun.now,
            prev: if number == 0 { 0 } else { id - 1 },
            prev_count: u32::try_from(prev_count).unwrap_or(u32::MAX),
        };
        let name = segment_name(id, 1);
        let runs = runs_between(&self.snapshot.runs(), group.first, group.last);
        self.writer = Some(Writer::create(&self.disk, &name, header, group.contents, runs)?);
        self.made.push(name);
        Ok(())
    }

    fn close(&mut self) -> Result<(), InstallError> {
        self.open()?;
        if let Some(writer) = self.writer.take() {
            self.segments.push(writer.finish());
        }
        Ok(())
    }

    /// What makes it durable beside the log that is in use, once it is complete. The ids are set.
    pub(crate) fn finish(mut self) -> Result<StageJob<D>, InstallError> {
        if let Some(reference) = self.next() {
            return Err(InstallError::Order { expected: reference.index });
        }
        if !self.is_complete() {
            return Err(InstallError::Offset { expected: self.received });
        }
        while self.segments.len() < self.groups.len() {
            self.close()?;
        }
        Ok(StageJob { incoming: self })
    }

    /// The files made so far.
    pub(crate) fn files(&self) -> &[String] {
        &self.made
    }
}

/// Makes a received snapshot and its entries durable. Run it on any thread.
pub struct StageJob<D: Disk> {
    incoming: Incoming<D>,
}

impl<D: Disk> std::fmt::Debug for StageJob<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StageJob").field("info", &self.incoming.info()).finish_non_exhaustive()
    }
}

/// A snapshot of another server, complete and durable, that does not count yet; give it to
/// [`Storage::install`](crate::Storage::install).
#[cfg_attr(feature = "planted-bugs", derive(Clone))]
pub struct Staged<D: Disk> {
    pub(crate) snapshot: SnapshotFile<D::File>,
    pub(crate) segments: Vec<Segment<D::File>>,
    pub(crate) made: Vec<String>,
    pub(crate) epoch: u32,
}

impl<D: Disk> Staged<D> {
    /// What it is.
    pub fn info(&self) -> SnapshotInfo {
        self.snapshot.info()
    }
}

impl<D: Disk> std::fmt::Debug for Staged<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Staged").field("info", &self.info()).finish_non_exhaustive()
    }
}

/// A staged snapshot that was not installed, and why. Nothing has changed; hand it to
/// [`Storage::abandon_staged`](crate::Storage::abandon_staged), or try again.
pub struct Refused<D: Disk> {
    /// What was refused.
    pub staged: Staged<D>,
    /// Why.
    pub reason: InstallError,
}

impl<D: Disk> std::fmt::Debug for Refused<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Refused").field("staged", &self.staged).field("reason", &self.reason).finish()
    }
}

impl<D: Disk> StageJob<D> {
    /// Checks the payload and makes everything durable. Blocks; for any thread.
    ///
    /// # Errors
    /// [`InstallError::Unusable`], or what the disk says. What was received is deleted then.
    pub fn run(self) -> Result<Staged<D>, InstallError> {
        let (disk, made) = (self.incoming.disk.clone(), self.incoming.made.clone());
        let result = self.steps();
        if result.is_err() {
            for name in made {
                // What stays is deleted by the next open.
                let _ = disk.remove(&name);
            }
        }
        result
    }

    fn steps(self) -> Result<Staged<D>, InstallError> {
        let Incoming { disk, mut snapshot, begun, segments, made, .. } = self.incoming;
        for i in 0..snapshot.head.blocks() {
            snapshot.block(i)?;
        }
        for segment in &segments {
            segment.file.flusher(0..segment.file.len()).run()?;
        }
        // Which segments came with it is what the other server does not know.
        let ids = segments.iter().map(|segment| segment.header.id);
        snapshot.head.base = (ids.clone().min().unwrap_or(0), ids.max().unwrap_or(0));
        let head = snapshot.head.encode();
        snapshot.file.write(0, &head);
        snapshot.file.flusher(0..snapshot.file.len()).run()?;
        disk.sync_dir()?;
        snapshot.name = NAME;
        Ok(Staged { snapshot, segments, made, epoch: begun.epoch })
    }
}
