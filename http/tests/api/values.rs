//! Values: any bytes, with their type, up to a limit.

use crate::client::{Client, request};
use crate::fake::{Server, server};
use copycat_http::HttpConfig;

#[test]
fn the_type_is_kept_and_curls_form_type_is_none() {
    let server = server();
    let kept = |given: Option<&str>, value: &[u8]| {
        let headers: Vec<_> = given.iter().map(|given| ("Content-Type", *given)).collect();
        assert!(server.call("PUT", "/v1/kv/a", &headers, value).status < 300);
        let found = server.get("/v1/kv/a");
        assert_eq!(found.body, value);
        found.header("content-type").expect("a type").to_string()
    };
    assert_eq!(kept(Some("image/png"), b"\x89PNG"), "image/png");
    assert_eq!(kept(Some("text/html; charset=latin1"), b"<script>"), "text/html; charset=latin1");
    assert_eq!(kept(Some("application/x-www-form-urlencoded"), b"hello"), "text/plain; charset=utf-8");
    assert_eq!(kept(Some("application/x-www-form-urlencoded"), b"\xff"), "application/octet-stream");
    assert_eq!(kept(None, b"\0"), "text/plain; charset=utf-8");
    assert_eq!(kept(None, b""), "text/plain; charset=utf-8");
    assert_eq!(kept(None, b"\xc3"), "application/octet-stream");
    let long = "x".repeat(256);
    server.call("PUT", "/v1/kv/a", &[("Content-Type", &long)], b"").bad("Content-Type");
    server.call("PUT", "/v1/kv/a", &[("Content-Type", "a/b"), ("Content-Type", "a/b")], b"").bad("Content-Type");
}

#[test]
fn what_would_change_the_meaning_of_the_bytes_is_refused() {
    let server = server();
    server.call("PUT", "/v1/kv/a", &[("Content-Encoding", "gzip")], b"x").bad("Content-Encoding");
    server.call("PUT", "/v1/kv/a", &[("Content-Range", "bytes 0-0/2")], b"x").bad("Content-Range");
    assert_eq!(server.call("PUT", "/v1/kv/a", &[("Content-Encoding", "identity")], b"x").status, 201);
}

#[test]
fn no_browser_runs_a_value() {
    let server = server();
    server.call("PUT", "/v1/kv/a", &[("Content-Type", "text/html")], b"<script>alert(1)</script>");
    let found = server.get("/v1/kv/a");
    assert_eq!(found.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(found.header("content-security-policy"), Some("sandbox; default-src 'none'"));
}

#[test]
fn a_value_has_a_megabyte() {
    let server = server();
    let value = vec![7; 1024 * 1024];
    assert_eq!(server.put("/v1/kv/a", &value).status, 201);
    assert_eq!(server.get("/v1/kv/a").body, value);
    assert_eq!(server.put("/v1/kv/b", &[7; 1024 * 1024 + 1]).problem(413, "value_too_large")["outcome"], "not_applied");
}

#[test]
fn what_is_told_to_be_too_long_is_refused_unread() {
    let server = server();
    let mut client = Client::connect(&server);
    client.send(b"PUT /v1/kv/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1048577\r\n\r\n");
    client.answer("PUT").problem(413, "value_too_large");
    let mut client = Client::connect(&server);
    client
        .send(b"PUT /v1/kv/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\nExpect: 100-continue\r\n\r\n");
    client.answer("PUT").problem(413, "value_too_large");
}

#[test]
fn who_sends_far_too_much_still_hears_why() {
    let server = server();
    // Closed under the client's hands, the connection would be reset and the answer lost.
    for _ in 0..20 {
        let mut client = Client::connect(&server);
        client.send(b"PUT /v1/kv/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6000000\r\n\r\n");
        for _ in 0..6 {
            client.send(&[7; 1_000_000]);
        }
        client.answer("PUT").problem(413, "value_too_large");
        assert!(client.closed());
    }
}

#[test]
fn chunks_are_counted() {
    let server = Server::start(HttpConfig { value_bytes: 10, ..HttpConfig::default() });
    let head = b"PUT /v1/kv/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut client = Client::connect(&server);
    client.send(&[&head[..], b"5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n"].concat());
    assert_eq!(client.answer("PUT").status, 201);
    client.send(&[&head[..], b"5\r\nhello\r\n6\r\nworld!\r\n0\r\n\r\n"].concat());
    client.answer("PUT").problem(413, "value_too_large");
    assert_eq!(server.get("/v1/kv/a").body, b"helloworld");
    let mut client = Client::connect(&server);
    client.send(&[&head[..], b"nonsense\r\n"].concat());
    client.answer("PUT").bad("body");
}

#[test]
fn a_client_that_asks_first_is_told_to_go_on() {
    let server = server();
    let mut client = Client::connect(&server);
    client.send(b"PUT /v1/kv/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.answer("PUT").status, 100);
    client.send(b"hello");
    assert_eq!(client.answer("PUT").status, 201);
    client.send(&request("GET", "/v1/kv/a", &[], b""));
    assert_eq!(client.answer("GET").body, b"hello");
}
