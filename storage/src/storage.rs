//! One server's durable state: log, snapshot, meta, configuration.

mod background;
mod files;
mod open;
mod repair;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::disk::Disk;
use crate::entry::{Entry, EntryRef};
use crate::error::{AppendError, Corrupt, OpenError};
use crate::job::{FlushJob, Persisted, PrepareJob, Prepared};
use crate::log::{self, Log, SegmentInfo};
use crate::meta::{Meta, MetaFiles, Record};
use crate::snapshot::Snapshots;

pub use files::stored_configuration;
pub(crate) use files::{choose_meta, floor, is_leftover, look, missing_log, names, read_snapshot};
use open::Missing;
pub(crate) use repair::{is_kept, is_set_aside, stem_of_set_aside};

/// The smallest segment.
pub const MIN_SEGMENT: u32 = 4096;
/// The largest segment. Offsets are 32 bits, and a whole segment is mapped at once.
pub const MAX_SEGMENT: u32 = 1 << 30;
/// The size of a segment when nothing else is said: 32 MiB.
pub const DEFAULT_SEGMENT: u32 = 32 << 20;

/// How a [`Storage`] works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Size of the log segments made from now on, in bytes: a multiple of 4096 between
    /// [`MIN_SEGMENT`] and [`MAX_SEGMENT`]. Existing segments keep theirs. It bounds an entry, see
    /// [`Options::max_entry`], until [`Storage::fit`] asks for larger ones.
    pub segment_size: u32,
}

impl Default for Options {
    fn default() -> Options {
        Options { segment_size: DEFAULT_SEGMENT }
    }
}

impl Options {
    /// The most bytes of data that an entry may have: a segment less its header, the entry's
    /// header and its share of the index table.
    pub fn max_entry(&self) -> usize {
        log::max_entry(self.segment_size)
    }

    /// The smallest segment that an entry with so many bytes of data fits in; `None` if none is large enough.
    pub fn segment_for(entry: usize) -> Option<u32> {
        let overhead = MIN_SEGMENT as usize - log::max_entry(MIN_SEGMENT);
        let size = entry.checked_add(overhead)?.checked_next_multiple_of(4096)?;
        u32::try_from(size).ok().filter(|size| *size <= MAX_SEGMENT).map(|size| size.max(MIN_SEGMENT))
    }

    fn check(&self) -> Result<(), OpenError> {
        let size = self.segment_size;
        if !(MIN_SEGMENT..=MAX_SEGMENT).contains(&size) || !size.is_multiple_of(4096) {
            return Err(OpenError::SegmentSize { size, most: MAX_SEGMENT });
        }
        Ok(())
    }
}

/// What an open takes from outside, since this crate has no clock and no randomness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed {
    /// Random; becomes the identity of a directory that is made by this open.
    pub identity: u64,
    /// Random and not known to clients: what makes checksums in the log unforgeable by values.
    pub salt: u32,
    /// Wall time, in milliseconds; noted in new segments.
    pub now_ms: u64,
}

/// What an open found and did; for the server's log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// The directory was new.
    pub fresh: bool,
    /// The log was cut after its last whole entry, as a power cut leaves it.
    pub torn: bool,
    /// Names of deleted segments that were beyond the cut.
    pub beyond: Vec<String>,
    /// Names of deleted segments that were unused or replaced.
    pub dead: Vec<String>,
    /// A repair has begun the log anew: see [`Storage::open_damaged`].
    pub log_lost: bool,
    /// Why the configuration's file could not be read, if so. The configuration is then empty: what it was, log and
    /// snapshot say, if there is a log.
    pub configuration_lost: Option<String>,
}

