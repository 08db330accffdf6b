//! Locks: asking, waiting, releasing, revoking, looking.

use crate::client::{Client, request};
use crate::fake::{Server, server};
use copycat_http::{Failure, LockMode};
use serde_json::{Value, json};
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

impl Server {
    fn lock(&self, name: &str, session: u64, more: &str) -> crate::client::Response {
        self.put(&format!("/v1/locks/{name}?session={session}{more}"), b"")
    }

    fn unlock(&self, name: &str, session: u64, more: &str) -> crate::client::Response {
        self.delete(&format!("/v1/locks/{name}?session={session}{more}"))
    }
}

/// A request for a lock that waits.
fn waiting(server: &Server, name: &str, session: u64) -> Client {
    let before = server.fake.waiting.load(Ordering::SeqCst);
    let mut client = Client::connect(server);
    client.send(&request("PUT", &format!("/v1/locks/{name}?session={session}&wait=30s"), &[], b""));
    until("it waits", || server.fake.waiting.load(Ordering::SeqCst) == before + 1);
    client
}

#[test]
fn a_lock_is_taken_and_released() {
    let server = server();
    let session = server.begin();
    let held = server.lock("l", session, "");
    let expected = json!({"lock": "l", "session": 1, "token": 2, "mode": "exclusive", "index": 2});
    assert_eq!((held.status, held.json()), (200, expected));
    assert_eq!((held.header("copycat-index"), held.header("copycat-event-index")), (Some("2"), Some("0")));
    assert_eq!(server.lock("l", session, "").json()["token"], 2, "the same again");
    let by_header = server.call("PUT", "/v1/locks/m?mode=shared", &[("Copycat-Session", "1")], b"");
    assert_eq!((by_header.status, &by_header.json()["mode"]), (200, &"shared".into()));
    let stale = server.unlock("l", session, "&token=9").problem(412, "lock_token_stale");
    assert_eq!(stale["holders"][0]["token"], 2);
    let released = server.unlock("l", session, "&token=2");
    assert_eq!((released.status, released.json()), (200, json!({"released": true, "held": true, "index": 6})));
    let again = server.unlock("l", session, "");
    again.problem(404, "lock_not_found");
    assert_eq!(again.header("copycat-index"), Some("7"));
    assert!(server.lock("l", session, "").json()["token"].as_u64() > Some(2), "tokens rise");
}

#[test]
fn a_lock_that_others_have() {
    let server = server();
    let [a, b, c] = [server.begin(), server.begin(), server.begin()];
    server.lock("l", a, "");
    let refused = server.lock("l", b, "");
    let problem = refused.problem(409, "lock_held");
    assert_eq!((&problem["position"], &problem["queue"]), (&1.into(), &json!([])));
    assert_eq!((&problem["retryable"], &problem["outcome"]), (&true.into(), &"not_applied".into()));
    let holder = json!({"session": a, "token": 4, "mode": "exclusive", "since_ms": 1_700_000_000_004_u64});
    assert_eq!(problem["holders"], json!([holder]));
    assert_eq!(refused.header("copycat-index"), Some("5"));
    let queued = server.lock("l", b, "&queue&mode=shared");
    let place = json!({"session": b, "mode": "shared", "since_ms": 1_700_000_000_006_u64, "position": 1});
    let expected = json!({
        "lock": "l", "session": b, "position": 1, "holders": [holder], "queue": [place], "index": 6,
    });
    assert_eq!((queued.status, queued.json()), (202, expected));
    assert_eq!(server.lock("l", b, "&queue&mode=shared").json()["position"], 1, "the same place");
    assert_eq!(server.lock("l", c, "&wait=0s").problem(409, "lock_held")["position"], 2);
    assert_eq!(server.lock("l", c, "&queue=true&mode=shared").json()["position"], 2);
    let shown = server.get("/v1/locks/l").json();
    assert_eq!((&shown["holders"], &shown["queue"][1]["session"]), (&json!([holder]), &c.into()));
    assert_eq!(server.unlock("l", a, "").status, 200);
    let sharing = server.get("/v1/locks/l").json();
    let tokens: Vec<_> = sharing["holders"].as_array().expect("holders").iter().map(|h| h["token"].as_u64()).collect();
    assert!(tokens.len() == 2 && tokens[0] < tokens[1], "each its own: {tokens:?}");
    assert_eq!(server.lock("l", a, "").problem(409, "lock_held")["holders"][0]["mode"], "shared");
}

#[test]
fn a_queue_is_left() {
    let server = server();
    let [a, b] = [server.begin(), server.begin()];
    server.lock("l", a, "");
    server.lock("l", b, "&queue");
    server.unlock("l", b, "&token=9").problem(412, "lock_token_stale");
    assert_eq!(server.unlock("l", b, "").json()["held"], false);
    assert_eq!(server.get("/v1/locks/l").json()["queue"], json!([]));
}

