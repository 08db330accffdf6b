//! Reads that wait for a change.

use crate::client::{Client, request};
use crate::fake::{Server, server};
use copycat_http::{Consistency, Failure, HttpConfig};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Far longer than anything short.
const SOON: Duration = Duration::from_secs(3);

fn until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < SOON, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A read that is held.
fn held(server: &Server, path: &str, headers: &[(&str, &str)]) -> Client {
    let before = server.fake.waiting.load(Ordering::SeqCst);
    let mut client = Client::connect(server);
    client.send(&request("GET", path, headers, b""));
    until("it is held", || server.fake.waiting.load(Ordering::SeqCst) == before + 1);
    client
}

#[test]
fn it_is_held_until_the_key_changes() {
    let server = server();
    server.put("/v1/kv/a", b"one");
    for (path, headers) in [
        ("/v1/kv/a?wait=30s&after=VERSION", vec![]),
        ("/v1/kv?key=a&wait=5m", vec![("If-None-Match", "\"VERSION\"")]),
        ("/v1/kv/a?wait=30s&after=VERSION", vec![("If-None-Match", "W/\"VERSION\"")]),
    ] {
        let version = server.fake.state().index.to_string();
        let path = path.replace("VERSION", &version);
        let headers: Vec<_> =
            headers.iter().map(|(n, v): &(&str, &str)| (*n, v.replace("VERSION", &version))).collect();
        let headers: Vec<_> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let mut client = held(&server, &path, &headers);
        server.put("/v1/kv/other", b"x");
        server.put("/v1/kv/a", b"two");
        let answer = client.answer("GET");
        let index = server.fake.state().index.to_string();
        assert_eq!((answer.status, answer.body.as_slice()), (200, &b"two"[..]), "{path}");
        assert_eq!(answer.header("etag"), Some(format!("\"{index}\"").as_str()));
        assert_eq!(answer.header("copycat-index"), Some(index.as_str()));
        assert_eq!((answer.header("copycat-wait"), answer.header("copycat-consistency")), (None, Some("linearizable")));
    }
}

#[test]
fn a_key_that_has_changed_already_is_told_at_once() {
    let server = server();
    server.put("/v1/kv/a", b"one");
    server.put("/v1/kv/a", b"two");
    assert_eq!(server.get("/v1/kv/a?wait=30s&after=1").body, b"two");
    let meta = server.get("/v1/kv/a?wait=30s&after=1&meta");
    assert_eq!((&meta.json()["value"], &meta.json()["version"]), (&"two".into(), &2.into()));
    assert_eq!(server.get("/v1/kv/a?wait=30s").body, b"two", "it exists: that is all that was asked");
    let curls = server.call("GET", "/v1/kv/a?wait=30s", &[("If-None-Match", "\"\"")], b"");
    assert_eq!(curls.status, 200);
}

#[test]
fn a_key_that_is_not_there_is_waited_for() {
    let server = server();
    for headers in [&[][..], &[("If-None-Match", "\"\"")]] {
        let mut client = held(&server, "/v1/kv/a?wait=30s", headers);
        server.put("/v1/kv/a", b"x");
        assert_eq!(client.answer("GET").status, 200);
        server.delete("/v1/kv/a");
    }
    assert_eq!(server.fake.state().waits[0], (None, Duration::from_secs(30)));
}

#[test]
fn a_deletion_is_a_change() {
    let server = server();
    server.put("/v1/kv/a", b"x");
    let mut client = held(&server, "/v1/kv/a?wait=30s&after=1", &[]);
    server.delete("/v1/kv/a");
    let answer = client.answer("GET");
    answer.problem(404, "key_not_found");
    assert_eq!((answer.header("copycat-index"), answer.header("etag")), (Some("2"), None));
    let mut client = held(&server, "/v1/kv/a?wait=30s&after=2", &[]);
    server.put("/v1/kv/a", b"y");
    assert_eq!(client.answer("GET").body, b"y", "gone on from there");
}

