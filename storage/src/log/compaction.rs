//! Compaction: rewriting settled segments without the entries that nothing needs any more.
//!
//! The rule that everything here keeps: *holes exist only at or below the latest durable snapshot,
//! and every entry that it refers to is in the log.* A job is planned for segments that end at or
//! below the snapshot, and asks the snapshot itself, and every one that is being streamed, what
//! they refer to.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::disk::{Disk, DiskFile, Flush};
use crate::entry;
use crate::error::WorkError;
use crate::log::header::{self, SegmentHeader};
use crate::log::marks::Marks;
use crate::log::segment::{Segment, Source};
use crate::log::writer::{Contents, Writer};
use crate::snapshot::SnapshotFile;

/// The most segments that one minor compaction reads.
pub(crate) const MOST_SOURCES: usize = 64;

/// Through where entries may be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Nothing above this index is dropped, whatever its mode: the lower of the snapshot's index
    /// and the index that all members that count hold. (The storage never goes above its durable
    /// snapshot.)
    pub through: u64,
    /// The lowest durable index of all available stateful members. Nothing above it is dropped of
    /// the modes `full`, `sequential`, `expiring`, `tombstone` and `unknown`.
    pub global: u64,
    /// What the mode `default` stands for: `snapshot` if the machine writes snapshots itself, else
    /// `sequential`.
    pub machine_snapshots: bool,
}

/// Which compaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Minor,
    Major,
}

/// When an entry is dropped, given that nothing refers to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// At once.
    Covered,
    /// When released.
    Released,
    /// When released, and on all members.
    Everywhere,
    /// As that, after every earlier entry that is due: by a major compaction.
    InOrder,
}

impl Rule {
    /// By the mode in an entry; one that this version does not know is handled as a tombstone.
    fn of(mode: u8, machine_snapshots: bool) -> Rule {
        match mode {
            0 if machine_snapshots => Rule::Covered,
            2 => Rule::Covered,
            3 | 4 => Rule::Released,
            5 => Rule::Everywhere,
            _ => Rule::InOrder,
        }
    }
}

/// Rewrites segments on another thread. Get it from [`Storage::plan_minor`](crate::Storage::plan_minor)
/// or [`Storage::plan_major`](crate::Storage::plan_major), and give what it makes back to
/// [`Storage::compacted`](crate::Storage::compacted), whatever came of it.
pub struct CompactionJob<D: Disk> {
    pub(crate) disk: D,
    pub(crate) kind: Kind,
    pub(crate) bounds: Bounds,
    /// What to rewrite, oldest first, with the compact marks of the moment of planning.
    pub(crate) sources: VecDeque<Source>,
    /// First index and term of each run of equal terms.
    pub(crate) runs: Vec<(u64, u64)>,
    /// Snapshots whose references stay: the durable one, and those being streamed.
    pub(crate) keep: Vec<Arc<SnapshotFile<D::File>>>,
    /// The size that neighbours are merged up to.
    pub(crate) size: usize,
    pub(crate) salt: u32,
    pub(crate) epoch: u32,
    pub(crate) failed: Arc<AtomicBool>,
    /// Looked at, and to be rewritten together.
    pub(crate) group: Vec<Scanned<D::File>>,
    pub(crate) writing: Option<Writing<D::File>>,
    pub(crate) done: Vec<Output<D::File>>,
    pub(crate) looked: Vec<Looked>,
}

/// A source and what of it stays.
pub(crate) struct Scanned<F> {
    segment: Segment<F>,
    keep: Vec<u64>,
    contents: Contents,
    dropped: usize,
    looked: Looked,
}

/// What a look at a segment found that it had to leave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Looked {
    pub(crate) id: u32,
    pub(crate) version: u32,
    /// Released, and left.
    pub(crate) tombstones: u32,
    /// Not referred to by the snapshot, and left.
    pub(crate) stuck: u32,
}

/// A new version that is being written.
pub(crate) struct Writing<F> {
    temporary: String,
    name: String,
    writer: Writer<F>,
    group: VecDeque<Scanned<F>>,
    /// How much of the first of the group is written.
    at: usize,
    replaces: Vec<(u32, u32)>,
    tombstones: u32,
    stuck: u32,
}

/// A new version that is durable.
pub(crate) struct Output<F> {
    pub(crate) segment: Segment<F>,
    /// Id and version of those whose place it takes, oldest first.
    pub(crate) replaces: Vec<(u32, u32)>,
    pub(crate) tombstones: u32,
    pub(crate) stuck: u32,
}

