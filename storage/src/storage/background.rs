//! Snapshots, compaction and installs: work that runs beside appends and flushes.

use std::io;
use std::sync::Arc;

use crate::disk::Disk;
use crate::entry::Entry;
use crate::error::{AppendError, Corrupt, WorkError};
use crate::log::{Bounds, Compacted, CompactionJob, Lookup};
use crate::meta::Meta;
use crate::snapshot::{
    Begun, Commit, Incoming, InstallError, NAME, RECEIVING, Reader, Reference, Refused, Snapshot, SnapshotInfo,
    SnapshotJob, SnapshotStream, StageJob, Staged, WRITING, Work, Written,
};
use crate::storage::Storage;

/// Of how many segments' size room is kept on the disk, besides that of a snapshot.
const ROOM_SEGMENTS: u64 = 2;

impl<D: Disk> Storage<D> {
    /// The snapshot that the log stands on: the latest durable one, or one installed since.
    pub fn snapshot(&self) -> Option<SnapshotInfo> {
        self.snapshots.current.as_ref().map(|snapshot| snapshot.info())
    }

    /// The whole payload of that snapshot, every block of it checked; empty when there is none.
    ///
    /// # Errors
    /// [`Corrupt`] when its bytes have changed since they were written.
    pub fn snapshot_payload(&self) -> Result<Vec<u8>, Corrupt> {
        self.snapshots.current.as_ref().map_or_else(|| Ok(Vec::new()), |snapshot| snapshot.payload())
    }

