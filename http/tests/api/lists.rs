//! Lists, page by page.

use crate::client::{Client, request};
use crate::fake::{Server, server};
use copycat_http::Consistency;
use serde_json::Value;

fn keys(page: &Value) -> Vec<&str> {
    page["items"].as_array().expect("items").iter().map(|item| item["key"].as_str().expect("a key")).collect()
}

fn filled(keys: &[&str]) -> Server {
    let server = server();
    for key in keys {
        assert_eq!(server.put(&format!("/v1/kv/{key}"), b"x").status, 201);
    }
    server
}

#[test]
fn pages_follow_each_other_without_gaps() {
    let server = filled(&["a", "app/1", "app/2", "app/3", "app/4", "app/5", "b"]);
    let mut found = Vec::new();
    let mut path = "/v1/kv?prefix=app%2F&limit=2".to_string();
    loop {
        let answer = server.get(&path);
        assert_eq!(answer.status, 200);
        let page = answer.json();
        assert_eq!(page["index"], 7);
        found.extend(keys(&page).into_iter().map(str::to_string));
        let Some(next) = page["next"].as_str() else {
            assert_eq!((answer.header("link"), &page["next"]), (None, &Value::Null));
            break;
        };
        let link = answer.header("link").expect("a link");
        let (url, rel) = link.strip_prefix('<').and_then(|l| l.split_once('>')).expect("a link");
        assert_eq!(rel, "; rel=\"next\"");
        assert!(url.contains(next));
        path = url.to_string();
    }
    assert_eq!(found, ["app/1", "app/2", "app/3", "app/4", "app/5"]);
    assert_eq!(keys(&server.get("/v1/kv").json()).len(), 7);
    assert_eq!(keys(&server.get("/v1/kv?prefix=c").json()).len(), 0);
    assert_eq!(keys(&server.get("/v1/kv?prefix=app/4&limit=1000").json()), ["app/4"]);
}

#[test]
fn a_page_has_a_hundred_keys_and_a_bound_in_bytes() {
    let server = server();
    for n in 0..150 {
        server.put(&format!("/v1/kv/n{n:03}"), b"");
    }
    assert_eq!(keys(&server.get("/v1/kv").json()).len(), 100);
    assert_eq!(keys(&server.get("/v1/kv?limit=1000").json()).len(), 150);
    for n in 0..4 {
        server.put(&format!("/v1/kv/a{n}"), &[b'x'; 400_000]);
    }
    let page = server.get("/v1/kv?prefix=a").json();
    assert_eq!(keys(&page), ["a0", "a1"], "a megabyte a page");
    assert!(page["next"].is_string());
}

#[test]
fn a_sequential_list_goes_on_from_no_earlier_state() {
    let server = filled(&["a", "b"]);
    let answer = server.get("/v1/kv?limit=1&consistency=sequential&index=1");
    let link = answer.header("link").expect("a link");
    assert!(link.contains("consistency=sequential&index=2&"), "{link}");
    let url = link[1..].split_once('>').expect("a link").0;
    assert_eq!(keys(&server.get(url).json()), ["b"]);
    let state = server.fake.state();
    let last = state.reads.last().expect("a read");
    assert_eq!((last.consistency, last.index), (Consistency::Sequential, 2));
}

#[test]
fn odd_pages_are_refused() {
    let server = filled(&["a1", "a2", "b"]);
    for bad in ["limit=0", "limit=1001", "limit=", "limit=x", "limit=-1"] {
        server.get(&format!("/v1/kv?{bad}")).bad("limit");
    }
    let cursor = server.get("/v1/kv?prefix=a&limit=1").json()["next"].as_str().expect("more").to_string();
    assert_eq!(keys(&server.get(&format!("/v1/kv?prefix=a&cursor={cursor}")).json()), ["a2"]);
    server.get(&format!("/v1/kv?prefix=b&cursor={cursor}")).bad("cursor");
    let behind = server.get(&format!("/v1/kv?prefix=a0&cursor={cursor}"));
    assert_eq!((behind.status, keys(&behind.json()).len()), (200, 0), "behind all that begin so");
    server.get("/v1/kv?cursor=nonsense").bad("cursor");
    server.get("/v1/kv?cursor=").bad("cursor");
    server.get("/v1/kv?key=a&prefix=a").bad("prefix");
}

/// `k` for a key, `p` for a prefix.
fn listed(page: &Value) -> Vec<String> {
    let one = |item: &Value| match item["prefix"].as_str() {
        Some(prefix) => format!("p {prefix}"),
        None => format!("k {}", item["key"].as_str().expect("a key")),
    };
    page["items"].as_array().expect("items").iter().map(one).collect()
}

