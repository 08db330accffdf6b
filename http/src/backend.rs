//! The port: what this crate asks of whoever keeps the data.

use crate::status::{Checks, ClusterView, SegmentView, ServerView};
use async_trait::async_trait;
use futures_lite::stream::Boxed;
use std::time::Duration;

/// What a write requires of its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    Always,
    /// The key must not exist.
    Absent,
    /// The key must exist.
    Exists,
    /// The key must exist in one of these versions.
    Versions(Vec<u64>),
}

/// A change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Sets a key.
    Put {
        /// The key, 1 to 4096 bytes.
        key: Vec<u8>,
        /// Its value.
        value: Vec<u8>,
        /// The value's media type.
        content_type: String,
        /// How long it lives from now on, in milliseconds; 0: until it is removed.
        ttl_ms: u64,
        /// It goes with the session that puts it; needs a session.
        ephemeral: bool,
        /// What must hold.
        condition: Condition,
    },
    /// Removes a key.
    Delete {
        /// The key.
        key: Vec<u8>,
        /// What must hold.
        condition: Condition,
    },
    /// Removes the first keys that begin so, all at once.
    DeletePrefix {
        /// How they begin; empty: all keys.
        prefix: Vec<u8>,
        /// At most this many.
        limit: u64,
    },
    /// One list of operations or the other, atomically.
    Transaction {
        /// Which.
        condition: Predicate,
        /// Carried out if the condition holds,
        then: Vec<Operation>,
        /// and if it does not.
        otherwise: Vec<Operation>,
        /// If the operations would read more bytes of values than this, nothing is done.
        max_bytes: u64,
    },
    /// Several commands in order, at one index; one whose condition fails does not stop the others. None of them is a
    /// batch.
    Batch(Vec<Command>),
    /// Carried out only if this token holds this lock.
    Guarded {
        /// The lock's name.
        lock: Vec<u8>,
        /// The token.
        token: u64,
        /// What is to be done; neither guarded itself nor a batch.
        command: Box<Command>,
    },
    /// The session is told of changes. Needs a session.
    Watch {
        /// Of what.
        target: WatchTarget,
        /// Events of puts carry the value.
        values: bool,
    },
    /// It is told no more. Needs a session.
    Unwatch {
        /// The watch.
        watch: u64,
    },
    /// Releases a lock, or leaves its queue. Needs a session.
    Unlock {
        /// The lock's name.
        lock: Vec<u8>,
        /// Only if it is held with this token.
        token: Option<u64>,
    },
    /// Takes a lock away from a holder, who is told.
    Revoke {
        /// The lock's name.
        lock: Vec<u8>,
        /// The holder.
        session: u64,
    },
    /// Asks for a lock. Only shown, as an entry of the log: it is asked for by [`Backend::lock`].
    Lock {
        /// The lock's name.
        lock: Vec<u8>,
        /// How it is wanted.
        mode: LockMode,
        /// How long to be held until it is granted, in milliseconds; 0: only a try.
        wait_ms: u64,
        /// Stay in the queue.
        queue: bool,
    },
}

/// What a watch is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchTarget {
    /// This key.
    Key(Vec<u8>),
    /// All keys that begin so; empty: all keys.
    Prefix(Vec<u8>),
}

/// How a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMode {
    /// By one alone.
    Exclusive,
    /// Together with others that share it.
    Shared,
}

/// Who has a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockHolder {
    /// The session.
    pub session: u64,
    /// Its fencing token: higher than any given before, over all locks.
    pub token: u64,
    /// How it is held.
    pub mode: LockMode,
    /// Since when, milliseconds of log time since the Unix epoch.
    pub since_ms: u64,
}

/// Who waits for a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockWaiter {
    /// The session.
    pub session: u64,
    /// How it wants to hold it.
    pub mode: LockMode,
    /// Since when, milliseconds of log time since the Unix epoch.
    pub since_ms: u64,
}

/// A lock as it is. One that nobody holds or waits for does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockView {
    /// Its name.
    pub lock: Vec<u8>,
    /// Who has it, in the order of their tokens.
    pub holders: Vec<LockHolder>,
    /// Who waits, first come first.
    pub queue: Vec<LockWaiter>,
}

