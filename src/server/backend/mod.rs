//! The backend of the HTTP API: requests become those of the port, views become JSON shapes.

mod keys;
mod locks;
mod machine;
mod members;
mod snapshots;
mod views;

pub(super) use views::{status_name, type_name};

use super::clock;
use super::convert;
use super::inbox::Event;
use super::port::{self, Port};
use super::requests::{Refusal, Reply};
use crate::engine::machine::{Ask, Outcome, StateMachine};
use crate::engine::sessions::{EndReason, SessionError, SessionInfo};
use crate::store::Store;
use async_trait::async_trait;
use copycat_http::{
    Answer, Backend, Backup, Caller, Checks, ClusterView, Compaction, Consistency, Ended, EntryView, EventPage,
    Failure, Feed, KeptAlive, Keys, Logged, MemberChange, Poll, Read, Registered, SegmentView, ServerView,
    SessionEvent, SessionPage, SessionView, SettingsChange, SettingsView, SnapshotTaken, Unanswered,
};
use keys::StoreKeys;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// For how long the driver may be too busy to show its log.
const LOOK: Duration = Duration::from_secs(10);

/// What any state machine's server can answer; and, of the store's, what is about keys and locks.
pub(super) struct ServerBackend<M: StateMachine> {
    port: Arc<Port<M>>,
    started: Duration,
    keys: Option<StoreKeys>,
    /// How a published event is shown,
    event: fn(&[u8]) -> Option<SessionEvent>,
    /// and a command that is in the log.
    logged: fn(&[u8]) -> Option<Logged>,
}

impl ServerBackend<Store> {
    /// With keys and locks.
    pub(super) fn with_keys(port: Arc<Port<Store>>) -> Self {
        let keys = Some(StoreKeys::new(port.clone()));
        Self { keys, event: convert::event, logged: convert::command_of, ..Self::new(port) }
    }
}

impl<M: StateMachine> ServerBackend<M> {
    /// Of a machine that is shown as JSON.
    pub(super) fn new(port: Arc<Port<M>>) -> Self {
        let started = clock::monotonic();
        Self { port, started, keys: None, event: machine::event::<M>, logged: machine::logged::<M> }
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

fn port_caller(caller: Caller) -> port::Caller {
    let Caller { session, sequence, idempotency_key: key } = caller;
    port::Caller { session: session.unwrap_or(0), sequence: sequence.unwrap_or(0), key }
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
impl<M: StateMachine> Backend for ServerBackend<M> {
    fn keys(&self) -> Option<&dyn Keys> {
        self.keys.as_ref().map(|keys| keys as &dyn Keys)
    }

    async fn command(&self, command: Value, caller: Caller, timeout: Duration) -> Result<Answer<Value>, Unanswered> {
        machine::command(&self.port, command, caller, timeout).await
    }

    async fn query(&self, query: Value, read: Read) -> Result<Answer<Value>, Unanswered> {
        machine::query(&self.port, query, read).await
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
        let view = self.session_view(info);
        let Some(keys) = &self.keys else { return Ok(answer(&reply, view)) };
        let read = Read { consistency: Consistency::Sequential, index: reply.index, ..read };
        let (locks, ephemeral_keys) = keys.holdings(session, read).await?;
        Ok(answer(&reply, SessionView { locks, ephemeral_keys, ..view }))
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
        let batches = page.batches.iter().map(|batch| convert::batch(batch, self.event)).collect::<Option<_>>();
        let batches = batches.ok_or(Failure::Internal)?;
        Ok(answer(&reply, EventPage { batches, event_index: page.event_index, wait }))
    }

    async fn feed(&self, after: Option<u64>, wait: Duration) -> Result<Feed, Failure> {
        self.port.feed(after, wait).await.map_err(failure)
    }

    async fn entries(&self, from: u64, limit: u64, max_bytes: u64) -> Result<Vec<EntryView>, Failure> {
        let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let (limit, bytes) = (size(limit), size(max_bytes));
        let entries = self.port.hear(LOOK, |reply| Event::Entries { from, limit, bytes, reply }).await;
        let entries = entries.map_err(failure)?.map_err(|e| {
            tracing::error!("the log cannot be read: {e}");
            Failure::Internal
        })?;
        Ok(entries.iter().map(|entry| convert::entry(entry, self.logged)).collect())
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

    async fn change_settings(
        &self,
        change: SettingsChange,
        timeout: Duration,
    ) -> Result<Answer<SettingsView>, Failure> {
        self.set(change, timeout).await
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

    fn settings(&self) -> SettingsView {
        let view = self.port.view();
        views::settings(&view.settings, view.configuration.index)
    }

    fn server(&self) -> ServerView {
        views::server(&self.port.view(), self.started)
    }

    fn checks(&self) -> Checks {
        views::checks(&self.port.view())
    }
}
