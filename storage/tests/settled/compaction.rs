//! Compaction and the holes that it leaves.

use super::common::{Directory, Rng, flush, open, settle};
use super::helpers::{RELEASE, TOMBSTONE, everything, fill_mode, major, minor, present, snapshot};
use copycat_storage::{Bounds, Disk, Lookup, MemDisk, Snapshot, WorkError, check};
use std::collections::BTreeSet;

super::on_both! {
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
            let mut rng = Rng(seed);
            disk.crash(&mut || rng.next());
            assert!(check(&disk).is_sound(), "{steps} steps, seed {seed}: {}", check(&disk));
            let found = present(&open(&disk, 4096), &log);
            assert!(live.iter().all(|index| found.contains(index)));
            compacted += u64::from(found.len() < log.len());
        }
    }
    assert!(cuts > 300 && compacted > 300, "{cuts} {compacted}");
}
