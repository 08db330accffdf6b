//! The client's core against a model of a cluster that delays, reorders, repeats, refuses, and loses connections and
//! sessions; and what a program would notice.

use super::*;
use crate::engine::machine::Outcome;
use crate::engine::sessions::{EndReason, SessionError};
use crate::wire::{Refusal, Response};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// What was done for a number: the command, its index, and the session's last event before.
type Done = (Vec<u8>, u64, u64);

#[derive(Debug, Default)]
struct Session {
    done: Vec<Done>,
    acknowledged: u64,
    events: Vec<Batch>,
    event_acknowledged: u64,
    ended: bool,
}

/// A request that a server has; its answer goes nowhere if its connection is gone.
#[derive(Debug)]
struct Parked {
    connection: u64,
    id: u64,
    request: Request,
}

/// A cluster behind one connection at a time.
#[derive(Debug, Default)]
struct World {
    now: Duration,
    index: u64,
    sessions: BTreeMap<u64, Session>,
    keys: BTreeMap<String, u64>,
    /// All commands that were applied.
    applied: Vec<(Vec<u8>, u64)>,
    connection: u64,
    is_connected: bool,
    on_the_way: Vec<ToServer>,
    parked: Vec<Parked>,
    answers: Vec<ToClient>,
    following: Option<(u64, u64)>,
}

/// What the program submitted, and what it was told, in order.
#[derive(Debug, Default)]
struct Program {
    submitted: Vec<Operation>,
    told: Vec<Told>,
}

#[derive(Debug, Clone)]
enum Told {
    Done(Place, Result<Answered, Error>),
    Events(Batch),
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Command {
        publishes: bool,
        large: bool,
    },
    Query,
    Arrive,
    Carry(usize),
    Refuse(usize, u8),
    Answer(usize),
    Push(usize),
    /// Events are pushed again that were pushed before.
    PushAgain,
    /// Events are passed over: no server does that, and it would have to be noticed.
    PassOver,
    Disconnect,
    Connect,
    Wait(u64),
    Expire,
    Take,
    Recover,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (any::<bool>(), prop::bool::weighted(0.05)).prop_map(|(publishes, large)| Step::Command { publishes, large }),
        3 => Just(Step::Query),
        8 => Just(Step::Arrive),
        8 => any::<usize>().prop_map(Step::Carry),
        2 => (any::<usize>(), any::<u8>()).prop_map(|(at, how)| Step::Refuse(at, how)),
        8 => any::<usize>().prop_map(Step::Answer),
        4 => (1..4usize).prop_map(Step::Push),
        1 => Just(Step::PushAgain),
        1 => Just(Step::PassOver),
        1 => Just(Step::Disconnect),
        2 => Just(Step::Connect),
        2 => (1..3000u64).prop_map(Step::Wait),
        1 => prop::bool::weighted(0.3).prop_map(|yes| if yes { Step::Expire } else { Step::Take }),
        1 => Just(Step::Take),
        1 => prop::bool::weighted(0.1).prop_map(|yes| if yes { Step::Recover } else { Step::Take }),
    ]
}

fn at(number: u64) -> usize {
    usize::try_from(number).expect("a place in memory")
}

/// What a large command begins with.
const LARGE: u8 = 2;
/// A way to refuse: it is not the number's turn.
const GAP: u8 = 4;

fn response(index: u64, event_index: Option<u64>, output: Outcome) -> Response {
    Response { index, term: 1, event_index, output, consistency: None }
}

impl World {
    fn reply(&mut self, parked: &Parked, result: Result<Response, Refusal>) {
        if parked.connection == self.connection && self.is_connected {
            self.answers.push(ToClient::Reply { id: parked.id, result });
        }
    }

