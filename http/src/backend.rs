//! The port: what this crate asks of whoever keeps the data.

use crate::status::{Checks, ClusterView, SegmentView, ServerView};
use async_trait::async_trait;
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
    /// `initialize`, `configuration`, `command` or `tick`.
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
    /// Whoever would carry it out does not know this operation, being of another version; nothing was done.
    Malformed,
    /// The answer makes no sense: a fault of ours. Whether a command was carried out is unknown.
    Internal,
}

/// Who keeps the data.
///
/// Every future ends within its timeout, by itself: this crate adds no second clock. It may be dropped before (the
/// client is gone): that ends the waiting, never a command that was submitted.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// Carries out a command.
    async fn command(&self, command: Command, timeout: Duration) -> Result<Answer<CommandOutput>, Failure>;
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
    /// The number of this server.
    fn id(&self) -> u64;
    /// The cluster as this server knows it.
    fn cluster(&self) -> ClusterView;
    /// This server.
    fn server(&self) -> ServerView;
    /// What must hold for this server to be ready, and whether it does.
    fn checks(&self) -> Checks;
}