/// How a lock is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockRequest {
    /// Its name.
    pub lock: Vec<u8>,
    /// How it is wanted.
    pub mode: LockMode,
    /// How long to be held until it is granted; `None`: only a try. It is cut to half the session's timeout.
    pub wait: Option<Duration>,
    /// Stay in the queue, and be told by an event.
    pub queue: bool,
}

/// What became of a lock that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockOutput {
    /// It is held.
    Granted {
        /// The token.
        token: u64,
        /// How it is held.
        mode: LockMode,
    },
    /// The session stays in the queue, and an event will tell.
    Queued {
        /// Its place, from 1.
        position: u64,
        /// Who has the lock, and all who wait.
        view: LockView,
        /// How long it was really held at most.
        wait: Duration,
    },
    /// It was not granted, and the session is in no queue.
    Held {
        /// How many would be, or were, before it, plus 1.
        position: u64,
        /// Who has the lock, and all who wait.
        view: LockView,
        /// How long it was really held at most.
        wait: Duration,
    },
}

/// Whose command it is, and what makes a repeat of it known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// The session.
    pub session: Option<u64>,
    /// The command's number in its session, from 1.
    pub sequence: Option<u64>,
    /// For commands without a number: a name, 1 to 255 bytes, by which the very same request is known for 10 minutes.
    pub idempotency_key: Option<String>,
}

/// A new session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// Its id: the index at which it was registered.
    pub session: u64,
    /// It ends when it was not kept alive for so long.
    pub timeout_ms: u64,
}

/// A session that was kept alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptAlive {
    /// It ends when it was not kept alive for so long.
    pub timeout_ms: u64,
    /// The index of its last event, 0 before the first.
    pub event_index: u64,
}

/// A session as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionView {
    /// Its id.
    pub session: u64,
    /// What its client called it.
    pub name: String,
    /// It ends when it was not kept alive for so long.
    pub timeout_ms: u64,
    /// When it was last kept alive, milliseconds of log time since the Unix epoch,
    pub last_keep_alive_ms: u64,
    /// and how long ago that is.
    pub keep_alive_age_ms: u64,
    /// The number of its last command.
    pub sequence: u64,
    /// The number through which it has acknowledged the answers.
    pub acknowledged_sequence: u64,
    /// The index of its last event,
    pub event_index: u64,
    /// and the index through which it has acknowledged events.
    pub acknowledged_index: u64,
    /// Events that are not acknowledged.
    pub queue_depth: u64,
    /// The server its client talked to last.
    pub server: Option<u64>,
    /// The locks it holds, at most 100 of them,
    pub locks: Vec<Vec<u8>>,
    /// and its ephemeral keys, at most 100 of them.
    pub ephemeral_keys: Vec<Vec<u8>>,
}

/// Sessions in order of their ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionPage {
    /// They, without locks and keys.
    pub sessions: Vec<SessionView>,
    /// The id after which the next page starts; `None`: there is none.
    pub next: Option<u64>,
}

/// Asks for a session's events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poll {
    /// Whose.
    pub session: u64,
    /// Acknowledges all through this index; `None`: nothing.
    pub acknowledge: Option<u64>,
    /// Asks for what follows this index; `None`: the acknowledged one. A poll acknowledges what it asks behind, a stream
    /// only where it begins.
    pub after: Option<u64>,
    /// How long to be held until there is one; cut to half the session's timeout unless it is a stream.
    pub wait: Duration,
    /// A poll keeps the session alive, on arrival; the steps of a stream do not.
    pub keep_alive: bool,
    /// The number of the stream, the same in all its steps, which do not supersede each other; `None`: a poll of its own.
    pub stream: Option<u64>,
}

/// A session's events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventPage {
    /// One batch an index, bounded in bytes but at least one if there is any.
    pub batches: Vec<EventBatch>,
    /// The index of the session's last event here, 0 before the first.
    pub event_index: u64,
    /// How long it was really held at most.
    pub wait: Duration,
}

/// All events of a session at one index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventBatch {
    /// The index.
    pub index: u64,
    /// The index of the session's batch before; 0: there was none.
    pub previous: u64,
    /// The events, in order.
    pub events: Vec<SessionEvent>,
}

