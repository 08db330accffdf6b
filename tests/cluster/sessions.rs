//! Sessions over real servers: locks that pass on, commands that are applied once whatever dies, events that nobody misses.

use crate::chaos::fault;
use crate::harness::{Cluster, PATIENCE, ask, get, json, long, turn, wait_for};
use crate::members::Shape;
use copycat_testkit::Rng;
use copycat_testkit::http::{Answer, Client};
use serde_json::{Value, json as value};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

fn post(server: SocketAddr, path: &str, body: &Value) -> Answer {
    ask(server, "POST", path, &[], body.to_string().as_bytes())
}

fn register(server: SocketAddr, timeout: &str) -> u64 {
    let answer = post(server, "/v1/sessions", &value!({ "timeout": timeout, "name": "test" }));
    assert_eq!(answer.status, 201, "{}", answer.text());
    json(&answer)["session"].as_u64().expect("a session")
}

/// One that asks any server, and asks again until it is answered.
struct Caller {
    servers: Vec<SocketAddr>,
    rng: Rng,
    client: Client,
    asked_again: u64,
}

impl Caller {
    fn new(servers: &[SocketAddr], seed: u64) -> Self {
        let client = Client::new(servers[0], Duration::from_secs(3));
        let mut caller = Self { servers: servers.to_vec(), rng: Rng::new(seed), client, asked_again: 0 };
        caller.elsewhere();
        caller
    }

    fn elsewhere(&mut self) {
        let at = usize::try_from(self.rng.below(self.servers.len() as u64)).expect("small");
        self.client = Client::new(self.servers[at], Duration::from_secs(3));
    }

    /// Asks until an answer says what became of it.
    fn until_sure(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let begin = Instant::now();
        if self.rng.chance(1, 20) {
            self.elsewhere();
        }
        loop {
            if let Ok(answer) = self.client.request(method, path, headers, body) {
                let retryable = || serde_json::from_slice::<Value>(&answer.body).is_ok_and(|b| b["retryable"] == true);
                if answer.status < 400 || !retryable() || answer.status == 409 {
                    return answer;
                }
            }
            assert!(begin.elapsed() < PATIENCE * 2, "{method} {path}: no answer");
            self.asked_again += 1;
            thread::sleep(Duration::from_millis(10 + self.rng.below(50)));
            self.elsewhere();
        }
    }
}

/// What the README shows: a lock in one terminal, a queue in another, the first one dies.
#[test]
fn a_lock_passes_on_when_its_holder_dies() {
    let _turn = turn();
    let cluster = Cluster::start();
    let [a, b, c] = [0, 1, 2].map(|at| cluster.servers[at].http);
    let (dying, waiting) = (register(a, "2s"), register(b, "30s"));
    // A server that may not have applied it yet does not say that there is none.
    let looked = get(c, &format!("/v1/sessions/{waiting}?consistency=sequential"));
    assert_eq!(looked.status, 200, "{}", looked.text());
    let held = json(&ask(a, "PUT", &format!("/v1/locks/job?session={dying}"), &[], b""));
    let token = held["token"].as_u64().expect("a token");
    let again = json(&ask(c, "PUT", &format!("/v1/locks/job?session={dying}"), &[], b""));
    assert_eq!(again["token"], token, "asked again: the same token");
    assert_eq!(ask(b, "PUT", &format!("/v1/locks/job?session={waiting}"), &[], b"").status, 409);
    let queued = ask(b, "PUT", &format!("/v1/locks/job?session={waiting}&queue"), &[], b"");
    assert_eq!((queued.status, json(&queued)["position"].as_u64()), (202, Some(1)), "{}", queued.text());
    let shown = json(&get(c, "/v1/locks/job"));
    assert_eq!(
        (shown["holders"][0]["session"].as_u64(), shown["queue"][0]["session"].as_u64()),
        (Some(dying), Some(waiting))
    );
    // Nobody keeps the first one alive. Polls keep the second alive, at whatever server.
    let mut after = 0;
    let acquired = wait_for("the lock to pass on", || {
        let page = json(&get(c, &format!("/v1/sessions/{waiting}/events?wait=5s&after={after}")));
        let batch = page["batches"].get(0)?;
        after = batch["index"].as_u64().expect("an index");
        Some(batch["events"][0].clone())
    });
    assert_eq!((&acquired["type"], &acquired["lock"]), (&value!("lock_acquired"), &value!("job")));
    let next = acquired["token"].as_u64().expect("a token");
    assert!(next > token, "{next} after {token}");
    assert_eq!(get(a, &format!("/v1/locks/job/verify?token={next}")).status, 200);
    assert_eq!(get(a, &format!("/v1/locks/job/verify?token={token}")).status, 412);
    let ended = ask(a, "POST", &format!("/v1/sessions/{dying}/keep-alive"), &[], b"");
    assert_eq!((ended.status, json(&ended)["reason"].as_str()), (410, Some("timeout")), "{}", ended.text());
    // A write of the one who lost it never lands.
    let stale = ask(b, "PUT", &format!("/v1/kv/guarded?lock=job&token={token}"), &[], b"late");
    assert_eq!((stale.status, json(&stale)["code"].as_str()), (412, Some("lock_token_stale")), "{}", stale.text());
    assert_eq!(ask(b, "PUT", &format!("/v1/kv/guarded?lock=job&token={next}"), &[], b"mine").status, 201);
    assert_eq!(ask(b, "DELETE", &format!("/v1/locks/job?session={waiting}&token={next}"), &[], b"").status, 200);
    assert_eq!(get(a, "/v1/locks/job").status, 404);
}

