//! Crash images: power cuts at any moment of a random life, and what must be true after each.
// A test that fails says so by panicking, and its small numbers are its own.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, clippy::cast_possible_truncation)]

mod common;
#[path = "common/lives.rs"]
mod lives;

use common::{Rng, all, assert_log, entry, try_open};
use copycat_storage::{Disk, Entry, FlushJob, MemDisk, Meta, OpenError, PrepareJob, Storage, check};
use lives::{live, power_cut, raise_floors, stats};

/// A state the log grew to, until a truncation or the present.
#[derive(Clone, Debug)]
struct Branch {
    log: Vec<Entry>,
    /// How many of its entries it has from the branch before.
    cut: usize,
    /// How many of its entries are known durable.
    floor: usize,
}

/// What may be found after a crash: everything since the last flush that was reported.
#[derive(Clone, Debug)]
struct Model {
    branches: Vec<Branch>,
    metas: Vec<Meta>,
    configurations: Vec<Vec<u8>>,
}

/// Where a flush job was taken: places in the lists of the model.
#[derive(Clone, Copy, Debug)]
struct Captured {
    branch: usize,
    len: usize,
    meta: usize,
    configuration: usize,
}

impl Model {
    /// A directory that does not exist yet.
    fn nothing() -> Model {
        Model {
            branches: vec![Branch { log: Vec::new(), cut: 0, floor: 0 }],
            metas: vec![Meta { identity: 42, ..Meta::default() }],
            configurations: vec![Vec::new()],
        }
    }

    /// Everything in `storage` is durable.
    fn settled(storage: &Storage<MemDisk>) -> Model {
        let log = all(storage);
        Model {
            branches: vec![Branch { cut: log.len(), floor: log.len(), log }],
            metas: vec![storage.meta().clone()],
            configurations: vec![storage.configuration().to_vec()],
        }
    }

    fn present(&self) -> &Branch {
        self.branches.last().unwrap()
    }

    fn truncate(&mut self, last: usize) {
        let now = self.present();
        if last < now.log.len() {
            self.branches.push(Branch { log: now.log[..last].to_vec(), cut: last, floor: now.floor.min(last) });
        }
    }

    fn capture(&self) -> Captured {
        Captured {
            branch: self.branches.len() - 1,
            len: self.present().log.len(),
            meta: self.metas.len() - 1,
            configuration: self.configurations.len() - 1,
        }
    }

    /// The flush taken at `at` was reported.
    fn persisted(&mut self, at: Captured, saved: bool) {
        self.branches.drain(..at.branch);
        raise_floors(self.branches.iter_mut().map(|branch| (branch.cut, &mut branch.floor)), at.len);
        self.metas.drain(..at.meta);
        if saved {
            self.configurations.drain(..at.configuration);
        }
    }

    /// Panics unless `storage` is one of the states that may be found.
    fn assert_allowed(&self, storage: &Storage<MemDisk>, stats: &mut Stats) {
        let found = all(storage);
        let fits = |branch: &&Branch| branch.log.starts_with(&found) && found.len() >= branch.floor;
        let fitting = self.branches.iter().rposition(|branch| fits(&branch));
        let Some(place) = fitting else {
            let show = |log: &[Entry]| log.iter().map(|e| (e.index, e.term)).collect::<Vec<_>>();
            for branch in &self.branches {
                eprintln!("floor {} of {:?}", branch.floor, show(&branch.log));
            }
            panic!("found {:?}", show(&found));
        };
        stats.undone_truncations += u64::from(place + 1 < self.branches.len());
        stats.lost_suffixes += u64::from(found.len() < self.branches[place].log.len());
        assert_log(storage, &found);
        assert!(self.metas.contains(storage.meta()), "{:?} is none of {:?}", storage.meta(), self.metas);
        stats.old_metas += u64::from(self.metas.last() != Some(storage.meta()));
        assert!(self.configurations.iter().any(|c| c == storage.configuration()));
        assert!(!storage.log_lost());
    }
}

stats! {
    images torn_pages lost_writes undone_changes kills tails beyond dead undone_truncations lost_suffixes old_metas
    truncations flushes unreported cut_flushes cut_prepares cut_opens failed_flushes sealed prepared idle_marks unsaved
}

