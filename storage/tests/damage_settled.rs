//! Damage of snapshots, compacted and installed segments: it is told, with its place, and never taken for something else.
// A test that fails says so by panicking, and its small numbers are its own.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, clippy::cast_possible_truncation)]

mod common;

use common::{entry, flush, open, options, settle, try_open};
use copycat_storage::{Bounds, Disk, Entry, Lookup, MemDisk, OpenError, Seed, Snapshot, Storage, check};

type Image = Vec<(String, Vec<u8>)>;

fn image(disk: &MemDisk) -> Image {
    let names = disk.list().unwrap().into_iter();
    names.map(|name| (name.clone(), disk.get(&name).unwrap())).collect()
}

fn restore(image: &Image) -> MemDisk {
    let disk = MemDisk::new();
    for (name, bytes) in image {
        disk.put(name, bytes);
    }
    disk
}

fn snapshot(storage: &mut Storage<MemDisk>, index: u64, references: Vec<u64>, payload: Vec<u8>) {
    let job = storage.take_snapshot(Snapshot { index, time: 1, references, payload }).unwrap();
    assert!(storage.snapshotted(job.run()).unwrap());
    flush(storage);
}

fn compact(storage: &mut Storage<MemDisk>) {
    let bounds = Bounds { through: u64::MAX, global: u64::MAX, machine_snapshots: true };
    let compacted = storage.plan_major(bounds).unwrap().run();
    assert!(compacted.segments() > 0);
    storage.compacted(compacted).unwrap();
}

/// A log with holes, a snapshot that refers to entries in it, and the same installed elsewhere and gone on from.
fn build() -> [(MemDisk, Vec<Entry>); 2] {
    let disk = MemDisk::new();
    let mut leader = open(&disk, 4096);
    let mut log = Vec::new();
    for index in 1..=60_u64 {
        let entry = Entry { mode: 3, ..entry(index, 1 + index / 40, &[index as u8; 93]) };
        leader.append(&entry).unwrap();
        log.push(entry);
    }
    settle(&mut leader);
    let live: Vec<u64> = (1..=50).filter(|i| i % 6 == 1).collect();
    snapshot(&mut leader, 50, live.clone(), vec![7; 900]);
    for index in (1..=50).filter(|i| !live.contains(i)) {
        leader.release(index);
    }
    compact(&mut leader);
    settle(&mut leader);

    let other = MemDisk::new();
    let mut follower = open(&other, 4096);
    let stream = leader.stream().unwrap();
    let mut incoming = follower.receive(stream.chunk(0, usize::MAX).unwrap()).unwrap();
    for index in &live {
        let entry = leader.get(*index).unwrap().unwrap().to_owned();
        follower.stage(&mut incoming, &entry).unwrap();
    }
    let staged = follower.received(incoming).unwrap().run().unwrap();
    follower.install(staged).unwrap();
    settle(&mut follower);
    for entry in &log[50..58] {
        follower.append(entry).unwrap();
    }
    settle(&mut follower);
    drop((leader, follower));
    let short = log[..58].to_vec();
    [(disk, log), (other, short)]
}

#[derive(Debug, PartialEq)]
enum Outcome {
    Harmless,
    Reported,
    Refused,
}