/// What a compaction did; give it to [`Storage::compacted`](crate::Storage::compacted).
#[must_use = "the storage goes on with the old segments before `compacted` is called"]
pub struct Compacted<D: Disk> {
    pub(crate) outputs: Vec<Output<D::File>>,
    pub(crate) looked: Vec<Looked>,
    pub(crate) epoch: u32,
    pub(crate) error: Option<WorkError>,
}

impl<D: Disk> Compacted<D> {
    /// Why it ended early, if it did. What was done before that counts all the same.
    pub fn error(&self) -> Option<&WorkError> {
        self.error.as_ref()
    }

    /// How many new segments there are.
    pub fn segments(&self) -> usize {
        self.outputs.len()
    }
}

impl<D: Disk> std::fmt::Debug for Compacted<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compacted").field("segments", &self.outputs.len()).field("error", &self.error).finish()
    }
}

impl<D: Disk> std::fmt::Debug for CompactionJob<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CompactionJob").field("kind", &self.kind).field("bounds", &self.bounds).finish_non_exhaustive()
    }
}

impl<D: Disk> CompactionJob<D> {
    /// Does all of it. Blocks; for any thread.
    pub fn run(mut self) -> Compacted<D> {
        loop {
            match self.step(usize::MAX) {
                Ok(true) => return self.finish(),
                Ok(false) => {}
                Err(error) => return self.fail(error),
            }
        }
    }

    /// Does a part of it: reads or writes about `bytes` bytes, and at least one entry. Says
    /// whether all is done. Between two steps the caller may wait as long as it likes; after an
    /// error it calls [`CompactionJob::fail`].
    ///
    /// # Errors
    /// What the disk says, or that an entry was damaged.
    pub fn step(&mut self, bytes: usize) -> Result<bool, WorkError> {
        if self.writing.is_some() {
            self.write(bytes)?;
            return Ok(false);
        }
        let Some(source) = self.sources.pop_front() else {
            if self.group.is_empty() {
                return Ok(true);
            }
            self.begin()?;
            return Ok(false);
        };
        let scanned = self.scan(&source)?;
        let group: usize = self.group.iter().map(|other| other.contents.bytes).sum();
        let small = scanned.contents.bytes <= self.size / 2;
        let worth = scanned.dropped > 0 || small || self.kind == Kind::Minor;
        let mut contents = Contents { entries: scanned.keep.len(), bytes: group + scanned.contents.bytes };
        contents.entries += self.group.iter().map(|other| other.keep.len()).sum::<usize>();
        let fits = contents.size(self.runs.len()) <= self.size;
        let close = !self.group.is_empty() && (!worth || !fits);
        if close {
            self.begin()?;
        }
        if worth {
            self.group.push(scanned);
        } else {
            self.looked.push(scanned.looked);
        }
        Ok(false)
    }

    /// Ends it here. What was made is handed back; what was begun is thrown away.
    pub fn finish(mut self) -> Compacted<D> {
        if let Some(writing) = self.writing.take() {
            // If that fails, the next open deletes it.
            let _ = self.disk.remove(&writing.temporary);
        }
        Compacted { outputs: self.done, looked: self.looked, epoch: self.epoch, error: None }
    }

    /// Ends it because a step failed.
    pub fn fail(self, error: WorkError) -> Compacted<D> {
        let mut compacted = self.finish();
        compacted.error = Some(error);
        compacted
    }

    /// Decides what of a segment stays. Reads the headers of its entries only.
    fn scan(&self, source: &Source) -> Result<Scanned<D::File>, WorkError> {
        let segment = source.open(&self.disk)?;
        assert!(source.last <= self.bounds.through, "a segment that ends above what may be dropped");
        let mut looked = Looked { id: source.header.id, version: source.header.version, tombstones: 0, stuck: 0 };
        let (mut keep, mut contents, mut dropped) = (Vec::new(), Contents::default(), 0);
        for position in 0..segment.entries() {
            let index = segment.index_at(position);
            let header = segment.peek(index)?.ok_or(WorkError::Missing(index))?;
            let released = source.marks.get(position);
            let referred = self.keep.iter().any(|snapshot| snapshot.refers(index));
            if !referred && self.is_due(index, header.mode, released) {
                dropped += 1;
                continue;
            }
            keep.push(index);
            contents.add(header.length - entry::HEADER);
            looked.tombstones += u32::from(released);
            looked.stuck += u32::from(!referred);
        }
        Ok(Scanned { segment, keep, contents, dropped, looked })
    }

    /// Whether an entry that no snapshot refers to may be dropped now.
    fn is_due(&self, index: u64, mode: u8, released: bool) -> bool {
        match Rule::of(mode, self.bounds.machine_snapshots) {
            Rule::Covered => true,
            Rule::Released => released,
            Rule::Everywhere => released && index <= self.bounds.global,
            // A major compaction goes through the segments in order, so what is due before this
            // entry is gone from the disk, or goes with it.
            Rule::InOrder => released && index <= self.bounds.global && self.kind == Kind::Major,
        }
    }

