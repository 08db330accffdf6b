//! Sessions' numbers, idempotency keys, and who says what where.

use crate::client::Response;
use crate::fake::{Server, server};
use copycat_http::{Ended, Failure};
use serde_json::{Value, json};

const SEQUENCE: &str = "Copycat-Sequence";
const SESSION: &str = "Copycat-Session";
const KEY: &str = "Idempotency-Key";

fn numbered(server: &Server, method: &str, path: &str, session: u64, number: u64, body: &[u8]) -> Response {
    let (session, number) = (session.to_string(), number.to_string());
    server.call(method, path, &[(SESSION, &session), (SEQUENCE, &number)], body)
}

fn keyed(server: &Server, method: &str, path: &str, key: &str, body: &[u8]) -> Response {
    server.call(method, path, &[(KEY, key)], body)
}

/// One command of every kind that takes a number or a key.
fn commands(session: u64) -> Vec<(&'static str, String, Vec<u8>)> {
    let put = json!({"command": {"put": {"key": "c", "value": "x"}}});
    vec![
        ("PUT", "/v1/kv/a".into(), b"x".to_vec()),
        ("PUT", "/v1/kv?key=b".into(), b"x".to_vec()),
        ("DELETE", "/v1/kv/a".into(), Vec::new()),
        ("DELETE", "/v1/kv?prefix=b".into(), Vec::new()),
        ("POST", "/v1/transactions".into(), json!({"then": [{"get": {"key": "a"}}]}).to_string().into()),
        ("POST", "/v1/commands".into(), put.to_string().into()),
        ("POST", "/v1/commands".into(), json!([put, put]).to_string().into()),
        ("POST", format!("/v1/sessions/{session}/watches"), json!({"key": "z"}).to_string().into()),
        ("DELETE", format!("/v1/sessions/{session}/watches/1"), Vec::new()),
        ("PUT", format!("/v1/locks/l?session={session}"), Vec::new()),
        ("DELETE", format!("/v1/locks/l?session={session}"), Vec::new()),
    ]
}

#[test]
fn a_number_that_comes_again_is_answered_as_before() {
    let server = server();
    let session = server.begin();
    for (n, (method, path, body)) in (1..).zip(commands(session)) {
        let first = numbered(&server, method, &path, session, n, &body);
        assert!(first.status < 300, "{method} {path}: {}", first.status);
        assert_eq!(first.header("copycat-event-index"), Some("0"), "{method} {path}");
        let index = server.fake.state().index;
        let again = numbered(&server, method, &path, session, n, &body);
        assert_eq!((again.status, &again.body), (first.status, &first.body), "byte for byte: {method} {path}");
        assert_eq!(again.header("copycat-index"), first.header("copycat-index"));
        assert_eq!(server.fake.state().index, index, "nothing is done twice: {method} {path}");
        let seen = json!({ "sequence": n });
        assert_eq!(server.post(&format!("/v1/sessions/{session}/keep-alive"), &seen).status, 200);
    }
}

#[test]
fn a_key_that_comes_again_is_answered_as_before() {
    let server = server();
    let session = server.begin();
    let register = ("POST", "/v1/sessions".to_string(), json!({"name": "w"}).to_string().into_bytes());
    for (n, (method, path, body)) in (1..).zip(commands(session).into_iter().chain([register])) {
        let first = keyed(&server, method, &path, &format!("key-{n}"), &body);
        assert!(first.status < 300, "{method} {path}: {}", first.status);
        let index = server.fake.state().index;
        let again = keyed(&server, method, &path, &format!("key-{n}"), &body);
        assert_eq!((again.status, &again.body), (first.status, &first.body), "byte for byte: {method} {path}");
        assert_eq!(server.fake.state().index, index, "nothing is done twice: {method} {path}");
    }
    let other = keyed(&server, "PUT", "/v1/kv/a", "key-1", b"y");
    assert_eq!(other.problem(422, "idempotency_mismatch")["retryable"], false);
    let other = keyed(&server, "POST", "/v1/sessions", "key-1", b"");
    other.problem(422, "idempotency_mismatch");
}