/// A wait is decided by the log: it ends with the lock, or without a place.
#[test]
fn waiting_for_a_lock_ends_with_it_or_without_a_place() {
    let _turn = turn();
    let cluster = Cluster::start();
    let [a, b, c] = [0, 1, 2].map(|at| cluster.servers[at].http);
    let (holder, waiter) = (register(a, "30s"), register(b, "30s"));
    assert_eq!(ask(a, "PUT", &format!("/v1/locks/w?session={holder}"), &[], b"").status, 200);
    let refused = ask(b, "PUT", &format!("/v1/locks/w?session={waiter}&wait=700ms"), &[], b"");
    assert_eq!((refused.status, json(&refused)["code"].as_str()), (409, Some("lock_held")), "{}", refused.text());
    assert_eq!(json(&get(c, "/v1/locks/w"))["queue"], value!([]), "the place was given up");
    let waiting = thread::spawn(move || ask(b, "PUT", &format!("/v1/locks/w?session={waiter}&wait=15s"), &[], b""));
    wait_for("a place", || (json(&get(c, "/v1/locks/w"))["queue"][0]["session"] == waiter).then_some(()));
    assert_eq!(ask(a, "DELETE", &format!("/v1/locks/w?session={holder}"), &[], b"").status, 200);
    let granted = waiting.join().unwrap();
    assert_eq!((granted.status, json(&granted)["session"].as_u64()), (200, Some(waiter)), "{}", granted.text());
    // Shared holders have it together, each with a token of its own.
    assert_eq!(ask(c, "DELETE", &format!("/v1/locks/w?session={waiter}"), &[], b"").status, 200);
    let shared = |session| json(&ask(a, "PUT", &format!("/v1/locks/w?session={session}&mode=shared"), &[], b""));
    let (one, two) = (shared(holder)["token"].as_u64().unwrap(), shared(waiter)["token"].as_u64().unwrap());
    assert!(one < two, "{one} {two}");
    let revoked = ask(c, "DELETE", &format!("/v1/locks/w/holders/{holder}"), &[], b"");
    assert_eq!((revoked.status, json(&revoked)["token"].as_u64()), (200, Some(one)));
    let told = json(&get(b, &format!("/v1/sessions/{holder}/events?wait=5s")));
    assert_eq!(told["batches"][0]["events"][0]["type"], "lock_lost", "{told}");
    // One whose session ends while it waits is told so; a wait that was cut says so.
    let brief = register(a, "2s");
    let cut = ask(a, "PUT", &format!("/v1/locks/w?session={brief}&wait=20s"), &[], b"");
    assert_eq!((cut.status, cut.header("copycat-wait")), (409, Some("1s")), "{}", cut.text());
    let waiting =
        thread::spawn(move || ask(b, "PUT", &format!("/v1/locks/w?session={holder}&wait=9s&queue"), &[], b""));
    wait_for("a place", || (json(&get(c, "/v1/locks/w"))["queue"][0]["session"] == holder).then_some(()));
    assert_eq!(ask(c, "DELETE", &format!("/v1/sessions/{holder}"), &[], b"").status, 200);
    let over = waiting.join().unwrap();
    assert_eq!((over.status, json(&over)["reason"].as_str()), (410, Some("closed")), "{}", over.text());
}

