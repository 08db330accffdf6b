//! One key: put, get, delete, conditions, and keys that clients fold.

use crate::fake::server;
use serde_json::{Value, json};

#[test]
fn a_key_is_created_changed_read_and_deleted() {
    let server = server();
    let created = server.put("/v1/kv/a", b"one");
    assert_eq!((created.status, created.json()), (201, json!({"key": "a", "version": 1, "created": true, "index": 1})));
    assert_eq!(created.header("etag"), Some("\"1\""));
    let changed = server.put("/v1/kv/a", b"two");
    assert_eq!(
        (changed.status, changed.json()),
        (200, json!({"key": "a", "version": 2, "created": false, "index": 2}))
    );
    let found = server.get("/v1/kv/a");
    assert_eq!((found.status, found.body.as_slice(), found.header("etag")), (200, &b"two"[..], Some("\"2\"")));
    let gone = server.delete("/v1/kv/a");
    assert_eq!((gone.status, gone.json()), (200, json!({"deleted": true, "version": 2, "index": 3})));
    let again = server.delete("/v1/kv/a");
    assert_eq!((again.status, again.json()), (200, json!({"deleted": false, "version": null, "index": 4})));
    let missing = server.get("/v1/kv/a");
    assert_eq!(missing.problem(404, "key_not_found")["retryable"], false);
    assert_eq!(missing.header("copycat-index"), Some("4"), "to go on from");
}

#[test]
fn every_answer_says_where_it_comes_from() {
    let server = server();
    for answer in [server.put("/v1/kv/a", b"x"), server.get("/v1/kv/a"), server.get("/v1/kv"), server.get("/v1/kv/b")] {
        assert_eq!(answer.header("copycat-index"), Some("1"));
        assert_eq!(answer.header("copycat-term"), Some("3"));
        assert_eq!(answer.header("copycat-served-by"), Some("2"));
        assert!(answer.header("date").is_some());
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    }
    assert_eq!(server.put("/v1/kv/a", b"x").header("copycat-consistency"), None);
    assert_eq!(server.get("/v1/kv/a").header("copycat-consistency"), Some("linearizable"));
    assert_eq!(server.get("/v1/kv/a?consistency=lease").header("copycat-consistency"), Some("lease"));
}

#[test]
fn ids_of_requests_are_echoed_or_made() {
    let server = server();
    let with = |id: &str| {
        let answer = server.call("GET", "/v1/kv/a", &[("Request-Id", id)], b"");
        answer.header("request-id").expect("an id").to_string()
    };
    assert_eq!(with("abc-1"), "abc-1");
    let made = with("a b");
    assert_ne!(made, "a b", "not with spaces");
    assert!(with(&"x".repeat(129)).len() < 128, "not that long");
    assert_ne!(made, server.get("/livez").header("request-id").expect("an id"));
}

#[test]
fn conditional_writes() {
    let server = server();
    let write = |method: &str, name: &str, value: &str| server.call(method, "/v1/kv/a", &[(name, value)], b"");
    let absent = write("PUT", "If-Match", "*");
    assert_eq!(absent.problem(412, "version_mismatch")["version"], Value::Null);
    assert_eq!(absent.header("etag"), None);
    assert_eq!(write("DELETE", "If-Match", "\"1\"").status, 412);
    assert_eq!(write("PUT", "If-None-Match", "*").status, 201);
    let exists = write("PUT", "If-None-Match", "*");
    let problem = exists.problem(412, "version_mismatch");
    assert_eq!((&problem["version"], &problem["outcome"]), (&json!(3), &json!("not_applied")));
    assert_eq!((exists.header("etag"), exists.header("copycat-index")), (Some("\"3\""), Some("4")));
    assert_eq!(write("PUT", "If-Match", "W/\"3\"").status, 412, "weak tags never match a write");
    assert_eq!(write("PUT", "If-Match", "\"9\", \"3\"").status, 200);
    assert_eq!(write("PUT", "If-Match", "\"3\"").status, 412, "a version is never used twice");
    assert_eq!(write("PUT", "If-Match", "*").status, 200);
    assert_eq!(write("DELETE", "If-Match", "\"6\"").status, 412);
    assert_eq!(write("DELETE", "If-Match", "\"8\"").status, 200);
    write("PUT", "If-Match", "17").bad("If-Match");
    write("PUT", "If-None-Match", "\"17\"").bad("If-None-Match");
}

#[test]
fn conditional_reads() {
    let server = server();
    server.put("/v1/kv/a", b"x");
    let read = |name: &str, value: &str| server.call("GET", "/v1/kv/a", &[(name, value)], b"");
    for same in ["\"1\"", "W/\"1\"", "\"0\", \"1\"", "*"] {
        let answer = read("If-None-Match", same);
        assert_eq!((answer.status, answer.header("etag")), (304, Some("\"1\"")), "{same}");
        assert_eq!(answer.header("copycat-index"), Some("1"));
    }
    assert_eq!(read("If-None-Match", "\"2\"").status, 200);
    assert_eq!(read("If-None-Match", "\"\"").status, 200, "curl's, when it has none");
    assert_eq!(read("If-Match", "\"2\"").problem(412, "version_mismatch")["version"], 1);
    let missing = server.call("GET", "/v1/kv/b", &[("If-None-Match", "\"1\"")], b"");
    missing.problem(404, "key_not_found");
}

