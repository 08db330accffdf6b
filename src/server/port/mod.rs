//! Where a server's clients come in, whatever they speak: commands, queries, sessions, and waiting for what changes.
//!
//! It knows nothing of HTTP, nor of any one state machine. Every future ends by itself, its timeout being the driver's to
//! keep; it may be dropped before, which ends the waiting and never a command that was submitted.

mod poll;
mod polls;

pub(crate) use poll::{Poll, Polled};

use super::clock;
use super::driver::Shared;
use super::feed::Feeds;
use super::inbox::{Event, Inbox};
use super::requests::{Refusal, Reply, ReplyTo, Request};
use super::view::{View, Views};
use super::waiters::{Waiter, Waiters};
use crate::engine::machine::{Ask, Codec, Outcome, StateMachine, Topic, decode_output, decode_query_output};
use crate::engine::sessions::{EventPage, KeepAlive, SessionError, Submit};
use crate::engine::{Consistency, Index, ServerId, SessionId};
use async_channel::{Receiver, Sender};
use async_std::future;
use copycat_http::Feed;
use polls::Polls;
use std::sync::Arc;
use std::time::Duration;

/// Most bytes of events in one answer (one batch, however large, is always given).
const EVENT_BYTES: u32 = 1024 * 1024;

/// How to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Read {
    /// How fresh.
    pub(crate) consistency: Consistency,
    /// The lowest index to answer from.
    pub(crate) index: Index,
    /// How long to wait for the answer.
    pub(crate) timeout: Duration,
}

/// Whose command it is, and what makes a repeat of it known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The session; 0: none.
    pub(crate) session: SessionId,
    /// The command's number in its session, from 1; 0: none.
    pub(crate) sequence: u64,
    /// For commands without a number: by what the very same request is known.
    pub(crate) key: Option<String>,
}

/// What was answered, or why not.
type Answered = Result<Reply, Refusal>;

/// The way into one server.
pub(crate) struct Port<M: StateMachine> {
    id: ServerId,
    inbox: Inbox,
    driver: Arc<Shared<M>>,
    views: Views,
    waiters: Waiters,
    polls: Polls,
    feeds: Feeds,
}

impl<M: StateMachine> Port<M> {
    pub(crate) fn new(
        id: ServerId,
        inbox: Inbox,
        driver: Arc<Shared<M>>,
        views: Views,
        (waiters, feeds): (Waiters, Feeds),
    ) -> Self {
        Self { id, inbox, driver, views, waiters, polls: Polls::default(), feeds }
    }

    /// The server.
    pub(crate) fn id(&self) -> ServerId {
        self.id
    }

    /// The server and the cluster, as they were a moment ago.
    pub(crate) fn view(&self) -> View {
        self.views.get()
    }

