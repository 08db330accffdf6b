//! Frames that mean harm, one kind after the other, against three servers: all of them live, all serve, all data is there,
//! also after a restart of all. `COPYCAT_FRAMES=x4-places` runs one kind alone.

use crate::handmade::{
    Client, HUGE, Peer, command_request, connect, frame, number, numbers, query_request, receive, text,
};
use crate::harness::{Cluster, PATIENCE, Server, ask, copycat, get, json, turn, wait_for};
use copycat_storage::{Entry, FileDisk, Meta, Options, Seed, Storage};
use copycat_testkit::http;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// Where clients and peers reach a server, without the link in front of it.
pub fn port(server: &Server) -> SocketAddr {
    let at = server.arguments().iter().position(|argument| argument == "--peer").unwrap();
    server.arguments()[at + 1].parse().unwrap()
}

fn ports(cluster: &Cluster) -> Vec<SocketAddr> {
    cluster.servers.iter().map(port).collect()
}

fn cluster_id(cluster: &Cluster) -> u128 {
    Client::new(port(&cluster.servers[0])).cluster
}

/// What is to be there whatever comes: as many keys as cases so far, and one more each time.
struct Kept(u32);

impl Kept {
    fn put(&mut self, at: SocketAddr) {
        let answer = ask(at, "PUT", &format!("/v1/kv/kept-{}", self.0), &[], b"kept");
        assert_eq!(answer.status, 201, "{}", answer.text());
        self.0 += 1;
    }

    fn look(&self, at: SocketAddr) {
        for i in 0..self.0 {
            let answer = get(at, &format!("/v1/kv/kept-{i}"));
            assert_eq!((answer.status, answer.body.as_slice()), (200, b"kept".as_slice()), "key {i}");
        }
    }
}

/// All live, all serve, and everything is there; and again when all were started anew.
fn all_is_well(case: &str, cluster: &mut Cluster, kept: &mut Kept) {
    println!("{case}");
    for again in [false, true] {
        if again {
            for server in &mut cluster.servers {
                let status = server.stop();
                assert!(status.success(), "{case}: server {} ended, {status}", server.id);
            }
            cluster.servers.iter_mut().for_each(Server::start);
        }
        cluster.wait_until_ready();
        for at in cluster.addresses() {
            kept.put(at);
            kept.look(at);
        }
    }
}

/// Sends each server a request by a session of its own, and takes the answer.
fn ask_each(cluster: &Cluster, request: impl Fn(u128) -> Vec<u8>) {
    for at in ports(cluster) {
        let mut client = Client::new(at);
        let session = client.register();
        client.send(&request(session));
        // An answer (0), to request 2, refused (1): malformed (4).
        assert_eq!(client.answer(), [0, 2, 1, 4]);
        // The number was not used.
        client.send(&command_request(session, 1, 0, &[number(1), text(b"absent"), number(0)].concat()));
        let answer = client.answer();
        assert_eq!(answer[..3], [0, 2, 0], "{answer:?}");
    }
}

fn x1_command(cluster: &mut Cluster) {
    ask_each(cluster, |session| command_request(session, 1, 0, &[&[1], HUGE].concat()));
    ask_each(cluster, |session| command_request(session, 1, 8, b"\xff\xff\xff"));
}

fn x1_query(cluster: &mut Cluster) {
    for consistency in 0..3 {
        ask_each(cluster, |session| query_request(session, consistency, &[&[0], HUGE].concat()));
    }
}

fn x2_nested(cluster: &mut Cluster) {
    let delete = [number(1), text(b"k"), number(0)].concat();
    for nest in [numbers(&[5, 0, 0]), numbers(&[4, 1]), vec![3, 2]] {
        let mut operation = nest.repeat(1_000_000);
        if nest[0] == 3 {
            // A transaction whose condition is that it is not so that it is not so that...
            operation = [vec![3], vec![2; 2_000_000], vec![0, 0]].concat();
        }
        operation.extend(&delete);
        ask_each(cluster, |session| command_request(session, 1, 0, &operation));
    }
}

fn memory(server: &Server) -> u64 {
    server.process().usage().1
}