/// Repeats, at other servers and after all of them died: the first answer; and what goes with a session goes.
#[test]
fn repeats_are_known_everywhere_and_after_restarts() {
    let _turn = turn();
    let mut cluster = Cluster::start();
    let [a, b, c] = [0, 1, 2].map(|at| cluster.servers[at].http);
    let named = [("Idempotency-Key", "begin-1")];
    let body = value!({ "timeout": "20s" }).to_string();
    let first = ask(a, "POST", "/v1/sessions", &named, body.as_bytes());
    assert_eq!(ask(b, "POST", "/v1/sessions", &named, body.as_bytes()).body, first.body, "the same session");
    let other = ask(b, "POST", "/v1/sessions", &named, value!({ "timeout": "21s" }).to_string().as_bytes());
    assert_eq!((other.status, json(&other)["code"].as_str()), (422, Some("idempotency_mismatch")));
    let session = json(&first)["session"].as_u64().unwrap();
    let path = format!("/v1/kv/once?session={session}");
    let number = |n: &'static str| [("Copycat-Sequence", n)];
    let one = ask(a, "PUT", &path, &number("1"), b"first");
    assert_eq!(one.status, 201);
    let gap = ask(a, "PUT", &path, &number("3"), b"third");
    assert_eq!((gap.status, json(&gap)["expected"].as_u64()), (409, Some(2)), "{}", gap.text());
    let mismatch = ask(b, "PUT", &path, &number("1"), b"other");
    assert_eq!((mismatch.status, json(&mismatch)["code"].as_str()), (422, Some("sequence_mismatch")));
    assert_eq!(ask(a, "PUT", &format!("/v1/kv/mine?session={session}&ephemeral"), &number("2"), b"x").status, 201);
    for server in &mut cluster.servers {
        server.kill();
    }
    for server in &mut cluster.servers {
        server.start();
    }
    cluster.wait_until_ready();
    let repeat = ask(c, "PUT", &path, &number("1"), b"first");
    assert_eq!((repeat.status, &repeat.body), (one.status, &one.body), "byte for byte, after a restart");
    assert_eq!(repeat.header("copycat-index"), one.header("copycat-index"));
    assert_eq!(ask(c, "POST", "/v1/sessions", &named, body.as_bytes()).body, first.body);
    let alive = post(c, &format!("/v1/sessions/{session}/keep-alive"), &value!({ "sequence": 1 }));
    assert_eq!(alive.status, 200, "{}", alive.text());
    let forgotten = ask(c, "PUT", &path, &number("1"), b"first");
    assert_eq!((forgotten.status, json(&forgotten)["code"].as_str()), (409, Some("sequence_acknowledged")));
    let shown = json(&get(b, &format!("/v1/sessions/{session}")));
    assert_eq!((shown["sequence"].as_u64(), shown["ephemeral_keys"][0]["key"].as_str()), (Some(2), Some("mine")));
    assert_eq!(ask(a, "DELETE", &format!("/v1/sessions/{session}"), &[], b"").status, 200);
    assert_eq!(get(b, "/v1/kv/mine").status, 404, "it goes with its session");
    assert_eq!(get(b, "/v1/kv/once").status, 200);
    let closed = ask(b, "PUT", &path, &number("3"), b"x");
    assert_eq!((closed.status, json(&closed)["reason"].as_str()), (410, Some("closed")));
    assert_eq!(get(c, "/v1/sessions/999999/events?wait=1s").status, 404, "it never was");
}

/// Whatever happens to a test, those who run beside it must end, or it would hang.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Faults for a while.
fn disturb(cluster: &mut Cluster, time: Duration, seed: u64) -> BTreeMap<&'static str, u64> {
    // However the dice fall: one dies that leads.
    let leader = cluster.leader();
    cluster.servers[leader].kill();
    thread::sleep(Duration::from_millis(300));
    cluster.servers[leader].start();
    let (begin, mut rng, mut counts) = (Instant::now(), Rng::new(seed), BTreeMap::from([("kill", 1)]));
    while begin.elapsed() < time {
        fault(cluster, &mut rng, &mut counts);
        thread::sleep(Duration::from_millis(rng.range(100, 1000)));
    }
    counts
}

