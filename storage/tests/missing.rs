//! Log files that are not there: moved away, or on a disk that is not mounted. A start destroys nothing.
// A test that fails says so by panicking, and its small numbers are its own.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Rng, assert_log, fill, flush, open, options, settle, try_open};
use copycat_storage::{Disk, Entry, MemDisk, Meta, OpenError, Seed, Snapshot, Storage, check};

type Files = Vec<(String, Vec<u8>)>;

fn image(disk: &MemDisk) -> Files {
    disk.list().unwrap().into_iter().map(|name| (name.clone(), disk.get(&name).unwrap())).collect()
}

/// A log of several segments, with a snapshot at 60 that refers to two entries, and a configuration.
fn build() -> (MemDisk, Vec<Entry>) {
    let disk = MemDisk::new();
    let mut storage = open(&disk, 4096);
    let mut log = Vec::new();
    fill(&mut storage, &mut log, 100, 3, 100);
    storage.set_meta(Meta { term: 5, vote: 2, ..storage.meta().clone() });
    storage.set_configuration(vec![1, 2, 3]);
    settle(&mut storage);
    let snapshot = Snapshot { index: 60, time: 1, references: vec![7, 8], payload: vec![1; 40] };
    let job = storage.take_snapshot(snapshot).unwrap();
    assert!(storage.snapshotted(job.run()).unwrap());
    settle(&mut storage);
    (disk, log)
}

/// Takes the log's files away.
fn move_away(disk: &MemDisk) -> Files {
    let (log, _): (Files, Files) = image(disk).into_iter().partition(|(name, _)| name.ends_with(".log"));
    for (name, _) in &log {
        disk.remove(name).unwrap();
    }
    disk.sync_dir().unwrap();
    log
}

fn put_back(disk: &MemDisk, files: &Files) {
    for (name, bytes) in files {
        assert!(!disk.list().unwrap().contains(name), "{name} would be overwritten");
        disk.put(name, bytes);
    }
}

fn repair(disk: &MemDisk) -> Storage<MemDisk> {
    let seed = Seed { identity: 1, salt: 1, now_ms: 0 };
    Storage::open_damaged(disk.clone(), options(4096), seed, None).unwrap().0
}

fn told(disk: &MemDisk) -> String {
    let OpenError::Corrupt(damage) = try_open(disk, 4096, 1).unwrap_err() else { panic!("another error") };
    assert!(damage.is_missing(), "{damage}");
    damage.to_string()
}

#[test]
fn a_log_that_is_away_is_refused_and_nothing_is_changed_until_it_is_back() {
    let (disk, log) = build();
    let whole = image(&disk);
    let away = move_away(&disk);
    let rest = image(&disk);
    let text = told(&disk);
    assert!(text.contains("the log is missing") && text.contains("snapshot at entry 60"), "{text}");
    let report = check(&disk);
    assert_eq!(report.problems, [text], "check says what a start says");
    assert_eq!(report.snapshot.unwrap().index, 60);
    assert!(report.refusal.unwrap().ends_with("nothing was changed"));
    assert_eq!(image(&disk), rest);
    put_back(&disk, &away);
    assert_eq!(image(&disk), whole);
    let storage = open(&disk, 4096);
    assert_log(&storage, &log);
    assert_eq!((storage.snapshot().unwrap().index, storage.meta().lost), (60, false));
}

#[test]
fn a_directory_with_meta_only_has_lost_its_log() {
    let (disk, _) = build();
    for name in disk.list().unwrap().iter().filter(|name| !name.starts_with("meta")) {
        disk.remove(name).unwrap();
    }
    let text = told(&disk);
    assert!(text.contains("the log is missing"), "{text}");
    assert_eq!(check(&disk).problems, [text]);
}

