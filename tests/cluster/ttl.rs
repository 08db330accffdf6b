//! Keys that live for a while.

use crate::harness::{Cluster, ask, get, json, turn, wait_for};
use std::thread;
use std::time::{Duration, Instant};

/// A key goes when its time is over, also in a cluster in which nothing else happens, also when the leader that took it
/// is gone; whoever waits for it is told.
#[test]
fn a_key_with_a_ttl_goes_by_itself() {
    let _turn = turn();
    let mut cluster = Cluster::start();
    cluster.wait_until_ready();
    let leader = cluster.leader();
    let follower = cluster.servers[(leader + 1) % 3].http;
    let begin = Instant::now();
    let put = ask(follower, "PUT", "/v1/kv/ttl?ttl=1500ms", &[], b"for a while");
    assert_eq!(put.status, 201, "{}", put.text());
    assert_eq!(json(&get(follower, "/v1/kv/ttl?meta"))["ttl_ms"], 1500);
    let version = json(&put)["version"].as_u64().unwrap();
    let waiting = thread::spawn(move || {
        let path = format!("/v1/kv/ttl?wait=30s&after={version}");
        (get(follower, &path).status, Instant::now())
    });
    cluster.servers[leader].kill();
    let (status, told) = waiting.join().unwrap();
    assert_eq!(status, 404, "it is gone");
    assert!(told - begin >= Duration::from_millis(1500), "not before its time: {:?}", told - begin);
    println!("a ttl of 1.5 s, its leader killed meanwhile: over after {:?}", told - begin);
    assert_eq!(get(follower, "/v1/kv/ttl").status, 404);

    // A restart resets nothing: what was due meanwhile goes at once, what was not lives on.
    cluster.servers[leader].start();
    cluster.wait_until_ready();
    assert_eq!(ask(follower, "PUT", "/v1/kv/short?ttl=1s", &[], b"1").status, 201);
    assert_eq!(ask(follower, "PUT", "/v1/kv/long?ttl=1h", &[], b"1").status, 201);
    for server in &mut cluster.servers {
        server.kill();
    }
    thread::sleep(Duration::from_millis(300));
    for server in &mut cluster.servers {
        server.start();
    }
    cluster.wait_until_ready();
    wait_for("the short one to go", || (get(follower, "/v1/kv/short").status == 404).then_some(()));
    assert_eq!(get(follower, "/v1/kv/long").status, 200);
    for (ttl, code) in [("0s", "bad_duration"), ("soon", "bad_duration"), ("9999h", "bad_duration")] {
        let refused = ask(follower, "PUT", &format!("/v1/kv/x?ttl={ttl}"), &[], b"1");
        assert_eq!((refused.status, json(&refused)["code"].as_str()), (400, Some(code)), "{}", refused.text());
    }
}
