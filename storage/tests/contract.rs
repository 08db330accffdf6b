//! What a storage promises, on a real directory, in memory, and on the simulated disk alike.
// A test that fails says so by panicking, and its small numbers are its own.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, clippy::cast_possible_truncation)]

mod common;

use common::{Directory, Rng, all, assert_log, entry, fill, flush, open, options, settle, try_open};
use copycat_storage::{AppendError, Disk, Entry, Meta, OpenError, Options, check};

/// Runs one test on each disk.
macro_rules! on_each {
    ($($name:ident)*) => {
        mod simulated {
            $(#[test]
            fn $name() {
                super::$name(&copycat_storage::MemDisk::new());
            })*
        }
        mod memory {
            $(#[test]
            fn $name() {
                super::$name(&copycat_storage::AnyDisk::Ram(copycat_storage::RamDisk::new(1 << 30)));
            })*
        }
        mod directory {
            $(#[test]
            fn $name() {
                let directory = super::Directory::new();
                super::$name(&copycat_storage::FileDisk::open(&directory.0).unwrap());
            })*
        }
    };
}

on_each! {
    a_new_directory_is_empty
    rolls_with_every_number_of_entries_a_segment
    truncates_anywhere
    truncates_again_and_again
    truncating_an_untouched_segment_wastes_none
    reads_within_bounds
    refuses_what_is_too_large
    keeps_empty_values
    prepares_ahead
    a_late_prepared_segment_is_not_used
    a_segment_size_may_change
    segments_grow_with_the_largest_entry
    meta_and_configuration_last
    durable_index_and_sequence
    an_idle_mark_is_written_once
    follows_a_model
    a_clean_directory_passes_the_check
    foreign_files_are_refused
}

fn a_new_directory_is_empty<D: Disk>(disk: &D) {
    let storage = open(disk, 4096);
    assert_log(&storage, &[]);
    assert!(storage.opened().fresh);
    assert_eq!(storage.meta().identity, 42);
    assert_eq!(storage.configuration(), b"");
    assert_eq!((storage.write_sequence(), storage.durable_sequence()), (0, 0));
    drop(storage);
    let storage = open(disk, 4096);
    assert_log(&storage, &[]);
    assert!(!storage.opened().fresh);
    assert!(!storage.log_lost());
    assert_eq!(storage.meta(), &Meta { identity: 42, ..Meta::default() });
    let names = disk.list().unwrap();
    assert_eq!(names, ["0000000001-0001.log", "meta-0", "meta-1"]);
}

fn rolls_with_every_number_of_entries_a_segment<D: Disk>(disk: &D) {
    for per in 1..=9_usize {
        // 4096 less the header and a table of one run, shared by `per` entries.
        let size = (4096 - 64 - 64) / per - 64 - 16;
        let mut storage = open(disk, 4096);
        storage.truncate(0).unwrap();
        let mut log = Vec::new();
        for (last, term) in [(1, 1), (7, 1), (8, 2), (40, 3)] {
            fill(&mut storage, &mut log, last, term, size);
            assert_log(&storage, &log);
        }
        let counts: Vec<u64> = storage.segments().iter().map(|s| s.last + 1 - s.first).collect();
        assert!(counts.iter().all(|n| *n <= per as u64), "{per}: {counts:?}");
        assert!(counts.contains(&(per as u64)), "{per}: {counts:?}");
        // Once as a killed process leaves it, once flushed, once sealed.
        drop(storage);
        let mut storage = open(disk, 4096);
        assert_log(&storage, &log);
        fill(&mut storage, &mut log, 41, 3, size);
        flush(&mut storage);
        drop(storage);
        let mut storage = open(disk, 4096);
        assert_log(&storage, &log);
        fill(&mut storage, &mut log, 42, 4, size);
        settle(&mut storage);
        let segments = storage.segments();
        let (active, full) = segments.split_last().unwrap();
        assert!(!active.sealed && full.iter().all(|s| s.sealed));
        drop(storage);
        assert_log(&open(disk, 4096), &log);
    }
}