/// Connections that take all places and stay: a member that is started again comes in all the same.
fn x4_places(cluster: &mut Cluster) {
    let id = cluster_id(cluster);
    cluster.servers[1].kill();
    let mut held: Vec<TcpStream> = Vec::new();
    for (to, at) in [(1, 0), (3, 2)].map(|(to, at)| (to, port(&cluster.servers[at]))) {
        held.extend((0..260).map(|from| Peer { from: 1000 + from % 5, ..Peer::to(to) }.greet(at, id)));
        // And some that say nothing at all.
        held.extend((0..260).map(|_| connect(at)));
    }
    cluster.servers[1].start();
    wait_for("a write that the member hands to the leader", || {
        let mut client = http::Client::new(cluster.servers[1].http, PATIENCE);
        let answer = client.request("PUT", "/v1/kv/meanwhile", &[], b"x").ok()?;
        (answer.status / 100 == 2).then_some(())
    });
    drop(held);
}

/// Long frames that are announced, and come but for their last bytes.
fn x5_announced(cluster: &mut Cluster) {
    let before = memory(&cluster.servers[0]);
    let (at, long) = (port(&cluster.servers[0]), 8 << 20);
    let senders: Vec<_> = (0..30)
        .map(|_| {
            thread::spawn(move || {
                let mut client = Client::new(at);
                let bytes = [&u32::to_le_bytes(long), vec![0; long as usize - 64].as_slice()].concat();
                // It is closed, or waits until the test is done with it.
                let _ = client.stream.set_write_timeout(Some(Duration::from_secs(8)));
                let _ = client.stream.write_all(&bytes);
                client
            })
        })
        .collect();
    let mut most = 0;
    while !senders.iter().all(thread::JoinHandle::is_finished) {
        most = most.max(memory(&cluster.servers[0]));
        // Whoever sends short frames is served meanwhile.
        assert_eq!(ask(cluster.servers[0].http, "PUT", "/v1/kv/meanwhile", &[], b"x").status / 100, 2);
        thread::sleep(Duration::from_millis(20));
    }
    println!("memory {before} -> at most {most}");
    assert!(most < before + (144 << 20), "memory {before} -> {most}");
}

/// What a stranger says of itself is neither dialed nor shown.
fn x6_addresses(cluster: &mut Cluster) {
    let id = cluster_id(cluster);
    let (http, peer) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let address = |listener: &TcpListener| listener.local_addr().unwrap().to_string();
    let mut held = Vec::new();
    for (to, at) in (1..).zip(ports(cluster)) {
        let stranger =
            |from, identity| Peer { from, identity, http: address(&http), peer: address(&peer), ..Peer::to(to) };
        held.push(stranger(9, 99).greet(at, id));
        // A member's number, and what anybody can learn of that member.
        let other = to % 3 + 1;
        let mut asked = Peer::to(other).greet(port(&cluster.servers[usize::try_from(other).unwrap() - 1]), id);
        let [accepted, _, identity] = crate::handmade::read_numbers(&receive(&mut asked).unwrap());
        assert_eq!(accepted, 0);
        held.push(stranger(other, identity).greet(at, id));
    }
    thread::sleep(Duration::from_secs(3));
    for (what, listener) in [("HTTP", &http), ("peer", &peer)] {
        listener.set_nonblocking(true).unwrap();
        assert!(listener.accept().is_err(), "the stranger's {what} address was dialed");
    }
    for at in cluster.addresses() {
        for path in ["/v1/cluster", "/v1/server", "/"] {
            let answer = get(at, path);
            let seen = format!("{:?} {}", answer.header("content-security-policy"), answer.text());
            for address in [address(&http), address(&peer)] {
                assert!(!seen.contains(&address), "{path} shows {address}: {seen}");
            }
        }
    }
}