    /// A request reaches a server.
    fn arrive(&mut self) {
        if self.on_the_way.is_empty() {
            return;
        }
        match self.on_the_way.remove(0) {
            ToServer::Request { id, request } => {
                // A number is for one command.
                if let Request::Command { session, sequence, ref operation, .. } = request {
                    let others = self.parked.iter().filter_map(|parked| match &parked.request {
                        Request::Command { session: s, sequence: n, operation, .. }
                            if (*s, *n) == (session, sequence) =>
                        {
                            Some(operation)
                        }
                        _ => None,
                    });
                    for other in others {
                        assert_eq!(other, operation, "number {sequence} given twice");
                    }
                    let answered = self.sessions[&session].done.len() as u64;
                    assert!(sequence <= answered + WINDOW, "the window is kept");
                }
                self.parked.push(Parked { connection: self.connection, id, request });
            }
            ToServer::Follow { session, after } => {
                assert!(after >= self.sessions[&session].event_acknowledged, "what was acknowledged is not asked for");
                self.following = Some((session, after));
            }
            ToServer::Ping => {}
        }
    }

    /// A server carries a request out. Returns it if it has to wait for its turn.
    fn carry_out(&mut self, parked: Parked) -> Option<Parked> {
        let result = match &parked.request {
            Request::Register { key, timeout_ms, .. } => {
                let session = self.keys.get(key).copied().unwrap_or_else(|| {
                    self.index += 1;
                    self.sessions.insert(self.index, Session::default());
                    self.index
                });
                self.keys.insert(key.clone(), session);
                Ok(response(self.index, None, Outcome::Registered { session, timeout_ms: *timeout_ms }))
            }
            Request::Query { session, index, .. } => {
                assert!(*index <= self.index, "what was seen has happened");
                let last = self.sessions[session].events.last().map(|batch| batch.index);
                Ok(response(self.index, last, Outcome::Output(Vec::new())))
            }
            Request::KeepAlive { session, sequence, event_index } => {
                let s = self.sessions.get_mut(session).expect("a session");
                if s.ended {
                    Err(Refusal::Session(SessionError::Ended(EndReason::TimedOut)))
                } else {
                    assert!(*sequence <= s.done.len() as u64);
                    s.acknowledged = s.acknowledged.max(*sequence);
                    s.event_acknowledged = s.event_acknowledged.max(*event_index);
                    Ok(response(self.index, None, Outcome::KeptAlive { timeout_ms: 0, event_index: 0 }))
                }
            }
            Request::Unregister { session } => {
                self.sessions.get_mut(session).expect("a session").ended = true;
                Ok(response(self.index, None, Outcome::Closed))
            }
            Request::Command { session, sequence, operation, .. } => {
                let s = self.sessions.get_mut(session).expect("a session");
                let expected = s.done.len() as u64 + 1;
                if s.ended {
                    Err(Refusal::Session(SessionError::Ended(EndReason::TimedOut)))
                } else if *sequence <= s.acknowledged {
                    Err(Refusal::Session(SessionError::SequenceAcknowledged { acknowledged: s.acknowledged }))
                } else if let Some((first, index, events)) = s.done.get(at(*sequence) - 1) {
                    assert_eq!(first, operation, "a repeat is one");
                    let output = Outcome::Output(operation.clone());
                    Ok(response(*index, Some(*events), output))
                } else if *sequence > expected {
                    return Some(parked);
                } else if operation.first() == Some(&LARGE) {
                    Err(Refusal::TooLarge)
                } else {
                    self.index += 1;
                    let previous = s.events.last().map_or(0, |batch| batch.index);
                    s.done.push((operation.clone(), self.index, previous));
                    if operation.first() == Some(&1) {
                        s.events.push(Batch { index: self.index, previous, events: vec![operation.clone()] });
                    }
                    self.applied.push((operation.clone(), self.index));
                    Ok(response(self.index, Some(previous), Outcome::Output(operation.clone())))
                }
            }
        };
        self.reply(&parked, result);
        None
    }

    /// Events that somebody else's command causes.
    fn publish(&mut self) {
        self.index += 1;
        for session in self.sessions.values_mut().filter(|session| !session.ended) {
            let previous = session.events.last().map_or(0, |batch| batch.index);
            session.events.push(Batch { index: self.index, previous, events: vec![b"other".to_vec()] });
        }
    }

