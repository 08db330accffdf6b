//! Logs that do not grow for ever: disks, servers that were away for long, bytes that rot, disks that are full.

use crate::harness::{copycat, get, json, long, peek, turn, wait_for};
use crate::load::Load;
use crate::members::{Shape, put};
use copycat_testkit::http::Client;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

const SEGMENT: u64 = 2 << 20;
const SMALL: &[&str] = &["--segment-size", "2097152", "--largest-entry", "1500000"];

/// Overwrites `keys` keys with values of 256 bytes, `writes` times in all.
fn overwrite(servers: &[SocketAddr], keys: usize, writes: usize) {
    let clients = 32;
    thread::scope(|scope| {
        for c in 0..clients {
            scope.spawn(move || {
                let mut client = Client::new(servers[c % servers.len()], Duration::from_secs(10));
                for n in (c..writes).step_by(clients) {
                    let value = format!("{n:0256}");
                    let answer = client.request("PUT", &format!("/v1/kv/over/{}", n % keys), &[], value.as_bytes());
                    let answer = answer.unwrap();
                    assert!(matches!(answer.status, 200 | 201), "{} {}", answer.status, answer.text());
                }
            });
        }
    });
}

fn bytes(directory: &Path) -> (u64, u64) {
    let (mut log, mut snapshot) = (0, 0);
    for file in fs::read_dir(directory).unwrap().flatten() {
        let size = file.metadata().map_or(0, |m| m.len());
        if file.file_name().to_string_lossy().starts_with("snapshot") { snapshot += size } else { log += size }
    }
    (log, snapshot)
}

fn seen(server: SocketAddr, kind: &str) -> usize {
    let events = json(&get(server, "/v1/cluster/events"));
    events["events"].as_array().unwrap().iter().filter(|e| e["type"] == kind).count()
}

#[test]
fn overwrites_take_bounded_room() {
    let _turn = turn();
    let mut shape = Shape::start(3, SMALL);
    let servers: Vec<SocketAddr> = (1..=3).map(|id| shape.http(id)).collect();
    let writes = if long() { 2_000_000 } else { 500_000 };
    overwrite(&servers, 1000, writes);
    for id in 1..=3 {
        let directory = PathBuf::from(shape.data(id));
        // What is being rewritten at this moment is there twice.
        wait_for("the log to be compacted", || (bytes(&directory).0 <= 4 * SEGMENT).then_some(()));
        let (log, snapshot) = bytes(&directory);
        println!("server {id}: {writes} overwrites of 1,000 keys leave {log} bytes of log, {snapshot} of snapshot");
        assert!(seen(shape.http(id), "compaction") > 0);
    }
    // What is left is the state: also after all of them were killed.
    let list = shape.bootstrap(3);
    (1..=3).for_each(|id| shape.kill(id));
    (1..=3).for_each(|id| shape.run(id, &["--bootstrap", &list]));
    (1..=3).for_each(|id| shape.wait_until_ready(id));
    for n in 0..1000 {
        let value = get(servers[n % 3], &format!("/v1/kv/over/{n}")).text();
        let last = value.trim_start_matches('0').parse::<usize>().unwrap_or(0);
        assert!(last % 1000 == n && last + 40 * 1000 > writes, "{n}: {value}");
    }
    for id in 1..=3 {
        shape.stop(id);
        let said = copycat(&["check", &shape.data(id)]);
        assert!(said.status.success(), "{}{}", said.out, said.err);
    }
}

#[test]
fn who_was_away_for_long_and_who_is_new_catch_up_by_snapshot_under_load() {
    let _turn = turn();
    let mut shape = Shape::start(3, SMALL);
    let servers: Vec<SocketAddr> = (1..=3).map(|id| shape.http(id)).collect();
    let away = shape.leader() % 3 + 1;
    shape.kill(away);
    let others: Vec<SocketAddr> = servers.iter().copied().filter(|&s| s != shape.http(away)).collect();
    overwrite(&others, 500, 40_000);
    let leader = shape.leader();
    let term = json(&get(shape.http(leader), "/v1/server"))["term"].clone();
    let load = Load::start("away", 4, &others);
    let list = shape.bootstrap(3);
    shape.run(away, &["--bootstrap", &list]);
    shape.join(4, &[leader], "active");
    for id in [away, 4] {
        shape.wait_until_ready(id);
        shape.wait_until_caught_up(id);
        assert!(seen(shape.http(id), "install") > 0, "server {id} was fed by entries");
    }
    shape.wait_for_member(leader, 4, Some("active available"));
    assert_eq!(json(&get(shape.http(leader), "/v1/server"))["term"], term, "no election was needed");
    let acknowledged = load.finish();
    assert!(acknowledged.len() > 100);
    for id in [away, 4] {
        shape.wait_until_caught_up(id);
        crate::load::assert_kept(shape.http(id), "away/", &acknowledged);
    }
}

