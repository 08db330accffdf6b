//! A session's events, by a poll that is held until there are any.

use super::{ServerBackend, answer, received};
use crate::engine::machine::{Ask, Outcome, Topic};
use crate::engine::sessions::{self, KeepAlive, Submit};
use crate::server::polls::Ticket;
use crate::server::requests::{Refusal, Reply, Request};
use crate::server::waiters::Waiter;
use crate::server::{clock, convert};
use async_channel::{Receiver, RecvError};
use async_std::future;
use copycat_http::{Answer, Consistency, EventPage, Failure, Poll, Read};
use futures_lite::future::or;
use std::time::Duration;

/// Most bytes of events in one answer (one batch, however large, is always given).
const BYTES: u32 = 1024 * 1024;

/// What a held poll waits for.
enum Woken {
    Changed(u64),
    Announced(Result<Result<Reply, Refusal>, RecvError>),
    Over,
}

impl ServerBackend {
    /// The log is told of the poll on arrival: a sign of life, what it acknowledges, and that it supersedes others.
    fn announce(
        &self,
        poll: &Poll,
        new: bool,
        timeout: Duration,
    ) -> Result<Option<Receiver<Result<Reply, Refusal>>>, Failure> {
        let event_index = poll.acknowledge.unwrap_or(0);
        if !new && !poll.keep_alive && event_index == 0 {
            return Ok(None);
        }
        let (session, alive, server) = (poll.session, poll.keep_alive, self.id);
        let item = KeepAlive { session, sequence: 0, event_index, alive, server, poll: new };
        self.hand_in(Request::Submit(Submit::KeepAlive(item)), timeout).map(Some)
    }

    pub(super) async fn poll(&self, poll: Poll, timeout: Duration) -> Result<Answer<EventPage>, Failure> {
        let session = poll.session;
        let ticket = self.polls.begin(session, poll.stream).ok_or(Failure::Superseded)?;
        let topic = Topic::Session(session);
        if ticket.new {
            self.waiters.wake(std::slice::from_ref(&topic), 0);
        }
        let waiter = self.waiters.register(topic).ok_or(Failure::Overloaded)?;
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
        announced: &mut Option<Receiver<Result<Reply, Refusal>>>,
        timeout: Duration,
    ) -> Result<Answer<EventPage>, Failure> {
        // A server that has applied less than a session's id, or than what its client has seen, knows nothing to say.
        let mut floor = poll.session.max(poll.after.unwrap_or(0));
        let begun = clock::monotonic();
        let mut wait = poll.wait;
        loop {
            let look = async { Looked::Page(self.page(poll, floor, timeout).await) };
            let told = async { Looked::Announced(hear(announced.as_ref()).await) };
            let (reply, page) = match or(look, told).await {
                Looked::Announced(heard) => {
                    *announced = None;
                    if let Some(entry) = verdict(heard)? {
                        ticket.announced(entry);
                    }
                    continue;
                }
                Looked::Page(Ok(found)) => found,
                Looked::Page(Err(failure)) => return Err(failure),
            };
            if ticket.is_superseded(page.poll) {
                return Err(Failure::Superseded);
            }
            if poll.stream.is_none() {
                wait = poll.wait.min(Duration::from_millis(page.timeout_ms / 2));
            }
            let left = (begun + wait).saturating_sub(clock::monotonic());
            if !page.batches.is_empty() || left.is_zero() {
                return Ok(answer(&reply, page_of(page, wait)?));
            }
            let changed = async { Woken::Changed(waiter.woken().await) };
            let told = async { Woken::Announced(hear(announced.as_ref()).await) };
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

    async fn page(&self, poll: &Poll, floor: u64, timeout: Duration) -> Result<(Reply, sessions::EventPage), Failure> {
        let ask = Ask::Events { session: poll.session, after: poll.after, bytes: BYTES };
        let read = Read { consistency: Consistency::Sequential, index: floor, timeout };
        let mut reply = self.find(ask, read).await?;
        match std::mem::replace(&mut reply.output, Outcome::Closed) {
            Outcome::Events(page) => Ok((reply, page)),
            _ => Err(Failure::Internal),
        }
    }
}

enum Looked {
    Page(Result<(Reply, sessions::EventPage), Failure>),
    Announced(Result<Result<Reply, Refusal>, RecvError>),
}

/// What became of the announcement; never, if there is none.
async fn hear(announced: Option<&Receiver<Result<Reply, Refusal>>>) -> Result<Result<Reply, Refusal>, RecvError> {
    match announced {
        Some(receiver) => receiver.recv().await,
        None => std::future::pending().await,
    }
}

/// The entry of an announcement. That there is no such session is final; that no leader took it is not: the poll goes on,
/// and what is here already is told.
fn verdict(heard: Result<Result<Reply, Refusal>, RecvError>) -> Result<Option<u64>, Failure> {
    match received(heard) {
        Ok(reply) => Ok(Some(reply.index)),
        Err(failure @ (Failure::SessionNotFound | Failure::SessionExpired(_))) => Err(failure),
        Err(_) => Ok(None),
    }
}

fn page_of(page: sessions::EventPage, wait: Duration) -> Result<EventPage, Failure> {
    let batches = page.batches.into_iter().map(convert::batch).collect::<Option<_>>().ok_or(Failure::Internal)?;
    Ok(EventPage { batches, event_index: page.event_index, wait })
}