fn outcome(image: &Image, log: &[Entry], what: &str) -> Outcome {
    let disk = restore(image);
    let report = check(&disk);
    let storage = match try_open(&disk, 4096, 99) {
        Ok(storage) => storage,
        Err(error) => {
            assert_eq!(self::image(&disk), *image, "{what}: refused but changed");
            assert!(!report.is_sound(), "{what}: the check does not see {error}");
            // And it can be brought back.
            let seed = Seed { identity: 1, salt: 1, now_ms: 0 };
            if let OpenError::Corrupt(corrupt) = error {
                let (storage, told) = Storage::open_damaged(disk, options(4096), seed, None).unwrap();
                assert_eq!(told, Some(corrupt));
                assert!(storage.meta().lost && storage.last_index() == 0, "{what}");
            }
            return Outcome::Refused;
        }
    };
    let mut reported = storage.snapshot_payload().is_err();
    assert_eq!(storage.last_index(), log.len() as u64, "{what}");
    assert_eq!(storage.snapshot().map(|s| s.index), Some(50), "{what}");
    let live: Vec<u64> = storage.snapshot_references().map(|r| r.index).collect();
    assert_eq!(live, (1..=50).filter(|i| i % 6 == 1).collect::<Vec<_>>(), "{what}");
    for entry in log {
        assert_eq!(storage.term(entry.index), Some(entry.term), "{what}");
        match storage.lookup(entry.index) {
            Ok(Lookup::Entry(there)) => assert_eq!(there.to_owned(), *entry, "{what}"),
            Ok(Lookup::Hole) => assert!(entry.index <= 50 && !live.contains(&entry.index), "{what}"),
            Ok(Lookup::Outside) => panic!("{what}: {} is outside", entry.index),
            Err(corrupt) => {
                assert_eq!(corrupt.index, entry.index, "{what}");
                reported = true;
            }
        }
    }
    assert_eq!(report.is_sound(), !reported, "{what}: check and reads differ: {report}");
    if reported { Outcome::Reported } else { Outcome::Harmless }
}

#[test]
fn a_flipped_byte_anywhere_is_harmless_or_told() {
    for (disk, log) in build() {
        let whole = image(&disk);
        assert_eq!(outcome(&whole, &log, "whole"), Outcome::Harmless);
        for file in 0..whole.len() {
            let name = whole[file].0.clone();
            let mut counts = [0; 3];
            for offset in 0..whole[file].1.len() {
                let mut damaged = whole.clone();
                damaged[file].1[offset] ^= 1 << (offset % 8);
                let result = outcome(&damaged, &log, &format!("{name} byte {offset}"));
                if name == "snapshot" {
                    assert_ne!(result, Outcome::Harmless, "byte {offset} of the snapshot");
                }
                counts[result as usize] += 1;
            }
            println!("{name}: harmless, reported, refused: {counts:?}");
        }
    }
}

#[test]
fn a_missing_file_is_told() {
    for (disk, log) in build() {
        let whole = image(&disk);
        for file in 0..whole.len() {
            let name = &whole[file].0;
            if name.starts_with("meta") {
                continue;
            }
            let mut less = whole.clone();
            less.remove(file);
            assert_eq!(outcome(&less, &log, name), Outcome::Refused, "{name} missing");
            let mut blank = whole.clone();
            blank[file].1.fill(0);
            assert_eq!(outcome(&blank, &log, name), Outcome::Refused, "{name} zeroed");
            let mut short = whole.clone();
            short[file].1.truncate(700);
            assert_eq!(outcome(&short, &log, name), Outcome::Refused, "{name} cut short");
        }
    }
}

#[test]
fn an_older_snapshot_is_no_substitute() {
    let disk = MemDisk::new();
    let mut storage = open(&disk, 4096);
    for index in 1..=60 {
        storage.append(&Entry { mode: 2, ..entry(index, 1, &[5; 100]) }).unwrap();
    }
    settle(&mut storage);
    snapshot(&mut storage, 10, Vec::new(), Vec::new());
    let old = disk.get("snapshot").unwrap();
    snapshot(&mut storage, 55, Vec::new(), Vec::new());
    compact(&mut storage);
    settle(&mut storage);
    drop(storage);
    disk.put("snapshot", &old);
    let error = try_open(&disk, 4096, 1).unwrap_err();
    let told = matches!(&error, OpenError::Corrupt(corrupt) if corrupt.index > 10 && corrupt.file.ends_with(".log"));
    assert!(told, "{error}");
    assert!(!check(&disk).is_sound());
}

#[test]
fn a_reference_to_nothing_is_told_with_its_place() {
    let [(disk, _), _] = build();
    let older = disk.get("snapshot").unwrap();
    let mut storage = open(&disk, 4096);
    snapshot(&mut storage, 55, vec![1, 52], Vec::new());
    storage.release(7);
    compact(&mut storage);
    settle(&mut storage);
    drop(storage);
    assert!(check(&disk).is_sound(), "{}", check(&disk));
    // Its holes are all below it, but it refers to 7, the second entry of its list.
    disk.put("snapshot", &older);
    let report = check(&disk);
    let runs = 2 * 16;
    let place = format!("offset {} (log index 7)", 96 + runs + 24);
    let told = report.problems.iter().filter(|p| p.contains(&place) && p.contains("not in the log"));
    assert_eq!((told.count(), report.problems.len()), (1, 1), "{report}");
}

