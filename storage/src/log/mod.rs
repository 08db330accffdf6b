//! The log: a chain of segments.
//!
//! Every segment's header says which segment holds the entry before its first one (`prev`) and how
//! many entries of it count. Both, and the first index, never change once the segment holds an
//! entry, and a segment is only ever appended to. So *one* header with everything it leads back to
//! describes one whole state that the log really had, and which one that is does not depend on
//! what else lies in the directory: that is why a truncation can be a mere roll to a new segment,
//! with no flush, and still nothing that was replaced comes back (see `scan`).

pub(crate) mod compaction;
mod header;
mod marks;
mod open;
mod scan;
mod segment;
mod settled;
mod sparse;
mod table;
mod verify;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub use compaction::{Bounds, Compacted, CompactionJob};
pub use segment::SegmentInfo;

pub(crate) use header::{SegmentHeader, is_temporary, name as segment_name, parse};
pub(crate) use open::{found, fresh};
pub(crate) use scan::{Floor, Part, Plan, inspect};
pub(crate) use segment::{Segment, Source};
pub(crate) use verify::{entry_at, inspect_alone, verify};
pub(crate) use writer::{Contents, Writer};

use crate::disk::{Disk, DiskFile};
use crate::entry::{self, Entry, EntryRef};
use crate::error::{AppendError, Corrupt};
use crate::job::{PrepareJob, Prepared};
use segment::write_new_header;

/// What new segments are made with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Make {
    pub(crate) size: u32,
    /// Random; each segment's salt is derived from it and its id.
    pub(crate) salt: u32,
    /// The newest time known, in ms.
    pub(crate) now: u64,
}

impl Make {
    /// The header of a segment that is not used yet.
    fn header(&self, id: u32) -> SegmentHeader {
        SegmentHeader {
            sealed: false,
            installed: false,
            sparse: false,
            id,
            version: header::VERSION,
            size: self.size,
            salt: crc32c::crc32c_append(self.salt, &id.to_le_bytes()),
            first: 0,
            mark: 0,
            created: self.now,
            prev: 0,
            prev_count: 0,
        }
    }
}

/// What the log gives to a flush job.
pub(crate) struct Capture<D: Disk> {
    pub(crate) flushers: Vec<<D::File as DiskFile>::Flush>,
    /// The first segment of a log that was begun anew, to be given the name that counts.
    pub(crate) rename: Option<(String, String)>,
    pub(crate) sync_dir: bool,
    pub(crate) remove: Vec<String>,
}

/// Where a log that was begun anew stands. Until the meta record that says so is durable, no segment that begins it may
/// have a name that counts: its header may reach the disk at any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Anew {
    /// It was not, or that is durable.
    No,
    /// The first segment, of this id, has its temporary name.
    Unnamed(u32),
    /// A flush job that gives it its name is out.
    Naming,
}

/// The most bytes of data an entry may have in segments of `size` bytes.
pub(crate) fn max_entry(size: u32) -> usize {
    size as usize - header::HEADER - entry::HEADER - table::footprint(1, 1)
}

#[cfg_attr(feature = "planted-bugs", derive(Clone))]
pub(crate) struct Log<D: Disk> {
    disk: D,
    make: Make,
    /// The chain, oldest first; never empty. Only the last one is appended to.
    segments: Vec<Segment<D::File>>,
    /// First index and term of each run of equal terms in the log.
    runs: Vec<(u64, u64)>,
    next_id: u32,
    /// The segment created ahead.
    spare: Option<(D::File, SegmentHeader)>,
    /// A prepare job is out.
    preparing: bool,
    /// How full the active segment must be for the next attempt to create one ahead.
    prepare_at: u32,
    /// Names to delete once everything now in the log is durable.
    dead: Vec<String>,
    /// A file was created and the directory not synced.
    unsynced: bool,
    /// Everything up to this index is durable.
    durable: u64,
    /// What `durable` becomes when the flush that is out succeeds.
    in_flight: Option<u64>,
    /// Everything up to this index may be acknowledged: `durable`, or above it when the caller
    /// does not wait for flushes.
    acknowledged: u64,
    /// A flush failed.
    failed: Arc<AtomicBool>,
    /// First and last id of the segments that an install brought; zeros when none did.
    base: (u32, u32),
    /// The highest index without an entry; 0 when there is none. At or below the snapshot.
    hole: u64,
    /// Rises with every install, and when the log is given up: work planned before is about another log.
    epoch: u32,
    anew: Anew,
}

/// What is at an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup<'a> {
    /// An entry.
    Entry(EntryRef<'a>),
    /// Nothing any more: it was committed, the snapshot covers it, and compaction has dropped it
    /// (or it never came, because a snapshot came instead).
    Hole,
    /// Below the first or above the last index.
    Outside,
}

