//! The port: what this crate asks of whoever keeps the data.

use crate::status::{Checks, ClusterView, ServerView};
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
        /// Only those behind this key.
        after: Option<Vec<u8>>,
        /// At most this many.
        limit: u64,
        /// And, from the second on, at most this many bytes of keys and values.
        max_bytes: u64,
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
}

/// What a query answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueryOutput {
    /// The key, if it exists.
    Value(Option<Item>),
    /// Keys in order.
    Page {
        /// The keys.
        items: Vec<Item>,
        /// There are more behind the last.
        more: bool,
    },
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
    /// The number of this server.
    fn id(&self) -> u64;
    /// The cluster as this server knows it.
    fn cluster(&self) -> ClusterView;
    /// This server.
    fn server(&self) -> ServerView;
    /// What must hold for this server to be ready, and whether it does.
    fn checks(&self) -> Checks;
}
