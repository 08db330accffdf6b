//! A session's events, by a poll that is held until there are any.

use super::polls::Ticket;
use super::{Answered, Port, Read};
use crate::engine::machine::{Ask, Outcome, StateMachine, Topic};
use crate::engine::sessions::{EventPage, KeepAlive, SessionError, Submit};
use crate::engine::{Consistency, Index, SessionId};
use crate::server::clock;
use crate::server::requests::{Refusal, Reply, Request};
use crate::server::waiters::Waiter;
use async_channel::{Receiver, RecvError};
use async_std::future;
use futures_lite::future::or;
use std::time::Duration;

/// Most bytes of events in one answer (one batch, however large, is always given).
const BYTES: u32 = 1024 * 1024;

/// Asks for a session's events.
#[derive(Clone, Debug)]
pub(crate) struct Poll {
    /// Whose.
    pub(crate) session: SessionId,
    /// Acknowledges all through this index; 0: nothing.
    pub(crate) acknowledge: Index,
    /// Asks for what follows this index; `None`: the acknowledged one.
    pub(crate) after: Option<Index>,
    /// How long to be held until there is one; cut to half the session's timeout unless it is a stream.
    pub(crate) wait: Duration,
    /// Whether it keeps the session alive, on arrival.
    pub(crate) keep_alive: bool,
    /// The number of the stream, the same in all its steps, which do not supersede each other; `None`: a poll of its own.
    pub(crate) stream: Option<u64>,
}

/// A session's events, and where they come from.
#[derive(Debug)]
pub(crate) struct Polled {
    /// Its output is of no use.
    pub(crate) reply: Reply,
    pub(crate) page: EventPage,
    /// How long it was really held at most.
    pub(crate) wait: Duration,
}

type Announcement = Receiver<Answered>;
type Heard = Result<Answered, RecvError>;

/// What a held poll waits for.
enum Woken {
    Changed(u64),
    Announced(Heard),
    Over,
}

enum Looked {
    Page(Result<(Reply, EventPage), Refusal>),
    Announced(Heard),
}

impl<M: StateMachine> Port<M> {
    /// The log is told of the poll on arrival: a sign of life, what it acknowledges, and that it supersedes others.
    fn announce(&self, poll: &Poll, new: bool, timeout: Duration) -> Result<Option<Announcement>, Refusal> {
        if !new && !poll.keep_alive && poll.acknowledge == 0 {
            return Ok(None);
        }
        let Poll { session, acknowledge: event_index, keep_alive: alive, .. } = *poll;
        let item = KeepAlive { session, sequence: 0, event_index, alive, server: self.id, poll: new };
        self.hand_in(Request::Submit(Submit::KeepAlive(item)), timeout).map(Some)
    }

    /// A session's events, as soon as there are any. `timeout` is for each step.
    ///
    /// # Errors
    /// [`Refusal::Superseded`] as soon as a newer poll of the session has taken over, here or at another server.
    pub(crate) async fn poll(&self, poll: Poll, timeout: Duration) -> Result<Polled, Refusal> {
        let session = poll.session;
        let ticket = self.polls.begin(session, poll.stream).ok_or(Refusal::Superseded)?;
        let topic = Topic::Session(session);
        if ticket.new {
            self.waiters.wake(std::slice::from_ref(&topic), 0);
        }
        let waiter = self.wait(topic)?;
        let mut announced = self.announce(&poll, ticket.new, timeout)?;
        let answer = self.hold(&poll, &ticket, &waiter, &mut announced, timeout).await;
        // If the log heard of it after it is answered, it would supersede the poll that comes next, at another server.
        // Where no leader takes it, the log will not hear of it, and what is here is told.
        if let Some(announced) = announced {
            let _ = announced.recv().await;
        }
        answer
    }

    /// Holds a poll until there is something to tell. What became of its announcement is taken, if it is heard of before.
    async fn hold(
        &self,
        poll: &Poll,
        ticket: &Ticket,
        waiter: &Waiter,
        announced: &mut Option<Announcement>,
        timeout: Duration,
    ) -> Result<Polled, Refusal> {
        // A server that has applied less than a session's id, or than what its client has seen, knows nothing to say.
        let mut floor = poll.session.max(poll.after.unwrap_or(0));
        let begun = clock::monotonic();
        let mut wait = poll.wait;
        loop {
            let look = async { Looked::Page(self.page(poll, floor, timeout).await) };
            let told = async { Looked::Announced(heard(announced.as_ref()).await) };
            let (reply, page) = match or(look, told).await {
                Looked::Announced(heard) => {
                    *announced = None;
                    if let Some(entry) = verdict(heard)? {
                        ticket.announced(entry);
                    }
                    continue;
                }
                Looked::Page(found) => found?,
            };
            if ticket.is_superseded(page.poll) {
                return Err(Refusal::Superseded);
            }
            if poll.stream.is_none() {
                wait = poll.wait.min(Duration::from_millis(page.timeout_ms / 2));
            }
            let left = (begun + wait).saturating_sub(clock::monotonic());
            if !page.batches.is_empty() || left.is_zero() {
                return Ok(Polled { reply, page, wait });
            }
            let changed = async { Woken::Changed(waiter.woken().await) };
            let told = async { Woken::Announced(heard(announced.as_ref()).await) };
            match future::timeout(left, or(changed, told)).await.unwrap_or(Woken::Over) {
                Woken::Changed(index) => floor = floor.max(index),
                Woken::Announced(heard) => {
                    *announced = None;
                    if let Some(entry) = verdict(heard)? {
                        ticket.announced(entry);
                    }
                }
                Woken::Over => {}
            }
        }
    }

    async fn page(&self, poll: &Poll, floor: Index, timeout: Duration) -> Result<(Reply, EventPage), Refusal> {
        let ask = Ask::Events { session: poll.session, after: poll.after, bytes: BYTES };
        let read = Read { consistency: Consistency::Sequential, index: floor, timeout };
        let mut reply = self.query(ask, read).await?;
        match std::mem::replace(&mut reply.output, Outcome::Closed) {
            Outcome::Events(page) => Ok((reply, page)),
            _ => Err(Refusal::Internal),
        }
    }
}

/// What became of the announcement; never, if there is none.
async fn heard(announced: Option<&Announcement>) -> Heard {
    match announced {
        Some(receiver) => receiver.recv().await,
        None => std::future::pending().await,
    }
}

/// The entry of an announcement. That there is no such session is final; that no leader took it is not: the poll goes on,
/// and what is here already is told.
fn verdict(heard: Heard) -> Result<Option<Index>, Refusal> {
    match heard.unwrap_or(Err(Refusal::LeaderLost)) {
        Ok(reply) => Ok(Some(reply.index)),
        Err(refusal @ Refusal::Session(SessionError::NotFound | SessionError::Ended(_))) => Err(refusal),
        Err(_) => Ok(None),
    }
}
