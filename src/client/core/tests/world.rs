//! A model of a cluster that delays, reorders, repeats, refuses, and loses connections and sessions.

use super::*;

/// What was done for a number: the command, its index, and the session's last event before.
pub(super) type Done = (Vec<u8>, u64, u64);

#[derive(Debug, Default)]
pub(super) struct Session {
    pub(super) done: Vec<Done>,
    pub(super) acknowledged: u64,
    pub(super) events: Vec<Batch>,
    pub(super) event_acknowledged: u64,
    pub(super) ended: bool,
}

/// A request that a server has; its answer goes nowhere if its connection is gone.
#[derive(Debug)]
pub(super) struct Parked {
    pub(super) connection: u64,
    pub(super) id: u64,
    pub(super) request: Request,
}

/// A cluster behind one connection at a time.
#[derive(Debug, Default)]
pub(super) struct World {
    pub(super) now: Duration,
    pub(super) index: u64,
    pub(super) sessions: BTreeMap<u64, Session>,
    pub(super) keys: BTreeMap<String, u64>,
    /// All commands that were applied.
    pub(super) applied: Vec<(Vec<u8>, u64)>,
    pub(super) connection: u64,
    pub(super) is_connected: bool,
    pub(super) on_the_way: Vec<ToServer>,
    pub(super) parked: Vec<Parked>,
    pub(super) answers: Vec<ToClient>,
    pub(super) following: Option<(u64, u64)>,
}

/// What the program submitted, and what it was told, in order.
#[derive(Debug, Default)]
pub(super) struct Program {
    pub(super) submitted: Vec<Operation>,
    pub(super) told: Vec<Told>,
}

#[derive(Debug, Clone)]
pub(super) enum Told {
    Done(Place, Result<Answered, Error>),
    Events(Batch),
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
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

pub(super) fn step() -> impl Strategy<Value = Step> {
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

pub(super) fn at(number: u64) -> usize {
    usize::try_from(number).expect("a place in memory")
}

/// What a large command begins with.
pub(super) const LARGE: u8 = 2;
/// A way to refuse: it is not the number's turn.
pub(super) const GAP: u8 = 4;

pub(super) fn response(index: u64, event_index: Option<u64>, output: Outcome) -> Response {
    Response { index, term: 1, event_index, output, consistency: None }
}

impl World {
    pub(super) fn reply(&mut self, parked: &Parked, result: Result<Response, Refusal>) {
        if parked.connection == self.connection && self.is_connected {
            self.answers.push(ToClient::Reply { id: parked.id, result });
        }
    }

    /// A request reaches a server.
    pub(super) fn arrive(&mut self) {
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
    pub(super) fn carry_out(&mut self, parked: Parked) -> Option<Parked> {
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
    pub(super) fn publish(&mut self) {
        self.index += 1;
        for session in self.sessions.values_mut().filter(|session| !session.ended) {
            let previous = session.events.last().map_or(0, |batch| batch.index);
            session.events.push(Batch { index: self.index, previous, events: vec![b"other".to_vec()] });
        }
    }

    /// The server tells of events, some of them again, at times.
    pub(super) fn push(&mut self, most: usize) {
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

    pub(super) fn disconnect(&mut self) {
        self.is_connected = false;
        self.following = None;
        self.on_the_way.clear();
        self.answers.clear();
    }

    pub(super) fn connect(&mut self, core: &mut Core) {
        if !self.is_connected {
            self.is_connected = true;
            self.connection += 1;
            core.connect(self.now);
        }
    }

    /// The client does what is to be done.
    pub(super) fn turn(&mut self, core: &mut Core, program: &mut Program) {
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

    pub(super) fn step(&mut self, step: Step, core: &mut Core, program: &mut Program) {
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

    pub(super) fn refuse(&mut self, parked: Parked, how: u8) {
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
    pub(super) fn hear(&mut self, at: usize, core: &mut Core) {
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
    pub(super) fn heal(&mut self, core: &mut Core, program: &mut Program) {
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