    /// The log entries that it refers to, in order of index.
    pub fn snapshot_references(&self) -> impl Iterator<Item = Reference> + '_ {
        let snapshots = self.snapshots.current.iter();
        snapshots.flat_map(|snapshot| (0..snapshot.references()).map(|i| snapshot.reference(i)))
    }

    /// How many log entries from `first` to `last` it refers to.
    pub fn references_between(&self, first: u64, last: u64) -> usize {
        let snapshot = self.snapshots.current.as_ref();
        snapshot.map_or(0, |s| s.references_below(last.saturating_add(1)).saturating_sub(s.references_below(first)))
    }

    /// Whether another snapshot is written and becomes durable with the next flush.
    pub fn is_snapshot_pending(&self) -> bool {
        self.snapshots.pending().is_some()
    }

    /// Gives the whole log and the snapshot up, and sets `meta().lost`: in memory now, on the disk with the flush that
    /// covers this write, the meta record first. The log is then empty and begins at index 1. Identity, term, vote and
    /// configuration stay. What becomes of background work that is out is dropped.
    ///
    /// A cut during that flush leaves the old log with `lost` set, or what [`Storage::open_damaged`] (not always
    /// [`Storage::open`]) brings back as an empty one with `lost` set.
    ///
    /// # Errors
    /// As [`Storage::append`]; nothing has changed then.
    pub fn give_up(&mut self) -> Result<(), AppendError> {
        self.log.restart()?;
        if let Some(name) = self.snapshots.give_up() {
            // Now and not with a flush: by then the name may be that of another one. What stays is deleted at open.
            let _ = self.disk.remove(name);
        }
        self.set_meta(Meta { lost: true, ..self.record.meta.clone() });
        self.sequence += 1;
        Ok(())
    }

    /// A job that writes a snapshot. `None` when there is one as new, while another snapshot or a
    /// compaction is under way, and after a flush has failed.
    ///
    /// # Panics
    /// When its index is not in the log: a mistake of the caller.
    pub fn take_snapshot(&mut self, snapshot: Snapshot) -> Option<SnapshotJob<D>> {
        let busy = self.snapshots.work != Work::Idle || self.snapshots.commit.is_some() || self.has_failed();
        let busy = busy || self.log.is_anew();
        if busy || snapshot.index <= self.snapshots.floor() {
            return None;
        }
        let term = self.log.term(snapshot.index);
        let term = term.filter(|_| snapshot.index > 0).expect("a snapshot at an index that is in the log");
        self.snapshots.work = Work::Snapshot;
        Some(SnapshotJob {
            disk: self.disk.clone(),
            log: Reader::new(self.disk.clone(), self.log.sources(snapshot.index)),
            term,
            runs: self.log.runs_through(snapshot.index),
            base: self.log.base(),
            epoch: self.log.epoch(),
            snapshot,
            resolved: Vec::new(),
            sorted: false,
            file: None,
            blocks: Vec::new(),
        })
    }

    /// What became of the snapshot job that was out. The next flush, which makes the log durable first, gives the
    /// snapshot its name; [`Storage::snapshot`] tells of it after that. Returns whether it will: not when an install has
    /// replaced the log meanwhile.
    ///
    /// # Errors
    /// That of the job, handed through. It is not fatal.
    pub fn snapshotted(&mut self, result: Result<Written<D>, WorkError>) -> Result<bool, WorkError> {
        self.snapshots.work = Work::Idle;
        let written = result?;
        if written.epoch != self.log.epoch() {
            // Now and not with a flush: by then the name may be that of another one.
            let _ = self.disk.remove(WRITING);
            return Ok(false);
        }
        self.sequence += 1;
        self.snapshots.commit =
            Some(Commit { from: WRITING, snapshot: Arc::new(written.file), in_flight: false, dropped: false });
        Ok(true)
    }

    /// The snapshot, to be sent to another server. What it refers to stays in the log while the stream lives.
    pub fn stream(&mut self) -> Option<SnapshotStream<D::File>> {
        // One that was installed a moment ago may still be undone by a power cut, but what it says is true.
        self.snapshots.stream()
    }

    /// The highest index at which compaction has dropped an entry (or an install brought none); 0 when there is none. A
    /// server that has everything up to it can be sent plain entries; others need the snapshot.
    pub fn highest_hole(&self) -> u64 {
        self.log.highest_hole()
    }

    /// The lowest index from which on every entry up to the last one is there.
    pub fn contiguous_from(&self) -> u64 {
        self.log.first_index().max(self.log.highest_hole() + 1)
    }

    /// What is at an index: an entry, its checksum verified, or a hole, or nothing because it is outside the log.
    ///
    /// # Errors
    /// [`Corrupt`] when its bytes have changed since they were written.
    pub fn lookup(&self, index: u64) -> Result<Lookup<'_>, Corrupt> {
        self.log.lookup(index)
    }

    /// Marks the entry at `index` as released: the state does not need it any more. Nothing of that is written down: an
    /// open takes everything that its snapshot does not refer to as released.
    pub fn release(&mut self, index: u64) {
        self.log.release(index);
    }

    /// A compaction of the segments for which it is most worth while: those with many dead entries, merged with small
    /// neighbours. `None` when it is not worth it, when there is no durable snapshot, and while another snapshot or
    /// compaction is under way.
    pub fn plan_minor(&mut self, bounds: Bounds) -> Option<CompactionJob<D>> {
        let bounds = self.bounded(bounds)?;
        let snapshot = Arc::clone(self.snapshots.current.as_ref()?);
        let job = self.log.plan_minor(bounds, &snapshot, self.snapshots.keep())?;
        self.snapshots.work = Work::Compaction;
        Some(job)
    }

    /// A compaction of every segment at or below the bounds, from the first on, which drops tombstones too.
    /// `None` as for [`Storage::plan_minor`].
    pub fn plan_major(&mut self, bounds: Bounds) -> Option<CompactionJob<D>> {
        let bounds = self.bounded(bounds)?;
        let job = self.log.plan_major(bounds, self.snapshots.keep())?;
        self.snapshots.work = Work::Compaction;
        Some(job)
    }

    /// From now on, compaction drops what is above the durable snapshot too, as the original did.
    #[cfg(feature = "planted-bugs")]
    pub fn plant_compaction_above_the_snapshot(&mut self) {
        self.snapshots.ignored = true;
    }

    /// The bounds, not above the durable snapshot.
    fn bounded(&self, bounds: Bounds) -> Option<Bounds> {
        if self.snapshots.work != Work::Idle || self.snapshots.commit.is_some() || self.has_failed() {
            return None;
        }
        let durable = self.snapshots.current.as_ref()?.info().index;
        #[cfg(feature = "planted-bugs")]
        if self.snapshots.ignored {
            return Some(bounds);
        }
        Some(Bounds { through: bounds.through.min(durable), ..bounds })
    }

    /// What the compaction job that was out did, also when it failed. The new segments are in use from now on, and the
    /// files that they replace are deleted by the next flush.
    ///
    /// # Errors
    /// That of the job, handed through. It is not fatal, unless [`Storage::has_failed`] says so.
    pub fn compacted(&mut self, mut compacted: Compacted<D>) -> Result<(), WorkError> {
        self.snapshots.work = Work::Idle;
        let error = compacted.error.take();
        if self.log.compacted(compacted) {
            self.sequence += 1;
        }
        let durable = self.snapshots.current.as_ref().map_or(0, |snapshot| snapshot.info().index);
        assert!(self.log.highest_hole() <= durable, "holes only at or below the durable snapshot");
        error.map_or(Ok(()), Err)
    }

    /// Begins to receive a snapshot whose file begins with `first` (at least 128 bytes of it; they count as received).
    ///
    /// # Errors
    /// [`InstallError::Stale`] or [`InstallError::InLog`] when it is not needed here, [`InstallError::Unusable`] when
    /// those bytes are no snapshot's, or what the disk says.
    pub fn receive(&mut self, first: &[u8]) -> Result<Incoming<D>, InstallError> {
        let info = Incoming::<D>::peek(first)?.info;
        self.is_wanted(&info)?;
        if self.snapshots.commit.as_ref().is_some_and(|commit| commit.from == RECEIVING) {
            return Err(InstallError::Busy);
        }
        let begun = Begun {
            segment_size: self.log.segment_size() as usize,
            salt: self.log.salt(),
            now: self.log.now(),
            epoch: self.log.epoch(),
        };
        let mut incoming = Incoming::begin(self.disk.clone(), first, begun)?;
        incoming.write(0, first)?;
        Ok(incoming)
    }

    fn is_wanted(&self, offered: &SnapshotInfo) -> Result<(), InstallError> {
        let own = self.snapshots.floor();
        if offered.index <= own {
            return Err(InstallError::Stale { own, offered: offered.index });
        }
        if self.log.term(offered.index) == Some(offered.term) {
            return Err(InstallError::InLog(offered.index));
        }
        Ok(())
    }

    /// Up to `most` indexes, from the next one on, of entries that a snapshot being received needs and that are not here.
    pub fn wanted(&self, incoming: &Incoming<D>, most: usize) -> Vec<u64> {
        incoming.needs().filter(|r| !self.has(r)).take(most).map(|r| r.index).collect()
    }

    fn has(&self, reference: &Reference) -> bool {
        // The term first: it costs no look at the entry. One that is damaged here is not here.
        self.log.term(reference.index) == Some(reference.term)
            && self.log.get(reference.index).ok().flatten().is_some_and(|e| Incoming::<D>::matches(reference, e))
    }

    /// Takes the next entry that a snapshot being received needs.
    ///
    /// # Errors
    /// [`InstallError::Order`] when it is not the next one, [`InstallError::Unusable`] when it is not the one referred
    /// to, or what the disk says when a file had to be created.
    pub fn stage(&mut self, incoming: &mut Incoming<D>, entry: &Entry) -> Result<(), InstallError> {
        self.give_ids(incoming);
        incoming.push(entry.borrow())
    }

    /// Copies up to `most` entries from the log here, as long as the next one needed is in it. Returns how many.
    ///
    /// # Errors
    /// What the disk says when a file had to be created.
    pub fn stage_own(&mut self, incoming: &mut Incoming<D>, most: usize) -> Result<usize, InstallError> {
        self.give_ids(incoming);
        let mut copied = 0;
        while copied < most
            && let Some(reference) = incoming.next()
            && self.has(&reference)
            && let Ok(Some(entry)) = self.log.get(reference.index)
        {
            incoming.push(entry)?;
            copied += 1;
        }
        Ok(copied)
    }

    /// What makes a received snapshot durable beside the log that is in use, once it is complete.
    ///
    /// # Errors
    /// [`InstallError::Order`] or [`InstallError::Offset`] when something is missing, or what the disk says.
    pub fn received(&mut self, mut incoming: Incoming<D>) -> Result<StageJob<D>, InstallError> {
        self.give_ids(&mut incoming);
        incoming.finish()
    }

    fn give_ids(&mut self, incoming: &mut Incoming<D>) {
        if let Some(count) = incoming.ids_needed() {
            incoming.set_ids(self.log.take_ids(count));
        }
    }

    /// Puts a staged snapshot and its entries in the place of log and snapshot: in memory now, on the disk with the flush
    /// that covers this write. The log is then empty above the snapshot, and what is not referred to below it is a hole.
    /// Until that flush nothing of the new log counts as durable.
    ///
    /// # Errors
    /// [`InstallError::Stale`] or [`InstallError::InLog`] when it is not needed any more, [`InstallError::Busy`] until the
    /// next flush, or that no segment to go on in could be made. Nothing has changed then.
    pub fn install(&mut self, staged: Staged<D>) -> Result<(), Box<Refused<D>>> {
        if let Err(reason) = self.installable(&staged) {
            return Err(Box::new(Refused { staged, reason }));
        }
        let next = match self.log.next_segment() {
            Ok(next) => next,
            Err(reason) => return Err(Box::new(Refused { staged, reason: reason.into() })),
        };
        self.log.install(staged.segments, staged.snapshot.runs(), next);
        let snapshot = Arc::new(staged.snapshot);
        // Every entry that came is referred to, so there is none to be marked as released.
        self.snapshots.current = Some(Arc::clone(&snapshot));
        // Its rename replaces the old one.
        self.snapshots.forget = false;
        self.snapshots.commit = Some(Commit { from: RECEIVING, snapshot, in_flight: false, dropped: false });
        self.sequence += 1;
        Ok(())
    }

    fn installable(&self, staged: &Staged<D>) -> Result<(), InstallError> {
        self.is_wanted(&staged.info())?;
        if self.snapshots.commit.is_some() {
            return Err(InstallError::Busy);
        }
        if staged.epoch != self.log.epoch() {
            return Err(InstallError::Unusable("another snapshot was installed meanwhile".to_owned()));
        }
        Ok(())
    }

    /// Gives up receiving a snapshot, and the room that it took.
    pub fn abandon(&mut self, incoming: Incoming<D>) {
        for name in incoming.files() {
            // What stays is deleted by the next open.
            let _ = self.disk.remove(name);
        }
    }

    /// Gives up a staged snapshot, and the room that it took.
    pub fn abandon_staged(&mut self, staged: Staged<D>) {
        for name in staged.made {
            let _ = self.disk.remove(&name);
        }
    }

    /// Bytes that should be free for the log, a compaction and the next snapshot to go on: two segments and a snapshot.
    pub fn reserve(&self) -> u64 {
        let segment = u64::from(self.log.segment_size());
        let snapshot = self.snapshots.current.as_ref().map_or(segment, |snapshot| snapshot.info().size);
        ROOM_SEGMENTS * segment + snapshot
    }

    /// Whether [`Storage::reserve`] and `more` bytes are free. One question to the system.
    ///
    /// # Errors
    /// What the system says.
    pub fn has_room(&self, more: u64) -> io::Result<bool> {
        Ok(self.disk.available()? >= self.reserve().saturating_add(more))
    }

    /// The snapshot of the flush that was reported is durable.
    pub(super) fn committed(&mut self) {
        let commit = self.snapshots.commit.take().expect("a snapshot was to be renamed");
        if !commit.dropped {
            self.snapshots.current = Some(commit.snapshot);
        }
    }

    /// The name that the next flush job renames to the snapshot's.
    pub(super) fn commit(&mut self) -> Option<(&'static str, &'static str)> {
        let commit = self.snapshots.commit.as_mut().filter(|commit| !commit.in_flight)?;
        commit.in_flight = true;
        Some((commit.from, NAME))
    }
}
