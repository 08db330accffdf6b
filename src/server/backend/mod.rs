//! The backend of the HTTP API: requests become commands and queries of the store, views become JSON shapes.

mod events;
mod locks;
mod members;
mod snapshots;
mod views;

pub(super) use views::{status_name, type_name};

use super::clock;
use super::convert;
use super::driver::Shared;
use super::feed::Feeds;
use super::inbox::{Event, Inbox};
use super::polls::Polls;
use super::requests::{Refusal, Reply, Request};
use super::view::Views;
use super::waiters::Waiters;
use crate::engine::ServerId;
use crate::engine::machine::{Ask, Outcome, StateMachine, Topic, decode_output, decode_query_output, encode_operation};
use crate::engine::sessions::{EndReason, KeepAlive, SessionError, SessionInfo, Submit};
use crate::store::{self, Store};
use async_std::future;
use async_trait::async_trait;
use copycat_http::{
    Answer, Backend, Backup, Caller, Checks, ClusterView, Command, CommandOutput, Compaction, Consistency, Ended,
    EntryView, EventPage, Failure, Feed, KeptAlive, LockOutput, LockRequest, MemberChange, Poll, Query, QueryOutput,
    Read, Registered, SegmentView, ServerView, SessionPage, SessionView, SnapshotTaken, Watched,
};
use std::sync::Arc;
use std::time::Duration;

/// How many of its locks, and of its keys, the view of a session shows.
const SHOWN: u64 = 100;
/// For how long the driver may be too busy to show its log.
const LOOK: Duration = Duration::from_secs(10);

pub(super) struct ServerBackend {
    inbox: Inbox,
    driver: Arc<Shared<Store>>,
    views: Views,
    waiters: Waiters,
    polls: Polls,
    feeds: Feeds,
    id: ServerId,
    started: Duration,
}

impl ServerBackend {
    pub(super) fn new(
        inbox: Inbox,
        driver: Arc<Shared<Store>>,
        views: Views,
        (waiters, feeds): (Waiters, Feeds),
        id: ServerId,
    ) -> Self {
        let (polls, started) = (Polls::default(), clock::monotonic());
        Self { inbox, driver, views, waiters, polls, feeds, id, started }
    }

    /// Hands a request to the driver; its answer comes through the channel.
    fn hand_in(
        &self,
        request: Request,
        timeout: Duration,
    ) -> Result<async_channel::Receiver<Result<Reply, Refusal>>, Failure> {
        let (reply, answer) = async_channel::bounded(1);
        self.inbox.try_offer(Event::Request { request, timeout, reply }).map_err(failure)?;
        Ok(answer)
    }

    async fn ask(&self, request: Request, timeout: Duration) -> Result<Reply, Failure> {
        // The driver answers everything that it takes, in time; a driver that has ended drops what it has.
        received(self.hand_in(request, timeout)?.recv().await)
    }

    async fn submit(&self, submit: Submit, timeout: Duration) -> Result<Reply, Failure> {
        self.ask(Request::Submit(submit), timeout).await
    }

    async fn operate(
        &self,
        command: &store::Command,
        caller: Caller,
        timeout: Duration,
    ) -> Result<(Reply, store::Output), Failure> {
        let Caller { session, sequence, idempotency_key } = caller;
        let submit = Submit::Command {
            operation: encode_operation(command),
            mode: Store::mode(command) as u8,
            session: session.unwrap_or(0),
            sequence: sequence.unwrap_or(0),
            key: idempotency_key,
        };
        let reply = self.submit(submit, timeout).await?;
        let Outcome::Output(bytes) = &reply.output else { return Err(Failure::Internal) };
        let output = decode_output::<Store>(bytes).ok_or(Failure::Internal)?;
        Ok((reply, output))
    }

    async fn find(&self, ask: Ask, read: Read) -> Result<Reply, Failure> {
        // Going through the driver's thread and back costs more than all the rest of a query that may be answered at once.
        if read.consistency == Consistency::Sequential
            && let Ok(driver) = self.driver.try_lock()
            && let Some(reply) = driver.as_ref().and_then(|d| d.query_now(read.index, &ask))
        {
            return Ok(reply);
        }
        let consistency = engine_consistency(read.consistency);
        self.ask(Request::Query { consistency, index: read.index, ask }, read.timeout).await
    }

    async fn look(&self, query: &store::Query, read: Read) -> Result<(Reply, store::Answer), Failure> {
        let reply = self.find(Ask::Machine(encode_operation(query)), read).await?;
        let Outcome::Output(bytes) = &reply.output else { return Err(Failure::Internal) };
        let found = decode_query_output::<Store>(bytes).ok_or(Failure::Internal)?;
        Ok((reply, found))
    }

