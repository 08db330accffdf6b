//! What the tests of this crate share.
#![allow(dead_code, unreachable_pub)] // each test binary uses some of it

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use copycat_storage::{Disk, Entry, OpenError, Options, Seed, Storage};

/// A small random number generator whose numbers follow from its seed.
#[derive(Clone, Debug)]
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

pub fn entry(index: u64, term: u64, data: &[u8]) -> Entry {
    Entry {
        index,
        term,
        time: 1_000 + index,
        session: index % 5,
        sequence: index / 5,
        kind: 3,
        mode: 1,
        data: data.to_vec(),
    }
}

pub fn options(segment_size: u32) -> Options {
    Options { segment_size }
}

pub fn try_open<D: Disk>(disk: &D, segment_size: u32, salt: u32) -> Result<Storage<D>, OpenError> {
    let seed = Seed { identity: 42, salt, now_ms: 1_000 };
    Storage::open(disk.clone(), options(segment_size), seed)
}

pub fn open<D: Disk>(disk: &D, segment_size: u32) -> Storage<D> {
    try_open(disk, segment_size, 7).expect("the directory opens")
}

/// Makes everything durable, here and now.
pub fn flush<D: Disk>(storage: &mut Storage<D>) {
    while let Some(job) = storage.flush() {
        let persisted = job.run().expect("the flush succeeds");
        storage.persisted(persisted);
    }
    assert_eq!(storage.durable_sequence(), storage.write_sequence());
    assert_eq!(storage.durable_index(), storage.last_index());
}

/// Flushes, and once more with the mark.
pub fn settle<D: Disk>(storage: &mut Storage<D>) {
    flush(storage);
    if storage.mark_idle() {
        flush(storage);
    }
}

pub fn all<D: Disk>(storage: &Storage<D>) -> Vec<Entry> {
    storage.entries(storage.first_index(), usize::MAX, usize::MAX).expect("every entry is whole")
}

/// Everything the storage says about its log agrees with `log`.
pub fn assert_log<D: Disk>(storage: &Storage<D>, log: &[Entry]) {
    assert_eq!(all(storage), log);
    assert_eq!(storage.first_index(), 1);
    assert_eq!(storage.last_index(), log.len() as u64);
    assert_eq!(storage.last_term(), log.last().map_or(0, |e| e.term));
    assert_eq!(storage.term(0), Some(0));
    assert_eq!(storage.term(log.len() as u64 + 1), None);
    assert_eq!(storage.get(log.len() as u64 + 1), Ok(None));
    let mut start = 0;
    let mut term = 0;
    for entry in log {
        if entry.term != term {
            (start, term) = (entry.index, entry.term);
        }
        assert_eq!(storage.term(entry.index), Some(term));
        assert_eq!(storage.term_start(entry.index), start);
    }
    let segments = storage.segments();
    assert_eq!(segments[0].first, 1);
    for pair in segments.windows(2) {
        assert_eq!(pair[0].last + 1, pair[1].first);
        assert!(pair[0].id < pair[1].id);
    }
    assert_eq!(segments.last().expect("one").last, log.len() as u64);
}

/// A directory that is removed when the test is over.
pub struct Directory(pub PathBuf);

impl Directory {
    pub fn new() -> Directory {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("copycat-storage-{}-{number}", std::process::id());
        Directory(std::env::temp_dir().join(name))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Appends until the log is `last` long; returns what it should hold.
pub fn fill<D: Disk>(storage: &mut Storage<D>, log: &mut Vec<Entry>, last: u64, term: u64, size: usize) {
    for index in log.len() as u64 + 1..=last {
        let byte = u8::try_from(index % 251).unwrap();
        let entry = entry(index, term, &vec![byte; size]);
        storage.append(&entry).unwrap();
        log.push(entry);
    }
}