    /// The server tells of events, some of them again, at times.
    fn push(&mut self, most: usize) {
        let Some((session, after)) = self.following else { return };
        let s = &self.sessions[&session];
        if s.ended {
            let error = SessionError::Ended(EndReason::TimedOut);
            self.answers.push(ToClient::Ended { session, error });
            self.following = None;
            return;
        }
        let batches: Vec<Batch> = s.events.iter().filter(|b| b.index > after).take(most).cloned().collect();
        if let Some(last) = batches.last() {
            self.following = Some((session, last.index));
            self.answers.push(ToClient::Events { session, batches });
        }
    }

    fn disconnect(&mut self) {
        self.is_connected = false;
        self.following = None;
        self.on_the_way.clear();
        self.answers.clear();
    }

    fn connect(&mut self, core: &mut Core) {
        if !self.is_connected {
            self.is_connected = true;
            self.connection += 1;
            core.connect(self.now);
        }
    }

    /// The client does what is to be done.
    fn turn(&mut self, core: &mut Core, program: &mut Program) {
        for effect in core.turn(self.now) {
            match effect {
                Effect::Send(frame) => self.on_the_way.push(frame),
                Effect::Complete(place, result) => program.told.push(Told::Done(place, result)),
                Effect::Deliver(batch) => program.told.push(Told::Events(batch)),
                Effect::State(_) | Effect::Lost(..) => {}
                Effect::Reconnect => self.disconnect(),
            }
        }
        assert!(core.deadline().is_none_or(|at| at > self.now), "no turn leaves something to do at once");
    }

    fn step(&mut self, step: Step, core: &mut Core, program: &mut Program) {
        let pick = |at: usize, of: usize| if of == 0 { None } else { Some(at % of) };
        match step {
            Step::Command { publishes, large } => {
                let kind = if large { LARGE } else { u8::from(publishes) };
                let bytes = [vec![kind], program.submitted.len().to_le_bytes().to_vec()].concat();
                let operation = Operation::Command { mode: 0, bytes };
                program.submitted.push(operation.clone());
                core.submit(operation);
            }
            Step::Query => {
                let operation = Operation::Query { consistency: Consistency::Sequential, bytes: Vec::new() };
                program.submitted.push(operation.clone());
                core.submit(operation);
            }
            Step::Arrive => self.arrive(),
            Step::Carry(at) => {
                if let Some(at) = pick(at, self.parked.len()) {
                    let parked = self.parked.remove(at);
                    let held = self.carry_out(parked);
                    self.parked.extend(held);
                }
            }
            Step::Refuse(at, how) => {
                if let Some(at) = pick(at, self.parked.len()) {
                    let parked = self.parked.remove(at);
                    self.refuse(parked, how);
                }
            }
            Step::Answer(at) => self.hear(at, core),
            Step::Push(most) => {
                if most == 3 {
                    self.publish();
                }
                self.push(most);
            }
            Step::PushAgain | Step::PassOver => {
                let passed = matches!(step, Step::PassOver);
                if let Some((session, after)) = &mut self.following {
                    let s = &self.sessions[session];
                    let last = s.events.last().map_or(0, |batch| batch.index);
                    *after = if passed { last.max(*after) } else { s.event_acknowledged };
                }
            }
            Step::Disconnect => {
                if self.is_connected {
                    self.disconnect();
                    core.disconnect();
                }
            }
            Step::Connect => self.connect(core),
            Step::Wait(ms) => self.now += Duration::from_millis(ms),
            Step::Expire => {
                if let Some(session) = core.session().and_then(|id| self.sessions.get_mut(&id)) {
                    session.ended = true;
                }
            }
            Step::Take => {
                let last = program.told.iter().rev().find_map(|told| match told {
                    Told::Events(batch) => Some(batch.index),
                    Told::Done(..) => None,
                });
                core.taken(last.unwrap_or(0));
            }
            Step::Recover => core.recover(),
        }
        self.turn(core, program);
    }

