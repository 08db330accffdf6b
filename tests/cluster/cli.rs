//! The command line against a running cluster.

use crate::harness::{Cluster, Said, copycat, get, json, turn};

#[test]
fn put_get_delete_list_and_status() {
    let _turn = turn();
    let mut cluster = Cluster::start();
    let endpoints: Vec<String> = cluster.servers.iter().map(|s| format!("http://{}", s.http)).collect();
    let run = |endpoint: &str, arguments: &[&str]| -> Said {
        copycat(&arguments.iter().copied().chain(["--endpoint", endpoint]).collect::<Vec<_>>())
    };
    let fine = |endpoint: &str, arguments: &[&str]| -> String {
        let said = run(endpoint, arguments);
        assert!(said.status.success(), "{arguments:?}: {}{}", said.out, said.err);
        said.out
    };
    let put = fine(&endpoints[0], &["put", "cli/a", "hello"]);
    let version: u64 = put.trim().rsplit(' ').next().and_then(|v| v.parse().ok()).expect("a version");
    assert_eq!(fine(&endpoints[1], &["get", "cli/a"]).trim_end(), "hello");
    fine(&endpoints[2], &["put", "cli/a", "again", "--if-match", &version.to_string()]);
    fine(&endpoints[0], &["put", "cli/b/../c ä", "odd"]);
    assert_eq!(fine(&endpoints[1], &["get", "cli/b/../c ä"]).trim_end(), "odd");
    assert_eq!(fine(&endpoints[2], &["list", "cli/"]).lines().collect::<Vec<_>>(), ["cli/a", "cli/b/../c ä"]);
    let meta = fine(&endpoints[2], &["get", "cli/a", "--output", "json"]);
    let meta: serde_json::Value = serde_json::from_str(&meta).expect("JSON");
    assert_eq!(meta["value"], "again");

    // Exit codes say what happened.
    let late = run(&endpoints[0], &["put", "cli/a", "late", "--if-match", &version.to_string()]);
    assert_eq!(late.status.code(), Some(4), "{}", late.err);
    let exists = run(&endpoints[0], &["put", "cli/a", "late", "--if-absent"]);
    assert_eq!(exists.status.code(), Some(4), "{}", exists.err);
    let missing = run(&endpoints[0], &["get", "cli/none"]);
    assert_eq!(missing.status.code(), Some(3), "{}", missing.err);
    assert_eq!(missing.err.lines().count(), 1, "{}", missing.err);
    fine(&endpoints[1], &["delete", "cli/a"]);
    assert_eq!(run(&endpoints[1], &["get", "cli/a"]).status.code(), Some(3));

    let status = fine(&endpoints[0], &["cluster", "status"]);
    for server in &cluster.servers {
        assert!(status.contains(&server.http.to_string()), "{status}");
    }
    let status = fine(&endpoints[0], &["cluster", "status", "--output", "json"]);
    let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
    assert_eq!(status["members"].as_array().map(Vec::len), Some(3));

    // One of several endpoints is down: the next is asked.
    let leader = cluster.leader();
    let down = (leader + 1) % 3;
    cluster.servers[down].kill();
    let both = format!("{},{}", endpoints[down], endpoints[leader]);
    assert_eq!(fine(&both, &["get", "cli/b/../c ä"]).trim_end(), "odd");
    let nobody = run(&endpoints[down], &["get", "cli/a"]);
    assert_eq!((nobody.status.code(), nobody.err.lines().count()), (Some(1), 1), "{}", nobody.err);
}

/// A small load: every row has requests and no errors, and the keys are gone afterwards.
#[test]
fn bench_tells_rates_and_leaves_nothing() {
    let _turn = turn();
    let mut cluster = Cluster::start();
    cluster.wait_until_ready();
    let endpoints: Vec<String> = cluster.addresses().iter().map(|a| format!("http://{a}")).collect();
    let endpoints = endpoints.join(",");
    let arguments = ["bench", "--duration", "200ms", "--clients", "2", "--keys", "50", "--value-size", "10"];
    let rest = ["--output", "json", "--endpoint", &endpoints];
    let said = copycat(&[arguments.as_slice(), &rest].concat());
    assert!(said.status.success(), "{}{}", said.out, said.err);
    let told: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    let rows = told["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 5, "one for each operation");
    for row in rows {
        assert!(row["requests"].as_u64().unwrap() > 0 && row["errors"] == 0, "{row}");
        assert!(row["p50_ms"].as_f64().unwrap() <= row["p99_ms"].as_f64().unwrap(), "{row}");
    }
    let left = get(cluster.servers[0].http, "/v1/kv?prefix=copycat-bench/");
    assert_eq!(json(&left)["items"], serde_json::json!([]));
    let nobody = copycat(&["bench", "--duration", "200ms", "--endpoint", "http://127.0.0.1:1"]);
    assert!(
        !nobody.status.success() && nobody.err.contains("error: ") && nobody.err.lines().count() == 1,
        "{}",
        nobody.err
    );
}
