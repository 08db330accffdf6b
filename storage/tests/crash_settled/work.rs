//! Flushes, snapshots and compactions, any of which may be cut.

use super::life::{Captured, Life, Record};
use super::lives::raise_floors;
use copycat_storage::{Bounds, Lookup, MemDisk, Snapshot, Storage};

impl Life {
    /// Runs or takes a flush job. Returns whether the process goes on.
    pub(crate) fn step_flush(&mut self, storage: &mut Storage<MemDisk>) -> bool {
        let Some((job, captured)) = self.flush.take() else {
            let carries = storage.is_snapshot_pending();
            let promise = self.rng.one_in(4);
            let (branch, len) = (self.branches.len() - 1, self.present().log.len());
            let gives_up = self.giving_up;
            let record = self.records.len() - usize::from(!carries);
            let whole = !promise || carries || gives_up;
            let captured = Captured { branch, len, whole, carries, record, gives_up, epoch: self.given_up_in };
            let job = if promise {
                storage.flush_promises()
            } else {
                storage.mark_idle();
                storage.flush()
            };
            self.flush = job.map(|job| (job, captured));
            if self.flush.is_some() && carries {
                self.records.push(self.pending.take().expect("it was written"));
            }
            return true;
        };
        if self.rng.one_in(if captured.gives_up { 1 } else { 4 }) {
            self.disk.cut_after(self.rng.below(12));
        }
        let persisted = match job.run() {
            Ok(persisted) => persisted,
            Err(error) => {
                assert!(self.disk.is_cut() && storage.has_failed(), "{error}");
                self.stats.cut_flushes_with_a_snapshot += u64::from(captured.carries);
                self.stats.cut_giving_up += u64::from(captured.gives_up);
                return false;
            }
        };
        if self.rng.one_in(12) {
            return false;
        }
        storage.persisted(persisted);
        self.disk.cut_after(u64::MAX);
        if captured.whole {
            self.branches.drain(..captured.branch);
            raise_floors(self.branches.iter_mut().map(|branch| (branch.cut, &mut branch.floor)), captured.len);
        }
        if captured.carries || captured.gives_up {
            self.records.drain(..captured.record);
        }
        // Not when it was given up again meanwhile.
        self.giving_up &= !captured.gives_up || captured.epoch != self.given_up_in;
        true
    }

    pub(crate) fn step_snapshot(&mut self, storage: &mut Storage<MemDisk>) -> bool {
        let Some((mut job, record)) = self.snapshot.take() else {
            let last = storage.last_index();
            if last <= self.committed {
                return true;
            }
            let index = self.committed + 1 + self.rng.below(last - self.committed);
            let mut references = Vec::new();
            for i in 1..=index {
                let there = matches!(storage.lookup(i).unwrap(), Lookup::Entry(_));
                if there && !self.released.contains(&i) && !self.rng.one_in(6) {
                    references.push(i);
                }
            }
            let len = [10, 900, 70_000][self.rng.below(3) as usize];
            let payload: Vec<u8> = (0..self.rng.below(len)).map(|i| (self.made + i) as u8).collect();
            let spec = Snapshot { index, time: 5, references: references.clone(), payload: payload.clone() };
            if let Some(job) = storage.take_snapshot(spec) {
                self.committed = index;
                self.snapshot = Some((job, Record { index, references, payload, epoch: self.present().epoch }));
            }
            return true;
        };
        if self.rng.one_in(12) {
            self.disk.cut_after(self.rng.below(6));
        }
        match job.step(1 + self.rng.below(30_000) as usize) {
            Ok(None) => self.snapshot = Some((job, record)),
            Ok(Some(written)) => {
                if storage.snapshotted(Ok(written)).unwrap() {
                    self.pending = Some(record);
                    self.stats.snapshots += 1;
                }
            }
            Err(error) => {
                // After an install its sources may be gone.
                let gone = record.epoch != self.present().epoch;
                assert!(self.disk.is_cut() || gone, "{error}");
                self.stats.cut_snapshots += 1;
                assert!(storage.snapshotted(Err(error)).is_err());
            }
        }
        let goes_on = !self.disk.is_cut();
        self.disk.cut_after(if goes_on { u64::MAX } else { 0 });
        goes_on
    }

    pub(crate) fn step_compaction(&mut self, storage: &mut Storage<MemDisk>) -> bool {
        let Some(mut job) = self.compaction.take() else {
            let through = if self.rng.one_in(3) { self.rng.below(self.committed + 1) } else { u64::MAX };
            let global = if self.rng.one_in(2) { self.rng.below(self.committed + 1) } else { u64::MAX };
            let bounds = Bounds { through, global, machine_snapshots: true };
            self.compaction = if self.rng.one_in(2) { storage.plan_minor(bounds) } else { storage.plan_major(bounds) };
            return true;
        };
        if self.rng.one_in(12) {
            self.disk.cut_after(self.rng.below(6));
        }
        let compacted = match job.step(1 + self.rng.below(5_000) as usize) {
            Ok(false) if self.rng.one_in(40) => job.finish(),
            Ok(false) => {
                self.compaction = Some(job);
                return true;
            }
            Ok(true) => job.finish(),
            Err(error) => {
                self.stats.cut_compactions += u64::from(self.disk.is_cut());
                job.fail(error)
            }
        };
        self.stats.compactions += compacted.segments() as u64;
        let result = storage.compacted(compacted);
        let goes_on = !self.disk.is_cut();
        self.disk.cut_after(if goes_on { u64::MAX } else { 0 });
        // An install may have taken its sources away.
        assert!(result.is_ok() || !goes_on || self.present().epoch > 0);
        goes_on
    }
}