/// What a session is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionEvent {
    /// A key was set.
    Put {
        /// The watch it is told by.
        watch: u64,
        /// The key.
        key: Vec<u8>,
        /// Its new value, if the watch wants values.
        value: Option<Vec<u8>>,
        /// The value's media type.
        content_type: String,
        /// The key's new version.
        version: u64,
        /// It did not exist before.
        created: bool,
    },
    /// A key was removed.
    Delete {
        /// The watch it is told by.
        watch: u64,
        /// The key.
        key: Vec<u8>,
        /// The version it had.
        version: u64,
    },
    /// A key's time was over.
    Expire {
        /// The watch it is told by.
        watch: u64,
        /// The key.
        key: Vec<u8>,
        /// The version it had.
        version: u64,
    },
    /// A lock that it queued for is its own.
    LockAcquired {
        /// The lock.
        lock: Vec<u8>,
        /// The token.
        token: u64,
        /// How it is held.
        mode: LockMode,
    },
    /// A lock was taken away from it.
    LockLost {
        /// The lock.
        lock: Vec<u8>,
        /// The token that is void.
        token: u64,
    },
}

/// Something that happened to a server or to the cluster, as this server saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterEvent {
    /// Its number at this server: rising, with gaps never, across restarts too.
    pub id: u64,
    /// When, milliseconds since the Unix epoch by this server's clock.
    pub time_ms: u64,
    /// `role`, `leader`, `vote_granted`, `vote_refused`, `poll_granted`, `poll_refused`, `join`, `leave`, `type`, `status`,
    /// `removed`, …
    pub kind: &'static str,
    /// The term.
    pub term: u64,
    /// The member that it is about.
    pub member: u64,
    /// Who gave or refused it a vote, of those.
    pub voter: Option<u64>,
    /// This server's role since, of `role`.
    pub role: Option<&'static str>,
    /// The member's type since, of `join` and `type`.
    pub member_type: Option<&'static str>,
    /// The member's status since, of `status`.
    pub status: Option<&'static str>,
    /// Why.
    pub reason: Option<String>,
}

/// A part of a server's feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Feed {
    /// What follows, perhaps nothing.
    Events {
        /// They.
        events: Vec<ClusterEvent>,
        /// The last number given so far.
        last: u64,
    },
    /// What follows is no longer kept, or was never given by this server.
    Trimmed {
        /// Ask for what follows this.
        resume: u64,
    },
}

/// What a transaction asks about the keys. A key that does not exist has version 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Predicate {
    /// All of these hold (none: true).
    All(Vec<Predicate>),
    /// At least one of these holds (none: false).
    Any(Vec<Predicate>),
    /// This does not hold.
    Not(Box<Predicate>),
    /// The key has this version.
    Version {
        /// The key.
        key: Vec<u8>,
        /// Its version; 0: it does not exist.
        version: u64,
    },
    /// The key exists, or does not.
    Exists {
        /// The key.
        key: Vec<u8>,
        /// Whether it must.
        exists: bool,
    },
    /// The key exists and has this value.
    Value {
        /// The key.
        key: Vec<u8>,
        /// Its value.
        value: Vec<u8>,
    },
    /// The token holds the lock.
    Lock {
        /// The lock's name.
        lock: Vec<u8>,
        /// The token.
        token: u64,
    },
}

/// One step of a transaction. A later one sees what the earlier ones did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Sets a key.
    Put {
        /// The key.
        key: Vec<u8>,
        /// Its value.
        value: Vec<u8>,
        /// The value's media type.
        content_type: String,
        /// How long it lives from now on, in milliseconds; 0: until it is removed.
        ttl_ms: u64,
    },
    /// Removes a key.
    Delete {
        /// The key.
        key: Vec<u8>,
    },
    /// Reads a key.
    Get {
        /// The key.
        key: Vec<u8>,
    },
}

/// What one step of a transaction answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperationOutput {
    /// The key was set; its version is the answer's index.
    Put {
        /// It did not exist before.
        created: bool,
    },
    /// The key is gone.
    Deleted {
        /// The version it had; `None` if it did not exist.
        version: Option<u64>,
    },
    /// The key, if it exists.
    Value(Option<Item>),
}