#[test]
fn numbers_that_do_not_follow() {
    let server = server();
    let session = server.begin();
    let put = |number: u64, value: &[u8]| numbered(&server, "PUT", "/v1/kv/a", session, number, value);
    let ahead = put(3, b"x").problem(409, "sequence_gap");
    let expected = (&1.into(), &true.into(), &"not_applied".into());
    assert_eq!((&ahead["expected"], &ahead["retryable"], &ahead["outcome"]), expected);
    assert_eq!(put(1, b"x").status, 201);
    assert_eq!(put(1, b"y").problem(422, "sequence_mismatch")["outcome"], "not_applied");
    for number in 2..=4 {
        assert_eq!(put(number, b"x").status, 200);
    }
    let busy = put(5, b"x");
    let problem = busy.problem(429, "too_many_requests");
    assert_eq!((&problem["retryable"], &problem["outcome"]), (&true.into(), &"not_applied".into()));
    assert_eq!(busy.header("retry-after"), Some("1"));
    assert!(problem["detail"].as_str().expect("text").contains("keep-alive"), "{problem}");
    server.post(&format!("/v1/sessions/{session}/keep-alive"), &json!({"sequence": 4}));
    assert_eq!(put(5, b"x").status, 200);
    let old = put(2, b"x").problem(409, "sequence_acknowledged");
    let expected = (&4.into(), &false.into(), &"unknown".into());
    assert_eq!((&old["acknowledged"], &old["retryable"], &old["outcome"]), expected, "it was answered once");
}

#[test]
fn an_error_that_is_an_answer_takes_its_number_and_is_not_to_be_repeated() {
    let server = server();
    let (session, other) = (server.begin(), server.begin());
    server.put(&format!("/v1/locks/l?session={other}"), b"");
    let watches = format!("/v1/sessions/{session}/watches");
    for key in ["a", "b", "c"] {
        assert_eq!(server.post(&watches, &json!({ "key": key })).status, 201);
    }
    for (number, (method, path, body, status, code)) in [
        ("POST", watches, json!({"key": "d"}).to_string(), 429, "too_many_requests"),
        ("PUT", format!("/v1/locks/l?session={session}"), String::new(), 409, "lock_held"),
    ]
    .into_iter()
    .enumerate()
    {
        let number = number as u64 + 1;
        let first = numbered(&server, method, &path, session, number, body.as_bytes());
        assert_eq!(first.problem(status, code)["retryable"], false, "{path}");
        assert!(first.header("copycat-index").is_some() && first.header("retry-after").is_none(), "{path}");
        let again = numbered(&server, method, &path, session, number, body.as_bytes());
        assert_eq!(again.problem(status, code), first.problem(status, code), "{path}");
        let other = numbered(&server, "PUT", "/v1/kv/a", session, number, b"x");
        other.problem(422, "sequence_mismatch");
    }
}

#[test]
fn what_is_refused_at_the_edge_takes_no_number() {
    let server = server();
    let session = server.begin();
    numbered(&server, "PUT", "/v1/kv/a?ttl=soon", session, 1, b"x").problem(400, "bad_duration");
    numbered(&server, "PUT", "/v1/kv/a", session, 1, &[b'x'; 1024 * 1024 + 1]).problem(413, "value_too_large");
    assert_eq!(numbered(&server, "PUT", "/v1/kv/a", session, 1, b"x").status, 201);
}

#[test]
fn the_session_stands_in_the_query_or_a_header() {
    let server = server();
    let session = server.begin();
    let by_query = format!("/v1/kv/a?session={session}&ephemeral");
    assert_eq!(server.put(&by_query, b"x").status, 201);
    let id = session.to_string();
    let both = server.call("PUT", &by_query, &[(SESSION, &id)], b"x");
    assert_eq!((both.status, both.header("copycat-event-index")), (200, Some("0")));
    server.call("PUT", &by_query, &[(SESSION, "99")], b"x").bad("session");
    for bad in ["", "x", "-1", "+1", "1.5", "18446744073709551616"] {
        server.call("PUT", "/v1/kv/a", &[(SESSION, bad)], b"x").bad(SESSION);
        server.put(&format!("/v1/kv/a?session={}", bad.replace('+', "%2B")), b"x").bad("session");
    }
    server.call("PUT", "/v1/kv/a", &[(SESSION, &id), (SESSION, &id)], b"x").bad(SESSION);
    // Reads are nobody's.
    assert_eq!(server.call("GET", "/v1/kv/a", &[(SESSION, "99"), (KEY, "k")], b"").status, 200);
    server.get("/v1/kv/a?session=1").bad("session");
}

#[test]
fn odd_numbers_and_keys_are_refused() {
    let server = server();
    let session = server.begin().to_string();
    let put = |headers: &[(&str, &str)]| server.call("PUT", "/v1/kv/a", headers, b"x");
    for bad in ["0", "", "x", "-1"] {
        put(&[(SESSION, &session), (SEQUENCE, bad)]).bad(SEQUENCE);
    }
    put(&[(SESSION, &session), (SEQUENCE, "1"), (SEQUENCE, "1")]).bad(SEQUENCE);
    put(&[(SEQUENCE, "1")]).bad("session");
    put(&[(SESSION, &session), (SEQUENCE, "1"), (KEY, "k")]).bad(KEY);
    for bad in ["", "a b", "ä", &"k".repeat(256)] {
        put(&[(KEY, bad)]).bad(KEY);
    }
    assert_eq!(put(&[(KEY, &"k".repeat(255))]).status, 201);
    assert_eq!(put(&[(KEY, "~!\"{}"), (SESSION, &session)]).status, 200, "also of a session");
    assert_eq!(server.fake.state().index, 3, "nothing else was carried out");
}

