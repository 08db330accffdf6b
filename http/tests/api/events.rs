//! What a session is told: long polls and streams.

use crate::client::{Client, Response, request};
use crate::fake::{Server, server};
use crate::schema;
use copycat_http::{Ended, Failure, HttpConfig};
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Far longer than anything short.
const SOON: Duration = Duration::from_secs(3);

fn until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < SOON, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A session that watches everything.
fn watching(server: &Server, values: bool) -> (u64, u64) {
    let session = server.begin();
    let watch = json!({"prefix": "", "all": true, "values": values});
    let answer = server.post(&format!("/v1/sessions/{session}/watches"), &watch);
    (session, answer.json()["watch"].as_u64().expect("an id"))
}

impl Server {
    fn events(&self, session: u64, query: &str) -> Response {
        self.get(&format!("/v1/sessions/{session}/events{query}"))
    }
}

/// A poll that is held.
fn held(server: &Server, path: &str) -> Client {
    // Those that wait are not counted: one that it takes over from may end first.
    let before = server.fake.state().polls.len();
    let mut client = Client::connect(server);
    client.send(&request("GET", path, &[], b""));
    until("it is held", || server.fake.state().polls.len() == before + 1);
    client
}

/// A stream, and the messages that came with its beginning.
fn stream(server: &Server, session: u64, query: &str, headers: &[(&str, &str)]) -> (Client, String) {
    let mut client = Client::connect(server);
    let headers = [&[("Accept", "text/event-stream")], headers].concat();
    client.send(&request("GET", &format!("/v1/sessions/{session}/events{query}"), &headers, b""));
    let head = client.head();
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
    assert_eq!((head.header("vary"), head.header("cache-control")), (Some("Accept"), Some("no-cache")));
    let first = said(&mut client).expect("a first message");
    (client, first)
}

fn said(client: &mut Client) -> Option<String> {
    Some(String::from_utf8(client.chunk()?).expect("text"))
}

/// The id, the name and the data of messages.
fn messages(text: &str) -> Vec<(Option<u64>, String, Value)> {
    assert!(text.ends_with("\n\n"), "{text:?}");
    let message = |text: &str| {
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let data = serde_json::from_str(field("data").expect("data")).expect("JSON");
        assert!(text.lines().count() <= 3, "each field on one line: {text:?}");
        (field("id").map(|id| id.parse().expect("a number")), field("event").expect("a name").to_string(), data)
    };
    text.trim_end().split("\n\n").filter(|text| !text.starts_with(':')).map(message).collect()
}

fn ids(text: &str) -> Vec<u64> {
    messages(text).into_iter().map(|(id, _, _)| id.expect("an id")).collect()
}

#[test]
fn every_kind_of_event() {
    let server = server();
    let (session, watch) = watching(&server, true);
    let other = server.begin();
    server.put(&format!("/v1/locks/%ff?session={other}"), b"");
    server.put(&format!("/v1/locks/%ff?session={session}&queue&mode=shared"), b"");
    server.call("PUT", "/v1/kv/a", &[("Content-Type", "a/b")], b"grau");
    server.put("/v1/kv/%ff", b"\xfe");
    server.delete("/v1/kv/a");
    server.fake.state().expire(b"\xff");
    server.delete(&format!("/v1/locks/%ff?session={other}"));
    server.delete(&format!("/v1/locks/%ff/holders/{session}"));
    let first = server.events(session, "");
    let batch =
        |index: u64, previous: u64, event: Value| json!({"index": index, "previous": previous, "events": [event]});
    let put = json!({
        "type": "put", "watch": watch, "key": "a", "version": 6, "created": true, "value": "grau", "encoding": "utf-8",
        "content_type": "a/b",
    });
    let odd = json!({
        "type": "put", "watch": watch, "key": "/w==", "key_encoding": "base64", "version": 7, "created": true,
        "value": "/g==", "encoding": "base64", "content_type": "application/octet-stream",
    });
    let gone = json!({"type": "delete", "watch": watch, "key": "a", "version": 6});
    let expected = json!({
        "batches": [batch(6, 0, put), batch(7, 6, odd), batch(8, 7, gone)], "event_index": 11, "session": session,
    });
    assert_eq!((first.status, first.json()), (200, expected));
    assert_eq!((first.header("copycat-index"), first.header("vary")), (Some("11"), Some("Accept")));
    let expired = json!({"type": "expire", "watch": watch, "key": "/w==", "key_encoding": "base64", "version": 7});
    let granted = json!({
        "type": "lock_acquired", "lock": "/w==", "lock_encoding": "base64", "token": 10, "mode": "shared",
    });
    let lost = json!({"type": "lock_lost", "lock": "/w==", "lock_encoding": "base64", "token": 10});
    let rest = server.events(session, "?after=8").json();
    assert_eq!(rest["batches"], json!([batch(9, 8, expired), batch(10, 9, granted), batch(11, 10, lost)]));
}

