//! Kills, pauses and cut connections under eight clients: what they saw must be linearizable.

use crate::harness::{Cluster, Server, long, turn, wait_for};
use copycat_testkit::Rng;
use copycat_testkit::http::{Answer, Client, Lost};
use copycat_testkit::linearizability::{History, Op, Outcome, Require, Written};
use copycat_testkit::proxy::Link;
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const CLIENTS: u64 = 8;
const KEYS: u64 = 5;

fn etag(answer: &Answer) -> Option<u64> {
    answer.header("etag")?.trim_matches('"').parse().ok()
}

/// What an answer says; `None`: it does not say that it had no effect.
fn outcome(op: &Op, answer: &Answer) -> Option<Outcome> {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let code = body["code"].as_str().unwrap_or_default();
    Some(Outcome::Ok(match (op, answer.status) {
        (Op::Put { .. }, 200 | 201) => Written::Put { version: body["version"].as_u64()? },
        (Op::Delete { .. }, 200) => {
            let version = if body["deleted"].as_bool()? { Some(body["version"].as_u64()?) } else { None };
            Written::Deleted { version }
        }
        (Op::Put { .. } | Op::Delete { .. }, 412) => Written::Failed { version: etag(answer) },
        (Op::Get, 200) => Written::Got { item: Some((etag(answer)?, answer.body.clone())) },
        (Op::Get, 404) if code == "key_not_found" => Written::Got { item: None },
        _ if body["outcome"] == "not_applied" => return Some(Outcome::NotApplied),
        _ => return None,
    }))
}

/// Sends one operation, once.
fn send(client: &mut Client, key: &str, op: &Op) -> (Outcome, bool) {
    let require = match op {
        Op::Put { require, .. } | Op::Delete { require } => *require,
        Op::Get => Require::Nothing,
    };
    let tag;
    let headers: &[(&str, &str)] = match require {
        Require::Nothing => &[],
        Require::Absent => &[("If-None-Match", "*")],
        Require::Exists => &[("If-Match", "*")],
        Require::Version(version) => {
            tag = format!("\"{version}\"");
            &[("If-Match", &tag)]
        }
    };
    let (method, body): (&str, &[u8]) = match op {
        Op::Put { value, .. } => ("PUT", value),
        Op::Delete { .. } => ("DELETE", b""),
        Op::Get => ("GET", b""),
    };
    match client.request(method, &format!("/v1/kv/{key}?timeout=1s"), headers, body) {
        Ok(answer) => match outcome(op, &answer) {
            Some(outcome) => {
                let fine = matches!(outcome, Outcome::Ok(_));
                (outcome, fine)
            }
            None => {
                let known = [500, 503, 504].contains(&answer.status);
                assert!(known, "{method} {key}: an answer to be explained: {} {}", answer.status, answer.text());
                (Outcome::Unknown, false)
            }
        },
        Err(Lost::NeverSent(_)) => (Outcome::NotApplied, false),
        Err(Lost::Unanswered(_)) => (Outcome::Unknown, false),
    }
}

fn one_client(number: u64, servers: &[SocketAddr], start: Instant, stop: &AtomicBool) -> History {
    let mut rng = Rng::new(1000 + number);
    let mut history = History::new();
    let mut versions: BTreeMap<String, u64> = BTreeMap::new();
    let now = || u64::try_from(start.elapsed().as_nanos()).expect("a short run");
    let connect = |rng: &mut Rng| {
        let at = usize::try_from(rng.below(servers.len() as u64)).expect("small");
        Client::new(servers[at], Duration::from_millis(1500))
    };
    let mut client = connect(&mut rng);
    let mut next = 0;
    while !stop.load(Ordering::SeqCst) {
        let key = format!("chaos-{}", rng.below(KEYS));
        let require = match rng.below(10) {
            0..4 => Require::Nothing,
            4..8 => versions.get(&key).map_or(Require::Absent, |&v| Require::Version(v)),
            8 => Require::Absent,
            _ => Require::Exists,
        };
        let op = match rng.below(10) {
            0..5 => {
                next += 1;
                Op::Put { value: format!("{number}-{next}").into_bytes(), require }
            }
            5 => Op::Delete { require },
            _ => Op::Get,
        };
        let id = history.invoke(number, now(), key.as_bytes(), op.clone());
        let (outcome, fine) = send(&mut client, &key, &op);
        match &outcome {
            Outcome::Ok(
                Written::Put { version }
                | Written::Failed { version: Some(version) }
                | Written::Got { item: Some((version, _)) },
            ) => {
                versions.insert(key, *version);
            }
            Outcome::Ok(_) => {
                versions.remove(&key);
            }
            _ => {}
        }
        history.complete(id, now(), outcome);
        if !fine {
            thread::sleep(Duration::from_millis(10 + rng.below(40)));
            client = connect(&mut rng);
        } else if rng.chance(1, 50) {
            client = connect(&mut rng);
        } else {
            thread::sleep(Duration::from_micros(rng.below(4000)));
        }
    }
    history
}