impl<D: Disk> Log<D> {
    pub(crate) fn failed(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.failed)
    }

    fn active(&self) -> &Segment<D::File> {
        self.segments.last().expect("a log has a segment")
    }

    fn active_mut(&mut self) -> &mut Segment<D::File> {
        self.segments.last_mut().expect("a log has a segment")
    }

    pub(crate) fn first_index(&self) -> u64 {
        self.segments[0].first()
    }

    pub(crate) fn last_index(&self) -> u64 {
        self.active().last
    }

    pub(crate) fn last_term(&self) -> u64 {
        self.runs.last().map_or(0, |run| run.1)
    }

    pub(crate) fn durable_index(&self) -> u64 {
        self.acknowledged.max(self.durable)
    }

    pub(crate) fn term(&self, index: u64) -> Option<u64> {
        if index == 0 {
            return Some(0);
        }
        if index < self.first_index() || index > self.last_index() {
            return None;
        }
        self.run_of(index).map(|run| run.1)
    }

    pub(crate) fn term_start(&self, index: u64) -> Option<u64> {
        self.term(index)?;
        self.run_of(index).map(|run| run.0)
    }

    fn run_of(&self, index: u64) -> Option<(u64, u64)> {
        let after = self.runs.partition_point(|run| run.0 <= index);
        after.checked_sub(1).map(|i| self.runs[i])
    }

    pub(crate) fn lookup(&self, index: u64) -> Result<Lookup<'_>, Corrupt> {
        match self.get(index)? {
            Some(entry) => Ok(Lookup::Entry(entry)),
            None if index >= self.first_index() && index <= self.last_index() => Ok(Lookup::Hole),
            None => Ok(Lookup::Outside),
        }
    }

    pub(crate) fn get(&self, index: u64) -> Result<Option<EntryRef<'_>>, Corrupt> {
        let after = self.segments.partition_point(|s| s.first() <= index);
        match after.checked_sub(1) {
            Some(i) => self.segments[i].get(index),
            None => Ok(None),
        }
    }

    pub(crate) fn append(&mut self, entry: &Entry) -> Result<(), AppendError> {
        assert_eq!(
            entry.index,
            self.last_index() + 1,
            "appended index {} after index {}",
            entry.index,
            self.last_index()
        );
        assert!(entry.term >= self.last_term(), "appended term {} after term {}", entry.term, self.last_term());
        self.check()?;
        let most = max_entry(self.make.size);
        if entry.data.len() > most {
            return Err(AppendError::TooLarge { bytes: entry.data.len(), most });
        }
        if !self.active().fits(entry.data.len()) {
            self.roll()?;
        }
        let new_term = self.runs.is_empty() || entry.term != self.last_term();
        let mark = self.durable;
        self.active_mut().append(entry, mark, new_term);
        if new_term {
            self.runs.push((entry.index, entry.term));
        }
        self.make.now = self.make.now.max(entry.time);
        Ok(())
    }

    /// Goes on in a new segment because the next entry does not fit.
    fn roll(&mut self) -> Result<(), AppendError> {
        // An active segment without an entry is one that an earlier open made with a smaller
        // size. No chain may lead through an empty segment, so it is replaced.
        let keep = if self.active().count() == 0 { self.segments.len() - 1 } else { self.segments.len() };
        self.start_segment(keep, self.last_index())
    }

    pub(crate) fn truncate(&mut self, last: u64) -> Result<bool, AppendError> {
        if last >= self.last_index() {
            return Ok(false);
        }
        self.check()?;
        let keep = self.segments.partition_point(|s| s.first() <= last);
        if last == 0 && self.anew != Anew::No {
            self.restart()?;
        } else if self.active().untouched() {
            // Nothing was ever written there, so it can begin elsewhere: first index and id
            // together still name one segment content, because the first index only falls.
            let mut active = self.segments.pop().expect("a log has a segment");
            self.drop_from(keep, last);
            let header = self.linked(active.header.clone(), last);
            active.header = header;
            active.last = last;
            active.write_header();
            self.segments.push(active);
        } else {
            self.start_segment(keep, last)?;
        }
        Ok(true)
    }

    /// Keeps the first `keep` segments and of them the entries through `last`, and appends a new
    /// segment. The new file comes first: without room nothing changes.
    fn start_segment(&mut self, keep: usize, last: u64) -> Result<(), AppendError> {
        let (file, header) = match self.spare.take() {
            Some(spare) => spare,
            None => {
                let header = self.make.header(self.next_id);
                self.next_id += 1;
                let file = self
                    .disk
                    .create(&header::name(header.id, header.version), u64::from(header.size))
                    .map_err(AppendError::create)?;
                self.unsynced = true;
                (file, header)
            }
        };
        self.drop_from(keep, last);
        let header = self.linked(header, last);
        self.prepare_at = header.size / 2;
        self.segments.push(Segment::blank(file, header));
        Ok(())
    }

    /// Drops the segments from number `keep` on and all entries above `last`.
    fn drop_from(&mut self, keep: usize, last: u64) {
        for segment in self.segments.drain(keep..) {
            // Deleted by the flush job that first makes the superseding header durable, after
            // that header: until then these may be what a power cut falls back to.
            self.dead.push(segment.name());
        }
        if let Some(segment) = self.segments.last_mut() {
            segment.cut(last);
        }
        let runs = self.runs.partition_point(|run| run.0 <= last);
        self.runs.truncate(runs);
        self.durable = self.durable.min(last);
        self.acknowledged = self.acknowledged.min(last);
        self.in_flight = self.in_flight.map(|index| index.min(last));
    }

    /// The header of a segment that follows the present ones at `last + 1`.
    fn linked(&self, mut header: SegmentHeader, last: u64) -> SegmentHeader {
        header.first = last + 1;
        header.mark = self.durable;
        (header.prev, header.prev_count) = match self.segments.last() {
            // Of no meaning after a settled segment, which may have more indexes than fit.
            Some(prev) => (prev.header.id, u32::try_from(prev.count()).unwrap_or(u32::MAX)),
            None => (0, 0),
        };
        header
    }

    fn check(&self) -> Result<(), AppendError> {
        if self.failed.load(Ordering::Acquire) {
            return Err(AppendError::Failed);
        }
        Ok(())
    }

    /// Writes the durable index into the active header when nothing else records it. Says whether
    /// there was something to write.
    pub(crate) fn mark_idle(&mut self) -> bool {
        let durable = self.durable;
        let active = self.active_mut();
        if active.last != durable || active.header.mark >= durable {
            return false;
        }
        active.header.mark = durable;
        active.write_header();
        true
    }

    /// Everything written and not captured yet.
    pub(crate) fn capture(&mut self) -> Capture<D> {
        let full = self.segments.len() - 1;
        for i in 0..full {
            let segment = &self.segments[i];
            if segment.header.sealed || segment.tabled.is_some() {
                continue;
            }
            let runs = compaction::runs_between(&self.runs, segment.first(), segment.last);
            self.segments[i].write_table(&runs);
        }
        let flushers = self.segments.iter_mut().filter_map(Segment::capture);
        let flushers = flushers.collect();
        self.in_flight = Some(self.last_index());
        let rename = self.name_anew();
        Capture {
            flushers,
            rename,
            sync_dir: std::mem::take(&mut self.unsynced),
            remove: std::mem::take(&mut self.dead),
        }
    }

    /// A capture of nothing: what is written stays to be captured.
    pub(crate) fn promise(&mut self) -> Capture<D> {
        self.in_flight = Some(self.last_index());
        Capture { flushers: Vec::new(), rename: None, sync_dir: false, remove: Vec::new() }
    }

    /// The job of the last promise has run.
    pub(crate) fn promised(&mut self) {
        if let Some(index) = self.in_flight.take() {
            self.acknowledged = self.acknowledged.max(index);
        }
    }

    /// The flush of the last capture succeeded.
    pub(crate) fn persisted(&mut self) {
        if let Some(index) = self.in_flight.take() {
            self.durable = self.durable.max(index);
        }
        if self.anew == Anew::Naming {
            self.anew = Anew::No;
        }
        for segment in &mut self.segments {
            segment.seal();
        }
    }

    pub(crate) fn release_memory(&self) {
        for segment in &self.segments {
            segment.file.release();
        }
    }

    pub(crate) fn prepare(&mut self) -> Option<PrepareJob<D>> {
        let wanted = self.spare.is_none() && !self.preparing && self.check().is_ok();
        if !wanted || self.active().end < self.prepare_at {
            return None;
        }
        self.preparing = true;
        let header = self.make.header(self.next_id);
        self.next_id += 1;
        Some(PrepareJob::new(self.disk.clone(), header::name(header.id, header.version), header))
    }

    /// Takes what became of the prepare job; a segment that came too late is deleted with the next
    /// flush.
    pub(crate) fn prepared(&mut self, result: std::io::Result<Prepared<D>>) {
        self.preparing = false;
        match result {
            // Ids rise along the log; one that was overtaken by a roll cannot be used, nor one that has become too small.
            Ok(prepared) if prepared.header.id > self.active().header.id && prepared.header.size >= self.make.size => {
                self.spare = Some((prepared.file, prepared.header));
            }
            Ok(prepared) => {
                let header = prepared.header;
                self.dead.push(header::name(header.id, header.version));
            }
            Err(_) => {
                // Not again at once: when the active segment has grown by another sixteenth. The
                // roll itself tries once more and reports the error.
                let active = self.active();
                self.prepare_at = active.end.saturating_add(active.header.size / 16);
            }
        }
    }

    pub(crate) fn segments(&self) -> Vec<SegmentInfo> {
        self.segments.iter().map(Segment::info).collect()
    }

    /// Makes segments of this size from now on, if that is more than before. One that was created ahead is too small then.
    pub(crate) fn grow(&mut self, size: u32) {
        if size <= self.make.size {
            return;
        }
        self.make.size = size;
        if let Some((_, spare)) = self.spare.take() {
            self.dead.push(header::name(spare.id, spare.version));
        }
    }
}

/// Creates the file of a segment with `header`, which is written but not flushed.
pub(crate) fn create_segment<D: Disk>(disk: &D, name: &str, header: &SegmentHeader) -> std::io::Result<D::File> {
    let mut file = disk.create(name, u64::from(header.size))?;
    write_new_header(&mut file, header);
    Ok(file)
}