#[test]
fn every_subset_of_the_files_opens_whole_or_is_refused_unchanged() {
    let (disk, log) = build();
    let whole = image(&disk);
    let segments = whole.iter().filter(|(name, _)| name.ends_with(".log")).count();
    assert!((4..9).contains(&segments), "{segments}");
    for subset in 0..1_u32 << segments {
        let image_of = |disk: &MemDisk| image(disk);
        let less = MemDisk::new();
        let mut bit = 0;
        for (name, bytes) in &whole {
            let kept = !name.ends_with(".log") || {
                bit += 1;
                subset & 1 << (bit - 1) != 0
            };
            if kept {
                less.put(name, bytes);
            }
        }
        let before = image_of(&less);
        match try_open(&less, 4096, 1) {
            Ok(storage) => {
                assert_eq!(subset, (1 << segments) - 1, "a part of the log was taken for all of it");
                assert_log(&storage, &log);
            }
            Err(OpenError::Corrupt(_)) => assert_eq!(image_of(&less), before),
            Err(error) => panic!("{error}"),
        }
        assert_eq!(check(&less).is_sound(), subset == (1 << segments) - 1);
    }
}

#[test]
fn a_repair_keeps_the_snapshot_until_what_replaces_it_is_durable() {
    let (disk, log) = build();
    let snapshot = disk.get("snapshot").unwrap();
    let away = move_away(&disk);
    let mut storage = repair(&disk);
    assert!(storage.log_lost() && storage.meta().lost);
    assert_eq!((storage.meta().term, storage.meta().vote, storage.configuration()), (5, 2, &[1, 2, 3][..]));
    assert_log(&storage, &[]);
    assert_eq!(disk.get("snapshot.kept").unwrap(), snapshot);
    // Half of it is back; then the process dies, and again.
    let mut back = Vec::new();
    for last in [30, 70] {
        fill(&mut storage, &mut back, last, 3, 100);
        flush(&mut storage);
        drop(storage);
        disk.restart();
        storage = open(&disk, 4096);
        assert!(storage.meta().lost && !storage.log_lost());
        assert_log(&storage, &back);
        assert_eq!(disk.get("snapshot.kept").unwrap(), snapshot);
    }
    fill(&mut storage, &mut back, 100, 3, 100);
    flush(&mut storage);
    assert_eq!(disk.get("snapshot.kept").unwrap(), snapshot, "it is complete when the loss is taken back");
    storage.set_meta(Meta { lost: false, ..storage.meta().clone() });
    flush(&mut storage);
    assert!(disk.get("snapshot.kept").is_err());
    assert_log(&storage, &log);
    drop(storage);
    // Too late: what is here has gone on. They are no harm.
    put_back(&disk, &away);
    assert_log(&open(&disk, 4096), &log);
}

#[test]
fn files_put_back_while_the_repair_is_under_way_are_kept_too() {
    let (disk, _) = build();
    let away = move_away(&disk);
    let mut storage = repair(&disk);
    let mut back = Vec::new();
    fill(&mut storage, &mut back, 30, 3, 100);
    flush(&mut storage);
    drop(storage);
    put_back(&disk, &away);
    let mut storage = open(&disk, 4096);
    assert!(storage.meta().lost);
    assert_log(&storage, &back);
    for (name, bytes) in &away {
        assert_eq!(disk.get(&format!("{name}.kept")).as_ref().ok(), Some(bytes), "{name}");
    }
    storage.set_meta(Meta { lost: false, ..storage.meta().clone() });
    flush(&mut storage);
    assert!(!disk.list().unwrap().iter().any(|name| name.ends_with(".kept")));
}

/// What the first repair has set aside is what the server had; what it has brought so far is not.
#[test]
fn a_log_that_is_lost_again_while_it_is_repaired_keeps_what_there_was_first() {
    let (disk, _) = build();
    let snapshot = disk.get("snapshot").unwrap();
    let away = move_away(&disk);
    let mut storage = repair(&disk);
    let mut back = Vec::new();
    fill(&mut storage, &mut back, 50, 3, 100);
    flush(&mut storage);
    let job = storage.take_snapshot(Snapshot { index: 40, time: 1, references: vec![], payload: vec![2; 40] }).unwrap();
    assert!(storage.snapshotted(job.run()).unwrap());
    settle(&mut storage);
    drop(storage);
    let again = move_away(&disk);
    assert!(again.iter().all(|(name, _)| away.iter().all(|(other, _)| other != name)), "names of their own");
    let storage = repair(&disk);
    assert_log(&storage, &[]);
    assert_eq!(disk.get("snapshot.kept").unwrap(), snapshot);
    assert_eq!(disk.get("snapshot").ok(), None);
}