/// Log, snapshot, meta and configuration of one directory.
///
/// Everything is written in memory at once. [`Storage::flush`] takes what is not yet durable into a
/// job that runs on any thread; [`Storage::persisted`] is told of its success. Nothing here blocks
/// on the disk except [`Storage::open`], and the creation of a segment that was not prepared.
#[cfg_attr(feature = "planted-bugs", derive(Clone))]
pub struct Storage<D: Disk> {
    disk: D,
    options: Options,
    log: Log<D>,
    snapshots: Snapshots<D::File>,
    record: Record,
    /// With the flush job while it is out.
    meta_files: Option<MetaFiles<D::File>>,
    meta_dirty: bool,
    configuration: Vec<u8>,
    configuration_dirty: bool,
    /// The flush job that is out writes it.
    configuration_out: bool,
    /// Why its file could not be written last time.
    unsaved: Option<String>,
    /// Files that a repair has set aside until it is complete.
    kept: Vec<String>,
    /// The last write.
    sequence: u64,
    /// The last write that counts as durable.
    durable: u64,
    /// The last write that a flush of everything has covered: below `durable` only after
    /// [`Storage::flush_promises`].
    flushed: u64,
    /// A flush job is out.
    flushing: bool,
    failed: Arc<AtomicBool>,
    opened: Opened,
}

impl<D: Disk> std::fmt::Debug for Storage<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Storage")
            .field("last_index", &self.last_index())
            .field("durable_index", &self.durable_index())
            .field("meta", &self.record.meta)
            .finish_non_exhaustive()
    }
}

impl<D: Disk> Storage<D> {
    /// What the open found and did.
    pub fn opened(&self) -> &Opened {
        &self.opened
    }

    /// Whether the log was begun anew, because it was damaged or missing. `meta().lost` is then set, durably.
    pub fn log_lost(&self) -> bool {
        self.opened.log_lost
    }

    /// Whether a flush has failed. Then nothing is appended, flushed or called durable any more.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// What it was opened with, and has grown to since: see [`Storage::fit`].
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Sees to it that an entry with so many bytes of data fits into the segments made from now on. Returns false, having
    /// done nothing, if no segment is large enough.
    pub fn fit(&mut self, entry: usize) -> bool {
        let Some(size) = Options::segment_for(entry) else { return false };
        if size > self.options.segment_size {
            self.options.segment_size = size;
            self.log.grow(size);
        }
        true
    }

    /// The disk it lives on.
    pub fn disk(&self) -> &D {
        &self.disk
    }

    /// Bytes that can still be allocated on the disk.
    ///
    /// # Errors
    /// What the system says.
    pub fn available(&self) -> io::Result<u64> {
        self.disk.available()
    }

    /// The meta record, as last set.
    pub fn meta(&self) -> &Meta {
        &self.record.meta
    }

    /// Replaces the meta record: in memory now, on the disk with the flush that covers this write.
    pub fn set_meta(&mut self, meta: Meta) {
        if self.record.meta != meta {
            self.record.meta = meta;
            self.record.counter += 1;
            self.meta_dirty = true;
            self.sequence += 1;
        }
    }

    /// The configuration, as last set; empty when none ever was.
    pub fn configuration(&self) -> &[u8] {
        &self.configuration
    }

    /// Replaces the configuration: in memory now, on the disk with the flush that covers this
    /// write. Its size is bounded by the caller.
    pub fn set_configuration(&mut self, configuration: Vec<u8>) {
        self.configuration = configuration;
        self.configuration_dirty = true;
        self.sequence += 1;
    }

    /// Whether the configuration, as last set, is in its file, durably. Others may be told that this server has it only if
    /// it is, or if it is in the log.
    pub fn is_configuration_durable(&self) -> bool {
        !self.configuration_dirty && !self.configuration_out && self.unsaved.is_none()
    }

    /// Why the file of the configuration could not be written last time. It does not keep a flush from succeeding: the
    /// file repeats what log and snapshot say (but for members without a log). [`Storage::save_again`] tries once more, and so does
    /// the next [`Storage::set_configuration`].
    pub fn unsaved(&self) -> Option<&str> {
        self.unsaved.as_deref()
    }

