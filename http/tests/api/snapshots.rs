//! Snapshots, backups and compaction of a server's own log.

use crate::client::{Client, request};
use crate::fake::server;
use copycat_http::Failure;
use serde_json::json;
use std::sync::atomic::Ordering;
use std::time::Duration;

#[test]
fn a_log_is_compacted_in_one_of_two_ways() {
    let server = server();
    for (kind, compacted) in [("minor", false), ("major", true)] {
        let body = json!({ "kind": kind }).to_string();
        let answer = server.call("POST", "/v1/log/compactions?timeout=7s", &[], body.as_bytes());
        let told =
            json!({ "kind": kind, "compacted": compacted, "segments": 2, "bytes_before": 20, "bytes_after": 10 });
        assert_eq!((answer.status, answer.json()), (200, told));
    }
    assert_eq!(server.fake.state().timeouts, [Duration::from_secs(7); 2]);
    for bad in [&b"{}"[..], br#"{"kind":"full"}"#, br#"{"kind":"minor","x":1}"#, b""] {
        server.call("POST", "/v1/log/compactions", &[], bad).problem(400, "bad_request");
    }
    server.call("POST", "/v1/log/compactions?timeout=1", &[], br#"{"kind":"minor"}"#).problem(400, "bad_duration");
}

#[test]
fn a_snapshot_is_taken_once() {
    let server = server();
    let told = json!({ "index": 8, "term": 3, "bytes": 200, "references": 2 });
    let first = server.call("POST", "/v1/snapshots", &[], b"");
    assert_eq!((first.status, first.json(), first.header("copycat-index")), (201, told.clone(), Some("8")));
    let second = server.call("POST", "/v1/snapshots", &[], b"");
    assert_eq!((second.status, second.json()), (200, told));
}

#[test]
fn what_is_under_way_is_waited_for_by_the_client() {
    let server = server();
    for (failure, status, code) in [
        (Failure::Overloaded, 503, "overloaded"),
        (Failure::StorageFull, 507, "storage_full"),
        (Failure::Timeout { maybe_applied: true }, 504, "timeout"),
    ] {
        server.fake.state().failure = Some(failure);
        for (path, body) in [("/v1/snapshots", &b""[..]), ("/v1/log/compactions", br#"{"kind":"major"}"#)] {
            let problem = server.call("POST", path, &[], body).problem(status, code);
            assert_eq!(problem["retryable"], true, "{path}");
        }
    }
}

#[test]
fn a_backup_comes_as_a_file() {
    let server = server();
    let problem = server.get("/v1/snapshots/latest").problem(404, "no_such_endpoint");
    assert!(problem["detail"].as_str().expect("text").contains("POST /v1/snapshots"));
    server.call("POST", "/v1/snapshots", &[], b"");
    let answer = server.get("/v1/snapshots/latest");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/octet-stream")));
    assert_eq!(answer.header("content-disposition"), Some("attachment; filename=\"copycat-8.backup\""));
    assert_eq!((answer.header("copycat-index"), answer.header("copycat-term")), (Some("8"), Some("3")));
    assert_eq!((answer.body.len(), answer.body[0], answer.body[40 * (1 << 20) - 1]), (40 << 20, 0, 39));
}

#[test]
fn a_backup_is_made_as_the_client_takes_it() {
    let server = server();
    server.call("POST", "/v1/snapshots", &[], b"");
    let given = server.fake.state().pieces_given.clone();
    let mut client = Client::connect(&server);
    client.send(&request("GET", "/v1/snapshots/latest", &[], b""));
    assert_eq!(client.head().status, 200);
    // What both ends' buffers hold is made, and then nothing more.
    std::thread::sleep(Duration::from_millis(500));
    let taken = given.load(Ordering::SeqCst);
    std::thread::sleep(Duration::from_millis(300));
    let later = given.load(Ordering::SeqCst);
    assert!(taken == later && taken < 30, "{taken} pieces, then {later}, for a client that takes none");
    assert_eq!(client.chunks().len(), 40 << 20);
}

#[test]
fn a_backup_that_breaks_off_is_not_taken_for_a_whole_one() {
    let server = server();
    server.call("POST", "/v1/snapshots", &[], b"");
    server.fake.state().backup_breaks_off = true;
    let mut client = Client::connect(&server);
    client.send(&request("GET", "/v1/snapshots/latest", &[], b""));
    assert_eq!(client.head().status, 200);
    for _ in 0..2 {
        assert_eq!(client.chunk().map(|piece| piece.len()), Some(1 << 20));
    }
    assert!(client.closed(), "without the end of the body");
}
