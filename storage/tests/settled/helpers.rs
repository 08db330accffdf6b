//! What these tests do again and again.

use super::common::{entry, flush};
use copycat_storage::{Bounds, Disk, Entry, Lookup, Snapshot, Storage};
use std::collections::BTreeSet;

pub(crate) const RELEASE: u8 = 3;
pub(crate) const TOMBSTONE: u8 = 8;

pub(crate) fn everything() -> Bounds {
    Bounds { through: u64::MAX, global: u64::MAX, machine_snapshots: true }
}

pub(crate) fn fill_mode<D: Disk>(
    storage: &mut Storage<D>,
    log: &mut Vec<Entry>,
    last: u64,
    term: u64,
    mode: impl Fn(u64) -> u8,
) {
    for index in log.len() as u64 + 1..=last {
        let data = vec![(index % 251) as u8; 100 + (index % 7) as usize];
        let entry = Entry { mode: mode(index), ..entry(index, term, &data) };
        storage.append(&entry).unwrap();
        log.push(entry);
    }
}

/// Takes a snapshot, durably.
pub(crate) fn snapshot<D: Disk>(storage: &mut Storage<D>, index: u64, references: &[u64], payload: &[u8]) {
    let spec = Snapshot { index, time: 7_000 + index, references: references.to_vec(), payload: payload.to_vec() };
    let job = storage.take_snapshot(spec).expect("a snapshot can be taken");
    assert!(storage.snapshotted(job.run()).unwrap());
    flush(storage);
    assert_eq!(storage.snapshot().unwrap().index, index);
}

pub(crate) fn major<D: Disk>(storage: &mut Storage<D>, bounds: Bounds) -> usize {
    let Some(job) = storage.plan_major(bounds) else {
        return 0;
    };
    let compacted = job.run();
    let made = compacted.segments();
    storage.compacted(compacted).unwrap();
    made
}

pub(crate) fn minor<D: Disk>(storage: &mut Storage<D>, bounds: Bounds) -> usize {
    let mut made = 0;
    for _ in 0..100 {
        let Some(job) = storage.plan_minor(bounds) else {
            return made;
        };
        let compacted = job.run();
        made += compacted.segments();
        storage.compacted(compacted).unwrap();
    }
    panic!("minor compaction never has enough");
}

/// The indexes that have an entry; checks each against `log`, and everything else that is said about the log.
pub(crate) fn present<D: Disk>(storage: &Storage<D>, log: &[Entry]) -> BTreeSet<u64> {
    let mut found = BTreeSet::new();
    assert_eq!((storage.first_index(), storage.last_index()), (1, log.len() as u64));
    let mut start = (0, 0);
    let mut highest = 0;
    for entry in log {
        if entry.term != start.1 {
            start = (entry.index, entry.term);
        }
        assert_eq!(storage.term(entry.index), Some(entry.term), "terms survive");
        assert_eq!(storage.term_start(entry.index), start.0);
        match storage.lookup(entry.index).unwrap() {
            Lookup::Entry(there) => {
                assert_eq!(there.to_owned(), *entry);
                found.insert(entry.index);
            }
            Lookup::Hole => highest = entry.index,
            Lookup::Outside => panic!("{} is outside", entry.index),
        }
    }
    assert_eq!(storage.lookup(0).unwrap(), Lookup::Outside);
    assert_eq!(storage.lookup(log.len() as u64 + 1).unwrap(), Lookup::Outside);
    assert_eq!((storage.highest_hole(), storage.contiguous_from()), (highest, highest + 1));
    let snapshot = storage.snapshot().map_or(0, |snapshot| snapshot.index);
    assert!(highest <= snapshot, "a hole at {highest} above the snapshot at {snapshot}");
    for reference in storage.snapshot_references() {
        let there = storage.get(reference.index).unwrap().expect("what the snapshot refers to is there");
        assert_eq!((there.term, there.digest()), (reference.term, reference.digest));
    }
    let segments = storage.segments();
    assert_eq!(segments.iter().map(|s| s.entries).sum::<u64>(), found.len() as u64);
    assert_eq!(segments.iter().map(|s| s.holes).sum::<u64>(), log.len() as u64 - found.len() as u64);
    for pair in segments.windows(2) {
        assert_eq!(pair[0].last + 1, pair[1].first);
        assert!(pair[0].id < pair[1].id);
    }
    found
}
