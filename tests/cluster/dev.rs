//! `copycat dev`: a cluster in one process, for the first five minutes.

use crate::harness::{Directory, Process, ask, free_ports, get, json, local, long, turn, wait_for};
use copycat_testkit::http::Client;
use rustix::process::Signal;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

/// The first of three HTTP ports; the peers' are 1,000 above.
fn start(directory: &Directory, port: u16) -> Process {
    let data = directory.join("data").display().to_string();
    let arguments = ["dev", "--data", &data, "--http", &local(port).to_string()].map(String::from);
    let mut process = Process::start(directory.join("dev.log"), &arguments);
    for server in [port, port + 1, port + 2].map(local) {
        wait_for("dev to be ready", || {
            if let Some(status) = process.has_ended() {
                panic!("dev ended, {status}: {}", process.output());
            }
            ready(server).then_some(())
        });
    }
    process
}

fn ready(server: SocketAddr) -> bool {
    let mut client = Client::new(server, Duration::from_millis(500));
    client.request("GET", "/readyz", &[], b"").is_ok_and(|answer| answer.status == 200)
}

#[test]
fn dev_serves_stops_at_once_and_keeps_its_data() {
    let _turn = turn();
    let directory = Directory::new();
    let port = free_ports(3);
    let dev = start(&directory, port);
    let output = dev.output();
    assert!(output.contains(&format!("http://{}", local(port))) && output.contains("curl"), "{output}");
    let version = json(&ask(local(port), "PUT", "/v1/kv/hello", &[], b"world"))["version"].clone();
    assert_eq!(get(local(port + 1), "/v1/kv/hello").text(), "world");
    let begin = Instant::now();
    let status = dev.stop(Signal::INT);
    println!("dev stopped after {:?}", begin.elapsed());
    assert!(status.success(), "{status}");
    let dev = start(&directory, port);
    for server in [port, port + 1, port + 2].map(local) {
        let answer = get(server, "/v1/kv/hello");
        assert_eq!((answer.text().as_str(), answer.header("etag")), ("world", Some(format!("\"{version}\"").as_str())));
    }
    assert!(dev.stop(Signal::TERM).success());
}

/// Idle costs next to nothing. Asserted in the long version only: it takes a quiet machine.
#[test]
fn idle_dev_uses_little() {
    let _turn = turn();
    let directory = Directory::new();
    let dev = start(&directory, free_ports(3));
    thread::sleep(Duration::from_secs(3));
    let time = Duration::from_secs(if long() { 30 } else { 10 });
    let (begin, (cpu, memory)) = (Instant::now(), dev.usage());
    thread::sleep(time);
    let (cpu_after, memory_after) = dev.usage();
    let share = 100.0 * (cpu_after - cpu) / begin.elapsed().as_secs_f64();
    println!("idle dev, three servers: {share:.2} % of a core; memory {memory} -> {memory_after} bytes");
    if long() {
        assert!(share < 2.0, "{share:.2} % of a core");
        // The allocator may still settle; a leak per heartbeat would be more.
        assert!(memory_after <= memory + 512 * 1024, "memory grows: {memory} -> {memory_after}");
    }
}
