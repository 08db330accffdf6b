//! Backups of a running cluster, and new clusters made of them.

use crate::harness::{Cluster, Directory, Server, ask, copycat, get, json, turn};
use serde_json::{Value, json as value};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

fn put(server: SocketAddr, key: &str, bytes: &[u8]) -> u64 {
    let answer = ask(server, "PUT", &format!("/v1/kv/{key}"), &[], bytes);
    assert!(matches!(answer.status, 200 | 201), "{}", answer.text());
    json(&answer)["version"].as_u64().unwrap()
}

fn register(server: SocketAddr) -> u64 {
    let body = value!({ "timeout": "5m", "name": "backup" }).to_string();
    let answer = ask(server, "POST", "/v1/sessions", &[], body.as_bytes());
    assert_eq!(answer.status, 201, "{}", answer.text());
    json(&answer)["session"].as_u64().unwrap()
}

fn lock(server: SocketAddr, name: &str, session: u64) -> u64 {
    let answer = ask(server, "PUT", &format!("/v1/locks/{name}?session={session}"), &[], b"");
    assert!(matches!(answer.status, 200 | 201), "{}", answer.text());
    json(&answer)["token"].as_u64().unwrap()
}

/// All keys, with values and versions.
fn keys(server: SocketAddr) -> Vec<Value> {
    let answer = get(server, "/v1/kv?limit=1000");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let page = json(&answer);
    assert_eq!(page["next"], Value::Null, "one page has all");
    page["items"].as_array().unwrap().clone()
}

fn at(server: SocketAddr) -> String {
    format!("http://{server}")
}

fn run(arguments: &[&str]) -> Value {
    let said = copycat(&[arguments, &["--output", "json"]].concat());
    assert!(said.status.success(), "{arguments:?}: {}", said.err);
    serde_json::from_str(&said.out).unwrap()
}

fn restore(file: &str, data: &Path, id: u64, bootstrap: &str) -> crate::harness::Said {
    let (data, id) = (data.display().to_string(), id.to_string());
    copycat(&["snapshot", "restore", file, "--data", &data, "--id", &id, "--bootstrap", bootstrap])
}

/// Keys of all sizes, overwritten, removed, of a session; a lock; a numbered command.
fn fill(servers: &[SocketAddr]) -> (u64, u64) {
    for n in 0..300_usize {
        let length = [0, 10, 63, 64, 65, 300, 5000][n % 7];
        put(servers[n % servers.len()], &format!("key-{n:03}"), &vec![u8::try_from(n % 251).unwrap(); length]);
    }
    for n in (0..300).step_by(3) {
        put(servers[0], &format!("key-{n:03}"), format!("again {n} {}", "x".repeat(n)).as_bytes());
    }
    for n in (0..300).step_by(10) {
        assert_eq!(ask(servers[1], "DELETE", &format!("/v1/kv/key-{n:03}"), &[], b"").status, 200);
    }
    let session = register(servers[1]);
    assert_eq!(ask(servers[0], "PUT", &format!("/v1/kv/mine?session={session}&ephemeral"), &[], b"x").status, 201);
    (session, lock(servers[2], "job", session))
}

/// Asks with a number: the same answer for the same number.
fn numbered(server: SocketAddr, session: u64) -> u64 {
    let session = session.to_string();
    let headers = [("Copycat-Session", session.as_str()), ("Copycat-Sequence", "1")];
    let answer = ask(server, "PUT", "/v1/kv/numbered", &headers, b"once");
    assert!(matches!(answer.status, 200 | 201), "{}", answer.text());
    json(&answer)["version"].as_u64().unwrap()
}