fn truncates_anywhere<D: Disk>(disk: &D) {
    let mut term = 1;
    for last in [0, 1, 2, 9, 10, 11, 29, 30] {
        for flushed in [false, true] {
            let mut storage = open(disk, 4096);
            storage.truncate(0).unwrap();
            let mut log = Vec::new();
            fill(&mut storage, &mut log, 30, term, 300);
            if flushed {
                settle(&mut storage);
            }
            term += 1;
            storage.truncate(last).unwrap();
            log.truncate(usize::try_from(last).unwrap());
            assert_log(&storage, &log);
            assert!(storage.durable_index() <= last);
            drop(storage);
            let mut storage = open(disk, 4096);
            assert_log(&storage, &log);
            fill(&mut storage, &mut log, last + 3, term, 200);
            assert_log(&storage, &log);
            term += 1;
            fill(&mut storage, &mut log, last + 17, term, 250);
            flush(&mut storage);
            assert_log(&storage, &log);
            drop(storage);
            let storage = open(disk, 4096);
            assert_log(&storage, &log);
            let names = disk.list().unwrap();
            assert_eq!(names.len(), storage.segments().len() + 2, "nothing dead stays");
        }
    }
}

fn truncates_again_and_again<D: Disk>(disk: &D) {
    let mut storage = open(disk, 4096);
    let mut log = Vec::new();
    let mut term = 1;
    fill(&mut storage, &mut log, 40, term, 400);
    for last in [35, 35, 30, 12, 11, 11, 3, 0, 0] {
        storage.truncate(last).unwrap();
        log.truncate(usize::try_from(last).unwrap());
        assert_log(&storage, &log);
        if last % 2 == 1 {
            term += 1;
            fill(&mut storage, &mut log, last + 2, term, 100);
            storage.truncate(last).unwrap();
            log.truncate(usize::try_from(last).unwrap());
        }
    }
    flush(&mut storage);
    fill(&mut storage, &mut log, 5, term, 100);
    storage.truncate(9).unwrap();
    assert_log(&storage, &log);
    drop(storage);
    assert_log(&open(disk, 4096), &log);
}

fn truncating_an_untouched_segment_wastes_none<D: Disk>(disk: &D) {
    let mut storage = open(disk, 4096);
    let mut log = Vec::new();
    fill(&mut storage, &mut log, 20, 1, 100);
    storage.truncate(15).unwrap();
    let id = storage.segments().last().unwrap().id;
    for last in (0..15).rev() {
        storage.truncate(last).unwrap();
        assert_eq!(storage.segments().last().unwrap().id, id);
        log.truncate(usize::try_from(last).unwrap());
        assert_log(&storage, &log);
    }
    flush(&mut storage);
    assert_eq!(disk.list().unwrap().len(), 3);
}

fn reads_within_bounds<D: Disk>(disk: &D) {
    let mut storage = open(disk, 4096);
    let mut log = Vec::new();
    fill(&mut storage, &mut log, 25, 1, 136);
    let read = |from, count, bytes| {
        let entries: Vec<Entry> = storage.entries(from, count, bytes).unwrap();
        entries.iter().map(|e| e.index).collect::<Vec<_>>()
    };
    assert_eq!(read(1, 3, usize::MAX), [1, 2, 3]);
    assert_eq!(read(24, 9, usize::MAX), [24, 25]);
    assert_eq!(read(5, 9, 400), [5, 6]);
    assert_eq!(read(5, 9, 399), [5]);
    assert_eq!(read(5, 9, 0), [5], "at least one");
    assert_eq!(read(5, 0, 400), [0; 0]);
    assert_eq!(read(0, 9, 400), [0; 0]);
    assert_eq!(read(26, 9, 400), [0; 0]);
    assert_eq!(storage.get(0), Ok(None));
    let third = storage.get(3).unwrap().unwrap();
    assert_eq!(third.to_owned(), log[2]);
    assert_eq!((storage.term_start(0), storage.term_start(26)), (0, 0));
}

