//! What happens to the part of the log at and below the snapshot: marks, compaction, installing.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::bytes::narrow;
use crate::disk::Disk;
use crate::error::AppendError;
use crate::log::compaction::{self, Bounds, Compacted, CompactionJob, Kind, MOST_SOURCES, Output};
use crate::log::segment::{Segment, Source};
use crate::log::{Anew, Log, SegmentHeader, header};
use crate::snapshot::SnapshotFile;

/// A minor compaction also merges this many small neighbours that have nothing to drop.
const MANY_SMALL: usize = 8;

/// What planning knows about a segment.
struct Estimate {
    /// Entries.
    entries: usize,
    /// Of those, the ones that can probably be dropped.
    dead: usize,
    /// Bytes that the others take.
    live: usize,
    version: u32,
}

impl Estimate {
    /// Whether rewriting it is worth it: at once when half of it is dead; a quarter is enough once it has been
    /// rewritten, since what is left of an old segment is likely to stay.
    fn is_worth(&self) -> bool {
        let generation = if self.version > header::VERSION { 4 } else { 2 };
        self.dead > 0 && self.dead * generation >= self.entries
    }

    /// Whether it is better merged with a neighbour that is rewritten anyway.
    fn is_small(&self, size: usize) -> bool {
        self.live <= size / 4
    }
}

impl<D: Disk> Log<D> {
    pub(crate) fn base(&self) -> (u32, u32) {
        self.base
    }

    pub(crate) fn epoch(&self) -> u32 {
        self.epoch
    }

    pub(crate) fn highest_hole(&self) -> u64 {
        self.hole
    }

    pub(crate) fn runs_through(&self, index: u64) -> Vec<(u64, u64)> {
        self.runs[..self.runs.partition_point(|run| run.0 <= index)].to_vec()
    }

    /// What another thread needs to read the entries up to `last`.
    pub(crate) fn sources(&self, last: u64) -> Vec<Source> {
        let used = self.segments.iter().take_while(|segment| segment.first() <= last);
        used.map(|segment| segment.source(last)).collect()
    }

    fn segment_of(&self, index: u64) -> Option<usize> {
        self.segments.partition_point(|s| s.first() <= index).checked_sub(1)
    }

    /// Marks the entry at `index` as released, if it is there.
    pub(crate) fn release(&mut self, index: u64) {
        if let Some(i) = self.segment_of(index)
            && let Some(position) = self.segments[i].position(index)
        {
            self.segments[i].marks.set(position);
        }
    }

    /// Marks every entry up to the snapshot as released but those that it refers to.
    pub(crate) fn release_unreferred(&mut self, snapshot: &SnapshotFile<D::File>) {
        let through = snapshot.info().index;
        let mut next = 0;
        for segment in self.segments.iter_mut().take_while(|segment| segment.first() <= through) {
            for position in 0..segment.below(through + 1) {
                let index = segment.index_at(position);
                while next < snapshot.references() && snapshot.reference(next).index < index {
                    next += 1;
                }
                if next == snapshot.references() || snapshot.reference(next).index != index {
                    segment.marks.set(position);
                }
            }
        }
    }

    /// The segments that may be rewritten: all of each lies at or below `through`.
    fn eligible(&self, through: u64) -> usize {
        let sealed = self.segments[..self.segments.len() - 1].iter();
        sealed.take_while(|segment| segment.header.sealed && segment.last <= through).count()
    }

    fn estimate(&self, i: usize, snapshot: &SnapshotFile<D::File>) -> Estimate {
        let segment = &self.segments[i];
        let entries = segment.entries();
        let referred = snapshot.references_below(segment.last + 1) - snapshot.references_below(segment.first());
        let unreferred = entries.saturating_sub(referred + segment.stuck as usize);
        let released = segment.marks.count().saturating_sub(segment.tombstones as usize);
        let dead = unreferred.max(released).min(entries);
        let live = segment.end as usize * (entries - dead) / entries.max(1);
        Estimate { entries, dead, live, version: segment.header.version }
    }