#[test]
fn a_lock_is_waited_for() {
    let server = server();
    let [a, b, c] = [server.begin(), server.begin(), server.begin()];
    server.lock("l", a, "");
    let mut second = waiting(&server, "l", b);
    let mut third = waiting(&server, "l", c);
    assert_eq!(server.unlock("l", a, "").status, 200);
    let held = second.answer("PUT");
    assert_eq!((held.status, &held.json()["session"]), (200, &b.into()), "first come, first served");
    assert_eq!(server.delete(&format!("/v1/sessions/{b}")).status, 200);
    let next = third.answer("PUT");
    assert_eq!((next.status, &next.json()["session"]), (200, &c.into()), "the end of a session releases its locks");
    assert!(next.json()["token"].as_u64() > held.json()["token"].as_u64());
    let start = Instant::now();
    let in_vain = server.lock("l", a, "&wait=150ms");
    assert_eq!(in_vain.problem(409, "lock_held")["queue"], json!([]), "the place is given up");
    assert!((Duration::from_millis(150)..SOON).contains(&start.elapsed()));
    let stays = server.lock("l", a, "&wait=1ms&queue");
    assert_eq!((stays.status, &stays.json()["position"]), (202, &1.into()));
}

#[test]
fn a_client_that_goes_away_waits_no_longer() {
    let server = server();
    let [a, b] = [server.begin(), server.begin()];
    server.lock("l", a, "");
    let client = waiting(&server, "l", b);
    drop(client);
    until("the wait is dropped", || server.fake.dropped.load(Ordering::SeqCst) == 1);
}

#[test]
fn waits_are_bounded() {
    let config = copycat_http::HttpConfig { wait: Duration::from_millis(50), ..copycat_http::HttpConfig::default() };
    let server = Server::start(config);
    let [a, b] = [server.begin(), server.begin()];
    server.lock("l", a, "");
    server.lock("l", b, "&wait=5m").problem(409, "lock_held");
    for bad in ["301s", "30", "", "soon"] {
        let problem = server.lock("l", b, &format!("&wait={bad}")).problem(400, "bad_duration");
        assert_eq!(problem["field"], "wait", "{bad}");
    }
}

#[test]
fn odd_requests_for_locks_are_refused() {
    let server = server();
    let session = server.begin();
    server.put("/v1/locks/l", b"").bad("session");
    server.delete("/v1/locks/l").bad("session");
    server.put("/v1/locks/l?session=x", b"").bad("session");
    server.lock("l", session, "&mode=both").bad("mode");
    server.lock("l", session, "&queue=maybe").bad("queue");
    server.lock("l", session, "&token=1").bad("token");
    server.unlock("l", session, "&token=x").bad("token");
    server.unlock("l", session, "&wait=1s").bad("wait");
    server.call("PUT", "/v1/locks/l?session=1", &[("Copycat-Session", "2")], b"").bad("session");
    server.lock("l", 99, "").problem(404, "session_not_found");
    server.unlock("l", 99, "").problem(404, "session_not_found");
    assert_eq!(server.get("/v1/locks").json()["locks"], json!([]));
    for failure in [Failure::Timeout { maybe_applied: true }, Failure::LeaderLost] {
        server.fake.state().failure = Some(failure);
        let problem = server.lock("l", session, "").problem(504, "timeout");
        assert_eq!((&problem["outcome"], &problem["retryable"]), (&"unknown".into(), &true.into()));
        assert_eq!(server.get("/v1/locks/l").problem(504, "timeout")["outcome"], "not_applied");
    }
}

#[test]
fn names_are_bytes_and_never_normalised() {
    let server = server();
    let session = server.begin();
    for (path, name, encoding) in [
        ("l", json!("l"), Value::Null),
        ("a%2Fb", json!("a/b"), Value::Null),
        ("a%2fb%252F", json!("a/b%2F"), Value::Null),
        ("..", json!(".."), Value::Null),
        (".", json!("."), Value::Null),
        ("a+b%20c", json!("a+b c"), Value::Null),
        ("verify", json!("verify"), Value::Null),
        ("%E2%82%AC", json!("€"), Value::Null),
        ("%ff%00", json!("/wA="), json!("base64")),
    ] {
        let held = server.lock(path, session, "").json();
        assert_eq!((&held["lock"], &held["lock_encoding"]), (&name, &encoding), "{path}");
        let token = held["token"].clone();
        assert_eq!(server.get(&format!("/v1/locks/{path}")).json()["lock"], name);
        assert_eq!(server.get(&format!("/v1/locks/{path}/verify?token={token}")).json()["lock"], name);
        assert_eq!(server.unlock(path, session, "").status, 200, "{path}");
    }
    let longest = "%6c".repeat(255);
    assert_eq!(server.lock(&longest, session, "").status, 200);
    let long = format!("{longest}l");
    for bad in [long.as_str(), "50%", "%zz"] {
        server.lock(bad, session, "").bad("name");
        server.unlock(bad, session, "").bad("name");
        server.get(&format!("/v1/locks/{bad}")).bad("name");
        server.get(&format!("/v1/locks/{bad}/verify?token=1")).bad("name");
        server.delete(&format!("/v1/locks/{bad}/holders/1")).bad("name");
    }
    server.get("/v1/locks/").bad("name");
    server.put("/v1/locks/?session=1", b"").bad("name");
    server.get("/v1/locks//verify?token=1").bad("name");
    server.delete("/v1/locks//holders/1").bad("name");
    server.get("/v1/locks/a/b").problem(404, "no_such_endpoint");
    server.call("POST", "/v1/locks/a", &[], b"").problem(405, "method_not_allowed");
}

