//! Writing a snapshot, on another thread.

use crate::disk::{Disk, DiskFile, Flush};
use crate::entry::EntryRef;
use crate::error::WorkError;
use crate::log::compaction::remove_leftover;
use crate::log::{Segment, Source};
use crate::snapshot::Snapshot;
use crate::snapshot::file::{BLOCK, HEADER, Head, NAME, Reference, SnapshotFile, WRITING, tables};

/// Reads entries of a log that another thread appends to, at indexes that rise.
pub(crate) struct Reader<D: Disk> {
    disk: D,
    /// Oldest first.
    sources: Vec<Source>,
    open: Option<(usize, Segment<D::File>)>,
}

impl<D: Disk> Reader<D> {
    pub(crate) fn new(disk: D, sources: Vec<Source>) -> Reader<D> {
        Reader { disk, sources, open: None }
    }

    pub(crate) fn get(&mut self, index: u64) -> Result<EntryRef<'_>, WorkError> {
        let place = self.sources.partition_point(|source| source.header.first <= index);
        let place = place.checked_sub(1).ok_or(WorkError::Missing(index))?;
        if self.open.as_ref().is_none_or(|(open, _)| *open != place) {
            self.open = Some((place, self.sources[place].open(&self.disk)?));
        }
        let (_, segment) = self.open.as_ref().ok_or(WorkError::Missing(index))?;
        segment.get(index)?.ok_or(WorkError::Missing(index))
    }
}

/// Writes a snapshot to a temporary file. Get it from [`Storage::take_snapshot`](crate::Storage::take_snapshot), and
/// give what comes of it to [`Storage::snapshotted`](crate::Storage::snapshotted).
pub struct SnapshotJob<D: Disk> {
    pub(crate) disk: D,
    pub(crate) log: Reader<D>,
    pub(crate) snapshot: Snapshot,
    pub(crate) term: u64,
    pub(crate) runs: Vec<(u64, u64)>,
    pub(crate) base: (u32, u32),
    pub(crate) epoch: u32,
    /// Of the entries looked up so far.
    pub(crate) resolved: Vec<Reference>,
    pub(crate) sorted: bool,
    pub(crate) file: Option<(D::File, Head)>,
    pub(crate) blocks: Vec<u32>,
}

/// A complete snapshot that does not count yet; give it to [`Storage::snapshotted`](crate::Storage::snapshotted).
#[must_use = "the snapshot never counts before `snapshotted` is called"]
pub struct Written<D: Disk> {
    pub(crate) file: SnapshotFile<D::File>,
    pub(crate) epoch: u32,
}

impl<D: Disk> std::fmt::Debug for SnapshotJob<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotJob").field("index", &self.snapshot.index).finish_non_exhaustive()
    }
}

impl<D: Disk> std::fmt::Debug for Written<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Written").field("info", &self.file.info()).finish_non_exhaustive()
    }
}

impl<D: Disk> SnapshotJob<D> {
    /// Does all of it. Blocks; for any thread.
    ///
    /// # Errors
    /// See [`SnapshotJob::step`].
    pub fn run(mut self) -> Result<Written<D>, WorkError> {
        loop {
            if let Some(written) = self.step(usize::MAX)? {
                return Ok(written);
            }
        }
    }

    /// Does a part of it: reads or writes about `bytes` bytes. Between two steps the caller may wait as long as it likes.
    ///
    /// # Errors
    /// [`WorkError::Missing`] when it refers to an entry that is not in the log, damage of one, or what the disk says. The
    /// job is then over; its error goes to [`Storage::snapshotted`](crate::Storage::snapshotted) all the same.
    pub fn step(&mut self, bytes: usize) -> Result<Option<Written<D>>, WorkError> {
        let result = self.steps(bytes);
        if result.is_err() && self.file.take().is_some() {
            // Gives its room back. If that fails, the next open deletes it.
            let _ = self.disk.remove(WRITING);
        }
        result
    }

    fn steps(&mut self, bytes: usize) -> Result<Option<Written<D>>, WorkError> {
        if !self.sorted {
            self.snapshot.references.sort_unstable();
            self.snapshot.references.dedup();
            self.sorted = true;
        }
        let mut left = bytes;
        while let Some(index) = self.snapshot.references.get(self.resolved.len()).copied() {
            if left == 0 {
                return Ok(None);
            }
            if index > self.snapshot.index {
                return Err(WorkError::Missing(index));
            }
            let entry = self.log.get(index)?;
            let length = u32::try_from(entry.data.len()).map_err(|_| WorkError::Missing(index))?;
            self.resolved.push(Reference { index, term: entry.term, length, digest: entry.digest() });
            left = left.saturating_sub(crate::entry::HEADER + entry.data.len());
        }
        let (payload, count) = (&self.snapshot.payload, self.resolved.len());
        if self.file.is_none() {
            let mut head =
                Head::new(self.snapshot.index, self.term, self.snapshot.time, payload.len(), count, self.runs.len());
            head.base = self.base;
            remove_leftover(&self.disk, WRITING)?;
            self.file = Some((self.disk.create(WRITING, head.info.size)?, head));
        }
        let Some((file, head)) = &mut self.file else {
            return Ok(None);
        };
        for block in payload.chunks(BLOCK).skip(self.blocks.len()) {
            if left == 0 {
                return Ok(None);
            }
            file.write((head.front() + self.blocks.len() * BLOCK) as u64, block);
            self.blocks.push(crc32c::crc32c(block));
            left = left.saturating_sub(block.len());
        }
        let Some((mut file, mut head)) = self.file.take() else {
            return Ok(None);
        };
        let tables = tables(&self.runs, &self.resolved, &self.blocks, payload.len());
        head.info.checksum = crc32c::crc32c(&tables);
        file.write(HEADER as u64, &tables);
        file.write(0, &head.encode());
        if let Err(error) = file.flusher(0..file.len()).run() {
            let _ = self.disk.remove(WRITING);
            return Err(error.into());
        }
        Ok(Some(Written { file: SnapshotFile { name: NAME, file, head }, epoch: self.epoch }))
    }
}
