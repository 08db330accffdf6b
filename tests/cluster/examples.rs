//! The scripts of `examples/curl`, against real servers. They need `curl`; without it, nothing is run.

use crate::harness::{Cluster, Directory, ask, get, json, turn, wait_for};
use crate::program::{ALONE, Program, assert_alone, sessions};
use rustix::process::Signal;
use serde_json::Value;
use std::process::Command;

/// The servers as the scripts want them, beginning with one.
fn servers(cluster: &Cluster, first: usize) -> String {
    let addresses = cluster.addresses();
    (0..addresses.len()).map(|i| format!("http://{}", addresses[(first + i) % 3])).collect::<Vec<_>>().join(" ")
}

fn script(name: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Program {
    let path = format!("{}/examples/curl/{name}.sh", env!("CARGO_MANIFEST_DIR"));
    Program::start("sh", &[&[path.as_str()], arguments].concat(), environment)
}

fn no_curl() -> bool {
    let missing = Command::new("curl").arg("--version").output().is_err();
    if missing {
        println!("skipped: no curl");
    }
    missing
}

fn assert_no_sessions(cluster: &Cluster) {
    assert_eq!(sessions(cluster.servers[0].http), Vec::<Value>::new());
}

#[test]
fn examples_lock_around_a_job() {
    let _turn = turn();
    if no_curl() {
        return;
    }
    let cluster = Cluster::start();
    let directory = Directory::new();
    let path = directory.join("").display().to_string();
    let jobs: Vec<Program> = (0..4)
        .map(|n| {
            let environment = [("COPYCAT", servers(&cluster, n)), ("DIR", path.clone()), ("TTL", "6".into())];
            let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
            script("lock-around-a-job", &["job", "sh", "-c", ALONE], &environment)
        })
        .collect();
    for job in jobs {
        let said = job.said();
        assert!(said.status.success(), "{}: {}{}", said.status, said.out, said.err);
    }
    assert_alone(&directory, 4);
    assert_no_sessions(&cluster);

    let all = servers(&cluster, 0);
    let environment = [("COPYCAT", all.as_str()), ("DIR", &path), ("TTL", "6")];
    let seven = script("lock-around-a-job", &["job", "sh", "-c", "exit 7"], &environment);
    assert_eq!(seven.said().status.code(), Some(7));
    // Taken away; and stopped.
    let run = r#": >"$DIR/up"; exec sleep 300"#;
    for revoke in [true, false] {
        let job = script("lock-around-a-job", &["job", "sh", "-c", run], &environment);
        wait_for("the job to run", || directory.join("up").exists().then_some(()));
        std::fs::remove_file(directory.join("up")).unwrap();
        if revoke {
            let session = &json(&get(cluster.servers[0].http, "/v1/locks/job"))["holders"][0]["session"];
            let path = format!("/v1/locks/job/holders/{session}");
            assert_eq!(ask(cluster.servers[0].http, "DELETE", &path, &[], b"").status, 200);
        } else {
            job.signal(Signal::TERM);
        }
        let said = job.said();
        assert_eq!(said.status.code(), Some(if revoke { 70 } else { 143 }), "{}{}", said.out, said.err);
        assert_no_sessions(&cluster);
    }
}

#[test]
fn examples_watch_loop() {
    let _turn = turn();
    if no_curl() {
        return;
    }
    let cluster = Cluster::start();
    let http = cluster.servers[1].http;
    let watch = script("watch-loop", &["conf/"], &[("COPYCAT", &servers(&cluster, 0))]);
    wait_for("the watch", || watch.err().contains("watching").then_some(()));
    let put = |key: &str| json(&ask(http, "PUT", &format!("/v1/kv/{key}"), &[], b"x"))["version"].as_u64().unwrap();
    let mut expected = String::new();
    for key in ["conf/a", "conf/b%7D,%7B", "elsewhere", "conf/a"] {
        let version = put(key);
        if key != "elsewhere" {
            expected += &format!("put {version} {}\n", key.replace("%7D", "}").replace("%7B", "{"));
        }
    }
    let last: u64 = expected.lines().last().and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap();
    ask(http, "DELETE", "/v1/kv/conf/a", &[], b"");
    expected += &format!("delete {last} conf/a\n");
    wait_for("the events", || (watch.out() == expected).then_some(()));

    let session = sessions(http)[0]["session"].to_string();
    ask(http, "DELETE", &format!("/v1/sessions/{session}"), &[], b"");
    expected += "lost 0 conf/\n";
    wait_for("word of the loss", || (watch.out() == expected).then_some(()));
    expected += &format!("put {} conf/c\n", put("conf/c"));
    wait_for("the event", || (watch.out() == expected).then_some(()));
    watch.signal(Signal::TERM);
    assert_eq!(watch.said().status.code(), Some(143));
    assert_no_sessions(&cluster);
}

/// The leader is killed while it counts, once in each of its two ways.
#[test]
fn examples_exactly_once() {
    let _turn = turn();
    if no_curl() {
        return;
    }
    let mut cluster = Cluster::start();
    cluster.wait_until_ready();
    const TIMES: u64 = 60;
    let counting = script("exactly-once", &["counter", &TIMES.to_string()], &[("COPYCAT", &servers(&cluster, 0))]);
    for reached in [TIMES / 3, TIMES + TIMES / 3] {
        let leader = cluster.leader();
        let reader = cluster.servers[(leader + 1) % 3].http;
        wait_for("it to count", || {
            get(reader, "/v1/kv/counter").text().parse::<u64>().ok().filter(|&count| count >= reached)
        });
        cluster.servers[leader].kill();
        wait_for("it to count on", || {
            get(reader, "/v1/kv/counter").text().parse::<u64>().ok().filter(|&count| count >= reached + 10)
        });
        cluster.servers[leader].start();
        cluster.wait_until_ready();
    }
    let said = counting.said();
    assert!(said.status.success(), "{}{}", said.out, said.err);
    assert_eq!(said.out, format!("counter is {}\n", 2 * TIMES));
    assert_eq!(get(cluster.servers[0].http, "/v1/kv/counter").text(), (2 * TIMES).to_string());
    assert_no_sessions(&cluster);
}

#[test]
fn examples_leader_election() {
    let _turn = turn();
    if no_curl() {
        return;
    }
    let cluster = Cluster::start();
    let http = cluster.servers[0].http;
    let mut candidates: Vec<(String, Program)> = (0..3)
        .map(|n| {
            let (name, all) = (format!("candidate-{n}"), servers(&cluster, n));
            let program = script("leader-election", &["mail", &name], &[("COPYCAT", &all), ("TTL", "6")]);
            (name, program)
        })
        .collect();
    let mut before = 0;
    while !candidates.is_empty() {
        let at = wait_for("a leader", || {
            let leader = get(http, "/v1/kv/elections/mail").text();
            candidates.iter().position(|(name, _)| *name == leader)
        });
        let (name, mut program) = candidates.remove(at);
        wait_for("it to say so", || program.out().contains(&format!("{name} leads, token")).then_some(()));
        let token = program.out().trim().rsplit(' ').next().and_then(|t| t.parse::<u64>().ok()).expect("a token");
        assert!(token > before, "{token} after {before}");
        before = token;
        match candidates.len() {
            2 => program.kill_all(),
            _ => {
                program.signal(Signal::TERM);
                let said = program.said();
                assert_eq!(said.status.code(), Some(143));
                assert!(said.out.contains(&format!("{name} leads no more")), "{}", said.out);
            }
        }
    }
    assert_eq!(get(http, "/v1/kv/elections/mail").status, 404);
    assert_no_sessions(&cluster);
}

#[test]
fn examples_service_registration() {
    let _turn = turn();
    if no_curl() {
        return;
    }
    let cluster = Cluster::start();
    let http = cluster.servers[2].http;
    let register = |n: usize| {
        let (instance, address) = (format!("web-{n}"), format!("10.0.0.{n}:80"));
        let environment = [("COPYCAT", servers(&cluster, n)), ("TTL", "6".into())];
        let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
        script("service-registration", &["web", &instance, &address], &environment)
    };
    let found = || {
        let list = json(&get(http, "/v1/kv?prefix=services/web/"));
        let values = list["items"].as_array().unwrap().iter().map(|item| item["value"].as_str().unwrap().to_string());
        values.collect::<Vec<_>>()
    };
    let mut running: Vec<Program> = (1..4).map(register).collect();
    wait_for("all to be registered", || (found() == ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]).then_some(()));
    let stopped = running.remove(0);
    stopped.signal(Signal::TERM);
    assert_eq!(stopped.said().status.code(), Some(143));
    assert_eq!(found(), ["10.0.0.2:80", "10.0.0.3:80"], "gone at once");
    running.remove(0).kill_all();
    wait_for("one that was killed to go", || (found() == ["10.0.0.3:80"]).then_some(()));
    // A session that is lost is replaced.
    let session = json(&get(http, "/v1/kv/services/web/web-3?meta"))["session"].to_string();
    assert_eq!(ask(http, "DELETE", &format!("/v1/sessions/{session}"), &[], b"").status, 200);
    wait_for("word of it", || running[0].err().contains("anew").then_some(()));
    wait_for("it to be there again", || (found() == ["10.0.0.3:80"]).then_some(()));
    running[0].signal(Signal::TERM);
    running.remove(0).said();
    assert_no_sessions(&cluster);
}