fn refuses_what_is_too_large<D: Disk>(disk: &D) {
    let mut storage = open(disk, 4096);
    let most = options(4096).max_entry();
    let sequence = storage.write_sequence();
    let error = storage.append(&entry(1, 1, &vec![1; most + 1])).unwrap_err();
    assert!(matches!(error, AppendError::TooLarge { bytes, most: m } if bytes == most + 1 && m == most));
    assert_eq!(storage.write_sequence(), sequence);
    let mut log = Vec::new();
    fill(&mut storage, &mut log, 3, 1, most);
    settle(&mut storage);
    drop(storage);
    assert_log(&open(disk, 4096), &log);
    for wrong in [0, 4095, 4100, u32::MAX] {
        let error = try_open(disk, wrong, 1).unwrap_err();
        assert!(matches!(error, OpenError::SegmentSize { .. }), "{error}");
    }
}

fn keeps_empty_values<D: Disk>(disk: &D) {
    let mut storage = open(disk, 4096);
    let mut log = Vec::new();
    for index in 1..200 {
        let entry = Entry { index, term: index / 50, ..Entry::default() };
        storage.append(&entry).unwrap();
        log.push(entry);
    }
    assert_eq!(all(&storage), log);
    settle(&mut storage);
    drop(storage);
    assert_eq!(all(&open(disk, 4096)), log);
}

fn prepares_ahead<D: Disk>(disk: &D) {
    let mut storage = open(disk, 4096);
    let mut log = Vec::new();
    fill(&mut storage, &mut log, 3, 1, 100);
    assert!(storage.prepare().is_none(), "not half full");
    fill(&mut storage, &mut log, 15, 1, 100);
    let job = storage.prepare().unwrap();
    assert!(storage.prepare().is_none(), "one at a time");
    storage.prepared(job.run());
    assert!(storage.prepare().is_none(), "there is one");
    let files = disk.list().unwrap().len();
    fill(&mut storage, &mut log, 30, 1, 100);
    assert_eq!(disk.list().unwrap().len(), files, "the prepared one was used");
    assert_eq!(storage.segments().len(), 2);
    drop(storage);
    let mut storage = open(disk, 4096);
    assert_log(&storage, &log);
    fill(&mut storage, &mut log, 42, 1, 100);
    let job = storage.prepare().unwrap();
    storage.prepared(job.run());
    drop(storage);
    let storage = open(disk, 4096);
    assert_log(&storage, &log);
    assert_eq!(storage.opened().dead.len(), 1, "an unused one is deleted");
}

fn a_late_prepared_segment_is_not_used<D: Disk>(disk: &D) {
    let mut storage = open(disk, 4096);
    let mut log = Vec::new();
    fill(&mut storage, &mut log, 15, 1, 100);
    let job = storage.prepare().unwrap();
    fill(&mut storage, &mut log, 30, 1, 100);
    storage.prepared(job.run());
    let files = disk.list().unwrap().len();
    flush(&mut storage);
    assert_eq!(disk.list().unwrap().len(), files - 1);
    assert_log(&storage, &log);
    drop(storage);
    assert_log(&open(disk, 4096), &log);
}

fn a_segment_size_may_change<D: Disk>(disk: &D) {
    let mut log = Vec::new();
    let mut storage = open(disk, 4096);
    fill(&mut storage, &mut log, 40, 1, 300);
    storage.truncate(40).unwrap();
    drop(storage);
    let mut storage = open(disk, 65_536);
    fill(&mut storage, &mut log, 41, 1, 30_000);
    storage.truncate(40).unwrap();
    log.pop();
    settle(&mut storage);
    drop(storage);
    let mut storage = open(disk, 4096);
    storage.truncate(20).unwrap();
    log.truncate(20);
    drop(storage);
    // The active segment is empty and too small for what comes.
    let mut storage = open(disk, 65_536);
    fill(&mut storage, &mut log, 22, 1, 50_000);
    assert_log(&storage, &log);
    flush(&mut storage);
    drop(storage);
    assert_log(&open(disk, 8192), &log);
}

