//! The native clients' port: many requests under way on one connection, answered in any order, and events as they are
//! published.
//!
//! A connection costs bounded memory whatever its client does: when it has [`OUTSTANDING`] requests under way, or
//! [`OUTSTANDING_BYTES`] of them, nothing more is read from it; when its answers are not taken, it is closed.

mod gauge;
mod push;

use super::descriptors::Descriptors;
use super::port::Port;
use super::requests::{Refusal, Reply, ReplyTo, Request};
use crate::budget::{Budget, Share};
use crate::engine::machine::{Ask, StateMachine, is_command, is_query};
use crate::engine::sessions::{KeepAlive, SessionError, Submit};
use crate::engine::{ServerId, SessionId};
use crate::wire::{self, Cluster, ToClient, ToServer, Welcome};
use async_channel::{Receiver, Sender};
use async_std::io::{self, Read, Write, WriteExt, timeout};
use futures_lite::future::or;
use gauge::Gauge;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Clients at once, if there are descriptors for them; further ones are told so.
const CLIENTS: usize = 4096;
/// Requests of one client that are under way,
const OUTSTANDING: usize = 1024;
/// and their bytes, give or take one request.
const OUTSTANDING_BYTES: usize = 16 * 1024 * 1024;
/// Frames that nobody asked for (events, the cluster) that wait to be written; then whoever has more waits.
const PUSHED: usize = 2;
/// A client that is silent for so long has gone: it pings far more often.
const SILENCE: Duration = Duration::from_secs(30);
/// How long a client may leave unread what is written.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a request may take; a client asks again.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// What is put into one write at most, give or take a frame.
const WRITE_BYTES: usize = 256 * 1024;
/// The session timeouts that a client may choose; others are brought within.
const TIMEOUTS_MS: std::ops::RangeInclusive<u64> = 1000..=24 * 3600 * 1000;
/// The longest name of a session, and of a registration, in bytes.
const NAME: usize = 255;

type Answered = (u64, Result<Reply, Refusal>);

/// Serves native clients. A clone serves them together with the first.
pub(crate) struct Clients<M: StateMachine> {
    port: Arc<Port<M>>,
    /// How many clients there are.
    count: Arc<AtomicUsize>,
    descriptors: Descriptors,
    /// Where they are served instead, if not on this port.
    elsewhere: Option<Arc<str>>,
}

impl<M: StateMachine> Clone for Clients<M> {
    fn clone(&self) -> Self {
        let (port, count, elsewhere) = (self.port.clone(), self.count.clone(), self.elsewhere.clone());
        Self { port, count, descriptors: self.descriptors, elsewhere }
    }
}

/// What a server's configuration tells clients.
fn cluster<M: StateMachine>(port: &Port<M>) -> Cluster {
    let view = port.view();
    let members = view.configuration.members.iter().map(|(&id, member)| (id, member.peer.clone())).collect();
    Cluster { id: view.status.cluster, leader: view.status.leader, members }
}

impl<M: StateMachine> Clients<M> {
    pub(crate) fn new(port: Arc<Port<M>>, descriptors: Descriptors) -> Self {
        Self { port, count: Arc::default(), descriptors, elsewhere: None }
    }

    /// Sends clients to another address.
    pub(crate) fn send_to(&self, address: &str) -> Self {
        Self { elsewhere: Some(address.into()), ..self.clone() }
    }

    /// Serves one client, from its greeting to its end.
    pub(crate) async fn serve(
        &self,
        mut reader: impl Read + Unpin,
        mut writer: impl Write + Unpin,
        hello: &wire::Hello,
        budget: &Budget,
    ) -> io::Result<()> {
        let place = Place::take(&self.count).filter(|_| self.descriptors.has_room());
        let welcome = match &self.elsewhere {
            Some(address) => Welcome::Elsewhere(address.to_string()),
            _ if !hello.is_ours() => Welcome::Version(wire::VERSION),
            _ if place.is_none() => Welcome::Full,
            _ => Welcome::Accepted { server: self.port.id(), cluster: cluster(&self.port) },
        };
        let mut bytes = Vec::new();
        if !wire::put(&mut bytes, &welcome, wire::ANSWER_LIMIT) {
            return Err(wire::invalid("a welcome that is too long"));
        }
        timeout(WRITE_TIMEOUT, writer.write_all(&bytes)).await?;
        let Welcome::Accepted { cluster, .. } = welcome else { return Ok(()) };
        let (answers, answered) = async_channel::bounded(OUTSTANDING);
        let (pushes, pushed) = async_channel::bounded(PUSHED);
        let (follow, followed) = async_channel::bounded(PUSHED);
        let client = Client { port: &self.port, budget, gauge: Gauge::default(), answers, pushes, follow };
        let read = client.read(&mut reader);
        let write = client.write(&mut writer, answered, pushed);
        let news = push::news(&self.port, cluster, client.pushes.clone());
        let events = push::events(&self.port, followed, client.pushes.clone());
        let ended = or(or(read, write), or(news, events)).await;
        drop(place);
        ended
    }
}

