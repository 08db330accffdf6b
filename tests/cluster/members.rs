//! A cluster that changes shape: servers join, are promoted, demoted, removed and replaced, from the command line, while it
//! serves.

use crate::chaos::watched;
use crate::harness::{
    Directory, Process, Said, ask, copycat, free_ports, get, json, local, long, peek, turn, wait_for,
};
use crate::load::{Load, assert_kept};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// Servers by number. Their ports follow from it.
pub struct Shape {
    directory: Directory,
    data_in: Option<PathBuf>,
    first: u16,
    running: BTreeMap<u64, Process>,
    /// Directories used so far: a wiped disk is a new one.
    wiped: BTreeMap<u64, u32>,
    extra: Vec<String>,
}

impl Shape {
    /// `voters` servers that begin together; `extra` arguments for each, also for those that join.
    pub fn start(voters: u64, extra: &[&str]) -> Self {
        Self::start_at(None, voters, extra)
    }

    /// The same, with the data in this directory.
    pub fn start_in(data: &Path, voters: u64, extra: &[&str]) -> Self {
        Self::start_at(Some(data.to_owned()), voters, extra)
    }

    fn start_at(data_in: Option<PathBuf>, voters: u64, extra: &[&str]) -> Self {
        let extra = extra.iter().map(ToString::to_string).collect();
        let (directory, first) = (Directory::new(), free_ports(40));
        let mut shape = Self { directory, data_in, first, running: BTreeMap::new(), wiped: BTreeMap::new(), extra };
        let list = shape.bootstrap(voters);
        for id in 1..=voters {
            shape.run(id, &["--bootstrap", &list]);
        }
        for id in 1..=voters {
            shape.wait_until_ready(id);
        }
        shape
    }

    pub fn http(&self, id: u64) -> SocketAddr {
        local(self.first + u16::try_from(id).unwrap())
    }

    pub fn peer(&self, id: u64) -> SocketAddr {
        local(self.first + 20 + u16::try_from(id).unwrap())
    }

    pub fn data(&self, id: u64) -> String {
        let name = format!("server-{id}-{}", self.wiped.get(&id).unwrap_or(&0));
        self.data_in.as_ref().map_or_else(|| self.directory.join(&name), |d| d.join(&name)).display().to_string()
    }

    pub fn bootstrap(&self, voters: u64) -> String {
        (1..=voters).map(|id| format!("{id}={}", self.peer(id))).collect::<Vec<_>>().join(",")
    }

    /// Whether a server has ended by itself, well or not, and what it said.
    pub fn has_ended(&mut self, id: u64) -> Option<(bool, String)> {
        let process = self.running.get_mut(&id).expect("it was started");
        let status = process.has_ended()?;
        let process = self.running.remove(&id)?;
        Some((status.success(), process.output()))
    }

    pub fn run(&mut self, id: u64, how: &[&str]) {
        let (number, data) = (id.to_string(), self.data(id));
        let (http, peer) = (self.http(id).to_string(), self.peer(id).to_string());
        let fixed = ["server", "--id", &number, "--data", &data, "--http", &http, "--peer", &peer];
        let mut arguments: Vec<String> = fixed.iter().chain(how).map(ToString::to_string).collect();
        arguments.extend(self.extra.iter().cloned());
        let log = self.directory.join(&format!("server-{id}.log"));
        self.running.insert(id, Process::start(log, &arguments));
    }

    /// Starts a server that joins through these, with the directory it has.
    pub fn join(&mut self, id: u64, through: &[u64], member_type: &str) {
        let through: Vec<String> = through.iter().map(|&id| self.peer(id).to_string()).collect();
        self.run(id, &["--join", &through.join(","), "--type", member_type]);
    }

    /// From now on the server has an empty directory.
    fn wipe(&mut self, id: u64) {
        *self.wiped.entry(id).or_default() += 1;
    }

    pub fn wait_until_ready(&mut self, id: u64) {
        let http = self.http(id);
        wait_for("a server to be ready", || {
            let process = self.running.get_mut(&id).expect("it runs");
            if let Some(status) = process.has_ended() {
                panic!("server {id} ended, {status}: {}", process.output());
            }
            peek_ready(http).then_some(())
        });
    }

    pub fn signal(&self, id: u64, signal: Signal) {
        self.running[&id].signal(signal);
    }