fn segments_grow_with_the_largest_entry<D: Disk>(disk: &D) {
    for size in [4096, 8192, 1 << 20, copycat_storage::MAX_SEGMENT] {
        let most = options(size).max_entry();
        assert_eq!(Options::segment_for(most), Some(size));
        assert_eq!(
            Options::segment_for(most + 1),
            size.checked_add(4096).filter(|s| *s <= copycat_storage::MAX_SEGMENT)
        );
    }
    assert_eq!(Options::segment_for(usize::MAX), None);
    let mut storage = open(disk, 4096);
    let mut log = Vec::new();
    fill(&mut storage, &mut log, 3, 1, 1000);
    // One is created ahead and waits, another is on its way: both are too small by the time they are wanted.
    let ahead = storage.prepare().expect("the segment is half full").run();
    storage.prepared(ahead);
    assert!(!storage.fit(usize::MAX) && storage.fit(100));
    assert_eq!(storage.options().segment_size, 4096);
    assert!(storage.fit(20_000));
    let mut push = |storage: &mut copycat_storage::Storage<D>, index, bytes: usize| {
        let large = entry(index, 1, &vec![b'x'; bytes]);
        storage.append(&large).expect("it fits");
        log.push(large);
        flush(storage);
    };
    push(&mut storage, 4, 20_000);
    let late = storage.prepare().expect("the segment is half full");
    assert!(storage.fit(50_000));
    storage.prepared(late.run());
    push(&mut storage, 5, 50_000);
    flush(&mut storage);
    assert_log(&storage, &log);
    drop(storage);
    assert_log(&open(disk, 4096), &log);
}

fn meta_and_configuration_last<D: Disk>(disk: &D) {
    let mut meta = Meta {
        identity: 42,
        server: 3,
        cluster: u128::MAX - 1,
        term: 7,
        vote: 2,
        lost: false,
        durability: 2,
        boot: 9 << 100,
        clean: true,
        starts: 77,
    };
    let mut storage = open(disk, 4096);
    storage.set_meta(meta.clone());
    storage.set_configuration(b"three servers".to_vec());
    assert_eq!((storage.write_sequence(), storage.durable_sequence()), (2, 0));
    assert_eq!(storage.meta(), &meta);
    storage.set_meta(meta.clone());
    assert_eq!(storage.write_sequence(), 2, "the same again is no write");
    flush(&mut storage);
    meta.term = 8;
    storage.set_meta(meta.clone());
    storage.set_configuration(Vec::new());
    storage.set_configuration(vec![5; 10_000]);
    flush(&mut storage);
    drop(storage);
    let mut storage = open(disk, 4096);
    assert_eq!(storage.meta(), &meta);
    assert_eq!(storage.configuration(), vec![5; 10_000]);
    storage.set_configuration(Vec::new());
    flush(&mut storage);
    drop(storage);
    assert_eq!(open(disk, 4096).configuration(), b"");
}

fn durable_index_and_sequence<D: Disk>(disk: &D) {
    let mut storage = open(disk, 4096);
    let mut log = Vec::new();
    assert!(storage.flush().is_none());
    fill(&mut storage, &mut log, 10, 1, 100);
    assert_eq!((storage.durable_index(), storage.durable_sequence()), (0, 0));
    let job = storage.flush().unwrap();
    assert_eq!(job.sequence(), 10);
    assert!(storage.flush().is_none(), "one at a time");
    fill(&mut storage, &mut log, 12, 1, 100);
    storage.truncate(6).unwrap();
    log.truncate(6);
    fill(&mut storage, &mut log, 9, 2, 100);
    assert_eq!(storage.write_sequence(), 16);
    let persisted = job.run().unwrap();
    assert_eq!(persisted.sequence(), 10);
    storage.persisted(persisted);
    assert_eq!(storage.durable_sequence(), 10);
    assert_eq!(storage.durable_index(), 6, "7 to 9 are others than those flushed");
    assert!(!storage.mark_idle());
    flush(&mut storage);
    assert_eq!((storage.durable_index(), storage.durable_sequence()), (9, 16));
    storage.truncate(4).unwrap();
    assert_eq!(storage.durable_index(), 4);
}

