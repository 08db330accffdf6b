//! Writes that only the holder of a lock makes; keys that go with a session.

use crate::fake::{Server, server};
use serde_json::{Value, json};

/// A session that has a lock, and its token.
fn holder(server: &Server, lock: &str) -> (u64, u64) {
    let session = server.begin();
    let answer = server.put(&format!("/v1/locks/{lock}?session={session}"), b"");
    assert_eq!(answer.status, 200);
    (session, answer.json()["token"].as_u64().expect("a token"))
}

#[test]
fn a_write_goes_through_only_with_the_token() {
    let server = server();
    let (session, token) = holder(&server, "l%2Fx");
    let fenced = |method: &str, path: &str, token: u64, body: &[u8]| {
        let mark = if path.contains('?') { '&' } else { '?' };
        server.call(method, &format!("{path}{mark}lock=l/x&token={token}"), &[], body)
    };
    let command = json!({"command": {"put": {"key": "a", "value": "x"}}});
    let writes = [
        ("PUT", "/v1/kv/a", b"x".to_vec()),
        ("PUT", "/v1/kv?key=a", b"x".to_vec()),
        ("DELETE", "/v1/kv/a", Vec::new()),
        ("DELETE", "/v1/kv?key=a", Vec::new()),
        ("DELETE", "/v1/kv?prefix=a", Vec::new()),
        ("POST", "/v1/transactions", json!({"then": [{"get": {"key": "a"}}]}).to_string().into_bytes()),
        ("POST", "/v1/commands", command.to_string().into_bytes()),
        ("POST", "/v1/commands", json!([command, command]).to_string().into_bytes()),
    ];
    for (method, path, body) in &writes {
        let answer = fenced(method, path, token, body);
        assert!(answer.status < 300, "{method} {path}: {}", answer.status);
        let before = server.get("/v1/kv?values=none").json()["items"].clone();
        let stale = fenced(method, path, token + 1, body);
        let problem = stale.problem(412, "lock_token_stale");
        assert_eq!((&problem["outcome"], &problem["retryable"]), (&"not_applied".into(), &false.into()));
        let held = (&problem["holders"][0]["session"], &problem["holders"][0]["token"]);
        assert_eq!(held, (&session.into(), &token.into()), "{method} {path}");
        assert!(stale.header("copycat-index").is_some() && stale.header("etag").is_none());
        assert_eq!(server.get("/v1/kv?values=none").json()["items"], before, "nothing was changed");
    }
    assert_eq!(server.delete(&format!("/v1/locks/l%2Fx?session={session}")).status, 200);
    for (method, path, body) in &writes {
        assert_eq!(fenced(method, path, token, body).problem(412, "lock_token_stale")["holders"], json!([]));
    }
}

#[test]
fn a_lock_and_its_token_stand_together() {
    let server = server();
    for path in ["/v1/kv/a", "/v1/kv?key=a"] {
        let mark = if path.contains('?') { '&' } else { '?' };
        server.put(&format!("{path}{mark}lock=l"), b"").bad("token");
        server.put(&format!("{path}{mark}token=1"), b"").bad("lock");
        server.delete(&format!("{path}{mark}lock=&token=1")).bad("lock");
        server.delete(&format!("{path}{mark}lock={}&token=1", "l".repeat(256))).bad("lock");
        server.delete(&format!("{path}{mark}lock=l&token=x")).bad("token");
    }
    server.delete("/v1/kv?prefix=a&lock=l").bad("token");
    server.post("/v1/transactions?token=1", &json!({})).bad("lock");
    server.get("/v1/kv/a?lock=l&token=1").bad("lock");
    assert_eq!(server.fake.state().index, 0, "nothing was carried out");
    assert_eq!(server.put(&format!("/v1/kv/a?lock={}&token=1", "l".repeat(255)), b"").status, 412);
}