#[test]
fn a_command_as_json_may_name_its_session() {
    let server = server();
    let session = server.begin();
    let put = |extra: Value| {
        let mut body = json!({"command": {"put": {"key": "a", "value": "x"}}});
        body.as_object_mut().expect("an object").extend(extra.as_object().expect("an object").clone());
        body
    };
    let one = put(json!({"session": session, "sequence": 1}));
    let first = server.post("/v1/commands", &one);
    assert_eq!((first.status, first.header("copycat-event-index")), (200, Some("0")));
    assert_eq!(server.post("/v1/commands", &one).body, first.body);
    let headers = |session: u64, sequence: u64, body: &Value| {
        numbered(&server, "POST", "/v1/commands", session, sequence, body.to_string().as_bytes())
    };
    assert_eq!(headers(session, 1, &one).body, first.body, "both say the same");
    headers(99, 1, &one).bad("session");
    headers(session, 2, &one).bad("sequence");
    server.post(&format!("/v1/commands?session={}", session + 1), &one).bad("session");
    assert_eq!(headers(session, 2, &put(json!({}))).status, 200);
    server.post("/v1/commands", &put(json!({"sequence": 3}))).bad("session");
    server.post("/v1/commands", &put(json!({"session": session, "sequence": 0}))).bad("sequence");
    let keyed = server.call("POST", "/v1/commands", &[(KEY, "k")], one.to_string().as_bytes());
    keyed.bad("sequence");
    server.post("/v1/transactions", &json!({"session": session})).bad("session");
}

#[test]
fn a_batch_is_one_command_of_one_session() {
    let server = server();
    let session = server.begin();
    let put = json!({"command": {"put": {"key": "a", "value": "x"}}});
    let of = |session: u64| json!({"session": session, "command": put["command"]});
    let mut first = of(session);
    first["sequence"] = 1.into();
    let batch = json!([first, put, of(session)]);
    let answer = server.post("/v1/commands", &batch);
    assert_eq!((answer.status, answer.header("copycat-event-index")), (200, Some("0")));
    let index = server.fake.state().index;
    assert_eq!(server.post("/v1/commands", &batch).body, answer.body);
    assert_eq!(server.fake.state().index, index, "the whole of it is known again");
    for (batch, field) in [
        (json!([of(session), of(99)]), "[1].session"),
        (json!([put, {"session": session, "sequence": 2, "command": put["command"]}]), "[1].sequence"),
        (json!([{"sequence": 2, "command": put["command"]}]), "session"),
        (json!([{"session": "x", "command": put["command"]}]), "[0].session"),
    ] {
        server.post("/v1/commands", &batch).bad(field);
    }
    let headers = numbered(&server, "POST", "/v1/commands", session, 2, json!([put, put]).to_string().as_bytes());
    assert_eq!(headers.status, 200);
    let other = numbered(&server, "POST", "/v1/commands", 99, 3, json!([put, of(session)]).to_string().as_bytes());
    other.bad("[1].session");
}

#[test]
fn an_unknown_outcome_of_what_is_known_again_may_be_repeated() {
    let server = server();
    let session = server.begin();
    for failure in [Failure::Timeout { maybe_applied: true }, Failure::LeaderLost] {
        server.fake.state().failure = Some(failure);
        for (method, path, body) in commands(session) {
            let plain = server.call(method, &path, &[], &body).problem(504, "timeout");
            let harmless = path.contains("/watches") || (method, path.starts_with("/v1/locks")) == ("PUT", true);
            assert_eq!((&plain["outcome"], &plain["retryable"]), (&"unknown".into(), &harmless.into()), "{path}");
            for known in
                [numbered(&server, method, &path, session, 1, &body), keyed(&server, method, &path, "k", &body)]
            {
                let problem = known.problem(504, "timeout");
                assert_eq!((&problem["outcome"], &problem["retryable"]), (&"unknown".into(), &true.into()), "{path}");
            }
        }
    }
    server.fake.state().failure = Some(Failure::Internal);
    let fault = keyed(&server, "PUT", "/v1/kv/a", "k", b"").problem(500, "internal");
    assert_eq!((&fault["outcome"], &fault["retryable"]), (&"unknown".into(), &false.into()), "a fault stays one");
}

