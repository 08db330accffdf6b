//! Sessions: their beginning, their life, their end.

use crate::fake::server;
use copycat_http::{Consistency, Failure};
use serde_json::{Value, json};
use std::time::Duration;

#[test]
fn a_session_begins() {
    let server = server();
    let bare = server.call("POST", "/v1/sessions", &[], b"");
    let expected = json!({"session": 1, "timeout_ms": 30_000, "keep_alive_ms": 10_000, "index": 1});
    assert_eq!((bare.status, bare.json()), (201, expected));
    assert_eq!((bare.header("location"), bare.header("copycat-index")), (Some("/v1/sessions/1"), Some("1")));
    let named = server.post("/v1/sessions?timeout=3s", &json!({"timeout": "1500ms", "name": "worker-1"}));
    assert_eq!((named.status, &named.json()["keep_alive_ms"]), (201, &500.into()));
    assert_eq!(server.fake.state().timeouts, [Duration::from_secs(10), Duration::from_secs(3)]);
    for good in [json!({"timeout": "1s"}), json!({"timeout": "24h"}), json!({"name": ""}), json!({})] {
        assert_eq!(server.post("/v1/sessions", &good).status, 201, "{good}");
    }
    assert_eq!(server.post("/v1/sessions", &json!({"name": "ä".repeat(127)})).status, 201);
}

#[test]
fn odd_sessions_are_refused() {
    let server = server();
    let post = |body: &Value| server.post("/v1/sessions", body);
    for bad in ["999ms", "86401s", "25h", "30", "", "-1s", "soon"] {
        let problem = post(&json!({ "timeout": bad })).problem(400, "bad_duration");
        assert_eq!(problem["field"], "timeout", "{bad}");
    }
    post(&json!({"name": "ä".repeat(128)})).bad("name");
    post(&json!({"timeout": 30})).bad("timeout");
    post(&json!({"nome": "x"})).bad("nome");
    post(&json!([])).bad("body");
    server.call("POST", "/v1/sessions", &[], b"{").bad("body");
    server.post("/v1/sessions?session=1", &json!({})).bad("session");
    server.call("POST", "/v1/sessions", &[("Copycat-Session", "1")], b"").bad("Copycat-Session");
    server.call("POST", "/v1/sessions", &[("Copycat-Sequence", "1")], b"").bad("Copycat-Sequence");
    server.call("POST", "/v1/sessions?timeout=0s", &[], b"").problem(400, "bad_duration");
    assert!(server.fake.state().sessions.is_empty());
}

#[test]
fn a_session_is_shown_with_what_it_holds() {
    let server = server();
    let session = server.post("/v1/sessions", &json!({"name": "worker-1"})).json()["session"].as_u64().expect("an id");
    server.put(&format!("/v1/locks/l?session={session}"), b"");
    server.put(&format!("/v1/locks/%ff?session={session}"), b"");
    server.put(&format!("/v1/kv/a?session={session}&ephemeral"), b"x");
    server.put(&format!("/v1/kv/%fe?session={session}&ephemeral"), b"x");
    let answer = server.get(&format!("/v1/sessions/{session}?consistency=lease"));
    let expected = json!({
        "session": 1, "name": "worker-1", "timeout_ms": 30_000, "keep_alive_ms": 10_000,
        "last_keep_alive_ms": 1_700_000_000_000_u64, "keep_alive_age_ms": 5, "sequence": 0, "acknowledged_sequence": 0,
        "event_index": 0, "acknowledged_index": 0, "queue_depth": 0, "server": null,
        "locks": [{"lock": "l"}, {"lock": "/w==", "lock_encoding": "base64"}],
        "ephemeral_keys": [{"key": "a"}, {"key": "/g==", "key_encoding": "base64"}],
    });
    assert_eq!((answer.status, answer.json()), (200, expected));
    assert_eq!((answer.header("copycat-consistency"), answer.header("copycat-index")), (Some("lease"), Some("5")));
    server.get("/v1/sessions/99").problem(404, "session_not_found");
    for bad in ["x", "-1", "1.5", "18446744073709551616", "%31"] {
        server.get(&format!("/v1/sessions/{bad}")).bad("session");
    }
    server.get(&format!("/v1/sessions/{session}?limit=1")).bad("limit");
    server.get(&format!("/v1/sessions/{session}?consistency=strong")).problem(400, "bad_consistency");
}

