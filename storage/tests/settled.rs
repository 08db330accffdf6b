//! Snapshots, holes, compaction, installs and repair, on a real directory and on the simulated disk alike.
// A test that fails says so by panicking, and its small numbers are its own.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, clippy::cast_possible_truncation)]

mod common;

use std::collections::BTreeSet;

use common::{Directory, all, entry, fill, flush, open, settle, try_open};
use copycat_storage::{
    Bounds, Disk, Entry, Incoming, InstallError, Lookup, MemDisk, OpenError, Snapshot, Storage, WorkError, check,
};

/// Runs one test on both disks.
macro_rules! on_both {
    ($($name:ident)*) => {
        mod memory {
            $(#[test]
            fn $name() {
                super::$name(&copycat_storage::MemDisk::new(), &copycat_storage::MemDisk::new());
            })*
        }
        mod directory {
            $(#[test]
            fn $name() {
                let (a, b) = (super::Directory::new(), super::Directory::new());
                let open = |directory: &super::Directory| copycat_storage::FileDisk::open(&directory.0).unwrap();
                super::$name(&open(&a), &open(&b));
            })*
        }
    };
}

on_both! {
    a_snapshot_counts_when_it_is_flushed
    a_snapshot_reads_back
    an_older_snapshot_is_not_taken
    a_snapshot_that_refers_to_what_is_not_there_is_not_made
    compaction_moves_no_index
    minor_keeps_tombstones_and_major_drops_them
    every_mode_by_the_table
    nothing_is_dropped_above_the_bounds
    what_is_referred_to_stays
    what_is_streamed_stays
    releases_during_a_compaction_are_kept
    neighbours_are_merged
    a_compaction_in_slices_ends_the_same
    one_thing_at_a_time
    entries_stop_before_a_hole
    a_log_without_an_entry_left
    a_snapshot_is_installed
    an_install_takes_what_is_here
    an_install_is_not_needed
    an_install_is_given_up
    a_damaged_directory_is_set_aside
    damage_found_while_running_is_set_aside
}

const RELEASE: u8 = 3;
const TOMBSTONE: u8 = 8;

fn everything() -> Bounds {
    Bounds { through: u64::MAX, global: u64::MAX, machine_snapshots: true }
}

fn fill_mode<D: Disk>(storage: &mut Storage<D>, log: &mut Vec<Entry>, last: u64, term: u64, mode: impl Fn(u64) -> u8) {
    for index in log.len() as u64 + 1..=last {
        let data = vec![(index % 251) as u8; 100 + (index % 7) as usize];
        let entry = Entry { mode: mode(index), ..entry(index, term, &data) };
        storage.append(&entry).unwrap();
        log.push(entry);
    }
}

/// Takes a snapshot, durably.
fn snapshot<D: Disk>(storage: &mut Storage<D>, index: u64, references: &[u64], payload: &[u8]) {
    let spec = Snapshot { index, time: 7_000 + index, references: references.to_vec(), payload: payload.to_vec() };
    let job = storage.take_snapshot(spec).expect("a snapshot can be taken");
    assert!(storage.snapshotted(job.run()).unwrap());
    flush(storage);
    assert_eq!(storage.snapshot().unwrap().index, index);
}

fn major<D: Disk>(storage: &mut Storage<D>, bounds: Bounds) -> usize {
    let Some(job) = storage.plan_major(bounds) else {
        return 0;
    };
    let compacted = job.run();
    let made = compacted.segments();
    storage.compacted(compacted).unwrap();
    made
}