/// What a command answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandOutput {
    /// The key was set; its version is the answer's index.
    Put {
        /// It did not exist before.
        created: bool,
    },
    /// The key is gone.
    Deleted {
        /// The version it had; `None` if it did not exist.
        version: Option<u64>,
    },
    /// Nothing was changed: the condition does not hold.
    ConditionFailed {
        /// The version that the key has.
        version: Option<u64>,
    },
    /// Keys were removed.
    DeletedMany {
        /// How many.
        deleted: u64,
        /// There are more that begin so.
        more: bool,
    },
    /// One of a transaction's lists was carried out.
    Transaction {
        /// The condition held.
        succeeded: bool,
        /// What its operations answer, in order.
        results: Vec<OperationOutput>,
    },
    /// Nothing was changed: a transaction would have read more than its bound.
    ResultTooLarge,
    /// What a batch's commands answer, in order.
    Batch(Vec<CommandOutput>),
    /// Nothing was changed: the token does not hold the lock.
    TokenStale {
        /// The tokens that do.
        holders: Vec<LockHolder>,
    },
    /// The session is told of changes.
    Watching {
        /// The watch's id: the index at which it was made.
        watch: u64,
        /// It did not exist before.
        created: bool,
    },
    /// The watch is gone.
    Unwatched {
        /// It existed.
        existed: bool,
    },
    /// The session has as many watches as it may have; nothing was changed.
    TooManyWatches,
    /// The lock was released, or the queue left.
    Unlocked {
        /// It was held; else the session waited for it.
        held: bool,
    },
    /// The lock was taken away.
    Revoked {
        /// The token that is void.
        token: u64,
    },
    /// Nothing was changed: the session neither has the lock nor waits for it.
    LockNotFound,
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// One key.
    Get {
        /// The key.
        key: Vec<u8>,
    },
    /// Keys in order.
    List {
        /// Only those that begin so.
        prefix: Vec<u8>,
        /// Only from this key on: a page's `next`.
        start: Option<Vec<u8>>,
        /// At most this many.
        limit: u64,
        /// And, from the second on, at most this many bytes of keys and values.
        max_bytes: u64,
        /// Keys that hold this behind the prefix are folded into one [`Listed::Prefix`], which ends with it.
        separator: Option<Vec<u8>>,
        /// Without it, values are left empty.
        values: bool,
    },
    /// One lock.
    Lock {
        /// Its name.
        lock: Vec<u8>,
    },
    /// Locks in order of their names.
    Locks {
        /// Only those behind this name.
        after: Option<Vec<u8>>,
        /// At most this many.
        limit: u64,
    },
}

/// A key as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The key.
    pub key: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
    /// The value's media type.
    pub content_type: String,
    /// The index of its last change.
    pub version: u64,
    /// The index of the change that created it.
    pub created_index: u64,
    /// How long it lives from its last change on, in milliseconds; 0: until it is removed.
    pub ttl_ms: u64,
    /// The session that it goes with.
    pub session: Option<u64>,
}

/// What a query answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueryOutput {
    /// The key, if it exists.
    Value(Option<Item>),
    /// Keys in order.
    Page {
        /// The keys, and what stands for several.
        items: Vec<Listed>,
        /// Where the next page starts; `None`: there is none.
        next: Option<Vec<u8>>,
    },
    /// The lock, if anybody has it or waits for it.
    Lock(Option<LockView>),
    /// Locks in order.
    Locks {
        /// They.
        locks: Vec<LockView>,
        /// The name behind which the next page starts; `None`: there is none.
        next: Option<Vec<u8>>,
    },
}

/// What stands in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listed {
    /// A key.
    Key(Item),
    /// All keys that begin so.
    Prefix(Vec<u8>),
}

/// What became of a key that was waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// The key, if it exists.
    pub item: Option<Item>,
    /// What was waited for has happened; else the wait is over.
    pub changed: bool,
}

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryView {
    /// Its place.
    pub index: u64,
    /// The term of the leader that appended it.
    pub term: u64,
    /// Log time, milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// `initialize`, `configuration`, `command`, `tick`, `register`, `keep_alive` or `unregister`.
    pub kind: &'static str,
    /// Its compaction mode, such as `release` or `tombstone`.
    pub mode: &'static str,
    /// The bytes it carries.
    pub bytes: u64,
    /// What a command says.
    pub command: Option<Command>,
}

/// How fresh an answer must be, or was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// As of a moment after the request arrived.
    Linearizable,
    /// The same while clocks behave.
    Lease,
    /// At or above an index.
    Sequential,
}