    /// Begins a new version for the group, if that changes anything.
    fn begin(&mut self) -> Result<(), WorkError> {
        let group = std::mem::take(&mut self.group);
        let dropped: usize = group.iter().map(|scanned| scanned.dropped).sum();
        if group.len() == 1 && dropped == 0 {
            self.looked.extend(group.iter().map(|scanned| scanned.looked));
            return Ok(());
        }
        let (Some(first), Some(last)) = (group.first(), group.last()) else {
            return Ok(());
        };
        let version = group.iter().map(|scanned| scanned.segment.header.version).max().unwrap_or(1) + 1;
        let (from, to, id) = (first.segment.first(), last.segment.last, last.segment.header.id);
        let header = SegmentHeader {
            sealed: true,
            installed: false,
            sparse: false,
            id,
            version,
            size: 0,
            salt: crc32c::crc32c_append(crc32c::crc32c_append(self.salt, &id.to_le_bytes()), &version.to_le_bytes()),
            first: from,
            mark: to,
            created: last.segment.header.created,
            prev: first.segment.header.prev,
            prev_count: first.segment.header.prev_count,
        };
        let mut contents = Contents::default();
        for scanned in &group {
            contents.entries += scanned.contents.entries;
            contents.bytes += scanned.contents.bytes;
        }
        let name = header::name(id, version);
        let temporary = header::temporary(id, version);
        remove_leftover(&self.disk, &temporary)?;
        let writer = Writer::create(&self.disk, &temporary, header, contents, runs_between(&self.runs, from, to))?;
        self.writing = Some(Writing {
            temporary,
            name,
            writer,
            replaces: group.iter().map(|s| (s.segment.header.id, s.segment.header.version)).collect(),
            tombstones: group.iter().map(|s| s.looked.tombstones).sum(),
            stuck: group.iter().map(|s| s.looked.stuck).sum(),
            group: group.into(),
            at: 0,
        });
        Ok(())
    }

    /// Copies entries; when all are there, makes the new version durable.
    fn write(&mut self, bytes: usize) -> Result<(), WorkError> {
        let Some(writing) = &mut self.writing else {
            return Ok(());
        };
        let mut left = bytes;
        while let Some(scanned) = writing.group.front() {
            let Some(index) = scanned.keep.get(writing.at) else {
                writing.group.pop_front();
                writing.at = 0;
                continue;
            };
            if left == 0 {
                return Ok(());
            }
            let entry = scanned.segment.get(*index)?.ok_or(WorkError::Missing(*index))?;
            writing.writer.push(entry);
            writing.at += 1;
            left = left.saturating_sub(entry::footprint(entry.data.len()));
        }
        let Some(writing) = self.writing.take() else {
            return Ok(());
        };
        let segment = writing.writer.finish();
        // Complete and durable before it has a name that counts.
        let made = segment.file.flusher(0..segment.file.len()).run();
        if let Err(error) = made.and_then(|()| self.disk.rename(&writing.temporary, &writing.name)) {
            let _ = self.disk.remove(&writing.temporary);
            return Err(error.into());
        }
        // Nothing is known of the name when this fails, so nothing that it replaces may go.
        if let Err(error) = self.disk.sync_dir() {
            self.failed.store(true, Ordering::Release);
            return Err(error.into());
        }
        self.done.push(Output {
            segment,
            replaces: writing.replaces,
            tombstones: writing.tombstones,
            stuck: writing.stuck,
        });
        Ok(())
    }
}

/// Deletes what an attempt before left under a temporary name.
pub(crate) fn remove_leftover<D: Disk>(disk: &D, name: &str) -> io::Result<()> {
    match disk.remove(name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The part of a log's run table that covers `first` to `last`.
pub(crate) fn runs_between(runs: &[(u64, u64)], first: u64, last: u64) -> Vec<(u64, u64)> {
    let from = runs.partition_point(|run| run.0 <= first) - 1;
    let to = runs.partition_point(|run| run.0 <= last);
    let mut part = runs[from..to].to_vec();
    part[0].0 = first;
    part
}

/// The compact marks of a new version: those that its sources have by now.
pub(crate) fn carry<F: DiskFile>(sources: &[Segment<F>], new: &Segment<F>) -> Marks {
    let mut marks = Marks::default();
    for source in sources {
        for position in source.marks.positions() {
            if let Some(place) = new.position(source.index_at(position)) {
                marks.set(place);
            }
        }
    }
    marks
}