    fn refuse(&mut self, parked: Parked, how: u8) {
        let command = matches!(parked.request, Request::Command { .. });
        let refusal = match how % 6 {
            0 => Refusal::Overloaded,
            1 => Refusal::NotLeader,
            2 => Refusal::Timeout { maybe_applied: false },
            3 if command => Refusal::StorageFull,
            GAP if command => {
                let Request::Command { session, sequence, .. } = &parked.request else { return };
                let expected = self.sessions[session].done.len() as u64 + 1;
                if *sequence <= expected {
                    return self.parked.push(parked);
                }
                Refusal::Session(SessionError::SequenceGap { expected })
            }
            // Somebody still has it.
            5 => {
                self.reply(&parked, Err(Refusal::Timeout { maybe_applied: true }));
                return self.parked.push(Parked { connection: 0, ..parked });
            }
            _ => Refusal::Overloaded,
        };
        // Something done is not refused.
        if let Request::Command { session, sequence, .. } = &parked.request
            && *sequence <= self.sessions[session].done.len() as u64
        {
            return self.parked.push(parked);
        }
        self.reply(&parked, Err(refusal));
    }

    /// One of the answers arrives; events keep their order.
    fn hear(&mut self, at: usize, core: &mut Core) {
        if self.answers.is_empty() {
            return;
        }
        let mut at = at % self.answers.len();
        if !matches!(self.answers[at], ToClient::Reply { .. }) {
            let first = self.answers.iter().position(|answer| !matches!(answer, ToClient::Reply { .. }));
            at = first.unwrap_or(at);
        }
        let answer = self.answers.remove(at);
        core.told(self.now, answer);
    }

    /// Everything goes well from now on, until nothing is left to do.
    fn heal(&mut self, core: &mut Core, program: &mut Program) {
        for round in 0..4000 {
            self.connect(core);
            self.turn(core, program);
            self.arrive();
            if !self.parked.is_empty() {
                let parked = self.parked.remove(0);
                match self.carry_out(parked) {
                    // Its turn has not come for a while.
                    Some(held) if round % 8 == 0 => self.refuse(held, GAP),
                    held => self.parked.extend(held),
                }
            }
            self.push(8);
            self.hear(0, core);
            self.now += Duration::from_millis(5);
            self.turn(core, program);
        }
    }
}

/// What the program was told holds together, and with what has happened.
fn judge(world: &World, program: &Program, session: u64) {
    let mut applied = BTreeMap::new();
    for (command, index) in &world.applied {
        assert!(applied.insert(command.clone(), *index).is_none(), "a command was applied twice");
    }
    let done = |told: &Told| if let Told::Done(place, result) = told { Some((*place, result.clone())) } else { None };
    let results: Vec<_> = program.told.iter().filter_map(done).collect();
    let places: Vec<u64> = results.iter().map(|(place, _)| *place).collect();
    assert_eq!(places, (0..program.submitted.len() as u64).collect::<Vec<_>>(), "in order, once each, all");
    // By place, the index of a command that was applied.
    let index_of = |operation: &Operation| match operation {
        Operation::Command { bytes, .. } => applied.get(bytes).copied(),
        Operation::Query { .. } => None,
    };
    let indexes: Vec<Option<u64>> = program.submitted.iter().map(index_of).collect();
    for (place, result) in &results {
        let index = indexes[at(*place)];
        match result {
            Ok(answered) if matches!(program.submitted[at(*place)], Operation::Command { .. }) => {
                assert_eq!(index, Some(answered.index), "what is said to be done is done");
            }
            Err(error) if error.outcome() == crate::client::Fate::NotApplied => assert_eq!(index, None, "{error}"),
            _ => {}
        }
    }
    // Whose outcome is unknown is owed no order.
    let told = |(place, result): &(Place, Result<Answered, Error>)| indexes[at(*place)].filter(|_| result.is_ok());
    judge_order(world, program, session, &results.iter().map(told).collect::<Vec<_>>());
    let delivered: Vec<u64> = program
        .told
        .iter()
        .filter_map(|told| if let Told::Events(batch) = told { Some(batch.index) } else { None })
        .collect();
    let all: Vec<u64> = world.sessions[&session].events.iter().map(|batch| batch.index).collect();
    let of_last: Vec<u64> = delivered.into_iter().filter(|&index| index > session).collect();
    assert_eq!(of_last, all, "all events of the session, in order, once each");
}

