//! What is found after a crash, and whether it may be.

use super::common::options;
use super::life::{Branch, Life, Record};
use copycat_storage::{Disk, Lookup, MemDisk, OpenError, Seed, Storage, check};

impl Life {
    pub(crate) fn open(&mut self) -> Storage<MemDisk> {
        loop {
            let names = self.disk.list().unwrap_or_default();
            self.stats.leftovers_found += u64::from(names.iter().any(|n| n.ends_with(".tmp") || n.ends_with(".part")));
            if self.rng.one_in(5) {
                self.disk.cut_after(self.rng.below(25));
            } else {
                let report = check(&self.disk);
                assert!(report.is_sound() || self.giving_up, "{report}");
            }
            let seed = Seed { identity: 42, salt: self.rng.next() as u32, now_ms: 1_000 };
            let opened = Storage::open_damaged(self.disk.clone(), options(self.segment), seed, None);
            let opened = opened.map(|(storage, damage)| {
                if let Some(damage) = damage {
                    assert!(self.giving_up, "{damage}");
                    assert!(storage.meta().lost && storage.last_index() == 0 && storage.snapshot().is_none());
                    self.stats.half_given_up_found += 1;
                }
                storage
            });
            match opened {
                Ok(storage) if !self.disk.is_cut() => {
                    self.disk.cut_after(u64::MAX);
                    return storage;
                }
                Ok(_) => {}
                Err(OpenError::Io { .. }) if self.disk.is_cut() => {
                    self.stats.cut_opens += 1;
                    self.repair_cut |= self.giving_up;
                }
                Err(error) => panic!("a power cut keeps the directory from opening: {error}"),
            }
            self.power_cut();
        }
    }

    pub(crate) fn present(&self) -> &Branch {
        self.branches.last().unwrap()
    }

    /// Panics unless `storage` is one of the states that may be found; the model is that state then.
    pub(crate) fn judge(&mut self, storage: &Storage<MemDisk>) {
        let found = storage.snapshot();
        let index = found.map_or(0, |found| found.index);
        let payload = storage.snapshot_payload().unwrap();
        let references: Vec<u64> = storage.snapshot_references().map(|r| r.index).collect();
        let same = |r: &&Record| r.index == index && r.payload == payload && r.references == references;
        let found: Vec<&Record> = self.records.iter().filter(same).collect();
        if found.is_empty() {
            let allowed: Vec<_> = self.records.iter().map(|r| (r.index, r.epoch)).collect();
            panic!("found a snapshot at {index}, of {allowed:?}")
        }
        let lost = storage.meta().lost;
        let lower = self.repair_cut && lost && index == 0;
        let last = storage.last_index();
        assert!(last >= index, "the log ends at {last}, before the snapshot at {index}");
        let fits = |branch: &&Branch| {
            (lower || found.iter().any(|record| record.epoch == branch.epoch))
                && (lost || !branch.lost)
                && branch.log.len() as u64 >= last
                && (lower || branch.floor as u64 <= last)
                && branch.log[..last as usize].iter().all(|e| match storage.lookup(e.index).unwrap() {
                    Lookup::Entry(there) => there.to_owned() == *e,
                    Lookup::Hole => storage.term(e.index) == Some(e.term) && e.index <= index,
                    Lookup::Outside => false,
                })
        };
        let Some(branch) = self.branches.iter().rev().find(fits) else {
            for b in &self.branches {
                eprintln!("floor {} of {} in epoch {}, lost {}", b.floor, b.log.len(), b.epoch, b.lost);
            }
            let epochs: Vec<u64> = found.iter().map(|record| record.epoch).collect();
            panic!("found 1 to {last}, snapshot at {index} of epochs {epochs:?}, lost {lost}");
        };
        let record = Record { epoch: branch.epoch, ..found[0].clone() };
        self.stats.given_up_found += u64::from(branch.lost);
        self.stats.old_log_found_lost += u64::from(lost && !branch.lost && last > 0);
        for reference in storage.snapshot_references() {
            let there = storage.get(reference.index).unwrap().expect("what the snapshot refers to is there");
            assert_eq!((there.term, there.digest()), (reference.term, reference.digest));
        }
        assert!(storage.highest_hole() <= index);
        assert_eq!(storage.first_index(), 1);
        self.stats.old_snapshots_found += u64::from(self.records.last() != Some(&record));
        self.stats.uncommitted_installs_found += u64::from(self.present().epoch > record.epoch);
        self.stats.holes_found += u64::from(storage.highest_hole() > 0);
        if self.killed_whole && self.present().epoch == record.epoch {
            assert_eq!(last, self.present().log.len() as u64, "a killed process loses nothing");
        }
        let branch = Branch {
            log: branch.log[..last as usize].to_vec(),
            cut: last as usize,
            floor: last as usize,
            epoch: record.epoch,
            lost,
        };
        self.giving_up = false;
        self.repair_cut = false;
        self.committed = index;
        self.released = (1..=index).filter(|i| !record.references.contains(i)).collect();
        self.branches = vec![branch];
        self.records = vec![record];
    }
}
