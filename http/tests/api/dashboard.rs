//! The page in a browser, what it is made of, and what it listens to.

use crate::client::{Client, request};
use crate::fake::{Server, server};
use copycat_http::ClusterEvent;
use serde_json::{Value, json};
use std::io::Read;
use std::time::{Duration, Instant};

/// Far longer than a second, on any machine.
const PATIENCE: Duration = Duration::from_secs(60);

const BROWSER: (&str, &str) = ("Accept", "text/html,application/xhtml+xml,*/*;q=0.8");
const STREAM: (&str, &str) = ("Accept", "text/event-stream");

#[test]
fn a_browser_gets_the_page_and_nothing_may_run_that_is_not_a_file_of_it() {
    let server = server();
    let page = server.call("GET", "/", &[BROWSER], b"");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = page.header("content-security-policy").expect("a policy");
    for needed in [
        "default-src 'none'",
        "script-src 'self';",
        "style-src 'self';",
        "connect-src 'self';",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    ] {
        assert!(policy.contains(needed), "{needed} in {policy}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
    let text = String::from_utf8(page.body).expect("text");
    assert!(!text.contains("<style") && !text.contains("style=") && !text.contains("onclick"), "nothing inline");
    let scripts: Vec<_> = text.match_indices("<script").collect();
    assert_eq!(scripts.len(), text.matches("<script type=\"module\" src=\"/ui/").count(), "nothing inline");
    // What the page names is there.
    for (at, _) in text.match_indices("\"/ui/") {
        let path = text[at + 1..].split('"').next().expect("a path");
        let file = server.get(path);
        assert_eq!(file.status, 200, "{path}");
        assert_eq!(file.header("x-content-type-options"), Some("nosniff"), "{path}");
    }
    // Whoever does not ask for a page gets text.
    assert_eq!(server.get("/").header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(server.get("/").header("vary"), Some("Accept"));
}

#[test]
fn members_are_the_only_others_that_the_page_may_ask() {
    let server = server();
    let policy = |http: &str| {
        server.fake.state().http = Some(http.into());
        let page = server.call("GET", "/", &[BROWSER], b"");
        page.header("content-security-policy").expect("a policy").to_string()
    };
    assert!(policy("10.0.0.7:8700").contains("connect-src 'self' http://10.0.0.7:8700;"));
    assert!(policy("[::1]:8700").contains("connect-src 'self' http://[::1]:8700;"));
    assert!(policy("a; script-src *").contains("connect-src 'self';"), "an address that is none says nothing");
}

#[test]
fn files_are_sent_once_and_packed() {
    let server = server();
    let plain = server.get("/ui/app.js");
    assert_eq!((plain.status, plain.header("content-type")), (200, Some("text/javascript; charset=utf-8")));
    let tag = plain.header("etag").expect("a tag").to_string();
    let again = server.call("GET", "/ui/app.js", &[("If-None-Match", &tag)], b"");
    assert_eq!((again.status, again.body.len()), (304, 0));
    assert_eq!(server.call("GET", "/ui/app.js", &[("If-None-Match", "\"x\"")], b"").status, 200);
    let packed = server.call("GET", "/ui/app.js", &[("Accept-Encoding", "br, gzip;q=0.9")], b"");
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(packed.body.as_slice()).read_to_end(&mut unpacked).expect("gzip");
    assert!(unpacked == plain.body && packed.body.len() < plain.body.len() / 2);
    for no in ["gzip;q=0", "br", "identity"] {
        let answer = server.call("GET", "/ui/app.js", &[("Accept-Encoding", no)], b"");
        assert_eq!(answer.header("content-encoding"), None, "{no}");
    }
    for none in ["/ui/", "/ui/nothing.js", "/ui/../app.js", "/ui/vendor/update", "/ui/%2e%2e/Cargo.toml", "/ui"] {
        server.get(none).problem(404, "no_such_endpoint");
    }
    server.call("POST", "/ui/app.js", &[], b"").problem(405, "method_not_allowed");
}

/// The next message of a stream: its name and its data.
fn message(client: &mut Client) -> Option<(String, Value)> {
    let chunk = String::from_utf8(client.chunk()?).expect("text");
    let field = |name: &str| chunk.lines().find_map(|line| line.strip_prefix(name)).expect("a field").to_string();
    Some((field("event: "), serde_json::from_str(&field("data: ")).expect("JSON")))
}

fn happened(server: &Server, id: u64) {
    let (kind, time_ms) = ("leader", 1_700_000_000_000);
    let (member_type, status, role, reason) = (None, None, None, None);
    let event = ClusterEvent { id, time_ms, kind, term: 4, member: 2, voter: None, role, member_type, status, reason };
    server.fake.state().feed.push(event);
}

#[test]
fn a_stream_begins_with_all_and_goes_on_with_what_changes() {
    let server = server();
    happened(&server, 1);
    let whole = server.get("/v1/dashboard").json();
    assert_eq!((&whole["state"]["server"]["id"], &whole["last_event"]), (&json!(1), &json!(1)));
    assert_eq!(whole["state"]["checks"], json!({"log": "ok", "leader": "ok"}));
    let mut client = Client::connect(&server);
    client.send(&request("GET", "/v1/dashboard", &[STREAM], b""));
    let head = client.head();
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
    let (name, snapshot) = message(&mut client).expect("a snapshot");
    assert_eq!((name.as_str(), &snapshot["state"]), ("snapshot", &whole["state"]));
    server.fake.state().unready = true;
    happened(&server, 2);
    let (mut events, mut patches, mut points) = (Vec::new(), Vec::new(), Vec::new());
    while events.is_empty() || patches.is_empty() || points.is_empty() {
        let (name, delta) = message(&mut client).expect("it goes on");
        assert_eq!(name, "delta");
        assert_eq!(
            crate::schema::fault(&json!({"$ref": "#/components/schemas/DashboardDelta"}), &delta),
            None,
            "{delta}"
        );
        patches.extend(delta.get("patch").cloned());
        for (name, found) in [("events", &mut events), ("points", &mut points)] {
            found.extend(delta[name].as_array().cloned().unwrap_or_default());
        }
    }
    assert_eq!(patches[0], json!({"checks": {"leader": "no leader is known"}}), "what changed and no more");
    assert_eq!((events.len(), &events[0]["id"]), (1, &json!(2)), "what was there before is not told again");
    assert_eq!(points[0]["commit_index"], 9);
}

#[test]
fn a_stream_says_when_events_are_missing() {
    let server = server();
    happened(&server, 1);
    let mut client = Client::connect(&server);
    client.send(&request("GET", "/v1/dashboard", &[STREAM], b""));
    client.head();
    assert_eq!(message(&mut client).expect("a snapshot").0, "snapshot");
    server.fake.state().feed.clear();
    happened(&server, 9);
    let gap = std::iter::from_fn(|| message(&mut client)).find(|(_, delta)| delta["gap"] == true);
    assert!(gap.is_some());
    server.fake.state().failure = Some(copycat_http::Failure::ShuttingDown);
    let end = std::iter::from_fn(|| message(&mut client)).find(|(name, _)| name == "error").expect("an end");
    assert_eq!(end.1["outcome"], "not_applied");
    assert_eq!(client.chunk(), None);
}

#[test]
fn seconds_are_counted() {
    let server = server();
    assert_eq!(server.get("/v1/server/history").json(), json!({"points": [], "more": false}));
    for _ in 0..3 {
        server.get("/v1/kv/nothing?consistency=lease");
    }
    server.call("PUT", "/v1/kv/a", &[], b"x");
    let mut counted = json!({});
    let (mut after, start) = (0, Instant::now());
    while counted != json!({"read": 3, "write": 1}) {
        assert!(start.elapsed() < PATIENCE, "{counted}");
        std::thread::sleep(Duration::from_millis(50));
        let page = server.get(&format!("/v1/server/history?after={after}")).json();
        for point in page["points"].as_array().expect("points") {
            assert!(point["time_ms"].as_u64() > Some(after));
            after = point["time_ms"].as_u64().expect("a time");
            for of in point["operations"].as_array().expect("operations") {
                let name = of["operation"].as_str().expect("a name");
                let consistency = if name == "read" { json!("lease") } else { Value::Null };
                assert_eq!(of["consistency"], consistency);
                assert!(
                    of["p50_us"].as_u64() <= of["p99_us"].as_u64() && of["p99_us"].as_u64() <= of["max_us"].as_u64()
                );
                counted[name] = (counted[name].as_u64().unwrap_or(0) + of["count"].as_u64().expect("a number")).into();
            }
        }
    }
    assert_eq!(server.get("/v1/server/history?limit=1").json()["points"].as_array().map(Vec::len), Some(1));
    for (bad, field) in [("limit=0", "limit"), ("limit=601", "limit"), ("after=x", "after")] {
        server.get(&format!("/v1/server/history?{bad}")).bad(field);
    }
}
