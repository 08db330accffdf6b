//! The cluster, the server, the probes, the front page.

use crate::fake::server;
use serde_json::json;

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