#[test]
fn a_backup_becomes_a_new_cluster_that_goes_on_above_it() {
    let _turn = turn();
    let directory = Directory::new();
    let file = directory.join("copycat.backup").display().to_string();
    let old = Cluster::start();
    let servers = old.addresses();
    let (session, token) = fill(&servers);
    let version = numbered(servers[0], session);
    old.wait_until_caught_up();
    let server = at(servers[(old.leader() + 1) % 3]);
    let taken = run(&["snapshot", "take", "--endpoint", &server]);
    assert!(taken["index"].as_u64().unwrap() >= version && taken["references"].as_u64().unwrap() > 100, "{taken}");
    let compacted = run(&["log", "compact", "--kind", "major", "--endpoint", &server]);
    assert_eq!(compacted["kind"], "major", "{compacted}");
    let before = keys(servers[0]);
    let saved = run(&["snapshot", "save", &file, "--endpoint", &server]);
    assert_eq!((&saved["index"], &saved["entries"]), (&taken["index"], &taken["references"]), "{saved}");
    let again = copycat(&["snapshot", "save", &file, "--endpoint", &server]);
    assert!(!again.status.success() && again.err.contains("--force"), "{}", again.err);
    run(&["snapshot", "save", &file, "--force", "--endpoint", &server]);
    assert!(!directory.join("copycat.backup.part").exists());
    // What came after it is not in it.
    put(servers[0], "late", b"x");
    let old_cluster = json(&get(servers[0], "/v1/cluster"))["cluster_id"].clone();
    drop(old);

    let mut new = Cluster::start_on(|id, data, bootstrap| {
        let said = restore(&file, data, id, bootstrap);
        assert!(said.status.success(), "{}", said.err);
        let said = restore(&file, data, id, bootstrap);
        assert!(!said.status.success() && said.err.contains("not empty"), "{}", said.err);
    });
    let servers = new.addresses();
    for &server in &servers {
        assert_eq!(keys(server), before);
    }
    let cluster = json(&get(servers[0], "/v1/cluster"))["cluster_id"].clone();
    assert!(cluster.is_string() && cluster != old_cluster, "{cluster}");
    let held = json(&get(servers[1], "/v1/locks/job"));
    assert_eq!((&held["holders"][0]["session"], &held["holders"][0]["token"]), (&session.into(), &token.into()));
    assert_eq!(numbered(servers[2], session), version, "the answer that it got before");
    let index = taken["index"].as_u64().unwrap();
    assert!(put(servers[1], "new", b"x") > index);
    assert!(put(servers[1], "key-001", b"x") > index);
    let other = register(servers[0]);
    let next = lock(servers[2], "other", other);
    assert!(other > index && next > token && next > index, "session {other}, token {next}");
    // And all of it is durable, and whole.
    let before = keys(servers[0]);
    new.servers.iter_mut().for_each(Server::kill);
    new.servers.iter_mut().for_each(Server::start);
    new.wait_until_ready();
    assert_eq!(keys(servers[1]), before);
    for server in &mut new.servers {
        assert!(server.stop().success());
        let said = copycat(&["check", &server.data.display().to_string()]);
        assert!(said.status.success(), "{}{}", said.out, said.err);
    }
}

#[test]
fn a_damaged_backup_is_refused_with_its_place() {
    let _turn = turn();
    let directory = Directory::new();
    let file = directory.join("copycat.backup");
    let cluster = Cluster::start();
    let servers = cluster.addresses();
    let server = at(servers[0]);
    let none = get(servers[0], "/v1/snapshots/latest");
    assert_eq!((none.status, &json(&none)["code"]), (404, &"no_such_endpoint".into()), "{}", none.text());
    let name = file.display().to_string();
    let said = copycat(&["snapshot", "save", &name, "--endpoint", &server]);
    assert!(!said.status.success() && said.err.contains("no snapshot"), "{}", said.err);
    put(servers[0], "big", &[7; 100_000]);
    cluster.wait_until_caught_up();
    run(&["snapshot", "take", "--endpoint", &server]);
    run(&["snapshot", "save", &name, "--endpoint", &server]);
    let good = fs::read(&file).unwrap();
    let list = "1=127.0.0.1:1";
    let data = directory.join("data");
    for place in [0, 20, 70, good.len() / 2, good.len() - 1] {
        let mut bad = good.clone();
        bad[place] ^= 4;
        fs::write(&file, &bad).unwrap();
        let said = restore(&name, &data, 1, list);
        assert!(!said.status.success() && said.err.contains("damaged at byte"), "{place}: {}", said.err);
        assert!(!data.exists(), "nothing is written");
    }
    fs::write(&file, &good[..good.len() - 32]).unwrap();
    let said = restore(&name, &data, 1, list);
    let cut = format!("damaged at byte {}: it ends too early", good.len() - 32);
    assert!(!said.status.success() && said.err.contains(&cut), "{}", said.err);
}

#[test]
fn what_pins_a_log_is_told() {
    let _turn = turn();
    let cluster = Cluster::start();
    let server = cluster.servers[0].http;
    put(server, "key", &[7; 1000]);
    cluster.wait_until_caught_up();
    let view = json(&get(server, "/v1/server"));
    assert_eq!(view["snapshot"], Value::Null);
    let body = br#"{"kind":"major"}"#;
    let nothing = ask(server, "POST", "/v1/log/compactions", &[], body);
    assert_eq!((nothing.status, &json(&nothing)["compacted"]), (200, &value!(false)), "{}", nothing.text());
    let taken = ask(server, "POST", "/v1/snapshots", &[], b"");
    assert_eq!(taken.status, 201, "{}", taken.text());
    let index = &json(&taken)["index"];
    let again = ask(server, "POST", "/v1/snapshots", &[], b"");
    assert!(matches!(again.status, 200 | 201), "{}", again.text());
    let view = crate::harness::wait_for("the view", || {
        let view = json(&get(server, "/v1/server"));
        (view["snapshot"]["index"].as_u64() >= index.as_u64()).then_some(view)
    });
    assert!(view["snapshot"]["bytes"].as_u64() > Some(96) && view["global_index"].is_u64(), "{view}");
    let log = json(&get(server, "/v1/log"));
    let segment = &log["segments"][0];
    assert_eq!(
        (&segment["pinned_by"], &segment["generation"], &segment["holes"]),
        (&value!("active"), &value!(1), &value!(0))
    );
}