/// A session that is watched: all that it was told, in order; checks that the chain has no gap.
fn follow(servers: &[SocketAddr], session: u64, end: &AtomicBool) -> Vec<Value> {
    let mut caller = Caller::new(servers, session);
    let (mut after, mut told) = (0, Vec::new());
    loop {
        let ending = end.load(Ordering::SeqCst);
        let page =
            caller.until_sure("GET", &format!("/v1/sessions/{session}/events?wait=500ms&after={after}"), &[], b"");
        let body = json(&page);
        // A poll that was given up, at a server that slept, may come to itself after a newer one.
        if body["code"] == "superseded" {
            continue;
        }
        assert_eq!(page.status, 200, "{body}");
        for batch in body["batches"].as_array().expect("batches") {
            assert_eq!(batch["previous"], after, "a gap, or a double: {batch}");
            after = batch["index"].as_u64().expect("an index");
            told.extend(batch["events"].as_array().expect("events").iter().cloned());
        }
        // What was written before the end was seen has been told when a server that has it has nothing more.
        if ending && body["batches"].as_array().is_some_and(Vec::is_empty) {
            return told;
        }
    }
}

/// Writes until time is over; each command is one more key, made only if it is not there: a command that is applied twice
/// fails the second time. Returns how many.
fn count_up(servers: &[SocketAddr], number: u64, stop: &AtomicBool) -> (u64, u64) {
    let mut caller = Caller::new(servers, 7000 + number);
    let key = format!("session-{number}");
    let body = value!({ "timeout": "60s" }).to_string();
    let session = json(&caller.until_sure("POST", "/v1/sessions", &[("Idempotency-Key", &key)], body.as_bytes()));
    let session = session["session"].as_u64().expect("a session");
    let mut n = 0_u64;
    while !stop.load(Ordering::SeqCst) {
        n += 1;
        let path = format!("/v1/kv/count/{number}/{n}?session={session}&timeout=400ms");
        let headers = [("Copycat-Sequence", &*n.to_string()), ("If-None-Match", "*")];
        let answer = caller.until_sure("PUT", &path, &headers, b"1");
        assert_eq!(answer.status, 201, "number {n} of {session}: {}", answer.text());
        if n.is_multiple_of(50) {
            let acknowledge = value!({ "sequence": n }).to_string();
            let path = format!("/v1/sessions/{session}/keep-alive");
            assert_eq!(caller.until_sure("POST", &path, &[], acknowledge.as_bytes()).status, 200);
        }
    }
    (n, caller.asked_again)
}

#[test]
fn fifty_sessions_count_to_exactly_the_number_of_commands() {
    let _turn = turn();
    let mut cluster = Cluster::start();
    let servers = cluster.addresses();
    let watcher = register(servers[0], "60s");
    let watched = post(servers[0], &format!("/v1/sessions/{watcher}/watches"), &value!({ "prefix": "count/" }));
    assert_eq!(watched.status, 201, "{}", watched.text());
    let time = Duration::from_secs(if long() { 60 } else { 8 });
    let (stop, end) = (AtomicBool::new(false), AtomicBool::new(false));
    let (faults, counted, told) = thread::scope(|scope| {
        let (stopped, ended) = (Ends(&stop), Ends(&end));
        let follower = scope.spawn(|| follow(&servers, watcher, &end));
        let counters: Vec<_> = (0..50)
            .map(|n| {
                scope.spawn({
                    let (servers, stop) = (&servers, &stop);
                    move || count_up(servers, n, stop)
                })
            })
            .collect();
        let faults = disturb(&mut cluster, time, 5);
        drop(stopped);
        let counted: Vec<(u64, u64)> = counters.into_iter().map(|c| c.join().unwrap()).collect();
        drop(ended);
        (faults, counted, follower.join().unwrap())
    });
    let commands: u64 = counted.iter().map(|c| c.0).sum();
    let again: u64 = counted.iter().map(|c| c.1).sum();
    println!("50 sessions, {faults:?}: {commands} commands, asked again {again} times, {} events", told.len());
    assert!(commands > 500 && again > 0, "too little happened");
    assert_eq!(told.len() as u64, commands, "one event for each command, and none twice");
    let there = crate::load::read_all(servers[0], "count/");
    assert_eq!(there.len() as u64, commands);
}