/// One that asks to join does so by what it says of itself: it is a member then, and can be taken out.
fn x6_joins(cluster: &mut Cluster) {
    let id = cluster_id(cluster);
    let joins = Peer { from: 9, identity: 99, purpose: numbers(&[2, 1]), ..Peer::to(1) };
    let mut stream = joins.greet(port(&cluster.servers[0]), id);
    let _ = receive(&mut stream);
    let at = cluster.servers[0].http;
    wait_for("the one that joined to be taken out", || {
        let members = json(&get(at, "/v1/cluster"));
        let there = members["members"].as_array()?.iter().any(|member| member["id"] == 9);
        let remove = ["cluster", "remove", "9", "--endpoint", &format!("http://{at}")];
        let removed = !there || copycat(&remove).status.success();
        removed.then_some(())
    });
}

/// Nobody is waited for without an end: silence ends a connection of a stranger as well as one that never greets.
fn silence_ends(cluster: &mut Cluster) {
    let (id, at) = (cluster_id(cluster), port(&cluster.servers[0]));
    let mut silent = [connect(at), Peer::to(1).greet(at, id)];
    silent[0].write_all(&frame(b"half a greeting")[..7]).unwrap();
    for stream in &mut silent {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut rest = Vec::new();
        // A timeout is the one error that must not be.
        if let Err(e) = stream.read_to_end(&mut rest) {
            assert!(!matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut), "{e}");
        }
    }
}

