//! The events that a session's state machine publishes, as the program hears them.

use super::shared::{Ear, Notice, Shared};
use super::{Client, Lost, State};
use crate::engine::machine::{Codec, StateMachine};
use crate::engine::sessions::Batch;
use crate::engine::{Index, SessionId};
use async_std::task::{self, JoinHandle};
use std::collections::VecDeque;
use std::marker::PhantomData;

/// An event of the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event<E> {
    /// The index of the entry that published it.
    pub index: Index,
    /// What the state machine published.
    pub event: E,
}

/// What happened since the last look.
#[derive(Debug)]
pub(super) enum Heard<E> {
    Event(Event<E>),
    /// The session is lost, and what it watched and held.
    Lost(SessionId, Lost),
    Open(SessionId),
}

/// The events of a client's sessions, in order, each once. Those of one index come after the answer of the command at that
/// index.
///
/// An event is acknowledged to the cluster when it is taken from here: what is not taken is kept there, and a session that
/// leaves too many is ended. When a session is lost, what it was not told of is lost with it: watch
/// [`Client::states`] and look at what matters anew.
#[derive(Debug)]
pub struct Events<M: StateMachine> {
    ear: Ear,
    /// What is left of the last batch.
    batch: VecDeque<Event<M::Event>>,
    /// All through this index was handed out, except what is left.
    through: Index,
    machine: PhantomData<fn() -> M>,
}

impl<M: StateMachine> Events<M> {
    pub(super) fn new(shared: &Shared) -> Self {
        Self { ear: shared.listen(), batch: VecDeque::new(), through: 0, machine: PhantomData }
    }

    /// The next event. `None`: the client is closed, or this listener left 65,536 batches untaken.
    pub async fn next(&mut self) -> Option<Event<M::Event>> {
        loop {
            if let Heard::Event(event) = self.hear().await? {
                return Some(event);
            }
        }
    }

    pub(super) async fn hear(&mut self) -> Option<Heard<M::Event>> {
        loop {
            if let Some(event) = self.batch.pop_front() {
                if self.batch.is_empty() {
                    self.ear.taken(self.through);
                }
                return Some(Heard::Event(event));
            }
            match self.ear.notices.recv().await.ok()? {
                Notice::Events(batch) => self.take(&batch),
                Notice::Lost(session, how) => return Some(Heard::Lost(session, how)),
                Notice::Open(session) => return Some(Heard::Open(session)),
            }
        }
    }

    fn take(&mut self, batch: &Batch) {
        let index = batch.index;
        self.through = index;
        for bytes in &batch.events {
            match M::Codec::decode(bytes) {
                Some(event) => self.batch.push_back(Event { index, event }),
                None => tracing::warn!("an event at {index} is none of this client's state machine"),
            }
        }
        if self.batch.is_empty() {
            self.ear.taken(index);
        }
    }
}

/// A callback that is called, until this is dropped.
#[derive(Debug)]
#[must_use = "the callback is called until this is dropped"]
pub struct Subscription(Option<JoinHandle<()>>);

impl Subscription {
    /// The callback is called until the client is closed.
    pub fn detach(mut self) {
        self.0 = None;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(running) = self.0.take() {
            task::spawn(running.cancel());
        }
    }
}

impl<M: StateMachine> Client<M> {
    /// The events from now on. Several may listen; what all have taken is acknowledged.
    #[must_use]
    pub fn events(&self) -> Events<M> {
        Events::new(&self.inner.shared)
    }

    /// Calls this for each event from now on, in order. It runs on a task of its own, on a thread of the async-std runtime: to block there blocks
    /// others. What it may do is spawn a task that uses the client.
    pub fn on_event(&self, mut callback: impl FnMut(Event<M::Event>) + Send + 'static) -> Subscription
    where
        M::Event: Send,
    {
        let mut events = self.events();
        Subscription(Some(task::spawn(async move {
            while let Some(event) = events.next().await {
                callback(event);
            }
        })))
    }

    /// The state now, and each state that it turns to. The channel is closed when the client is, and when 1,024 changes are
    /// left unread.
    #[must_use]
    pub fn states(&self) -> (State, async_channel::Receiver<State>) {
        self.inner.shared.states()
    }

    /// Calls this with each state that the client turns to from now on, as [`on_event`](Self::on_event) does.
    pub fn on_state_change(&self, mut callback: impl FnMut(State) + Send + 'static) -> Subscription {
        let (_, states) = self.states();
        Subscription(Some(task::spawn(async move {
            while let Ok(state) = states.recv().await {
                callback(state);
            }
        })))
    }
}
