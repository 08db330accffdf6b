//! A server whose state machine is not that of keys and locks.

use crate::fake::{Fake, Server};
use copycat_http::{Consistency, Failure, HttpConfig};
use serde_json::{Value, json};

fn server() -> Server {
    Server::over(Fake::keyless(), HttpConfig::default())
}

#[test]
fn commands_and_queries_are_the_machines_own_json() {
    let server = server();
    let said = json!({"command": {"add": 5}, "session": 4, "sequence": 1});
    let answer = server.post("/v1/commands?timeout=3s", &said);
    let expected = json!({"index": 5, "output": {"session": 4, "sequence": 1}});
    assert_eq!((answer.status, answer.json()), (200, expected));
    assert_eq!(answer.header("copycat-index"), Some("5"));
    let asked = json!({"query": {"what": [1, null]}, "consistency": "sequential", "index": 5});
    let answer = server.post("/v1/queries", &asked);
    assert_eq!((answer.status, answer.json()), (200, json!({"index": 5, "output": {"what": [1, null]}})));
    assert_eq!(answer.header("copycat-consistency"), Some("sequential"));
    let read = server.fake.state().reads[0];
    assert_eq!((read.consistency, read.index), (Consistency::Sequential, 5));
}

#[test]
fn what_is_no_command_of_the_machine_is_refused_with_its_reason() {
    let server = server();
    let told = |body: &Value| {
        let answer = server.post("/v1/commands", body);
        let json = answer.json();
        let text = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
        (answer.status, text("code"), text("field"), text("outcome"))
    };
    let unfit = |field: &str| (400, "bad_request".to_owned(), field.to_owned(), "not_applied".to_owned());
    assert_eq!(told(&json!({"command": {"take": 5}})), unfit("command"));
    assert_eq!(told(&json!({"command": {"add": 5}, "sequence": 1})), unfit("session"));
    assert_eq!(told(&json!({"command": {"add": 5}, "lock": "a"})).0, 400);
    assert_eq!(told(&json!([{"command": {"add": 5}}])).0, 400, "batches are for the machine to have");
    assert_eq!(server.post("/v1/commands?lock=a&token=1", &json!({"command": {"add": 5}})).status, 400);
    let maybe = Failure::Timeout { maybe_applied: true };
    server.fake.state().failure = Some(maybe);
    let lost = server.post("/v1/commands", &json!({"command": {"add": 5}}));
    assert_eq!((lost.status, &lost.json()["outcome"]), (504, &json!("unknown")));
}

#[test]
fn keys_and_locks_are_not_there_and_all_else_is() {
    let server = server();
    for (method, path) in [
        ("GET", "/v1/kv/a"),
        ("PUT", "/v1/kv/a"),
        ("DELETE", "/v1/kv/a"),
        ("GET", "/v1/kv?prefix=a"),
        ("GET", "/v1/kv/a?wait=1s"),
        ("GET", "/v1/locks"),
        ("GET", "/v1/locks/a"),
        ("PUT", "/v1/locks/a?session=1"),
        ("DELETE", "/v1/locks/a?session=1"),
    ] {
        let answer = server.call(method, path, &[], b"");
        assert_eq!((answer.status, &answer.json()["code"]), (404, &json!("no_such_endpoint")), "{method} {path}");
    }
    for body in [json!({"then": []}), json!({"key": "a"})] {
        let path = if body.get("key").is_some() { "/v1/sessions/1/watches" } else { "/v1/transactions" };
        assert_eq!(server.post(path, &body).status, 404, "{path}");
    }
    let session = server.post("/v1/sessions", &json!({"timeout": "10s"}));
    assert_eq!(session.status, 201);
    for path in ["/v1/sessions", "/v1/cluster", "/v1/server", "/v1/log", "/v1/log/entries", "/livez", "/readyz"] {
        assert_eq!(server.call("GET", path, &[], b"").status, 200, "{path}");
    }
}