    /// A compaction of the first few neighbours for which it is worth it.
    pub(crate) fn plan_minor(
        &self,
        bounds: Bounds,
        snapshot: &SnapshotFile<D::File>,
        keep: Vec<Arc<SnapshotFile<D::File>>>,
    ) -> Option<CompactionJob<D>> {
        let size = self.make.size as usize;
        let estimates: Vec<Estimate> = (0..self.eligible(bounds.through)).map(|i| self.estimate(i, snapshot)).collect();
        let range = match estimates.iter().position(Estimate::is_worth) {
            Some(place) => {
                let (mut from, mut to, mut live) = (place, place + 1, estimates[place].live);
                while from > 0 && to - from < MOST_SOURCES / 2 && estimates[from - 1].is_small(size) {
                    live += estimates[from - 1].live;
                    if live > size {
                        break;
                    }
                    from -= 1;
                }
                while to < estimates.len()
                    && to - from < MOST_SOURCES
                    && (estimates[to].is_worth() || estimates[to].is_small(size))
                {
                    live += estimates[to].live;
                    if live > size {
                        break;
                    }
                    to += 1;
                }
                from..to
            }
            None => many_small(&estimates, size)?,
        };
        let sources = range.map(|i| self.segments[i].source(u64::MAX)).collect();
        Some(self.job(Kind::Minor, bounds, sources, keep))
    }

    /// A compaction of everything that may be rewritten; `None` when that is nothing.
    pub(crate) fn plan_major(&self, bounds: Bounds, keep: Vec<Arc<SnapshotFile<D::File>>>) -> Option<CompactionJob<D>> {
        let eligible = self.eligible(bounds.through);
        let sources = self.segments[..eligible].iter().map(|segment| segment.source(u64::MAX)).collect();
        (eligible > 0).then(|| self.job(Kind::Major, bounds, sources, keep))
    }

    fn job(
        &self,
        kind: Kind,
        bounds: Bounds,
        sources: VecDeque<Source>,
        keep: Vec<Arc<SnapshotFile<D::File>>>,
    ) -> CompactionJob<D> {
        CompactionJob {
            disk: self.disk.clone(),
            kind,
            bounds,
            runs: sources.back().map_or_else(Vec::new, |source| self.runs_through(source.last)),
            sources,
            keep,
            size: self.make.size as usize,
            salt: self.make.salt,
            epoch: self.epoch,
            failed: self.failed(),
            group: Vec::new(),
            writing: None,
            done: Vec::new(),
            looked: Vec::new(),
        }
    }

    /// Takes the new versions into use. The files that they replace are deleted by the next flush job. Returns whether
    /// there is something to flush.
    pub(crate) fn compacted(&mut self, compacted: Compacted<D>) -> bool {
        if compacted.epoch != self.epoch {
            // Versions of a log that an install has replaced since.
            self.dead.extend(compacted.outputs.iter().map(|output| output.segment.name()));
            return !compacted.outputs.is_empty();
        }
        for looked in &compacted.looked {
            let place = self.segments.partition_point(|s| s.header.id < looked.id);
            if let Some(segment) = self.segments.get_mut(place)
                && (segment.header.id, segment.header.version) == (looked.id, looked.version)
            {
                (segment.tombstones, segment.stuck) = (looked.tombstones, looked.stuck);
            }
        }
        let changed = !compacted.outputs.is_empty();
        for output in compacted.outputs {
            self.replace(output);
        }
        changed
    }

    fn replace(&mut self, output: Output<D::File>) {
        let mut new = output.segment;
        let from = self.segments.partition_point(|s| s.header.id < output.replaces[0].0);
        let range = from..from + output.replaces.len();
        let old: Vec<Segment<D::File>> = self.segments.drain(range).collect();
        let same = old.iter().map(|s| (s.header.id, s.header.version)).eq(output.replaces.iter().copied());
        assert!(same, "a new version takes the place of what it was made from");
        let (first, last) = (old[0].first(), old[old.len() - 1].last);
        assert_eq!((new.first(), new.last), (first, last), "compaction moves no index");
        // Releases that came while the new version was written count too.
        new.marks = compaction::carry(&old, &new);
        (new.tombstones, new.stuck) = (output.tombstones, output.stuck);
        self.dead.extend(old.iter().map(Segment::name));
        self.hole = self.hole.max(new.hole().unwrap_or(0));
        self.segments.insert(from, new);
    }

    /// Ids for so many segments in a row.
    pub(crate) fn take_ids(&mut self, count: usize) -> u32 {
        let first = self.next_id;
        self.next_id += narrow(count);
        first
    }