    fn session_view(&self, info: SessionInfo) -> SessionView {
        let (last, at) = self.views.clock();
        let since = clock::monotonic().saturating_sub(at);
        let now = last.saturating_add(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        convert::session(info, now)
    }
}

fn received(answer: Result<Result<Reply, Refusal>, async_channel::RecvError>) -> Result<Reply, Failure> {
    match answer {
        Ok(Ok(reply)) => Ok(reply),
        Ok(Err(refusal)) => Err(failure(refusal)),
        Err(_) => Err(Failure::LeaderLost),
    }
}

fn failure(refusal: Refusal) -> Failure {
    match refusal {
        Refusal::NoLeader => Failure::NoLeader,
        Refusal::Overloaded => Failure::Overloaded,
        Refusal::TooLarge => Failure::TooLarge,
        Refusal::Malformed => Failure::Malformed,
        Refusal::StorageFull => Failure::StorageFull,
        Refusal::Timeout { maybe_applied } => Failure::Timeout { maybe_applied },
        Refusal::LeaderLost => Failure::LeaderLost,
        Refusal::ShuttingDown => Failure::ShuttingDown,
        Refusal::SessionBusy => Failure::SessionBusy,
        Refusal::Configuration(error) => members::failure(error),
        Refusal::Session(error) => match error {
            SessionError::NotFound => Failure::SessionNotFound,
            SessionError::Ended(reason) => Failure::SessionExpired(match reason {
                EndReason::Closed => Ended::Closed,
                EndReason::TimedOut => Ended::TimedOut,
                EndReason::QueueFull => Ended::QueueFull,
                EndReason::Forgotten => Ended::Forgotten,
            }),
            SessionError::SequenceGap { expected } => Failure::SequenceGap { expected },
            SessionError::SequenceAcknowledged { acknowledged } => Failure::SequenceAcknowledged { acknowledged },
            SessionError::SequenceMismatch => Failure::SequenceMismatch,
            SessionError::IdempotencyMismatch => Failure::IdempotencyMismatch,
            SessionError::EventsGap { acknowledged } => Failure::EventsGap { acknowledged },
        },
    }
}

fn engine_consistency(consistency: Consistency) -> crate::engine::Consistency {
    match consistency {
        Consistency::Linearizable => crate::engine::Consistency::Linearizable,
        Consistency::Lease => crate::engine::Consistency::Lease,
        Consistency::Sequential => crate::engine::Consistency::Sequential,
    }
}

fn answer<T>(reply: &Reply, output: T) -> Answer<T> {
    let consistency = reply.consistency.map(|c| match c {
        crate::engine::Consistency::Linearizable => Consistency::Linearizable,
        crate::engine::Consistency::Lease => Consistency::Lease,
        crate::engine::Consistency::Sequential => Consistency::Sequential,
    });
    let Reply { index, term, event_index, served_by, .. } = *reply;
    Answer { output, index, term, event_index, served_by, consistency }
}

#[async_trait]
impl Backend for ServerBackend {
    async fn command(&self, c: Command, caller: Caller, timeout: Duration) -> Result<Answer<CommandOutput>, Failure> {
        let (reply, output) = self.operate(&convert::command(c), caller, timeout).await?;
        Ok(answer(&reply, convert::output(output).ok_or(Failure::Internal)?))
    }

    async fn lock(
        &self,
        request: LockRequest,
        caller: Caller,
        timeout: Duration,
    ) -> Result<Answer<LockOutput>, Failure> {
        self.ask_for_lock(request, caller, timeout).await
    }

    async fn register(
        &self,
        session_timeout: Duration,
        name: String,
        key: Option<String>,
        timeout: Duration,
    ) -> Result<Answer<Registered>, Failure> {
        let timeout_ms = u64::try_from(session_timeout.as_millis()).unwrap_or(u64::MAX);
        let reply = self.submit(Submit::Register { timeout_ms, name, key }, timeout).await?;
        match reply.output {
            Outcome::Registered { session, timeout_ms } => Ok(answer(&reply, Registered { session, timeout_ms })),
            _ => Err(Failure::Internal),
        }
    }

    async fn keep_alive(
        &self,
        session: u64,
        sequence: Option<u64>,
        event_index: Option<u64>,
        timeout: Duration,
    ) -> Result<Answer<KeptAlive>, Failure> {
        let (sequence, event_index) = (sequence.unwrap_or(0), event_index.unwrap_or(0));
        let item = KeepAlive { session, sequence, event_index, alive: true, server: self.id, poll: false };
        let reply = self.submit(Submit::KeepAlive(item), timeout).await?;
        match reply.output {
            Outcome::KeptAlive { timeout_ms, event_index } => Ok(answer(&reply, KeptAlive { timeout_ms, event_index })),
            _ => Err(Failure::Internal),
        }
    }

    async fn unregister(&self, session: u64, timeout: Duration) -> Result<Answer<()>, Failure> {
        let reply = self.submit(Submit::Unregister { session }, timeout).await?;
        Ok(answer(&reply, ()))
    }