#[test]
fn tokens_are_verified() {
    let server = server();
    let session = server.begin();
    let token = server.lock("l", session, "&mode=shared").json()["token"].clone();
    let answer = server.get(&format!("/v1/locks/l/verify?token={token}&consistency=lease"));
    let expected = json!({"lock": "l", "token": token, "session": session, "mode": "shared", "index": 2});
    assert_eq!((answer.status, answer.json()), (200, expected));
    assert_eq!(answer.header("copycat-consistency"), Some("lease"));
    let stale = server.get("/v1/locks/l/verify?token=9");
    let problem = stale.problem(412, "lock_token_stale");
    assert_eq!((&problem["holders"][0]["token"], stale.header("copycat-index")), (&token, Some("2")));
    let none = server.get("/v1/locks/none/verify?token=9").problem(412, "lock_token_stale");
    assert_eq!(none["holders"], json!([]));
    server.get("/v1/locks/l/verify").bad("token");
    server.get("/v1/locks/l/verify?token=").bad("token");
    server.get("/v1/locks/l/verify?token=1&session=1").bad("session");
}

#[test]
fn a_lock_is_taken_away() {
    let server = server();
    let [a, b] = [server.begin(), server.begin()];
    server.lock("l", a, "");
    server.lock("l", b, "&queue");
    let revoked = server.delete(&format!("/v1/locks/l/holders/{a}"));
    assert_eq!((revoked.status, revoked.json()), (200, json!({"revoked": true, "token": 3, "index": 5})));
    assert_eq!(revoked.header("copycat-event-index"), None, "nobody's command");
    assert_eq!(server.get("/v1/locks/l").json()["holders"][0]["session"], b);
    server.delete(&format!("/v1/locks/l/holders/{a}")).problem(404, "lock_not_found");
    server.delete(&format!("/v1/locks/none/holders/{a}")).problem(404, "lock_not_found");
    server.delete("/v1/locks/l/holders/x").bad("session");
    server.delete(&format!("/v1/locks/l/holders/{b}?token=1")).bad("token");
    let by = server.delete(&format!("/v1/locks/l/holders/{b}?session={a}"));
    assert_eq!(by.header("copycat-event-index"), Some("5"), "a command of the session that it names");
    let events = server.get(&format!("/v1/sessions/{a}/events")).json();
    assert_eq!(events["batches"][0]["events"], json!([{"type": "lock_lost", "lock": "l", "token": 3}]));
}

#[test]
fn locks_are_listed_page_by_page() {
    let server = server();
    let session = server.begin();
    for name in ["c", "a", "%ff", "b"] {
        assert_eq!(server.lock(name, session, "").status, 200);
    }
    let mut found = Vec::new();
    let mut path = "/v1/locks?limit=1".to_string();
    loop {
        let answer = server.get(&path);
        let page = answer.json();
        found.push(page["locks"][0]["lock"].as_str().expect("a name").to_string());
        assert!(page["locks"][0].get("index").is_none() && page["index"] == 5);
        let Some(link) = answer.header("link") else { break };
        path = link[1..].split_once('>').expect("a link").0.to_string();
    }
    assert_eq!(found, ["a", "b", "c", "/w=="]);
    assert_eq!(server.get("/v1/locks").json()["locks"].as_array().expect("locks").len(), 4);
    assert_eq!(server.get("/v1/locks/a").json()["index"], 5);
    let none = server.get("/v1/locks/none");
    none.problem(404, "lock_not_found");
    assert_eq!(none.header("copycat-index"), Some("5"));
    for bad in ["limit=0", "limit=1001", "cursor=x", "prefix=a"] {
        server.get(&format!("/v1/locks?{bad}")).bad(bad.split('=').next().expect("a name"));
    }
    assert_eq!(server.fake.state().locks.holders(b"a")[0].mode, LockMode::Exclusive);
}