/// Takes a lock again and again, and writes its token under its guard.
fn contend(servers: &[SocketAddr], number: u64, stop: &AtomicBool, grants: &AtomicU64) {
    let mut caller = Caller::new(servers, 9000 + number);
    let mut session = 0;
    while !stop.load(Ordering::SeqCst) {
        if session == 0 {
            let body = value!({ "timeout": "2s" }).to_string();
            let answer = caller.until_sure("POST", "/v1/sessions", &[], body.as_bytes());
            session = json(&answer)["session"].as_u64().unwrap_or(0);
            continue;
        }
        let lock = caller.until_sure("PUT", &format!("/v1/locks/contended?session={session}&wait=1s"), &[], b"");
        match lock.status {
            200 => {}
            409 => continue,
            _ => {
                session = 0;
                continue;
            }
        }
        grants.fetch_add(1, Ordering::SeqCst);
        let token = json(&lock)["token"].as_u64().expect("a token");
        for step in 0..3 {
            let path = format!("/v1/kv/resource?lock=contended&token={token}");
            let written = caller.until_sure("PUT", &path, &[], format!("{token}.{step}").as_bytes());
            if written.status == 412 {
                break;
            }
        }
        // Some die with it: their sessions have to time out.
        if caller.rng.chance(1, 30) {
            session = 0;
            continue;
        }
        caller.until_sure("DELETE", &format!("/v1/locks/contended?session={session}&token={token}"), &[], b"");
    }
}

#[test]
fn contended_locks_never_overlap() {
    let _turn = turn();
    let mut cluster = Cluster::start();
    let servers = cluster.addresses();
    let watcher = register(servers[0], "60s");
    let watch = value!({ "key": "resource", "values": true });
    assert_eq!(post(servers[0], &format!("/v1/sessions/{watcher}/watches"), &watch).status, 201);
    let time = Duration::from_secs(if long() { 60 } else { 10 });
    let (stop, end, grants) = (AtomicBool::new(false), AtomicBool::new(false), AtomicU64::new(0));
    let (faults, told) = thread::scope(|scope| {
        let (stopped, ended) = (Ends(&stop), Ends(&end));
        let follower = scope.spawn(|| follow(&servers, watcher, &end));
        let workers: Vec<_> = (0..8)
            .map(|n| {
                scope.spawn({
                    let (servers, stop, grants) = (&servers, &stop, &grants);
                    move || contend(servers, n, stop, grants)
                })
            })
            .collect();
        let faults = disturb(&mut cluster, time, 11);
        drop(stopped);
        workers.into_iter().for_each(|w| w.join().unwrap());
        drop(ended);
        (faults, follower.join().unwrap())
    });
    let tokens = told.iter().map(|event| {
        let value = event["value"].as_str().expect("a value");
        value.split('.').next().and_then(|token| token.parse::<u64>().ok()).expect("a token")
    });
    let tokens: Vec<u64> = tokens.collect();
    println!("locks, {faults:?}: {} granted, {} guarded writes", grants.into_inner(), tokens.len());
    assert!(tokens.len() > 20, "too little happened");
    assert!(tokens.is_sorted(), "two held it at once: {tokens:?}");
}

