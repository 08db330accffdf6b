//! Connections: reuse, time limits, bounds, the end.

use crate::client::{Client, request};
use crate::fake::{Server, server};
use copycat_http::HttpConfig;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(200);
/// Far longer than anything short, far shorter than any default.
const SOON: Duration = Duration::from_secs(3);

fn until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < SOON, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// How long the server keeps the connection open.
fn closed_after(client: &mut Client) -> Duration {
    let start = Instant::now();
    assert!(client.closed());
    start.elapsed()
}

#[test]
fn requests_follow_each_other_on_one_connection() {
    let server = server();
    let mut client = Client::connect(&server);
    let mut all = Vec::new();
    for n in 0..50 {
        all.extend(request("PUT", &format!("/v1/kv/{n}"), &[], n.to_string().as_bytes()));
        all.extend(request("GET", &format!("/v1/kv/{n}"), &[], b""));
    }
    client.send(&all);
    for n in 0..50 {
        assert_eq!(client.answer("PUT").status, 201);
        assert_eq!(client.answer("GET").body, n.to_string().as_bytes());
    }
    client.send(&request("GET", "/v1/kv/0", &[("Connection", "close")], b""));
    assert_eq!(client.answer("GET").status, 200);
    assert!(client.closed());
}

#[test]
fn errors_leave_the_connection_usable() {
    let server = server();
    let mut client = Client::connect(&server);
    client.send(&request("PUT", "/v1/kv/a?lck=x", &[], b"a body that nobody reads"));
    client.answer("PUT").bad("lck");
    client.send(&request("POST", "/v1/nothing", &[], b"a body that nobody reads"));
    client.answer("POST").problem(404, "no_such_endpoint");
    client.send(&request("PUT", "/v1/kv/a", &[], b"x"));
    assert_eq!(client.answer("PUT").status, 201);
}

#[test]
fn a_slow_header_is_cut() {
    let server = Server::start(HttpConfig { header_timeout: SHORT, ..HttpConfig::default() });
    let mut silent = Client::connect(&server);
    let mut slow = Client::connect(&server);
    slow.send(b"GET /v1/kv/a HTTP/1.1\r\nHost: local");
    let mut second = Client::connect(&server);
    second.send(&request("GET", "/livez", &[], b""));
    assert_eq!(second.answer("GET").status, 200);
    second.send(b"GET /v1/kv/a HTTP/1.1\r\nX: ");
    let start = Instant::now();
    // A byte now and then does not help.
    while second.try_send(b"x").is_ok() && start.elapsed() < SOON {
        thread::sleep(Duration::from_millis(20));
    }
    assert!((SHORT..SOON).contains(&start.elapsed()), "{:?}", start.elapsed());
    assert!(closed_after(&mut silent) < SOON);
    assert!(closed_after(&mut slow) < SOON);
}

#[test]
fn an_idle_connection_has_its_own_time() {
    let idle = Duration::from_millis(600);
    let config = HttpConfig { header_timeout: SHORT, idle_timeout: idle, ..HttpConfig::default() };
    let server = Server::start(config);
    let mut client = Client::connect(&server);
    for _ in 0..3 {
        client.send(&request("GET", "/livez", &[], b""));
        assert_eq!(client.answer("GET").status, 200);
        thread::sleep(SHORT + SHORT / 2);
    }
    client.send(&request("GET", "/livez", &[], b""));
    assert_eq!(client.answer("GET").status, 200);
    let kept = closed_after(&mut client);
    assert!((idle..SOON).contains(&kept), "{kept:?}");
}

#[test]
fn a_slow_body_is_told_so() {
    let config = HttpConfig { header_timeout: SHORT, body_timeout: SHORT * 2, ..HttpConfig::default() };
    let server = Server::start(config);
    let mut client = Client::connect(&server);
    client.send(b"PUT /v1/kv/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n");
    let start = Instant::now();
    while start.elapsed() < SHORT * 2 - Duration::from_millis(50) {
        client.send(b"x");
        thread::sleep(Duration::from_millis(20));
    }
    let problem = client.answer("PUT").problem(408, "body_timeout");
    assert_eq!((&problem["outcome"], &problem["retryable"]), (&"not_applied".into(), &true.into()));
    assert!((SHORT * 2..SOON).contains(&start.elapsed()), "{:?}", start.elapsed());
    assert!(client.closed());
    assert_eq!(server.fake.state().index, 0);
}

