//! What sessions are told, and what servers tell of themselves.

use super::locks::Mode;
use super::text::{self, Encoding};
use crate::backend::{ClusterEvent, EventBatch, SessionEvent};
use serde::Serialize;
use serde_json::Value;
use std::borrow::Cow;
use utoipa::ToSchema;

/// What a session is told.
#[derive(Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Event<'a> {
    /// A key was set.
    Put(PutEvent<'a>),
    /// A key was deleted.
    Delete(GoneEvent<'a>),
    /// A key's time was over.
    Expire(GoneEvent<'a>),
    /// A lock that the session queued for is its own.
    LockAcquired(AcquiredEvent<'a>),
    /// A lock was taken away from the session.
    LockLost(LostEvent<'a>),
    /// Of another state machine than that of keys and locks.
    Machine(MachineEvent<'a>),
}

/// What a state machine has published.
#[derive(Serialize, ToSchema)]
pub(crate) struct MachineEvent<'a> {
    /// As the machine has it.
    #[schema(value_type = Object)]
    event: &'a Value,
}

/// A key was set.
#[derive(Serialize, ToSchema)]
pub(crate) struct PutEvent<'a> {
    /// The watch that it is told by.
    watch: u64,
    key: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    key_encoding: Option<Encoding>,
    /// The key's new version.
    version: u64,
    /// It did not exist before.
    created: bool,
    /// Left out where the watch wants no values.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    value: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    encoding: Option<Encoding>,
    content_type: &'a str,
}

/// A key is gone.
#[derive(Serialize, ToSchema)]
pub(crate) struct GoneEvent<'a> {
    /// The watch that it is told by.
    watch: u64,
    key: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    key_encoding: Option<Encoding>,
    /// The version that the key had.
    version: u64,
}

/// A lock that the session queued for is its own.
#[derive(Serialize, ToSchema)]
pub(crate) struct AcquiredEvent<'a> {
    lock: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    lock_encoding: Option<Encoding>,
    token: u64,
    mode: Mode,
}

/// A lock was taken away from the session.
#[derive(Serialize, ToSchema)]
pub(crate) struct LostEvent<'a> {
    lock: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    lock_encoding: Option<Encoding>,
    /// The token that is void.
    token: u64,
}

impl<'a> From<&'a SessionEvent> for Event<'a> {
    fn from(event: &'a SessionEvent) -> Self {
        let gone = |watch: u64, key: &'a [u8], version: u64| {
            let (key, key_encoding) = text::key(key);
            GoneEvent { watch, key, key_encoding, version }
        };
        match event {
            SessionEvent::Put { watch, key, value, content_type, version, created } => {
                let (key, key_encoding) = text::key(key);
                let (value, encoding) = value.as_deref().map(text::text).unzip();
                let (watch, version, created) = (*watch, *version, *created);
                Self::Put(PutEvent { watch, key, key_encoding, version, created, value, encoding, content_type })
            }
            SessionEvent::Delete { watch, key, version } => Self::Delete(gone(*watch, key, *version)),
            SessionEvent::Expire { watch, key, version } => Self::Expire(gone(*watch, key, *version)),
            SessionEvent::LockAcquired { lock, token, mode } => {
                let (lock, lock_encoding) = text::key(lock);
                Self::LockAcquired(AcquiredEvent { lock, lock_encoding, token: *token, mode: (*mode).into() })
            }
            SessionEvent::LockLost { lock, token } => {
                let (lock, lock_encoding) = text::key(lock);
                Self::LockLost(LostEvent { lock, lock_encoding, token: *token })
            }
            SessionEvent::Other(event) => Self::Machine(MachineEvent { event }),
        }
    }
}

/// All events of a session at one index.
#[derive(Serialize, ToSchema)]
pub(crate) struct Batch<'a> {
    index: u64,
    /// The index of the session's batch before; 0: there was none.
    previous: u64,
    /// In order.
    events: Vec<Event<'a>>,
}

impl<'a> From<&'a EventBatch> for Batch<'a> {
    fn from(EventBatch { index, previous, events }: &'a EventBatch) -> Self {
        Self { index: *index, previous: *previous, events: events.iter().map(Event::from).collect() }
    }
}

/// A session's events.
#[derive(Serialize, ToSchema)]
pub(crate) struct Events<'a> {
    /// One an index, in order; none if the wait has ended.
    pub(crate) batches: Vec<Batch<'a>>,
    /// The index of the session's last event, 0 before the first.
    pub(crate) event_index: u64,
    pub(crate) session: u64,
}

/// Something that happened to a server or to the cluster.
#[derive(Serialize, ToSchema)]
pub(crate) struct FeedEvent<'a> {
    /// Its number at this server: each is one more than the last, but a restarted server goes on at a higher one.
    id: u64,
    /// When, milliseconds since the Unix epoch by this server's clock.
    time_ms: u64,
    /// `role`, `leader`, `vote_granted`, `vote_refused`, `poll_granted` and `poll_refused` (elections; a poll asks whether a
    /// vote would be given, and changes nothing), `join`, `leave`, `type` and `status` (members), `settings` (of the cluster,
    /// `reason` says which), and of this server itself:
    /// `removed`, `snapshot` (one is durable), `compaction` (one has ended), `install` (it was given a peer's snapshot) and
    /// `trouble` (something failed in the background, at the cost of time or room only).
    #[serde(rename = "type")]
    kind: &'static str,
    term: u64,
    /// The member that it is about.
    member: u64,
    /// Who gave or refused it a vote, of those.
    #[schema(required)]
    voter: Option<u64>,
    /// This server's role since, of `role`.
    #[schema(required)]
    role: Option<&'static str>,
    /// The member's type since, of `join` and `type`.
    #[schema(required)]
    member_type: Option<&'static str>,
    /// The member's status since, of `status`.
    #[schema(required)]
    status: Option<&'static str>,
    /// Why; of `snapshot` and `install`, of which entry; of `trouble`, what it is.
    #[schema(required)]
    reason: Option<&'a str>,
}

impl<'a> From<&'a ClusterEvent> for FeedEvent<'a> {
    fn from(event: &'a ClusterEvent) -> Self {
        let ClusterEvent { id, time_ms, kind, term, member, voter, role, member_type, status, reason } = event;
        let (id, time_ms, term, member, voter) = (*id, *time_ms, *term, *member, *voter);
        let (role, member_type, status) = (*role, *member_type, *status);
        Self { id, time_ms, kind, term, member, voter, role, member_type, status, reason: reason.as_deref() }
    }
}

/// `GET /v1/cluster/events`
#[derive(Serialize, ToSchema)]
pub(crate) struct FeedPage<'a> {
    /// In order.
    pub(crate) events: Vec<FeedEvent<'a>>,
    /// The last number given so far.
    pub(crate) last: u64,
}