#[test]
fn commands_name_their_own_locks() {
    let server = server();
    let ((_, a), (_, b)) = (holder(&server, "a"), holder(&server, "%ff"));
    let put = json!({"put": {"key": "k", "value": "x", "if": {"exists": false}}});
    let guarded = |lock: &str, token: u64| {
        let mut guarded = json!({"lock": lock, "token": token, "command": put});
        if lock == "/w==" {
            guarded["lock_encoding"] = "base64".into();
        }
        json!({"command": {"guarded": guarded}})
    };
    let batch = json!([guarded("a", a + 9), guarded("/w==", b), guarded("a", a)]);
    let answer = server.post("/v1/commands", &batch).json();
    let error = |code: &str, version: Value| json!({"error": {"code": code, "version": version}});
    assert_eq!(answer[0]["output"], error("lock_token_stale", Value::Null));
    assert_eq!(answer[1]["output"]["put"]["created"], true);
    assert_eq!(answer[2]["output"], error("version_mismatch", server.fake.state().index.into()));
    server.post("/v1/commands", &guarded("a", a + 9)).problem(412, "lock_token_stale");
    server.post("/v1/commands", &guarded("a", a)).problem(412, "version_mismatch");
    let alone = server.post("/v1/commands", &json!([guarded("a", a + 9)]));
    assert_eq!(alone.status, 200, "each for itself, as the request names no lock");
    server.post(&format!("/v1/commands?lock=a&token={a}"), &guarded("a", a)).bad("lock");
    let twice = json!({"command": {"guarded": {"lock": "a", "token": a, "command": guarded("a", a)["command"]}}});
    server.post("/v1/commands", &twice).bad("command.guarded.command");
    let nameless = json!({"command": {"guarded": {"lock": "", "token": a, "command": put}}});
    server.post("/v1/commands", &nameless).bad("command.guarded.lock");
    let large =
        json!({"command": {"guarded": {"lock": "a", "token": a, "command": {"delete_prefix": {"prefix": "x"}}}}});
    let many = server.post("/v1/commands", &json!([large, large]));
    assert_eq!(many.problem(413, "too_many_operations")["field"], "[1].command.delete_prefix.limit");
}

#[test]
fn transactions_ask_for_tokens() {
    let server = server();
    let ((_, text), (_, bytes)) = (holder(&server, "l"), holder(&server, "%ff"));
    let holds =
        |condition: Value| server.post("/v1/transactions", &json!({ "if": condition })).json()["succeeded"].clone();
    assert_eq!(holds(json!({"lock": "l", "token": text})), true);
    assert_eq!(holds(json!({"lock": "l", "token": bytes})), false);
    assert_eq!(holds(json!({"lock": "none", "token": text})), false);
    assert_eq!(holds(json!({"lock": "/w==", "lock_encoding": "base64", "token": bytes})), true);
    assert_eq!(holds(json!({"any": [{"key": "a", "exists": true}, {"not": {"lock": "l", "token": 0}}]})), true);
    let shown = server.get("/v1/log/entries").json();
    let last = shown["entries"].as_array().expect("entries")[5]["command"].clone();
    assert_eq!(last["transaction"]["if"], json!({"lock": "/w==", "lock_encoding": "base64", "token": bytes}));
}

#[test]
fn an_ephemeral_key_goes_with_its_session() {
    let server = server();
    let session = server.begin();
    server.put("/v1/kv/a?ephemeral", b"x").bad("ephemeral");
    server.put(&format!("/v1/kv/a?ephemeral=maybe&session={session}"), b"x").bad("ephemeral");
    assert_eq!(server.put(&format!("/v1/kv/a?ephemeral&ttl=1m&session={session}"), b"x").status, 201);
    assert_eq!(server.put(&format!("/v1/kv/b?ephemeral=false&session={session}"), b"x").status, 201);
    let meta = server.get("/v1/kv/a?meta").json();
    assert_eq!((&meta["session"], &meta["ttl_ms"]), (&session.into(), &60_000.into()));
    let items = server.get("/v1/kv").json()["items"].clone();
    assert_eq!((&items[0]["session"], &items[1]["session"]), (&session.into(), &Value::Null));
    let put = |session: Value| {
        server.post(
            "/v1/commands",
            &json!({"session": session, "command": {"put": {"key": "c", "value": "x", "ephemeral": true}}}),
        )
    };
    put(Value::Null).bad("command.put.ephemeral");
    assert_eq!(put(session.into()).status, 200);
    let got = server.post("/v1/queries", &json!({"query": {"get": {"key": "c"}}})).json();
    assert_eq!(got["output"]["get"]["item"]["session"], session);
    assert_eq!(server.put("/v1/kv/c", b"x").status, 200, "put by nobody, it stays");
    assert_eq!(server.delete(&format!("/v1/sessions/{session}")).status, 200);
    let left: Vec<_> = ["a", "b", "c"].iter().map(|key| server.get(&format!("/v1/kv/{key}")).status).collect();
    assert_eq!(left, [404, 200, 200]);
}
