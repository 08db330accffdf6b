//! The port: what this crate asks of whoever keeps the data.

mod cluster;
mod commands;
mod locks;
mod queries;
mod sessions;
mod settings;
mod snapshots;

pub use cluster::{ClusterEvent, Conflict, EntryView, Feed, Logged, MemberChange, MemberKind};
pub use commands::{Command, CommandOutput, Condition, Operation, OperationOutput, Predicate, WatchTarget};
pub use locks::{LockHolder, LockMode, LockOutput, LockRequest, LockView, LockWaiter};
pub use queries::{Consistency, Item, Listed, Query, QueryOutput, Read, Watched};
pub use sessions::{Ended, EventBatch, EventPage, KeptAlive, Poll, Registered, SessionEvent, SessionPage, SessionView};
pub use settings::{Range, SettingsChange};
pub use snapshots::{Backup, Compaction, SnapshotTaken};

use crate::status::{Checks, ClusterView, SegmentView, ServerView, SettingsView};
use async_trait::async_trait;
use serde_json::Value;
use std::time::Duration;

/// Whose command it is, and what makes a repeat of it known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// The session.
    pub session: Option<u64>,
    /// The command's number in its session, from 1.
    pub sequence: Option<u64>,
    /// For commands without a number: a name, 1 to 255 bytes, by which the very same request is known for a while.
    pub idempotency_key: Option<String>,
}

/// An answer, and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<T> {
    /// What was answered.
    pub output: T,
    /// The command's index, or the applied index that the query saw.
    pub index: u64,
    /// The term.
    pub term: u64,
    /// Of a command of a session: the index of the session's last event before it (the answer comes before the events of
    /// its own index).
    pub event_index: Option<u64>,
    /// The server that answered.
    pub served_by: u64,
    /// How a query was really served.
    pub consistency: Option<Consistency>,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// There is no leader; nothing was done.
    NoLeader,
    /// A bound is reached; nothing was done.
    Overloaded,
    /// The operation is larger than the log takes; nothing was done.
    TooLarge,
    /// The leader's disk is full; nothing was done.
    StorageFull,
    /// Time ran out.
    Timeout {
        /// A command may have been, or be, carried out.
        maybe_applied: bool,
    },
    /// Whoever had the command was lost before its answer came.
    LeaderLost,
    /// This server is shutting down; nothing was done.
    ShuttingDown,
    /// There is no such session, and never was; nothing was done.
    SessionNotFound,
    /// The session has ended; nothing was done.
    SessionExpired(Ended),
    /// A number that comes too early, and was held in vain; nothing was done.
    SequenceGap {
        /// The number that is expected.
        expected: u64,
    },
    /// The answer to this number was acknowledged, and is forgotten; nothing was done now.
    SequenceAcknowledged {
        /// Through which number.
        acknowledged: u64,
    },
    /// Another command has this number; nothing was done.
    SequenceMismatch,
    /// Another request has this idempotency key; nothing was done.
    IdempotencyMismatch,
    /// The session has too many answers that it did not acknowledge; nothing was done.
    SessionBusy,
    /// A newer poll of the same session took over.
    Superseded,
    /// What is asked for was acknowledged, and is forgotten.
    EventsGap {
        /// Through which index.
        acknowledged: u64,
    },
    /// There is no such member; nothing was done.
    MemberNotFound {
        /// The number.
        id: u64,
    },
    /// The cluster is not changed, for this reason; nothing was done.
    ConfigurationConflict(Conflict),
    /// What is asked of a setting is out of its range; nothing was done.
    OutOfRange(Range),
    /// This server keeps no state of its own now, being a reserve member or about to be filled; nothing was done.
    Stateless,
    /// Whoever would carry it out does not know this operation, being of another version; nothing was done.
    Malformed,
    /// The answer makes no sense: a fault of ours. Whether a command was carried out is unknown.
    Internal,
}

/// Why there is no answer to a command or query of a state machine that has no keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// It is none of the machine's, for this reason; nothing was done.
    Unfit(String),
    /// Another reason.
    Failed(Failure),
}

