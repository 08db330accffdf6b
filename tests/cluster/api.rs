//! The endpoints beyond single keys, through any server, and while a leader dies.

use crate::harness::{Cluster, ask, get, json, turn, wait_for};
use copycat_testkit::http::Client;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

fn post(server: SocketAddr, path: &str, body: &Value) -> Value {
    let answer = ask(server, "POST", path, &[], body.to_string().as_bytes());
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    json(&answer)
}

#[test]
fn any_server_takes_transactions_batches_prefixes_and_shows_its_log() {
    let _turn = turn();
    let mut cluster = Cluster::start();
    cluster.wait_until_ready();
    let servers = cluster.addresses();
    for (n, &server) in servers.iter().enumerate() {
        let key = |k: &str| format!("api/{n}/{k}");
        let put = |k: &str, v: &str| json!({"put": {"key": key(k), "value": v}});
        let created = post(
            server,
            "/v1/transactions",
            &json!({
                "if": {"key": key("a"), "exists": false}, "then": [put("a", "1"), put("b/x", "2"), put("b/y", "3")]
            }),
        );
        assert_eq!(created["succeeded"], true, "{created}");
        let again = post(
            server,
            "/v1/transactions",
            &json!({
                "if": {"key": key("a"), "version": 0}, "then": [put("a", "9")], "else": [{"get": {"key": key("a")}}]
            }),
        );
        assert_eq!((&again["succeeded"], &again["results"][0]["get"]["item"]["value"]), (&json!(false), &json!("1")));
        let other = servers[(n + 1) % servers.len()];
        let index = again["index"].as_u64().unwrap();
        let list = format!("/v1/kv?prefix=api/{n}/&separator=/&values=none&consistency=sequential&index={index}");
        let items = json(&get(other, &list))["items"].clone();
        assert_eq!((&items[0]["key"], &items[1]["prefix"]), (&json!(key("a")), &json!(key("b/"))), "{items}");
        let batch = json!([{"command": put("c", "4")}, {"command": {"delete": {"key": key("a")}}}]);
        let done = post(other, "/v1/commands", &batch);
        assert_eq!(
            (&done[0]["output"]["put"]["created"], &done[1]["output"]["delete"]["deleted"]),
            (&json!(true), &json!(true))
        );
        let asked = post(server, "/v1/queries", &json!({"query": {"get": {"key": key("c")}}}));
        assert_eq!(asked["output"]["get"]["item"]["value"], "4", "{asked}");
        let lines = ask(server, "GET", &format!("/v1/kv?prefix=api/{n}/"), &[("Accept", "application/x-ndjson")], b"");
        let text = lines.text();
        assert_eq!(text.lines().count(), 4, "three keys and the end: {text}");
        assert!(text.lines().last().is_some_and(|l| l.contains("\"end\":true")), "{text}");
        let removed = json(&ask(other, "DELETE", &format!("/v1/kv?prefix=api/{n}/b"), &[], b""));
        assert_eq!((&removed["deleted"], &removed["more"]), (&json!(2), &json!(false)));
        let at = done[0]["index"].as_u64().unwrap();
        let entry = wait_for("the entry", || {
            let page = json(&get(other, &format!("/v1/log/entries?from={at}&limit=1")));
            Some(page["entries"][0].clone()).filter(|e| !e.is_null())
        });
        assert_eq!((&entry["index"], &entry["kind"]), (&json!(at), &json!("command")), "{entry}");
        assert_eq!(entry["command"][0]["put"]["key"], key("c"), "{entry}");
        assert!(json(&get(server, "/v1/log"))["segments"][0]["last_index"].as_u64() >= Some(at));
    }
}

