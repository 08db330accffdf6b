//! The client without sockets, threads and clocks: its session, the numbers of its commands, what is sent again, and the
//! order in which answers and events reach the program.
//!
//! # Invariants
//! - A command gets its number when it is first sent, and keeps it: it is sent again under that number until it is
//!   answered or the session is lost. Only then, and only if it was never sent, may it move to another session.
//! - A number is used for another command only if it is certain that nobody holds, or has logged, the first one.
//! - A query is sent when all commands before it are answered, with the highest index that was heard of.
//! - At most [`WINDOW`] numbers are not acknowledged.

mod order;
mod send;
mod session;
#[cfg(test)]
mod tests;

use super::{Error, Lost, State};
use crate::engine::sessions::Batch;
use crate::engine::{Consistency, Index, SessionId};
use crate::wire::{Request, ToClient, ToServer};
pub(crate) use order::Place;
use order::{Next, Order};
use session::Phase;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Numbers that may be unacknowledged: half of what a session may leave so by default.
const WINDOW: u64 = 512;
/// So many answers, or batches of events, are acknowledged at once;
const ACKNOWLEDGE: u64 = 128;
/// fewer wait for this long.
const ACKNOWLEDGE_AFTER: Duration = Duration::from_secs(1);
/// How long the events that an answer says there are may take to come, before another server is tried.
const EVENTS_PATIENCE: Duration = Duration::from_secs(2);
/// What was refused is asked again after this long, then after twice as long, and so on,
const RETRY_FIRST: Duration = Duration::from_millis(20);
/// but at most this long.
const RETRY_LAST: Duration = Duration::from_secs(1);

/// The share of a timeout by which the cluster's clock may be ahead of this one.
const DRIFT: u32 = 10;

/// How a client behaves.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The session's timeout.
    pub(crate) timeout: Duration,
    pub(crate) name: String,
    /// A lost session is followed by a new one.
    pub(crate) recover: bool,
    /// Unique for this client: what it registers is known by it.
    pub(crate) nonce: u128,
}

/// What the program wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Command { mode: u8, bytes: Vec<u8> },
    Query { consistency: Consistency, bytes: Vec<u8> },
}

/// The answer to an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answered {
    /// The session in which it was asked.
    pub(crate) session: SessionId,
    pub(crate) index: Index,
    /// The index of the session's last event before it (of a query: that its state has).
    pub(crate) event_index: Option<Index>,
    pub(crate) output: Vec<u8>,
    /// How a query was really served.
    pub(crate) consistency: Option<Consistency>,
}

/// What is to be done for the client.
#[derive(Debug, PartialEq)]
pub(crate) enum Effect {
    /// Send this on the connection.
    Send(ToServer),
    /// Tell the program.
    Complete(Place, Result<Answered, Error>),
    /// These events are for the program.
    Deliver(Batch),
    /// The state has changed.
    State(State),
    /// This session is lost.
    Lost(SessionId, Lost),
    /// The connection is of no use: give it up, and find another server. Nothing more is heard from it.
    Reconnect,
}

#[derive(Debug)]
struct Payload {
    operation: Operation,
    /// 0: it has none.
    sequence: u64,
    /// Somebody may have it, and nobody says what became of it.
    uncertain: bool,
    in_flight: bool,
}

/// What a request was about.
#[derive(Clone, Copy, Debug)]
enum About {
    Register { at: Duration },
    KeepAlive { at: Duration, sequence: u64, events: Index },
    Unregister,
    Operation(Place),
}

/// When what was refused may be asked again.
#[derive(Debug)]
struct Backoff {
    until: Duration,
    next: Duration,
}

impl Backoff {
    fn reset(&mut self) {
        self.next = RETRY_FIRST;
    }

    /// What is refused at once counts once.
    fn fail(&mut self, now: Duration) {
        if now >= self.until {
            self.until = now + self.next;
            self.next = (self.next * 2).min(RETRY_LAST);
        }
    }
}

/// The numbers of the session's commands.
#[derive(Debug, Default)]
struct Numbers {
    /// The last one given.
    last: u64,
    /// All through this one are answered,
    answered: u64,
    /// and these above it.
    above: BTreeSet<u64>,
    /// The servers know that all through this one are.
    acknowledged: u64,
}

impl Numbers {
    fn answer(&mut self, sequence: u64) {
        self.above.insert(sequence);
        while self.above.remove(&(self.answered + 1)) {
            self.answered += 1;
        }
    }
}

#[derive(Debug)]
pub(crate) struct Core {
    settings: Settings,
    order: Order<Payload>,
    phase: Phase,
    state: State,
    /// Since when there is a connection.
    connected: Option<Duration>,
    requests: BTreeMap<u64, About>,
    next_request: u64,
    /// Commands without an answer; those that are to be sent; and those that are refused for good, once it is certain that
    /// their numbers are free.
    unanswered: BTreeSet<Place>,
    commands: BTreeSet<Place>,
    failing: BTreeMap<Place, Error>,
    /// Queries that are to be sent.
    queries: BTreeSet<Place>,
    numbers: Numbers,
    /// The program has all events through this index;
    taken: Index,
    /// so many batches of them are not acknowledged.
    taken_batches: u64,
    backoff: Backoff,
    /// Sessions asked for.
    registrations: u64,
    closing: bool,
    /// Since when events are missing that an answer told of.
    lacking: Option<Duration>,
    /// When [`turn`](Self::turn) was last called.
    turned: Duration,
    effects: Vec<Effect>,
}

