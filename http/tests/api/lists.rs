//! Lists, page by page.

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
    server.get("/v1/kv?cursor=nonsense").bad("cursor");
    server.get("/v1/kv?cursor=").bad("cursor");
    server.get("/v1/kv?key=a&prefix=a").bad("prefix");
}
