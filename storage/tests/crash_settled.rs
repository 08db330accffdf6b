//! Crash images in the middle of snapshots, compactions, installs and of giving the log up, and what must be true after each.
// A test that fails says so by panicking, and its small numbers are its own.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, clippy::cast_possible_truncation)]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{Rng, entry, open, options, settle};
use copycat_storage::{
    Bounds, CompactionJob, Disk, Entry, FlushJob, Incoming, InstallError, Lookup, MemDisk, Meta, OpenError, Seed,
    Snapshot, SnapshotJob, Staged, Storage, check,
};

/// A log as it was until a truncation, an install, or the present.
#[derive(Clone, Debug)]
struct Branch {
    log: Vec<Entry>,
    /// How many of its entries it has from the branch before.
    cut: usize,
    /// How many of its entries must be found.
    floor: usize,
    /// How many installs came before, and how often it was given up.
    epoch: u64,
    /// It was given up, and nobody has said since that it is whole again.
    lost: bool,
}

/// A snapshot that may be found.
#[derive(Clone, Debug, PartialEq)]
struct Record {
    index: u64,
    references: Vec<u64>,
    payload: Vec<u8>,
    epoch: u64,
}

/// Where a flush job was taken: a place in the list of branches, its length, and a snapshot that it carries.
#[derive(Clone, Debug)]
struct Captured {
    branch: usize,
    len: usize,
    /// It flushes the log, and not only promises to.
    whole: bool,
    carries: bool,
    /// The place of the snapshot that is then durable, and that it makes the giving up of the log durable.
    record: usize,
    gives_up: bool,
    epoch: u64,
}

macro_rules! stats {
    ($($field:ident)*) => {
        /// What really happened: a run in which something never did has tested nothing of it.
        #[derive(Clone, Copy, Debug, Default)]
        struct Stats { $($field: u64,)* }
        impl Stats {
            fn add(&mut self, other: Stats) {
                $(self.$field += other.$field;)*
            }
            fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($field), self.$field)),*]
            }
        }
    };
}

stats! {
    images kills snapshots compactions installs refused truncations given_up given_up_found half_given_up_found old_log_found_lost cut_giving_up
    cut_snapshots cut_compactions cut_stages cut_flushes_with_a_snapshot cut_opens
    old_snapshots_found uncommitted_installs_found holes_found leftovers_found superseded_found
    snapshot_in_progress compaction_in_progress install_in_progress
}

/// What is under way.
enum Receiving {
    No,
    Chunks(Box<(Incoming<MemDisk>, Leader)>),
    Staged(Box<(Staged<MemDisk>, Vec<Entry>, Record)>),
}

/// The server that sends, its log through the snapshot, and the snapshot.
type Leader = (Storage<MemDisk>, Vec<Entry>, Record);

/// One directory through several crashes.
struct Life {
    rng: Rng,
    disk: MemDisk,
    segment: u32,
    branches: Vec<Branch>,
    /// The durable one first; then those whose renaming was begun.
    records: Vec<Record>,
    /// The one that is written and not renamed.
    pending: Option<Record>,
    made: u64,
    term: u64,
    /// The highest snapshot that was begun or installed: nothing at or below is truncated.
    committed: u64,
    /// The log was given up, and no flush has made that durable.
    giving_up: bool,
    given_up_in: u64,
    /// An open that may have been mending a half given up log was cut: then the lower part of the old one may be found.
    repair_cut: bool,
    released: BTreeSet<u64>,
    flush: Option<(FlushJob<MemDisk>, Captured)>,
    snapshot: Option<(SnapshotJob<MemDisk>, Record)>,
    compaction: Option<CompactionJob<MemDisk>>,
    receiving: Receiving,
    stats: Stats,
    killed_whole: bool,
}

impl Life {
    fn new(seed: u64) -> Life {
        let mut rng = Rng(seed);
        Life {
            segment: [4096, 4096, 8192, 16_384][rng.below(4) as usize],
            rng,
            disk: MemDisk::new(),
            branches: vec![Branch { log: Vec::new(), cut: 0, floor: 0, epoch: 0, lost: false }],
            records: vec![Record { index: 0, references: Vec::new(), payload: Vec::new(), epoch: 0 }],
            pending: None,
            made: 0,
            term: 1,
            committed: 0,
            giving_up: false,
            given_up_in: 0,
            repair_cut: false,
            released: BTreeSet::new(),
            flush: None,
            snapshot: None,
            compaction: None,
            receiving: Receiving::No,
            stats: Stats::default(),
            killed_whole: false,
        }
    }

    fn power_cut(&mut self) {
        let rng = &mut self.rng;
        self.disk.crash(&mut || rng.next());
        self.killed_whole = false;
        self.stats.images += 1;
    }