#[test]
fn the_end_of_the_wait() {
    let server = server();
    server.put("/v1/kv/a", b"x");
    let start = Instant::now();
    let same = server.get("/v1/kv/a?wait=150ms&after=1");
    assert_eq!((same.status, same.header("etag"), same.header("copycat-index")), (304, Some("\"1\""), Some("1")));
    assert!((Duration::from_millis(150)..SOON).contains(&start.elapsed()));
    server.get("/v1/kv/b?wait=1ms").problem(404, "key_not_found");
    assert_eq!(server.get("/v1/kv/a?wait=0s&after=1").status, 304, "a look without a wait");
}

#[test]
fn a_longer_wait_than_is_kept_is_cut_and_said_so() {
    let server = Server::start(HttpConfig { wait: Duration::from_millis(50), ..HttpConfig::default() });
    let answer = server.get("/v1/kv/a?wait=30s");
    answer.problem(404, "key_not_found");
    assert_eq!(answer.header("copycat-wait"), Some("50ms"));
    assert_eq!(server.get("/v1/kv/a?wait=50ms").header("copycat-wait"), None, "not cut");
    assert_eq!(server.fake.state().waits, [(None, Duration::from_millis(50)); 2]);
}

#[test]
fn odd_waits_are_refused() {
    let server = server();
    for bad in ["301s", "6m", "30", "", "-1s", "soon"] {
        let problem = server.get(&format!("/v1/kv/a?wait={bad}")).problem(400, "bad_duration");
        assert_eq!(problem["field"], "wait", "{bad}");
    }
    let read = |path: &str, name: &str, value: &str| server.call("GET", path, &[(name, value)], b"");
    server.get("/v1/kv/a?after=17").bad("after");
    server.get("/v1/kv/a?wait=1s&after=x").bad("after");
    read("/v1/kv/a?wait=1s&after=17", "If-None-Match", "\"18\"").bad("after");
    read("/v1/kv/a?wait=1s", "If-None-Match", "\"17\", \"18\"").bad("If-None-Match");
    read("/v1/kv/a?wait=1s", "If-None-Match", "*").bad("If-None-Match");
    read("/v1/kv/a?wait=1s", "If-Match", "\"17\"").bad("If-Match");
    server.put("/v1/kv/a?wait=1s", b"").bad("wait");
    assert!(server.fake.state().waits.is_empty(), "nothing was waited for");
}

#[test]
fn the_first_look_is_as_fresh_as_asked_and_failures_are_a_reads() {
    let server = server();
    let answer = server.get("/v1/kv/a?wait=1ms&consistency=sequential&index=0");
    assert_eq!(answer.header("copycat-consistency"), Some("sequential"));
    let read = server.fake.state().looks[0];
    assert_eq!((read.consistency, read.timeout), (Consistency::Sequential, Duration::from_secs(10)));
    server.fake.state().failure = Some(Failure::LeaderLost);
    assert_eq!(server.get("/v1/kv/a?wait=1s").problem(504, "timeout")["outcome"], "not_applied");
    server.fake.state().failure = Some(Failure::Overloaded);
    assert_eq!(server.get("/v1/kv/a?wait=1s").problem(503, "overloaded")["retryable"], true);
}

#[test]
fn no_other_limit_ends_a_wait() {
    let short = Duration::from_millis(100);
    let server = Server::start(HttpConfig {
        header_timeout: short,
        idle_timeout: short,
        body_timeout: short,
        write_timeout: short,
        ..HttpConfig::default()
    });
    let start = Instant::now();
    server.get("/v1/kv/a?wait=1s&timeout=1ms").problem(404, "key_not_found");
    assert!((Duration::from_secs(1)..SOON).contains(&start.elapsed()));
}

#[test]
fn a_client_that_goes_away_is_waited_for_no_longer() {
    let server = server();
    let client = held(&server, "/v1/kv/a?wait=5m", &[]);
    assert_eq!(server.fake.dropped.load(Ordering::SeqCst), 0);
    drop(client);
    until("the watch is dropped", || server.fake.dropped.load(Ordering::SeqCst) == 1);
    assert_eq!(server.fake.waiting.load(Ordering::SeqCst), 0);
}
