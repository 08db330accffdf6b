//! `copycat lock`, `watch` and `session`.

use crate::harness::{Cluster, Directory, Said, ask, copycat, get, json, turn, wait_for};
use crate::program::{ALONE, COPYCAT, Program, assert_alone, sessions, text};
use rustix::process::Signal;
use serde_json::Value;
use std::fs::File;

/// Each server's address alone.
fn endpoints(cluster: &Cluster) -> Vec<String> {
    cluster.addresses().iter().map(|address| format!("http://{address}")).collect()
}

/// A command that says when it runs (`up`), and when it is asked to stop (`stopped`).
const STOPPABLE: &str = r#"trap 'echo x >"$DIR/stopped"; exit 9' TERM
    echo "$COPYCAT_LOCK_TOKEN" >"$DIR/token"
    mv "$DIR/token" "$DIR/up"
    while :; do sleep 0.05; done"#;

/// `copycat lock` in a directory of its own.
struct Locking {
    directory: Directory,
    program: Program,
}

impl Locking {
    fn start(endpoint: &str, options: &[&str], script: &str) -> Self {
        let directory = Directory::new();
        let program = lock(endpoint, options, script, &directory);
        Self { directory, program }
    }

    fn has(&self, file: &str) -> bool {
        self.directory.join(file).exists()
    }

    /// Waits until its command runs. Returns the token.
    fn token(&self) -> u64 {
        wait_for("the command to run", || self.has("up").then_some(()));
        text(&self.directory.join("up")).trim().parse().expect("a token")
    }
}

fn lock(endpoint: &str, options: &[&str], script: &str, directory: &Directory) -> Program {
    let command = ["--endpoint", endpoint, "--", "sh", "-c", script];
    let arguments = [&["lock"], options, &command].concat();
    Program::start(COPYCAT, &arguments, &[("DIR", &directory.join("").display().to_string())])
}

fn run(endpoint: &str, arguments: &[&str]) -> Said {
    copycat(&[arguments, &["--endpoint", endpoint]].concat())
}

/// One line of error that names these, beside what the shell that was run has to say.
fn assert_one_line(said: &Said, names: &[&str]) {
    let errors: Vec<&str> = said.err.lines().filter(|line| !line.contains("Terminated")).collect();
    assert!(matches!(errors[..], [line] if line.starts_with("error: ")), "{}", said.err);
    for name in names {
        assert!(errors[0].contains(name), "{name}: {}", said.err);
    }
}

#[test]
fn a_lock_runs_one_command_at_a_time() {
    let _turn = turn();
    let cluster = Cluster::start();
    let (servers, directory) = (endpoints(&cluster), Directory::new());
    let running: Vec<Program> = (0..6)
        // Waits longer than a server holds a request.
        .map(|n| lock(&servers[n % 3], &["alone", "--wait", "30s", "--ttl", "4s"], ALONE, &directory))
        .collect();
    for program in running {
        let said = program.said();
        assert!(said.status.success(), "{}: {}{}", said.status, said.out, said.err);
    }
    assert_alone(&directory, 6);
    // Nothing stays behind.
    assert_eq!(get(cluster.servers[0].http, "/v1/locks/alone").status, 404);
    assert_eq!(sessions(cluster.servers[0].http), Vec::<Value>::new());

    // Those that share it run together: each waits to see the other.
    let pair = ["a b", "b a"].map(|names| {
        let script = r#"set -- NAMES; : >"$DIR/$1"; while [ ! -e "$DIR/$2" ]; do sleep 0.05; done"#;
        lock(&servers[0], &["shared", "--shared"], &script.replace("NAMES", names), &directory)
    });
    for program in pair {
        assert!(program.said().status.success());
    }
}

