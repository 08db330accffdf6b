//! The cluster, the server, the probes, the front page.

use crate::fake::server;
use copycat_http::{Conflict, Failure, Range};
use serde_json::json;
use std::time::Duration;

#[test]
fn the_cluster_as_this_server_knows_it() {
    let server = server();
    let answer = server.get("/v1/cluster");
    let expected = json!({
        "cluster_id": null, "term": 3, "leader": null, "configuration_index": 17,
        "members": [{
            "id": 1, "type": "active", "becoming": null, "status": "available", "identity": null, "http": null,
            "peer": "127.0.0.1:9700",
            "match_index": 7, "lag": 0, "lag_ms": 0, "heard_ms": 3,
        }],
    });
    assert_eq!((answer.status, answer.json()), (200, expected));
    assert_eq!(answer.header("copycat-term"), Some("3"));
    assert_eq!(answer.header("copycat-served-by"), Some("1"), "itself");
}

#[test]
fn the_server() {
    let answer = server().get("/v1/server");
    let view = answer.json();
    assert_eq!((answer.status, &view["role"], &view["log"]["durable_index"]), (200, &json!("follower"), &json!(9)));
    assert_eq!((&view["global_index"], &view["snapshot"]), (&json!(6), &json!({ "index": 5, "bytes": 300 })));
    assert_eq!(answer.header("copycat-index"), Some("8"));
}

#[test]
fn the_settings_are_shown_and_changed() {
    let server = server();
    let answer = server.get("/v1/cluster/settings");
    let before = json!({
        "election_timeout": "500ms", "clock_drift_permille": 100, "largest_entry": 8_388_608, "sessions": 1,
        "session_answers": 2, "session_answer_bytes": 3, "session_events": 4, "session_event_bytes": 5,
        "idempotency_keys": 6, "idempotency_key_bytes": 7, "idempotency_window": "10m", "configuration": 17,
    });
    assert_eq!((answer.status, answer.json()), (200, before));
    assert_eq!(answer.header("copycat-term"), Some("3"));
    let put = |body: &serde_json::Value, query: &str| {
        server.call("PUT", &format!("/v1/cluster/settings{query}"), &[], body.to_string().as_bytes())
    };
    let change = json!({ "configuration": 17, "election_timeout": "1s", "idempotency_window": "90s" });
    let answer = put(&change, "?timeout=3s");
    let after = answer.json();
    assert_eq!((answer.status, &after["election_timeout"], &after["configuration"]), (200, &json!("1s"), &json!(18)));
    assert_eq!((&after["idempotency_window"], &after["largest_entry"]), (&json!("90s"), &json!(8_388_608)));
    assert_eq!(server.fake.state().timeouts, [Duration::from_secs(3)]);
    let problem = put(&json!({ "configuration": 16 }), "").problem(409, "configuration_conflict");
    assert_eq!(problem["configuration"], 17);
    for (body, field) in [
        (json!({}), "configuration"),
        (json!({ "configuration": -1 }), "configuration"),
        (json!({ "configuration": 17, "election_timeout": "soon" }), "election_timeout"),
        (json!({ "configuration": 17, "election_timeout": 500 }), "election_timeout"),
        (json!({ "configuration": 17, "sessions": "1" }), "sessions"),
        (json!({ "configuration": 17, "speed": 1 }), "speed"),
    ] {
        assert_eq!(put(&body, "").problem(400, "bad_request")["field"], field, "{body}");
    }
    put(&json!({ "configuration": 17 }), "?timeout=x").problem(400, "bad_duration");
    let out_of_range = Range { field: "largest_entry", least: 5, most: 6, is_time: false };
    for (failure, status, code) in [
        (Failure::OutOfRange(out_of_range), 400, "bad_request"),
        (Failure::NoLeader, 503, "no_leader"),
        (Failure::ConfigurationConflict(Conflict::Busy), 409, "configuration_conflict"),
    ] {
        server.fake.state().failure = Some(failure);
        put(&json!({ "configuration": 17 }), "").problem(status, code);
    }
}

#[test]
fn probes() {
    let server = server();
    assert_eq!(server.get("/readyz").body, b"ok\n");
    assert_eq!(server.get("/readyz?verbose").body, b"log: ok\nleader: ok\nok\n");
    server.fake.state().unready = true;
    assert_eq!((server.get("/livez").status, server.get("/livez").body), (200, b"ok\n".to_vec()));
    let problem = server.get("/readyz?verbose").problem(503, "not_ready");
    assert_eq!(problem["checks"], json!({"log": "ok", "leader": "no leader is known"}));
    server.get("/readyz").problem(503, "not_ready");
}

#[test]
fn the_front_page_shows_the_way() {
    let server = server();
    let page = server.get("/");
    let text = String::from_utf8(page.body.clone()).expect("text");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/plain; charset=utf-8")));
    assert!(text.contains("curl http://127.0.0.1/v1/kv/hello"), "{text}");
}