#[test]
fn keys_are_bytes_and_never_normalised() {
    let server = server();
    let ways = [
        ("/v1/kv/a%2Fb", "/v1/kv?key=a/b", "a/b"),
        ("/v1/kv/a//b", "/v1/kv?key=a%2F%2Fb", "a//b"),
        ("/v1/kv/a/b/", "/v1/kv?key=a/b/", "a/b/"),
        ("/v1/kv//", "/v1/kv?key=/", "/"),
        ("/v1/kv/..", "/v1/kv?key=..", ".."),
        ("/v1/kv/x/../y/./z", "/v1/kv?key=x/../y/./z", "x/../y/./z"),
        ("/v1/kv/%00", "/v1/kv?key=%00", "\0"),
        ("/v1/kv/a+b%20%2B", "/v1/kv?key=a%2Bb+%2B", "a+b +"),
        ("/v1/kv/%E2%82%AC?", "/v1/kv?key=%e2%82%ac", "€"),
        ("/v1/kv/%2525", "/v1/kv?key=%2525", "%25"),
        ("/v1/kv/%3Fkey=q", "/v1/kv?key=%3Fkey%3Dq", "?key=q"),
    ];
    for (path, _, key) in ways {
        assert_eq!(server.put(path, key.as_bytes()).json()["key"], key, "{path}");
    }
    for (path, query, key) in ways {
        assert_eq!(server.get(query).body, key.as_bytes(), "{query}");
        assert_eq!(server.delete(query).json()["deleted"], true, "{query}");
        assert_eq!(server.put(query, b"").status, 201, "{query}");
        assert_eq!(server.get(path).status, 200, "{path}");
    }
}

#[test]
fn a_key_that_is_no_text_is_base64_in_json() {
    let server = server();
    let put = server.put("/v1/kv/%ff", b"\xff\0").json();
    assert_eq!((&put["key"], &put["key_encoding"]), (&json!("/w=="), &json!("base64")));
    let expected = json!({
        "key": "/w==", "key_encoding": "base64", "value": "/wA=", "encoding": "base64",
        "content_type": "application/octet-stream", "version": 1, "created_index": 1, "ttl_ms": null, "session": null,
    });
    assert_eq!(server.get("/v1/kv?key=%FF&meta").json(), expected);
    assert_eq!(server.get("/v1/kv").json()["items"], json!([expected]));
}

#[test]
fn meta_tells_everything_about_a_key() {
    let server = server();
    server.put("/v1/kv/a", b"old");
    server.put("/v1/kv/a", "grün".as_bytes());
    let meta = server.get("/v1/kv/a?meta");
    assert_eq!((meta.header("content-type"), meta.header("etag")), (Some("application/json"), Some("\"2\"")));
    let expected = json!({
        "key": "a", "value": "grün", "encoding": "utf-8", "content_type": "text/plain; charset=utf-8",
        "version": 2, "created_index": 1, "ttl_ms": null, "session": null,
    });
    assert_eq!(meta.json(), expected);
    assert_eq!(server.get("/v1/kv/a?meta=false").body, "grün".as_bytes());
    server.get("/v1/kv/a?meta=yes").bad("meta");
    server.get("/v1/kv?meta").bad("meta");
}

#[test]
fn head_is_get_without_the_body() {
    let server = server();
    server.put("/v1/kv/a", b"four");
    for path in ["/v1/kv/a", "/v1/kv?key=a"] {
        let head = server.call("HEAD", path, &[], b"");
        assert_eq!((head.status, head.header("content-length"), head.header("etag")), (200, Some("4"), Some("\"1\"")));
    }
    assert_eq!(server.call("HEAD", "/v1/kv/b", &[], b"").status, 404);
    assert_eq!(server.call("HEAD", "/v1/cluster", &[], b"").status, 200);
}

#[test]
fn keys_have_a_length() {
    let server = server();
    server.put("/v1/kv/", b"x").bad("key");
    server.put("/v1/kv?key=", b"x").bad("key");
    server.put("/v1/kv", b"x").bad("key");
    server.delete("/v1/kv").bad("all");
    let longest = format!("/v1/kv/{}", "%61".repeat(4096));
    assert_eq!(server.put(&longest, b"x").status, 201);
    assert_eq!(server.get(&format!("/v1/kv?key={}", "a".repeat(4096))).status, 200);
    server.put(&format!("{longest}b"), b"x").bad("key");
    server.put("/v1/kv/50%", b"x").bad("key");
}

#[test]
fn a_ttl_is_taken_and_told() {
    let server = server();
    assert_eq!(server.put("/v1/kv/a?ttl=1500ms", b"x").status, 201);
    assert_eq!(server.get("/v1/kv/a?meta").json()["ttl_ms"], 1500);
    assert_eq!(server.put("/v1/kv?key=a&ttl=1m", b"x").status, 200);
    assert_eq!(server.get("/v1/kv?prefix=a").json()["items"][0]["ttl_ms"], 60_000);
    server.put("/v1/kv/a", b"x");
    assert_eq!(server.get("/v1/kv/a?meta").json()["ttl_ms"], json!(null));
    for bad in ["0s", "9999h", "soon", "", "-1s"] {
        let answer = server.put(&format!("/v1/kv/a?ttl={bad}"), b"x");
        assert_eq!(answer.problem(400, "bad_duration")["field"], "ttl", "{bad}");
    }
    server.get("/v1/kv/a?ttl=1s").bad("ttl");
    server.delete("/v1/kv/a?ttl=1s").bad("ttl");
    let put = |ttl: &str| json!({"command": {"put": {"key": "b", "value": "x", "ttl": ttl}}});
    assert_eq!(server.post("/v1/commands", &put("2s")).status, 200);
    assert_eq!(server.get("/v1/kv/b?meta").json()["ttl_ms"], 2000);
    let refused = server.post("/v1/commands", &put("0s"));
    assert_eq!(refused.problem(400, "bad_duration")["field"], "command.put.ttl");
}