#[test]
fn sessions_that_are_not_there() {
    let server = server();
    let session = server.begin();
    server.fake.state().end(session, Ended::TimedOut);
    for (method, path, body) in commands(session) {
        let gone = numbered(&server, method, &path, session, 1, &body).problem(410, "session_expired");
        // It may be the repeat of one that was carried out before the session ended.
        let expected = (&"timeout".into(), &false.into(), &"unknown".into());
        assert_eq!((&gone["reason"], &gone["retryable"], &gone["outcome"]), expected, "{method} {path}");
        let header = ("Copycat-Session", session.to_string());
        let gone = server.call(method, &path, &[(header.0, &header.1)], &body).problem(410, "session_expired");
        assert_eq!(gone["outcome"], "not_applied", "{method} {path}");
    }
    for (method, path, body) in commands(99) {
        let none = numbered(&server, method, &path, 99, 1, &body).problem(404, "session_not_found");
        assert_eq!((&none["retryable"], &none["outcome"]), (&false.into(), &"not_applied".into()));
    }
    for (why, name) in [(Ended::Closed, "closed"), (Ended::QueueFull, "queue_full"), (Ended::Forgotten, "unknown")] {
        server.fake.state().failure = Some(Failure::SessionExpired(why));
        assert_eq!(server.put("/v1/kv/a", b"").problem(410, "session_expired")["reason"], name);
    }
}

/// Method, path, headers, body, and the field that the error names.
type Odd = (&'static str, String, Vec<(&'static str, &'static str)>, Value, &'static str);

/// Every request that may name a session, each with 0 in another place.
fn of_no_session() -> Vec<Odd> {
    let put = json!({"put": {"key": "c", "value": "x"}});
    let mut all = Vec::new();
    for (method, path, body) in commands(1) {
        // Where the path names a session, its parameter is not taken.
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        all.push((method, path.replace("session=1", ""), vec![(SESSION, "0")], body.clone(), SESSION));
        all.push((method, path.replace("session=1", ""), vec![(SESSION, "0"), (SEQUENCE, "1")], body.clone(), SESSION));
        if path.starts_with("/v1/sessions") {
            all.push((method, path.replace("/sessions/1", "/sessions/0"), vec![], body, "session"));
        } else {
            let path = path.replace("session=1", "");
            let path = format!("{path}{}session=0", if path.contains('?') { "&" } else { "?" }).replace("?&", "?");
            all.push((method, path.clone(), vec![], body.clone(), "session"));
            all.push((method, path, vec![(SEQUENCE, "1")], body, "session"));
        }
    }
    let none = || Value::Null;
    for method in ["GET", "DELETE"] {
        all.push((method, "/v1/sessions/0".into(), vec![], none(), "session"));
    }
    all.push(("POST", "/v1/sessions/0/keep-alive".into(), vec![], none(), "session"));
    all.push(("POST", "/v1/sessions/1/keep-alive".into(), vec![(SESSION, "0")], none(), SESSION));
    all.push(("DELETE", "/v1/sessions/1".into(), vec![(SESSION, "0")], none(), SESSION));
    for wait in ["", "?wait=1s", "?after=0"] {
        all.push(("GET", format!("/v1/sessions/0/events{wait}"), vec![], none(), "session"));
    }
    all.push(("GET", "/v1/sessions/0/events".into(), vec![("Accept", "text/event-stream")], none(), "session"));
    all.push(("GET", "/v1/sessions/1/events".into(), vec![(SESSION, "0")], none(), SESSION));
    all.push(("DELETE", "/v1/locks/l/holders/0".into(), vec![], none(), "session"));
    all.push(("DELETE", "/v1/locks/l/holders/1".into(), vec![(SESSION, "0")], none(), SESSION));
    all.push(("POST", "/v1/sessions".into(), vec![(SESSION, "0")], none(), SESSION));
    let command = json!({"command": put, "session": 0});
    all.push(("POST", "/v1/commands".into(), vec![], command.clone(), "session"));
    all.push(("POST", "/v1/commands".into(), vec![], json!([{"command": put}, command]), "[1].session"));
    let revoke = json!({"command": {"revoke": {"lock": "l", "session": 0}}});
    all.push(("POST", "/v1/commands".into(), vec![], revoke, "command.revoke.session"));
    all
}

#[test]
fn session_0_is_a_bad_request_everywhere() {
    let server = server();
    assert_eq!(server.begin(), 1);
    let index = server.fake.state().index;
    for (method, path, headers, body, field) in of_no_session() {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into() };
        let answer = server.call(method, &path, &headers, &body);
        let said = (answer.status, answer.json());
        assert_eq!(said.0, 400, "{method} {path} {headers:?}: {}", said.1);
        assert_eq!((&said.1["code"], &said.1["field"]), (&"bad_request".into(), &field.into()), "{method} {path}");
        assert_eq!(server.fake.state().index, index, "{method} {path} {headers:?}");
    }
}