#[test]
fn what_a_completed_repair_left_is_not_taken_for_that_of_the_next() {
    let (disk, log) = build();
    let mut storage = repair_of_all(&disk, &log);
    let job = storage.take_snapshot(Snapshot { index: 80, time: 1, references: vec![], payload: vec![3; 40] }).unwrap();
    assert!(storage.snapshotted(job.run()).unwrap());
    settle(&mut storage);
    drop(storage);
    let newer = disk.get("snapshot").unwrap();
    // A power cut came before the deletion.
    disk.put("snapshot.kept", b"of the repair before");
    move_away(&disk);
    drop(repair(&disk));
    assert_eq!(disk.get("snapshot.kept").unwrap(), newer);
}

fn repair_of_all(disk: &MemDisk, log: &[Entry]) -> Storage<MemDisk> {
    move_away(disk);
    let mut storage = repair(disk);
    for entry in log {
        storage.append(entry).unwrap();
    }
    flush(&mut storage);
    storage.set_meta(Meta { lost: false, ..storage.meta().clone() });
    flush(&mut storage);
    storage
}

/// Cut at any point of a repair, of what follows, and of the end of it: the snapshot is there under one of its names, until
/// a log that has all of it is durable.
#[test]
fn a_cut_anywhere_in_a_repair_destroys_nothing() {
    let (original, log) = build();
    let snapshot = original.get("snapshot").unwrap();
    move_away(&original);
    let mut cuts = 0;
    for steps in 0..90 {
        let disk = original.fork();
        let mut random = Rng(steps);
        disk.cut_after(steps);
        let seed = Seed { identity: 1, salt: 1, now_ms: 0 };
        if let Ok((mut storage, _)) = Storage::open_damaged(disk.clone(), options(4096), seed, None) {
            let _ = log.iter().try_for_each(|entry| storage.append(entry));
            let run = |storage: &mut Storage<MemDisk>| {
                let Some(job) = storage.flush() else { return };
                if let Ok(persisted) = job.run() {
                    storage.persisted(persisted);
                }
            };
            run(&mut storage);
            if storage.durable_index() == 100 {
                storage.set_meta(Meta { lost: false, ..storage.meta().clone() });
                run(&mut storage);
            }
        }
        cuts += u64::from(disk.is_cut());
        disk.crash(&mut || random.next());
        let kept = [disk.get("snapshot"), disk.get("snapshot.kept")].into_iter().flatten().any(|s| s == snapshot);
        match try_open(&disk, 4096, 1) {
            Ok(storage) if storage.meta().lost => assert!(kept, "after {steps} steps"),
            Ok(storage) => assert_log(&storage, &log),
            Err(OpenError::Corrupt(damage)) => assert!(kept && damage.is_missing(), "after {steps} steps: {damage}"),
            Err(error) => panic!("after {steps} steps: {error}"),
        }
        assert!(repair(&disk).meta().identity == 42);
    }
    assert!(cuts > 40, "{cuts}");
}

#[test]
fn a_segment_that_was_set_aside_is_missed_by_its_name() {
    let (disk, _) = build();
    let names = disk.list().unwrap();
    let second = names.iter().filter(|name| name.ends_with(".log")).nth(1).unwrap();
    let unnamed = disk.fork();
    disk.rename(second, &format!("{}-0007.log.damaged", &second[..10])).unwrap();
    let text = told(&disk);
    assert!(text.starts_with(&format!("{}-0007.log is missing", &second[..10])), "{text}");
    unnamed.remove(second).unwrap();
    let text = told(&unnamed);
    assert!(text.starts_with(&format!("{}-*.log is missing", &second[..10])), "{text}");
}

#[cfg(feature = "planted-bugs")]
#[test]
fn the_planted_open_deletes_the_snapshot() {
    let (disk, _) = build();
    move_away(&disk);
    let seed = Seed { identity: 1, salt: 1, now_ms: 0 };
    let storage = Storage::open_discarding_snapshot(disk.clone(), options(4096), seed).unwrap();
    assert_eq!((storage.meta().lost, storage.snapshot(), storage.last_index()), (true, None, 0));
    assert!(!disk.list().unwrap().iter().any(|name| name.starts_with("snapshot")));
}
