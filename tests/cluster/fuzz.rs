//! Real frames of both ports, changed at random, thrown at three servers: none ends, none takes much memory, and the cluster
//! serves. `COPYCAT_TEST_LONG=1` for longer, `COPYCAT_FUZZ_SEED=n` for others.

use crate::frames::{append, port};
use crate::handmade::{
    Client, Peer, client_hello, command_request, frame, number, numbers, query_request, register_request, text,
};
use crate::harness::{Cluster, ask, get, long, turn};
use copycat_testkit::Mutator;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// What a server may hold more than when it was idle: as much again, and what a small machine's allocator keeps.
const MORE: u64 = 64 << 20;

/// A put of a small value.
fn put(key: &[u8]) -> Vec<u8> {
    [number(0), text(key), text(b"value"), text(b""), numbers(&[0, 0, 0])].concat()
}

fn client_frames() -> Vec<Vec<u8>> {
    let guarded = [number(5), text(b"lock"), number(1), put(b"fuzz")].concat();
    vec![
        register_request(),
        numbers(&[0, 3, 1, 1, 300, 70_000]),
        numbers(&[0, 4, 2, 1]),
        command_request(1, 1, 0, &put(b"fuzz")),
        command_request(1, 2, 3, &[numbers(&[4, 2]), put(b"fuzz-1"), guarded].concat()),
        query_request(1, 2, &[number(0), text(b"fuzz")].concat()),
        numbers(&[1, 1, 300]),
        number(2),
    ]
}

/// What a peer sends. (The changes of members are left out: what is right of them does what it says.)
fn peer_frames() -> Vec<Vec<u8>> {
    let ask = [numbers(&[1, 7, 1, 0, 0, 0]), text(&[number(0), text(b"fuzz")].concat()), number(1000)].concat();
    let submit = [numbers(&[1, 8, 0, 0]), text(&put(b"fuzz")), vec![0], numbers(&[0, 0, 0]), number(1000)].concat();
    let vote = numbers(&[0, 2, 2, 100, 1, 0]);
    vec![ask, submit, vote, append(1, (0, 0), &[], 0), numbers(&[2, 300, 1, 0]), number(3)]
}

/// A greeting, whole or changed, and then a few frames, changed or cut, of which one may announce more than comes.
fn throw(at: SocketAddr, mutator: &mut Mutator, greeting: &[u8], frames: &[Vec<u8>], bend: bool) -> u64 {
    let Ok(mut stream) = TcpStream::connect(at) else { return 0 };
    let _ = stream.set_write_timeout(Some(Duration::from_secs(5)));
    let mut bytes = frame(&if bend { mutator.change(&[greeting.to_vec()]) } else { greeting.to_vec() });
    for _ in 0..4 {
        bytes.extend(frame(&mutator.change(frames)));
    }
    // The last one's length, too.
    let cut = mutator.change(&[bytes[bytes.len().saturating_sub(64)..].to_vec()]);
    bytes.truncate(bytes.len().saturating_sub(64));
    bytes.extend(cut);
    // It may be closed before all is sent.
    let _ = stream.write_all(&bytes);
    1
}

fn throw_for(cluster: &Cluster, time: Duration, greetings: &[(Vec<u8>, Vec<Vec<u8>>)]) -> u64 {
    let seed = std::env::var("COPYCAT_FUZZ_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    println!("seed {seed}");
    let (begin, mut mutator, mut thrown) = (Instant::now(), Mutator::new(seed), 0);
    while begin.elapsed() < time {
        for server in &cluster.servers {
            for (greeting, frames) in greetings {
                thrown += throw(port(server), &mut mutator, greeting, frames, thrown % 4 == 0);
            }
        }
    }
    thrown
}

fn memory(cluster: &Cluster) -> Vec<u64> {
    cluster.servers.iter().map(|server| server.process().usage().1).collect()
}

/// Throws for a while; afterwards everything is as before.
fn fuzz(greetings: impl FnOnce(u128) -> Vec<(Vec<u8>, Vec<Vec<u8>>)>) {
    let mut cluster = Cluster::start();
    let at = cluster.addresses();
    assert_eq!(ask(at[0], "PUT", "/v1/kv/kept", &[], b"kept").status, 201);
    let greetings = greetings(Client::new(port(&cluster.servers[0])).cluster);
    let idle = memory(&cluster);
    let time = Duration::from_secs(if long() { 600 } else { 10 });
    let (thrown, most) = thread::scope(|scope| {
        let thrower = scope.spawn(|| throw_for(&cluster, time, &greetings));
        let mut most = idle.clone();
        while !thrower.is_finished() {
            most = most.iter().zip(memory(&cluster)).map(|(most, now)| now.max(*most)).collect();
            thread::sleep(Duration::from_millis(50));
        }
        (thrower.join().unwrap(), most)
    });
    println!("{thrown} connections; memory {idle:?} -> at most {most:?}");
    assert!(thrown > 100);
    for (idle, most) in idle.iter().zip(&most) {
        assert!(*most < 2 * idle + MORE, "memory {idle} -> {most}");
    }
    // It looks whether any has ended.
    cluster.wait_until_ready();
    for at in at {
        assert_eq!(get(at, "/v1/kv/kept").body, b"kept");
        assert_eq!(ask(at, "PUT", "/v1/kv/after", &[], b"x").status / 100, 2);
    }
}

#[test]
fn changed_frames_of_clients_end_nobody() {
    let _turn = turn();
    fuzz(|_| vec![(client_hello(), client_frames())]);
}

#[test]
fn changed_frames_of_peers_end_nobody() {
    let _turn = turn();
    fuzz(|cluster| {
        let ours = Peer::to(1).hello(cluster);
        vec![(ours, peer_frames()), (Peer::to(2).hello(cluster), peer_frames()), (Peer::to(1).hello(7), peer_frames())]
    });
}