/// How likely the operations of one life are, so that lives differ in kind.
struct Habits {
    segment: u32,
    flush: u64,
    truncate: u64,
    large: u64,
    meta: u64,
    faults: u64,
}

/// One directory through several crashes.
struct Life {
    rng: Rng,
    disk: MemDisk,
    habits: Habits,
    model: Model,
    stats: Stats,
    /// Makes every entry another one.
    made: u64,
    term: u64,
    job: Option<(FlushJob<MemDisk>, Captured)>,
    preparing: Option<PrepareJob<MemDisk>>,
    /// Nothing was lost but the process: the next open must find everything.
    killed_whole: bool,
}

impl Life {
    fn new(seed: u64) -> Life {
        let mut rng = Rng(seed);
        let habits = Habits {
            segment: [4096, 4096, 8192, 16_384, 65_536][rng.below(5) as usize],
            flush: [3, 6, 12, 40][rng.below(4) as usize],
            truncate: [5, 12, 30][rng.below(3) as usize],
            large: [4, 12, 60][rng.below(3) as usize],
            meta: [8, 30][rng.below(2) as usize],
            faults: [40, 400][rng.below(2) as usize],
        };
        Life {
            rng,
            disk: MemDisk::new(),
            habits,
            model: Model::nothing(),
            stats: Stats::default(),
            made: 0,
            term: 1,
            job: None,
            preparing: None,
            killed_whole: false,
        }
    }

    fn power_cut(&mut self) {
        power_cut(&self.disk, &mut self.rng);
        self.killed_whole = false;
        self.stats.images += 1;
    }

    /// Opens what is there, through any number of power cuts in the middle of opening.
    fn open(&mut self) -> Storage<MemDisk> {
        loop {
            let interrupted = self.rng.one_in(5);
            if interrupted {
                self.disk.cut_after(self.rng.below(25));
            } else {
                let report = check(&self.disk);
                assert!(report.is_sound(), "{report}");
            }
            let salt = self.rng.next() as u32;
            match try_open(&self.disk, self.habits.segment, salt) {
                Ok(storage) => {
                    if self.disk.is_cut() {
                        // All of it was done, the cut came right after.
                        drop(storage);
                    } else {
                        self.disk.cut_after(u64::MAX);
                        return storage;
                    }
                }
                Err(OpenError::Io { .. }) if self.disk.is_cut() => self.stats.cut_opens += 1,
                Err(error) => panic!("a power cut keeps the directory from opening: {error}"),
            }
            self.power_cut();
        }
    }

    fn append(&mut self, storage: &mut Storage<MemDisk>) {
        let most = storage.options().max_entry() as u64;
        let len = if self.rng.one_in(self.habits.large) { self.rng.below(most + 1) } else { self.rng.below(150) };
        self.made += 1;
        let mut entry = entry(storage.last_index() + 1, self.term, &[]);
        entry.time = self.made;
        entry.data = (0..len).map(|i| (self.made + i) as u8).collect();
        match storage.append(&entry) {
            Ok(()) => self.model.branches.last_mut().unwrap().log.push(entry),
            Err(_) => assert!(self.disk.is_cut() || storage.has_failed()),
        }
    }

    fn truncate(&mut self, storage: &mut Storage<MemDisk>) {
        let len = self.model.present().log.len() as u64;
        let back = if self.rng.one_in(8) { len } else { len.min(15) };
        let last = len - self.rng.below(back + 1);
        if storage.truncate(last).is_ok() {
            self.model.truncate(last as usize);
            self.term += 1;
            self.stats.truncations += 1;
        } else {
            assert!(self.disk.is_cut() || storage.has_failed());
        }
    }

    /// Runs the flush that is out. Returns whether the process goes on.
    fn run_flush(&mut self, storage: &mut Storage<MemDisk>) -> bool {
        let Some((job, captured)) = self.job.take() else {
            return true;
        };
        if self.rng.one_in(self.habits.faults) {
            self.disk.fail_flushes(1 + self.rng.below(3));
        }
        let armed = self.rng.one_in(6);
        if armed {
            self.disk.cut_after(self.rng.below(9));
        }
        let result = job.run();
        self.disk.fail_flushes(0);
        match result {
            Ok(_) if self.rng.one_in(10) => {
                self.stats.unreported += 1;
                return false;
            }
            Ok(persisted) => {
                storage.persisted(persisted);
                let saved = storage.unsaved().is_none();
                self.model.persisted(captured, saved);
                self.stats.flushes += 1;
                self.stats.unsaved += u64::from(!saved);
                if self.rng.one_in(2) {
                    storage.save_again();
                }
            }
            Err(_) => {
                if self.disk.is_cut() {
                    self.stats.cut_flushes += 1;
                } else {
                    self.stats.failed_flushes += 1;
                }
                assert!(storage.has_failed() && storage.flush().is_none());
                return false;
            }
        }
        if armed {
            self.disk.cut_after(u64::MAX);
        }
        true
    }