#[test]
fn a_batch_is_all_of_an_index_and_values_only_if_wanted() {
    let server = server();
    let (session, watch) = watching(&server, false);
    let put = |key: &str| json!({"command": {"put": {"key": key, "value": "x"}}});
    server.post("/v1/commands", &json!([put("a"), put("b"), put("a")]));
    let page = server.events(session, "").json();
    assert_eq!(page["batches"].as_array().expect("batches").len(), 1);
    let events = page["batches"][0]["events"].as_array().expect("events");
    assert_eq!(events.len(), 3);
    let content_type = "text/plain; charset=utf-8";
    let expected = json!({
        "type": "put", "watch": watch, "key": "a", "version": 3, "created": false, "content_type": content_type,
    });
    assert_eq!(events[2], expected);
}

#[test]
fn a_poll_acknowledges_what_it_asks_behind() {
    let server = server();
    let (session, _) = watching(&server, false);
    for _ in 0..5 {
        server.put("/v1/kv/a", b"x");
    }
    let indexes = |query: &str| -> Vec<u64> {
        let page = server.events(session, query).json();
        page["batches"].as_array().expect("batches").iter().map(|b| b["index"].as_u64().expect("a number")).collect()
    };
    assert_eq!(indexes(""), [3, 4, 5]);
    assert_eq!(indexes(""), [3, 4, 5], "nothing was acknowledged");
    assert_eq!(indexes("?after=5"), [6, 7]);
    assert_eq!(indexes(""), [6, 7], "from the acknowledged index");
    let gap = server.events(session, "?after=3").problem(409, "events_gap");
    assert_eq!((&gap["acknowledged"], &gap["retryable"]), (&5.into(), &false.into()));
    assert!(indexes("?after=7").is_empty());
    let view = server.get(&format!("/v1/sessions/{session}")).json();
    assert_eq!((&view["acknowledged_index"], &view["queue_depth"]), (&7.into(), &0.into()));
    let polls = server.fake.state().polls.clone();
    assert!(polls.iter().all(|poll| poll.keep_alive && poll.stream.is_none() && poll.acknowledge == poll.after));
    assert_eq!(server.fake.state().sessions[&session].keep_alives, 6, "one each");
}

#[test]
fn a_poll_is_held_until_there_is_something() {
    let server = server();
    let (session, _) = watching(&server, false);
    let mut client = held(&server, &format!("/v1/sessions/{session}/events?wait=10s"));
    server.put("/v1/kv/a", b"x");
    let answer = client.answer("GET");
    assert_eq!((answer.status, &answer.json()["batches"][0]["index"]), (200, &3.into()));
    assert_eq!(answer.header("copycat-wait"), None);
    let start = Instant::now();
    let empty = server.events(session, "?after=3&wait=150ms");
    assert_eq!(empty.json(), json!({"batches": [], "event_index": 3, "session": session}));
    assert!((Duration::from_millis(150)..SOON).contains(&start.elapsed()));
    assert_eq!(server.fake.state().polls[1].acknowledge, Some(3));
    for bad in ["301s", "30", "", "soon"] {
        let problem = server.events(session, &format!("?wait={bad}")).problem(400, "bad_duration");
        assert_eq!(problem["field"], "wait", "{bad}");
    }
}

#[test]
fn a_cut_wait_is_told() {
    let server = Server::start(HttpConfig { wait: Duration::from_millis(600), ..HttpConfig::default() });
    let session = server.begin();
    assert_eq!(server.events(session, "?wait=5m").header("copycat-wait"), Some("600ms"));
    let short = server.post("/v1/sessions", &json!({"timeout": "1s"})).json()["session"].as_u64().expect("an id");
    let start = Instant::now();
    let cut = server.events(short, "?wait=5m");
    assert_eq!(cut.header("copycat-wait"), Some("500ms"), "half of its timeout");
    assert!((Duration::from_millis(500)..SOON).contains(&start.elapsed()));
    assert_eq!(server.events(short, "?wait=500ms").header("copycat-wait"), None);
    assert_eq!(server.events(short, "").header("copycat-wait"), None);
}

