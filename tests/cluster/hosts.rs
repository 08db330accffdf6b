//! The same on hosts with addresses of their own: network namespaces joined by a bridge, cut apart by packet filters.
//! Needs root, `ip` and `nft` (`.ci/hosts` installs them); where one is wanting the test says so.

use crate::chaos::watched;
use crate::harness::{Directory, Process, copycat, get, json, peek, turn, wait_for};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;
use std::thread;
use std::time::Duration;

const BRIDGE: &str = "copycat-test0";
const NETWORK: &str = "10.217.94";

fn run(words: &[&str]) -> bool {
    Command::new(words[0]).args(&words[1..]).output().is_ok_and(|output| output.status.success())
}

fn must(words: &[&str]) {
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap_or_else(|e| panic!("{words:?}: {e}"));
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Hosts by number. What was made is taken away when this is dropped.
struct Hosts {
    directory: Directory,
    hosts: u64,
    running: BTreeMap<u64, Process>,
}

fn space(id: u64) -> String {
    format!("copycat-test-{id}")
}

fn address(id: u64) -> String {
    format!("{NETWORK}.{id}")
}

fn http(id: u64) -> SocketAddr {
    format!("{}:8700", address(id)).parse().unwrap()
}

fn clean(hosts: u64) {
    for id in 1..=hosts {
        run(&["ip", "netns", "del", &space(id)]);
    }
    run(&["ip", "link", "del", BRIDGE]);
}

impl Hosts {
    /// `None`: this machine does not let us.
    fn new(hosts: u64) -> Option<Self> {
        clean(hosts);
        if !run(&["nft", "--version"]) || !run(&["ip", "link", "add", BRIDGE, "type", "bridge"]) {
            return None;
        }
        let made = Self { directory: Directory::new(), hosts, running: BTreeMap::new() };
        must(&["ip", "addr", "add", &format!("{NETWORK}.254/24"), "dev", BRIDGE]);
        must(&["ip", "link", "set", BRIDGE, "up"]);
        for id in 1..=hosts {
            let (space, ours, theirs) = (space(id), format!("cctest{id}a"), format!("cctest{id}b"));
            if !run(&["ip", "netns", "add", &space]) {
                return None;
            }
            must(&["ip", "link", "add", &ours, "type", "veth", "peer", "name", &theirs, "netns", &space]);
            must(&["ip", "link", "set", &ours, "master", BRIDGE, "up"]);
            let inside = ["ip", "netns", "exec", &space];
            let within = |words: &[&str]| must(&inside.iter().chain(words).copied().collect::<Vec<_>>());
            within(&["ip", "addr", "add", &format!("{}/24", address(id)), "dev", &theirs]);
            within(&["ip", "link", "set", &theirs, "up"]);
            within(&["ip", "link", "set", "lo", "up"]);
            within(&["nft", "add", "table", "ip", "copycat"]);
            let chain = "{ type filter hook input priority 0 ; }";
            within(&["nft", "add", "chain", "ip", "copycat", "in", chain]);
        }
        Some(made)
    }

    fn start(&mut self, id: u64, how: &[&str]) {
        let data = self.directory.join(&format!("server-{id}")).display().to_string();
        let (number, at, peer) = (id.to_string(), http(id).to_string(), format!("{}:9700", address(id)));
        let fixed = ["server", "--id", &number, "--data", &data, "--http", &at, "--peer", &peer, "--insecure"];
        let arguments: Vec<String> = fixed.iter().chain(how).map(ToString::to_string).collect();
        let space = space(id);
        let wrapper = ["ip", "netns", "exec", &space];
        let log = self.directory.join(&format!("server-{id}.log"));
        self.running.insert(id, Process::start_within(&wrapper, log, &arguments));
    }

    fn wait_until_ready(&self, id: u64) {
        wait_for("a host to be ready", || {
            copycat_testkit::http::Client::new(http(id), Duration::from_millis(500))
                .request("GET", "/readyz", &[], b"")
                .is_ok_and(|answer| answer.status == 200)
                .then_some(())
        });
    }

    /// From now on, nothing that these hosts send reaches this one.
    fn deafen(&self, id: u64, to: &[u64]) {
        let space = space(id);
        for &other in to {
            let from = address(other);
            let rule = ["nft", "add", "rule", "ip", "copycat", "in", "ip", "saddr", &from, "drop"];
            must(&["ip", "netns", "exec", &space].iter().chain(&rule).copied().collect::<Vec<_>>());
        }
    }

    fn heal(&self) {
        for id in 1..=self.hosts {
            must(&["ip", "netns", "exec", &space(id), "nft", "flush", "chain", "ip", "copycat", "in"]);
        }
    }

    fn leader(&self, among: &[u64]) -> u64 {
        wait_for("a leader", || {
            among.iter().copied().find(|&id| peek(http(id), "/v1/server").is_some_and(|s| s["role"] == "leader"))
        })
    }

    fn change(at: u64, words: &[&str]) -> String {
        let endpoint = format!("http://{}", http(at));
        let arguments: Vec<&str> = ["cluster"].iter().chain(words).chain(&["--endpoint", &endpoint]).copied().collect();
        let said = copycat(&arguments);
        assert!(said.status.success(), "{words:?}: {} {}", said.out, said.err);
        said.out
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        self.running.clear();
        clean(self.hosts);
    }
}

#[test]
fn hosts_join_are_cut_off_and_leave() {
    let _turn = turn();
    let Some(mut hosts) = Hosts::new(5) else {
        println!("skipped: network namespaces and packet filters need root, ip and nft");
        return;
    };
    let list = (1..=3).map(|id| format!("{id}={}:9700", address(id))).collect::<Vec<_>>().join(",");
    for id in 1..=3 {
        hosts.start(id, &["--bootstrap", &list]);
    }
    (1..=3).for_each(|id| hosts.wait_until_ready(id));
    let addresses: Vec<SocketAddr> = (1..=5).map(http).collect();
    let left = addresses[..4].to_vec();
    let history = watched(&addresses, &left, || {
        let through = format!("{}:9700,{}:9700", address(1), address(2));
        hosts.start(4, &["--join", &through]);
        hosts.start(5, &["--join", &through, "--type", "passive"]);
        hosts.wait_until_ready(4);
        hosts.wait_until_ready(5);
        // The leader alone on its side: the others go on, and it steps down.
        let leader = hosts.leader(&[1, 2, 3, 4]);
        let others: Vec<u64> = (1..=5).filter(|&id| id != leader).collect();
        hosts.deafen(leader, &others);
        others.iter().for_each(|&id| hosts.deafen(id, &[leader]));
        let next = hosts.leader(&others[..3]);
        assert_ne!(next, leader);
        thread::sleep(Duration::from_secs(1));
        hosts.heal();
        // One way only: a leader that hears nobody, though all hear it.
        hosts.wait_until_ready(leader);
        let deaf = hosts.leader(&[1, 2, 3, 4]);
        let others: Vec<u64> = (1..=5).filter(|&id| id != deaf).collect();
        hosts.deafen(deaf, &others);
        let voters: Vec<u64> = others.iter().copied().filter(|&id| id != 5).collect();
        hosts.leader(&voters);
        hosts.heal();
        (1..=5).for_each(|id| hosts.wait_until_ready(id));
        // The passive one's feeder cannot reach it any more.
        let leader = hosts.leader(&[1, 2, 3, 4]);
        let voters: Vec<u64> = (1..=4).filter(|&id| id != leader).collect();
        hosts.deafen(5, &voters[..1]);
        let target = json(&get(http(leader), "/v1/server"))["commit_index"].as_u64().unwrap() + 20;
        wait_for("the passive member to be fed by another", || {
            peek(http(5), "/v1/server")?["applied_index"].as_u64().filter(|&applied| applied >= target)
        });
        hosts.heal();
        Hosts::change(1, &["remove", "5"]);
        thread::sleep(Duration::from_millis(500));
    });
    let stats = history.check().unwrap_or_else(|violation| panic!("NOT LINEARIZABLE: {violation}"));
    println!("on five hosts: {stats:?}");
    assert!(stats.answered >= 300, "hardly anything was done: {stats:?}");
}
