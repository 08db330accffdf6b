//! Commands and queries, alone and as a batch.

use crate::fake::{Server, server};
use copycat_http::{Consistency, Failure};
use serde_json::{Value, json};

fn put(key: &str, value: &str) -> Value {
    json!({"command": {"put": {"key": key, "value": value}}})
}

impl Server {
    fn command(&self, body: &Value) -> crate::client::Response {
        self.post("/v1/commands", body)
    }

    fn query(&self, body: &Value) -> crate::client::Response {
        self.post("/v1/queries", body)
    }
}

#[test]
fn one_command() {
    let server = server();
    let answer = server.command(&put("a", "x"));
    let expected = json!({"index": 1, "output": {"put": {"key": "a", "version": 1, "created": true}}});
    assert_eq!((answer.status, answer.json()), (200, expected));
    assert_eq!(answer.header("copycat-index"), Some("1"));
    server.put("/v1/kv/p%2F1", b"");
    server.put("/v1/kv/p%2F2", b"");
    for (command, output) in [
        (
            json!({"delete_prefix": {"prefix": "p/", "limit": 1}}),
            json!({"delete_prefix": {"deleted": 1, "more": true}}),
        ),
        (
            json!({"delete": {"key": "a", "if": {"version": 1}}}),
            json!({"delete": {"key": "a", "deleted": true, "version": 1}}),
        ),
        (
            json!({"transaction": {"then": [{"get": {"key": "a"}}]}}),
            json!({"transaction": {"succeeded": true, "results": [{"get": {"key": "a", "item": null}}]}}),
        ),
        (json!({"delete_prefix": {"all": true}}), json!({"delete_prefix": {"deleted": 1, "more": false}})),
        (
            json!({"put": {"key": "/w==", "key_encoding": "base64", "value": ""}}),
            json!({"put": {"key": "/w==", "key_encoding": "base64", "version": 8, "created": true}}),
        ),
    ] {
        let answer = server.command(&json!({ "command": command }));
        assert_eq!((answer.status, &answer.json()["output"]), (200, &output), "{command}");
    }
}

#[test]
fn conditions_of_one_key() {
    let server = server();
    let put =
        |condition: Value| server.command(&json!({"command": {"put": {"key": "a", "value": "", "if": condition}}}));
    let problem = put(json!({"exists": true}));
    assert_eq!(problem.problem(412, "version_mismatch")["version"], Value::Null);
    assert_eq!(put(json!({"exists": false})).status, 200);
    assert_eq!(put(json!({"version": 0})).problem(412, "version_mismatch")["version"], 2);
    let mismatch = put(json!({"version": 1}));
    mismatch.problem(412, "version_mismatch");
    assert_eq!((mismatch.header("etag"), mismatch.header("copycat-index")), (Some("\"2\""), Some("4")));
    assert_eq!(put(json!({"versions": [1, 2]})).status, 200);
    assert_eq!(put(json!({"version": 1, "exists": true})).status, 400);
}

#[test]
fn a_batch_answers_each_of_its_commands() {
    let server = server();
    let answer = server.command(&json!([
        put("a", "one"),
        {"command": {"put": {"key": "a", "value": "two", "if": {"exists": false}}}},
        {"command": {"delete": {"key": "b"}}},
        put("a", "three"),
    ]));
    let expected = json!([
        {"index": 1, "output": {"put": {"key": "a", "version": 1, "created": true}}},
        {"index": 1, "output": {"error": {"code": "version_mismatch", "version": 1}}},
        {"index": 1, "output": {"delete": {"key": "b", "deleted": false, "version": null}}},
        {"index": 1, "output": {"put": {"key": "a", "version": 1, "created": false}}},
    ]);
    assert_eq!((answer.status, answer.json()), (200, expected));
    assert_eq!(server.get("/v1/kv/a").body, b"three");
    let one = server.command(&json!([put("a", "x")])).json();
    assert_eq!(one.as_array().expect("a list").len(), 1, "a list of one is a list");
}