    pub fn kill(&mut self, id: u64) {
        self.running.remove(&id).expect("it runs").kill();
    }

    pub fn stop(&mut self, id: u64) {
        let status = self.running.remove(&id).expect("it runs").stop(Signal::TERM);
        assert!(status.success(), "{status}");
    }

    /// Waits until a server that was removed has ended by itself, and returns what it said.
    pub fn ended(&mut self, id: u64) -> (bool, String) {
        let mut process = self.running.remove(&id).expect("it runs");
        let status = wait_for("a removed server to end", || process.has_ended());
        (status.success(), process.output())
    }

    fn cluster(&self, at: u64) -> Value {
        json(&get(self.http(at), "/v1/cluster"))
    }

    /// What a server says that a member is, as `type status`.
    fn member(&self, at: u64, id: u64) -> Option<String> {
        let cluster = peek(self.http(at), "/v1/cluster")?;
        let member = cluster["members"].as_array()?.iter().find(|m| m["id"] == id)?.clone();
        Some(format!("{} {}", member["type"].as_str()?, member["status"].as_str()?))
    }

    pub fn wait_for_member(&self, at: u64, id: u64, state: Option<&str>) {
        wait_for(&format!("server {at} to say that {id} is {state:?}"), || {
            (self.member(at, id).as_deref() == state).then_some(())
        });
    }

    pub fn leader(&self) -> u64 {
        wait_for("a leader", || {
            self.running.keys().find_map(|&id| {
                let server = peek(self.http(id), "/v1/server")?;
                (server["role"] == "leader").then_some(id)
            })
        })
    }

    /// `copycat cluster …`, at this server.
    pub fn cli(&self, at: u64, words: &[&str]) -> Said {
        let endpoint = format!("http://{}", self.http(at));
        let mut arguments = vec!["cluster"];
        arguments.extend(words);
        arguments.extend(["--endpoint", &endpoint]);
        copycat(&arguments)
    }

    pub fn change(&self, at: u64, words: &[&str]) -> String {
        let said = self.cli(at, words);
        assert!(said.status.success(), "{words:?}: {} {}", said.out, said.err);
        said.out
    }

    /// Waits until this server has applied all that the leader had committed.
    pub fn wait_until_caught_up(&self, id: u64) {
        let target = json(&get(self.http(self.leader()), "/v1/server"))["commit_index"].as_u64().unwrap();
        wait_for("a server to catch up", || {
            peek(self.http(id), "/v1/server")?["applied_index"].as_u64().filter(|&applied| applied >= target)
        });
    }
}

fn peek_ready(server: SocketAddr) -> bool {
    copycat_testkit::http::Client::new(server, Duration::from_millis(500))
        .request("GET", "/readyz", &[], b"")
        .is_ok_and(|answer| answer.status == 200)
}

pub fn put(server: SocketAddr, key: &str, value: &str) -> u64 {
    let answer = ask(server, "PUT", &format!("/v1/kv/{key}"), &[], value.as_bytes());
    assert!(matches!(answer.status, 200 | 201), "{} {}", answer.status, answer.text());
    json(&answer)["index"].as_u64().unwrap()
}

#[test]
fn it_grows_from_one_to_five_and_shrinks_to_one_while_it_serves() {
    let _turn = turn();
    let mut shape = Shape::start(1, &[]);
    let addresses: Vec<SocketAddr> = (1..=5).map(|id| shape.http(id)).collect();
    let left = addresses[3..4].to_vec();
    let history = watched(&addresses, &left, || {
        for id in 2..=5 {
            shape.join(id, &[1, id - 1], "active");
            shape.wait_until_ready(id);
            for at in 1..=id {
                shape.wait_for_member(at, id, Some("active available"));
            }
        }
        // The first goes first, whoever leads; in the end the fourth is alone.
        for (at, id) in [(2, 1), (3, 2), (4, 5)] {
            let said = shape.change(at, &["remove", &id.to_string()]);
            assert!(said.contains("before: ") && said.contains("after: "), "{said}");
            let (fine, output) = shape.ended(id);
            assert!(fine && output.contains("was removed from the cluster"), "{output}");
            shape.wait_for_member(at, id, None);
        }
        let said = shape.change(3, &["leave"]);
        assert!(said.contains("2 of 2 voters available, can lose 0"), "{said}");
        assert!(shape.ended(3).0);
        thread::sleep(Duration::from_millis(500));
    });
    let stats = history.check().unwrap_or_else(|violation| panic!("NOT LINEARIZABLE: {violation}"));
    println!("{stats:?}");
    assert!(stats.answered >= 300, "hardly anything was done: {stats:?}");
    let said = shape.cli(4, &["leave"]);
    assert!(!said.status.success() && said.err.contains("last voter"), "{}", said.err);
}

