//! Disks that fill, logs that are away, files that are damaged, power that fails.

use crate::harness::{
    Cluster, Directory, Process, Server, ask, copycat, free_ports, get, json, local, peek, server_arguments, turn,
    wait_for,
};
use copycat_storage::{FileDisk, Meta, Options, Seed, Storage};
use copycat_testkit::http::Client;
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// What a directory holds, by name.
type Files = BTreeMap<String, Vec<u8>>;

fn files(directory: &Path) -> Files {
    let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.map(|name| (name.clone(), fs::read(directory.join(&name)).unwrap())).collect()
}

/// Moves the log's files elsewhere, as a wrong mount does.
fn move_away(data: &Path) -> PathBuf {
    let away = data.with_extension("away");
    fs::create_dir_all(&away).unwrap();
    for name in files(data).keys().filter(|name| name.ends_with(".log")) {
        fs::rename(data.join(name), away.join(name)).unwrap();
    }
    assert!(!files(&away).is_empty());
    away
}

fn move_back(data: &Path, away: &Path) {
    for name in files(away).keys() {
        assert!(!data.join(name).exists(), "{name} would be overwritten");
        fs::rename(away.join(name), data.join(name)).unwrap();
    }
}

/// A server that is all of its cluster.
struct One {
    directory: Directory,
    http: SocketAddr,
    arguments: Vec<String>,
}