#[test]
fn later_formats_are_told_from_damage() {
    for [(disk, _), _] in [build()] {
        let compacted = disk.list().unwrap().into_iter().find(|name| name.ends_with("-0002.log")).unwrap();
        for (name, covered) in [("snapshot", 96), (compacted.as_str(), 64)] {
            let mut bytes = disk.get(name).unwrap();
            bytes[8] = 9;
            bytes[12..16].fill(0);
            let crc = crc32c::crc32c(&bytes[..covered]);
            bytes[12..16].copy_from_slice(&crc.to_le_bytes());
            let copy = disk.fork();
            copy.put(name, &bytes);
            let error = try_open(&copy, 4096, 1).unwrap_err();
            let future = matches!(&error, OpenError::FutureFormat { file, found: 9, .. } if file == name);
            assert!(future, "{error}");
        }
    }
}

/// Cut at any point, a repair goes on, and never forgets that the log was lost.
#[test]
fn a_repair_may_be_cut_anywhere() {
    let seed = Seed { identity: 1, salt: 1, now_ms: 0 };
    let mut cuts = 0;
    for steps in 0..60 {
        let [(disk, _), _] = build();
        disk.corrupt("snapshot", 100, 1).unwrap();
        let mut random = common::Rng(steps);
        disk.cut_after(steps);
        let result = Storage::open_damaged(disk.clone(), options(4096), seed, None);
        let cut = disk.is_cut();
        assert!(cut || result.is_ok());
        drop(result);
        disk.crash(&mut || random.next());
        cuts += u64::from(cut);
        let touched = disk.list().unwrap().iter().any(|name| name.ends_with(".damaged"));
        if let Ok(storage) = try_open(&disk, 4096, 1) {
            assert!(storage.meta().lost, "after {steps} steps");
        } else if touched {
            let record = check(&disk).meta.unwrap();
            assert!(record.lost, "set aside before it was noted, after {steps} steps");
        }
        let (storage, _) = Storage::open_damaged(disk.clone(), options(4096), seed, None).unwrap();
        assert!(storage.meta().lost, "after {steps} steps");
        assert_eq!(storage.meta().identity, 42);
    }
    assert!(cuts > 20, "{cuts}");
}

#[test]
fn a_log_that_ends_before_the_snapshot_is_refused() {
    let disk = MemDisk::new();
    let mut storage = open(&disk, 4096);
    for index in 1..=6 {
        storage.append(&entry(index, 1, &[5; 100])).unwrap();
    }
    settle(&mut storage);
    let shorter = disk.fork();
    storage.append(&entry(7, 1, &[5; 100])).unwrap();
    snapshot(&mut storage, 7, Vec::new(), Vec::new());
    shorter.put("snapshot", &disk.get("snapshot").unwrap());
    let error = try_open(&shorter, 4096, 1).unwrap_err();
    assert!(matches!(&error, OpenError::Corrupt(corrupt) if corrupt.index == 7), "{error}");
    assert!(!check(&shorter).is_sound());
}

#[test]
fn what_the_snapshot_covers_is_no_tail() {
    let disk = MemDisk::new();
    let mut storage = open(&disk, 4096);
    for index in 1..=6 {
        storage.append(&entry(index, 1, &[5; 100])).unwrap();
    }
    // No mark says that these were flushed, but the snapshot does.
    snapshot(&mut storage, 6, Vec::new(), Vec::new());
    drop(storage);
    let last = 64 + 5 * 168;
    disk.corrupt("0000000001-0001.log", last + 80, 1).unwrap();
    let error = try_open(&disk, 4096, 1).unwrap_err();
    let OpenError::Corrupt(corrupt) = error else { panic!("{error}") };
    assert_eq!((corrupt.file.as_str(), corrupt.offset, corrupt.index), ("0000000001-0001.log", last, 6));
}