#[test]
fn a_dead_server_is_replaced_at_its_address_by_an_empty_directory() {
    let _turn = turn();
    let mut shape = Shape::start(3, &[]);
    for n in 0..1000 {
        put(shape.http(1 + n % 3), &format!("k/{n}"), "v");
    }
    shape.kill(3);
    shape.wait_for_member(1, 3, Some("active unavailable"));
    // Its disk is gone. Under the old number it is another server: it neither votes nor counts.
    shape.wipe(3);
    let list = shape.bootstrap(3);
    shape.run(3, &["--bootstrap", &list]);
    let (fine, output) = shape.ended(3);
    assert!(!fine && output.contains("another data directory"), "{output}");
    shape.wipe(3);
    shape.join(3, &[1, 2], "active");
    let (fine, output) = shape.ended(3);
    assert!(!fine && output.contains("remove it first"), "{output}");
    // Removed, and joined again.
    shape.change(1, &["remove", "3"]);
    shape.join(3, &[1, 2], "active");
    shape.wait_until_ready(3);
    shape.wait_for_member(1, 3, Some("active available"));
    shape.wait_until_caught_up(3);
    let found = get(shape.http(3), "/v1/kv/k/999?consistency=sequential");
    assert_eq!(found.text(), "v");
    // Now it counts: another one may go.
    shape.kill(2);
    put(shape.http(3), "after", "v");
    // Its type, its address and its status survive a restart of all.
    for id in [1, 3] {
        shape.kill(id);
    }
    for id in [1, 2, 3] {
        shape.run(id, &["--bootstrap", &list]);
    }
    shape.wait_for_member(1, 3, Some("active available"));
    assert_eq!(get(shape.http(1), "/v1/kv/after").text(), "v");
}

#[test]
fn passive_members_answer_and_reserve_members_forward() {
    let _turn = turn();
    let mut shape = Shape::start(3, &[]);
    for n in 0..1000 {
        put(shape.http(1), &format!("k/{n}"), "v");
    }
    shape.join(4, &[2], "passive");
    shape.join(5, &[3], "reserve");
    shape.wait_until_ready(4);
    shape.wait_until_ready(5);
    shape.wait_until_caught_up(4);
    let role = |id| json(&get(shape.http(id), "/v1/server"))["role"].as_str().unwrap().to_string();
    assert_eq!([role(4), role(5)], ["passive", "reserve"]);
    assert_eq!(json(&get(shape.http(5), "/v1/server"))["log"]["last_index"], 0);
    for id in [4, 5] {
        let http = shape.http(id);
        let index = put(http, &format!("through-{id}"), "v");
        let found = get(http, &format!("/v1/kv/through-{id}?consistency=sequential&index={index}"));
        let by = if id == 4 {
            found.header("copycat-served-by") == Some("4")
        } else {
            found.header("copycat-served-by") != Some("5")
        };
        assert!(found.text() == "v" && by, "{id}: {:?}", found.header("copycat-served-by"));
        assert_eq!(get(http, "/v1/kv/k/7").text(), "v", "linearizable");
        // A session that lives at this server: watch, event, lock.
        let session = json(&ask(http, "POST", "/v1/sessions", &[], b"{\"timeout\":\"20s\"}"))["session"].clone();
        let watch = format!("/v1/sessions/{session}/watches");
        assert_eq!(ask(http, "POST", &watch, &[], b"{\"prefix\":\"w/\"}").status, 201);
        let (other, key) = (shape.http(1), format!("w/{id}"));
        let writer = thread::spawn(move || {
            thread::sleep(Duration::from_millis(300));
            put(other, &key, "v")
        });
        let page = json(&get(http, &format!("/v1/sessions/{session}/events?wait=8s")));
        let index = writer.join().unwrap();
        assert_eq!(page["batches"][0]["index"], index, "{page}");
        assert_eq!(ask(http, "PUT", &format!("/v1/locks/l{id}?session={session}"), &[], b"").status, 200);
        // A wait for a key.
        let key = format!("awaited-{id}");
        let path = format!("/v1/kv/{key}?wait=8s");
        let writer = thread::spawn(move || {
            thread::sleep(Duration::from_millis(300));
            put(other, &key, "here")
        });
        assert_eq!(get(http, &path).text(), "here");
        writer.join().unwrap();
    }
    let none = ask(shape.http(5), "POST", "/v1/snapshots", &[], b"");
    assert_eq!((none.status, &json(&none)["code"]), (503, &"not_ready".into()), "it keeps no state");
    // What feeds the passive member dies: it is fed by another.
    let leader = shape.leader();
    let others: Vec<u64> = (1..=3).filter(|&id| id != leader).collect();
    shape.kill(others[0]);
    let index = put(shape.http(leader), "later", "v");
    let found = get(shape.http(4), &format!("/v1/kv/later?consistency=sequential&index={index}"));
    assert_eq!((found.text().as_str(), found.header("copycat-served-by")), ("v", Some("4")));
    // From reserve to active and from active to reserve.
    let said = shape.change(5, &["promote", "5"]);
    assert!(said.contains("server 5 is active"), "{said}");
    shape.wait_for_member(4, 5, Some("active available"));
    let said = shape.change(4, &["demote", &others[1].to_string(), "--to", "reserve"]);
    assert!(said.contains("is reserve"), "{said}");
    wait_for("its state to be gone", || {
        (peek(shape.http(others[1]), "/v1/server")?["log"]["last_index"] == 0).then_some(())
    });
    put(shape.http(others[1]), "last", "v");
}

