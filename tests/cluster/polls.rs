//! What thousands of waiting clients cost.

use crate::harness::{Cluster, ask, json, long, turn};
use crate::load::Load;
use serde_json::json as value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// Opens so many polls, each of a session of its own.
fn wait_for_events(server: SocketAddr, count: usize) -> Vec<TcpStream> {
    let mut client = copycat_testkit::http::Client::new(server, Duration::from_secs(10));
    let body = value!({ "timeout": "1h" }).to_string();
    let mut waiting = Vec::new();
    for _ in 0..count {
        let session = client.request("POST", "/v1/sessions", &[], body.as_bytes()).expect("a session");
        let session = json(&session)["session"].as_u64().expect("a session");
        let watch = value!({ "key": format!("polled-{session}") }).to_string();
        let path = format!("/v1/sessions/{session}/watches");
        assert_eq!(client.request("POST", &path, &[], watch.as_bytes()).expect("a watch").status, 201);
        let mut stream = TcpStream::connect(server).expect("a connection");
        let request = format!("GET /v1/sessions/{session}/events?wait=5m HTTP/1.1\r\nHost: {server}\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("a request");
        waiting.push(stream);
    }
    waiting
}

/// Puts a second, over a while.
fn rate(servers: &[SocketAddr], name: &str, time: Duration) -> f64 {
    let begin = Instant::now();
    let load = Load::start(name, 16, servers);
    thread::sleep(time);
    let count = load.finish().len();
    count as f64 / begin.elapsed().as_secs_f64()
}

#[test]
fn thousands_of_polls_cost_little() {
    let _turn = turn();
    let (count, time, rounds) =
        if long() { (2000, Duration::from_secs(4), 3) } else { (300, Duration::from_secs(1), 1) };
    let cluster = Cluster::start();
    let (servers, leader) = (cluster.addresses(), cluster.leader());
    let server = &cluster.servers[leader];
    rate(&servers, "warm", time);
    let (mut ratios, mut growth) = (Vec::new(), 0);
    for round in 0..rounds {
        let without = rate(&servers, &format!("a{round}"), time);
        let before = server.process().usage().1;
        let mut polls = wait_for_events(server.http, count);
        thread::sleep(Duration::from_millis(500));
        growth = growth.max(server.process().usage().1.saturating_sub(before));
        let with = rate(&servers, &format!("b{round}"), time);
        growth = growth.max(server.process().usage().1.saturating_sub(before));
        // They wait, and the one that is meant is told.
        let last = json(&ask(servers[0], "GET", "/v1/sessions?limit=1000", &[], b""));
        assert!(last["sessions"].as_array().is_some_and(|s| s.len() == count.min(1000)), "they are alive");
        let session = last["sessions"][0]["session"].as_u64().expect("a session");
        assert_eq!(ask(servers[0], "PUT", &format!("/v1/kv/polled-{session}"), &[], b"x").status, 201);
        let mut answer = [0; 16];
        polls[0].set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        polls[0].read_exact(&mut answer).expect("an answer");
        assert_eq!(&answer[..12], b"HTTP/1.1 200");
        drop(polls);
        for session in
            json(&ask(servers[0], "GET", "/v1/sessions?limit=1000", &[], b""))["sessions"].as_array().unwrap()
        {
            ask(servers[0], "DELETE", &format!("/v1/sessions/{}", session["session"]), &[], b"");
        }
        while let Some(session) = json(&ask(servers[0], "GET", "/v1/sessions?limit=1", &[], b""))["sessions"].get(0) {
            ask(servers[0], "DELETE", &format!("/v1/sessions/{}", session["session"]), &[], b"");
        }
        ratios.push(with / without);
    }
    ratios.sort_by(f64::total_cmp);
    let median = ratios[ratios.len() / 2];
    println!(
        "{count} polls at the leader: puts at {median:.2} of the rate without ({ratios:.2?}), {} kB",
        growth / 1024
    );
    if long() {
        assert!(median >= 0.9, "puts at {median:.2} of the rate without");
        assert!(growth < 100 * 1024 * 1024, "{growth} bytes");
    }
}