#[test]
fn who_takes_no_answer_is_cut() {
    let config = HttpConfig { header_timeout: SHORT, write_timeout: SHORT, ..HttpConfig::default() };
    let server = Server::start(config);
    server.put("/v1/kv/a", &[7; 1024 * 1024]);
    let mut client = Client::connect(&server);
    // More than the buffers of both ends hold.
    let many: Vec<u8> = (0..64).flat_map(|_| request("GET", "/v1/kv/a", &[], b"")).collect();
    client.send(&many);
    thread::sleep(SHORT * 5);
    let mut got = 0;
    while got < 64 && !client.closed() {
        got += 1;
        let mut rest = vec![0; 1024 * 1024];
        if client.read_exact(&mut rest).is_err() {
            break;
        }
    }
    assert!(got < 64, "all of it came");
}

#[test]
fn long_headers_are_refused() {
    let server = server();
    let long = "x".repeat(17 * 1024);
    let answer = server.call("GET", "/v1/kv/a", &[("X", &long)], b"");
    assert_eq!(answer.problem(431, "headers_too_large")["outcome"], "not_applied");
    let fits = "x".repeat(15 * 1024);
    assert_eq!(server.call("GET", "/v1/cluster", &[("X", &fits)], b"").status, 200);
    // Beyond what is buffered, and beyond what is counted, it is hyper's own answer.
    let mut client = Client::connect(&server);
    let _ = client.try_send(&request("GET", "/v1/kv/a", &[("X", &"x".repeat(200 * 1024))], b""));
    assert!(client.closed() || client.answer_status() == 431);
    let many: Vec<_> = (0..101).map(|_| ("X", "y")).collect();
    assert_eq!(server.call("GET", "/v1/kv/a", &many, b"").status, 431);
}

#[test]
fn nonsense_is_answered_and_ends_the_connection() {
    let server = server();
    let mut client = Client::connect(&server);
    client.send(b"\x16\x03\x01\x02\0\x01\0\x01\xfc\r\n\r\n");
    assert_eq!(client.answer("GET").status, 400);
    assert!(client.closed());
}

#[test]
fn a_client_that_vanishes_is_waited_for_no_longer() {
    let server = server();
    let mut client = Client::connect(&server);
    client.send(&request("GET", "/v1/kv/hang?timeout=60s", &[], b""));
    until("the query begins", || server.fake.waiting.load(Ordering::SeqCst) == 1);
    drop(client);
    until("the query is dropped", || server.fake.dropped.load(Ordering::SeqCst) == 1);
    let mut client = Client::connect(&server);
    client.send(b"PUT /v1/kv/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhal");
    drop(client);
    assert_eq!(server.get("/livez").status, 200);
    assert_eq!(server.fake.state().index, 0, "half a value is none");
}

#[test]
fn too_many_connections_are_told_so() {
    let server = Server::start(HttpConfig { connections: 2, ..HttpConfig::default() });
    let mut kept: Vec<Client> = (0..2).map(|_| Client::connect(&server)).collect();
    for client in &mut kept {
        client.send(&request("GET", "/livez", &[], b""));
        assert_eq!(client.answer("GET").status, 200);
    }
    let mut third = Client::connect(&server);
    third.send(&request("GET", "/livez", &[], b""));
    let answer = third.answer("GET");
    let problem = answer.json();
    assert_eq!(
        (answer.status, &problem["code"], &problem["outcome"]),
        (503, &"overloaded".into(), &"not_applied".into())
    );
    assert_eq!((answer.header("retry-after"), answer.header("connection")), (Some("1"), Some("close")));
    assert!(third.closed());
    kept.pop();
    until("there is room again", || server.get("/livez").status == 200);
}