    fn run_prepare(&mut self, storage: &mut Storage<MemDisk>) {
        let Some(job) = self.preparing.take() else {
            self.preparing = storage.prepare();
            return;
        };
        if self.rng.one_in(12) {
            self.disk.cut_after(self.rng.below(5));
        }
        let result = job.run();
        if self.disk.is_cut() {
            self.stats.cut_prepares += 1;
        } else {
            self.disk.cut_after(u64::MAX);
            self.stats.prepared += u64::from(result.is_ok());
        }
        storage.prepared(result);
    }

    /// One operation. Returns whether the process goes on.
    fn step(&mut self, storage: &mut Storage<MemDisk>) -> bool {
        if self.rng.one_in(self.habits.flush) {
            if self.job.is_some() {
                return self.run_flush(storage);
            }
            self.stats.idle_marks += u64::from(self.rng.one_in(2) && storage.mark_idle());
            let captured = self.model.capture();
            self.job = storage.flush().map(|job| (job, captured));
            if self.rng.one_in(2) {
                return self.run_flush(storage);
            }
        } else if self.rng.one_in(self.habits.truncate) {
            self.truncate(storage);
        } else if self.rng.one_in(self.habits.meta) {
            let mut meta = storage.meta().clone();
            meta.term += 1;
            meta.vote = self.rng.below(4);
            storage.set_meta(meta.clone());
            self.model.metas.push(meta);
        } else if self.rng.one_in(20) {
            let data = vec![self.made as u8; self.rng.below(600) as usize];
            storage.set_configuration(data.clone());
            self.model.configurations.push(data);
        } else if self.rng.one_in(4) {
            self.run_prepare(storage);
        } else {
            self.append(storage);
        }
        !self.disk.is_cut()
    }

    /// From an open to the end of the process.
    fn generation(&mut self) {
        let mut storage = self.open();
        self.model.assert_allowed(&storage, &mut self.stats);
        if self.killed_whole {
            assert_eq!(all(&storage), self.model.present().log);
        }
        let opened = storage.opened();
        self.stats.tails += u64::from(opened.torn);
        self.stats.beyond += opened.beyond.len() as u64;
        self.stats.dead += opened.dead.len() as u64;
        self.model = Model::settled(&storage);
        self.job = None;
        self.preparing = None;
        let steps = self.rng.below(120);
        let goes_on = (0..steps).all(|_| self.step(&mut storage));
        self.stats.sealed += storage.segments().iter().filter(|s| s.sealed).count() as u64;
        if self.rng.one_in(6) {
            self.killed_whole = goes_on;
            self.disk.restart();
            self.stats.kills += 1;
        } else {
            self.power_cut();
        }
    }

    fn run(mut self, generations: u64) -> (MemDisk, Stats) {
        for _ in 0..generations {
            self.generation();
        }
        let (torn, lost, undone) = self.disk.damage_done();
        self.stats.torn_pages = torn;
        self.stats.lost_writes = lost;
        self.stats.undone_changes = undone;
        (self.disk, self.stats)
    }
}

const GENERATIONS: u64 = 9;
const IMAGES: u64 = 20_000;

#[test]
fn twenty_thousand_power_cuts() {
    live(IMAGES, |seed| Life::new(seed).run(GENERATIONS).1);
}

#[test]
fn the_same_seed_lives_the_same_life() {
    let image = |seed| {
        let (disk, _) = Life::new(seed).run(GENERATIONS);
        let names = disk.list().unwrap();
        let files = names.into_iter().map(|name| (disk.get(&name).unwrap(), name));
        files.collect::<Vec<_>>()
    };
    for seed in 0..20 {
        assert_eq!(image(seed), image(seed));
    }
    assert_ne!(image(1), image(2));
}