/// `last`: the session that is open in the end. A lost one's events may be lost with it.
fn judge_order(world: &World, program: &Program, last: u64, indexes: &[Option<u64>]) {
    let (mut highest, mut next) = (0, 0);
    let mut delivered: Vec<u64> = Vec::new();
    let owner = |index: u64| world.sessions.range(..=index).next_back().map_or(0, |(&session, _)| session);
    for told in &program.told {
        match told {
            Told::Events(batch) => {
                let before = delivered.last().copied().filter(|&last| owner(last) == owner(batch.index));
                assert!(batch.previous == 0 || before == Some(batch.previous), "nothing is left out");
                for index in indexes[next..].iter().flatten() {
                    assert!(*index > batch.index, "the answer of a command comes before its events");
                }
                delivered.push(batch.index);
                highest = highest.max(batch.index);
            }
            Told::Done(place, Ok(answered)) => {
                let query = matches!(program.submitted[at(*place)], Operation::Query { .. });
                assert!(!query || answered.index >= highest, "a query sees what came before");
                let own = indexes[at(*place) + 1..].iter().flatten().min().copied().unwrap_or(u64::MAX);
                let all = &world.sessions[&last].events;
                let due = if query { answered.index.min(own - 1) } else { answered.index - 1 };
                for batch in all.iter().filter(|batch| batch.index <= due) {
                    assert!(delivered.contains(&batch.index), "events at {} come before {told:?}", batch.index);
                }
                highest = highest.max(answered.index);
                next = at(*place) + 1;
            }
            Told::Done(place, Err(_)) => next = at(*place) + 1,
        }
    }
}

fn settings(recover: bool) -> Settings {
    Settings { timeout: Duration::from_secs(20), name: "test".into(), recover, nonce: 7 }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_program_sees_one_order_whatever_connections_and_sessions_do(steps in prop::collection::vec(step(), 0..250)) {
        let (mut world, mut core, mut program) = (World::default(), Core::new(settings(true)), Program::default());
        for step in steps {
            world.step(step, &mut core, &mut program);
        }
        world.heal(&mut core, &mut program);
        // Shows what was passed over.
        world.publish();
        world.heal(&mut core, &mut program);
        prop_assert_eq!(core.outstanding(), 0);
        prop_assert_eq!(core.state(), State::Connected);
        let session = core.session().expect("a session");
        judge(&world, &program, session);
        prop_assert!(world.sessions[&session].acknowledged == world.sessions[&session].done.len() as u64);
    }
}

fn connected() -> (World, Core, Program) {
    let (mut world, mut core, mut program) = (World::default(), Core::new(settings(true)), Program::default());
    world.heal(&mut core, &mut program);
    assert_eq!(core.state(), State::Connected);
    (world, core, program)
}

const COMMAND: Step = Step::Command { publishes: false, large: false };

fn commands(frames: &[ToServer]) -> usize {
    let is_command = |frame: &&ToServer| matches!(frame, ToServer::Request { request: Request::Command { .. }, .. });
    frames.iter().filter(is_command).count()
}

#[test]
fn no_more_numbers_are_given_than_a_session_may_leave_unacknowledged() {
    let (mut world, mut core, mut program) = connected();
    (0..WINDOW + 100).for_each(|_| world.step(COMMAND, &mut core, &mut program));
    assert_eq!(commands(&world.on_the_way), at(WINDOW));
    world.heal(&mut core, &mut program);
    assert_eq!(world.applied.len(), at(WINDOW) + 100);
    assert_eq!(program.told.len(), at(WINDOW) + 100);
}

#[test]
fn nothing_new_is_sent_into_a_session_that_may_be_over() {
    let (mut world, mut core, mut program) = connected();
    let first = core.session().expect("a session");
    world.step(Step::Disconnect, &mut core, &mut program);
    world.step(Step::Wait(18_001), &mut core, &mut program);
    world.step(Step::Expire, &mut core, &mut program);
    world.step(COMMAND, &mut core, &mut program);
    world.step(Step::Connect, &mut core, &mut program);
    assert_eq!(commands(&world.on_the_way), 0, "only a sign of life");
    world.heal(&mut core, &mut program);
    assert!(core.session().expect("a session") > first);
    assert!(matches!(program.told.as_slice(), [Told::Done(0, Ok(_))]), "{:?}", program.told);
}