impl Core {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            order: Order::default(),
            phase: Phase::Absent { asked: false },
            state: State::Suspended,
            connected: None,
            requests: BTreeMap::new(),
            next_request: 0,
            unanswered: BTreeSet::new(),
            commands: BTreeSet::new(),
            failing: BTreeMap::new(),
            queries: BTreeSet::new(),
            numbers: Numbers::default(),
            taken: 0,
            taken_batches: 0,
            backoff: Backoff { until: Duration::ZERO, next: RETRY_FIRST },
            registrations: 0,
            closing: false,
            lacking: None,
            turned: Duration::ZERO,
            effects: Vec::new(),
        }
    }

    /// Operations that are not done.
    pub(crate) fn outstanding(&self) -> usize {
        self.order.len()
    }

    #[cfg(test)]
    fn state(&self) -> State {
        self.state
    }

    /// The session, if one is open as far as is known.
    pub(crate) fn session(&self) -> Option<SessionId> {
        if let Phase::Open(open) = &self.phase { Some(open.id) } else { None }
    }

    /// Until when the session lives whatever happens elsewhere, if clocks drift no more than [`DRIFT`].
    pub(crate) fn valid_until(&self) -> Option<Duration> {
        if let Phase::Open(open) = &self.phase {
            Some(open.confirmed + open.timeout - open.timeout / DRIFT)
        } else {
            None
        }
    }

    /// The program wants something done.
    pub(crate) fn submit(&mut self, operation: Operation) -> Place {
        let command = matches!(operation, Operation::Command { .. });
        let place = self.order.push(command, Payload { operation, sequence: 0, uncertain: false, in_flight: false });
        if let Some(error) = self.phase.refusal().or_else(|| self.closing.then_some(Error::Closed)) {
            self.order.answer(place, Err(error));
        } else if command {
            self.unanswered.insert(place);
            self.commands.insert(place);
        } else {
            self.queries.insert(place);
        }
        place
    }

    /// The program has all events through this index.
    pub(crate) fn taken(&mut self, through: Index) {
        if through > self.taken {
            self.taken = through;
            self.taken_batches += 1;
        }
    }

    /// There is a connection.
    pub(crate) fn connect(&mut self, now: Duration) {
        self.connected = Some(now);
        self.lacking = None;
        self.backoff.until = now;
        self.follow();
    }

    /// There is none any more: what was sent on it may be lost.
    pub(crate) fn disconnect(&mut self) {
        self.connected = None;
        if let Phase::Absent { asked } = &mut self.phase {
            *asked = false;
        }
        if let Phase::Open(open) = &mut self.phase {
            open.alive_at = None;
            open.closing = false;
            self.turn_to(State::Suspended);
        }
        self.forget_requests();
    }

    /// Whatever is under way is to be asked again.
    fn forget_requests(&mut self) {
        for (_, about) in std::mem::take(&mut self.requests) {
            let About::Operation(place) = about else { continue };
            let Some(payload) = self.order.get_mut(place) else { continue };
            payload.in_flight = false;
            if let Operation::Command { .. } = payload.operation {
                payload.uncertain = true;
                self.commands.insert(place);
            } else {
                self.order.unsent(place);
                self.queries.insert(place);
            }
        }
    }

    /// The connection is of no use.
    fn reconnect(&mut self) {
        if self.connected.is_some() {
            self.disconnect();
            self.effects.push(Effect::Reconnect);
        }
    }

    fn turn_to(&mut self, state: State) {
        if self.state != state {
            self.state = state;
            self.effects.push(Effect::State(state));
        }
    }

    fn request(&mut self, about: About, request: Request) {
        self.next_request += 1;
        let id = self.next_request;
        self.requests.insert(id, about);
        self.effects.push(Effect::Send(ToServer::Request { id, request }));
    }

    /// A server says something.
    pub(crate) fn told(&mut self, now: Duration, told: ToClient) {
        match told {
            ToClient::Reply { id, result } => match self.requests.remove(&id) {
                Some(About::Operation(place)) => self.replied(now, place, result),
                Some(about) => self.session_replied(now, about, result),
                None => {}
            },
            ToClient::Events { session, batches } => {
                if self.session() == Some(session) && self.order.events(batches).is_err() {
                    self.reconnect();
                }
            }
            ToClient::Ended { session, error } => {
                if self.session() == Some(session) {
                    self.lose(error.into());
                }
            }
            ToClient::Cluster(_) | ToClient::Pong => {}
        }
    }

    /// Does what is to be done at this time, and after whatever has happened.
    pub(crate) fn turn(&mut self, now: Duration) -> Vec<Effect> {
        self.settle_failing(now);
        self.turned = now;
        while let Some(next) = self.order.next() {
            match next {
                Next::Complete(place, result) => self.effects.push(Effect::Complete(place, result)),
                Next::Deliver(batch) => self.effects.push(Effect::Deliver(batch)),
                Next::Again(place) => {
                    self.queries.insert(place);
                }
            }
        }
        self.keep_session(now);
        self.send(now);
        std::mem::take(&mut self.effects)
    }
}