fn an_idle_mark_is_written_once<D: Disk>(disk: &D) {
    let mut storage = open(disk, 4096);
    assert!(!storage.mark_idle(), "nothing to record");
    let mut log = Vec::new();
    fill(&mut storage, &mut log, 3, 1, 10);
    assert!(!storage.mark_idle(), "nothing is durable");
    flush(&mut storage);
    assert!(storage.mark_idle());
    assert!(!storage.mark_idle());
    flush(&mut storage);
    assert!(!storage.mark_idle());
    assert!(storage.flush().is_none());
}

/// Random appends, truncations, flushes and reopenings against a plain list.
fn follows_a_model<D: Disk>(disk: &D) {
    let mut rng = Rng(5);
    let (mut log, mut term, mut size): (Vec<Entry>, u64, u32) = (Vec::new(), 1, 4096);
    let mut storage = open(disk, size);
    let (mut reopened, mut truncated) = (0, 0);
    for step in 0..3_000 {
        match rng.below(60) {
            0 => {
                drop(storage);
                size = [4096, 8192, 65_536][usize::try_from(rng.below(3)).unwrap()];
                storage = open(disk, size);
                reopened += 1;
            }
            1..=3 => {
                let low = (log.len() as u64).saturating_sub(20);
                let last = if rng.one_in(8) { 0 } else { low } + rng.below(24);
                storage.truncate(last).unwrap();
                if last < log.len() as u64 {
                    truncated += 1;
                    log.truncate(usize::try_from(last).unwrap());
                    term += 1;
                }
            }
            4..=6 => flush(&mut storage),
            7 => settle(&mut storage),
            8..=12 => {
                if let Some(job) = storage.prepare() {
                    storage.prepared(job.run());
                }
            }
            13 => term += 1,
            _ => {
                let len = if rng.one_in(9) { 2_500 } else { rng.below(90) };
                let data = vec![u8::try_from(step % 256).unwrap(); usize::try_from(len).unwrap()];
                let entry = entry(log.len() as u64 + 1, term, &data);
                storage.append(&entry).unwrap();
                log.push(entry);
            }
        }
        if step % 50 == 0 {
            assert_log(&storage, &log);
        }
    }
    assert_log(&storage, &log);
    assert!(reopened > 20 && truncated > 40, "{reopened} {truncated}");
}

fn a_clean_directory_passes_the_check<D: Disk>(disk: &D) {
    let report = check(disk);
    assert!(report.is_sound(), "{report}");
    let mut storage = open(disk, 4096);
    let mut log = Vec::new();
    fill(&mut storage, &mut log, 50, 1, 100);
    storage.set_configuration(vec![1; 77]);
    storage.truncate(45).unwrap();
    settle(&mut storage);
    drop(storage);
    let report = check(disk);
    assert!(report.is_sound() && report.notes.is_empty(), "{report}");
    assert_eq!((report.first, report.last, report.entries), (1, 45, 45));
    assert_eq!((report.bytes, report.configuration.map(|data| data.len())), (4_500, Some(77)));
    assert_eq!(report.meta.unwrap().identity, 42);
}

fn foreign_files_are_refused<D: Disk>(disk: &D) {
    drop(open(disk, 4096));
    drop(disk.create("notes.txt", 16).unwrap());
    let error = try_open(disk, 4096, 1).unwrap_err();
    assert!(matches!(&error, OpenError::Foreign { name } if name == "notes.txt"), "{error}");
    assert!(!check(disk).is_sound());
    disk.remove("notes.txt").unwrap();
    drop(open(disk, 4096));
}
