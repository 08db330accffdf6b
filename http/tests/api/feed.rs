//! What a server saw happen: long polls and streams.

use crate::client::{Client, request};
use crate::fake::{Server, server};
use copycat_http::{ClusterEvent, Failure, HttpConfig};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Far longer than anything short.
const SOON: Duration = Duration::from_secs(3);

fn happened(server: &Server, ids: std::ops::RangeInclusive<u64>) {
    let event = |id| ClusterEvent {
        id,
        time_ms: 1_700_000_000_000 + id,
        kind: if id % 2 == 1 { "role" } else { "leader" },
        term: 3,
        member: 1,
        voter: (id % 2 == 0).then_some(2),
        role: (id % 2 == 1).then_some("follower"),
        member_type: None,
        status: None,
        reason: (id % 2 == 0).then(|| "timeout".into()),
    };
    server.fake.state().feed.extend(ids.map(event));
}

fn ids(page: &Value) -> Vec<u64> {
    page["events"].as_array().expect("events").iter().map(|event| event["id"].as_u64().expect("a number")).collect()
}

#[test]
fn what_happened_is_told_in_order() {
    let server = server();
    assert_eq!(server.get("/v1/cluster/events").json(), json!({"events": [], "last": 0}));
    happened(&server, 1..=4);
    let answer = server.get("/v1/cluster/events");
    let page = answer.json();
    assert_eq!((answer.status, answer.header("vary")), (200, Some("Accept")));
    assert_eq!((ids(&page), &page["last"]), (vec![1, 2, 3], &4.into()));
    let role = json!({
        "id": 1, "time_ms": 1_700_000_000_001_u64, "type": "role", "term": 3, "member": 1, "voter": null,
        "role": "follower", "member_type": null, "status": null, "reason": null,
    });
    assert_eq!((&page["events"][0], &page["events"][1]["reason"]), (&role, &"timeout".into()));
    assert_eq!(ids(&server.get("/v1/cluster/events?after=3").json()), [4]);
}

#[test]
fn it_is_waited_for() {
    let server = server();
    happened(&server, 1..=1);
    let start = Instant::now();
    let empty = server.get("/v1/cluster/events?after=1&wait=150ms");
    assert_eq!(empty.json(), json!({"events": [], "last": 1}));
    assert!((Duration::from_millis(150)..SOON).contains(&start.elapsed()));
    let mut client = Client::connect(&server);
    client.send(&request("GET", "/v1/cluster/events?after=1&wait=30s", &[], b""));
    std::thread::sleep(Duration::from_millis(50));
    happened(&server, 2..=2);
    let answer = client.answer("GET");
    assert_eq!((ids(&answer.json()), answer.header("copycat-wait")), (vec![2], None));
    let short = Server::start(HttpConfig { wait: Duration::from_millis(50), ..HttpConfig::default() });
    assert_eq!(short.get("/v1/cluster/events?wait=30s").header("copycat-wait"), Some("50ms"));
}

#[test]
fn what_is_no_longer_kept_is_said_so() {
    let server = server();
    happened(&server, 10..=12);
    let early = server.get("/v1/cluster/events?after=8").problem(410, "feed_trimmed");
    assert_eq!((&early["resume"], &early["retryable"]), (&9.into(), &false.into()));
    assert_eq!(server.get("/v1/cluster/events?after=13").problem(410, "feed_trimmed")["resume"], 12);
    assert_eq!(ids(&server.get("/v1/cluster/events?after=9").json()), [10, 11, 12]);
    let stream = |id: &str| {
        server.call("GET", "/v1/cluster/events", &[("Accept", "text/event-stream"), ("Last-Event-ID", id)], b"")
    };
    assert_eq!(stream("8").problem(410, "feed_trimmed")["resume"], 9);
    stream("x").bad("Last-Event-ID");
    for (bad, field) in [("after=x", "after"), ("timeout=1s", "timeout"), ("consistency=lease", "consistency")] {
        server.get(&format!("/v1/cluster/events?{bad}")).bad(field);
    }
    server.get("/v1/cluster/events?wait=6m").problem(400, "bad_duration");
    server.fake.state().failure = Some(Failure::Overloaded);
    server.get("/v1/cluster/events").problem(503, "overloaded");
}

#[test]
fn a_stream_sends_a_message_an_event() {
    let server = Server::start(HttpConfig { comment: Duration::from_millis(100), ..HttpConfig::default() });
    happened(&server, 1..=4);
    let mut client = Client::connect(&server);
    let headers = [("Accept", "text/event-stream"), ("Last-Event-ID", "1")];
    client.send(&request("GET", "/v1/cluster/events", &headers, b""));
    let head = client.head();
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
    let mut said = || client.chunk().map(|chunk| String::from_utf8(chunk).expect("text"));
    let first = said().expect("messages");
    let lines: Vec<_> = first.lines().collect();
    assert_eq!((lines[0], lines[1], lines.len()), ("id: 2", "event: event", 12));
    let data: Value = serde_json::from_str(lines[2].strip_prefix("data: ").expect("data")).expect("JSON");
    assert_eq!(crate::schema::fault(&json!({"$ref": "#/components/schemas/FeedEvent"}), &data), None);
    assert_eq!((lines[4], lines[8]), ("id: 3", "id: 4"));
    assert_eq!(said().expect("a comment"), ":\n\n");
    server.fake.state().feed.clear();
    happened(&server, 9..=9);
    let mut rest = std::iter::from_fn(said).filter(|text| text != ":\n\n");
    let end = rest.next().expect("an end");
    assert!(end.starts_with("event: feed_trimmed\ndata: {") && end.contains("\"resume\":8"), "{end}");
    assert_eq!(rest.next(), None);
}

#[test]
fn a_stream_without_a_past_begins_with_what_is_kept() {
    let server = Server::start(HttpConfig { comment: Duration::from_millis(50), ..HttpConfig::default() });
    let mut client = Client::connect(&server);
    client.send(&request("GET", "/v1/cluster/events?wait=30s", &[("Accept", "text/event-stream")], b""));
    assert_eq!(client.head().status, 200);
    assert_eq!(client.chunk().expect("a comment"), b":\n\n");
    happened(&server, 1..=1);
    let next = std::iter::from_fn(|| client.chunk()).find(|text| text != b":\n\n");
    assert!(next.expect("a message").starts_with(b"id: 1\n"));
    drop(client);
    let waits = server.fake.state().waits.clone();
    assert_eq!(waits[..2], [(None, Duration::ZERO), (Some(0), Duration::from_millis(50))]);
}