impl One {
    fn new(more: &[&str]) -> Self {
        let directory = Directory::new();
        let first = free_ports(2);
        let (http, peer) = (local(first), local(first + 1));
        let mut arguments = server_arguments(1, &directory.join("data"), http, peer, &format!("1={peer}"));
        arguments.extend(more.iter().map(ToString::to_string));
        Self { directory, http, arguments }
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    fn start(&self) -> Process {
        let mut process = Process::start(self.directory.join("log"), &self.arguments);
        wait_for("the server to be ready", || {
            if let Some(status) = process.has_ended() {
                panic!("it ended, {status}: {}", process.output());
            }
            let answer = Client::new(self.http, Duration::from_millis(500)).request("GET", "/readyz", &[], b"").ok()?;
            (answer.status == 200).then_some(())
        });
        process
    }

    /// Runs it until it refuses to start.
    fn refused(&self) -> String {
        let said = copycat(&self.arguments);
        assert_eq!(said.status.code(), Some(1), "{}", said.err);
        let errors: Vec<&str> = said.err.lines().filter(|line| line.starts_with("error: ")).collect();
        assert_eq!(errors.len(), 1, "{}", said.err);
        errors[0].to_owned()
    }
}

fn put(server: SocketAddr, key: &str, value: &[u8]) {
    let answer = ask(server, "PUT", &format!("/v1/kv/{key}"), &[], value);
    assert!(matches!(answer.status, 200 | 201), "{} {}", answer.status, answer.text());
}

fn put_many(server: SocketAddr, keys: std::ops::Range<u32>) {
    keys.for_each(|key| put(server, &format!("many/{key}"), format!("value {key}").as_bytes()));
}

fn assert_many(server: SocketAddr, keys: std::ops::Range<u32>) {
    for key in keys {
        assert_eq!(get(server, &format!("/v1/kv/many/{key}")).text(), format!("value {key}"));
    }
}

fn take_snapshot(server: SocketAddr) {
    let answer = ask(server, "POST", "/v1/snapshots", &[], b"");
    assert!(matches!(answer.status, 200 | 201), "{} {}", answer.status, answer.text());
}

#[test]
fn a_lone_server_whose_log_is_away_is_refused_and_changes_nothing() {
    let _turn = turn();
    let one = One::new(&[]);
    let process = one.start();
    put_many(one.http, 0..50);
    take_snapshot(one.http);
    put_many(one.http, 50..100);
    assert!(process.stop(Signal::TERM).success());
    let data = one.data();
    let directory = data.display().to_string();
    let away = move_away(&data);
    let before = files(&data);
    let error = one.refused();
    for part in ["the log is missing", "nothing was changed", "bring back", "mounted", "restore a backup"] {
        assert!(error.contains(part), "no {part:?} in {error}");
    }
    let check = copycat(&["check", &directory]);
    assert_eq!(check.status.code(), Some(1));
    let told = format!("{}{}", check.out, check.err);
    assert!(
        told.contains("the log is missing") && told.contains("NOT sound") && told.contains("no other server"),
        "{told}"
    );
    assert!(!told.contains("empty"), "the only copy is not to be emptied: {told}");
    assert!(files(&data) == before, "something was changed");
    move_back(&data, &away);
    let process = one.start();
    assert_many(one.http, 0..100);
    assert!(process.stop(Signal::TERM).success());
    assert!(copycat(&["check", &directory]).status.success());
    // Only `meta` is left.
    for name in files(&data).keys().filter(|name| !name.starts_with("meta")) {
        fs::remove_file(data.join(name)).unwrap();
    }
    let check = copycat(&["check", &directory]);
    assert!(!check.status.success() && check.out.contains("the log is missing"), "{}", check.out);
    assert!(one.refused().contains("the log is missing"));
}

#[test]
fn a_member_whose_log_is_away_gets_it_back_from_its_peers() {
    let _turn = turn();
    let mut cluster = Cluster::start();
    put_many(cluster.servers[0].http, 0..50);
    cluster.wait_until_caught_up();
    let at = (cluster.leader() + 1) % 3;
    take_snapshot(cluster.servers[at].http);
    put_many(cluster.servers[0].http, 50..100);
    let data = cluster.servers[at].data.clone();
    assert!(cluster.servers[at].stop().success());
    let away = move_away(&data);
    put_many(cluster.servers[(at + 1) % 3].http, 100..120);
    cluster.servers[at].start();
    cluster.wait_until_ready();
    cluster.wait_until_caught_up();
    let said = cluster.servers[at].process().output();
    assert!(said.contains("the log is missing") && said.contains("set aside"), "{said}");
    wait_for("the repair to be complete", || {
        let server = peek(cluster.servers[at].http, "/v1/server")?;
        (server["log_lost"] == false).then_some(())
    });
    assert!(cluster.servers[at].stop().success());
    move_back(&data, &away);
    cluster.servers[at].start();
    cluster.wait_until_ready();
    cluster.wait_until_caught_up();
    for key in 0..120 {
        let path = format!("/v1/kv/many/{key}?consistency=sequential");
        assert_eq!(get(cluster.servers[at].http, &path).text(), format!("value {key}"));
    }
    assert!(files(&data).keys().all(|name| !name.ends_with(".kept")), "what was set aside is deleted when all is back");
    assert!(cluster.servers[at].stop().success());
    let check = copycat(&["check", &data.display().to_string()]);
    assert!(check.status.success(), "{}{}", check.out, check.err);
}

#[test]
fn three_servers_whose_logs_are_all_away_change_nothing() {
    let _turn = turn();
    let mut cluster = Cluster::start();
    put_many(cluster.servers[0].http, 0..50);
    cluster.wait_until_caught_up();
    take_snapshot(cluster.servers[1].http);
    cluster.servers.iter_mut().for_each(|server| assert!(server.stop().success()));
    let moved: Vec<(PathBuf, PathBuf, Files)> = cluster
        .servers
        .iter()
        .map(|server| {
            let away = move_away(&server.data);
            (server.data.clone(), away, files(&server.data))
        })
        .collect();
    cluster.servers.iter_mut().for_each(Server::start);
    for server in &cluster.servers {
        wait_for("it to ask its peers", || server.process().output().contains("asking the peers").then_some(()));
    }
    // Nobody has a leader: they would ask for half a minute, and then say what to do.
    std::thread::sleep(Duration::from_secs(2));
    cluster.servers.iter_mut().for_each(Server::kill);
    for (data, away, before) in &moved {
        assert!(files(data) == *before, "something was changed in {}", data.display());
        let check = copycat(&["check", &data.display().to_string()]);
        assert!(!check.status.success() && check.out.contains("start the other servers first"), "{}", check.out);
        move_back(data, away);
    }
    cluster.servers.iter_mut().for_each(Server::start);
    cluster.wait_until_ready();
    assert_many(cluster.servers[2].http, 0..50);
}

#[test]
fn a_directory_in_use_is_not_judged() {
    let _turn = turn();
    let one = One::new(&[]);
    let process = one.start();
    put_many(one.http, 0..10);
    let directory = one.data().display().to_string();
    let check = copycat(&["check", &directory]);
    assert_eq!(check.status.code(), Some(6), "{}{}", check.out, check.err);
    for part in ["in use by a server", "stop the server", "check a copy"] {
        assert!(check.err.contains(part), "no {part:?} in {}", check.err);
    }
    assert!(check.out.is_empty(), "{}", check.out);
    assert!(process.stop(Signal::TERM).success());
    assert!(copycat(&["check", &directory]).status.success());
}

#[test]
fn a_damaged_configuration_is_made_anew() {
    let _turn = turn();
    let one = One::new(&[]);
    let process = one.start();
    put_many(one.http, 0..10);
    assert!(process.stop(Signal::TERM).success());
    let path = one.data().join("configuration");
    for damage in 0..2 {
        let mut bytes = fs::read(&path).unwrap();
        if damage == 0 {
            bytes[30] ^= 1;
        } else {
            bytes.truncate(3);
        }
        fs::write(&path, &bytes).unwrap();
        let check = copycat(&["check", &one.data().display().to_string()]);
        assert!(check.status.success() && check.out.contains("note: configuration"), "{}", check.out);
        let process = one.start();
        assert!(process.output().contains("made anew"), "{}", process.output());
        assert_many(one.http, 0..10);
        assert!(process.stop(Signal::TERM).success());
        let check = copycat(&["check", &one.data().display().to_string()]);
        assert!(check.status.success() && !check.out.contains("note: configuration"), "{}", check.out);
    }
    // One that has no log.
    let process = one.start();
    let first = free_ports(2);
    let (http, peer) = (local(first), local(first + 1));
    let data = one.directory.join("reserve");
    let own = one.arguments.iter().position(|word| word == "--peer").unwrap();
    let mut arguments = server_arguments(2, &data, http, peer, "");
    arguments.truncate(arguments.len() - 2);
    let bootstrap = format!("1={},2={peer}", one.arguments[own + 1]);
    let told = |more: &[&str]| -> Vec<String> {
        arguments.iter().map(String::as_str).chain(more.iter().copied()).map(String::from).collect()
    };
    let joining = told(&["--join", &one.arguments[own + 1], "--type", "reserve"]);
    let ready = |process: &mut Process| {
        wait_for("the reserve member to be ready", || {
            assert!(process.has_ended().is_none(), "{}", process.output());
            Client::new(http, Duration::from_millis(500))
                .request("GET", "/readyz", &[], b"")
                .is_ok_and(|answer| answer.status == 200)
                .then_some(())
        });
    };
    let mut reserve = Process::start(one.directory.join("reserve.log"), &joining);
    ready(&mut reserve);
    assert!(reserve.stop(Signal::TERM).success());
    let path = data.join("configuration");
    let mut bytes = fs::read(&path).unwrap();
    bytes[30] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let refused = copycat(&told(&["--bootstrap", &bootstrap]));
    assert!(!refused.status.success() && refused.err.contains("start the server with --join"), "{}", refused.err);
    let mut reserve = Process::start(one.directory.join("reserve.log"), &joining);
    ready(&mut reserve);
    assert!(reserve.output().contains("are asked for it"), "{}", reserve.output());
    assert_many(http, 0..10);
    assert!(reserve.stop(Signal::TERM).success());
    assert!(process.stop(Signal::TERM).success());
}

/// As if the machine had been started anew since.
fn another_boot(data: &Path) -> Meta {
    let disk = FileDisk::open(data).unwrap();
    let seed = Seed { identity: 1, salt: 1, now_ms: 1 };
    let mut storage = Storage::open(disk, Options::default(), seed).unwrap();
    let meta = storage.meta().clone();
    assert!(meta.boot != 0, "it ran below always");
    storage.set_meta(Meta { boot: !meta.boot, ..meta.clone() });
    while let Some(job) = storage.flush() {
        let persisted = job.run().unwrap();
        storage.persisted(persisted);
    }
    meta
}

/// Whether the meta record says that all is flushed.
fn is_clean(data: &Path) -> bool {
    fs::read(data.join("meta-1")).unwrap()[10] & 2 != 0
}

#[test]
fn a_lone_server_goes_on_after_a_power_failure_below_always() {
    let _turn = turn();
    for level in ["never", "interval=10s"] {
        let one = One::new(&["--durability", level]);
        let data = one.data();
        let process = one.start();
        put_many(one.http, 0..20);
        // At rest all is flushed, and noted.
        wait_for("the log to be at rest", || is_clean(&data).then_some(()));
        process.kill();
        assert!(another_boot(&data).clean);
        let process = one.start();
        assert_many(one.http, 0..20);
        assert!(!process.output().contains("may be gone"), "{}", process.output());
        // Not at rest: what follows was in memory only.
        wait_for("the log to be at rest", || is_clean(&data).then_some(()));
        let flushed = files(&data);
        put(one.http, "late", b"in memory");
        assert!(!is_clean(&data), "it is taken back before anything is acknowledged");
        process.kill();
        for (name, bytes) in flushed.iter().filter(|(name, _)| name.ends_with(".log")) {
            fs::write(data.join(name), bytes).unwrap();
        }
        assert!(!another_boot(&data).clean);
        let process = one.start();
        assert_many(one.http, 0..20);
        assert_eq!(get(one.http, "/v1/kv/late").status, 404, "the power took it");
        let said = process.output();
        let warnings = said.lines().filter(|line| line.contains("WARN") && line.contains("may be gone")).count();
        assert!(warnings == 1 && said.contains("goes on with what it has"), "{said}");
        put(one.http, "late", b"again");
        assert!(process.stop(Signal::TERM).success());
        assert!(copycat(&["check", &data.display().to_string()]).status.success());
    }
}

#[test]
fn a_member_says_that_it_counts_as_one_that_lost_its_log() {
    let _turn = turn();
    let mut cluster = Cluster::start_with(&["--durability", "never"], |_, _, _| {});
    put_many(cluster.servers[0].http, 0..20);
    cluster.servers.iter_mut().for_each(Server::kill);
    assert!(!another_boot(&cluster.servers[1].data).clean);
    cluster.servers[1].start();
    let http = cluster.servers[1].http;
    let verbose = wait_for("an answer", || {
        Client::new(http, Duration::from_millis(500)).request("GET", "/readyz?verbose", &[], b"").ok()
    });
    assert!(verbose.status == 503 && verbose.text().contains("power failure"), "{}", verbose.text());
    let said = cluster.servers[1].process().output();
    assert!(said.contains("WARN") && said.contains("counts as one that lost its log"), "{said}");
    for at in [0, 2] {
        cluster.servers[at].start();
    }
    cluster.wait_until_ready();
    assert_many(http, 0..20);
}

/// Small file systems in memory, gone with this, whatever happens.
struct Mounts(Vec<PathBuf>);

impl Mounts {
    /// `None`: this needs root.
    fn new() -> Option<Self> {
        rustix::process::geteuid().is_root().then(|| Self(Vec::new()))
    }

