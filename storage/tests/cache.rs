//! The configuration's file: it repeats what the log says, so no fault of it costs more than itself.
// A test that fails says so by panicking, and its small numbers are its own.
#![allow(clippy::unwrap_used)]

mod common;

use common::{all, assert_log, entry, fill, flush, open, settle, try_open};
use copycat_storage::{AppendError, Disk, MemDisk, Meta, check};

#[test]
fn a_configuration_that_cannot_be_written_ends_nothing_and_is_tried_again() {
    let disk = MemDisk::new();
    let mut storage = open(&disk, 4096);
    storage.set_configuration(b"old".to_vec());
    let mut log = Vec::new();
    fill(&mut storage, &mut log, 3, 1, 100);
    settle(&mut storage);
    for full in [true, false] {
        let last = log.len() as u64 + 1;
        fill(&mut storage, &mut log, last, 1, 100);
        storage.set_meta(Meta { term: last, ..storage.meta().clone() });
        storage.set_configuration(b"new".to_vec());
        assert!(!storage.is_configuration_durable());
        if full {
            disk.set_capacity(Some(0));
        } else {
            disk.fail_small_files(u64::MAX, 4096);
        }
        flush(&mut storage);
        assert!(!storage.has_failed());
        assert!(storage.unsaved().is_some_and(|why| !why.is_empty()) && !storage.is_configuration_durable());
        assert!(storage.flush().is_none(), "not at once");
        // Still no room; the log goes on in what it has.
        storage.save_again();
        flush(&mut storage);
        assert!(storage.unsaved().is_some());
        let image = disk.fork();
        image.crash(&mut || 0);
        let after = open(&image, 4096);
        assert_log(&after, &log);
        assert_eq!((after.meta().term, after.configuration()), (last, &b"old"[..]));

        disk.set_capacity(None);
        disk.fail_small_files(0, 0);
        storage.save_again();
        assert!(!storage.is_configuration_durable());
        flush(&mut storage);
        assert!(storage.unsaved().is_none() && storage.is_configuration_durable());
        let image = disk.fork();
        image.crash(&mut || 0);
        assert_eq!(open(&image, 4096).configuration(), b"new");
        storage.set_configuration(b"old".to_vec());
        flush(&mut storage);
    }
}

#[test]
fn a_failed_flush_of_its_file_is_not_one_of_the_log() {
    let disk = MemDisk::new();
    let mut storage = open(&disk, 4096);
    storage.set_configuration(vec![1]);
    disk.fail_flushes(1);
    flush(&mut storage);
    assert!(!storage.has_failed() && storage.unsaved().is_some());
    // Another one, set meanwhile, takes its place.
    storage.set_configuration(vec![2]);
    flush(&mut storage);
    assert!(storage.unsaved().is_none());
    disk.crash(&mut || 0);
    assert_eq!(open(&disk, 4096).configuration(), [2]);
}

#[test]
fn a_start_on_a_full_disk_serves_what_is_there() {
    let disk = MemDisk::new();
    let mut storage = open(&disk, 4096);
    let mut log = Vec::new();
    fill(&mut storage, &mut log, 60, 1, 100);
    storage.set_configuration(vec![1]);
    settle(&mut storage);
    drop(storage);
    disk.restart();
    disk.set_capacity(Some(0));
    let mut storage = open(&disk, 4096);
    assert_log(&storage, &log);
    storage.set_meta(Meta { term: 7, starts: 2, ..storage.meta().clone() });
    storage.set_configuration(vec![2]);
    flush(&mut storage);
    assert!(storage.unsaved().is_some());
    let full = (0..100).find_map(|_| storage.append(&entry(storage.last_index() + 1, 7, &[1; 100])).err());
    assert!(matches!(full, Some(AppendError::Full(_))));
    flush(&mut storage);
    let log = all(&storage);
    drop(storage);
    disk.restart();
    assert_log(&open(&disk, 4096), &log);
}

#[test]
fn a_damaged_configuration_costs_nothing_else() {
    for damage in 0..4 {
        let disk = MemDisk::new();
        let mut storage = open(&disk, 4096);
        let mut log = Vec::new();
        fill(&mut storage, &mut log, 60, 1, 100);
        storage.set_configuration(vec![7; 500]);
        settle(&mut storage);
        drop(storage);
        match damage {
            0 => disk.corrupt("configuration", 100, 1).unwrap(),
            1 => disk.put("configuration", b""),
            2 => disk.put("configuration", &[0; 524]),
            _ => disk.corrupt("configuration", 0, 1).unwrap(),
        }
        let report = check(&disk);
        assert!(report.is_sound() && report.refusal.is_none(), "{report}");
        assert!(report.notes.iter().any(|note| note.contains("configuration")), "{report}");
        let mut storage = open(&disk, 4096);
        assert_log(&storage, &log);
        assert!(storage.opened().configuration_lost.as_ref().unwrap().contains("configuration"));
        assert_eq!((storage.configuration(), storage.meta().lost), (&b""[..], false));
        storage.set_configuration(vec![7; 500]);
        settle(&mut storage);
        drop(storage);
        let storage = open(&disk, 4096);
        assert_eq!((storage.configuration(), &storage.opened().configuration_lost), (&[7; 500][..], &None));
    }
}

#[test]
fn without_a_log_a_damaged_configuration_is_a_problem() {
    let disk = MemDisk::new();
    let mut storage = open(&disk, 4096);
    storage.set_configuration(vec![7; 500]);
    settle(&mut storage);
    drop(storage);
    disk.corrupt("configuration", 100, 1).unwrap();
    assert!(!check(&disk).is_sound());
    assert!(try_open(&disk, 4096, 1).unwrap().opened().configuration_lost.is_some());
    assert!(!disk.list().unwrap().is_empty());
}