/// A poll is superseded by a newer one, at whatever server; a stream resumes where it was left; nothing waits for ever.
#[test]
fn polls_and_streams() {
    let _turn = turn();
    let cluster = Cluster::start();
    let [a, b, c] = [0, 1, 2].map(|at| cluster.servers[at].http);
    let session = register(a, "20s");
    let path = format!("/v1/sessions/{session}/events");
    let older = thread::spawn({
        let path = path.clone();
        move || get(a, &format!("{path}?wait=9s"))
    });
    wait_for("the poll to be in the log", || {
        json(&get(c, &format!("/v1/sessions/{session}")))["server"].as_u64().filter(|&server| server == 1)
    });
    let newer = thread::spawn({
        let path = path.clone();
        move || get(b, &format!("{path}?wait=9s"))
    });
    let older = older.join().unwrap();
    assert_eq!((older.status, json(&older)["code"].as_str()), (409, Some("superseded")), "{}", older.text());
    let watch = value!({ "prefix": "s/" });
    assert_eq!(post(c, &format!("/v1/sessions/{session}/watches"), &watch).status, 201);
    assert_eq!(ask(c, "PUT", "/v1/kv/s/1", &[], b"1").status, 201);
    let newer = json(&newer.join().unwrap());
    assert_eq!(newer["batches"][0]["events"][0]["key"], "s/1");
    let index = newer["batches"][0]["index"].as_u64().unwrap();
    // Nothing was acknowledged: it is told again, at another server.
    assert_eq!(json(&get(c, &format!("{path}?wait=1s")))["batches"][0]["index"], index);
    assert_eq!(json(&get(c, &format!("{path}?after={index}")))["batches"], value!([]));
    let gap = wait_for("the acknowledgement", || {
        let answer = get(b, &format!("{path}?after=0"));
        (answer.status == 409).then_some(answer)
    });
    assert_eq!(json(&gap)["code"], "events_gap", "{}", gap.text());
    let begin = Instant::now();
    let cut = get(a, &format!("{path}?wait=60s&after={index}&timeout=5s"));
    assert_eq!(cut.status, 200, "{}", cut.text());
    assert_eq!(cut.header("copycat-wait"), Some("10s"), "half of the session's timeout");
    assert!(begin.elapsed() >= Duration::from_secs(9), "it was held: {:?}", begin.elapsed());
}

/// What is answered is over: however late the log hears of it, it does not supersede the poll that comes after it.
#[test]
fn a_poll_is_not_superseded_by_one_that_was_answered_before_it() {
    let _turn = turn();
    let cluster = Cluster::start();
    let leader = cluster.leader();
    let [near, far] = [leader, (leader + 1) % 3].map(|at| cluster.servers[at].http);
    let path = format!("/v1/sessions/{}/events", register(near, "20s"));
    for round in 0..100 {
        // The log hears of a poll at another server than the leader later than of one at the leader.
        assert_eq!(get(far, &path).status, 200);
        let next = get(near, &format!("{path}?wait=20ms"));
        assert_eq!(next.status, 200, "round {round}: {}", next.text());
    }
}

/// How long a request is known by its key, in the test of it.
const WINDOW: Duration = Duration::from_secs(5);

#[test]
fn a_key_ends_also_in_a_cluster_at_rest() {
    let _turn = turn();
    let window = format!("{}s", WINDOW.as_secs());
    let shape = Shape::start(3, &["--idempotency-window", &window]);
    let keyed = |path: &str, body: &[u8]| ask(shape.http(2), "PUT", path, &[("Idempotency-Key", "same")], body);
    let begun = Instant::now();
    let first = keyed("/v1/kv/a", b"x");
    assert_eq!(first.status, 201, "{}", first.text());
    let again = keyed("/v1/kv/a", b"x");
    // Else this machine took too long for it to be a repeat.
    if begun.elapsed() < WINDOW {
        assert_eq!((again.status, &again.body), (201, &first.body), "byte for byte");
        assert_eq!(again.header("copycat-index"), first.header("copycat-index"));
        assert_eq!(keyed("/v1/kv/b", b"y").status, 422, "another request");
    }
    assert_eq!(ask(shape.http(1), "DELETE", "/v1/kv/a", &[], b"").status, 200);
    // Nothing is logged meanwhile. Log time may be a little slower than the clock.
    thread::sleep(WINDOW + WINDOW / 10);
    let third = keyed("/v1/kv/a", b"x");
    assert_eq!(third.status, 201, "{}", third.text());
    assert_ne!(third.body, first.body, "it was carried out again");
    for id in 1..=3 {
        let found = get(shape.http(id), "/v1/kv/a");
        assert_eq!((found.status, found.body), (200, b"x".to_vec()), "and the value is there");
    }
    thread::sleep(WINDOW + WINDOW / 10);
    assert_eq!(keyed("/v1/kv/b", b"y").status, 201, "the key may name another request");
}
