//! The backend of the HTTP API: requests become commands and queries of the store, views become JSON shapes.

mod locks;
mod members;
mod snapshots;
mod views;

pub(super) use views::{status_name, type_name};

use super::clock;
use super::convert;
use super::inbox::Event;
use super::port::{self, Port};
use super::requests::{Refusal, Reply};
use crate::engine::machine::{Ask, Outcome, Topic};
use crate::engine::sessions::{EndReason, SessionError, SessionInfo};
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
    port: Arc<Port<Store>>,
    started: Duration,
}

impl ServerBackend {
    pub(super) fn new(port: Arc<Port<Store>>) -> Self {
        Self { port, started: clock::monotonic() }
    }

    async fn operate(
        &self,
        command: &store::Command,
        caller: Caller,
        timeout: Duration,
    ) -> Result<(Reply, store::Output), Failure> {
        let Caller { session, sequence, idempotency_key: key } = caller;
        let caller = port::Caller { session: session.unwrap_or(0), sequence: sequence.unwrap_or(0), key };
        self.port.operate(command, caller, timeout).await.map_err(failure)
    }

    async fn look(&self, query: &store::Query, read: Read) -> Result<(Reply, store::Answer), Failure> {
        self.port.look(query, engine_read(read)).await.map_err(failure)
    }

    fn session_view(&self, info: SessionInfo) -> SessionView {
        convert::session(info, self.port.log_time())
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
        Refusal::Superseded => Failure::Superseded,
        Refusal::Internal => Failure::Internal,
        Refusal::Configuration(error) => members::refused(error),
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

fn engine_read(read: Read) -> port::Read {
    let Read { consistency, index, timeout } = read;
    port::Read { consistency: engine_consistency(consistency), index, timeout }
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
        let reply = self.port.register(session_timeout, name, key, timeout).await.map_err(failure)?;
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
        let reply = self.port.keep_alive(session, sequence, event_index, timeout).await.map_err(failure)?;
        match reply.output {
            Outcome::KeptAlive { timeout_ms, event_index } => Ok(answer(&reply, KeptAlive { timeout_ms, event_index })),
            _ => Err(Failure::Internal),
        }
    }

    async fn unregister(&self, session: u64, timeout: Duration) -> Result<Answer<()>, Failure> {
        let reply = self.port.unregister(session, timeout).await.map_err(failure)?;
        Ok(answer(&reply, ()))
    }

    async fn session(&self, session: u64, read: Read) -> Result<Answer<SessionView>, Failure> {
        let reply = self.port.session(session, engine_read(read)).await.map_err(failure)?;
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
        let ask = Ask::Sessions { after, limit: limit.saturating_add(1) };
        let reply = self.port.query(ask, engine_read(read)).await.map_err(failure)?;
        let Outcome::Sessions(mut found) = reply.output.clone() else { return Err(Failure::Internal) };
        let more = found.len() > limit as usize;
        found.truncate(limit as usize);
        let next = found.last().filter(|_| more).map(|info| info.session);
        let sessions = found.into_iter().map(|info| self.session_view(info)).collect();
        Ok(answer(&reply, SessionPage { sessions, next }))
    }

    async fn events(&self, poll: Poll, timeout: Duration) -> Result<Answer<EventPage>, Failure> {
        let Poll { session, acknowledge, after, wait, keep_alive, stream } = poll;
        let poll = port::Poll { session, acknowledge: acknowledge.unwrap_or(0), after, wait, keep_alive, stream };
        let port::Polled { reply, page, wait } = self.port.poll(poll, timeout).await.map_err(failure)?;
        let batches = page.batches.into_iter().map(convert::batch).collect::<Option<_>>().ok_or(Failure::Internal)?;
        Ok(answer(&reply, EventPage { batches, event_index: page.event_index, wait }))
    }

    async fn feed(&self, after: Option<u64>, wait: Duration) -> Result<Feed, Failure> {
        self.port.feed(after, wait).await.map_err(failure)
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
        let waiter = self.port.wait(topic).map_err(failure)?;
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
        let entries = self.port.hear(LOOK, |reply| Event::Entries { from, limit, bytes, reply }).await;
        let entries = entries.map_err(failure)?.map_err(|e| {
            tracing::error!("the log cannot be read: {e}");
            Failure::Internal
        })?;
        Ok(entries.iter().map(convert::entry).collect())
    }

    async fn segments(&self) -> Result<Vec<SegmentView>, Failure> {
        let segments = self.port.hear(LOOK, |reply| Event::Segments { reply }).await.map_err(failure)?;
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
        self.port.id()
    }

    fn cluster(&self) -> ClusterView {
        views::cluster(&self.port.view())
    }

    fn server(&self) -> ServerView {
        views::server(&self.port.view(), self.started)
    }

    fn checks(&self) -> Checks {
        views::checks(&self.port.view())
    }
}