    /// Log time as it must be now, in milliseconds since the Unix epoch.
    pub(crate) fn log_time(&self) -> u64 {
        let (last, at) = self.views.clock();
        let since = clock::monotonic().saturating_sub(at);
        last.saturating_add(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// Hands a request to the driver; its answer comes through the channel.
    ///
    /// # Errors
    /// If the driver is too busy, or has ended: then the request had no effect.
    pub(crate) fn hand_in(&self, request: Request, timeout: Duration) -> Result<Receiver<Answered>, Refusal> {
        let (reply, answer) = async_channel::bounded(1);
        self.hand_in_for(request, timeout, ReplyTo::One(reply))?;
        Ok(answer)
    }

    /// Hands a request to the driver, in the order of the calls; it is answered there.
    ///
    /// # Errors
    /// As of [`hand_in`](Self::hand_in).
    pub(crate) fn hand_in_for(&self, request: Request, timeout: Duration, reply: ReplyTo) -> Result<(), Refusal> {
        self.inbox.try_offer(Event::Request { request, timeout, reply })
    }

    /// The same, and waits for the answer.
    pub(crate) async fn ask(&self, request: Request, timeout: Duration) -> Answered {
        self.inbox.ask(request, timeout).await
    }

    /// Has this logged and applied.
    pub(crate) async fn submit(&self, submit: Submit, timeout: Duration) -> Answered {
        self.ask(Request::Submit(submit), timeout).await
    }

    /// Has this command, encoded, logged and applied.
    pub(crate) async fn command(&self, operation: Vec<u8>, mode: u8, caller: Caller, timeout: Duration) -> Answered {
        let Caller { session, sequence, key } = caller;
        self.submit(Submit::Command { operation, mode, session, sequence, key }, timeout).await
    }

    /// Has this command logged and applied, and reads its answer.
    pub(crate) async fn operate(
        &self,
        command: &M::Command,
        caller: Caller,
        timeout: Duration,
    ) -> Result<(Reply, M::Output), Refusal> {
        let reply = self.command(M::Codec::encode(command), M::mode(command) as u8, caller, timeout).await?;
        Self::output(reply)
    }

    /// Reads what a command answered.
    pub(crate) fn output(reply: Reply) -> Result<(Reply, M::Output), Refusal> {
        let bytes = match &reply.output {
            Outcome::Output(bytes) => bytes,
            // It was logged by a version that did not look.
            Outcome::Malformed => return Err(Refusal::Malformed),
            _ => return Err(Refusal::Internal),
        };
        let output = decode_output::<M>(bytes).ok_or(Refusal::Internal)?;
        Ok((reply, output))
    }

    /// Answers a question. Only whether what it asks for can be said is an error.
    pub(crate) async fn query(&self, ask: Ask, read: Read) -> Answered {
        let Read { consistency, index, timeout } = read;
        if let Some(reply) = self.query_at_once(consistency, index, &ask) {
            return Ok(reply);
        }
        self.ask(Request::Query { consistency, index, ask }, timeout).await
    }

    /// Answers a question that needs no waiting. Going through the driver's inbox and back costs more than all the rest of
    /// such a query.
    pub(crate) fn query_at_once(&self, consistency: Consistency, index: Index, ask: &Ask) -> Option<Reply> {
        if consistency != Consistency::Sequential {
            return None;
        }
        self.driver.try_lock().ok()?.as_ref()?.query_now(index, ask)
    }

    /// A session's events behind an index (`None`: behind the acknowledged one), from a state at or above `floor`.
    pub(crate) async fn events(
        &self,
        session: SessionId,
        after: Option<Index>,
        floor: Index,
        timeout: Duration,
    ) -> Result<(Reply, EventPage), Refusal> {
        let ask = Ask::Events { session, after, bytes: EVENT_BYTES };
        let read = Read { consistency: Consistency::Sequential, index: floor, timeout };
        let mut reply = self.query(ask, read).await?;
        match std::mem::replace(&mut reply.output, Outcome::Closed) {
            Outcome::Events(page) => Ok((reply, page)),
            _ => Err(Refusal::Internal),
        }
    }

    /// Answers a query of the machine, and reads its answer.
    pub(crate) async fn look(&self, query: &M::Query, read: Read) -> Result<(Reply, M::Answer), Refusal> {
        let reply = self.query(Ask::Machine(M::Codec::encode(query)), read).await?;
        Self::answer(reply)
    }

    /// Reads what a query answered.
    pub(crate) fn answer(reply: Reply) -> Result<(Reply, M::Answer), Refusal> {
        let Outcome::Output(bytes) = &reply.output else { return Err(Refusal::Internal) };
        let found = decode_query_output::<M>(bytes).ok_or(Refusal::Internal)?;
        Ok((reply, found))
    }

    /// Begins a session that ends when it was not kept alive for `session_timeout`: [`Outcome::Registered`].
    pub(crate) async fn register(
        &self,
        session_timeout: Duration,
        name: String,
        key: Option<String>,
        timeout: Duration,
    ) -> Answered {
        let timeout_ms = u64::try_from(session_timeout.as_millis()).unwrap_or(u64::MAX);
        self.submit(Submit::Register { timeout_ms, name, key }, timeout).await
    }

    /// Keeps a session alive, and acknowledges answers through a number and events through an index (0: none):
    /// [`Outcome::KeptAlive`].
    pub(crate) async fn keep_alive(
        &self,
        session: SessionId,
        sequence: u64,
        event_index: Index,
        timeout: Duration,
    ) -> Answered {
        let item = KeepAlive { session, sequence, event_index, alive: true, server: self.id, poll: false };
        self.submit(Submit::KeepAlive(item), timeout).await
    }

    /// Ends a session.
    pub(crate) async fn unregister(&self, session: SessionId, timeout: Duration) -> Answered {
        self.submit(Submit::Unregister { session }, timeout).await
    }

    /// One session: [`Outcome::Sessions`] with just that one.
    pub(crate) async fn session(&self, session: SessionId, read: Read) -> Answered {
        let found = self.query(Ask::Session(session), read).await;
        // One that has not applied so much cannot say that there is none.
        if read.consistency != Consistency::Linearizable && found == Err(Refusal::Session(SessionError::NotFound)) {
            let read = Read { consistency: Consistency::Linearizable, ..read };
            return self.query(Ask::Session(session), read).await;
        }
        found
    }

    /// Asks the driver itself, and waits for its answer.
    ///
    /// # Errors
    /// If it does not answer in time (what was asked for goes on), is too busy, or has ended.
    pub(crate) async fn hear<T>(
        &self,
        timeout: Duration,
        event: impl FnOnce(Sender<T>) -> Event,
    ) -> Result<T, Refusal> {
        let (reply, answer) = async_channel::bounded(1);
        self.inbox.try_offer(event(reply))?;
        let answer = future::timeout(timeout, answer.recv()).await;
        answer.map_err(|_| Refusal::Timeout { maybe_applied: true })?.map_err(|_| Refusal::ShuttingDown)
    }

    /// Begins to wait for a change. To be called before the first look, so that nothing falls between the two.
    ///
    /// # Errors
    /// If too many wait.
    pub(crate) fn wait(&self, topic: Topic) -> Result<Waiter, Refusal> {
        self.waiters.register(topic).ok_or(Refusal::Overloaded)
    }

    /// What this server saw happen after a number (`None`: all that it keeps), as soon as there is anything.
    ///
    /// # Errors
    /// If too many wait, or the server has ended.
    pub(crate) async fn feed(&self, after: Option<u64>, wait: Duration) -> Result<Feed, Refusal> {
        let waiter = self.feeds.wait().ok_or(Refusal::Overloaded)?;
        let found = self.feeds.behind(after);
        if !wait.is_zero()
            && matches!(&found, Feed::Events { events, .. } if events.is_empty())
            && future::timeout(wait, waiter.woken()).await.is_ok()
        {
            if self.has_ended() {
                return Err(Refusal::ShuttingDown);
            }
            return Ok(self.feeds.behind(after));
        }
        Ok(found)
    }

    /// Begins to wait until this server sees something happen to itself or to the cluster.
    ///
    /// # Errors
    /// If too many wait.
    pub(crate) fn wait_for_news(&self) -> Result<Waiter, Refusal> {
        self.feeds.wait().ok_or(Refusal::Overloaded)
    }

    /// Whether the server has ended, or is about to.
    pub(crate) fn has_ended(&self) -> bool {
        self.driver.try_lock().is_ok_and(|driver| driver.is_none())
    }
}