#[test]
fn one_wrong_command_stops_its_batch() {
    let server = server();
    let batch = |third: Value| server.command(&json!([put("a", ""), put("b", ""), third]));
    for (third, status, code, field) in [
        (put("", ""), 400, "bad_request", "[2].command.put.key"),
        (json!({"command": {"put": {"key": "a"}}}), 400, "bad_request", "[2].command.put.value"),
        (json!({"command": {"put": {"key": "a", "value": "", "x": 1}}}), 400, "bad_request", "[2].command.put.x"),
        (json!({"order": {}}), 400, "bad_request", "[2].order"),
        (json!({"command": {"delete_prefix": {}}}), 400, "bad_request", "[2].command.delete_prefix.all"),
        (
            json!({"command": {"delete_prefix": {"prefix": "a", "limit": 0}}}),
            400,
            "bad_request",
            "[2].command.delete_prefix.limit",
        ),
        (put("c", &"x".repeat(1024 * 1024 + 1)), 413, "value_too_large", "[2].command.put.value"),
        (
            json!({"command": {"transaction": {"then": vec![json!({"get": {"key": "a"}}); 129]}}}),
            413,
            "too_many_operations",
            "[2].command.transaction.then",
        ),
        (json!({"session": "x", "command": put("a", "")["command"]}), 400, "bad_request", "[2].session"),
    ] {
        let answer = batch(third);
        let problem = answer.problem(status, code);
        assert_eq!(problem["field"], field, "{problem}");
        assert!(problem["detail"].as_str().expect("text").contains(field), "{problem}");
    }
    server.command(&json!([])).bad("body");
    assert_eq!(server.fake.state().index, 0, "nothing was applied");
}

#[test]
fn batches_are_bounded() {
    let server = server();
    assert_eq!(server.command(&json!(vec![put("a", "x"); 1000])).json()[999]["output"]["put"]["created"], false);
    server.command(&json!(vec![put("a", "x"); 1001])).problem(413, "too_many_operations");
    // What a batch may delete, and what it may read, is bounded as for one command.
    let delete = |limit: u64| json!({"command": {"delete_prefix": {"prefix": "p", "limit": limit}}});
    assert_eq!(server.command(&json!([delete(4000), delete(6000)])).status, 200);
    let many = server.command(&json!([delete(4000), delete(6001)]));
    assert_eq!(many.problem(413, "too_many_operations")["field"], "[1].command.delete_prefix.limit");
    server.put("/v1/kv/a", &[b'x'; 1024 * 1024]);
    let read = json!({"command": {"transaction": {"then": vec![json!({"get": {"key": "a"}}); 3]}}});
    assert_eq!(server.command(&read).status, 200);
    let both = server.command(&json!([read, read])).json();
    assert_eq!(both[1]["output"], json!({"error": {"code": "body_too_large", "version": null}}));
    let alone = json!({"command": {"transaction": {"then": vec![json!({"get": {"key": "a"}}); 5]}}});
    server.command(&alone).problem(413, "body_too_large");
}

#[test]
fn questions_as_json() {
    let server = server();
    for key in ["a%2F1", "a%2Fb%2F1", "a%2Fb%2F2", "b"] {
        server.put(&format!("/v1/kv/{key}"), b"x");
    }
    let got = server.query(&json!({"query": {"get": {"key": "b"}}, "consistency": "sequential", "index": 3}));
    let item = json!({
        "key": "b", "value": "x", "encoding": "utf-8", "content_type": "text/plain; charset=utf-8", "version": 4,
        "created_index": 4, "ttl_ms": null, "session": null,
    });
    assert_eq!((got.status, got.json()), (200, json!({"index": 4, "output": {"get": {"key": "b", "item": item}}})));
    assert_eq!(got.header("copycat-consistency"), Some("sequential"));
    let read = *server.fake.state().reads.last().expect("a read");
    assert_eq!((read.consistency, read.index), (Consistency::Sequential, 3));
    let none = server.query(&json!({"query": {"get": {"key": "none"}}})).json();
    assert_eq!(none["output"], json!({"get": {"key": "none", "item": null}}));
    let list = json!({"prefix": "a/", "separator": "/", "values": "none", "limit": 1, "max_bytes": 100});
    let page = server.query(&json!({"query": {"list": list}})).json();
    let (items, next) = (&page["output"]["list"]["items"], &page["output"]["list"]["next"]);
    assert_eq!((&items[0]["key"], &items[0]["value"]), (&"a/1".into(), &Value::Null));
    let more = server.query(&json!({"query": {"list": {"prefix": "a/", "separator": "/", "cursor": next}}})).json();
    assert_eq!(more["output"]["list"], json!({"items": [{"prefix": "a/b/"}], "next": null}));
}

