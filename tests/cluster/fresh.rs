//! No answer from the past: by a leader that gave its vote up and was overtaken, and by servers that were all killed.

use crate::harness::{Cluster, PATIENCE, Server, get, json, long, peek, turn, wait_for};
use copycat_testkit::Rng;
use copycat_testkit::http::{Answer, Client, Lost};
use copycat_testkit::proxy::Link;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The places of the leader that gives its vote up, and of the one that is left.
const OLD: usize = 0;
const NEW: usize = 1;

/// How late the replies come in the end: longer than an election takes, so that the old leader still hears replies of before
/// while the new one is elected. Each is little enough more than the one before that no gap is an election timeout long.
const DELAYS: [u64; 7] = [200, 400, 600, 800, 1000, 1200, 1400];

fn role(server: SocketAddr) -> Option<String> {
    Some(peek(server, "/v1/server")?["role"].as_str()?.to_string())
}

fn last_index(server: SocketAddr) -> Option<u64> {
    peek(server, "/v1/server")?["log"]["last_index"].as_u64()
}

/// The same question again and again, until it is answered so.
fn insist(server: SocketAddr, method: &str, path: &str, body: &str) {
    wait_for(&format!("{method} {path} to be done"), || {
        let answer = Client::new(server, PATIENCE).request(method, path, &[], body.as_bytes()).ok()?;
        matches!(answer.status, 200 | 201).then_some(())
    });
}

/// Both vote, and the first leads.
fn prepare(cluster: &Cluster) {
    let addresses = cluster.addresses();
    wait_for("two voters, the first of which leads", || {
        let leader = cluster.some_leader()?;
        let known = peek(addresses[leader], "/v1/cluster")?;
        let members = known["members"].as_array()?;
        let send = |path: &str, body: String| {
            drop(Client::new(addresses[leader], PATIENCE).request("POST", path, &[], body.as_bytes()));
        };
        if members[OLD]["type"] != "active" {
            let body = format!("{{\"type\":\"active\",\"configuration\":{}}}", known["configuration_index"]);
            send("/v1/cluster/members/1", body);
            return None;
        }
        if leader != OLD {
            send("/v1/cluster/leader", "{\"member\":1}".into());
            return None;
        }
        let fine = members.iter().all(|m| m["type"] == "active" && m["status"] == "available");
        (fine && role(addresses[OLD])? == "leader").then_some(())
    });
}

/// What is done within this time, if it is.
fn soon<T>(mut done: impl FnMut() -> Option<T>) -> Option<T> {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(5) {
        if let Some(found) = done() {
            return Some(found);
        }
        thread::sleep(Duration::from_millis(5));
    }
    None
}

/// Reads at the old leader until it has long stepped down. Returns how many reads were answered with a value.
fn read_at(server: SocketAddr, consistency: &str, fresh: &str) -> usize {
    let mut answered = 0;
    for _ in 0..6 {
        let path = format!("/v1/kv/k?timeout=400ms&consistency={consistency}");
        let answer = Client::new(server, PATIENCE).request("GET", &path, &[], b"").unwrap();
        let (status, text) = (answer.status, answer.text());
        let served = answer.header("copycat-consistency");
        assert!([200, 503, 504].contains(&status), "{consistency}: {status} {text}");
        assert!(status != 200 || text == fresh, "{consistency}: a read from the past: {text}, not {fresh}; {served:?}");
        answered += usize::from(status == 200);
    }
    answered
}

/// The leader of two gives its vote up. Whatever it is told comes late, and all of it is from before; the other one is the
/// only voter by then, is elected, and acknowledges a write. Returns whether the old leader was in office still when that
/// had happened.
fn overtaken(cluster: &Cluster, round: u64) -> bool {
    prepare(cluster);
    let (old, new) = (cluster.servers[OLD].http, cluster.servers[NEW].http);
    let (stale, fresh) = (format!("old-{round}"), format!("new-{round}"));
    insist(old, "PUT", "/v1/kv/k", &stale);
    cluster.wait_until_caught_up();
    for delay in DELAYS {
        cluster.servers[OLD].link(Link::Slow(Duration::from_millis(delay)));
        thread::sleep(Duration::from_millis(300));
    }
    let configuration = json(&get(old, "/v1/cluster"))["configuration_index"].clone();
    let before = wait_for("its last index", || last_index(new));
    let demotion = format!("{{\"type\":\"passive\",\"configuration\":{configuration}}}");
    // Whatever the other one says of the demotion is lost.
    cluster.servers[OLD].link(Link::Fading);
    thread::scope(|scope| {
        scope.spawn(|| {
            let path = "/v1/cluster/members/1?timeout=5s";
            drop(Client::new(old, PATIENCE).request("POST", path, &[], demotion.as_bytes()));
        });
        soon(|| last_index(new).filter(|&last| last > before));
        cluster.servers[NEW].link(Link::Cut);
        let elected = soon(|| (role(new)? == "leader").then_some(())).is_some();
        let put = |text: &str| Client::new(new, PATIENCE).request("PUT", "/v1/kv/k?timeout=3s", &[], text.as_bytes());
        let acknowledged = elected && put(&fresh).is_ok_and(|answer| answer.status == 200);
        let reached = acknowledged && role(old).is_some_and(|role| role == "leader");
        if acknowledged {
            let reads = ["linearizable", "lease"].map(|c| {
                scope.spawn({
                    let fresh = &fresh;
                    move || read_at(old, c, fresh)
                })
            });
            let answered = reads.map(|read| read.join().unwrap());
            println!("round {round}: in office {reached}, reads answered {answered:?}");
        } else {
            println!("round {round}: elected {elected}, and no write");
        }
        cluster.servers.iter().for_each(|server| server.link(Link::Open));
        if acknowledged {
            let found = wait_for("it to be read again", || {
                let answer = Client::new(old, PATIENCE).request("GET", "/v1/kv/k", &[], b"").ok()?;
                (answer.status == 200).then(|| answer.text())
            });
            assert_eq!(found, fresh);
        }
        reached
    })
}

