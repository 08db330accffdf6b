//! Requests that are not meant for this server, or come from pages of others.

use crate::client::Client;
use crate::fake::{Server, server};
use copycat_http::HttpConfig;

#[test]
fn the_host_is_one_of_ours() {
    let server = Server::start(HttpConfig { allow_hosts: vec!["kv.example".into()], ..HttpConfig::default() });
    let own = server.address.to_string();
    for host in ["localhost", "LOCALHOST:1", "127.0.0.1", "127.8.9.1:80", "[::1]:8700", "kv.example:8700", &own] {
        assert_eq!(server.call("GET", "/v1/cluster", &[("Host", host)], b"").status, 200, "{host}");
    }
    for host in ["evil.example", "localhost.evil.example", "10.1.2.3", "127.0.0.1.evil.example:8700", "", "[::2]"] {
        for path in ["/v1/cluster", "/v1/kv/a", "/v1/kv?prefix=", "/livez", "/nothing"] {
            server.call("GET", path, &[("Host", host)], b"").problem(403, "foreign_host");
        }
        server.call("PUT", "/v1/kv/a", &[("Host", host)], b"x").problem(403, "foreign_host");
    }
    assert_eq!(server.fake.state().index, 0, "nothing was written");
    server.call("GET", "/v1/cluster", &[("Host", "localhost"), ("Host", "localhost")], b"").bad("Host");
    let mut client = Client::connect(&server);
    client.send(b"GET /v1/cluster HTTP/1.1\r\n\r\n");
    client.answer("GET").bad("Host");
    client.send(b"GET http://evil.example/v1/cluster HTTP/1.1\r\nHost: localhost\r\n\r\n");
    client.answer("GET").problem(403, "foreign_host");
    client.send(b"GET http://localhost/v1/cluster HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(client.answer("GET").status, 200);
    client.send(b"GET /v1/cluster HTTP/1.0\r\n\r\n");
    assert_eq!(client.answer("GET").status, 200, "HTTP/1.0 names none");
}

#[test]
fn pages_of_other_sites_cannot_call() {
    let server = server();
    let from = |path: &str, name: &str, value: &str| server.call("GET", path, &[(name, value)], b"");
    for path in ["/v1/kv/a", "/v1/kv", "/v1/cluster", "/v1/server", "/v1/nothing"] {
        from(path, "Origin", "http://evil.example").problem(403, "foreign_origin");
        from(path, "Origin", "null").problem(403, "foreign_origin");
        from(path, "Origin", "http://127.0.0.1:1").problem(403, "foreign_origin");
        from(path, "Sec-Fetch-Site", "cross-site").problem(403, "foreign_origin");
        from(path, "Sec-Fetch-Site", "same-site").problem(403, "foreign_origin");
    }
    let form = [("Origin", "http://evil.example"), ("Content-Type", "text/plain")];
    server.call("PUT", "/v1/kv/a", &form, b"x").problem(403, "foreign_origin");
    assert_eq!(server.fake.state().index, 0, "nothing was written");
    let own = [("Origin", "http://127.0.0.1"), ("Sec-Fetch-Site", "same-origin")];
    assert_eq!(server.call("PUT", "/v1/kv/a", &own, b"x").status, 201);
    assert_eq!(from("/v1/kv/a", "Sec-Fetch-Site", "none").status, 200, "typed into the address bar");
    assert_eq!(from("/", "Sec-Fetch-Site", "cross-site").status, 200, "a link to the page");
}
