//! Transactions, and how strictly JSON is read.

use crate::client::Response;
use crate::fake::{Server, server};
use copycat_http::HttpConfig;
use serde_json::{Value, json};

impl Server {
    pub(crate) fn post(&self, path: &str, body: &Value) -> Response {
        self.call("POST", path, &[("Content-Type", "application/json")], body.to_string().as_bytes())
    }

    fn transaction(&self, body: &Value) -> Response {
        self.post("/v1/transactions", body)
    }
}

/// 400 or 413 that names this field.
fn refused(answer: &Response, status: u16, code: &str, field: &str) {
    let problem = answer.problem(status, code);
    assert_eq!(problem["field"], field, "{problem}");
    assert!(problem["detail"].as_str().expect("text").contains(field), "{problem}");
    assert_eq!(problem["outcome"], "not_applied");
}

#[test]
fn one_list_or_the_other_is_carried_out() {
    let server = server();
    server.put("/v1/kv/a", b"one");
    let body = json!({
        "if": {"all": [{"key": "a", "version": 1}, {"not": {"key": "b", "exists": true}}]},
        "then": [
            {"put": {"key": "b", "value": "/w==", "encoding": "base64", "content_type": "image/png"}},
            {"get": {"key": "b"}}, {"delete": {"key": "a"}}, {"delete": {"key": "a"}}, {"get": {"key": "a"}},
        ],
        "else": [{"get": {"key": "a"}}],
    });
    let answer = server.transaction(&body);
    let item = json!({
        "key": "b", "value": "/w==", "encoding": "base64", "content_type": "image/png", "version": 2,
        "created_index": 2, "ttl_ms": null, "session": null,
    });
    let expected = json!({"succeeded": true, "index": 2, "results": [
        {"put": {"key": "b", "version": 2, "created": true}},
        {"get": {"key": "b", "item": item}},
        {"delete": {"key": "a", "deleted": true, "version": 1}},
        {"delete": {"key": "a", "deleted": false, "version": null}},
        {"get": {"key": "a", "item": null}},
    ]});
    assert_eq!((answer.status, answer.json()), (200, expected));
    assert_eq!((answer.header("copycat-index"), answer.header("copycat-term")), (Some("2"), Some("3")));
    let again = server.transaction(&body).json();
    assert_eq!(again, json!({"succeeded": false, "index": 3, "results": [{"get": {"key": "a", "item": null}}]}));
}

#[test]
fn conditions_are_a_tree() {
    let server = server();
    server.put("/v1/kv/a", b"x");
    server.put("/v1/kv/%ff", b"\xff");
    let holds = |condition: &Value| {
        let answer = server.transaction(&json!({ "if": condition }));
        assert_eq!(answer.status, 200, "{condition}");
        answer.json()["succeeded"].as_bool().expect("a flag")
    };
    for yes in [
        json!({"all": []}),
        json!({"any": [{"key": "none", "exists": true}, {"key": "a", "value": "x"}]}),
        json!({"key": "a", "value": "eA==", "encoding": "base64"}),
        json!({"key": "/w==", "key_encoding": "base64", "value": "/w==", "encoding": "base64"}),
        json!({"key": "none", "version": 0}),
        json!({"not": {"any": []}}),
    ] {
        assert!(holds(&yes), "{yes}");
    }
    for no in [json!({"any": []}), json!({"key": "a", "version": 2}), json!({"key": "a", "value": ""})] {
        assert!(!holds(&no), "{no}");
    }
    assert_eq!(server.transaction(&json!({})).json()["succeeded"], true, "no condition holds");
}

#[test]
fn each_field_is_known_and_named_when_it_is_wrong() {
    let server = server();
    for (body, field) in [
        (json!({"when": {}}), "when"),
        (
            json!({"then": [{"get": {"key": "a"}}, {"put": {"key": "a", "value": "x", "session": 3}}]}),
            "then[1].put.session",
        ),
        (json!({"then": [{"put": {"key": "a"}}]}), "then[0].put.value"),
        (json!({"then": [{"put": {"key": "a", "value": 7}}]}), "then[0].put.value"),
        (json!({"then": [{"post": {"key": "a"}}]}), "then[0]"),
        (json!({"else": [{"get": {"key": ""}}]}), "else[0].get.key"),
        (json!({"else": [{"delete": {"key": "a".repeat(4097)}}]}), "else[0].delete.key"),
        (json!({"then": [{"put": {"key": "a", "value": "?", "encoding": "base64"}}]}), "then[0].put.value"),
        (json!({"then": [{"put": {"key": "?", "key_encoding": "base64", "value": ""}}]}), "then[0].put.key"),
        (json!({"then": [{"put": {"key": "a", "value": "", "encoding": "hex"}}]}), "then[0].put.encoding"),
        (json!({"then": [{"put": {"key": "a", "value": "", "content_type": "a\nb"}}]}), "then[0].put.content_type"),
        (json!({"if": {"all": [{"key": "a", "exist": true}]}}), "if.all[0].exist"),
        (json!({"if": {"key": "a"}}), "if"),
        (json!({"if": {"exists": true}}), "if"),
        (json!({"if": {"key": "a", "version": 1, "exists": true}}), "if"),
        (json!({"if": {"all": [], "any": []}}), "if"),
        (json!({"if": {"not": {"key": "", "exists": true}}}), "if.not.key"),
        (json!({"if": {"any": [{"key": "a", "version": -1}]}}), "if.any[0].version"),
        (json!([]), "body"),
        (json!("then"), "body"),
        (json!({"then": [{"put": ["a", null, "x"]}]}), "then[0].put"),
        (json!({"if": [[]]}), "if"),
        (json!({"if": {"token": 1}}), "if"),
        (json!({"if": {"lock": "l"}}), "if"),
        (json!({"if": {"lock": "l", "token": 1, "key": "a"}}), "if"),
        (json!({"if": {"lock": "l", "token": -1}}), "if.token"),
        (json!({"if": {"lock": "", "token": 1}}), "if.lock"),
        (json!({"if": {"not": {"lock": "l".repeat(256), "token": 1}}}), "if.not.lock"),
    ] {
        refused(&server.transaction(&body), 400, "bad_request", field);
    }
    assert_eq!(server.fake.state().index, 0, "nothing was carried out");
}

