//! What all members have alike: named by flags for a cluster's first start, refused where it differs, changed by a command
//! while the cluster serves.

use crate::harness::{ask, copycat, get, json, peek, turn, wait_for};
use crate::load::{Load, assert_kept};
use crate::members::{Shape, put};
use rustix::process::Signal;
use serde_json::Value;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

fn settings(at: SocketAddr) -> Value {
    json(&get(at, "/v1/cluster/settings"))
}

fn set(at: SocketAddr, body: &Value) -> (u16, Value) {
    let answer = ask(at, "PUT", "/v1/cluster/settings", &[], body.to_string().as_bytes());
    (answer.status, json(&answer))
}

/// Waits until these servers go by this election timeout.
fn wait_for_timeout(shape: &Shape, servers: impl IntoIterator<Item = u64>, expected: &str) {
    for id in servers {
        wait_for(&format!("server {id} to go by {expected}"), || {
            let seen = peek(shape.http(id), "/v1/cluster/settings")?;
            (seen["election_timeout"] == expected).then_some(())
        });
    }
}

/// The last line that a server said, which has ended badly.
fn refused(shape: &mut Shape, id: u64) -> String {
    let (fine, output) = shape.ended(id);
    assert!(!fine, "{output}");
    output.lines().last().unwrap_or_default().to_string()
}

#[test]
fn a_server_that_is_started_first_with_another_flag_is_refused_and_the_others_begin() {
    let _turn = turn();
    let mut shape = Shape::start(0, &[]);
    let list = shape.bootstrap(3);
    shape.run(1, &["--bootstrap", &list]);
    shape.run(3, &["--bootstrap", &list, "--election-timeout", "10s"]);
    shape.run(2, &["--bootstrap", &list]);
    let line = refused(&mut shape, 3);
    assert!(line.contains("--election-timeout") && line.contains("500ms") && line.contains("10s"), "{line}");
    shape.wait_until_ready(1);
    shape.wait_until_ready(2);
    put(shape.http(1), "a", "v");
    // With nothing said it takes what is in force.
    shape.run(3, &["--bootstrap", &list]);
    shape.wait_until_ready(3);
    wait_for_timeout(&shape, 1..=3, "500ms");
}

#[test]
fn a_server_that_joins_with_another_flag_is_refused_and_is_no_member() {
    let _turn = turn();
    let mut shape = Shape::start(1, &[]);
    let through = shape.peer(1).to_string();
    shape.run(2, &["--join", &through, "--election-timeout", "2s"]);
    let line = refused(&mut shape, 2);
    let way = "`copycat cluster settings --election-timeout 2s`";
    assert!(line.contains("--election-timeout 2s") && line.contains("500ms") && line.contains(way), "{line}");
    assert_eq!(json(&get(shape.http(1), "/v1/cluster"))["members"].as_array().map(Vec::len), Some(1));
    shape.run(2, &["--join", &through, "--election-timeout", "500ms"]);
    shape.wait_until_ready(2);
}

#[test]
fn the_election_timeout_is_changed_while_the_cluster_serves() {
    let _turn = turn();
    let flags = ["--election-timeout", "500ms"];
    let mut shape = Shape::start(3, &[]);
    let list = shape.bootstrap(3);
    let load = Load::start("load", 2, &(1..=3).map(|id| shape.http(id)).collect::<Vec<_>>());
    let shown = shape.change(1, &["settings"]);
    assert!(shown.lines().any(|l| l.split_whitespace().eq(["election_timeout", "500ms"])), "{shown}");
    let said = shape.change(2, &["settings", "--election-timeout", "2s", "--output", "json"]);
    let after: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(after["election_timeout"], "2s", "{after}");
    wait_for_timeout(&shape, 1..=3, "2s");
    let leader = shape.leader();
    let lease = get(shape.http(leader), "/v1/kv/a?consistency=lease");
    assert!(lease.status == 200 || lease.status == 404, "{}", lease.text());
    shape.change(3, &["settings", "--election-timeout", "300ms"]);
    wait_for_timeout(&shape, 1..=3, "300ms");
    shape.change(1, &["settings", "--election-timeout", "700ms"]);
    wait_for_timeout(&shape, 1..=3, "700ms");
    let history = load.finish();
    assert!(!history.is_empty());
    assert_kept(shape.http(1), "load", &history);
    let before = settings(shape.http(1));
    // All of them again: with what the flag says no longer, and with nothing said.
    (1..=3).for_each(|id| shape.stop(id));
    for id in 1..=3 {
        let how: Vec<&str> = ["--bootstrap", &list].into_iter().chain(flags).collect();
        shape.run(id, &how);
        let line = refused(&mut shape, id);
        let way = "`copycat cluster settings --election-timeout 500ms`";
        assert!(line.contains("--election-timeout 500ms") && line.contains("700ms") && line.contains(way), "{line}");
    }
    (1..=3).for_each(|id| shape.run(id, &["--bootstrap", &list]));
    (1..=3).for_each(|id| shape.wait_until_ready(id));
    assert_eq!(settings(shape.http(3)), before);
    (1..=3).for_each(|id| shape.stop(id));
    (1..=3).for_each(|id| shape.run(id, &["--bootstrap", &list, "--election-timeout", "700ms"]));
    (1..=3).for_each(|id| shape.wait_until_ready(id));
}