#[test]
fn changes_are_decided_on_a_configuration_and_keep_the_quorum() {
    let _turn = turn();
    let mut shape = Shape::start(3, &[]);
    let at = shape.http(1);
    let configuration = shape.cluster(1)["configuration_index"].clone();
    let turn_to = |id: u64, to: &str, configuration: &Value| {
        let body = format!("{{\"type\":\"{to}\",\"configuration\":{configuration}}}");
        ask(at, "POST", &format!("/v1/cluster/members/{id}"), &[], body.as_bytes())
    };
    let done = turn_to(2, "passive", &configuration);
    assert_eq!(done.status, 200, "{}", done.text());
    assert_eq!(json(&done)["members"][1]["type"], "passive");
    // Status changes do not move the index that decisions are made on; this one does.
    let stale = turn_to(2, "active", &configuration);
    let problem = json(&stale);
    assert_eq!((stale.status, problem["code"].as_str()), (409, Some("configuration_conflict")), "{problem}");
    assert_eq!(problem["outcome"], "not_applied");
    let current = problem["configuration"].clone();
    assert_eq!(json(&turn_to(9, "active", &current))["code"], "member_not_found");
    assert_eq!(turn_to(2, "active", &current).status, 200);
    shape.wait_for_member(1, 2, Some("active available"));
    shape.kill(3);
    shape.wait_for_member(1, 3, Some("active unavailable"));
    let current = shape.cluster(1)["configuration_index"].clone();
    let refused = json(&turn_to(2, "reserve", &current));
    assert_eq!(refused["code"], "configuration_conflict");
    assert!(refused["detail"].as_str().unwrap().contains("no majority"), "{refused}");
    let said = shape.cli(1, &["remove", "2"]);
    assert!(!said.status.success() && said.err.contains("no majority"), "{}", said.err);
    for (method, path, body, status) in [
        ("DELETE", "/v1/cluster/members/3", "", 400),
        ("POST", "/v1/cluster/members/x", "{\"type\":\"active\",\"configuration\":1}", 400),
        ("POST", "/v1/cluster/members/3", "{\"type\":\"king\",\"configuration\":1}", 400),
        ("POST", "/v1/cluster/members/3", "{\"type\":\"active\"}", 400),
        ("POST", "/v1/cluster/leader", "{\"member\":3}", 409),
        ("POST", "/v1/cluster/leader", "{\"member\":9}", 409),
    ] {
        let answer = ask(at, method, path, &[], body.as_bytes());
        assert_eq!(answer.status, status, "{method} {path} {body}: {}", answer.text());
    }
    shape.change(1, &["remove", "3"]);
    put(at, "goes-on", "v");
}

