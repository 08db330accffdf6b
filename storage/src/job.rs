//! Work that runs on another thread: flushing, and creating a segment ahead of need.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::configuration;
use crate::disk::{Disk, DiskFile, Flush};
use crate::log::{Capture, SegmentHeader, create_segment};
use crate::meta::{MetaFiles, Record};
use crate::snapshot;

/// Makes everything durable that was written before [`Storage::flush`](crate::Storage::flush)
/// returned it. Dropping it without running it leaves the storage waiting for ever: do so only
/// with the storage itself.
pub struct FlushJob<D: Disk> {
    pub(crate) disk: D,
    pub(crate) sequence: u64,
    pub(crate) log: Capture<D>,
    pub(crate) whole: bool,
    /// Log and snapshot were given up: the old snapshot is to be deleted.
    pub(crate) forget: bool,
    /// A snapshot to be given the name that counts.
    pub(crate) rename: Option<(&'static str, &'static str)>,
    pub(crate) meta: Option<(MetaFiles<D::File>, Record)>,
    pub(crate) configuration: Option<Vec<u8>>,
    /// What is to be deleted last, and may stay.
    pub(crate) tidy: Vec<String>,
    pub(crate) failed: Arc<AtomicBool>,
}

/// What a flush that succeeded hands back; give it to
/// [`Storage::persisted`](crate::Storage::persisted).
#[must_use = "the storage does not know of the flush before `persisted` is called"]
#[cfg_attr(feature = "planted-bugs", derive(Clone))]
pub struct Persisted<D: Disk> {
    pub(crate) sequence: u64,
    pub(crate) whole: bool,
    pub(crate) renamed: bool,
    pub(crate) meta: Option<MetaFiles<D::File>>,
    /// What became of the configuration's file, if it was to be written, or why it was not.
    pub(crate) configuration: Option<Result<(), String>>,
}

impl<D: Disk> Persisted<D> {
    /// Every write up to this number is durable; but see [`Storage::unsaved`](crate::Storage::unsaved).
    pub fn sequence(&self) -> u64 {
        self.sequence
    }
}

impl<D: Disk> std::fmt::Debug for Persisted<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Persisted").field("sequence", &self.sequence).finish_non_exhaustive()
    }
}

impl<D: Disk> std::fmt::Debug for FlushJob<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FlushJob").field("sequence", &self.sequence).finish_non_exhaustive()
    }
}

impl<D: Disk> FlushJob<D> {
    /// Every write up to this number will be durable after it.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Whether running it asks nothing of the disk.
    pub fn is_instant(&self) -> bool {
        let log = &self.log;
        self.meta.is_none()
            && !self.forget
            && self.rename.is_none()
            && self.configuration.is_none()
            && log.flushers.is_empty()
            && !log.sync_dir
            && log.remove.is_empty()
            && self.tidy.is_empty()
    }

    /// Does it, and blocks until it is done. For any thread. That the configuration's file could not be written is no
    /// failure: [`Storage::unsaved`](crate::Storage::unsaved) tells of it afterwards.
    ///
    /// # Errors
    /// What the disk says. The storage it came from then refuses to append, to flush and to call
    /// anything more durable; the process must end, since the system may have dropped the pages.
    pub fn run(self) -> io::Result<Persisted<D>> {
        let failed = Arc::clone(&self.failed);
        let result = self.steps();
        if result.is_err() {
            failed.store(true, Ordering::Release);
        }
        result
    }

    fn steps(self) -> io::Result<Persisted<D>> {
        // Meta before log: a cut between the two leaves a term that is newer than the log's last
        // one, as after any election. (The system may still write log pages earlier by itself, so
        // that a reader of both must take the higher term.)
        let mut meta = None;
        if let Some((mut files, record)) = self.meta {
            files.save(&record)?;
            meta = Some(files);
        }
        for flusher in &self.log.flushers {
            flusher.run()?;
        }
        if let Some((from, to)) = &self.log.rename {
            self.disk.rename(from, to)?;
        }
        if self.log.sync_dir {
            self.disk.sync_dir()?;
        }
        // After the log that takes the place of what it covers, and before that is deleted.
        if self.forget && self.disk.list()?.iter().any(|name| name == snapshot::NAME) {
            self.disk.remove(snapshot::NAME)?;
            self.disk.sync_dir()?;
        }
        // A snapshot after the log that it covers. This is what makes it count, and an install too.
        if let Some((from, to)) = self.rename {
            self.disk.rename(from, to)?;
            self.disk.sync_dir()?;
        }
        // The configuration after the log: it never speaks of an entry that is not durable. It says what the log says, so
        // a disk that has no room for it is no reason to end.
        let configuration =
            self.configuration.as_deref().map(|data| configuration::save(&self.disk, data)).transpose()?;
        // Deletions last: only now is everything durable that takes the deleted files' place.
        if !self.log.remove.is_empty() {
            for name in &self.log.remove {
                self.disk.remove(name)?;
            }
            self.disk.sync_dir()?;
        }
        for name in &self.tidy {
            // Somebody may have been faster. What stays is deleted by the next open.
            let _ = self.disk.remove(name);
        }
        let renamed = self.rename.is_some();
        let configuration = configuration.map(|written| written.map_err(|error| error.to_string()));
        Ok(Persisted { sequence: self.sequence, whole: self.whole, renamed, meta, configuration })
    }
}

/// Creates the next segment before it is needed.
pub struct PrepareJob<D: Disk> {
    disk: D,
    name: String,
    header: SegmentHeader,
}

/// A segment created ahead; give it to [`Storage::prepared`](crate::Storage::prepared).
pub struct Prepared<D: Disk> {
    pub(crate) file: D::File,
    pub(crate) header: SegmentHeader,
}

impl<D: Disk> std::fmt::Debug for PrepareJob<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PrepareJob").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<D: Disk> std::fmt::Debug for Prepared<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepared").field("header", &self.header).finish_non_exhaustive()
    }
}

impl<D: Disk> PrepareJob<D> {
    pub(crate) fn new(disk: D, name: String, header: SegmentHeader) -> PrepareJob<D> {
        PrepareJob { disk, name, header }
    }

    /// Allocates the file, writes its header, and makes both durable. Blocks; for any thread.
    ///
    /// # Errors
    /// What the disk says. Hand the error to [`Storage::prepared`](crate::Storage::prepared) too:
    /// it is not fatal by itself, the file is simply not used.
    pub fn run(self) -> io::Result<Prepared<D>> {
        let made = create_segment(&self.disk, &self.name, &self.header).and_then(|file| {
            file.flusher(0..file.len()).run()?;
            self.disk.sync_dir()?;
            Ok(file)
        });
        match made {
            Ok(file) => Ok(Prepared { file, header: self.header }),
            Err(error) => {
                // Gives its room back. If that fails too, the next open deletes it.
                let _ = self.disk.remove(&self.name);
                Err(error)
            }
        }
    }
}