    async fn session(&self, session: u64, read: Read) -> Result<Answer<SessionView>, Failure> {
        let mut found = self.find(Ask::Session(session), read).await;
        // One that has not applied so much cannot say that there is none.
        if read.consistency != Consistency::Linearizable && found == Err(Failure::SessionNotFound) {
            found = self.find(Ask::Session(session), Read { consistency: Consistency::Linearizable, ..read }).await;
        }
        let reply = found?;
        let Outcome::Sessions(found) = &reply.output else { return Err(Failure::Internal) };
        let info = found.first().cloned().ok_or(Failure::Internal)?;
        let read = Read { consistency: Consistency::Sequential, index: reply.index, ..read };
        let (_, holdings) = self.look(&store::Query::Holdings { session, limit: SHOWN }, read).await?;
        let store::Answer::Holdings { locks, keys } = holdings else { return Err(Failure::Internal) };
        Ok(answer(&reply, SessionView { locks, ephemeral_keys: keys, ..self.session_view(info) }))
    }

    async fn sessions(&self, after: u64, limit: u64, read: Read) -> Result<Answer<SessionPage>, Failure> {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        // One more, to know whether there is a next page.
        let reply = self.find(Ask::Sessions { after, limit: limit.saturating_add(1) }, read).await?;
        let Outcome::Sessions(mut found) = reply.output.clone() else { return Err(Failure::Internal) };
        let more = found.len() > limit as usize;
        found.truncate(limit as usize);
        let next = found.last().filter(|_| more).map(|info| info.session);
        let sessions = found.into_iter().map(|info| self.session_view(info)).collect();
        Ok(answer(&reply, SessionPage { sessions, next }))
    }

    async fn events(&self, poll: Poll, timeout: Duration) -> Result<Answer<EventPage>, Failure> {
        self.poll(poll, timeout).await
    }

    async fn feed(&self, after: Option<u64>, wait: Duration) -> Result<Feed, Failure> {
        let waiter = self.feeds.wait().ok_or(Failure::Overloaded)?;
        let found = self.feeds.behind(after);
        if !wait.is_zero()
            && matches!(&found, Feed::Events { events, .. } if events.is_empty())
            && future::timeout(wait, waiter.woken()).await.is_ok()
        {
            if self.driver.try_lock().is_ok_and(|driver| driver.is_none()) {
                return Err(Failure::ShuttingDown);
            }
            return Ok(self.feeds.behind(after));
        }
        Ok(found)
    }

    async fn query(&self, query: Query, read: Read) -> Result<Answer<QueryOutput>, Failure> {
        let (reply, found) = self.look(&convert::query(query), read).await?;
        Ok(answer(&reply, convert::answer(found).ok_or(Failure::Internal)?))
    }

    async fn watch(
        &self,
        key: Vec<u8>,
        after: Option<u64>,
        wait: Duration,
        read: Read,
    ) -> Result<Answer<Watched>, Failure> {
        // Registered before the first look, so that nothing falls between the two.
        let topic = Topic::Machine([b"k", key.as_slice()].concat());
        let waiter = self.waiters.register(topic).ok_or(Failure::Overloaded)?;
        let end = clock::monotonic() + wait;
        let query = store::Query::Get { key };
        let mut read = read;
        loop {
            let (seen, store::Answer::Value { item, changed }) = self.look(&query, read).await? else {
                return Err(Failure::Internal);
            };
            let changed = after.map_or(item.is_some(), |after| changed > after);
            let left = end.saturating_sub(clock::monotonic());
            if !changed && let Ok(index) = future::timeout(left, waiter.woken()).await {
                read = Read { consistency: Consistency::Sequential, index, ..read };
                continue;
            }
            return Ok(answer(&seen, Watched { item: item.map(convert::item), changed }));
        }
    }

    async fn entries(&self, from: u64, limit: u64, max_bytes: u64) -> Result<Vec<EntryView>, Failure> {
        let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let (limit, bytes) = (size(limit), size(max_bytes));
        let entries = self.hear(LOOK, |reply| Event::Entries { from, limit, bytes, reply }).await?.map_err(|e| {
            tracing::error!("the log cannot be read: {e}");
            Failure::Internal
        })?;
        Ok(entries.iter().map(convert::entry).collect())
    }

    async fn segments(&self) -> Result<Vec<SegmentView>, Failure> {
        let segments = self.hear(LOOK, |reply| Event::Segments { reply }).await?;
        Ok(segments.iter().map(convert::segment).collect())
    }

    async fn compact(&self, major: bool, timeout: Duration) -> Result<Compaction, Failure> {
        self.compaction(major, timeout).await
    }

    async fn take_snapshot(&self, timeout: Duration) -> Result<SnapshotTaken, Failure> {
        self.snapshot(timeout).await
    }

    async fn backup(&self, timeout: Duration) -> Result<Option<Backup>, Failure> {
        self.back_up(timeout).await
    }

    async fn change_member(&self, change: MemberChange, timeout: Duration) -> Result<Answer<ClusterView>, Failure> {
        self.change(change, timeout).await
    }

    async fn transfer(&self, member: u64, timeout: Duration) -> Result<Answer<u64>, Failure> {
        self.hand_over(member, timeout).await
    }

    fn id(&self) -> u64 {
        self.id
    }

    fn cluster(&self) -> ClusterView {
        views::cluster(&self.views.get())
    }

    fn server(&self) -> ServerView {
        views::server(&self.views.get(), self.started)
    }

    fn checks(&self) -> Checks {
        views::checks(&self.views.get())
    }
}