#[test]
fn settings_are_changed_over_http_on_the_configuration_they_were_decided_on() {
    let _turn = turn();
    let shape = Shape::start(1, &[]);
    let at = shape.http(1);
    let first = settings(at);
    assert_eq!((&first["election_timeout"], &first["largest_entry"]), (&"500ms".into(), &8_388_608.into()));
    assert_eq!(first["idempotency_window"], "10m");
    let configuration = &first["configuration"];
    let with = |name: &str, value: Value| serde_json::json!({ "configuration": configuration, name: value });
    let (status, after) = set(at, &with("session_events", 100.into()));
    assert_eq!((status, &after["session_events"]), (200, &100.into()), "{after}");
    assert_eq!(after["election_timeout"], "500ms");
    assert!(after["configuration"].as_u64() > configuration.as_u64());
    let (status, problem) = set(at, &with("session_events", 200.into()));
    assert_eq!((status, &problem["code"]), (409, &"configuration_conflict".into()), "{problem}");
    assert_eq!(problem["configuration"], after["configuration"]);
    for (name, value, field) in [
        ("election_timeout", Value::from("1ms"), "election_timeout"),
        ("election_timeout", "500".into(), "election_timeout"),
        ("election_timeout", 500.into(), "election_timeout"),
        ("largest_entry", 1.into(), "largest_entry"),
        ("clock_drift_permille", 501.into(), "clock_drift_permille"),
        ("idempotency_window", "25h".into(), "idempotency_window"),
    ] {
        let (status, problem) = set(at, &with(name, value));
        assert_eq!(
            (status, &problem["code"], &problem["field"]),
            (400, &"bad_request".into(), &field.into()),
            "{problem}"
        );
    }
    let (status, problem) = set(at, &with("speed", 1.into()));
    assert_eq!((status, &problem["code"]), (400, &"bad_request".into()), "{problem}");
    let said = shape.cli(1, &["settings", "--sessions", "0"]);
    assert!(!said.status.success() && said.err.contains("sessions"), "{}", said.err);
    assert_eq!(settings(at), after);
}

/// A transaction of some 3.6 MB.
fn large() -> String {
    let value = "v".repeat(900 * 1024);
    let put = |key: &str| serde_json::json!({ "put": { "key": key, "value": value } });
    serde_json::json!({ "then": [put("a"), put("b"), put("c"), put("d")] }).to_string()
}

#[test]
fn an_entry_that_is_larger_than_the_log_files_of_one_server_ends_nobody() {
    let _turn = turn();
    let mut shape = Shape::start(0, &[]);
    let list = shape.bootstrap(3);
    shape.run(1, &["--bootstrap", &list]);
    shape.run(2, &["--bootstrap", &list, "--segment-size", "2097152"]);
    shape.run(3, &["--bootstrap", &list]);
    (1..=3).for_each(|id| shape.wait_until_ready(id));
    let large = large();
    let send = |shape: &Shape, id| ask(shape.http(id), "POST", "/v1/transactions", &[], large.as_bytes()).status;
    // A slow machine may change its leader over it.
    let sent = |shape: &Shape, id| wait_for("it to be taken", || (send(shape, id) == 200).then_some(()));
    sent(&shape, 2);
    for id in 1..=3 {
        shape.wait_until_caught_up(id);
        assert_eq!(shape.has_ended(id), None);
    }
    wait_for("server 2 to lead", || shape.cli(2, &["transfer", "2"]).status.success().then_some(()));
    sent(&shape, 1);
    shape.stop(2);
    shape.run(2, &["--bootstrap", &list, "--segment-size", "2097152"]);
    shape.wait_until_ready(2);
    shape.wait_until_caught_up(2);
    // What is allowed no longer is refused where it comes in, and what is there stays.
    shape.change(1, &["settings", "--largest-entry", "1000000"]);
    for id in 1..=3 {
        wait_for("the change to be known", || {
            (peek(shape.http(id), "/v1/cluster/settings")?["largest_entry"] == 1_000_000).then_some(())
        });
        assert_eq!(send(&shape, id), 413, "at server {id}");
    }
    put(shape.http(3), "goes-on", "v");
    for id in 1..=3 {
        assert_eq!(shape.has_ended(id), None);
        assert_eq!(get(shape.http(id), "/v1/kv/d").body.len(), 900 * 1024);
    }
}

/// Values of one key as they were read at a server's lease, while the election timeout grows and shrinks and servers are
/// paused and started anew: none is older than what was acknowledged before the read began.
#[test]
fn leases_hold_while_the_election_timeout_changes() {
    let _turn = turn();
    let shape = &mut Shape::start(3, &[]);
    put(shape.http(1), "n", "0");
    let timeouts = ["2s", "300ms", "1s", "200ms", "500ms"];
    for (round, timeout) in timeouts.into_iter().enumerate() {
        let leader = shape.leader();
        let others: Vec<u64> = (1..=3).filter(|&id| id != leader).collect();
        shape.change(others[0], &["settings", "--election-timeout", timeout]);
        // The leader may have been paused while others elect another: it must not answer by its old lease.
        shape.signal(leader, Signal::STOP);
        let value = (round + 1).to_string();
        let written = wait_for("another leader to write", || {
            let mut client = copycat_testkit::http::Client::new(shape.http(others[0]), Duration::from_secs(15));
            let answer = client.request("PUT", "/v1/kv/n", &[], value.as_bytes()).ok()?;
            matches!(answer.status, 200 | 201).then_some(value.clone())
        });
        shape.signal(leader, Signal::CONT);
        for _ in 0..20 {
            let answer = get(shape.http(leader), "/v1/kv/n?consistency=lease");
            if answer.status == 200 {
                assert_eq!(answer.text(), written, "{timeout}");
            }
            thread::sleep(Duration::from_millis(5));
        }
        wait_for_timeout(shape, 1..=3, timeout);
    }
}

#[test]
fn the_command_line_names_its_settings() {
    let said = copycat(&["cluster", "settings", "--help"]);
    assert!(said.out.contains("--election-timeout") && said.out.contains("--idempotency-window"), "{}", said.out);
}