#[test]
fn no_frame_ends_a_server_or_takes_what_is_anothers() {
    let _turn = turn();
    let mut cluster = Cluster::start();
    let mut kept = Kept(0);
    kept.put(cluster.servers[0].http);
    type Case = (&'static str, fn(&mut Cluster));
    let cases: [Case; 8] = [
        ("x1-command", x1_command),
        ("x1-query", x1_query),
        ("x2-nested", x2_nested),
        ("x4-places", x4_places),
        ("x5-announced", x5_announced),
        ("x6-addresses", x6_addresses),
        ("x6-joins", x6_joins),
        ("silence", silence_ends),
    ];
    let wanted = std::env::var("COPYCAT_FRAMES").ok();
    for (name, case) in cases.into_iter().filter(|(name, _)| wanted.as_deref().is_none_or(|wanted| wanted == *name)) {
        case(&mut cluster);
        all_is_well(name, &mut cluster, &mut kept);
    }
}

/// Logs that a version wrote which did not look, or that were forged: they are opened, served and checked.
#[test]
fn a_log_with_entries_that_nobody_can_read_is_served() {
    let _turn = turn();
    let deep = number(5).into_iter().chain([0, 0]).collect::<Vec<u8>>().repeat(500_000);
    let keyed = [text(b"a key"), text(&deep)].concat();
    let poison: [(u8, Vec<u8>); 6] = [
        (3, [&[1], HUGE].concat()),
        (3, deep),
        (8, keyed),
        (5, HUGE.to_vec()),
        (6, HUGE.to_vec()),
        (7, b"\xff\xff".to_vec()),
    ];
    let mut cluster = Cluster::start_on(|id, data, _| {
        let seed = Seed { identity: id * 1000 + 7, salt: 7, now_ms: 1000 };
        let mut storage = Storage::open(FileDisk::open(data).unwrap(), Options::default(), seed).unwrap();
        storage.set_meta(Meta { server: id, term: 1, ..storage.meta().clone() });
        let first = (1, Vec::new());
        for (index, (kind, data)) in (1..).zip(std::iter::once(&first).chain(&poison)) {
            let (term, time, session, sequence, mode, data) = (1, 1000, 0, 0, 8, data.clone());
            storage.append(&Entry { index, term, time, session, sequence, kind: *kind, mode, data }).unwrap();
        }
        let job = storage.flush().unwrap();
        storage.persisted(job.run().unwrap());
    });
    let mut kept = Kept(0);
    kept.put(cluster.servers[0].http);
    all_is_well("poison", &mut cluster, &mut kept);
    cluster.servers[0].stop();
    let said = copycat(&["check", &cluster.servers[0].data.display().to_string()]);
    assert!(said.status.success(), "{} {}", said.out, said.err);
    for index in 2..=7 {
        assert!(said.out.contains(&format!("warning: entry {index} cannot be read")), "{}", said.out);
    }
    assert!(!said.out.contains("entry 8 ") && said.out.contains("nested more than"), "{}", said.out);
}

fn entry(index: u128, term: u128, time: u128, kind: u8, mode: u8, data: &[u8]) -> Vec<u8> {
    [numbers(&[index, term, time, 0, 0]), vec![kind, mode], text(data)].concat()
}

/// A leader's message: these entries follow that one.
pub fn append(term: u128, previous: (u128, u128), entries: &[Vec<u8>], commit: u128) -> Vec<u8> {
    let head = numbers(&[0, 4, term, previous.0, previous.1, entries.len() as u128]);
    [head, entries.concat(), numbers(&[commit, 1, 0, 0, 0, 0])].concat()
}

/// The leader's position, and the term.
fn office(cluster: &Cluster) -> (usize, u128) {
    let leader = cluster.leader();
    let term = json(&get(cluster.servers[leader].http, "/v1/cluster"))["term"].as_u64().unwrap();
    (leader, u128::from(term))
}

/// Says it as one that is no member, and as each of the others, each with the identity that anybody can learn.
fn say_to(cluster: &Cluster, id: u128, to: usize, message: &[u8]) -> Vec<TcpStream> {
    let number = |at: usize| at as u128 + 1;
    let mut held = Vec::new();
    let mut say = |from, identity| {
        let mut stream = Peer { from, identity, ..Peer::to(number(to)) }.greet(port(&cluster.servers[to]), id);
        receive(&mut stream).unwrap();
        stream.write_all(&frame(message)).unwrap();
        held.push(stream);
    };
    say(77, 12_345);
    say(77, 12_345);
    for other in (0..3).filter(|&other| other != to) {
        // A member's number with another directory's identity.
        say(number(other), 12_345);
    }
    held
}

fn x3_same_term(cluster: &mut Cluster) {
    let ((leader, term), id) = (office(cluster), cluster_id(cluster));
    let held = say_to(cluster, id, leader, &append(term, (0, 0), &[], 0));
    thread::sleep(Duration::from_secs(2));
    drop(held);
}

fn x3_huge_term(cluster: &mut Cluster) {
    let id = cluster_id(cluster);
    for term in [u64::MAX, u64::MAX - 1, 1 << 62] {
        let message = append(term.into(), (0, 0), &[], 0);
        let held: Vec<_> = (0..3).map(|to| say_to(cluster, id, to, &message)).collect();
        thread::sleep(Duration::from_secs(1));
        drop(held);
    }
    let (_, term) = office(cluster);
    assert!(term < 1 << 32, "term {term}");
}

fn x3_forged_entry(cluster: &mut Cluster) {
    let ((leader, term), id) = (office(cluster), cluster_id(cluster));
    let at = (leader + 1) % 3;
    let view = json(&get(cluster.servers[at].http, "/v1/server"));
    let (last, now) = (view["commit_index"].as_u64().unwrap().into(), view["time_ms"].as_u64().unwrap().into());
    let all = [number(2), text(b""), number(1000)].concat();
    let message = append(term + 1, (last, term), &[entry(last + 1, term + 1, now, 3, 8, &all)], last + 1);
    let held: Vec<_> = (0..3).map(|to| say_to(cluster, id, to, &message)).collect();
    thread::sleep(Duration::from_secs(2));
    drop(held);
}

#[test]
fn no_frame_of_one_who_is_no_member_ends_or_leads_a_server() {
    let _turn = turn();
    let mut cluster = Cluster::start();
    let mut kept = Kept(0);
    kept.put(cluster.servers[0].http);
    type Case = (&'static str, fn(&mut Cluster));
    let cases: [Case; 3] =
        [("x3-same-term", x3_same_term), ("x3-huge-term", x3_huge_term), ("x3-forged-entry", x3_forged_entry)];
    let wanted = std::env::var("COPYCAT_FRAMES").ok();
    for (name, case) in cases.into_iter().filter(|(name, _)| wanted.as_deref().is_none_or(|wanted| wanted == *name)) {
        case(&mut cluster);
        all_is_well(name, &mut cluster, &mut kept);
    }
}