#[test]
fn a_lock_answers_with_its_commands_exit_code_or_says_why_not() {
    let _turn = turn();
    let cluster = Cluster::start();
    let server = &endpoints(&cluster)[0];
    let code = |script: &str| {
        let said = copycat(&["lock", "code/1", "--endpoint", server, "--", "sh", "-c", script]);
        (said.status.code(), said.out)
    };
    assert_eq!(code("exit 7").0, Some(7));
    assert_eq!(code("kill -9 $$").0, Some(137));
    let (found, out) = code(r#"echo "$COPYCAT_LOCK_NAME $COPYCAT_LOCK_TOKEN $COPYCAT_SESSION""#);
    let numbers = out.strip_prefix("code/1 ").and_then(|numbers| numbers.trim().split_once(' '));
    let (token, session) = numbers.unwrap_or_else(|| panic!("{out}"));
    assert!(token.parse::<u64>().unwrap() > session.parse::<u64>().unwrap(), "{out}");
    assert_eq!(found, Some(0));
    let missing = copycat(&["lock", "code", "--endpoint", server, "--", "/no/such/command"]);
    assert_eq!(missing.status.code(), Some(127));
    assert_one_line(&missing, &["/no/such/command"]);

    // Held by another, with and without waiting for it.
    let holder = Locking::start(server, &["busy"], STOPPABLE);
    let token = holder.token().to_string();
    for options in [&[][..], &["--wait", "1s"]] {
        let said = copycat(&[&["lock", "busy"], options, &["--endpoint", server, "--", "true"]].concat());
        assert_eq!(said.status.code(), Some(75), "{}", said.err);
        assert_one_line(&said, &["busy", &token]);
    }
    // A signal while it waits ends it, and its session.
    let before = sessions(cluster.servers[0].http).len();
    let waiting = Locking::start(server, &["busy", "--wait", "5m"], STOPPABLE);
    wait_for("it to queue", || {
        let queue = json(&get(cluster.servers[0].http, "/v1/locks/busy"))["queue"].clone();
        queue.as_array().is_some_and(|queue| queue.len() == 1).then_some(())
    });
    waiting.program.signal(Signal::TERM);
    assert!(!waiting.has("up"));
    assert_eq!(waiting.program.said().status.code(), Some(143));
    assert_eq!(sessions(cluster.servers[0].http).len(), before);
    // Signals are passed on, and the lock is free at once.
    holder.program.signal(Signal::TERM);
    let directory = holder.directory;
    assert_eq!(holder.program.said().status.code(), Some(9));
    assert!(directory.join("stopped").exists());
    assert_eq!(get(cluster.servers[0].http, "/v1/locks/busy").status, 404);

    let nobody = copycat(&["lock", "a", "--endpoint", "http://127.0.0.1:1", "--", "true"]);
    assert_eq!(nobody.status.code(), Some(69), "{}", nobody.err);
    assert_one_line(&nobody, &["127.0.0.1:1"]);
    assert_eq!(copycat(&["lock", "a"]).status.code(), Some(2));
}

#[test]
fn a_killed_holder_is_followed_after_its_ttl() {
    let _turn = turn();
    let cluster = Cluster::start();
    let servers = endpoints(&cluster);
    let first = Locking::start(&servers[0], &["next", "--ttl", "5s"], STOPPABLE);
    let token = first.token();
    let second = Locking::start(&servers[1], &["next", "--ttl", "5s", "--wait", "1m"], STOPPABLE);
    let session = json(&get(cluster.servers[0].http, "/v1/locks/next"))["holders"][0]["session"].clone();
    first.program.kill();
    let (after, directory) = (second.token(), first.directory);
    assert!(after > token, "{after} after {token}");
    assert!(sessions(cluster.servers[1].http).iter().all(|s| s["session"] != session), "it has ended");
    if cfg!(target_os = "linux") {
        wait_for("the command to be stopped", || directory.join("stopped").exists().then_some(()));
    }
}

#[test]
fn a_lost_lock_stops_the_command() {
    let _turn = turn();
    let mut cluster = Cluster::start();
    let server = endpoints(&cluster)[0].clone();
    let http = cluster.servers[0].http;
    let held_by = || json(&get(http, "/v1/locks/lost"))["holders"][0]["session"].to_string();
    let assert_lost = |locking: Locking| {
        let directory = locking.directory;
        let said = locking.program.said();
        assert_eq!(said.status.code(), Some(70), "{}{}", said.out, said.err);
        assert_one_line(&said, &["lost"]);
        assert!(directory.join("stopped").exists());
    };

    let revoked = Locking::start(&server, &["lost"], STOPPABLE);
    revoked.token();
    let revoke = ask(http, "DELETE", &format!("/v1/locks/lost/holders/{}", held_by()), &[], b"");
    assert_eq!(revoke.status, 200, "{}", revoke.text());
    assert_lost(revoked);

    let ended = Locking::start(&server, &["lost"], STOPPABLE);
    ended.token();
    assert!(run(&server, &["session", "close", &held_by()]).status.success());
    assert_lost(ended);

    // What it started is stopped too, if need be by force.
    let stubborn = Locking::start(&server, &["lost"], r#"trap '' TERM; (: >"$DIR/up"; exec sleep 300) & wait"#);
    wait_for("the command to run", || stubborn.has("up").then_some(()));
    ask(http, "DELETE", &format!("/v1/locks/lost/holders/{}", held_by()), &[], b"");
    assert_eq!(stubborn.program.said().status.code(), Some(70));

    // Nobody takes a sign of life.
    let alone = Locking::start(&server, &["lost", "--ttl", "2s"], STOPPABLE);
    alone.token();
    for server in &mut cluster.servers {
        server.kill();
    }
    let directory = alone.directory;
    assert_eq!(alone.program.said().status.code(), Some(70));
    assert!(directory.join("stopped").exists());
}

#[test]
fn a_lock_and_a_watch_outlive_the_leader() {
    let _turn = turn();
    let mut cluster = Cluster::start();
    cluster.wait_until_ready();
    let all = endpoints(&cluster).join(",");
    let wait_for_go = r#": >"$DIR/up"; while [ ! -e "$DIR/go" ]; do sleep 0.05; done"#;
    let held = Locking::start(&all, &["kept", "--ttl", "20s"], wait_for_go);
    wait_for("the command to run", || held.has("up").then_some(()));
    let watch = Program::start(COPYCAT, &["watch", "--prefix", "w/", "--endpoint", &all, "--count", "20"], &[]);
    wait_for("the watch", || watch.err().contains("watching").then_some(()));
    let put =
        |n: usize| wait_for("a put", || run(&all, &["put", &format!("w/{n:02}"), "x"]).status.success().then_some(()));
    (0..10).for_each(put);
    let leader = cluster.leader();
    cluster.servers[leader].kill();
    cluster.leader();
    let refused = copycat(&["lock", "kept", "--endpoint", &all, "--", "true"]);
    assert_eq!(refused.status.code(), Some(75), "{}", refused.err);
    (10..20).for_each(put);
    File::create(held.directory.join("go")).unwrap();
    let said = held.program.said();
    assert!(said.status.success(), "{}", said.err);
    let said = watch.said();
    assert!(said.status.success() && !said.err.contains("missed"), "{}", said.err);
    // In order, and each once: unless a put was made twice, which is told twice.
    let mut keys: Vec<&str> = said.out.lines().filter_map(|line| line.split(' ').nth(1)).collect();
    keys.dedup();
    let expected: Vec<String> = (0..20).map(|n| format!("w/{n:02}")).collect();
    assert_eq!(keys, expected[..keys.len()], "{}", said.out);
}

#[test]
fn watch_prints_a_line_an_event() {
    let _turn = turn();
    let cluster = Cluster::start();
    let server = &endpoints(&cluster)[0];
    let http = cluster.servers[0].http;
    let start = |arguments: &[&str]| {
        let watch = Program::start(COPYCAT, &[&["watch", "--endpoint", server], arguments].concat(), &[]);
        wait_for("the watch", || watch.err().contains("watching").then_some(()));
        watch
    };
    let all = start(&["--prefix", "w/", "--values", "--count", "5"]);
    let one = start(&["w/a", "--output", "json"]);
    let put = |path: &str, value: &[u8]| {
        json(&ask(cluster.servers[1].http, "PUT", path, &[], value))["version"].as_u64().expect("a version")
    };
    let first = put("/v1/kv/w/a", b"hello world");
    let second = put("/v1/kv/w/a", b"\xff");
    let other = put("/v1/kv/w/b%0A", b"");
    ask(http, "DELETE", "/v1/kv/w/a", &[], b"");
    put("/v1/kv/elsewhere", b"");
    let brief = put("/v1/kv/w/brief?ttl=100ms", b"brief");
    let said = all.said();
    assert!(said.status.success(), "{}", said.err);
    let expected = format!(
        "put w/a {first} hello world\nput w/a {second} base64:/w==\nput w/b\\n {other} \ndelete w/a {second}\n\
         put w/brief {brief} brief\n"
    );
    assert_eq!(said.out, expected);

    // One that is told to stop ends its session; JSON has the index.
    wait_for("three events", || (one.out().lines().count() == 3).then_some(()));
    one.signal(Signal::TERM);
    let said = one.said();
    assert!(said.status.success(), "{}", said.err);
    let events: Vec<Value> = said.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let told = |event: &Value| (event["index"].as_u64(), event["type"].as_str().map(str::to_string));
    assert_eq!(told(&events[0]), (Some(first), Some("put".into())));
    assert_eq!(told(&events[1]), (Some(second), Some("put".into())));
    assert!(events[2]["index"].as_u64() > Some(other) && events[2]["type"] == "delete", "{}", said.out);
    assert_eq!(sessions(http), Vec::<Value>::new());

    // When its session is taken away, it says so, and goes on with another.
    let lost = start(&["w/c"]);
    let session = sessions(http)[0]["session"].to_string();
    assert!(run(server, &["session", "close", &session]).status.success());
    wait_for("word of it", || lost.err().contains("may have been missed").then_some(()));
    let version = put("/v1/kv/w/c", b"");
    wait_for("the event", || (lost.out() == format!("put w/c {version}\n")).then_some(()));
    assert_eq!(copycat(&["watch"]).status.code(), Some(2));
}

#[test]
fn session_commands() {
    let _turn = turn();
    let cluster = Cluster::start();
    let server = &endpoints(&cluster)[1];
    let fine = |arguments: &[&str]| {
        let said = run(server, arguments);
        assert!(said.status.success(), "{arguments:?}: {}{}", said.out, said.err);
        said.out
    };
    let id = fine(&["session", "create", "--timeout", "1m", "--name", "worker 1"]).trim().to_string();
    let other = fine(&["session", "create", "--output", "json"]);
    let other: Value = serde_json::from_str(&other).expect("JSON");
    assert_eq!(other["timeout_ms"], 30_000);
    let list = fine(&["session", "list"]);
    assert!(list.contains("worker 1") && list.lines().count() == 3, "{list}");
    let list: Value = serde_json::from_str(&fine(&["session", "list", "--output", "json"])).expect("JSON");
    assert_eq!(list[0]["session"].to_string(), id);
    assert_eq!(list[1]["session"], other["session"]);
    let http = cluster.servers[0].http;
    assert_eq!(ask(http, "PUT", &format!("/v1/locks/a%2Fb?session={id}"), &[], b"").status, 200);
    assert_eq!(ask(http, "PUT", &format!("/v1/kv/mine?session={id}&ephemeral"), &[], b"").status, 201);
    let show = fine(&["session", "show", &id]);
    assert!(["worker 1", "60.0s", "a/b", "mine"].iter().all(|part| show.contains(part)), "{show}");
    fine(&["session", "keep-alive", &id]);
    fine(&["session", "close", &id]);
    assert_eq!(get(http, "/v1/kv/mine").status, 404);
    for (command, id) in [("keep-alive", id.as_str()), ("show", &id), ("close", "123456789")] {
        let gone = run(server, &["session", command, id]);
        assert_eq!(gone.status.code(), Some(3), "{}", gone.err);
        assert_one_line(&gone, &["session_"]);
    }
    assert_eq!(run(server, &["session", "create", "--timeout", "1ms"]).status.code(), Some(2));
}