/// One of the places for clients.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(count: &Arc<AtomicUsize>) -> Option<Self> {
        // Given back by dropping it, also if there was none left.
        let place = Self(count.clone());
        (count.fetch_add(1, Ordering::SeqCst) < CLIENTS).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What a client asks of this server.
///
/// # Errors
/// What is no request: why.
pub(crate) fn understood(server: ServerId, request: wire::Request) -> Result<Request, Refusal> {
    use wire::Request as R;
    let session = match &request {
        R::KeepAlive { session, .. } | R::Unregister { session } | R::Command { session, .. } => Some(*session),
        R::Register { .. } | R::Query { .. } => None,
    };
    // A query may be of no session.
    if session == Some(0) {
        return Err(Refusal::Malformed);
    }
    Ok(match request {
        R::Register { timeout_ms, name, key } => {
            if name.len() > NAME || key.is_empty() || key.len() > NAME {
                return Err(Refusal::Malformed);
            }
            let timeout_ms = timeout_ms.clamp(*TIMEOUTS_MS.start(), *TIMEOUTS_MS.end());
            Request::Submit(Submit::Register { timeout_ms, name, key: Some(key) })
        }
        R::KeepAlive { session, sequence, event_index } => {
            let item = KeepAlive { session, sequence, event_index, alive: true, server, poll: false };
            Request::Submit(Submit::KeepAlive(item))
        }
        R::Unregister { session } => Request::Submit(Submit::Unregister { session }),
        R::Command { session, sequence, mode, operation } => {
            if sequence == 0 {
                return Err(Refusal::Malformed);
            }
            if operation.len() > wire::OPERATION_LIMIT {
                return Err(Refusal::TooLarge);
            }
            Request::Submit(Submit::Command { operation, mode, session, sequence, key: None })
        }
        R::Query { session, consistency, index, operation } => {
            Request::Query { consistency, index, ask: Ask::OfSession { session, operation } }
        }
    })
}

/// Appends a frame to what is to be written.
///
/// # Errors
/// If it is too long, and no answer: the client would miss it.
fn put(buffer: &mut Vec<u8>, frame: ToClient) -> io::Result<()> {
    let put = match frame {
        ToClient::Reply { id, result } => {
            wire::put_answer(buffer, result, wire::ANSWER_LIMIT, |result| ToClient::Reply { id, result });
            true
        }
        frame => wire::put(buffer, &frame, wire::ANSWER_LIMIT),
    };
    if put { Ok(()) } else { Err(wire::invalid("a frame that is too long")) }
}

/// One connection.
struct Client<'a, M: StateMachine> {
    port: &'a Port<M>,
    /// Memory for its long requests, until they are answered.
    budget: &'a Budget,
    gauge: Gauge,
    answers: Sender<Answered>,
    pushes: Sender<ToClient>,
    follow: Sender<(SessionId, u64)>,
}

/// Where a request goes.
enum Way {
    /// To the driver.
    Driver(Request),
    /// Back: it is answered, or refused.
    Back(Result<Reply, Refusal>),
}