#[test]
fn the_newest_poll_wins() {
    let server = server();
    let (session, _) = watching(&server, false);
    let path = format!("/v1/sessions/{session}/events?wait=10s");
    let mut old = held(&server, &path);
    let mut new = held(&server, &path);
    assert_eq!(old.answer("GET").problem(409, "superseded")["retryable"], false);
    let (mut stream, _) = stream(&server, session, "", &[]);
    new.answer("GET").problem(409, "superseded");
    assert_eq!(server.events(session, "").status, 200);
    let (id, event, data) = messages(&said(&mut stream).expect("an end"))[0].clone();
    assert_eq!((id, event.as_str(), &data["status"]), (None, "superseded", &409.into()));
    assert_eq!(said(&mut stream), None);
}

#[test]
fn odd_polls_are_refused() {
    let server = server();
    let session = server.begin();
    server.events(session, "?after=x").bad("after");
    server.events(session, "?session=1").bad("session");
    server.get("/v1/sessions/x/events").bad("session");
    server.events(99, "").problem(404, "session_not_found");
    let path = format!("/v1/sessions/{session}/events");
    server.call("GET", &path, &[("Copycat-Session", "99")], b"").bad("Copycat-Session");
    assert_eq!(server.call("GET", &path, &[("Copycat-Session", "1")], b"").status, 200);
    assert_eq!(server.call("GET", &path, &[("Last-Event-ID", "x")], b"").status, 200, "of streams alone");
    server.fake.state().end(session, Ended::QueueFull);
    assert_eq!(server.events(session, "?wait=10s").problem(410, "session_expired")["reason"], "queue_full");
    // A stream has no other errors before it begins.
    let streamed = |path: &str, more: &[(&str, &str)]| {
        server.call("GET", path, &[&[("Accept", "text/event-stream")], more].concat(), b"")
    };
    streamed(&path, &[]).problem(410, "session_expired");
    streamed("/v1/sessions/99/events", &[]).problem(404, "session_not_found");
    streamed(&path, &[("Last-Event-ID", "x")]).bad("Last-Event-ID");
    streamed(&format!("{path}?wait=soon"), &[]).problem(400, "bad_duration");
    server.fake.state().failure = Some(Failure::NoLeader);
    assert_eq!(streamed(&path, &[]).header("retry-after"), Some("1"));
}

#[test]
fn a_client_that_goes_away_is_waited_for_no_longer() {
    let server = server();
    let (session, _) = watching(&server, false);
    let client = held(&server, &format!("/v1/sessions/{session}/events?wait=10s"));
    until("it waits", || server.fake.waiting.load(Ordering::SeqCst) == 1);
    drop(client);
    until("the poll is dropped", || server.fake.waiting.load(Ordering::SeqCst) == 0);
    let (client, _) = stream(&server, session, "", &[]);
    until("it waits", || server.fake.waiting.load(Ordering::SeqCst) == 1);
    drop(client);
    until("the stream is dropped", || server.fake.waiting.load(Ordering::SeqCst) == 0);
}

#[test]
fn a_stream_sends_a_message_a_batch() {
    let server = server();
    let (session, watch) = watching(&server, true);
    server.put("/v1/kv/a", b"one\ntwo");
    server.put("/v1/kv/b", b"");
    let (mut client, first) = stream(&server, session, "", &[]);
    assert_eq!(ids(&first), [3, 4]);
    let (_, event, batch) = messages(&first)[0].clone();
    assert_eq!(event, "events");
    assert_eq!(schema::fault(&json!({"$ref": "#/components/schemas/Batch"}), &batch), None);
    assert_eq!((&batch["previous"], &batch["events"][0]["value"]), (&0.into(), &"one\ntwo".into()));
    assert_eq!(batch["events"][0]["watch"], watch);
    server.put("/v1/kv/a", b"x");
    assert_eq!(ids(&said(&mut client).expect("more")), [5]);
    server.put("/v1/kv/a", b"x");
    assert_eq!(ids(&said(&mut client).expect("more")), [6]);
    let polls = server.fake.state().polls.clone();
    assert!(polls.iter().all(|poll| !poll.keep_alive && poll.stream == polls[0].stream && poll.acknowledge.is_none()));
    let after: Vec<_> = polls.iter().take(4).map(|poll| poll.after).collect();
    assert_eq!(after, [None, Some(4), Some(5), Some(6)], "each step behind the last");
    let state = server.fake.state();
    let seen = (state.sessions[&session].acknowledged_index, state.sessions[&session].keep_alives);
    assert_eq!(seen, (0, 0), "it acknowledges nothing and keeps nothing alive");
}

