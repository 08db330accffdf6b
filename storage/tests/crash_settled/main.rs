//! Crash images in the middle of snapshots, compactions, installs and of giving the log up, and what must be true after each.
// A test that fails says so by panicking, and its small numbers are its own.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, clippy::cast_possible_truncation)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/lives.rs"]
mod lives;

mod found;
mod life;
mod receive;
mod work;

use common::{entry, settle};
use copycat_storage::{Disk, Entry, MemDisk, Meta, Storage};
use life::{Branch, Life, Receiving, Record};
use lives::live;
use std::collections::{BTreeMap, BTreeSet};

impl Life {
    pub(crate) fn next_entry(&mut self, index: u64, term: u64) -> Entry {
        self.made += 1;
        let len = if self.rng.one_in(15) { self.rng.below(1_500) } else { self.rng.below(120) };
        let mut entry = entry(index, term, &[]);
        entry.time = self.made;
        entry.mode = [2, 3, 3, 3, 5, 8][self.rng.below(6) as usize];
        entry.data = (0..len).map(|i| (self.made + i) as u8).collect();
        entry
    }

    fn append(&mut self, storage: &mut Storage<MemDisk>) {
        let entry = self.next_entry(storage.last_index() + 1, self.term);
        match storage.append(&entry) {
            Ok(()) => self.branches.last_mut().unwrap().log.push(entry),
            Err(_) => assert!(self.disk.is_cut() || storage.has_failed()),
        }
    }

    fn truncate(&mut self, storage: &mut Storage<MemDisk>) {
        let len = self.present().log.len() as u64;
        let last = len - self.rng.below((len - self.committed).min(12) + 1);
        if storage.truncate(last).is_ok() {
            if last < len {
                let now = self.present().clone();
                let last = last as usize;
                let log = now.log[..last].to_vec();
                self.branches.push(Branch { log, cut: last, floor: now.floor.min(last), ..now });
                self.term += 1;
                self.stats.truncations += 1;
                self.released.retain(|i| *i <= last as u64);
            }
        } else {
            assert!(self.disk.is_cut() || storage.has_failed());
        }
    }

    fn give_up(&mut self, storage: &mut Storage<MemDisk>) -> bool {
        if storage.give_up().is_err() {
            assert!(self.disk.is_cut() || storage.has_failed());
            return false;
        }
        let epoch = self.present().epoch + 1;
        self.branches.push(Branch { log: Vec::new(), cut: 0, floor: 0, epoch, lost: true });
        self.records.push(Record { index: 0, references: Vec::new(), payload: Vec::new(), epoch });
        self.pending = None;
        self.released.clear();
        self.committed = 0;
        self.term += 1;
        self.giving_up = true;
        self.given_up_in = epoch;
        self.stats.given_up += 1;
        true
    }

    /// The server has caught up again.
    fn find_again(&mut self, storage: &mut Storage<MemDisk>) {
        storage.set_meta(Meta { lost: false, ..storage.meta().clone() });
        settle(storage);
        self.branches[0].lost = false;
    }

    fn step(&mut self, storage: &mut Storage<MemDisk>) -> bool {
        let goes_on = match self.rng.below(40) {
            0..=3 => self.step_flush(storage),
            4..=7 => self.step_snapshot(storage),
            8..=14 => self.step_compaction(storage),
            15..=19 if self.rng.one_in(3) || !matches!(self.receiving, Receiving::No) => self.step_receive(storage),
            15 if self.rng.one_in(4) => self.give_up(storage),
            20 => {
                self.truncate(storage);
                !self.disk.is_cut()
            }
            21 => {
                if let Some(job) = storage.prepare() {
                    storage.prepared(job.run());
                }
                true
            }
            22..=25 => {
                for _ in 0..8 {
                    let last = storage.last_index();
                    if last > 0 {
                        let index = 1 + self.rng.below(last);
                        storage.release(index);
                        self.released.insert(index);
                    }
                }
                true
            }
            _ => {
                for _ in 0..3 {
                    self.append(storage);
                }
                true
            }
        };
        // What is written after a cut is lost, so nothing may go on as if it were not.
        goes_on && !self.disk.is_cut()
    }

    fn generation(&mut self) {
        let names: BTreeSet<String> = self.disk.list().unwrap_or_default().into_iter().collect();
        let mut versions = BTreeMap::<String, u64>::new();
        for name in names.iter().filter(|n| n.ends_with(".log")) {
            *versions.entry(name[..10].to_owned()).or_default() += 1;
        }
        self.stats.superseded_found += u64::from(versions.values().any(|n| *n > 1));
        let mut storage = self.open();
        self.judge(&storage);
        (self.flush, self.snapshot, self.compaction, self.pending) = (None, None, None, None);
        self.receiving = Receiving::No;
        if storage.meta().lost && self.rng.one_in(2) {
            self.find_again(&mut storage);
        }
        let steps = self.rng.below(160);
        let goes_on = (0..steps).all(|_| self.step(&mut storage));
        self.stats.snapshot_in_progress += u64::from(self.snapshot.is_some() || self.pending.is_some());
        self.stats.compaction_in_progress += u64::from(self.compaction.is_some());
        self.stats.install_in_progress += u64::from(!matches!(self.receiving, Receiving::No));
        if self.rng.one_in(6) {
            self.killed_whole = goes_on;
            self.disk.restart();
            self.stats.kills += 1;
        } else {
            self.power_cut();
        }
    }
}

const GENERATIONS: u64 = 12;
const IMAGES: u64 = 20_000;

#[test]
fn twenty_thousand_power_cuts_in_background_work() {
    live(IMAGES, |seed| {
        let mut life = Life::new(seed);
        for _ in 0..GENERATIONS {
            life.generation();
        }
        life.stats
    });
}