#[test]
fn what_is_no_json_is_told_by_line_and_column() {
    let server = server();
    let post = |body: &[u8]| server.call("POST", "/v1/transactions", &[], body);
    for (body, line, column) in [
        (&b"{\n  \"then\": [}"[..], 2, 12),
        (b"{\"then\": [{\"get\": {\"key\": \"\xff\"}}]}", 1, 28),
        (b"{\"then\": [{\"get\": {\"key\": \"\\ud800\"}}]}", 1, 34),
        (b"{} x", 1, 4),
        (b"{\"then\": [", 1, 10),
        (b"\xef\xbb\xbf{}", 1, 1),
    ] {
        let answer = post(body);
        answer.bad("body");
        let problem = answer.json();
        assert_eq!((&problem["line"], &problem["column"]), (&line.into(), &column.into()), "{problem}");
    }
    post(b" ").bad("body");
    refused(&post(b"{\"then\": [], \"then\": []}"), 400, "bad_request", "then");
    refused(&post(b"{\"then\": [{\"get\": {\"key\": \"a\", \"key\": \"a\"}}]}"), 400, "bad_request", "then[0].get.key");
    refused(&post(b"{\"if\": {\"key\": \"a\", \"exists\": true, \"exists\": false}}"), 400, "bad_request", "if.exists");
    assert_eq!(post(b"{\"then\": [{\"get\": {\"key\": \"a\"}, \"get\": {\"key\": \"a\"}}]}").status, 400);
    assert_eq!(server.fake.state().index, 0, "nothing was carried out");
    // Whatever its type, JSON is read as JSON.
    for kind in ["application/x-www-form-urlencoded", "text/plain", "image/png"] {
        assert_eq!(server.call("POST", "/v1/transactions", &[("Content-Type", kind)], b"{}").status, 200, "{kind}");
    }
    let packed = server.call("POST", "/v1/transactions", &[("Content-Encoding", "gzip")], b"{}");
    packed.bad("Content-Encoding");
}

/// A condition this deep, counting the body's own braces.
fn nested(depth: usize) -> Value {
    (2..depth).fold(json!({"key": "a", "exists": false}), |inner, _| json!({ "not": inner }))
}

#[test]
fn depth_and_numbers_are_bounded() {
    let server = server();
    assert_eq!(server.transaction(&json!({ "if": nested(32) })).status, 200);
    server.transaction(&json!({ "if": nested(33) })).bad("body");
    server.call("POST", "/v1/transactions", &[], "[".repeat(1_000_000).as_bytes()).bad("body");
    let get = json!({"get": {"key": "a"}});
    let gets = |n: usize| vec![get.clone(); n];
    assert_eq!(server.transaction(&json!({"then": gets(100), "else": gets(28)})).status, 200);
    let many = server.transaction(&json!({"then": gets(100), "else": gets(29)}));
    refused(&many, 413, "too_many_operations", "then");
    let leaf = json!({"key": "a", "exists": false});
    assert_eq!(server.transaction(&json!({"if": {"all": vec![leaf.clone(); 127]}})).status, 200);
    let many = server.transaction(&json!({"if": {"all": vec![leaf; 128]}}));
    refused(&many, 413, "too_many_operations", "if.all[127]");
}

#[test]
fn sizes_are_bounded() {
    let server = server();
    let put = |value: usize| json!({"then": [{"put": {"key": "a", "value": "x".repeat(value)}}]});
    assert_eq!(server.transaction(&put(1024 * 1024)).status, 200);
    refused(&server.transaction(&put(1024 * 1024 + 1)), 413, "value_too_large", "then[0].put.value");
    let condition = json!({"if": {"key": "a", "value": "x".repeat(1024 * 1024 + 1)}});
    refused(&server.transaction(&condition), 413, "value_too_large", "if.value");
    let large = server.transaction(&put(4 * 1024 * 1024));
    assert_eq!(large.problem(413, "body_too_large")["outcome"], "not_applied");
    let small = Server::start(HttpConfig { json_bytes: 10, ..HttpConfig::default() });
    assert_eq!(small.call("POST", "/v1/transactions", &[], b"{}        ").status, 200);
    small.call("POST", "/v1/transactions", &[], b"{}         ").problem(413, "body_too_large");
}

#[test]
fn reads_that_are_too_large_undo_everything() {
    let server = server();
    server.put("/v1/kv/a", &[b'x'; 1024 * 1024]);
    let get = json!({"get": {"key": "a"}});
    assert_eq!(server.transaction(&json!({"then": vec![get.clone(); 4]})).status, 200);
    let mut all = vec![get; 5];
    all.push(json!({"put": {"key": "b", "value": ""}}));
    let answer = server.transaction(&json!({ "then": all }));
    let problem = answer.problem(413, "body_too_large");
    assert!(problem["detail"].as_str().expect("text").contains("reads are too large"), "{problem}");
    assert_eq!(server.get("/v1/kv/b").status, 404);
}
