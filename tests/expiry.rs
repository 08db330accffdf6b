//! A leader ends no session whose sign of life it has, read or not; and time goes on by one entry at a time.

use copycat::engine::machine::{Ask, Outcome, StateMachine, encode_operation};
use copycat::engine::sessions::{EndReason, KeepAlive, SessionError, Submit};
use copycat::engine::{Configuration, Consistency, Engine, Input, Now, Options, Output, Query, Refusal, Response};
use copycat::store::{Command, Condition, Query as StoreQuery, Store, Target};
use copycat_storage::{MemDisk, Seed, Storage};
use std::time::Duration;

/// A cluster of one, whose driver says when it has read all that there was.
struct Server {
    engine: Engine<MemDisk, Store>,
    now: Duration,
    requests: u64,
}

type Answer = Result<Response, Refusal>;

impl Server {
    fn start() -> Self {
        let (now, seed) = (Duration::ZERO, Seed { identity: 1, salt: 1, now_ms: 1000 });
        let storage = Storage::open(MemDisk::new(), copycat_storage::Options { segment_size: 16384 }, seed);
        let initial = Configuration::bootstrap([(1, "s1:1".to_string())]);
        let at = Now { monotonic: now, wall: 1000 };
        let storage = storage.expect("the disk opens");
        let engine = Engine::new(1, Options::default(), 1, at, storage, Store::default, initial);
        let mut server = Self { engine: engine.expect("it starts"), now, requests: 0 };
        server.turn(true);
        server
    }

    fn at(&self) -> Now {
        Now { monotonic: self.now, wall: 1000 }
    }

    /// The engine's turn, with nothing left in its inbox; nothing becomes durable.
    fn poll(&mut self) {
        self.engine.step(self.at(), Input::Drained).expect("it goes on");
        while self.engine.poll(self.at()).expect("it goes on") {}
    }

    /// One batch of the driver: `drained` if nothing was left in its inbox. Returns the answers.
    fn turn(&mut self, drained: bool) -> Vec<Answer> {
        let mut answers = Vec::new();
        for _ in 0..10 {
            if drained {
                self.poll();
            }
            while self.engine.poll(self.at()).expect("it goes on") {}
            if let Some(job) = self.engine.flush(self.at()) {
                let persisted = job.run().expect("the disk works");
                self.engine.step(self.at(), Input::Persisted(persisted)).expect("it goes on");
            }
            let replies = self.engine.take_outputs().into_iter().filter_map(|output| match output {
                Output::Reply { result, .. } => Some(result),
                _ => None,
            });
            answers.extend(replies);
        }
        answers
    }

    fn submit(&mut self, submit: Submit) {
        self.requests += 1;
        self.engine.step(self.at(), Input::Submit { id: self.requests, submit }).expect("it goes on");
    }

    /// Time passes, in steps in which a leader is awake.
    fn wait(&mut self, ms: u64, drained: bool) -> Vec<Answer> {
        let steps = (0..ms / 100).flat_map(|_| {
            self.now += Duration::from_millis(100);
            self.turn(drained)
        });
        steps.collect()
    }

    fn session(&mut self) -> u64 {
        self.submit(Submit::Register { timeout_ms: 1000, name: String::new(), key: None });
        match self.turn(true).as_slice() {
            [Ok(Response { output: Outcome::Registered { session, .. }, .. })] => *session,
            other => panic!("{other:?}"),
        }
    }

    fn is_open(&self, session: u64) -> bool {
        self.engine.executor().expect("it is here").sessions().is_open(session)
    }
}

#[test]
fn a_sign_of_life_that_has_arrived_but_was_not_read_counts() {
    let mut server = Server::start();
    let session = server.session();
    server.wait(2000, false);
    assert!(server.is_open(session), "nobody knows yet what is in the inbox");
    server.submit(Submit::KeepAlive(KeepAlive { session, alive: true, ..KeepAlive::default() }));
    assert!(matches!(server.turn(true).as_slice(), [Ok(_)]), "it was in time");
    server.wait(900, true);
    assert!(server.is_open(session));
}