#[test]
fn a_leader_that_gave_its_vote_up_reads_nothing_from_the_past() {
    let _turn = turn();
    let cluster = Cluster::start_some(2, &[], |_, _, _| {});
    let rounds = if long() { 20 } else { 3 };
    let reached = (1..=rounds).filter(|&round| overtaken(&cluster, round)).count();
    println!("in {reached} of {rounds} rounds two led when the reads began");
    assert!(reached > 0, "nothing was shown");
}

/// The latest that was seen at one server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    index: u64,
    /// Of the register.
    version: u64,
}

fn seen(answer: &Answer) -> Option<Seen> {
    let number = |name: &str| answer.header(name)?.trim_matches('"').parse().ok();
    match answer.status {
        200 => Some(Seen { index: number("copycat-index")?, version: number("etag")? }),
        404 => Some(Seen { index: number("copycat-index").unwrap_or_default(), version: 0 }),
        _ => None,
    }
}

/// Reads one server's state all the time, and counts the answers. None is older than one before.
fn read_all_the_time(server: SocketAddr, stop: &AtomicBool, answers: &AtomicU64) {
    let mut latest = Seen::default();
    let mut client = Client::new(server, Duration::from_secs(3));
    while !stop.load(Ordering::SeqCst) {
        match client.request("GET", "/v1/kv/register?consistency=sequential&timeout=1s", &[], b"") {
            Ok(answer) => {
                let Some(now) = seen(&answer) else {
                    assert!([503, 504].contains(&answer.status), "{} {}", answer.status, answer.text());
                    continue;
                };
                let by = answer.header("copycat-served-by");
                assert!(
                    now.index >= latest.index && now.version >= latest.version,
                    "{server}: {now:?} by {by:?} after {latest:?}"
                );
                latest = now;
                answers.fetch_add(1, Ordering::SeqCst);
                thread::sleep(Duration::from_millis(1));
            }
            Err(Lost::NeverSent(_) | Lost::Unanswered(_)) => {
                thread::sleep(Duration::from_millis(2));
                client = Client::new(server, Duration::from_secs(3));
            }
        }
    }
}

fn write_all_the_time(servers: &[SocketAddr], stop: &AtomicBool, written: &AtomicU64) {
    let mut client = Client::new(servers[0], Duration::from_secs(3));
    for n in 0_usize.. {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let answer = client.request("PUT", "/v1/kv/register?timeout=1s", &[], n.to_string().as_bytes());
        if answer.is_ok_and(|answer| matches!(answer.status, 200 | 201)) {
            written.fetch_add(1, Ordering::SeqCst);
        } else {
            thread::sleep(Duration::from_millis(10));
            client = Client::new(servers[n % servers.len()], Duration::from_secs(3));
        }
    }
}

/// Kills all servers and starts them again, each time some while after snapshots of different ages were taken.
fn restart_all(cluster: &mut Cluster, rounds: u64, written: &AtomicU64, answers: &[AtomicU64]) {
    let mut rng = Rng::new(9);
    let addresses = cluster.addresses();
    let more = |of: &AtomicU64, n: u64| {
        let before = of.load(Ordering::SeqCst);
        wait_for("answers", || (of.load(Ordering::SeqCst) >= before + n).then_some(()));
    };
    for round in 1..=rounds {
        for &server in &addresses {
            more(written, 10 + rng.below(30));
            drop(Client::new(server, PATIENCE).request("POST", "/v1/snapshots", &[], b""));
        }
        more(written, 50);
        answers.iter().for_each(|of| more(of, 20));
        cluster.servers.iter_mut().for_each(Server::kill);
        let mut order: Vec<usize> = (0..addresses.len()).collect();
        order.rotate_left(usize::try_from(rng.below(3)).unwrap());
        for at in order {
            cluster.servers[at].start();
            thread::sleep(Duration::from_millis(rng.below(100)));
        }
        // Of a server that is up again.
        answers.iter().for_each(|of| more(of, 20));
        println!("round {round}: {written:?} written, answers {answers:?}");
    }
    cluster.wait_until_ready();
}

#[test]
fn no_server_goes_back_behind_what_it_showed_when_all_are_killed() {
    let _turn = turn();
    let mut cluster = Cluster::start();
    let addresses = cluster.addresses();
    let rounds = if long() { 20 } else { 4 };
    let (stop, written) = (AtomicBool::new(false), AtomicU64::new(0));
    let answers = [const { AtomicU64::new(0) }; 3];
    thread::scope(|scope| {
        let readers: Vec<_> = addresses
            .iter()
            .zip(&answers)
            .map(|(&server, answers)| {
                let stop = &stop;
                scope.spawn(move || read_all_the_time(server, stop, answers))
            })
            .collect();
        scope.spawn(|| write_all_the_time(&addresses, &stop, &written));
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            restart_all(&mut cluster, rounds, &written, &answers);
        }));
        // Whatever happened, the clients must end, or the test would hang.
        stop.store(true, Ordering::SeqCst);
        readers.into_iter().for_each(|reader| reader.join().expect("a read from the past"));
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}