fn minor<D: Disk>(storage: &mut Storage<D>, bounds: Bounds) -> usize {
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
fn present<D: Disk>(storage: &Storage<D>, log: &[Entry]) -> BTreeSet<u64> {
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

fn a_snapshot_counts_when_it_is_flushed<D: Disk>(disk: &D, _: &D) {
    let mut storage = open(disk, 4096);
    let mut log = Vec::new();
    fill(&mut storage, &mut log, 20, 1, 100);
    assert_eq!(storage.snapshot(), None);
    let job = storage.take_snapshot(Snapshot { index: 18, ..Snapshot::default() }).unwrap();
    assert!(storage.snapshotted(job.run()).unwrap());
    assert_eq!(storage.snapshot(), None, "it does not count yet");
    assert!(storage.is_snapshot_pending() && disk.list().unwrap().contains(&"snapshot.tmp".to_owned()));
    assert!(storage.plan_major(everything()).is_none());
    let job = storage.flush_promises().unwrap();
    assert!(!job.is_instant(), "a promise is not enough");
    storage.persisted(job.run().unwrap());
    assert_eq!(storage.snapshot().unwrap().index, 18);
    assert!(storage.is_flushed(), "the log went first");
    drop(storage);
    let storage = open(disk, 4096);
    assert_eq!(storage.snapshot().unwrap().index, 18);
    assert_eq!(all(&storage), log);
    assert!(check(disk).is_sound());
}

fn a_snapshot_reads_back<D: Disk>(disk: &D, _: &D) {
    let mut storage = open(disk, 4096);
    let mut log = Vec::new();
    fill(&mut storage, &mut log, 30, 1, 100);
    fill(&mut storage, &mut log, 60, 3, 100);
    for (index, len) in [(10, 0), (20, 1), (40, 64 << 10), (50, (64 << 10) + 1), (55, 300_000)] {
        let payload: Vec<u8> = (0..len).map(|i| (i * 7 % 251) as u8).collect();
        snapshot(&mut storage, index, &[9, 3, 9], &payload);
        drop(storage);
        storage = open(disk, 4096);
        let info = storage.snapshot().unwrap();
        assert_eq!((info.index, info.term, info.time), (index, log[index as usize - 1].term, 7_000 + index));
        assert_eq!((info.payload, info.references), (len as u64, 2));
        assert_eq!(storage.snapshot_payload().unwrap(), payload);
        assert_eq!(storage.snapshot_references().map(|r| r.index).collect::<Vec<_>>(), [3, 9]);
        let stream = storage.stream().unwrap();
        let (mut raw, mut offset) = (Vec::new(), 0);
        loop {
            let chunk = stream.chunk(offset, 10_007).unwrap();
            if chunk.is_empty() {
                break;
            }
            raw.extend_from_slice(chunk);
            offset += chunk.len() as u64;
        }
        assert_eq!(raw.len() as u64, info.size);
        assert!(raw.ends_with(&payload));
    }
}

fn an_older_snapshot_is_not_taken<D: Disk>(disk: &D, _: &D) {
    let mut storage = open(disk, 4096);
    let mut log = Vec::new();
    fill(&mut storage, &mut log, 20, 1, 100);
    snapshot(&mut storage, 15, &[], b"state");
    for index in [1, 14, 15] {
        assert!(storage.take_snapshot(Snapshot { index, ..Snapshot::default() }).is_none());
    }
    snapshot(&mut storage, 16, &[], b"newer");
    assert_eq!(storage.snapshot_payload().unwrap(), b"newer");
    assert_eq!(disk.list().unwrap().iter().filter(|name| name.starts_with("snapshot")).count(), 1);
}

fn a_snapshot_that_refers_to_what_is_not_there_is_not_made<D: Disk>(disk: &D, _: &D) {
    let mut storage = open(disk, 4096);
    let mut log = Vec::new();
    fill_mode(&mut storage, &mut log, 60, 1, |_| RELEASE);
    settle(&mut storage);
    snapshot(&mut storage, 50, &[5], b"");
    for index in 1..=50 {
        storage.release(index);
    }
    major(&mut storage, everything());
    flush(&mut storage);
    for wrong in [4, 57] {
        let spec = Snapshot { index: 55, references: vec![5, wrong], ..Snapshot::default() };
        let result = storage.take_snapshot(spec).unwrap().run();
        let error = storage.snapshotted(result).unwrap_err();
        assert!(matches!(error, WorkError::Missing(index) if index == wrong), "{error}");
    }
    assert_eq!(storage.snapshot().unwrap().index, 50);
    snapshot(&mut storage, 55, &[5], b"");
}

fn compaction_moves_no_index<D: Disk>(disk: &D, _: &D) {
    let mut storage = open(disk, 4096);
    let mut log = Vec::new();
    fill_mode(&mut storage, &mut log, 90, 1, |_| RELEASE);
    fill_mode(&mut storage, &mut log, 150, 4, |_| RELEASE);
    fill_mode(&mut storage, &mut log, 200, 5, |_| RELEASE);
    settle(&mut storage);
    let live: Vec<u64> = (1..=170).filter(|i| i % 9 == 2).collect();
    snapshot(&mut storage, 170, &live, b"state");
    for index in (1..=200).filter(|i| i % 9 != 2) {
        storage.release(index);
    }
    let before = disk.list().unwrap().len();
    assert!(major(&mut storage, everything()) > 0);
    let found = present(&storage, &log);
    flush(&mut storage);
    assert!(disk.list().unwrap().len() < before, "the old files are gone");
    let edge = storage.segments().iter().filter(|s| s.last <= 170 && s.sealed).map(|s| s.last).max().unwrap();
    let kept: BTreeSet<u64> = (1..=200).filter(|i| i % 9 == 2 || *i > edge).collect();
    assert_eq!(found, kept);
    let info: Vec<_> = storage.segments().iter().map(|s| (s.released, s.entries, s.version)).collect();
    drop(storage);
    let mut storage = open(disk, 4096);
    assert_eq!(present(&storage, &log), kept);
    assert!(check(disk).is_sound(), "{}", check(disk));
    let again: Vec<_> = storage.segments().iter().map(|s| (s.entries, s.version)).collect();
    assert_eq!(again, info.iter().map(|i| (i.1, i.2)).collect::<Vec<_>>());
    // The log goes on, also by truncation.
    fill_mode(&mut storage, &mut log, 260, 6, |_| RELEASE);
    storage.truncate(180).unwrap();
    log.truncate(180);
    fill_mode(&mut storage, &mut log, 240, 7, |_| RELEASE);
    present(&storage, &log);
    settle(&mut storage);
    drop(storage);
    present(&open(disk, 4096), &log);
    assert!(check(disk).is_sound(), "{}", check(disk));
}

fn minor_keeps_tombstones_and_major_drops_them<D: Disk>(disk: &D, _: &D) {
    let mut storage = open(disk, 4096);
    let mut log = Vec::new();
    let mode = |index: u64| if index.is_multiple_of(3) { TOMBSTONE } else { RELEASE };
    fill_mode(&mut storage, &mut log, 120, 1, mode);
    settle(&mut storage);
    snapshot(&mut storage, 120, &[], b"");
    for index in 1..=120 {
        storage.release(index);
    }
    assert!(minor(&mut storage, everything()) > 0);
    let edge = storage.segments().iter().filter(|s| s.sealed).map(|s| s.last).max().unwrap();
    let left: BTreeSet<u64> = (1..=120).filter(|i| i % 3 == 0 || *i > edge).collect();
    assert_eq!(present(&storage, &log), left);
    assert_eq!(storage.segments().iter().map(|s| s.tombstones).sum::<u64>(), edge / 3);
    // Above the global index no tombstone goes.
    major(&mut storage, Bounds { global: 60, ..everything() });
    let left: BTreeSet<u64> = left.into_iter().filter(|i| *i > 60 || *i > edge).collect();
    assert_eq!(present(&storage, &log), left);
    major(&mut storage, everything());
    assert_eq!(present(&storage, &log), (edge + 1..=120).collect());
    flush(&mut storage);
    drop(storage);
    assert_eq!(present(&open(disk, 4096), &log), (edge + 1..=120).collect());
}

fn every_mode_by_the_table<D: Disk>(disk: &D, _: &D) {
    let mut storage = open(disk, 4096);
    let mut log = Vec::new();
    fill_mode(&mut storage, &mut log, 200, 1, |index| (index % 11) as u8);
    settle(&mut storage);
    snapshot(&mut storage, 200, &[], b"");
    // Of each mode every second one is released.
    for index in (1..=200).filter(|i| (i / 11) % 2 == 0) {
        storage.release(index);
    }
    let edge = storage.segments().iter().filter(|s| s.sealed).map(|s| s.last).max().unwrap();
    let (global, through) = (edge / 2, edge);
    let stays = |index: u64, major: bool, machine: bool| {
        let released = (index / 11).is_multiple_of(2);
        let below = index <= global;
        let dropped = match index % 11 {
            0 => machine || released && below && major,
            2 => true,
            3 | 4 => released,
            5 => released && below,
            _ => released && below && major,
        };
        index > edge || !dropped
    };
    let expected = |major, machine| (1..=200).filter(|i| stays(*i, major, machine)).collect::<BTreeSet<u64>>();
    let bounds = Bounds { through, global, machine_snapshots: false };
    // Many more are worth it than not, so that minor compaction takes all.
    minor(&mut storage, bounds);
    let found = present(&storage, &log);
    assert!(found.is_superset(&expected(false, false)));
    let touched: Vec<_> = storage.segments().into_iter().filter(|s| s.version > 1).collect();
    assert!(!touched.is_empty());
    for segment in touched {
        for index in segment.first..=segment.last {
            assert_eq!(found.contains(&index), stays(index, false, false), "minor, mode {}", index % 11);
        }
    }
    major(&mut storage, bounds);
    assert_eq!(present(&storage, &log), expected(true, false));
    major(&mut storage, Bounds { machine_snapshots: true, ..bounds });
    assert_eq!(present(&storage, &log), expected(true, true));
    assert_eq!(major(&mut storage, Bounds { machine_snapshots: true, ..bounds }), 0, "nothing is left to do");
}

fn nothing_is_dropped_above_the_bounds<D: Disk>(disk: &D, _: &D) {
    let mut storage = open(disk, 4096);
    let mut log = Vec::new();
    fill_mode(&mut storage, &mut log, 100, 1, |_| RELEASE);
    settle(&mut storage);
    for index in 1..=100 {
        storage.release(index);
    }
    assert!(storage.plan_major(everything()).is_none(), "without a snapshot nothing goes");
    assert!(storage.plan_minor(everything()).is_none());
    snapshot(&mut storage, 80, &[], b"");
    for through in [0, 1, 40, 79] {
        major(&mut storage, Bounds { through, ..everything() });
        assert!(storage.highest_hole() <= through);
    }
    major(&mut storage, everything());
    assert!(storage.highest_hole() > 40 && storage.highest_hole() <= 80);
    present(&storage, &log);
}

fn what_is_referred_to_stays<D: Disk>(disk: &D, _: &D) {
    let mut storage = open(disk, 4096);
    let mut log = Vec::new();
    fill_mode(&mut storage, &mut log, 100, 1, |index| [2, 3, 8][(index % 3) as usize]);
    settle(&mut storage);
    let references = [1, 2, 3, 40, 41, 42, 70];
    snapshot(&mut storage, 95, &references, b"");
    for index in 1..=100 {
        storage.release(index);
    }
    major(&mut storage, everything());
    let found = present(&storage, &log);
    assert!(references.iter().all(|index| found.contains(index)));
    assert!(!found.contains(&4));
    // What the next snapshot does not refer to any more may go.
    snapshot(&mut storage, 99, &[2, 70], b"");
    major(&mut storage, everything());
    let found = present(&storage, &log);
    assert!(found.contains(&2) && found.contains(&70) && !found.contains(&1) && !found.contains(&41));
}

fn what_is_streamed_stays<D: Disk>(disk: &D, _: &D) {
    let mut storage = open(disk, 4096);
    let mut log = Vec::new();
    fill_mode(&mut storage, &mut log, 100, 1, |_| RELEASE);
    settle(&mut storage);
    snapshot(&mut storage, 90, &[1, 2, 3], b"old");
    let stream = storage.stream().unwrap();
    for index in 1..=100 {
        storage.release(index);
    }
    snapshot(&mut storage, 95, &[2], b"new");
    major(&mut storage, everything());
    let found = present(&storage, &log);
    assert!(found.contains(&1) && found.contains(&3), "they are pinned");
    assert!(stream.chunk(0, usize::MAX).unwrap().ends_with(b"old"));
    drop(stream);
    major(&mut storage, everything());
    let found = present(&storage, &log);
    assert!(!found.contains(&1) && found.contains(&2) && !found.contains(&3));
}

fn releases_during_a_compaction_are_kept<D: Disk>(disk: &D, _: &D) {
    let mut storage = open(disk, 4096);
    let mut log = Vec::new();
    fill_mode(&mut storage, &mut log, 100, 1, |_| RELEASE);
    settle(&mut storage);
    snapshot(&mut storage, 99, &[], b"");
    for index in (1..=99).filter(|i| i % 2 == 0) {
        storage.release(index);
    }
    let job = storage.plan_major(everything()).unwrap();
    for index in (1..=99).filter(|i| i % 3 == 0) {
        storage.release(index);
    }
    let compacted = job.run();
    storage.release(1);
    storage.release(2);
    storage.compacted(compacted).unwrap();
    let found = present(&storage, &log);
    assert!(found.contains(&1) && found.contains(&3) && !found.contains(&2), "the marks were frozen");
    major(&mut storage, everything());
    let found = present(&storage, &log);
    let edge = storage.segments().iter().filter(|s| s.sealed).map(|s| s.last).max().unwrap();
    let left: BTreeSet<u64> = (1..=100).filter(|i| *i > edge || i % 2 != 0 && i % 3 != 0 && *i != 1).collect();
    assert_eq!(found, left, "and the later ones were not lost");
}

fn neighbours_are_merged<D: Disk>(disk: &D, _: &D) {
    let mut storage = open(disk, 4096);
    let mut log = Vec::new();
    fill_mode(&mut storage, &mut log, 600, 1, |_| RELEASE);
    settle(&mut storage);
    let live: Vec<u64> = (1..=600).filter(|i| i % 40 == 7).collect();
    snapshot(&mut storage, 600, &live, b"");
    for index in (1..=600).filter(|i| i % 40 != 7) {
        storage.release(index);
    }
    let before = storage.segments().len();
    assert!(minor(&mut storage, everything()) > 0);
    flush(&mut storage);
    let segments = storage.segments();
    assert!(segments.len() <= 3, "{} of {before} segments left", segments.len());
    assert!(segments.iter().all(|s| s.size <= 4096));
    present(&storage, &log);
    drop(storage);
    let storage = open(disk, 4096);
    present(&storage, &log);
    assert_eq!(storage.segments().len(), segments.len());
}

fn a_compaction_in_slices_ends_the_same<D: Disk>(disk: &D, other: &D) {
    let images: Vec<_> = [disk, other]
        .into_iter()
        .zip([usize::MAX, 1])
        .map(|(disk, bytes)| {
            let mut storage = open(disk, 4096);
            let mut log = Vec::new();
            fill_mode(&mut storage, &mut log, 150, 1, |_| RELEASE);
            settle(&mut storage);
            let spec = Snapshot { index: 140, references: vec![7, 90], payload: vec![5; 200_000], time: 1 };
            let mut job = storage.take_snapshot(spec).unwrap();
            let mut steps = 0;
            let written = loop {
                steps += 1;
                if let Some(written) = job.step(bytes).unwrap() {
                    break written;
                }
            };
            assert!(storage.snapshotted(Ok(written)).unwrap());
            flush(&mut storage);
            for index in (1..=150).filter(|i| i % 4 != 0) {
                storage.release(index);
            }
            let mut job = storage.plan_major(everything()).unwrap();
            while !job.step(bytes).unwrap() {
                steps += 1;
            }
            storage.compacted(job.finish()).unwrap();
            flush(&mut storage);
            assert!(bytes > 1 || steps > 30);
            (present(&storage, &log), disk.list().unwrap())
        })
        .collect();
    assert_eq!(images[0], images[1]);
}

fn one_thing_at_a_time<D: Disk>(disk: &D, _: &D) {
    let mut storage = open(disk, 4096);
    let mut log = Vec::new();
    fill_mode(&mut storage, &mut log, 100, 1, |_| 2);
    settle(&mut storage);
    snapshot(&mut storage, 50, &[], b"");
    let later = || Snapshot { index: 60, ..Snapshot::default() };
    let job = storage.plan_major(everything()).unwrap();
    assert!(storage.plan_major(everything()).is_none() && storage.plan_minor(everything()).is_none());
    assert!(storage.take_snapshot(later()).is_none());
    // Given up before it began.
    storage.compacted(job.finish()).unwrap();
    assert_eq!(storage.highest_hole(), 0);
    let job = storage.take_snapshot(later()).unwrap();
    assert!(storage.plan_major(everything()).is_none() && storage.take_snapshot(later()).is_none());
    assert!(storage.snapshotted(Err(WorkError::Missing(1))).is_err());
    drop(job);
    major(&mut storage, everything());
    assert!(storage.highest_hole() > 0);
    present(&storage, &log);
}

fn entries_stop_before_a_hole<D: Disk>(disk: &D, _: &D) {
    let mut storage = open(disk, 4096);
    let mut log = Vec::new();
    fill_mode(&mut storage, &mut log, 60, 1, |_| RELEASE);
    settle(&mut storage);
    snapshot(&mut storage, 55, &[], b"");
    storage.release(12);
    storage.release(13);
    major(&mut storage, everything());
    let read = |from| storage.entries(from, 100, usize::MAX).unwrap().iter().map(|e| e.index).collect::<Vec<_>>();
    assert_eq!(read(9), [9, 10, 11]);
    assert_eq!(read(12), [0; 0]);
    assert_eq!(read(storage.contiguous_from()), (14..=60).collect::<Vec<_>>());
    assert_eq!((storage.get(12), storage.lookup(12)), (Ok(None), Ok(Lookup::Hole)));
    assert_eq!(storage.lookup(61), Ok(Lookup::Outside));
}

fn a_log_without_an_entry_left<D: Disk>(disk: &D, _: &D) {
    let mut storage = open(disk, 4096);
    let mut log = Vec::new();
    fill_mode(&mut storage, &mut log, 40, 2, |_| 2);
    settle(&mut storage);
    snapshot(&mut storage, 40, &[], b"everything");
    // So that the last segment is sealed too.
    fill_mode(&mut storage, &mut log, 80, 2, |_| 2);
    settle(&mut storage);
    storage.truncate(40).unwrap();
    log.truncate(40);
    flush(&mut storage);
    fill_mode(&mut storage, &mut log, 41, 2, |_| 2);
    settle(&mut storage);
    major(&mut storage, everything());
    flush(&mut storage);
    let found = present(&storage, &log);
    assert!(found.contains(&41));
    drop(storage);
    let storage = open(disk, 4096);
    assert_eq!(present(&storage, &log), found);
    assert_eq!((storage.last_index(), storage.last_term()), (41, 2));
    assert!(check(disk).is_sound(), "{}", check(disk));
}

/// A leader's directory with holes, a snapshot at 180 of 200 entries, and what it refers to.
fn leader<D: Disk>(disk: &D) -> (Storage<D>, Vec<Entry>, Vec<u64>) {
    let mut storage = open(disk, 4096);
    let mut log = Vec::new();
    fill_mode(&mut storage, &mut log, 120, 1, |_| RELEASE);
    fill_mode(&mut storage, &mut log, 200, 4, |_| RELEASE);
    settle(&mut storage);
    let live: Vec<u64> = (1..=180).filter(|i| i % 2 == 0 && i % 5 != 0).collect();
    let payload: Vec<u8> = (0..150_000_u32).map(|i| (i % 253) as u8).collect();
    snapshot(&mut storage, 180, &live, &payload);
    for index in (1..=180).filter(|i| !live.contains(i)) {
        storage.release(index);
    }
    major(&mut storage, everything());
    flush(&mut storage);
    (storage, log, live)
}

/// Streams the leader's snapshot until it is complete; returns it, and the entries that were asked for.
fn receive<D: Disk>(from: &mut Storage<D>, to: &mut Storage<D>) -> (Incoming<D>, Vec<u64>) {
    let stream = from.stream().unwrap();
    let mut incoming = to.receive(stream.chunk(0, 1_000).unwrap()).unwrap();
    let mut asked = Vec::new();
    while incoming.received() < stream.info().size {
        let chunk = stream.chunk(incoming.received(), 7_001).unwrap();
        incoming.write(incoming.received(), chunk).unwrap();
        // A repeated chunk changes nothing.
        assert!(matches!(incoming.write(0, chunk), Err(InstallError::Offset { expected }) if expected > 0));
    }
    while !incoming.is_complete() {
        if to.stage_own(&mut incoming, 10).unwrap() > 0 {
            continue;
        }
        let wanted = to.wanted(&incoming, 8);
        assert!(!wanted.is_empty());
        for index in wanted {
            while incoming.next().unwrap().index != index {
                assert!(to.stage_own(&mut incoming, 1).unwrap() > 0);
            }
            asked.push(index);
            let entry = from.get(index).unwrap().unwrap().to_owned();
            to.stage(&mut incoming, &entry).unwrap();
        }
    }
    (incoming, asked)
}

fn a_snapshot_is_installed<D: Disk>(disk: &D, other: &D) {
    let (mut from, log, live) = leader(disk);
    let mut to = open(other, 8192);
    let mut own = Vec::new();
    // Another history: what the old leader of term 3 made and nobody committed.
    fill_mode(&mut to, &mut own, 30, 1, |_| RELEASE);
    fill_mode(&mut to, &mut own, 190, 3, |_| RELEASE);
    settle(&mut to);
    let before = other.list().unwrap();
    let (incoming, asked) = receive(&mut from, &mut to);
    assert_eq!(asked, live.iter().copied().filter(|i| *i > 30).collect::<Vec<_>>(), "only what it lacks");
    assert_eq!(all(&to), own, "the log in use is untouched");
    let staged = to.received(incoming).unwrap().run().unwrap();
    assert_eq!(all(&to), own);
    to.install(staged).unwrap();
    assert_eq!(to.durable_index(), 0, "nothing of the new log is durable yet");
    assert!(to.plan_major(everything()).is_none());
    let mut log = log[..180].to_vec();
    let live: BTreeSet<u64> = live.into_iter().collect();
    assert_eq!(present(&to, &log), live);
    assert_eq!(to.snapshot_payload(), from.snapshot_payload());
    flush(&mut to);
    assert_eq!(to.durable_index(), 180);
    let after = other.list().unwrap();
    assert!(!before.iter().any(|name| name.ends_with(".log") && after.contains(name)), "{after:?}");
    // It goes on from there, through an open, own snapshots, compactions and another install.
    fill_mode(&mut to, &mut log, 230, 5, |_| RELEASE);
    settle(&mut to);
    assert_eq!(present(&to, &log).len(), live.len() + 50);
    drop(to);
    let mut to = open(other, 8192);
    assert_eq!(present(&to, &log).len(), live.len() + 50);
    assert!(check(other).is_sound(), "{}", check(other));
    let kept: Vec<u64> = live.iter().copied().filter(|i| i % 4 == 0).chain(200..=210).collect();
    snapshot(&mut to, 215, &kept, b"own");
    drop(to);
    let mut to = open(other, 8192);
    assert!(major(&mut to, everything()) > 0);
    flush(&mut to);
    let found = present(&to, &log);
    assert!(kept.iter().all(|i| found.contains(i)) && !found.contains(&2));
    drop(to);
    let to = open(other, 8192);
    assert_eq!(present(&to, &log), found);
    assert!(check(other).is_sound(), "{}", check(other));
}

fn an_install_takes_what_is_here<D: Disk>(disk: &D, other: &D) {
    let (mut from, log, live) = leader(disk);
    let mut to = open(other, 4096);
    let mut own = Vec::new();
    fill_mode(&mut to, &mut own, 120, 1, |_| RELEASE);
    fill_mode(&mut to, &mut own, 170, 4, |_| RELEASE);
    let (incoming, asked) = receive(&mut from, &mut to);
    assert_eq!(asked, live.iter().copied().filter(|i| *i > 170).collect::<Vec<_>>());
    let staged = to.received(incoming).unwrap().run().unwrap();
    to.install(staged).unwrap();
    flush(&mut to);
    assert_eq!(present(&to, &log[..180]), live.into_iter().collect());
}

fn an_install_is_not_needed<D: Disk>(disk: &D, other: &D) {
    let (mut from, log, _) = leader(disk);
    let stream = from.stream().unwrap();
    let first = stream.chunk(0, 4_000).unwrap();
    let mut to = open(other, 4096);
    let (incoming, _) = receive(&mut from, &mut to);
    // While it came, the log here got there by itself.
    for entry in &log[..185] {
        to.append(entry).unwrap();
    }
    let staged = to.received(incoming).unwrap().run().unwrap();
    let refused = to.install(staged).unwrap_err();
    assert!(matches!(refused.reason, InstallError::InLog(180)), "{}", refused.reason);
    assert_eq!(to.last_index(), 185, "nothing was cut");
    assert!(matches!(to.receive(first), Err(InstallError::InLog(180))));
    settle(&mut to);
    snapshot(&mut to, 182, &[], b"newer");
    let refused = to.install(refused.staged).unwrap_err();
    assert!(matches!(refused.reason, InstallError::Stale { own: 182, offered: 180 }), "{}", refused.reason);
    to.abandon_staged(refused.staged);
    assert!(matches!(to.receive(first), Err(InstallError::Stale { .. })));
    assert_eq!(all(&to), log[..185]);
    drop(to);
    assert_eq!(all(&open(other, 4096)), log[..185]);
    assert!(check(other).notes.is_empty(), "{}", check(other));
}

fn an_install_is_given_up<D: Disk>(disk: &D, other: &D) {
    let (mut from, _, _) = leader(disk);
    let mut to = open(other, 4096);
    let mut own = Vec::new();
    fill_mode(&mut to, &mut own, 20, 1, |_| RELEASE);
    settle(&mut to);
    let before = other.list().unwrap();
    let (incoming, _) = receive(&mut from, &mut to);
    to.abandon(incoming);
    assert_eq!(other.list().unwrap(), before);
    // A process that dies before the end leaves files that mean nothing.
    let (incoming, _) = receive(&mut from, &mut to);
    let staged = to.received(incoming).unwrap().run().unwrap();
    assert!(other.list().unwrap().len() > before.len());
    drop((staged, to));
    assert!(check(other).is_sound(), "{}", check(other));
    let to = open(other, 4096);
    assert_eq!(all(&to), own);
    assert_eq!((other.list().unwrap(), to.snapshot()), (before, None));
}

fn set_vote<D: Disk>(storage: &mut Storage<D>) {
    let meta = copycat_storage::Meta { term: 9, vote: 2, ..storage.meta().clone() };
    storage.set_meta(meta);
    flush(storage);
}

fn a_damaged_directory_is_set_aside<D: Disk>(disk: &D, other: &D) {
    let (mut from, log, live) = leader(disk);
    let mut to = open(other, 4096);
    let (incoming, _) = receive(&mut from, &mut to);
    let staged = to.received(incoming).unwrap().run().unwrap();
    to.install(staged).unwrap();
    set_vote(&mut to);
    let name = to.segments()[0].file_name();
    drop(to);
    // The header of a segment, as a disk would lose it.
    let mut file = other.open(&name).unwrap();
    copycat_storage::DiskFile::write(&mut file, 20, &[0xFF]);
    drop(file);
    assert!(matches!(try_open(other, 4096, 1), Err(OpenError::Corrupt(_))));
    let seed = copycat_storage::Seed { identity: 1, salt: 1, now_ms: 0 };
    let (to, damage) = Storage::open_damaged(other.clone(), common::options(4096), seed, None).unwrap();
    assert_eq!(damage.unwrap().file, name);
    assert!(to.meta().lost && to.log_lost());
    assert_eq!((to.meta().identity, to.meta().term, to.meta().vote), (42, 9, 2));
    assert_eq!((to.last_index(), to.snapshot()), (0, None));
    assert!(other.list().unwrap().contains(&format!("{name}.damaged")));
    drop(to);
    // And back from its peers.
    let mut to = open(other, 4096);
    assert!(to.meta().lost);
    let (incoming, asked) = receive(&mut from, &mut to);
    assert_eq!(asked, live);
    let staged = to.received(incoming).unwrap().run().unwrap();
    to.install(staged).unwrap();
    flush(&mut to);
    assert_eq!(present(&to, &log[..180]), live.into_iter().collect());
    drop(to);
    // A sound directory is merely opened.
    let (_, damage) = Storage::open_damaged(other.clone(), common::options(4096), seed, None).unwrap();
    assert_eq!(damage, None);
}

fn damage_found_while_running_is_set_aside<D: Disk>(disk: &D, _: &D) {
    let mut storage = open(disk, 4096);
    let mut log = Vec::new();
    fill(&mut storage, &mut log, 60, 1, 300);
    settle(&mut storage);
    set_vote(&mut storage);
    drop(storage);
    let mut file = disk.open("0000000001-0001.log").unwrap();
    copycat_storage::DiskFile::write(&mut file, 300, &[0xFF, 0xFF]);
    drop(file);
    let storage = open(disk, 4096);
    let corrupt = (1..=60).find_map(|index| storage.get(index).err()).unwrap();
    drop(storage);
    let seed = copycat_storage::Seed { identity: 1, salt: 1, now_ms: 0 };
    let options = common::options(4096);
    let (storage, damage) = Storage::open_damaged(disk.clone(), options, seed, Some(corrupt)).unwrap();
    assert_eq!(damage.unwrap().file, "0000000001-0001.log");
    assert!(storage.meta().lost && storage.last_index() == 0);
    assert_eq!((storage.meta().term, storage.meta().vote), (9, 2));
}

#[test]
#[should_panic(expected = "below the snapshot")]
fn truncating_below_the_snapshot_is_the_callers_mistake() {
    let mut storage = open(&MemDisk::new(), 4096);
    let mut log = Vec::new();
    fill(&mut storage, &mut log, 20, 1, 100);
    snapshot(&mut storage, 10, &[], b"");
    let _ = storage.truncate(9);
}

#[test]
fn a_full_disk_keeps_what_there_is() {
    let disk = MemDisk::new();
    let mut storage = open(&disk, 4096);
    let mut log = Vec::new();
    fill_mode(&mut storage, &mut log, 100, 1, |_| 2);
    settle(&mut storage);
    snapshot(&mut storage, 90, &[], b"");
    assert!(storage.has_room(0).unwrap());
    let used = u64::MAX - 1;
    disk.set_capacity(Some(0));
    assert!(!storage.has_room(0).unwrap() && storage.has_room(used).is_ok());
    let spec = Snapshot { index: 95, ..Snapshot::default() };
    let result = storage.take_snapshot(spec).unwrap().run();
    assert!(matches!(storage.snapshotted(result), Err(WorkError::Io(_))));
    let compacted = storage.plan_major(everything()).unwrap().run();
    assert!(compacted.error().is_some());
    assert!(storage.compacted(compacted).is_err());
    assert!(!storage.has_failed());
    assert_eq!(present(&storage, &log).len(), 100);
    disk.set_capacity(None);
    assert!(major(&mut storage, everything()) > 0);
    flush(&mut storage);
    assert!(!disk.list().unwrap().iter().any(|name| name.ends_with(".tmp")));
}

/// Cut at each step of a compaction and of the flush that deletes the old files, and whatever of the directory survives.
#[test]
fn a_compaction_may_be_cut_anywhere() {
    let build = MemDisk::new();
    let mut storage = open(&build, 4096);
    let mut log = Vec::new();
    fill_mode(&mut storage, &mut log, 90, 1, |_| RELEASE);
    settle(&mut storage);
    let live = [5, 40, 41];
    snapshot(&mut storage, 80, &live, b"state");
    settle(&mut storage);
    drop(storage);
    let (mut cuts, mut compacted) = (0, 0);
    for steps in 0..40 {
        for seed in 0..25 {
            let disk = build.fork();
            let mut storage = open(&disk, 4096);
            disk.cut_after(steps);
            let result = storage.plan_major(everything()).unwrap().run();
            let _ = storage.compacted(result);
            if let Some(job) = storage.flush() {
                let _ = job.run();
            }
            cuts += u64::from(disk.is_cut());
            let mut rng = common::Rng(seed);
            disk.crash(&mut || rng.next());
            assert!(check(&disk).is_sound(), "{steps} steps, seed {seed}: {}", check(&disk));
            let found = present(&open(&disk, 4096), &log);
            assert!(live.iter().all(|index| found.contains(index)));
            compacted += u64::from(found.len() < log.len());
        }
    }
    assert!(cuts > 300 && compacted > 300, "{cuts} {compacted}");
}