#[test]
fn deeper_levels_are_folded() {
    let server = filled(&["a/1", "a/b/1", "a/b/2", "a/c/1", "a/d", "a/e/%ff/x", "z"]);
    let page = server.get("/v1/kv?prefix=a/&separator=/").json();
    assert_eq!(listed(&page), ["k a/1", "p a/b/", "p a/c/", "k a/d", "p a/e/"]);
    assert_eq!(page["items"][1], serde_json::json!({"prefix": "a/b/"}));
    let odd = server.get("/v1/kv?prefix=a/e/&separator=/").json();
    assert_eq!(odd["items"][0], serde_json::json!({"prefix": "YS9lL/8v", "prefix_encoding": "base64"}));
    let mut found = Vec::new();
    let mut path = "/v1/kv?prefix=a%2F&separator=%2F&limit=1&max_bytes=7&values=none&timeout=3s".to_string();
    loop {
        let answer = server.get(&path);
        found.extend(listed(&answer.json()));
        let Some(link) = answer.header("link") else { break };
        path = link[1..].split_once('>').expect("a link").0.to_string();
        for kept in ["prefix=a%2F", "separator=%2F", "limit=1", "max_bytes=7", "values=none", "timeout=3s"] {
            assert!(path.contains(kept), "{kept} in {path}");
        }
    }
    assert_eq!(found, ["k a/1", "p a/b/", "p a/c/", "k a/d", "p a/e/"], "each prefix once");
}

#[test]
fn values_can_be_left_out_and_bytes_bounded() {
    let server = filled(&["a", "b", "c"]);
    let expected = serde_json::json!({
        "key": "a", "content_type": "text/plain; charset=utf-8", "version": 1, "created_index": 1, "ttl_ms": null,
        "session": null,
    });
    assert_eq!(server.get("/v1/kv?values=none").json()["items"][0], expected);
    assert_eq!(keys(&server.get("/v1/kv?max_bytes=4").json()), ["a", "b"]);
    assert_eq!(keys(&server.get("/v1/kv?max_bytes=1").json()), ["a"], "one at least");
    assert_eq!(keys(&server.get("/v1/kv?max_bytes=1048576").json()).len(), 3);
    for bad in ["max_bytes=0", "max_bytes=1048577", "max_bytes=", "values=all", "values=", "separator="] {
        server.get(&format!("/v1/kv?{bad}")).bad(bad.split('=').next().expect("a name"));
    }
    server.get(&format!("/v1/kv?prefix={}", "a".repeat(4097))).bad("prefix");
}

/// The lines of a whole list.
fn lines(server: &Server, path: &str) -> Vec<Value> {
    let answer = server.call("GET", path, &[("Accept", "application/x-ndjson")], b"");
    let kind = answer.header("content-type");
    assert_eq!((answer.status, kind), (200, Some("application/x-ndjson")), "{path}");
    let text = String::from_utf8(answer.body).expect("text");
    assert!(text.ends_with('\n'));
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn a_whole_list_comes_line_by_line() {
    let server = server();
    for n in 0..250 {
        server.put(&format!("/v1/kv/n{n:03}"), b"x");
    }
    let all = lines(&server, "/v1/kv?prefix=n&limit=100");
    assert_eq!(all.len(), 251);
    for (n, line) in all[..250].iter().enumerate() {
        assert_eq!((&line["key"], &line["value"]), (&format!("n{n:03}").into(), &"x".into()));
    }
    assert_eq!(all[250], serde_json::json!({"end": true, "index": 250}));
    let state = server.fake.state();
    let reads: Vec<_> = state.reads.iter().map(|read| (read.consistency, read.index)).collect();
    let later = (Consistency::Sequential, 250);
    assert_eq!(reads, [(Consistency::Linearizable, 0), later, later], "no page is older than the one before");
    drop(state);
    assert_eq!(lines(&server, "/v1/kv?prefix=none"), [serde_json::json!({"end": true, "index": 250})]);
    let folded = lines(&server, "/v1/kv?separator=0&limit=1&values=none");
    assert_eq!((&folded[0], &folded[1]), (&serde_json::json!({"prefix": "n0"}), &serde_json::json!({"prefix": "n10"})));
}

#[test]
fn a_failure_on_the_way_is_the_last_line() {
    let server = filled(&["a", "b", "c"]);
    server.fake.state().good_reads = 2;
    server.fake.state().failure = Some(copycat_http::Failure::NoLeader);
    let all = lines(&server, "/v1/kv?limit=1");
    assert_eq!((all.len(), &all[1]["key"]), (3, &"b".into()));
    let error = &all[2]["error"];
    assert_eq!(
        (&error["code"], &error["status"], &error["retryable"]),
        (&"no_leader".into(), &503.into(), &true.into())
    );
    // The first one still has a status of its own.
    let answer = server.call("GET", "/v1/kv", &[("Accept", "application/x-ndjson")], b"");
    answer.problem(503, "no_leader");
}

#[test]
fn pages_are_read_as_the_client_takes_them() {
    let server = server();
    for n in 0..40 {
        server.put(&format!("/v1/kv/n{n:02}"), &[b'x'; 1024 * 1024]);
    }
    let mut client = Client::connect(&server);
    client.send(&request("GET", "/v1/kv?limit=1", &[("Accept", "application/x-ndjson")], b""));
    assert_eq!(client.head().status, 200);
    // What both ends' buffers hold is read, and then nothing more.
    std::thread::sleep(std::time::Duration::from_millis(500));
    let taken = server.fake.state().reads.len();
    std::thread::sleep(std::time::Duration::from_millis(300));
    let later = server.fake.state().reads.len();
    assert!(taken == later && taken < 30, "{taken} pages, then {later}, for a client that takes none");
    let body = client.chunks();
    assert_eq!(body.iter().filter(|byte| **byte == b'\n').count(), 41);
    assert_eq!(server.fake.state().reads.len(), 40);
}
