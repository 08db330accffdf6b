//! A log that is given up as a whole.
// A test that fails says so by panicking, and its small numbers are its own.
#![allow(clippy::unwrap_used)]

mod common;

use common::{assert_log, fill, flush, open, settle};
use copycat_storage::{AppendError, Disk, MemDisk, Meta, Snapshot};

#[test]
fn a_log_that_is_given_up_is_empty_and_lost_at_once_and_after_an_open() {
    let disk = MemDisk::new();
    let mut storage = open(&disk, 4096);
    let mut log = Vec::new();
    fill(&mut storage, &mut log, 100, 3, 100);
    storage.set_meta(Meta { term: 5, vote: 2, ..storage.meta().clone() });
    storage.set_configuration(vec![1, 2, 3]);
    settle(&mut storage);
    let snapshot = Snapshot { index: 60, time: 1, references: vec![7, 8], payload: vec![1; 40] };
    let job = storage.take_snapshot(snapshot.clone()).unwrap();
    assert!(storage.snapshotted(job.run()).unwrap());
    flush(&mut storage);
    let late = storage.take_snapshot(Snapshot { index: 80, ..snapshot.clone() }).unwrap();

    storage.give_up().unwrap();
    assert_eq!((storage.first_index(), storage.last_index(), storage.durable_index()), (1, 0, 0));
    assert_eq!((storage.term(60), storage.snapshot(), storage.highest_hole()), (None, None, 0));
    assert!(storage.meta().lost);
    assert!(!storage.snapshotted(late.run()).unwrap(), "a snapshot of what was given up is dropped");
    // Again and again from the start, before the first flush.
    let mut again = Vec::new();
    fill(&mut storage, &mut again, 50, 6, 100);
    storage.truncate(0).unwrap();
    again.clear();
    fill(&mut storage, &mut again, 45, 7, 100);
    assert!(storage.take_snapshot(Snapshot { index: 40, ..snapshot.clone() }).is_none(), "before it is durable");
    settle(&mut storage);
    assert_log(&storage, &again);
    let names = disk.list().unwrap();
    assert!(!names.iter().any(|name| name == "snapshot" || name.ends_with(".tmp")), "{names:?}");
    assert_eq!(names.iter().filter(|name| name.ends_with(".log")).count(), storage.segments().len());

    drop(storage);
    disk.restart();
    let mut storage = open(&disk, 4096);
    assert_log(&storage, &again);
    let meta = storage.meta();
    assert_eq!((meta.lost, meta.term, meta.vote, storage.configuration()), (true, 5, 2, &[1, 2, 3][..]));
    let job = storage.take_snapshot(Snapshot { index: 40, ..snapshot }).unwrap();
    assert!(storage.snapshotted(job.run()).unwrap());
    settle(&mut storage);
    assert_eq!(storage.snapshot().unwrap().index, 40);
}

#[test]
fn a_log_is_not_given_up_without_room_or_after_a_failed_flush() {
    let disk = MemDisk::new();
    let mut storage = open(&disk, 4096);
    let mut log = Vec::new();
    fill(&mut storage, &mut log, 10, 3, 100);
    settle(&mut storage);
    disk.set_capacity(Some(100));
    assert!(matches!(storage.give_up(), Err(AppendError::Full(_))));
    assert_log(&storage, &log);
    assert!(!storage.meta().lost);
}