impl Consistency {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Linearizable => "linearizable",
            Self::Lease => "lease",
            Self::Sequential => "sequential",
        }
    }
}

/// How to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    /// How fresh.
    pub consistency: Consistency,
    /// The lowest index to answer from; the fresher consistencies are never below it.
    pub index: u64,
    /// How long the caller waits.
    pub timeout: Duration,
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
    /// This server keeps no state of its own now, being a reserve member or about to be filled; nothing was done.
    Stateless,
    /// Whoever would carry it out does not know this operation, being of another version; nothing was done.
    Malformed,
    /// The answer makes no sense: a fault of ours. Whether a command was carried out is unknown.
    Internal,
}

/// What a compaction has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compaction {
    /// Something was rewritten.
    pub compacted: bool,
    /// How many files the log has now.
    pub segments: u64,
    /// The bytes of its entries before,
    pub bytes_before: u64,
    /// and after.
    pub bytes_after: u64,
}

/// A snapshot of a server's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotTaken {
    /// It was taken now; else there was one as new.
    pub new: bool,
    /// The last entry whose effect it holds.
    pub index: u64,
    /// The term of that entry.
    pub term: u64,
    /// The bytes of its file.
    pub bytes: u64,
    /// How many entries of the log it refers to.
    pub references: u64,
}

/// A backup on its way.
pub struct Backup {
    /// The last entry whose effect it holds.
    pub index: u64,
    /// The term of that entry.
    pub term: u64,
    /// Its bytes, in pieces of bounded size. Whoever reads must be able to tell that it broke off: nothing after an error
    /// comes.
    pub pieces: Boxed<Result<Vec<u8>, Failure>>,
}

impl std::fmt::Debug for Backup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backup").field("index", &self.index).field("term", &self.term).finish_non_exhaustive()
    }
}

/// Why the cluster is not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// The change was decided on an older configuration.
    Stale {
        /// The index of the current one.
        current: u64,
    },
    /// Other changes are under way.
    Busy,
    /// Too few voters would be left that can be heard.
    LosesQuorum {
        /// Voters that would be left,
        voters: u32,
        /// and how many of them are heard.
        available: u32,
    },
    /// No voter would be left.
    LastVoter,
    /// The member does not vote, so it cannot lead.
    NotVoter,
    /// The member is not heard, so it cannot lead.
    Unreachable,
    /// The member did not take over in time; the leader stays.
    NotTransferred,
}

/// What a member can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum MemberKind {
    /// It votes.
    Active,
    /// It keeps the state and does not vote.
    Passive,
    /// It knows the configuration only.
    Reserve,
}

/// A change of one member, decided on the configuration of an index; with `force` even if it costs the quorum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberChange {
    /// It becomes something else.
    Type {
        /// Which member.
        id: u64,
        /// What it is to be.
        kind: MemberKind,
        /// The configuration's index.
        configuration: u64,
        /// Even if it costs the quorum.
        force: bool,
    },
    /// It goes.
    Remove {
        /// Which member.
        id: u64,
        /// The configuration's index.
        configuration: u64,
        /// Even if it costs the quorum.
        force: bool,
    },
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Its client ended it.
    Closed,
    /// It was not kept alive.
    TimedOut,
    /// It left too many events unacknowledged.
    QueueFull,
    /// Long ago: the reason is forgotten.
    Forgotten,
}

impl Ended {
    /// As the API has it: `closed`, `timeout`, `queue_full`, `unknown`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::TimedOut => "timeout",
            Self::QueueFull => "queue_full",
            Self::Forgotten => "unknown",
        }
    }
}

/// Who keeps the data.
///
/// Every future ends within its timeout, by itself: this crate adds no second clock. It may be dropped before (the
/// client is gone): that ends the waiting, never a command that was submitted.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
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
    /// Hands leadership to a member; returns who leads then.
    async fn transfer(&self, member: u64, timeout: Duration) -> Result<Answer<u64>, Failure>;
    /// The number of this server.
    fn id(&self) -> u64;
    /// The cluster as this server knows it.
    fn cluster(&self) -> ClusterView;
    /// This server.
    fn server(&self) -> ServerView;
    /// What must hold for this server to be ready, and whether it does.
    fn checks(&self) -> Checks;
}