#[test]
fn an_address_has_so_many_connections() {
    let server = Server::start(HttpConfig { connections_per_address: 2, ..HttpConfig::default() });
    let mut kept: Vec<Client> = (0..2).map(|_| Client::connect(&server)).collect();
    for client in &mut kept {
        client.send(&request("GET", "/livez", &[], b""));
        assert_eq!(client.answer("GET").status, 200);
    }
    let mut third = Client::connect(&server);
    third.send(&request("GET", "/livez", &[], b""));
    let answer = third.answer("GET");
    let problem = answer.json();
    assert_eq!((answer.status, &problem["code"]), (429, &"too_many_requests".into()));
    assert_eq!((&problem["outcome"], &problem["retryable"]), (&"not_applied".into(), &true.into()));
    assert_eq!((answer.header("retry-after"), answer.header("connection")), (Some("1"), Some("close")));
    assert!(third.closed());
    let mut other = Client::connect_from("127.0.0.2", &server);
    other.send(&request("GET", "/livez", &[], b""));
    assert_eq!(other.answer("GET").status, 200, "another address has its own");
    kept.pop();
    until("there is room again", || server.get("/livez").status == 200);
}

#[test]
fn requests_under_way_are_bounded() {
    let server = Server::start(HttpConfig { requests: 1, ..HttpConfig::default() });
    let mut busy = Client::connect(&server);
    busy.send(&request("GET", "/v1/kv/hang?timeout=60s", &[], b""));
    until("the query begins", || server.fake.waiting.load(Ordering::SeqCst) == 1);
    let refused = server.put("/v1/kv/a", b"x");
    assert_eq!(refused.problem(503, "overloaded")["outcome"], "not_applied");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!((server.get("/livez").status, server.get("/readyz").status), (200, 200), "probes are not counted");
    assert_eq!(server.fake.state().index, 0);
    drop(busy);
    until("there is room again", || server.put("/v1/kv/a", b"x").status == 201);
}

#[test]
fn an_answer_that_goes_on_keeps_its_place() {
    let server = Server::start(HttpConfig { requests: 1, ..HttpConfig::default() });
    for n in 0..40 {
        assert_eq!(server.put(&format!("/v1/kv/n{n:02}"), &[b'x'; 1024 * 1024]).status, 201);
    }
    let mut slow = Client::connect(&server);
    slow.send(&request("GET", "/v1/kv?limit=1", &[("Accept", "application/x-ndjson")], b""));
    assert_eq!(slow.head().status, 200);
    server.get("/v1/kv/a").problem(503, "overloaded");
    slow.chunks();
    until("there is room again", || server.get("/v1/kv/n00").status == 200);
}

#[test]
fn a_stopping_server_finishes_what_it_has() {
    let server = Server::start(HttpConfig { drain: Duration::from_secs(5), ..HttpConfig::default() });
    let mut idle = Client::connect(&server);
    idle.send(&request("GET", "/livez", &[], b""));
    assert_eq!(idle.answer("GET").status, 200);
    let mut busy = Client::connect(&server);
    busy.send(&request("GET", "/v1/kv/hang?timeout=300ms", &[], b""));
    until("the query begins", || server.fake.waiting.load(Ordering::SeqCst) == 1);
    let start = Instant::now();
    server.stop();
    assert!(closed_after(&mut idle) < Duration::from_millis(250), "idle connections close at once");
    let answer = busy.answer("GET");
    answer.problem(504, "timeout");
    assert_eq!(answer.header("connection"), Some("close"));
    let address = server.address;
    server.wait();
    assert!(start.elapsed() < SOON);
    assert!(std::net::TcpStream::connect(address).is_err(), "it listens no longer");
}

#[test]
fn a_stopping_server_does_not_wait_for_ever() {
    let server = Server::start(HttpConfig { drain: SHORT, ..HttpConfig::default() });
    let mut busy = Client::connect(&server);
    busy.send(&request("GET", "/v1/kv/hang?timeout=60s", &[], b""));
    until("the query begins", || server.fake.waiting.load(Ordering::SeqCst) == 1);
    let (start, fake) = (Instant::now(), server.fake.clone());
    server.stop();
    server.wait();
    assert!((SHORT..SOON).contains(&start.elapsed()), "{:?}", start.elapsed());
    assert!(busy.closed());
    assert_eq!(fake.dropped.load(Ordering::SeqCst), 1);
}
