//! The jobs of `copycat lock`: of two, the old one is dead before the new one begins, whatever is paused, killed or ignored.

use crate::harness::{Cluster, Directory, copycat, get, json, long, turn, wait_for};
use crate::program::{COPYCAT, Program, text};
use copycat_testkit::proxy::{Link, Proxy};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// A job that ignores SIGTERM, as do a child in its group and one that has left group, session and parent. Each leaves its pid
/// in `pids`, and marks in `marks` as long as it lives.
const STUBBORN: &str = r#"mark='echo "$1 $$" >>"$DIR/pids"; while :; do
        read up _ </proc/uptime; echo "old $1 $up" >>"$DIR/marks"; sleep 0.02
    done'
    trap '' TERM HUP INT
    sh -c "$mark" sh child &
    (setsid sh -c "$mark" sh daemon &)
    while [ "$(wc -l <"$DIR/pids")" != 2 ]; do sleep 0.01; done
    exec sh -c "$mark" sh job"#;

/// The job that comes after it.
const NEXT: &str = r#"read up _ </proc/uptime; echo "new start $up" >>"$DIR/marks"; sleep 0.3
    read up _ </proc/uptime; echo "new stop $up" >>"$DIR/marks""#;

/// The stubborn job as a script in a file of this directory.
fn stubborn(directory: &Directory) -> String {
    let path = directory.join("stubborn");
    std::fs::write(&path, STUBBORN).unwrap();
    std::fs::write(directory.join("pids"), "").unwrap();
    path.display().to_string()
}

fn lock(directory: &Directory, endpoint: &str, options: &[&str], command: &[&str]) -> Program {
    let arguments = [&["lock"], options, &["--endpoint", endpoint, "--"], command].concat();
    Program::start(COPYCAT, &arguments, &[("DIR", &directory.join("").display().to_string())])
}

/// The stubborn job's processes, once all of them run: itself last.
fn pids(directory: &Directory) -> Vec<Pid> {
    let pid = |line: &str| Pid::from_raw(line.split(' ').nth(1)?.parse().ok()?);
    wait_for("the job to run", || {
        let pids: Vec<Pid> = text(&directory.join("pids")).lines().filter_map(pid).collect();
        (pids.len() == 3).then_some(pids)
    })
}

fn alive(pids: &[Pid]) -> Vec<Pid> {
    pids.iter().copied().filter(|&pid| test_kill_process(pid).is_ok()).collect()
}

/// The marks are in the order in which they were written: each is one write at the end of the file.
fn assert_no_overlap(marks: &Path) {
    let marks = text(marks);
    let lines: Vec<&str> = marks.lines().collect();
    let start = lines.iter().position(|line| line.starts_with("new start")).expect("the new one has run");
    let (before, after) = lines.split_at(start);
    for name in ["old job", "old child", "old daemon"] {
        assert!(before.iter().any(|line| line.starts_with(name)), "{name} has run");
    }
    let late: Vec<&&str> = after.iter().filter(|line| line.starts_with("old")).collect();
    assert!(late.is_empty(), "{} still ran, until {:?}", late[0], late.last());
    // Both on one clock, of hundredths of a second.
    let time = |line: &str| line.rsplit(' ').next().and_then(|time| time.parse::<f64>().ok()).expect("a time");
    assert!(time(before[start - 1]) <= time(after[0]), "{} {}", before[start - 1], after[0]);
}

fn endpoint(address: std::net::SocketAddr) -> String {
    format!("http://{address}")
}

/// The stubborn job is cut off from the cluster, and another waits for its lock.
fn is_cut_off(cluster: &Cluster, ttl: &str) {
    let directory = Directory::new();
    let proxy = Proxy::start("127.0.0.1:0".parse().unwrap(), cluster.servers[0].http).unwrap();
    let script = stubborn(&directory);
    let old = lock(&directory, &endpoint(proxy.address()), &["cut", "--ttl", ttl], &["sh", &script]);
    let pids = pids(&directory);
    let options = ["cut", "--ttl", ttl, "--wait", "2m"];
    let new = lock(&directory, &endpoint(cluster.servers[1].http), &options, &["sh", "-c", NEXT]);
    wait_for("the other to queue", || {
        let queue = json(&get(cluster.servers[1].http, "/v1/locks/cut"))["queue"].clone();
        queue.as_array().is_some_and(|queue| queue.len() == 1).then_some(())
    });
    // Keep-alives may still arrive; their answers do not.
    proxy.set(Link::Silent);
    let said = new.said();
    assert!(said.status.success(), "{}", said.err);
    assert_eq!(alive(&pids), []);
    assert_no_overlap(&directory.join("marks"));
    let said = old.said();
    assert_eq!(said.status.code(), Some(70), "{}", said.err);
    assert!(said.err.contains("lost"), "{}", said.err);
}

#[test]
fn a_job_that_is_cut_off_is_dead_before_the_next_begins() {
    if !cfg!(target_os = "linux") {
        return;
    }
    let _turn = turn();
    let cluster = Cluster::start();
    let runs: &[(&str, usize)] = if long() { &[("2s", 20), ("4s", 20), ("15s", 20)] } else { &[("2s", 3), ("4s", 1)] };
    for &(ttl, count) in runs {
        for _ in 0..count {
            is_cut_off(&cluster, ttl);
        }
    }
}

