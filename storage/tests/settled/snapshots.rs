//! Snapshots: when they count, and what they hold.

use super::common::{Directory, all, fill, flush, open, settle};
use super::helpers::{RELEASE, everything, fill_mode, major, snapshot};
use copycat_storage::{Disk, MemDisk, Snapshot, WorkError, check};

super::on_both! {
    a_snapshot_counts_when_it_is_flushed
    a_snapshot_reads_back
    an_older_snapshot_is_not_taken
    a_snapshot_that_refers_to_what_is_not_there_is_not_made
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

#[test]
#[should_panic(expected = "below the snapshot")]
fn truncating_below_the_snapshot_is_the_callers_mistake() {
    let mut storage = open(&MemDisk::new(), 4096);
    let mut log = Vec::new();
    fill(&mut storage, &mut log, 20, 1, 100);
    snapshot(&mut storage, 10, &[], b"");
    let _ = storage.truncate(9);
}
