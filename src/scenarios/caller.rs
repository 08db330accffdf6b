//! A client of a stage, and what its program was told.

use super::stage::Stage;
use crate::client::core::{Answered, Core, Effect, Operation, Place, Settings};
use crate::client::{Error, State};
use crate::engine::machine::{Codec, StateMachine, decode_output, decode_query_output};
use crate::engine::{Consistency, Index, ServerId, SessionId};
use crate::wire::ToServer;
use std::fmt::Debug;
use std::time::Duration;

/// Which servers a client likes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pick {
    Any,
    Leader,
    Followers,
    This(ServerId),
}

/// What a program was told, in order.
pub(super) enum Told<M: StateMachine> {
    Output { place: Place, index: Index, output: M::Output },
    Answer { place: Place, index: Index, answer: M::Answer },
    Failed { place: Place, error: Error },
    Event { index: Index, event: M::Event },
    State(State),
    Lost(SessionId),
}

pub(super) struct Caller<M: StateMachine> {
    pub(super) core: Core,
    pub(super) pick: Pick,
    /// Its connection's number, and the server at its other end.
    pub(super) link: u64,
    pub(super) connection: Option<ServerId>,
    /// The session whose events it is sent, and the index through which it was.
    pub(super) following: Option<(SessionId, Index)>,
    pub(super) told: Vec<Told<M>>,
    /// Whether each place is a query's.
    queries: Vec<bool>,
}

impl<M: StateMachine> Caller<M> {
    pub(super) fn disconnect(&mut self) {
        self.core.disconnect();
        (self.connection, self.following) = (None, None);
    }

    /// What it sends now, and whether it wants another server.
    pub(super) fn turn(&mut self, now: Duration) -> (Vec<ToServer>, bool) {
        let (mut frames, mut lost) = (Vec::new(), false);
        for effect in self.core.turn(now) {
            match effect {
                Effect::Send(frame) => frames.push(frame),
                Effect::Complete(place, Ok(answered)) => self.complete(place, answered),
                Effect::Complete(place, Err(error)) => self.told.push(Told::Failed { place, error }),
                Effect::Deliver(batch) => {
                    for event in &batch.events {
                        let event = M::Codec::decode(event).expect("an event");
                        self.told.push(Told::Event { index: batch.index, event });
                    }
                    // The program has taken them.
                    self.core.taken(batch.index);
                }
                Effect::State(state) => self.told.push(Told::State(state)),
                Effect::Lost(session, _) => self.told.push(Told::Lost(session)),
                Effect::Reconnect => {
                    frames.clear();
                    (self.connection, self.following, lost) = (None, None, true);
                }
            }
        }
        (frames, lost)
    }

    fn complete(&mut self, place: Place, answered: Answered) {
        let Answered { index, output, .. } = answered;
        let query = self.queries[usize::try_from(place).expect("few")];
        self.told.push(if query {
            Told::Answer { place, index, answer: decode_query_output::<M>(&output).expect("an answer") }
        } else {
            Told::Output { place, index, output: decode_output::<M>(&output).expect("an output") }
        });
    }

    /// What was told of this place.
    fn of(&self, wanted: Place) -> Option<&Told<M>> {
        self.told.iter().find(|told| match told {
            Told::Output { place, .. } | Told::Answer { place, .. } | Told::Failed { place, .. } => *place == wanted,
            _ => false,
        })
    }

    /// Events, with their indexes.
    pub(super) fn events(&self) -> Vec<(Index, M::Event)>
    where
        M::Event: Clone,
    {
        let event = |told: &Told<M>| match told {
            Told::Event { index, event } => Some((*index, event.clone())),
            _ => None,
        };
        self.told.iter().filter_map(event).collect()
    }

    /// Indexes never go back, and an answer comes before the events at its index.
    pub(super) fn check_order(&self) {
        let mut last = (0, false);
        for told in &self.told {
            let next = match told {
                Told::Output { index, .. } | Told::Answer { index, .. } => (*index, false),
                Told::Event { index, .. } => (*index, true),
                _ => continue,
            };
            // A query may be answered from the state that an event is of.
            let query = matches!(told, Told::Answer { .. });
            assert!(next >= last || query && next.0 == last.0, "{next:?} after {last:?}");
            last = (next.0, next.1 || last == (next.0, true));
        }
    }
}

impl<M: StateMachine<Output: Debug + Clone, Answer: Debug + Clone> + Default> Stage<M> {
    /// A client with a session of so many milliseconds.
    pub(super) fn client(&mut self, pick: Pick, timeout_ms: u64) -> usize {
        let client = self.clients.len();
        let settings = Settings {
            timeout: Duration::from_millis(timeout_ms),
            name: format!("client {client}"),
            recover: true,
            nonce: client as u128 + 1,
        };
        let (core, told, queries) = (Core::new(settings), Vec::new(), Vec::new());
        self.clients.push(Caller { core, pick, link: 0, connection: None, following: None, told, queries });
        if pick != Pick::Any {
            self.leader();
        }
        self.dial(client, 0);
        self.until("it has a session", |s| s.clients[client].core.session().is_some());
        client
    }

    pub(super) fn session(&self, client: usize) -> SessionId {
        self.clients[client].core.session().expect("a session")
    }

    /// It is sent by [`settle`](Self::settle) or [`turn`](Self::turn): many may be submitted before.
    pub(super) fn submit(&mut self, client: usize, command: &M::Command) -> Place {
        self.clients[client].queries.push(false);
        let operation = Operation::Command { mode: M::mode(command) as u8, bytes: M::Codec::encode(command) };
        self.clients[client].core.submit(operation)
    }

    pub(super) fn query(&mut self, client: usize, query: &M::Query, consistency: Consistency) -> Place {
        self.ask(client, M::Codec::encode(query), consistency)
    }

    pub(super) fn ask(&mut self, client: usize, bytes: Vec<u8>, consistency: Consistency) -> Place {
        self.clients[client].queries.push(true);
        self.clients[client].core.submit(Operation::Query { consistency, bytes })
    }

    /// Sends what was submitted, and waits until all of it is done.
    pub(super) fn settle(&mut self, client: usize) {
        self.turn(client);
        self.until("all is answered", |s| s.clients[client].core.outstanding() == 0);
    }

    /// What a command answered; its index.
    pub(super) fn output(&self, client: usize, place: Place) -> (Index, M::Output) {
        match self.clients[client].of(place) {
            Some(Told::Output { index, output, .. }) => (*index, output.clone()),
            Some(Told::Failed { error, .. }) => panic!("{error}"),
            _ => panic!("{place} is no command that is done"),
        }
    }

    /// What a query answered; its index.
    pub(super) fn answer(&self, client: usize, place: Place) -> Result<(Index, M::Answer), Error> {
        match self.clients[client].of(place) {
            Some(Told::Answer { index, answer, .. }) => Ok((*index, answer.clone())),
            Some(Told::Failed { error, .. }) => Err(error.clone()),
            _ => panic!("{place} is no query that is done"),
        }
    }

    /// Submits a command, and waits for it.
    pub(super) fn do_one(&mut self, client: usize, command: &M::Command) -> (Index, M::Output) {
        let place = self.submit(client, command);
        self.settle(client);
        self.output(client, place)
    }

    /// Asks a query, and waits for its answer.
    pub(super) fn ask_one(&mut self, client: usize, query: &M::Query, consistency: Consistency) -> (Index, M::Answer) {
        let place = self.query(client, query, consistency);
        self.settle(client);
        self.answer(client, place).expect("an answer")
    }
}