    /// Has the next flush write the configuration's file, if that failed. To be called now and then while
    /// [`Storage::unsaved`] says something.
    pub fn save_again(&mut self) {
        if self.unsaved.is_some() && !self.configuration_dirty && !self.configuration_out {
            self.configuration_dirty = true;
            self.sequence += 1;
        }
    }

    /// The lowest index in the log; 1 when it is empty.
    pub fn first_index(&self) -> u64 {
        self.log.first_index()
    }

    /// The highest index in the log; 0 when it is empty.
    pub fn last_index(&self) -> u64 {
        self.log.last_index()
    }

    /// The term of the last entry; 0 when there is none.
    pub fn last_term(&self) -> u64 {
        self.log.last_term()
    }

    /// The term of the entry at `index`; 0 for index 0, `None` outside the log.
    pub fn term(&self, index: u64) -> Option<u64> {
        self.log.term(index)
    }

    /// The first index in the log of the run of equal terms that `index` is in; 0 when `index` is
    /// not in the log.
    pub fn term_start(&self, index: u64) -> u64 {
        self.log.term_start(index).unwrap_or(0)
    }

    /// Appends an entry, in memory.
    ///
    /// # Errors
    /// [`AppendError::TooLarge`], [`AppendError::Full`] or [`AppendError::Disk`] when the next
    /// segment was needed and could not be made, [`AppendError::Failed`]. Nothing has changed then.
    ///
    /// # Panics
    /// When its index is not the last one plus 1, or its term is below the last one: a mistake of
    /// the caller that would break the log.
    pub fn append(&mut self, entry: &Entry) -> Result<(), AppendError> {
        self.log.append(entry)?;
        self.sequence += 1;
        Ok(())
    }

    /// Drops every entry above `last`, in memory: the log goes on in a new segment. Does nothing
    /// when there is none.
    ///
    /// # Errors
    /// As [`Storage::append`]; nothing has changed then.
    ///
    /// # Panics
    /// When `last` is below the snapshot: what it covers was committed.
    pub fn truncate(&mut self, last: u64) -> Result<(), AppendError> {
        let floor = self.snapshots.floor();
        assert!(last >= floor, "truncated to {last}, below the snapshot at {floor}");
        if self.log.truncate(last)? {
            self.sequence += 1;
        }
        Ok(())
    }