#[test]
fn a_stream_resumes_and_acknowledges_where_it_begins() {
    let server = server();
    let (session, _) = watching(&server, false);
    for _ in 0..8 {
        server.put("/v1/kv/a", b"x");
    }
    let begin = |query: &str, headers: &[(&str, &str)]| {
        let (_client, first) = stream(&server, session, query, headers);
        (ids(&first), server.fake.state().sessions[&session].acknowledged_index)
    };
    assert_eq!(begin("", &[]), (vec![3, 4, 5], 0));
    assert_eq!(begin("?after=4", &[]), (vec![5, 6, 7], 4));
    assert_eq!(begin("", &[("Last-Event-ID", "5")]), (vec![6, 7, 8], 5));
    assert_eq!(begin("?after=4", &[("Last-Event-ID", "6")]), (vec![7, 8, 9], 6), "as a browser comes back");
    assert_eq!(begin("?after=7", &[("Last-Event-ID", "6")]), (vec![8, 9, 10], 7));
    let gap = [("Accept", "text/event-stream"), ("Last-Event-ID", "3")];
    let refused = server.call("GET", &format!("/v1/sessions/{session}/events"), &gap, b"");
    assert_eq!(refused.problem(409, "events_gap")["acknowledged"], 7);
    let polls = server.fake.state().polls.clone();
    let mut streams: Vec<_> = polls.iter().filter_map(|poll| poll.stream).collect();
    streams.dedup();
    assert_eq!(streams.len(), 6, "each has its own number");
}

#[test]
fn a_stream_that_has_nothing_to_say_shows_that_it_lives() {
    let comment = Duration::from_millis(100);
    let server = Server::start(HttpConfig { comment, ..HttpConfig::default() });
    let (session, _) = watching(&server, false);
    let start = Instant::now();
    let (mut client, first) = stream(&server, session, "?wait=5m", &[]);
    assert_eq!(first, ":\n\n");
    assert_eq!(said(&mut client).expect("a comment"), ":\n\n");
    assert!((comment..SOON).contains(&start.elapsed()));
    assert_eq!(said(&mut client).expect("a comment"), ":\n\n");
    server.put("/v1/kv/a", b"x");
    let next = std::iter::from_fn(|| said(&mut client)).find(|text| text != ":\n\n");
    assert_eq!(ids(&next.expect("a message")), [3]);
    let polls = server.fake.state().polls.clone();
    assert_eq!((polls[0].wait, polls[1].wait), (Duration::ZERO, comment));
}

#[test]
fn a_stream_tells_how_it_ends() {
    let end = |happens: &dyn Fn(&Server, u64)| {
        let server = server();
        let (session, _) = watching(&server, false);
        server.put("/v1/kv/a", b"x");
        let (mut client, first) = stream(&server, session, "", &[]);
        assert_eq!(ids(&first), [3]);
        happens(&server, session);
        let text = said(&mut client).expect("an end");
        let (id, event, problem) = messages(&text)[0].clone();
        assert_eq!(schema::fault(&json!({"$ref": "#/components/schemas/Problem"}), &problem), None);
        assert_eq!((id, said(&mut client)), (None, None), "the last message");
        (event, problem)
    };
    let (event, problem) = end(&|server, session| server.fake.state().end(session, Ended::TimedOut));
    let told = (event.as_str(), &problem["code"], &problem["status"], &problem["reason"]);
    assert_eq!(told, ("session_expired", &"session_expired".into(), &410.into(), &"timeout".into()));
    let (event, problem) = end(&|server, session| {
        server.post(&format!("/v1/sessions/{session}/keep-alive"), &json!({"event_index": 9}));
    });
    assert_eq!((event.as_str(), &problem["acknowledged"]), ("events_gap", &9.into()));
    let (event, problem) = end(&|server, _| server.fake.state().failure = Some(Failure::ShuttingDown));
    assert_eq!((event.as_str(), &problem["code"]), ("error", &"no_leader".into()));
}

#[test]
fn a_slow_client_costs_no_more_than_a_page() {
    let server = server();
    let (session, _) = watching(&server, true);
    for _ in 0..40 {
        server.put("/v1/kv/a", &[b'x'; 1024 * 1024]);
    }
    let mut client = Client::connect(&server);
    let path = format!("/v1/sessions/{session}/events");
    client.send(&request("GET", &path, &[("Accept", "text/event-stream")], b""));
    assert_eq!(client.head().status, 200);
    std::thread::sleep(Duration::from_millis(500));
    let taken = server.fake.state().polls.len();
    std::thread::sleep(Duration::from_millis(300));
    let later = server.fake.state().polls.len();
    assert!(taken == later && taken < 10, "{taken} pages, then {later}, for a client that takes none");
    drop(client);
}

#[test]
fn a_stream_keeps_its_place() {
    let server = Server::start(HttpConfig { requests: 1, ..HttpConfig::default() });
    let session = server.begin();
    let (client, _) = stream(&server, session, "", &[]);
    server.get("/v1/kv/a").problem(503, "overloaded");
    drop(client);
    until("there is room again", || server.get("/v1/kv?prefix=a").status == 200);
}