/// Whoever waits at a follower, going on from what it has seen, ends with the last of many changes made elsewhere, also
/// when the leader dies in between.
#[test]
fn a_loop_of_waits_misses_no_last_change() {
    let _turn = turn();
    let mut cluster = Cluster::start();
    cluster.wait_until_ready();
    let leader = cluster.leader();
    let (writer, watcher) = (cluster.servers[(leader + 1) % 3].http, cluster.servers[(leader + 2) % 3].http);
    let over = Arc::new(AtomicBool::new(false));
    let seen: Arc<Mutex<Vec<(u64, String)>>> = Arc::default();
    let watching = thread::spawn({
        let (over, seen) = (over.clone(), seen.clone());
        move || {
            let (mut client, mut after) = (Client::new(watcher, Duration::from_secs(30)), 0);
            while !over.load(Ordering::SeqCst) {
                let answer = client.request("GET", &format!("/v1/kv/watched?wait=1s&after={after}"), &[], b"");
                let Ok(answer) = answer else { continue };
                if answer.status == 200 {
                    let version = answer.header("etag").and_then(|t| t.trim_matches('"').parse().ok()).unwrap();
                    assert!(version > after, "{version} after {after}");
                    after = version;
                    seen.lock().unwrap().push((version, answer.text()));
                }
            }
        }
    });
    let mut last = 0;
    for n in 0..200 {
        if n == 100 {
            cluster.servers[leader].kill();
        }
        let answer = ask(writer, "PUT", "/v1/kv/watched?timeout=20s", &[], format!("{n}").as_bytes());
        if matches!(answer.status, 200 | 201) {
            last = json(&answer)["version"].as_u64().unwrap();
        }
    }
    wait_for("the last change to be seen", || seen.lock().unwrap().iter().any(|s| s.0 >= last).then_some(()));
    over.store(true, Ordering::SeqCst);
    watching.join().unwrap();
    let seen = seen.lock().unwrap();
    println!("200 writes, {} seen by a loop of waits", seen.len());
    assert_eq!(seen.last().map(|s| s.1.as_str()), Some("199"));
}

/// A counter that several clients raise by compare-and-swap, while leaders are killed, ends at the number of swaps that
/// succeeded; those of unknown outcome may or may not be among them.
#[test]
fn no_two_swaps_succeed_on_one_version() {
    let _turn = turn();
    let mut cluster = Cluster::start();
    cluster.wait_until_ready();
    let servers = cluster.addresses();
    assert_eq!(ask(servers[0], "PUT", "/v1/kv/counter", &[], b"0").status, 201);
    let over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..3)
        .map(|n| {
            let (over, server) = (over.clone(), servers[n]);
            thread::spawn(move || {
                let (mut done, mut unknown) = (0, 0);
                let mut client = Client::new(server, Duration::from_secs(5));
                while !over.load(Ordering::SeqCst) {
                    let Ok(read) = client.request("GET", "/v1/kv/counter", &[], b"") else {
                        thread::sleep(Duration::from_millis(10));
                        continue;
                    };
                    let version = read.header("etag").and_then(|t| t.trim_matches('"').parse::<u64>().ok());
                    let (200, Some(version)) = (read.status, version) else { continue };
                    let next = read.text().parse::<u64>().unwrap() + 1;
                    let body = json!({
                        "if": {"key": "counter", "version": version},
                        "then": [{"put": {"key": "counter", "value": next.to_string()}}]
                    });
                    match client.request("POST", "/v1/transactions", &[], body.to_string().as_bytes()) {
                        Ok(answer) if answer.status == 200 => done += u64::from(json(&answer)["succeeded"] == true),
                        Ok(answer) if json(&answer)["outcome"] == "not_applied" => {}
                        _ => unknown += 1,
                    }
                }
                (done, unknown)
            })
        })
        .collect();
    for _ in 0..2 {
        thread::sleep(Duration::from_millis(1500));
        let leader = cluster.leader();
        cluster.servers[leader].kill();
        thread::sleep(Duration::from_millis(1000));
        cluster.servers[leader].start();
        cluster.wait_until_ready();
    }
    over.store(true, Ordering::SeqCst);
    let results: Vec<(u64, u64)> = clients.into_iter().map(|c| c.join().unwrap()).collect();
    let (done, unknown) = results.iter().fold((0, 0), |(d, u), r| (d + r.0, u + r.1));
    let value: u64 = get(servers[0], "/v1/kv/counter").text().parse().unwrap();
    println!("{done} swaps succeeded, {unknown} are unknown, the counter is {value}");
    assert!(done > 20, "little was done");
    assert!((done..=done + unknown).contains(&value), "{done} swaps and {unknown} unknown made {value}");
}