#[test]
fn sessions_are_listed_page_by_page() {
    let server = server();
    assert_eq!(server.get("/v1/sessions").json(), json!({"sessions": [], "next": null, "index": 0}));
    let all: Vec<u64> = (0..5).map(|_| server.begin()).collect();
    let mut found = Vec::new();
    let mut path = "/v1/sessions?limit=2&consistency=sequential&timeout=3s".to_string();
    loop {
        let answer = server.get(&path);
        let page = answer.json();
        for session in page["sessions"].as_array().expect("sessions") {
            assert!(session.get("locks").is_none() && session.get("ephemeral_keys").is_none());
            found.push(session["session"].as_u64().expect("an id"));
        }
        let Some(next) = page["next"].as_str() else {
            assert_eq!((answer.header("link"), &page["next"]), (None, &Value::Null));
            break;
        };
        let link = answer.header("link").expect("a link");
        for kept in ["limit=2", "consistency=sequential", "index=5", "timeout=3s", next, "; rel=\"next\""] {
            assert!(link.contains(kept), "{kept} in {link}");
        }
        path = link[1..].split_once('>').expect("a link").0.to_string();
    }
    assert_eq!(found, all);
    let last = *server.fake.state().reads.last().expect("a read");
    assert_eq!((last.consistency, last.index, last.timeout), (Consistency::Sequential, 5, Duration::from_secs(3)));
    for bad in ["limit=0", "limit=1001", "limit=x", "cursor=x", "cursor=", "after=1"] {
        server.get(&format!("/v1/sessions?{bad}")).bad(bad.split('=').next().expect("a name"));
    }
    for key in ["a", "b"] {
        server.put(&format!("/v1/kv/{key}"), b"");
    }
    let of_keys = server.get("/v1/kv?limit=1").json()["next"].as_str().expect("more").to_string();
    server.get(&format!("/v1/sessions?cursor={of_keys}")).bad("cursor");
}

#[test]
fn a_session_is_kept_alive() {
    let server = server();
    let session = server.begin();
    let path = format!("/v1/sessions/{session}/keep-alive");
    let expected = json!({"timeout_ms": 30_000, "keep_alive_ms": 10_000, "event_index": 0});
    let bare = server.call("POST", &path, &[], b"");
    assert_eq!((bare.status, bare.json()), (200, expected.clone()));
    assert_eq!(bare.header("copycat-index"), Some("2"));
    assert_eq!(server.post(&path, &json!({"sequence": 7, "event_index": 105})).json(), expected);
    let view = server.get(&format!("/v1/sessions/{session}")).json();
    let seen = (&view["acknowledged_sequence"], &view["acknowledged_index"], &view["server"]);
    assert_eq!(seen, (&7.into(), &105.into(), &2.into()));
    assert_eq!(server.call("POST", &path, &[("Copycat-Session", "1")], b"").status, 200);
    server.call("POST", &path, &[("Copycat-Session", "2")], b"").bad("Copycat-Session");
    server.call("POST", &path, &[("Copycat-Sequence", "1")], b"").bad("Copycat-Sequence");
    server.call("POST", &path, &[("Idempotency-Key", "k")], b"").bad("Idempotency-Key");
    server.post(&path, &json!({"sequence": -1})).bad("sequence");
    server.post(&path, &json!({"event": 1})).bad("event");
    server.post(&format!("{path}?session=1"), &json!({})).bad("session");
    server.call("POST", "/v1/sessions/x/keep-alive", &[], b"").bad("session");
    server.call("POST", "/v1/sessions/99/keep-alive", &[], b"").problem(404, "session_not_found");
    assert_eq!(server.fake.state().sessions[&session].keep_alives, 3);
}

#[test]
fn a_session_ends() {
    let server = server();
    let session = server.begin();
    let path = format!("/v1/sessions/{session}");
    server.call("DELETE", &path, &[("Idempotency-Key", "k")], b"").bad("Idempotency-Key");
    server.call("DELETE", &path, &[("Copycat-Session", "99")], b"").bad("Copycat-Session");
    let ended = server.delete(&path);
    assert_eq!((ended.status, ended.json()), (200, json!({"session": session, "index": 2})));
    let keep_alive = server.call("POST", &format!("{path}/keep-alive"), &[], b"");
    assert_eq!(keep_alive.problem(410, "session_expired")["reason"], "closed");
    assert_eq!(server.get(&path).problem(410, "session_expired")["reason"], "closed");
    server.delete(&path).problem(410, "session_expired");
    server.delete("/v1/sessions/99").problem(404, "session_not_found");
    assert_eq!(server.get("/v1/sessions").json()["sessions"], json!([]));
}

#[test]
fn failures_of_sessions() {
    let server = server();
    let session = server.begin();
    server.fake.state().failure = Some(Failure::LeaderLost);
    let path = format!("/v1/sessions/{session}");
    let register = server.call("POST", "/v1/sessions", &[], b"").problem(504, "timeout");
    assert_eq!((&register["outcome"], &register["retryable"]), (&"unknown".into(), &false.into()));
    for (method, path) in [("POST", format!("{path}/keep-alive")), ("DELETE", path.clone())] {
        let problem = server.call(method, &path, &[], b"").problem(504, "timeout");
        assert_eq!((&problem["outcome"], &problem["retryable"]), (&"unknown".into(), &true.into()), "{method}");
    }
    for read in [path.as_str(), "/v1/sessions", &format!("{path}/events")] {
        let problem = server.get(read).problem(504, "timeout");
        assert_eq!((&problem["outcome"], &problem["retryable"]), (&"not_applied".into(), &true.into()), "{read}");
    }
    server.fake.state().failure = Some(Failure::NoLeader);
    assert_eq!(server.call("POST", "/v1/sessions", &[], b"").header("retry-after"), Some("1"));
}