#[test]
fn a_client_that_does_not_recover_fails_what_it_has_and_says_what_became_of_it() {
    let (mut world, mut core, mut program) = (World::default(), Core::new(settings(false)), Program::default());
    world.heal(&mut core, &mut program);
    world.step(COMMAND, &mut core, &mut program);
    world.step(Step::Disconnect, &mut core, &mut program);
    world.step(Step::Wait(18_001), &mut core, &mut program);
    world.step(Step::Expire, &mut core, &mut program);
    world.step(COMMAND, &mut core, &mut program);
    world.step(Step::Query, &mut core, &mut program);
    world.heal(&mut core, &mut program);
    let lost = Lost::Ended(EndReason::TimedOut);
    let errors: Vec<_> =
        program.told.iter().filter_map(|t| if let Told::Done(_, Err(e)) = t { Some(e) } else { None }).collect();
    assert_eq!(errors, [&Error::Unknown, &Error::SessionLost(lost), &Error::SessionLost(lost)]);
    assert_eq!(core.state(), State::Closed);
    core.recover();
    world.step(COMMAND, &mut core, &mut program);
    world.heal(&mut core, &mut program);
    assert!(matches!(program.told.last(), Some(Told::Done(3, Ok(_)))));
}

#[test]
fn a_server_through_which_no_sign_of_life_goes_is_left() {
    let (mut world, mut core, mut program) = connected();
    let begun = world.now;
    // It is connected, and answers nothing.
    while world.is_connected {
        world.now = core.deadline().expect("something to do");
        world.turn(&mut core, &mut program);
        assert!(world.now - begun < Duration::from_secs(20), "the session would be over");
    }
    assert_eq!(core.state(), State::Suspended);
}

#[test]
fn a_query_is_sent_when_the_commands_before_it_are_answered() {
    let (mut world, mut core, mut program) = connected();
    let is_query = |frame: &ToServer| matches!(frame, ToServer::Request { request: Request::Query { .. }, .. });
    world.step(COMMAND, &mut core, &mut program);
    world.step(Step::Query, &mut core, &mut program);
    assert!(!world.on_the_way.iter().any(is_query));
    while !world.on_the_way.is_empty() {
        world.step(Step::Arrive, &mut core, &mut program);
    }
    world.step(Step::Carry(0), &mut core, &mut program);
    world.step(Step::Answer(0), &mut core, &mut program);
    assert!(world.on_the_way.iter().any(is_query));
}

#[test]
fn a_number_that_somebody_may_hold_is_not_given_anew() {
    for held in [true, false] {
        let (mut world, mut core, mut program) = connected();
        let first = core.session();
        world.step(Step::Command { publishes: false, large: true }, &mut core, &mut program);
        world.step(COMMAND, &mut core, &mut program);
        world.step(Step::Arrive, &mut core, &mut program);
        world.step(Step::Arrive, &mut core, &mut program);
        // A server has the second one, or none has.
        world.step(Step::Refuse(1, if held { 5 } else { GAP }), &mut core, &mut program);
        world.step(Step::Answer(0), &mut core, &mut program);
        world.step(Step::Carry(0), &mut core, &mut program);
        world.step(Step::Answer(0), &mut core, &mut program);
        world.heal(&mut core, &mut program);
        let told: Vec<_> =
            program.told.iter().filter_map(|t| if let Told::Done(_, r) = t { Some(r) } else { None }).collect();
        assert!(matches!(told[0], Err(Error::TooLarge)));
        assert!(matches!((told[1], held), (Err(Error::Unknown), true) | (Ok(_), false)), "{told:?}");
        assert_eq!((world.applied.len(), core.session() == first), if held { (0, false) } else { (1, true) });
    }
}