#[test]
fn a_job_ends_with_copycat_lock_whatever_ends_that() {
    if !cfg!(target_os = "linux") {
        return;
    }
    let _turn = turn();
    let cluster = Cluster::start();
    let http = cluster.servers[0].http;
    let start = |directory: &Directory| {
        let script = stubborn(directory);
        lock(directory, &endpoint(http), &["ends", "--ttl", "4s"], &["sh", &script])
    };
    let next = |directory: &Directory| {
        lock(directory, &endpoint(http), &["ends", "--ttl", "4s", "--wait", "2m"], &["sh", "-c", NEXT])
    };

    // kill -9: the supervisor sees to it, and others get the lock when the session's time is over.
    let directory = Directory::new();
    let (old, pids_of_old) = (start(&directory), pids(&directory));
    let new = next(&directory);
    old.kill();
    assert!(new.said().status.success());
    assert_eq!(alive(&pids_of_old), []);
    assert_no_overlap(&directory.join("marks"));

    // The supervisor itself is killed: `copycat lock` sees to it.
    let directory = Directory::new();
    let (old, pids_of_old) = (start(&directory), pids(&directory));
    let new = next(&directory);
    kill_process(parent(pids_of_old[2]), Signal::KILL).unwrap();
    let said = old.said();
    assert_eq!(said.status.code(), Some(70), "{}", said.err);
    assert_eq!(alive(&pids_of_old), []);
    assert!(new.said().status.success());
    assert_no_overlap(&directory.join("marks"));

    // A hangup is passed on as SIGTERM, then the job is killed, and then the lock is released.
    for signal in [Signal::HUP, Signal::TERM, Signal::INT] {
        let directory = Directory::new();
        let (old, pids_of_old) = (start(&directory), pids(&directory));
        old.signal(signal);
        let said = old.said();
        assert_eq!(said.status.code(), Some(137), "{}", said.err);
        assert_eq!(alive(&pids_of_old), []);
        assert_eq!(get(http, "/v1/locks/ends").status, 404, "the lock is free at once");
    }

    // It is paused: the supervisor does not wait for it.
    let directory = Directory::new();
    let (old, pids_of_old) = (start(&directory), pids(&directory));
    let new = next(&directory);
    old.signal(Signal::STOP);
    assert!(new.said().status.success());
    assert_eq!(alive(&pids_of_old), []);
    assert_no_overlap(&directory.join("marks"));
    old.signal(Signal::CONT);
    assert_eq!(old.said().status.code(), Some(70));
}

/// The parent of a process.
fn parent(pid: Pid) -> Pid {
    let stat = text(Path::new(&format!("/proc/{}/stat", pid.as_raw_nonzero())));
    let parent = stat.rsplit(')').next().unwrap().split_whitespace().nth(1).unwrap();
    Pid::from_raw(parent.parse().unwrap()).unwrap()
}

#[test]
fn what_a_job_leaves_running_ends_before_the_lock_is_released() {
    if !cfg!(target_os = "linux") {
        return;
    }
    let _turn = turn();
    let cluster = Cluster::start();
    let directory = Directory::new();
    let script = stubborn(&directory);
    // The stubborn one is left behind, as a whole.
    let leave = format!("sh {script} & while [ $(wc -l <$DIR/pids) != 3 ]; do sleep 0.01; done; exit 5");
    let options = ["left", "--ttl", "2s"];
    let said = lock(&directory, &endpoint(cluster.servers[0].http), &options, &["sh", "-c", &leave]).said();
    assert_eq!(said.status.code(), Some(5), "{}", said.err);
    assert_eq!(alive(&pids(&directory)), []);
    assert_eq!(get(cluster.servers[0].http, "/v1/locks/left").status, 404);
}

#[test]
fn a_job_has_its_standard_input_and_may_be_told_to_ignore_hangups() {
    let _turn = turn();
    let cluster = Cluster::start();
    let server = endpoint(cluster.servers[0].http);
    let mut child = Command::new(COPYCAT)
        .args(["lock", "input", "--endpoint", &server, "--", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"one\ntwo\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stdout), (Some(0), b"one\ntwo\n".to_vec()));
    assert_eq!(copycat(&["lock-supervise", "--ttl", "1", "--until", "1", "--", "true"]).status.code(), Some(1));

    if cfg!(target_os = "linux") {
        let directory = Directory::new();
        let job = ": >$DIR/up; while [ ! -e $DIR/go ]; do sleep 0.02; done; exit 7";
        let script = format!("trap '' HUP; exec {COPYCAT} lock input --endpoint {server} -- sh -c '{job}'");
        let environment = [("DIR", &*directory.join("").display().to_string())];
        let program = Program::start("sh", &["-c", &script], &environment);
        wait_for("the job to run", || directory.join("up").exists().then_some(()));
        program.signal(Signal::HUP);
        // Were it heeded, the job would be ended before it is told to end.
        assert_eq!(copycat(&["lock", "input", "--endpoint", &server, "--", "true"]).status.code(), Some(75));
        std::fs::write(directory.join("go"), "").unwrap();
        assert_eq!(program.said().status.code(), Some(7));
    }
}