#[test]
fn a_removed_server_says_so_whenever_it_learns_it() {
    let _turn = turn();
    let mut shape = Shape::start(3, &[]);
    let list = shape.bootstrap(3);
    // While it is down.
    shape.stop(3);
    shape.change(1, &["remove", "3"]);
    shape.run(3, &["--bootstrap", &list]);
    let (fine, output) = shape.ended(3);
    assert!(!fine && output.contains("was removed from the cluster"), "{output}");
    // The leader itself, which has its own directory say so when it is started again.
    let leader = shape.leader();
    let other = 3 - leader;
    shape.change(leader, &["leave"]);
    let (fine, output) = shape.ended(leader);
    assert!(fine && output.contains("was removed from the cluster"), "{output}");
    put(shape.http(other), "goes-on", "v");
    shape.run(leader, &["--bootstrap", &list]);
    let (fine, output) = shape.ended(leader);
    assert!(!fine && output.contains("--join"), "{output}");
}

#[test]
fn a_leader_is_transferred_and_demotes_itself() {
    let _turn = turn();
    let shape = Shape::start(3, &[]);
    let leader = shape.leader();
    let next = leader % 3 + 1;
    let said = shape.change(next, &["transfer", &next.to_string()]);
    assert!(said.contains(&format!("server {next} leads")), "{said}");
    assert_eq!(shape.leader(), next);
    let said = shape.change(leader, &["demote", &next.to_string()]);
    assert!(said.contains("is passive"), "{said}");
    for at in 1..=3 {
        shape.wait_for_member(at, next, Some("passive available"));
    }
    wait_for("another leader", || (shape.leader() != next).then_some(()));
    put(shape.http(next), "goes-on", "v");
    // Every server has it in its feed, with the reason.
    for at in 1..=3 {
        let events = json(&get(shape.http(at), "/v1/cluster/events"));
        let turned = |e: &&Value| e["type"] == "type" && e["member"] == next && e["member_type"] == "passive";
        let event = events["events"].as_array().unwrap().iter().find(turned).expect("its demotion").clone();
        assert!(event["reason"].as_str().unwrap().contains("by request"), "{event}");
    }
}

#[test]
fn servers_are_restarted_one_by_one_and_no_request_fails_for_good() {
    let _turn = turn();
    let mut shape = Shape::start(3, &[]);
    let list = shape.bootstrap(3);
    let addresses: Vec<SocketAddr> = (1..=3).map(|id| shape.http(id)).collect();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let clients: Vec<_> = (0..4)
        .map(|c| {
            let (addresses, stop) = (addresses.clone(), std::sync::Arc::clone(&stop));
            thread::spawn(move || {
                let mut done = 0;
                while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                    retried(&addresses, c, done);
                    done += 1;
                }
                done
            })
        })
        .collect();
    for round in 0..2 {
        for id in 1..=3 {
            shape.stop(id);
            shape.run(id, &["--bootstrap", &list]);
            shape.wait_until_ready(id);
            println!("round {round}: server {id} restarted");
        }
    }
    stop.store(true, std::sync::atomic::Ordering::SeqCst);
    let done: usize = clients.into_iter().map(|c| c.join().unwrap()).sum();
    assert!(done > 100, "{done}");
}

