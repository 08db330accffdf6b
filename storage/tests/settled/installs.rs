//! Installs of another server's snapshot, and repair.

use super::common::{Directory, all, fill, flush, open, options, settle, try_open};
use super::helpers::{RELEASE, everything, fill_mode, major, present, snapshot};
use copycat_storage::{Disk, Entry, Incoming, InstallError, OpenError, Storage, check};
use std::collections::BTreeSet;

super::on_both! {
    a_snapshot_is_installed
    an_install_takes_what_is_here
    an_install_is_not_needed
    an_install_is_given_up
    a_damaged_directory_is_set_aside
    damage_found_while_running_is_set_aside
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
    let (to, damage) = Storage::open_damaged(other.clone(), options(4096), seed, None).unwrap();
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
    let (_, damage) = Storage::open_damaged(other.clone(), options(4096), seed, None).unwrap();
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
    let options = options(4096);
    let (storage, damage) = Storage::open_damaged(disk.clone(), options, seed, Some(corrupt)).unwrap();
    assert_eq!(damage.unwrap().file, "0000000001-0001.log");
    assert!(storage.meta().lost && storage.last_index() == 0);
    assert_eq!((storage.meta().term, storage.meta().vote), (9, 2));
}