impl<M: StateMachine> Client<'_, M> {
    async fn read(&self, reader: &mut (impl Read + Unpin)) -> io::Result<()> {
        loop {
            self.gauge.room(OUTSTANDING, OUTSTANDING_BYTES).await;
            let mut share = self.budget.share();
            let bytes = timeout(SILENCE, wire::read_bytes(reader, wire::REQUEST_LIMIT, &mut share)).await?;
            let sent = || io::Error::from(io::ErrorKind::BrokenPipe);
            match wire::parse(&bytes)? {
                ToServer::Request { id, request } => self.request(id, request, (bytes.len(), share))?,
                ToServer::Follow { session: 0, .. } => {
                    let none = ToClient::Ended { session: 0, error: SessionError::NotFound };
                    self.pushes.send(none).await.map_err(|_| sent())?;
                }
                ToServer::Follow { session, after } => {
                    self.follow.send((session, after)).await.map_err(|_| sent())?;
                }
                ToServer::Ping => self.pushes.send(ToClient::Pong).await.map_err(|_| sent())?,
            }
        }
    }

    /// Requests are handed on in the order of their arrival.
    fn request(&self, id: u64, request: wire::Request, (bytes, share): (usize, Share)) -> io::Result<()> {
        let number = self.gauge.enter(id, bytes, share);
        let reply = ReplyTo::Numbered(number, self.answers.clone());
        match self.way(request) {
            Way::Back(result) => reply.answer(result),
            Way::Driver(request) => match self.port.hand_in_for(request, REQUEST_TIMEOUT, reply) {
                Ok(()) => {}
                // The client finds another server.
                Err(Refusal::ShuttingDown) => return Err(io::Error::other("the server has ended")),
                Err(refusal) => ReplyTo::Numbered(number, self.answers.clone()).answer(Err(refusal)),
            },
        }
        Ok(())
    }

    fn way(&self, request: wire::Request) -> Way {
        match understood(self.port.id(), request) {
            // Looked at before it costs anybody else anything; whoever logs or answers it looks again.
            Ok(Request::Submit(Submit::Command { operation, .. })) if !is_command::<M>(&operation) => {
                Way::Back(Err(Refusal::Malformed))
            }
            Ok(Request::Query { ask: Ask::OfSession { operation, .. }, .. }) if !is_query::<M>(&operation) => {
                Way::Back(Err(Refusal::Malformed))
            }
            Ok(Request::Query { consistency, index, ask }) => match self.port.query_at_once(consistency, index, &ask) {
                Some(reply) => Way::Back(Ok(reply)),
                None => Way::Driver(Request::Query { consistency, index, ask }),
            },
            Ok(request) => Way::Driver(request),
            Err(refusal) => Way::Back(Err(refusal)),
        }
    }

    async fn write(
        &self,
        writer: &mut (impl Write + Unpin),
        answered: Receiver<Answered>,
        pushed: Receiver<ToClient>,
    ) -> io::Result<()> {
        let mut buffer = Vec::with_capacity(WRITE_BYTES);
        loop {
            let answer = async { answered.recv().await.ok().map(|(number, result)| self.reply(number, result)) };
            let push = async { pushed.recv().await.ok() };
            // Both channels live as long as this connection.
            let Some(first) = or(answer, push).await else { return Ok(()) };
            put(&mut buffer, first)?;
            while buffer.len() < WRITE_BYTES {
                let next = match answered.try_recv() {
                    Ok((number, result)) => self.reply(number, result),
                    Err(_) => match pushed.try_recv() {
                        Ok(push) => push,
                        Err(_) => break,
                    },
                };
                put(&mut buffer, next)?;
            }
            timeout(WRITE_TIMEOUT, writer.write_all(&buffer)).await?;
            buffer.clear();
        }
    }

    fn reply(&self, number: u64, result: Result<Reply, Refusal>) -> ToClient {
        let id = self.gauge.leave(number);
        ToClient::Reply { id, result: result.map(Into::into).map_err(Into::into) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Consistency;

    #[test]
    fn a_request_of_session_0_is_refused_where_a_session_is_needed() {
        let operation = Vec::new();
        let requests = |session| {
            [
                wire::Request::KeepAlive { session, sequence: 0, event_index: 0 },
                wire::Request::Unregister { session },
                wire::Request::Command { session, sequence: 1, mode: 0, operation: operation.clone() },
            ]
        };
        for request in requests(0) {
            assert!(matches!(understood(1, request), Err(Refusal::Malformed)));
        }
        for request in requests(1) {
            assert!(understood(1, request).is_ok());
        }
        let consistency = Consistency::Linearizable;
        let query = wire::Request::Query { session: 0, consistency, index: 0, operation };
        assert!(understood(1, query).is_ok(), "a query may be of none");
    }
}