/// Changes one byte in the middle of a file: not one of those between entries, which mean nothing.
fn flip(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    let end = bytes.iter().rposition(|&b| b != 0).unwrap();
    let filled = |at: &usize| bytes[*at..].iter().take(16).all(|&b| b != 0);
    let at = (end / 2..end).find(filled).unwrap_or(end / 2);
    bytes[at] ^= 0x55;
    fs::write(file, bytes).unwrap();
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(directory).unwrap().flatten().map(|f| f.path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "log") || f.ends_with("snapshot"));
    files.sort();
    files
}

#[test]
fn rot_in_a_minority_is_repaired_and_in_a_majority_refused() {
    let _turn = turn();
    let mut shape = Shape::start(3, SMALL);
    let servers: Vec<SocketAddr> = (1..=3).map(|id| shape.http(id)).collect();
    overwrite(&servers, 500, 20_000);
    wait_for("snapshots", || (1..=3).all(|id| seen(shape.http(id), "snapshot") > 0).then_some(()));
    let list = shape.bootstrap(3);
    let directory = PathBuf::from(shape.data(3));
    for turn in 0..files(&directory).len() {
        let Some(file) = files(&directory).get(turn).cloned() else { break };
        shape.stop(3);
        flip(&file);
        let said = copycat(&["check", &shape.data(3)]);
        assert!(!said.status.success() && said.out.contains("PROBLEM"), "{}: {}", file.display(), said.out);
        shape.run(3, &["--bootstrap", &list]);
        shape.wait_until_ready(3);
        let index = put(shape.http(1), "after", &format!("{turn}"));
        let found = get(shape.http(3), &format!("/v1/kv/after?consistency=sequential&index={index}"));
        assert_eq!(found.text(), format!("{turn}"));
        for n in 0..500 {
            let mine = get(shape.http(3), &format!("/v1/kv/over/{n}?consistency=sequential&index={index}"));
            assert_eq!(mine.text(), get(shape.http(1), &format!("/v1/kv/over/{n}")).text());
        }
    }
    // Two of three: nobody throws anything away.
    (1..=3).for_each(|id| shape.stop(id));
    for id in [1, 2] {
        flip(&PathBuf::from(shape.data(id)).join("snapshot"));
    }
    let logs = |shape: &Shape| [1, 2].map(|id| used(Path::new(&shape.data(id))));
    let before = logs(&shape);
    (1..=3).for_each(|id| shape.run(id, &["--bootstrap", &list]));
    thread::sleep(Duration::from_secs(5));
    for id in [1, 2] {
        let begun = Instant::now();
        let (fine, output) = loop {
            if let Some(ended) = shape.has_ended(id) {
                break ended;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "server {id} goes on");
            thread::sleep(Duration::from_millis(100));
        };
        assert!(!fine && output.contains("no peer knows a leader") && output.contains("snapshot"), "{output}");
    }
    assert_eq!(before, logs(&shape), "nothing was taken away");
}

/// The snapshot, and the log files that hold entries: one that was made ahead of need has no first index yet.
fn used(directory: &Path) -> Vec<PathBuf> {
    let holds = |f: &PathBuf| f.ends_with("snapshot") || fs::read(f).unwrap()[32..40] != [0; 8];
    files(directory).into_iter().filter(holds).collect()
}

/// A small disk in memory, taken away when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None`: this machine does not let us.
    fn new(path: PathBuf, megabytes: u32) -> Option<Self> {
        fs::create_dir_all(&path).unwrap();
        let size = format!("size={megabytes}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "copycat-test"]).arg(&path).output();
        mounted.is_ok_and(|m| m.status.success()).then_some(Self(path))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

#[test]
fn a_full_disk_refuses_writes_and_goes_on_when_there_is_room() {
    let _turn = turn();
    let path = std::env::temp_dir().join(format!("copycat-small-{}", std::process::id()));
    let Some(disk) = SmallDisk::new(path.clone(), 48) else {
        println!("skipped: a disk that can be filled needs root");
        return;
    };
    let mut shape = Shape::start_in(&disk.0, 1, SMALL);
    let http = shape.http(1);
    put(http, "before", "v");
    let ballast = disk.0.join("ballast");
    let available = || rustix::fs::statvfs(&disk.0).unwrap().f_bavail * rustix::fs::statvfs(&disk.0).unwrap().f_frsize;
    fs::write(&ballast, vec![1; usize::try_from(available()).unwrap() - 2_000_000]).unwrap();
    let refused = wait_for("writes to be refused", || {
        let answer = crate::harness::ask(http, "PUT", "/v1/kv/more", &[], b"v");
        (answer.status == 507).then(|| json(&answer))
    });
    assert_eq!((refused["code"].as_str(), refused["outcome"].as_str()), (Some("storage_full"), Some("not_applied")));
    assert_eq!(get(http, "/v1/kv/before").text(), "v", "reads go on");
    fs::remove_file(&ballast).unwrap();
    wait_for("writes to go on", || {
        let answer = crate::harness::ask(http, "PUT", "/v1/kv/more", &[], b"v");
        matches!(answer.status, 200 | 201).then_some(())
    });
    assert!(peek(http, "/v1/server").is_some());
    shape.stop(1);
    drop(disk);
    let _ = fs::remove_dir(path);
}