    fn open(&mut self) -> Storage<MemDisk> {
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

    fn present(&self) -> &Branch {
        self.branches.last().unwrap()
    }

    /// Panics unless `storage` is one of the states that may be found; the model is that state then.
    fn judge(&mut self, storage: &Storage<MemDisk>) {
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

    fn next_entry(&mut self, index: u64, term: u64) -> Entry {
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

    /// Runs or takes a flush job. Returns whether the process goes on.
    fn step_flush(&mut self, storage: &mut Storage<MemDisk>) -> bool {
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
            let mut floor = captured.len;
            for (i, branch) in self.branches.iter_mut().enumerate() {
                if i > 0 {
                    floor = floor.min(branch.cut);
                }
                branch.floor = branch.floor.max(floor);
            }
        }
        if captured.carries || captured.gives_up {
            self.records.drain(..captured.record);
        }
        // Not when it was given up again meanwhile.
        self.giving_up &= !captured.gives_up || captured.epoch != self.given_up_in;
        true
    }

    fn step_snapshot(&mut self, storage: &mut Storage<MemDisk>) -> bool {
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

    fn step_compaction(&mut self, storage: &mut Storage<MemDisk>) -> bool {
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

    /// Another server's log and snapshot: the same up to the snapshot here, other entries above.
    fn leader(&mut self) -> Leader {
        let mut leader = open(&MemDisk::new(), self.segment);
        let present = self.present();
        let shared = self.committed + self.rng.below(present.log.len() as u64 - self.committed + 1);
        let present = self.present();
        let mut log = present.log[..shared as usize].to_vec();
        self.term += 1;
        let term = self.term;
        for _ in 0..1 + self.rng.below(40) {
            let entry = self.next_entry(log.len() as u64 + 1, term);
            log.push(entry);
        }
        for entry in &log {
            leader.append(entry).unwrap();
        }
        settle(&mut leader);
        let index = shared + 1 + self.rng.below(log.len() as u64 - shared);
        let references: Vec<u64> = (1..=index).filter(|_| self.rng.one_in(3)).collect();
        let payload: Vec<u8> = (0..self.rng.below(3_000)).map(|i| (self.made + i) as u8).collect();
        let spec = Snapshot { index, time: 5, references: references.clone(), payload: payload.clone() };
        let job = leader.take_snapshot(spec).unwrap();
        leader.snapshotted(job.run()).unwrap();
        settle(&mut leader);
        log.truncate(index as usize);
        (leader, log, Record { index, references, payload, epoch: 0 })
    }

    fn step_receive(&mut self, storage: &mut Storage<MemDisk>) -> bool {
        match std::mem::replace(&mut self.receiving, Receiving::No) {
            Receiving::No => {
                let (mut leader, log, record) = self.leader();
                let stream = leader.stream().unwrap();
                match storage.receive(stream.chunk(0, 500).unwrap()) {
                    Ok(incoming) => self.receiving = Receiving::Chunks(Box::new((incoming, (leader, log, record)))),
                    Err(InstallError::Io(_)) => assert!(self.disk.is_cut()),
                    Err(InstallError::Busy) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            Receiving::Chunks(mut state) => {
                let (incoming, (leader, ..)) = &mut *state;
                if !incoming.is_complete() {
                    let at = incoming.received();
                    let stream = leader.stream().unwrap();
                    let chunk = stream.chunk(at, 2_000).unwrap();
                    incoming.write(at, chunk).unwrap();
                    if storage.stage_own(incoming, 20).is_err() {
                        assert!(self.disk.is_cut());
                        return false;
                    }
                    for index in storage.wanted(incoming, 10) {
                        if incoming.next().is_some_and(|next| next.index == index) {
                            let entry = leader.get(index).unwrap().unwrap().to_owned();
                            if storage.stage(incoming, &entry).is_err() {
                                assert!(self.disk.is_cut());
                                return false;
                            }
                        }
                    }
                    self.receiving = Receiving::Chunks(state);
                    return true;
                }
                let (incoming, (_, log, record)) = *state;
                if self.rng.one_in(10) {
                    storage.abandon(incoming);
                    return true;
                }
                if self.rng.one_in(5) {
                    self.disk.cut_after(self.rng.below(10));
                }
                match storage.received(incoming).and_then(copycat_storage::StageJob::run) {
                    Ok(staged) => {
                        self.receiving = Receiving::Staged(Box::new((staged, log, record)));
                        self.disk.cut_after(u64::MAX);
                    }
                    Err(error) => {
                        assert!(self.disk.is_cut(), "{error}");
                        self.stats.cut_stages += 1;
                        return false;
                    }
                }
            }
            Receiving::Staged(state) => {
                let (staged, log, record) = *state;
                match storage.install(staged) {
                    Ok(()) => {
                        let epoch = self.present().epoch + 1;
                        self.committed = record.index;
                        let unreferred = (1..=record.index).filter(|i| !record.references.contains(i));
                        self.released = unreferred.collect();
                        self.branches.push(Branch { floor: log.len(), log, cut: 0, epoch, lost: self.present().lost });
                        self.pending = Some(Record { epoch, ..record });
                        self.term += 1;
                        self.stats.installs += 1;
                    }
                    Err(refused) => {
                        self.stats.refused += 1;
                        if matches!(refused.reason, InstallError::Busy) {
                            self.receiving = Receiving::Staged(Box::new((refused.staged, log, record)));
                        } else {
                            storage.abandon_staged(refused.staged);
                        }
                    }
                }
            }
        }
        !self.disk.is_cut()
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
    let lives = |parity: u64| {
        let mut stats = Stats::default();
        let mut seed = parity;
        while stats.images < IMAGES / 2 {
            let life = std::panic::catch_unwind(|| {
                let mut life = Life::new(seed);
                for _ in 0..GENERATIONS {
                    life.generation();
                }
                life.stats
            });
            match life {
                Ok(more) => stats.add(more),
                Err(_) => panic!("seed {seed}"),
            }
            seed += 2;
        }
        stats
    };
    let stats = std::thread::scope(|scope| {
        let other = scope.spawn(move || lives(1));
        let mut stats = lives(0);
        stats.add(other.join().unwrap());
        stats
    });
    println!("{stats:#?}");
    for (name, count) in stats.all() {
        assert!(count >= 100, "{name}: only {count}");
    }
}
