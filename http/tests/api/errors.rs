//! Errors: each with its status, its code, and what became of the request.

use crate::fake::server;
use copycat_http::{Consistency, Failure};
use std::time::Duration;

#[test]
fn unknown_paths_and_methods_are_problems_too() {
    let server = server();
    for path in ["/v1", "/v1/", "/v1/nothing", "/v2/kv/a", "/v1/kv2", "/v1/cluster/", "/metrics", "/v1/watches"] {
        server.get(path).problem(404, "no_such_endpoint");
    }
    for (path, allow) in [
        ("/v1/kv/a", "GET, HEAD, PUT, DELETE"),
        ("/v1/kv", "GET, HEAD, PUT, DELETE"),
        ("/v1/cluster", "GET,HEAD"),
        ("/livez", "GET,HEAD"),
    ] {
        let answer = server.call("POST", path, &[], b"{}");
        answer.problem(405, "method_not_allowed");
        assert_eq!(answer.header("allow"), Some(allow), "{path}");
    }
    server.call("OPTIONS", "/v1/kv/a", &[], b"").problem(405, "method_not_allowed");
    server.call("BREW", "/v1/kv/a", &[], b"").problem(405, "method_not_allowed");
}

#[test]
fn parameters_are_known_and_stand_once() {
    let server = server();
    server.get("/v1/kv/a?consistencyy=lease").bad("consistencyy");
    server.get("/v1/kv/a?key=b").bad("key");
    server.get("/v1/kv/a?meta&meta").bad("meta");
    server.put("/v1/kv/a?meta", b"").bad("meta");
    server.get("/v1/cluster?verbose").bad("verbose");
    for of_many in ["separator=/", "values=none", "max_bytes=9", "prefix=a", "limit=3"] {
        let name = of_many.split('=').next().expect("a name");
        server.get(&format!("/v1/kv/a?{of_many}")).bad(name);
        server.get(&format!("/v1/kv?key=a&{of_many}")).bad(name);
    }
    for of_one in ["meta", "wait=1s", "after=1"] {
        server.get(&format!("/v1/kv?prefix=a&{of_one}")).bad(of_one.split('=').next().expect("a name"));
    }
    server.put("/v1/kv?prefix=a", b"").bad("prefix");
    assert_eq!(server.fake.state().index, 0, "nothing was carried out");
}

#[test]
fn reads_say_how_fresh() {
    let server = server();
    let answer = server.get("/v1/kv/a?consistency=strong");
    assert_eq!(answer.problem(400, "bad_consistency")["field"], "consistency");
    server.get("/v1/kv/a?consistency=sequential&index=-1").bad("index");
    server.call("GET", "/v1/kv/a", &[("Copycat-Index", "x")], b"").bad("Copycat-Index");
    server.call("GET", "/v1/kv/a?index=4", &[("Copycat-Index", "5")], b"").bad("index");
    server.get("/v1/kv/a");
    server.get("/v1/kv/a?consistency=lease&timeout=1500ms");
    server.get("/v1/kv/a?consistency=sequential&index=4");
    server.call("GET", "/v1/kv/a?consistency=sequential", &[("Copycat-Index", "5")], b"");
    let reads: Vec<_> = server.fake.state().reads.iter().map(|r| (r.consistency, r.index, r.timeout)).collect();
    let (ten, short) = (Duration::from_secs(10), Duration::from_millis(1500));
    let expected = [
        (Consistency::Linearizable, 0, ten),
        (Consistency::Lease, 0, short),
        (Consistency::Sequential, 4, ten),
        (Consistency::Sequential, 5, ten),
    ];
    assert_eq!(reads, expected);
}

#[test]
fn timeouts_are_durations_up_to_a_minute() {
    let server = server();
    for good in ["1ms", "1500ms", "30s", "60s", "1m"] {
        assert!(server.put(&format!("/v1/kv/a?timeout={good}"), b"").status < 300, "{good}");
    }
    server.put("/v1/kv/a", b"");
    let taken: Vec<_> = server.fake.state().timeouts.iter().map(Duration::as_millis).collect();
    assert_eq!(taken, [1, 1500, 30_000, 60_000, 60_000, 10_000]);
    for bad in ["61s", "2m", "0s", "5", "", "-1s", "1.5s", "soon"] {
        let answer = server.put(&format!("/v1/kv/a?timeout={bad}"), b"");
        assert_eq!(answer.problem(400, "bad_duration")["field"], "timeout", "{bad}");
    }
}

#[test]
fn failures_say_what_became_of_the_request() {
    let server = server();
    let cases = [
        (Failure::NoLeader, 503, "no_leader", true, "not_applied", Some("1")),
        (Failure::Overloaded, 503, "overloaded", true, "not_applied", Some("1")),
        (Failure::ShuttingDown, 503, "no_leader", true, "not_applied", Some("1")),
        (Failure::TooLarge, 413, "value_too_large", false, "not_applied", None),
        (Failure::StorageFull, 507, "storage_full", true, "not_applied", None),
        (Failure::Timeout { maybe_applied: true }, 504, "timeout", false, "unknown", None),
        (Failure::Timeout { maybe_applied: false }, 504, "timeout", true, "not_applied", None),
        (Failure::LeaderLost, 504, "timeout", false, "unknown", None),
        (Failure::Malformed, 400, "bad_request", false, "not_applied", None),
        (Failure::Internal, 500, "internal", false, "unknown", None),
    ];
    for (failure, status, code, retryable, outcome, retry_after) in cases {
        server.fake.state().failure = Some(failure);
        let answer = server.put("/v1/kv/a", b"");
        let problem = answer.problem(status, code);
        assert_eq!((&problem["retryable"], &problem["outcome"]), (&retryable.into(), &outcome.into()), "{failure:?}");
        assert_eq!(answer.header("retry-after"), retry_after, "{failure:?}");
        assert_eq!(server.get("/v1/kv/a").problem(status, code)["outcome"], "not_applied", "a read's is known");
        assert_eq!(answer.header("copycat-served-by"), Some("1"), "nobody else has answered");
    }
}

#[test]
fn a_fault_costs_one_request() {
    let server = server();
    assert_eq!(server.put("/v1/kv/panic", b"").problem(500, "internal")["outcome"], "unknown");
    let query = serde_json::json!({"query": {"get": {"key": "panic"}}});
    for read in [server.get("/v1/kv/panic"), server.post("/v1/queries", &query)] {
        assert_eq!(read.problem(500, "internal")["outcome"], "not_applied", "a read's is known");
    }
    assert_eq!(server.put("/v1/kv/a", b"").status, 201);
}
