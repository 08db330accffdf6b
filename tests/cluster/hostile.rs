//! Clients that mean harm, or are broken: the others are served as before, each gets its error, and nothing is left behind.

use crate::harness::{Cluster, ask, json, long, turn, wait_for};
use crate::load::{Load, assert_kept};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// Sockets that send a byte a second: more than a browser, fewer than an address may have.
const SLOW: usize = 500;

fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

/// Everything that comes until the server closes.
fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset ends it as well as a close.
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Open files and sockets of a process.
fn descriptors(pid: i32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// A byte a second each; the server ends them when their header block takes too long.
fn slow_headers(victim: SocketAddr) {
    let mut sockets: Vec<TcpStream> = (0..SLOW).map(|_| connect(victim)).collect();
    for byte in b"GET /v1" {
        for socket in &mut sockets {
            // It may have been closed already.
            let _ = socket.write_all(&[*byte]);
        }
        thread::sleep(Duration::from_secs(1));
    }
    for socket in &mut sockets {
        let said = rest(socket);
        assert!(!said.contains(" 200 "), "{said}");
    }
}

/// Answers are asked for and never read; then the client is gone.
fn never_reads(victim: SocketAddr) {
    let one = format!("GET /v1/kv/hostile-large HTTP/1.1\r\nHost: {victim}\r\n\r\n");
    let sockets: Vec<TcpStream> = (0..20)
        .map(|_| {
            let mut stream = connect(victim);
            stream.write_all(one.repeat(50).as_bytes()).unwrap();
            stream
        })
        .collect();
    thread::sleep(Duration::from_secs(2));
    drop(sockets);
}

/// What is refused, and how.
fn refused(victim: SocketAddr) {
    let large = vec![b'x'; 2 * 1024 * 1024];
    let deep = [b"{\"if\":".to_vec(), b"{\"not\":".repeat(10_000), b"{}".to_vec(), b"}".repeat(10_001)].concat();
    let long = "x".repeat(100_000);
    for _ in 0..10 {
        let code = |answer: &copycat_testkit::http::Answer| json(answer)["code"].as_str().map(str::to_string);
        let answer = ask(victim, "PUT", "/v1/kv/hostile", &[], &large);
        assert_eq!((answer.status, code(&answer).as_deref()), (413, Some("value_too_large")));
        for path in ["/v1/transactions", "/v1/commands", "/v1/queries"] {
            let answer = ask(victim, "POST", path, &[], &deep);
            assert_eq!((answer.status, code(&answer).as_deref()), (400, Some("bad_request")), "{path}");
        }
        let answer = ask(victim, "GET", "/v1/kv/a", &[("X-Long", &long)], b"");
        assert_eq!(answer.status, 431);
        let answer = ask(victim, "PUT", "/v1/kv/a", &[("Origin", "http://evil.example")], b"x");
        assert_eq!((answer.status, code(&answer).as_deref()), (403, Some("foreign_origin")));
        let mut stream = connect(victim);
        stream.write_all(b"GET /v1/kv/a HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n").unwrap();
        let said = rest(&mut stream);
        assert!(said.starts_with("HTTP/1.1 403 ") && said.contains("foreign_host"), "{said}");
    }
}

/// A client that closes its side counts as gone (it is how a long poll is given up): its connection ends, soon, with an
/// answer that was ready or without.
fn half_closed(victim: SocketAddr) {
    for _ in 0..50 {
        let mut stream = connect(victim);
        stream.write_all(format!("GET /livez HTTP/1.1\r\nHost: {victim}\r\n\r\n").as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let said = rest(&mut stream);
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 200 "), "{said}");
        let mut stream = connect(victim);
        stream.write_all(b"PUT /v1/kv/half HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let said = rest(&mut stream);
        assert!(!said.starts_with("HTTP/1.1 2"), "{said}");
    }
    assert_eq!(ask(victim, "GET", "/v1/kv/half", &[], b"").status, 404, "half a body is no value");
}

/// Acknowledged writes a second for a while.
fn rate(load: &Load, time: Duration) -> f64 {
    let (before, begin) = (load.count(), Instant::now());
    thread::sleep(time);
    (load.count() - before) as f64 / begin.elapsed().as_secs_f64()
}

#[test]
fn others_are_served_while_some_mean_harm() {
    let _turn = turn();
    let mut cluster = Cluster::start();
    cluster.wait_until_ready();
    let victim = cluster.servers[0].http;
    assert_eq!(ask(victim, "PUT", "/v1/kv/hostile-large", &[], &vec![b'x'; 512 * 1024]).status, 201);
    let load = Load::start("hostile", 4, &cluster.addresses());
    let calm = rate(&load, Duration::from_secs(2));
    let pid = cluster.servers[0].process().pid().as_raw_nonzero().get();
    let (descriptors_before, memory_before) = (descriptors(pid), cluster.servers[0].process().usage().1);

    let attacks: Vec<_> = [slow_headers, never_reads, refused, half_closed]
        .map(|attack| thread::spawn(move || attack(victim)))
        .into_iter()
        .collect();
    let attacked = rate(&load, Duration::from_secs(5));
    let mut most = 0;
    while !attacks.iter().all(thread::JoinHandle::is_finished) {
        most = most.max(cluster.servers[0].process().usage().1);
        thread::sleep(Duration::from_millis(50));
    }
    for attack in attacks {
        attack.join().unwrap();
    }
    let after = rate(&load, Duration::from_secs(2));
    let kept = load.finish();
    println!(
        "puts a second: {calm:.0} before, {attacked:.0} during, {after:.0} after; memory {memory_before} -> at most {most}"
    );
    assert!(attacked > 0.0, "nobody else was served");
    assert!(most < memory_before + 128 * 1024 * 1024, "memory {memory_before} -> {most}");
    wait_for("the attackers' sockets to be closed", || (descriptors(pid) <= descriptors_before + 8).then_some(()));
    assert_kept(victim, "hostile/", &kept);
    if long() {
        let ratio = attacked / ((calm + after) / 2.0);
        assert!(ratio >= 0.8, "others were served at {ratio:.2} of their rate");
    }
}