    /// The entry at `index`, its checksum verified; `None` outside the log and at a hole, see [`Storage::lookup`].
    ///
    /// # Errors
    /// [`Corrupt`] when its bytes have changed since they were written.
    pub fn get(&self, index: u64) -> Result<Option<EntryRef<'_>>, Corrupt> {
        self.log.get(index)
    }

    /// Entries from `from` on without a gap (so none at or behind a hole): at most `max_count`, and at
    /// most `max_bytes` of data and headers (64 bytes each), but at least one if there is one and
    /// `max_count` is not 0.
    ///
    /// # Errors
    /// [`Corrupt`] when the bytes of one have changed since they were written.
    pub fn entries(&self, from: u64, max_count: usize, max_bytes: usize) -> Result<Vec<Entry>, Corrupt> {
        let mut out = Vec::new();
        let mut bytes = 0_usize;
        let mut index = from;
        while out.len() < max_count {
            let Some(entry) = self.get(index)? else {
                break;
            };
            bytes = bytes.saturating_add(crate::entry::HEADER + entry.data.len());
            if bytes > max_bytes && !out.is_empty() {
                break;
            }
            out.push(entry.to_owned());
            index += 1;
        }
        Ok(out)
    }

    /// The number of the last write. Every append, truncation, and change of meta or configuration
    /// has a number of its own, for the life of this value.
    pub fn write_sequence(&self) -> u64 {
        self.sequence
    }

    /// Every write up to this number counts as durable. What the open found has number 0.
    pub fn durable_sequence(&self) -> u64 {
        self.durable
    }

    /// Every entry up to this index, as it is now in the log, counts as durable: it is, unless
    /// [`Storage::flush_promises`] is used.
    pub fn durable_index(&self) -> u64 {
        self.log.durable_index()
    }

    /// Whether every write so far is durable, whatever counts as such.
    pub fn is_flushed(&self) -> bool {
        self.flushed == self.sequence
    }

    /// Gives the memory of the log's pages back to the system, which keeps them cached as long as it likes: a log that
    /// was read from end to end would count as this process's memory otherwise.
    pub fn release_memory(&self) {
        self.log.release_memory();
    }

    /// A job that makes every write so far durable; `None` when all are, while another job is out,
    /// and after a flush has failed.
    pub fn flush(&mut self) -> Option<FlushJob<D>> {
        if self.flushed == self.sequence {
            return None;
        }
        self.job(true)
    }

    /// As [`Storage::flush`], but entries count as durable though they are only in memory: for
    /// those who trade a power loss for speed. Meta and configuration are flushed all the same.
    /// What the log itself records of its durability comes from real flushes only.
    pub fn flush_promises(&mut self) -> Option<FlushJob<D>> {
        if self.durable == self.sequence {
            return None;
        }
        self.job(false)
    }

    fn job(&mut self, log: bool) -> Option<FlushJob<D>> {
        if self.flushing || self.has_failed() {
            return None;
        }
        let meta = if self.meta_dirty {
            let files = self.meta_files.take()?;
            self.meta_dirty = false;
            Some((files, self.record.clone()))
        } else {
            None
        };
        let rename = self.commit();
        let forget = std::mem::take(&mut self.snapshots.forget);
        // A snapshot counts only after the log that it covers is really durable.
        let log = log || rename.is_some() || self.log.is_anew();
        let configuration = std::mem::take(&mut self.configuration_dirty).then(|| self.configuration.clone());
        self.configuration_out = configuration.is_some();
        // A repair is complete when the loss is taken back, which this job makes durable before it deletes anything.
        let tidy = if self.record.meta.lost { Vec::new() } else { std::mem::take(&mut self.kept) };
        self.flushing = true;
        Some(FlushJob {
            disk: self.disk.clone(),
            sequence: self.sequence,
            log: if log { self.log.capture() } else { self.log.promise() },
            whole: log,
            forget,
            rename,
            meta,
            configuration,
            tidy,
            failed: Arc::clone(&self.failed),
        })
    }

    /// The flush job that was out has succeeded.
    ///
    /// # Panics
    /// When no job is out.
    pub fn persisted(&mut self, persisted: Persisted<D>) {
        assert!(self.flushing, "a flush that nobody asked for");
        self.flushing = false;
        self.durable = persisted.sequence;
        if persisted.meta.is_some() {
            self.meta_files = persisted.meta;
        }
        self.configuration_out = false;
        if let Some(written) = persisted.configuration {
            self.unsaved = written.err();
        }
        if persisted.renamed {
            self.committed();
        }
        if persisted.whole {
            self.flushed = persisted.sequence;
            self.log.persisted();
        } else {
            self.log.promised();
        }
    }

    /// A job that creates the next segment, when the active one is half full and there is none yet.
    pub fn prepare(&mut self) -> Option<PrepareJob<D>> {
        self.log.prepare()
    }

    /// What became of the prepare job that was out. An error is not fatal: the next segment is
    /// tried again later, and at the latest by the append that needs it.
    pub fn prepared(&mut self, result: io::Result<Prepared<D>>) {
        self.log.prepared(result);
    }

    /// Records that everything is durable, when it is and nothing on the disk says so yet. Returns
    /// whether there is now something to flush. To be called when there is nothing else to do.
    pub fn mark_idle(&mut self) -> bool {
        let idle = !self.flushing && self.sequence == self.flushed && !self.has_failed();
        if idle && self.log.mark_idle() {
            self.sequence += 1;
            return true;
        }
        false
    }

    /// The segments of the log, oldest first.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        self.log.segments()
    }
}