    fn mount(&mut self, at: &Path) {
        fs::create_dir_all(at).unwrap();
        let mut command = Command::new("mount");
        let status = command.args(["-t", "tmpfs", "-o", "size=16m", "copycat-test"]).arg(at).status().unwrap();
        assert!(status.success(), "mount: {status}");
        self.0.push(at.to_owned());
    }

    /// Another program takes all the room there is.
    fn fill(&self) {
        for at in &self.0 {
            // A name that a data directory may have beside its own.
            fs::create_dir_all(at.join("lost+found")).unwrap();
            let mut file = File::create(at.join("lost+found/other")).unwrap();
            while file.write_all(&[1; 4096]).is_ok() {}
        }
    }

    fn make_room(&self) {
        self.0.iter().for_each(|at| fs::remove_file(at.join("lost+found/other")).unwrap());
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        for at in &self.0 {
            let _ = Command::new("umount").arg("-l").arg(at).status();
            let _ = fs::remove_dir(at);
            // Of a test that failed, the logs are kept in it.
            let _ = at.parent().map(fs::remove_dir);
        }
    }
}

fn write_status(server: SocketAddr) -> u16 {
    ask(server, "PUT", "/v1/kv/full", &[], b"1").status
}

fn assert_alive(cluster: &mut Cluster) {
    for server in &mut cluster.servers {
        server.assert_running();
    }
}

#[test]
fn three_servers_on_full_disks_serve_what_they_have() {
    let _turn = turn();
    let Some(mounts) = Mounts::new() else {
        println!("skipped: to mount small file systems needs root");
        return;
    };
    let mounts = std::cell::RefCell::new(mounts);
    let small = ["--segment-size", "2097152", "--largest-entry", "1048576"];
    let mut cluster = Cluster::start_with(&small, |_, data, _| mounts.borrow_mut().mount(data));
    let mounts = mounts.into_inner();
    put_many(cluster.servers[0].http, 0..50);
    cluster.wait_until_caught_up();
    mounts.fill();
    let http = cluster.servers[0].http;
    wait_for("writes to be refused", || (write_status(http) == 507).then_some(()));
    // A member that goes and comes is a new configuration, whose file finds no room.
    let at = (cluster.leader() + 1) % 3;
    let status = |cluster: &Cluster, wanted: &str| {
        wait_for("the member's status", || {
            let view = peek(cluster.servers[cluster.some_leader()?].http, "/v1/cluster")?;
            let member = view["members"].as_array()?.iter().find(|m| m["id"] == at as u64 + 1)?.clone();
            (member["status"] == wanted).then_some(())
        });
    };
    cluster.servers[at].kill();
    status(&cluster, "unavailable");
    let leader = cluster.leader();
    wait_for("it to be said", || {
        cluster.servers[leader].process().output().contains("configuration cannot be written").then_some(())
    });
    // And a start finds none either.
    cluster.servers[at].start();
    cluster.wait_until_ready();
    status(&cluster, "available");
    assert_many(cluster.servers[at].http, 0..50);
    // A leader goes; another is elected; it comes back.
    let leader = cluster.leader();
    cluster.servers[leader].kill();
    let other = (leader + 1) % 3;
    wait_for("another leader", || cluster.some_leader().filter(|&l| l != leader && cluster.servers[l].is_running()));
    assert_many(cluster.servers[other].http, 0..50);
    assert_eq!(write_status(cluster.servers[other].http), 507);
    cluster.servers[leader].start();
    cluster.wait_until_ready();
    assert_many(cluster.servers[leader].http, 0..50);
    assert_alive(&mut cluster);
    mounts.make_room();
    wait_for("writes to go on", || matches!(write_status(http), 200 | 201).then_some(()));
    assert_many(http, 0..50);
    for server in &cluster.servers {
        let said = || server.process().output();
        if said().contains("configuration cannot be written") {
            wait_for("the configuration to be written", || said().contains("configuration is written").then_some(()));
        }
    }
    assert_alive(&mut cluster);
    // All at once, on full disks.
    mounts.fill();
    cluster.servers.iter_mut().for_each(|server| assert!(server.stop().success()));
    cluster.servers.iter_mut().for_each(Server::start);
    cluster.wait_until_ready();
    assert_many(http, 0..50);
    wait_for("writes to be refused", || (write_status(http) == 507).then_some(()));
    let room = json(&ask(http, "PUT", "/v1/kv/full", &[], b"1"));
    assert_eq!(room["code"], "storage_full", "{room}");
    mounts.make_room();
    wait_for("writes to go on", || matches!(write_status(http), 200 | 201).then_some(()));
    // The servers first.
    drop(cluster);
    drop(mounts);
}
