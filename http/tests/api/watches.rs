//! Watches: what a session is told of.

use crate::fake::server;
use serde_json::json;

#[test]
fn a_watch_is_made_once() {
    let server = server();
    let session = server.begin();
    let path = format!("/v1/sessions/{session}/watches");
    let made = server.post(&path, &json!({"key": "a"}));
    assert_eq!((made.status, made.json()), (201, json!({"watch": 2, "index": 2})));
    assert_eq!((made.header("copycat-index"), made.header("copycat-event-index")), (Some("2"), Some("0")));
    let again = server.post(&path, &json!({"key": "a", "values": false}));
    assert_eq!((again.status, again.json()), (200, json!({"watch": 2, "index": 3})));
    assert_eq!(server.post(&path, &json!({"key": "a", "values": true})).json()["watch"], 2, "with values from now on");
    assert_eq!(server.post(&path, &json!({"key": "b"})).json()["watch"], 5);
    let odd = json!({"prefix": "/w==", "prefix_encoding": "base64"});
    assert_eq!(server.post(&path, &odd).status, 201);
    let many = server.post(&path, &json!({"prefix": "c"}));
    let problem = many.problem(429, "too_many_requests");
    assert_eq!((&problem["outcome"], many.header("retry-after")), (&"not_applied".into(), Some("1")));
    let gone = server.delete(&format!("{path}/2"));
    assert_eq!((gone.status, gone.json()), (200, json!({"deleted": true, "index": 8})));
    assert_eq!(server.delete(&format!("{path}/2")).json(), json!({"deleted": false, "index": 9}));
    assert_eq!(server.post(&path, &json!({"prefix": "", "all": true})).status, 201);
}

#[test]
fn odd_watches_are_refused() {
    let server = server();
    let session = server.begin();
    let path = format!("/v1/sessions/{session}/watches");
    for (body, field) in [
        (json!({}), "key"),
        (json!({"values": true}), "key"),
        (json!({"key": ""}), "key"),
        (json!({"key": "a".repeat(4097)}), "key"),
        (json!({"key": "?", "key_encoding": "base64"}), "key"),
        (json!({"prefix": "a".repeat(4097)}), "prefix"),
        (json!({"prefix": ""}), "all"),
        (json!({"prefix": "", "all": false}), "all"),
        (json!({"key": "a", "prefix": "a"}), "prefix"),
        (json!({"key": "a", "all": true}), "all"),
        (json!({"key": "a", "value": true}), "value"),
        (json!({"key": "a", "values": "none"}), "values"),
        (json!([]), "body"),
    ] {
        server.post(&path, &body).bad(field);
    }
    server.call("POST", &path, &[], b"").bad("body");
    server.post(&format!("{path}?lock=l&token=1"), &json!({"key": "a"})).bad("lock");
    server.call("POST", &path, &[("Copycat-Session", "99")], br#"{"key": "a"}"#).bad("Copycat-Session");
    server.post("/v1/sessions/x/watches", &json!({"key": "a"})).bad("session");
    server.delete(&format!("{path}/x")).bad("watch");
    server.delete("/v1/sessions/x/watches/1").bad("session");
    server.post("/v1/sessions/99/watches", &json!({"key": "a"})).problem(404, "session_not_found");
    server.delete("/v1/sessions/99/watches/1").problem(404, "session_not_found");
    assert!(server.fake.state().sessions[&session].watches.is_empty());
}

#[test]
fn watches_and_locks_are_commands_as_json_too() {
    let server = server();
    let (session, other) = (server.begin(), server.begin());
    server.put(&format!("/v1/locks/l?session={session}"), b"");
    server.put(&format!("/v1/locks/m?session={other}"), b"");
    let batch = json!([
        {"session": session, "command": {"watch": {"prefix": "a", "values": true}}},
        {"command": {"unwatch": {"watch": 99}}},
        {"command": {"unlock": {"lock": "l"}}},
        {"command": {"unlock": {"lock": "l"}}},
        {"command": {"revoke": {"lock": "m", "session": other}}},
        {"command": {"put": {"key": "a", "value": "x"}}},
    ]);
    let answer = server.post("/v1/commands", &batch);
    let outputs: Vec<_> = answer.json().as_array().expect("a list").iter().map(|a| a["output"].clone()).collect();
    let expected = [
        json!({"watch": {"watch": 5, "created": true}}),
        json!({"unwatch": {"deleted": false}}),
        json!({"unlock": {"released": true, "held": true}}),
        json!({"error": {"code": "lock_not_found", "version": null}}),
        json!({"revoke": {"revoked": true, "token": 4}}),
        json!({"put": {"key": "a", "version": 5, "created": true}}),
    ];
    assert_eq!(outputs, expected);
    let alone = |command: serde_json::Value| server.post("/v1/commands", &json!({ "command": command }));
    alone(json!({"watch": {"key": "a"}})).bad("command.watch");
    alone(json!({"unwatch": {"watch": 1}})).bad("command.unwatch");
    alone(json!({"unlock": {"lock": "l"}})).bad("command.unlock");
    alone(json!({"revoke": {"lock": "l", "session": session}})).problem(404, "lock_not_found");
    alone(json!({"revoke": {"lock": "l".repeat(256), "session": session}})).bad("command.revoke.lock");
    alone(json!({"lock": {"lock": "l"}})).bad("command");
    let watch = json!({"session": session, "command": {"watch": {"key": "a"}}});
    server.post("/v1/commands", &json!([watch, watch])).bad("[1].command.watch");
    let entries = server.get("/v1/log/entries").json()["entries"].clone();
    let lock = json!({"lock": {"lock": "l", "mode": "exclusive", "wait": null, "queue": false}});
    assert_eq!(entries[0]["command"], lock);
    assert_eq!(entries[2]["command"][0], json!({"watch": {"prefix": "a", "values": true}}));
    assert_eq!(entries[2]["command"][2], json!({"unlock": {"lock": "l"}}));
    assert_eq!(entries[2]["command"][4], json!({"revoke": {"lock": "m", "session": other}}));
}
