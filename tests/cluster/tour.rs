//! What a person with curl sees, on each of three servers.

use crate::harness::{Cluster, ask, get, json, turn, wait_for};
use copycat_testkit::http::Answer;
use std::net::SocketAddr;

fn put(server: SocketAddr, path: &str, headers: &[(&str, &str)], value: &[u8]) -> Answer {
    ask(server, "PUT", path, headers, value)
}

/// A problem says what it is, in fields that scripts can rely on.
fn assert_problem(answer: &Answer, status: u16, code: &str) {
    let text = answer.text();
    assert_eq!(answer.status, status, "{text}");
    assert!(
        answer.header("content-type").is_some_and(|t| t.starts_with("application/problem+json")),
        "{:?}",
        answer.headers
    );
    let problem = json(answer);
    assert_eq!(problem["code"], code, "{text}");
    assert_eq!(problem["status"], status, "{text}");
    assert_eq!(problem["outcome"], "not_applied", "{text}");
    assert!(problem["retryable"].is_boolean() && problem["title"].is_string(), "{text}");
}

#[test]
fn every_server_takes_every_request() {
    let _turn = turn();
    let cluster = Cluster::start();
    let servers = cluster.addresses();
    for (i, &server) in servers.iter().enumerate() {
        let other = servers[(i + 1) % 3];
        let key = format!("/v1/kv/tour/{i}");

        // Create, read elsewhere, replace.
        let created = put(server, &key, &[], b"hello");
        assert_eq!(created.status, 201, "{}", created.text());
        let (body, first) = (json(&created), created.header("etag").expect("an ETag").to_string());
        assert_eq!((&body["key"], &body["created"]), (&format!("tour/{i}").into(), &true.into()));
        assert_eq!(first, format!("\"{}\"", body["version"]));
        for header in ["copycat-index", "copycat-term", "copycat-served-by", "request-id"] {
            assert!(created.header(header).is_some(), "no {header}: {:?}", created.headers);
        }
        let read = get(other, &key);
        assert_eq!((read.status, read.text().as_str(), read.header("etag")), (200, "hello", Some(first.as_str())));
        assert_eq!(read.header("content-type"), Some("text/plain; charset=utf-8"));
        assert_eq!(read.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(ask(server, "GET", &key, &[("If-None-Match", &first)], b"").status, 304);
        let replaced = put(other, &key, &[("If-Match", &first), ("Content-Type", "application/json")], b"{}");
        assert_eq!((replaced.status, &json(&replaced)["created"]), (200, &false.into()), "{}", replaced.text());
        let second = replaced.header("etag").expect("an ETag").to_string();

        // Conditions that do not hold change nothing.
        let late = put(server, &key, &[("If-Match", &first)], b"too late");
        assert_problem(&late, 412, "version_mismatch");
        assert_eq!(late.header("etag"), Some(second.as_str()));
        assert_problem(&put(server, &key, &[("If-None-Match", "*")], b"again"), 412, "version_mismatch");
        let meta = json(&get(server, &format!("{key}?meta")));
        assert_eq!((&meta["value"], &meta["encoding"]), (&"{}".into(), &"utf-8".into()), "{meta}");
        assert_eq!(meta["content_type"], "application/json", "{meta}");
        assert_eq!(meta["created_index"], body["version"], "{meta}");
        assert_eq!(format!("\"{}\"", meta["version"]), second);

        // Deleting, twice.
        let gone = ask(server, "DELETE", &key, &[("If-Match", &second)], b"");
        assert_eq!((gone.status, &json(&gone)["deleted"]), (200, &true.into()), "{}", gone.text());
        assert_eq!(format!("\"{}\"", json(&gone)["version"]), second);
        assert_eq!(json(&ask(other, "DELETE", &key, &[], b""))["deleted"], false);
        assert_problem(&get(other, &key), 404, "key_not_found");
    }
}

#[test]
fn values_and_keys_of_any_bytes_lists_and_consistencies() {
    let _turn = turn();
    let cluster = Cluster::start();
    let servers = cluster.addresses();
    // Any bytes, the empty value, keys that clients would fold.
    let binary: Vec<u8> = (0..=255).collect();
    for (path, value) in
        [("/v1/kv/bin%00%ff%2F", &binary[..]), ("/v1/kv/empty", b""), ("/v1/kv?key=a/../b%20%26", b"folded")]
    {
        assert_eq!(put(servers[0], path, &[], value).status, 201, "{path}");
        let read = get(servers[1], path);
        assert_eq!((read.status, &read.body[..]), (200, value), "{path}");
    }
    let meta = json(&get(servers[2], "/v1/kv/bin%00%ff%2F?meta"));
    assert_eq!(meta["encoding"], "base64", "{meta}");

    // Lists: key order, pages, prefixes.
    for n in 0..25 {
        put(servers[n % 3], &format!("/v1/kv/list/{n:02}"), &[], format!("{n}").as_bytes());
    }
    let (mut keys, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = json(&get(servers[1], &format!("/v1/kv?prefix=list/&limit=10{cursor}")));
        let items = page["items"].as_array().expect("items").clone();
        assert!(items.len() <= 10);
        keys.extend(items.iter().map(|item| item["key"].as_str().expect("a key").to_string()));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(keys, (0..25).map(|n| format!("list/{n:02}")).collect::<Vec<_>>());

    // What one wrote here, one reads there, at each consistency.
    for (n, &server) in servers.iter().enumerate() {
        let index =
            json(&put(server, "/v1/kv/fresh", &[], format!("{n}").as_bytes()))["index"].as_u64().expect("index");
        for &reader in &servers {
            let sequential = format!("sequential&index={index}");
            for consistency in ["linearizable", "lease", sequential.as_str()] {
                let read = get(reader, &format!("/v1/kv/fresh?consistency={consistency}"));
                assert_eq!((read.status, read.text()), (200, format!("{n}")), "{consistency}");
                let seen: u64 = read.header("copycat-index").and_then(|i| i.parse().ok()).expect("an index");
                assert!(seen >= index, "{consistency}: {seen} after {index}");
                assert!(read.header("copycat-consistency").is_some(), "{:?}", read.headers);
            }
        }
    }
}

#[test]
fn mistakes_are_problems_and_status_pages_answer() {
    let _turn = turn();
    let cluster = Cluster::start();
    let server = cluster.servers[2].http;
    assert_problem(&get(server, "/v1/kv/never"), 404, "key_not_found");
    assert_problem(&get(server, "/nowhere"), 404, "no_such_endpoint");
    assert_problem(&ask(server, "PATCH", "/v1/kv/a", &[], b""), 405, "method_not_allowed");
    assert_problem(&get(server, "/v1/kv/a?consistency=strong"), 400, "bad_consistency");
    assert_problem(&get(server, "/v1/kv/a?timeout=soon"), 400, "bad_duration");
    assert_problem(&put(server, "/v1/kv/a", &[("If-Match", "seven")], b""), 400, "bad_request");
    assert_problem(&put(server, &format!("/v1/kv/{}", "k".repeat(4097)), &[], b""), 400, "bad_request");
    assert_problem(&put(server, "/v1/kv/large", &[], &vec![b'x'; (1 << 20) + 1]), 413, "value_too_large");
    assert_problem(&ask(server, "GET", "/v1/kv/a", &[("Origin", "http://evil.example")], b""), 403, "foreign_origin");
    assert_eq!(put(server, "/v1/kv/largest", &[], &vec![b'x'; 1 << 20]).status, 201);

    for (i, s) in cluster.servers.iter().enumerate() {
        assert_eq!(get(s.http, "/livez").status, 200);
        assert_eq!(get(s.http, "/readyz").status, 200);
        let status = json(&get(s.http, "/v1/server"));
        assert_eq!(status["id"], s.id);
        assert!(status["commit_index"].as_u64() >= Some(1) && status["applied_index"].as_u64() >= Some(1), "{status}");
        let members = wait_for("the members' HTTP addresses", || {
            let view = json(&get(s.http, "/v1/cluster"));
            let members = view["members"].as_array().expect("members").clone();
            members.iter().all(|m| m["http"].is_string()).then_some(members)
        });
        let http: Vec<String> = members.iter().map(|m| m["http"].as_str().unwrap_or_default().to_string()).collect();
        assert_eq!(http.len(), 3);
        assert!(http[i].contains(&s.http.to_string()), "{http:?}");
    }
    // One leader, the same for all.
    cluster.leader();
}
