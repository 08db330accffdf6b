//! The HTTP API of a machine of the program's own.

use crate::tally::Tally;
use crate::turn;
use copycat::{Bincode, Codec, Json, LocalNetwork, Server, Storage};
use copycat_testkit::http::{Answer, Client};
use serde_json::{Value, json};
use std::time::Duration;

fn body(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|e| panic!("{e}: {}", answer.text()))
}

fn serves<C: Codec>() {
    let server =
        Server::<Tally<C>>::builder(1).storage(Storage::Memory).segment_size(1 << 20).largest_entry((1 << 20) - 4096);
    let server = server.transport(LocalNetwork::new().host("a")).http_address("127.0.0.1:0").bootstrap([(1, "a")]);
    let server = server.unwrap();
    let mut client = Client::new(server.http().unwrap(), Duration::from_secs(30));
    let mut send = |method: &str, path: &str, said: Value| {
        let said = if said.is_null() { Vec::new() } else { said.to_string().into_bytes() };
        client.request(method, path, &[], &said).unwrap()
    };
    let begun = body(&send("POST", "/v1/sessions", json!({"timeout": "20s", "name": "teller"})));
    let session = begun["session"].as_u64().unwrap_or_else(|| panic!("{begun}"));

    let add = |n: u64, sequence: u64| json!({"command": {"Add": n}, "session": session, "sequence": sequence});
    let first = body(&send("POST", "/v1/commands", add(5, 1)));
    assert_eq!(first["output"], 5, "{first}");
    assert_eq!(body(&send("POST", "/v1/commands", add(5, 1))), first, "a repeat is known");
    assert_eq!(body(&send("POST", "/v1/commands", add(6, 2)))["output"], 11);
    let found = send("POST", "/v1/queries", json!({"query": null, "consistency": "linearizable"}));
    assert_eq!((found.header("copycat-consistency"), &body(&found)["output"]), (Some("linearizable"), &json!(11)));

    let page = body(&send("GET", &format!("/v1/sessions/{session}/events?wait=10s"), Value::Null));
    let events: Vec<&Value> =
        page["batches"].as_array().unwrap().iter().flat_map(|b| b["events"].as_array().unwrap()).collect();
    assert_eq!(events, [&json!({"type": "machine", "event": 5}), &json!({"type": "machine", "event": 11})]);
    let view = body(&send("GET", &format!("/v1/sessions/{session}"), Value::Null));
    assert_eq!((&view["name"], &view["sequence"]), (&json!("teller"), &json!(2)));

    let entries = body(&send("GET", "/v1/log/entries?from=1&limit=100", Value::Null));
    let entries = entries["entries"].as_array().unwrap().clone();
    let commands: Vec<&Value> = entries.iter().map(|e| &e["command"]).filter(|c| !c.is_null()).collect();
    assert_eq!(commands, [&json!({"Add": 5}), &json!({"Add": 6})]);
    // As many bytes as its codec writes.
    let bytes = entries.iter().find(|e| e["command"] == json!({"Add": 5})).unwrap()["bytes"].as_u64();
    assert_eq!(bytes, Some(C::encode(&crate::tally::Command::Add(5)).len() as u64));

    let wrong = send("POST", "/v1/commands", json!({"command": {"Subtract": 5}}));
    assert_eq!((wrong.status, &body(&wrong)["field"]), (400, &json!("command")), "{}", wrong.text());
    assert!(wrong.text().contains("Subtract"), "{}", wrong.text());
    assert_eq!(send("GET", "/v1/kv/a", Value::Null).status, 404);
    assert_eq!(send("POST", "/v1/snapshots", Value::Null).status, 201);
    assert_eq!(body(&send("GET", "/v1/cluster", Value::Null))["leader"], 1);
    let backup = send("GET", "/v1/snapshots/latest", Value::Null);
    assert!(backup.status == 200 && !backup.body.is_empty());
    server.shutdown().unwrap();
}

#[test]
fn any_machine_is_served_in_json_whatever_its_codec() {
    let _turn = turn();
    serves::<Bincode>();
    serves::<Json>();
}
