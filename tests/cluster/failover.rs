//! Killed servers.

use crate::harness::{Cluster, ELECTION_TIMEOUT, Server, get, long, turn, wait_for};
use crate::load::{Load, assert_kept};
use copycat_testkit::Rng;
use std::thread;
use std::time::{Duration, Instant};

/// Kill -9 the leader under load, again and again: writes go on, and nothing acknowledged is lost.
#[test]
fn writes_go_on_when_the_leader_is_killed() {
    let _turn = turn();
    let kills = if long() { 20 } else { 4 };
    let mut rng = Rng::new(1);
    let mut cluster = Cluster::start();
    let load = Load::start("failover", 6, &cluster.addresses());
    let mut outages: Vec<Duration> = Vec::new();
    for kill in 0..kills {
        wait_for("writes before the kill", || load.first_since(Instant::now() - Duration::from_millis(100)));
        thread::sleep(Duration::from_millis(rng.range(300, 700)));
        let leader = cluster.leader();
        let before = load.count();
        assert!(before > 0, "no load");
        let moment = Instant::now();
        cluster.servers[leader].kill();
        let dead = Instant::now();
        let next = wait_for("the next acknowledged write", || load.first_since(dead));
        outages.push(next - moment);
        println!("kill {kill}: server {} led; writes go on after {:?}", leader + 1, next - moment);
        cluster.servers[leader].start();
        cluster.wait_until_ready();
    }
    let acknowledged = load.finish();
    cluster.wait_until_caught_up();
    outages.sort();
    let (median, most) = (outages[outages.len() / 2], outages[outages.len() - 1]);
    println!("{kills} kills, {} writes: outage median {median:?}, at most {most:?}", acknowledged.len());
    for server in &cluster.servers {
        assert_kept(server.http, "failover/", &acknowledged);
    }
    if long() {
        assert!(median < ELECTION_TIMEOUT * 3 / 2, "median {median:?}");
        assert!(most < ELECTION_TIMEOUT * 5, "at most {most:?}");
    }
}

/// Kill -9 all three at once under load, and start them again: nothing acknowledged is lost.
#[test]
fn nothing_is_lost_when_all_are_killed_at_once() {
    let _turn = turn();
    let rounds = if long() { 10 } else { 3 };
    let mut rng = Rng::new(2);
    let mut cluster = Cluster::start();
    let mut acknowledged = Vec::new();
    for round in 0..rounds {
        let load = Load::start(&format!("all/{round}"), 6, &cluster.addresses());
        wait_for("some writes", || (load.count() >= 50).then_some(()));
        thread::sleep(Duration::from_millis(rng.below(300)));
        // All are stopped first, so that they die at one moment.
        for server in &cluster.servers {
            server.process().signal(rustix::process::Signal::STOP);
        }
        cluster.servers.iter_mut().for_each(Server::kill);
        acknowledged.extend(load.finish());
        cluster.servers.iter_mut().for_each(Server::start);
        cluster.wait_until_ready();
        for server in &cluster.servers {
            assert_kept(server.http, "all/", &acknowledged);
        }
    }
    println!("{rounds} rounds, {} writes acknowledged, none lost", acknowledged.len());
}

/// A server that was down catches up, and tells of it.
#[test]
fn a_restarted_server_catches_up() {
    let _turn = turn();
    let mut cluster = Cluster::start();
    let leader = cluster.leader();
    let away = (leader + 1) % 3;
    cluster.servers[away].kill();
    let others: Vec<_> = (0..3).filter(|&i| i != away).map(|i| cluster.servers[i].http).collect();
    let load = Load::start("catch-up", 4, &others);
    wait_for("writes", || (load.count() >= 300).then_some(()));
    let acknowledged = load.finish();
    cluster.servers[away].start();
    cluster.wait_until_ready();
    cluster.wait_until_caught_up();
    // Its own state, not the leader's: a sequential read is answered from what this server has applied.
    let last = acknowledged.iter().max_by_key(|a| a.version).expect("writes");
    let path = format!("/v1/kv/{}?consistency=sequential&index={}", last.key, last.version);
    let answer = get(cluster.servers[away].http, &path);
    assert_eq!((answer.status, answer.text()), (200, last.value.clone()));
    assert_kept(cluster.servers[away].http, "catch-up/", &acknowledged);
    assert_eq!(cluster.leader(), leader, "a server that comes back must not unseat the leader");
}