#[test]
fn without_one_it_ends_once_all_is_read() {
    let mut server = Server::start();
    let session = server.session();
    server.wait(2000, false);
    assert!(server.is_open(session));
    server.turn(true);
    assert!(!server.is_open(session));
    server.submit(Submit::KeepAlive(KeepAlive { session, alive: true, ..KeepAlive::default() }));
    let ended = Err(Refusal::Session(SessionError::Ended(EndReason::TimedOut)));
    assert_eq!(server.turn(true), [ended]);
}

#[test]
fn a_sign_of_life_that_waits_for_its_turn_in_the_log_counts() {
    let mut server = Server::start();
    let (session, other) = (server.session(), server.session());
    server.wait(900, true);
    let alive = |session| Submit::KeepAlive(KeepAlive { session, alive: true, ..KeepAlive::default() });
    server.submit(alive(other));
    server.poll();
    // The disk is slow: one entry of signs of life is on its way, so this one waits.
    server.submit(alive(session));
    for _ in 0..3 {
        server.now += Duration::from_millis(100);
        server.poll();
    }
    assert_eq!(server.turn(true).len(), 2);
    assert!(server.is_open(session) && server.is_open(other));
}

#[test]
fn a_timer_that_is_due_moves_time_by_one_entry() {
    let mut server = Server::start();
    let put = Command::Put {
        key: b"a".to_vec(),
        value: Vec::new(),
        content_type: String::new(),
        ttl_ms: 100,
        ephemeral: false,
        condition: Condition::Always,
    };
    server.submit(Submit::command(encode_operation(&put), Store::mode(&put)));
    assert_eq!(server.turn(true).len(), 1);
    let last = server.engine.storage().last_index();
    for _ in 0..3 {
        server.now += Duration::from_millis(100);
        server.poll();
    }
    assert_eq!(server.engine.storage().last_index(), last + 1, "not one more for each look, while the disk is slow");
    server.turn(true);
    assert_eq!(
        (server.engine.storage().last_index(), server.engine.executor().expect("it is here").machine().len()),
        (last + 1, 0)
    );
}

#[test]
fn the_answer_to_a_sessions_query_tells_of_its_last_event_at_each_consistency() {
    let mut server = Server::start();
    let session = server.session();
    let put = Command::Put {
        key: b"a".to_vec(),
        value: Vec::new(),
        content_type: String::new(),
        ttl_ms: 0,
        ephemeral: false,
        condition: Condition::Always,
    };
    let watch = Command::Watch { target: Target::Key(b"a".to_vec()), values: true, limit: 1 };
    for (sequence, command) in (1..).zip([watch, put]) {
        let (operation, mode) = (encode_operation(&command), Store::mode(&command) as u8);
        server.submit(Submit::Command { operation, mode, session, sequence, key: None });
        assert!(matches!(server.turn(true).as_slice(), [Ok(_)]));
    }
    let operation = encode_operation(&StoreQuery::Get { key: b"a".to_vec() });
    let told = |response: &Response| response.event_index == Some(response.index);
    for consistency in [Consistency::Linearizable, Consistency::Lease, Consistency::Sequential] {
        server.requests += 1;
        let ask = Ask::OfSession { session, operation: operation.clone() };
        let query = Query { consistency, index: 0, ask };
        server.engine.step(server.at(), Input::Query { id: server.requests, query }).expect("it goes on");
        assert!(matches!(server.turn(true).as_slice(), [Ok(response)] if told(response)), "{consistency:?}");
    }
    let now = server.engine.query_now(0, &Ask::OfSession { session, operation: operation.clone() });
    assert!(now.is_some_and(|response| told(&response)));
    let nobodys = server.engine.query_now(0, &Ask::Machine(operation));
    assert_eq!(nobodys.expect("it is there").event_index, None);
}