    /// A new segment file for [`Log::install`]. Ids rise along the log, so one that was made ahead cannot be used.
    pub(crate) fn next_segment(&mut self) -> Result<(D::File, SegmentHeader), AppendError> {
        self.check()?;
        let header = self.make.header(self.next_id);
        let name = header::name(header.id, header.version);
        let file = self.disk.create(&name, u64::from(header.size)).map_err(AppendError::create)?;
        self.next_id += 1;
        self.unsynced = true;
        Ok((file, header))
    }

    /// Replaces the whole log by installed segments, in memory; it goes on above them in `next`. The old files are
    /// deleted by the flush job that makes this durable.
    pub(crate) fn install(
        &mut self,
        segments: Vec<Segment<D::File>>,
        runs: Vec<(u64, u64)>,
        next: (D::File, SegmentHeader),
    ) {
        if let Some((_, spare)) = self.spare.take() {
            self.dead.push(header::name(spare.id, spare.version));
        }
        self.bury();
        self.anew = Anew::No;
        let (Some(first), Some(end)) = (segments.first(), segments.last()) else {
            unreachable!("an install brings a segment")
        };
        let last = end.last;
        self.base = (first.header.id, end.header.id);
        self.segments = segments;
        self.runs = runs;
        self.hole = self.segments.iter().filter_map(Segment::hole).max().unwrap_or(0);
        // Nothing of this log is durable before a flush that begins from now on.
        self.durable = 0;
        self.acknowledged = 0;
        self.in_flight = None;
        self.epoch += 1;
        let header = self.linked(next.1, last);
        self.prepare_at = header.size / 2;
        self.segments.push(Segment::blank(next.0, header));
    }

    /// Gives the whole log up, in memory: it begins at index 1 again, in a file of a temporary name. The next flush job
    /// gives it the name that counts, after the meta record, and deletes the old files.
    pub(crate) fn restart(&mut self) -> Result<(), AppendError> {
        self.check()?;
        let mut header = self.make.header(self.next_id);
        header.first = 1;
        let name = header::temporary(header.id, header.version);
        let file = self.disk.create(&name, u64::from(header.size)).map_err(AppendError::create)?;
        self.next_id += 1;
        self.unsynced = true;
        if let Some((_, spare)) = self.spare.take() {
            self.dead.push(header::name(spare.id, spare.version));
        }
        self.bury();
        self.runs = Vec::new();
        self.base = (0, 0);
        self.hole = 0;
        self.durable = 0;
        self.acknowledged = 0;
        self.in_flight = None;
        self.epoch += 1;
        self.anew = Anew::Unnamed(header.id);
        self.prepare_at = header.size / 2;
        self.segments.push(Segment::blank(file, header));
        Ok(())
    }

    /// Takes all segments out of the log; their files are deleted by the next flush job.
    fn bury(&mut self) {
        for segment in self.segments.drain(..) {
            if self.anew == Anew::Unnamed(segment.header.id) {
                // Never had another name. What stays is deleted by the next open.
                let _ = self.disk.remove(&header::temporary(segment.header.id, segment.header.version));
            } else {
                self.dead.push(segment.name());
            }
        }
    }

    /// What the flush job that is taken now renames.
    pub(super) fn name_anew(&mut self) -> Option<(String, String)> {
        let Anew::Unnamed(id) = self.anew else { return None };
        self.anew = Anew::Naming;
        self.unsynced = true;
        Some((header::temporary(id, header::VERSION), header::name(id, header::VERSION)))
    }

    /// Whether it was begun anew and no flush has made that durable.
    pub(crate) fn is_anew(&self) -> bool {
        self.anew != Anew::No
    }

    pub(crate) fn segment_size(&self) -> u32 {
        self.make.size
    }

    pub(crate) fn salt(&self) -> u32 {
        self.make.salt
    }

    pub(crate) fn now(&self) -> u64 {
        self.make.now
    }
}

/// The first run of small neighbours that is long enough to be merged for its own sake.
fn many_small(estimates: &[Estimate], size: usize) -> Option<std::ops::Range<usize>> {
    let mut from = 0;
    let mut live = 0;
    for (i, estimate) in estimates.iter().enumerate() {
        if !estimate.is_small(size) || live + estimate.live > size {
            (from, live) = (i, 0);
            if !estimate.is_small(size) {
                from = i + 1;
                continue;
            }
        }
        live += estimate.live;
        if i + 1 - from >= MANY_SMALL {
            return Some(from..i + 1);
        }
    }
    None
}
