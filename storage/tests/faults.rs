//! Mistakes of callers, faults of the disk, and what only a real directory has.
// A test that fails says so by panicking, and its small numbers are its own.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, clippy::cast_possible_truncation)]

mod common;

use common::{Directory, all, assert_log, entry, fill, flush, open, settle};
use copycat_storage::{AppendError, DirectoryError, Disk, FileDisk, MemDisk, Meta, check};

#[test]
#[should_panic(expected = "appended index 3 after index 1")]
fn a_gap_is_the_callers_mistake() {
    let mut storage = open(&MemDisk::new(), 4096);
    storage.append(&entry(1, 1, b"")).unwrap();
    let _ = storage.append(&entry(3, 1, b""));
}

#[test]
#[should_panic(expected = "appended term 1 after term 2")]
fn a_falling_term_is_the_callers_mistake() {
    let mut storage = open(&MemDisk::new(), 4096);
    storage.append(&entry(1, 2, b"")).unwrap();
    let _ = storage.append(&entry(2, 1, b""));
}

#[test]
fn a_full_disk_is_an_error_and_not_the_end() {
    let disk = MemDisk::new();
    let mut storage = open(&disk, 4096);
    let mut log = Vec::new();
    fill(&mut storage, &mut log, 15, 1, 100);
    disk.set_capacity(Some(4096 + 1024));
    assert_eq!(storage.available().unwrap(), 0);
    let failed = storage.prepare().unwrap().run();
    storage.prepared(failed);
    assert!(storage.prepare().is_none(), "not tried again at once");
    let error = loop {
        let index = log.len() as u64 + 1;
        let entry = entry(index, 1, &[1; 100]);
        match storage.append(&entry) {
            Ok(()) => log.push(entry),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, AppendError::Full(_)), "{error}");
    assert!(matches!(storage.truncate(3), Err(AppendError::Full(_))));
    assert_log(&storage, &log);
    settle(&mut storage);
    disk.set_capacity(Some(4096 * 3));
    let last = log.len() as u64 + 1;
    fill(&mut storage, &mut log, last, 1, 100);
    assert_log(&storage, &log);
}

#[test]
fn a_failed_flush_is_the_end() {
    for fault in 0..2 {
        let disk = MemDisk::new();
        let mut storage = open(&disk, 4096);
        let mut log = Vec::new();
        fill(&mut storage, &mut log, 5, 1, 100);
        flush(&mut storage);
        match fault {
            0 => fill(&mut storage, &mut log, 6, 1, 100),
            _ => storage.set_meta(Meta { term: 9, ..storage.meta().clone() }),
        }
        disk.fail_flushes(1);
        assert!(storage.flush().unwrap().run().is_err());
        assert!(storage.has_failed());
        // The disk works again, but what it lost nobody knows.
        assert!(storage.flush().is_none());
        assert!(!storage.mark_idle());
        assert!(storage.prepare().is_none());
        let next = entry(storage.last_index() + 1, 1, b"");
        assert!(matches!(storage.append(&next), Err(AppendError::Failed)));
        assert!(matches!(storage.truncate(1), Err(AppendError::Failed)));
        assert_eq!((storage.durable_index(), storage.durable_sequence()), (5, 5));
        disk.restart();
        let storage = open(&disk, 4096);
        assert_eq!(all(&storage), log[..5]);
        assert_eq!(storage.meta().term, 0);
        assert_eq!(storage.configuration(), b"");
    }
}

#[test]
fn a_directory_belongs_to_one_server() {
    let directory = Directory::new();
    let path = directory.0.join("made").join("with parents");
    let disk = FileDisk::open(&path).unwrap();
    let error = FileDisk::open(&path).unwrap_err();
    assert!(matches!(error, DirectoryError::InUse { .. }));
    assert!(error.to_string().contains("already in use by another server"), "{error}");
    let clone = disk.clone();
    drop(disk);
    assert!(FileDisk::open(&path).is_err());
    drop(clone);
    drop(open(&FileDisk::open(&path).unwrap(), 4096));

    let reader = FileDisk::open_read_only(&path).unwrap();
    assert!(check(&reader).is_sound());
    assert!(reader.create("x", 1).is_err() && reader.sync_dir().is_err());
    assert!(reader.remove("meta-0").is_err() && reader.rename("meta-0", "x").is_err());
    assert!(reader.available().unwrap() > 0);
    assert_eq!(reader.list().unwrap().len(), 3);
    assert!(FileDisk::open_read_only(directory.0.join("none")).is_err());
}

#[test]
fn segments_have_real_blocks() {
    use std::os::unix::fs::MetadataExt;
    let directory = Directory::new();
    let disk = FileDisk::open(&directory.0).unwrap();
    drop(disk.create("file", 1 << 20).unwrap());
    let meta = std::fs::metadata(directory.0.join("file")).unwrap();
    assert_eq!(meta.len(), 1 << 20);
    assert!(meta.blocks() * 512 >= 1 << 20);
    assert!(disk.create("file", 10).is_err());
}

/// What the weaker durability levels promise: an answer at once, nothing of the log on disk, term and vote always there.
#[test]
fn a_promise_of_memory_is_kept_by_no_power_cut_but_meta_is() {
    let disk = MemDisk::new();
    let mut storage = open(&disk, 4096);
    let mut log = Vec::new();
    fill(&mut storage, &mut log, 3, 1, 100);
    settle(&mut storage);
    fill(&mut storage, &mut log, 6, 1, 100);
    let job = storage.flush_promises().unwrap();
    assert!(job.is_instant(), "there is nothing to wait for");
    storage.persisted(job.run().unwrap());
    assert_eq!(storage.durable_index(), 6, "it counts as durable");
    assert!(storage.flush_promises().is_none() && !storage.is_flushed());
    storage.set_meta(Meta { term: 9, ..storage.meta().clone() });
    let job = storage.flush_promises().unwrap();
    assert!(!job.is_instant(), "a term is made durable in earnest");
    storage.persisted(job.run().unwrap());

    let image = disk.fork();
    drop(storage);
    // The worst cut: every page that was not flushed is lost.
    image.crash(&mut || 0);
    let after = open(&image, 4096);
    assert_eq!((after.last_index(), after.meta().term), (3, 9));

    let mut storage = open(&disk, 4096);
    assert_eq!(storage.last_index(), 6, "the process died, the machine did not");
    settle(&mut storage);
    assert!(storage.is_flushed());
    disk.crash(&mut || 0);
    assert_eq!(open(&disk, 4096).last_index(), 6, "a real flush is a real flush");
}

#[test]
fn memory_given_back_takes_no_byte_with_it() {
    let directory = Directory::new();
    let disk = FileDisk::open(&directory.0).unwrap();
    let mut storage = open(&disk, 4096);
    let mut log = Vec::new();
    for last in 1..=40 {
        // Before the flush as well: what is only in the system's cache must stay there.
        fill(&mut storage, &mut log, last, 1, 300);
        storage.release_memory();
        assert_log(&storage, &log);
        if last % 7 == 0 {
            flush(&mut storage);
        }
    }
    settle(&mut storage);
    storage.release_memory();
    drop((storage, disk));
    let disk = FileDisk::open(&directory.0).unwrap();
    assert_log(&open(&disk, 4096), &log);
}