/// Who keeps keys and locks: beside the [`Backend`], of which the same holds.
#[async_trait]
pub trait Keys: Send + Sync {
    /// Carries out a command.
    async fn command(
        &self,
        command: Command,
        caller: Caller,
        timeout: Duration,
    ) -> Result<Answer<CommandOutput>, Failure>;
    /// Asks for a lock, and waits for it as far as the request says; `timeout` is for each step. The caller has a session.
    async fn lock(
        &self,
        request: LockRequest,
        caller: Caller,
        timeout: Duration,
    ) -> Result<Answer<LockOutput>, Failure>;
    /// Answers a query.
    async fn query(&self, query: Query, read: Read) -> Result<Answer<QueryOutput>, Failure>;
    /// Waits until a key changes at an index above `after`, or, without `after`, until it exists; at most as long as
    /// `wait`. `read` says how fresh the first look is; its timeout is for that look alone.
    async fn watch(
        &self,
        key: Vec<u8>,
        after: Option<u64>,
        wait: Duration,
        read: Read,
    ) -> Result<Answer<Watched>, Failure>;
}

/// Who keeps the data.
///
/// Every future ends within its timeout, by itself: this crate adds no second clock. It may be dropped before (the
/// client is gone): that ends the waiting, never a command that was submitted.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// The keys and locks, if the state machine is the one that has them. Else all that is about them is not there.
    fn keys(&self) -> Option<&dyn Keys>;
    /// Carries out a command of whatever state machine it is.
    async fn command(&self, command: Value, caller: Caller, timeout: Duration) -> Result<Answer<Value>, Unanswered>;
    /// Answers a query of whatever state machine it is.
    async fn query(&self, query: Value, read: Read) -> Result<Answer<Value>, Unanswered>;
    /// Begins a session that ends when it was not kept alive for `session_timeout`.
    async fn register(
        &self,
        session_timeout: Duration,
        name: String,
        idempotency_key: Option<String>,
        timeout: Duration,
    ) -> Result<Answer<Registered>, Failure>;
    /// Keeps a session alive, and acknowledges answers through a number and events through an index.
    async fn keep_alive(
        &self,
        session: u64,
        sequence: Option<u64>,
        event_index: Option<u64>,
        timeout: Duration,
    ) -> Result<Answer<KeptAlive>, Failure>;
    /// Ends a session.
    async fn unregister(&self, session: u64, timeout: Duration) -> Result<Answer<()>, Failure>;
    /// One session.
    async fn session(&self, session: u64, read: Read) -> Result<Answer<SessionView>, Failure>;
    /// Sessions behind an id, at most `limit`.
    async fn sessions(&self, after: u64, limit: u64, read: Read) -> Result<Answer<SessionPage>, Failure>;
    /// A session's events, as soon as there are any. `timeout` is for each step.
    async fn events(&self, poll: Poll, timeout: Duration) -> Result<Answer<EventPage>, Failure>;
    /// What this server saw happen after a number (`None`: all that it keeps), as soon as there is anything.
    async fn feed(&self, after: Option<u64>, wait: Duration) -> Result<Feed, Failure>;
    /// Entries of this server's own log from an index on, also those not yet committed: at most `limit`, and, from the
    /// second on, at most `max_bytes` bytes.
    async fn entries(&self, from: u64, limit: u64, max_bytes: u64) -> Result<Vec<EntryView>, Failure>;
    /// The files of this server's log.
    async fn segments(&self) -> Result<Vec<SegmentView>, Failure>;
    /// Compacts this server's log, all of it with `major`. [`Failure::Overloaded`] while other work of this kind is under
    /// way.
    async fn compact(&self, major: bool, timeout: Duration) -> Result<Compaction, Failure>;
    /// Takes a snapshot of this server's state, unless there is one as new. [`Failure::Stateless`] if it keeps none.
    async fn take_snapshot(&self, timeout: Duration) -> Result<SnapshotTaken, Failure>;
    /// A backup of this server's latest snapshot; `None`: there is none yet.
    async fn backup(&self, timeout: Duration) -> Result<Option<Backup>, Failure>;
    /// Changes a member; returns the cluster as it is then.
    async fn change_member(&self, change: MemberChange, timeout: Duration) -> Result<Answer<ClusterView>, Failure>;
    /// Changes settings of the cluster; returns all as they are then.
    async fn change_settings(&self, change: SettingsChange, timeout: Duration)
    -> Result<Answer<SettingsView>, Failure>;
    /// Hands leadership to a member; returns who leads then.
    async fn transfer(&self, member: u64, timeout: Duration) -> Result<Answer<u64>, Failure>;
    /// The number of this server.
    fn id(&self) -> u64;
    /// The cluster as this server knows it.
    fn cluster(&self) -> ClusterView;
    /// The settings of the cluster as this server knows them.
    fn settings(&self) -> SettingsView;
    /// This server.
    fn server(&self) -> ServerView;
    /// What must hold for this server to be ready, and whether it does.
    fn checks(&self) -> Checks;
}