#[test]
fn odd_questions_are_refused() {
    let server = server();
    for (body, field) in [
        (json!({"query": {"get": {"key": ""}}}), "query.get.key"),
        (json!({"query": {"list": {"limit": 1001}}}), "query.list.limit"),
        (json!({"query": {"list": {"max_bytes": 0}}}), "query.list.max_bytes"),
        (json!({"query": {"list": {"separator": ""}}}), "query.list.separator"),
        (json!({"query": {"list": {"cursor": "x"}}}), "query.list.cursor"),
        (json!({"query": {"list": {"values": "all"}}}), "query.list.values"),
        (json!({"query": {"list": {"prefix": "a".repeat(4097)}}}), "query.list.prefix"),
        (json!({"query": {"got": {}}}), "query"),
        (json!({"query": {"get": {"key": "a"}}, "index": -1}), "index"),
    ] {
        let answer = server.query(&body);
        assert_eq!(answer.problem(400, "bad_request")["field"], field, "{body}");
    }
    let strong = json!({"query": {"get": {"key": "a"}}, "consistency": "strong"});
    server.query(&strong).problem(400, "bad_consistency");
    server.post("/v1/queries?consistency=lease", &json!({"query": {"get": {"key": "a"}}})).bad("consistency");
    assert!(server.fake.state().reads.is_empty());
    // Its outcome is a read's, though it is posted.
    server.fake.state().failure = Some(Failure::LeaderLost);
    let lost = server.query(&json!({"query": {"get": {"key": "a"}}})).problem(504, "timeout");
    assert_eq!((&lost["outcome"], &lost["retryable"]), (&"not_applied".into(), &true.into()));
    let lost = server.command(&put("a", "x")).problem(504, "timeout");
    assert_eq!((&lost["outcome"], &lost["retryable"]), (&"unknown".into(), &false.into()));
    server.fake.state().failure = Some(Failure::TooLarge);
    server.command(&json!([put("a", "x")])).problem(413, "body_too_large");
}

#[test]
fn the_log_shows_what_was_sent() {
    let server = server();
    let sent = json!({"put": {
        "key": "/w==", "key_encoding": "base64", "value": "x", "encoding": "utf-8", "content_type": "a/b",
        "if": {"exists": false},
    }});
    server.command(&json!({ "command": sent }));
    server.command(&json!([put("b", "1"), {"command": {"delete": {"key": "b"}}}]));
    server.delete("/v1/kv/c");
    let answer = server.get("/v1/log/entries?from=1&limit=2");
    let page = answer.json();
    let first = json!({
        "index": 1, "term": 3, "time_ms": 1_700_000_000_001_u64, "kind": "command", "mode": "release", "bytes": 100,
        "command": sent,
    });
    assert_eq!((answer.status, &page["entries"][0], &page["next"]), (200, &first, &3.into()));
    assert_eq!(page["entries"][1]["command"][1], json!({"delete": {"key": "b"}}), "a batch is a list");
    let rest = server.get("/v1/log/entries?from=3").json();
    assert_eq!(rest["entries"].as_array().expect("entries").len(), 1);
    server.fake.state().log[2].command = None;
    assert_eq!(server.get("/v1/log/entries?from=3").json()["entries"][0]["command"], Value::Null);
    let empty = server.get("/v1/log/entries?from=99").json();
    assert_eq!(empty, json!({"entries": [], "next": null}));
    assert_eq!(server.get("/v1/log/entries").json()["entries"][0]["index"], 1, "from the beginning");
    for bad in ["limit=0", "limit=1001", "from=x", "to=3"] {
        server.get(&format!("/v1/log/entries?{bad}")).bad(bad.split('=').next().expect("a name"));
    }
    let segments = server.get("/v1/log").json();
    let segment = json!({
        "file": "0000000000000001-1.segment", "first_index": 1, "last_index": 5, "bytes": 7, "sealed": true, "live": 1,
        "released": 3, "tombstones": 1, "holes": 1, "generation": 2, "pinned_by": "referred to by the snapshot",
    });
    let expected = json!({
        "segments": [segment], "first_index": 1, "last_index": 9, "durable_index": 9, "bytes": 10, "live": 1,
    });
    assert_eq!(segments, expected);
    server.fake.state().failure = Some(Failure::Overloaded);
    server.get("/v1/log").problem(503, "overloaded");
    server.get("/v1/log/entries").problem(503, "overloaded");
}