/// One fault, from its begin to its end.
pub fn fault(cluster: &mut Cluster, rng: &mut Rng, counts: &mut BTreeMap<&'static str, u64>) {
    let mut pick = || usize::try_from(rng.below(3)).expect("small");
    // Half of them hit the leader.
    let (any, other) = (pick(), pick());
    let at = cluster.some_leader().filter(|_| rng.chance(1, 2)).unwrap_or(any);
    let short = Duration::from_millis(rng.range(100, 1500));
    let servers = &mut cluster.servers;
    let link = if rng.chance(1, 2) { Link::Cut } else { Link::Silent };
    let what = match rng.below(7) {
        0 | 1 => {
            servers[at].kill();
            thread::sleep(short / 2);
            servers[at].start();
            "kill"
        }
        2 | 3 => {
            servers[at].process().signal(Signal::STOP);
            thread::sleep(short);
            servers[at].process().signal(Signal::CONT);
            "pause"
        }
        4 => {
            // What is sent to one server is lost, what it sends arrives.
            servers[at].link(link);
            thread::sleep(short);
            "cut: nothing reaches one"
        }
        5 => {
            // Nobody but one hears anything, and what it hears is answered into the void. It may even die of it: what it
            // alone knows, nobody may have been told.
            let others = [(at + 1) % 3, (at + 2) % 3];
            others.iter().for_each(|&other| servers[other].link(link));
            thread::sleep(short);
            if rng.chance(1, 2) {
                servers[at].kill();
                others.iter().for_each(|&other| servers[other].link(Link::Open));
                thread::sleep(short);
                servers[at].start();
            }
            "cut: only one hears"
        }
        _ => {
            servers[at].link(link);
            servers[other].process().signal(Signal::STOP);
            thread::sleep(short);
            servers[other].process().signal(Signal::CONT);
            "cut, and a pause"
        }
    };
    servers.iter().for_each(|s| s.link(Link::Open));
    *counts.entry(what).or_default() += 1;
}

/// Has clients ask these servers while something is done to them, and then each of those that are left for everything.
/// Returns what was seen.
pub fn watched(addresses: &[SocketAddr], left: &[SocketAddr], during: impl FnOnce()) -> History {
    let (start, stop) = (Instant::now(), AtomicBool::new(false));
    let mut history = thread::scope(|scope| {
        let stop = &stop;
        let clients: Vec<_> =
            (0..CLIENTS).map(|c| scope.spawn(move || one_client(c, addresses, start, stop))).collect();
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(during));
        // Whatever happened, the clients must end, or the test would hang.
        stop.store(true, Ordering::SeqCst);
        let mut all = History::new();
        for client in clients {
            all.merge(client.join().expect("a client panicked"));
        }
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        all
    });
    // Every server must answer now, and agree with all that was seen.
    for (reader, &server) in (100..).zip(left) {
        let mut client = Client::new(server, Duration::from_secs(10));
        for key in (0..KEYS).map(|k| format!("chaos-{k}")) {
            let now = || u64::try_from(start.elapsed().as_nanos()).expect("a short run");
            let id = history.invoke(reader, now(), key.as_bytes(), Op::Get);
            let (outcome, fine) = send(&mut client, &key, &Op::Get);
            assert!(fine, "server {server} does not serve {key} after all is done: {outcome:?}");
            history.complete(id, now(), outcome);
        }
    }
    history
}

#[test]
fn a_run_of_kills_pauses_and_cuts_is_linearizable() {
    let _turn = turn();
    let time = Duration::from_secs(if long() { 60 } else { 20 });
    let seed = std::env::var("COPYCAT_CHAOS_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    let mut rng = Rng::new(seed);
    let mut cluster = Cluster::start();
    let addresses = cluster.addresses();
    let mut counts = BTreeMap::new();
    let start = Instant::now();
    let history = watched(&addresses, &addresses, || {
        while start.elapsed() < time {
            fault(&mut cluster, &mut rng, &mut counts);
            thread::sleep(Duration::from_millis(rng.range(100, 1200)));
        }
        wait_for("all servers to be ready", || cluster.servers.iter_mut().all(Server::is_ready).then_some(()));
        thread::sleep(Duration::from_millis(500));
    });
    let stats = history.check().unwrap_or_else(|violation| panic!("NOT LINEARIZABLE (seed {seed}): {violation}"));
    println!("{counts:?}, {stats:?}");
    assert!(stats.answered >= 500, "hardly anything was done: {stats:?}");
    for kind in ["kill", "pause", "cut"] {
        assert!(counts.keys().any(|k| k.starts_with(kind)), "no {kind} was injected: {counts:?}");
    }
}