/// A put with an idempotency key, asked again at any server until it is answered.
fn retried(addresses: &[SocketAddr], client: usize, number: usize) {
    let (path, key) = (format!("/v1/kv/r/{client}/{number}"), format!("{client}-{number}"));
    let headers = [("Idempotency-Key", key.as_str()), ("If-None-Match", "*")];
    let begin = Instant::now();
    for attempt in 0.. {
        let server = addresses[(client + attempt) % addresses.len()];
        let answer =
            copycat_testkit::http::Client::new(server, Duration::from_secs(3)).request("PUT", &path, &headers, b"v");
        match answer {
            Ok(answer) if answer.status == 201 => return,
            Ok(answer) => assert!(answer.status >= 500, "{} {}", answer.status, answer.text()),
            Err(_) => {}
        }
        assert!(begin.elapsed() < Duration::from_secs(10), "{path} was never answered");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_dead_voter_is_replaced_by_itself() {
    let _turn = turn();
    let mut shape = Shape::start(3, &["--auto-replace"]);
    for id in [4, 5] {
        shape.join(id, &[1], "passive");
    }
    // The reserve comes when nothing is wanting: a member whose process takes long to start is missing meanwhile.
    for id in [4, 5, 6] {
        if id == 6 {
            shape.join(6, &[1], "reserve");
        }
        shape.wait_until_ready(id);
        shape.wait_for_member(1, id, Some(if id == 6 { "reserve available" } else { "passive available" }));
    }
    let addresses: Vec<SocketAddr> = (1..=6).map(|id| shape.http(id)).collect();
    let load = Load::start("auto", 2, &addresses);
    thread::sleep(Duration::from_millis(500));
    // Not the leader: it is the one that replaces.
    let leader = shape.leader();
    let dead = leader % 3 + 1;
    shape.kill(dead);
    let killed = Instant::now();
    wait_for("a passive member to take the place", || {
        let at = shape.leader();
        let cluster = peek(shape.http(at), "/v1/cluster")?;
        let count = |state: &str| {
            let members = cluster["members"].as_array().expect("members").iter();
            members.filter(|m| m["type"] == state && m["status"] == "available").count()
        };
        (count("active") == 3 && count("passive") == 2).then_some(())
    });
    println!("replaced after {:?}", killed.elapsed());
    let at = shape.leader();
    shape.wait_for_member(at, dead, Some("reserve unavailable"));
    // Nothing more happens: the dead member is not promoted again.
    let index = shape.cluster(at)["configuration_index"].clone();
    thread::sleep(Duration::from_secs(if long() { 20 } else { 3 }));
    assert_eq!(shape.cluster(at)["configuration_index"], index);
    let acknowledged = load.finish();
    assert!(acknowledged.len() > 100, "hardly anything was written: {}", acknowledged.len());
    let mut ended: Vec<Instant> = acknowledged.iter().map(|a| a.ended).collect();
    ended.sort();
    let outage = ended.windows(2).map(|w| w[1] - w[0]).max().unwrap_or_default();
    println!("puts: {} acknowledged, the longest pause between two {outage:?}", acknowledged.len());
    assert_kept(shape.http(at), "auto/", &acknowledged);
}

/// The leader's processor time for each of some thousands of puts, in microseconds.
fn cost_of_a_put(shape: &Shape) -> f64 {
    let leader = shape.leader();
    let at = shape.http(leader);
    let before = shape.running[&leader].usage().0;
    let (clients, each) = (8, 500);
    let writers: Vec<_> = (0..clients)
        .map(|c| {
            thread::spawn(move || {
                let mut client = copycat_testkit::http::Client::new(at, Duration::from_secs(10));
                for n in 0..each {
                    let answer = client.request("PUT", &format!("/v1/kv/cost/{c}/{n}"), &[], &[b'v'; 256]).unwrap();
                    assert!(matches!(answer.status, 200 | 201), "{}", answer.status);
                }
            })
        })
        .collect();
    writers.into_iter().for_each(|w| w.join().unwrap());
    (shape.running[&leader].usage().0 - before) * 1e6 / f64::from(clients * each)
}

#[test]
fn passive_members_cost_the_leader_little() {
    if !long() {
        return;
    }
    let _turn = turn();
    let mut shape = Shape::start(3, &[]);
    cost_of_a_put(&shape);
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        without.push(cost_of_a_put(&shape));
        for id in [4, 5] {
            shape.wipe(id);
            shape.join(id, &[1], "passive");
            shape.wait_until_ready(id);
            shape.wait_until_caught_up(id);
        }
        with.push(cost_of_a_put(&shape));
        for id in [4, 5] {
            shape.change(1, &["remove", &id.to_string()]);
            assert!(shape.ended(id).0);
        }
    }
    println!("leader, microseconds a put: {without:.1?} without passive members, {with:.1?} with two");
    let median = |of: &mut Vec<f64>| {
        of.sort_by(f64::total_cmp);
        of[2]
    };
    let ratio = median(&mut with) / median(&mut without);
    println!("two passive members: {ratio:.3} of the leader's time for a put");
    assert!(ratio < 1.1, "{ratio}");
}
