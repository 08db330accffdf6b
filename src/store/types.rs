//! What the store is told and asked, and what it answers. These are in the log and on the wire: only ever add variants
//! at the end.

use crate::engine::SessionId;
use serde::{Deserialize, Serialize};

/// What a write requires of the key it changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

impl Condition {
    pub(super) fn holds(&self, version: Option<u64>) -> bool {
        match self {
            Self::Always => true,
            Self::Absent => version.is_none(),
            Self::Exists => version.is_some(),
            Self::Versions(any) => version.is_some_and(|v| any.contains(&v)),
        }
    }
}

/// A change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Sets a key's value.
    Put {
        /// The key.
        #[serde(with = "serde_bytes")]
        key: Vec<u8>,
        /// Its new value.
        #[serde(with = "serde_bytes")]
        value: Vec<u8>,
        /// The value's media type.
        content_type: String,
        /// How long it lives from now on, in milliseconds of log time; 0: until it is removed.
        ttl_ms: u64,
        /// It goes with the session that puts it.
        ephemeral: bool,
        /// What must hold.
        condition: Condition,
    },
    /// Removes a key.
    Delete {
        /// The key.
        #[serde(with = "serde_bytes")]
        key: Vec<u8>,
        /// What must hold.
        condition: Condition,
    },
    /// Removes the first keys that begin so, all at once.
    DeletePrefix {
        /// How they begin; empty: all keys.
        #[serde(with = "serde_bytes")]
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
        /// If the operations would read more bytes of values than this, nothing is done. Part of the command, so that
        /// servers of several versions agree.
        max_bytes: u64,
    },
    /// Several commands in order, at one index; one whose condition fails does not stop the others.
    Batch(Vec<Command>),
    /// Carried out only if this token holds this lock.
    Guarded {
        /// The lock's name.
        #[serde(with = "serde_bytes")]
        lock: Vec<u8>,
        /// The token.
        token: u64,
        /// What is to be done.
        command: Box<Command>,
    },
    /// The session is told of changes.
    Watch {
        /// Of what.
        target: Target,
        /// Events of puts carry the value.
        values: bool,
        /// If the session has so many watches, it gets no further one. Part of the command, so that servers of several
        /// versions agree.
        limit: u64,
    },
    /// It is told no more.
    Unwatch {
        /// The watch.
        watch: u64,
    },
    /// The session asks for a lock.
    Lock {
        /// Its name.
        #[serde(with = "serde_bytes")]
        lock: Vec<u8>,
        /// How it is wanted.
        mode: LockMode,
        /// For how long a place in the queue is kept, in milliseconds of log time; 0: none is taken.
        wait_ms: u64,
        /// The place is kept until the lock is granted, and an event tells.
        queue: bool,
    },
    /// The session releases a lock, or leaves its queue.
    Unlock {
        /// The lock's name.
        #[serde(with = "serde_bytes")]
        lock: Vec<u8>,
        /// Only if it is held with this token.
        token: Option<u64>,
    },
    /// A lock is taken away from a session.
    Revoke {
        /// The lock's name.
        #[serde(with = "serde_bytes")]
        lock: Vec<u8>,
        /// The holder.
        session: SessionId,
    },
}

/// What a watch is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// This key.
    Key(#[serde(with = "serde_bytes")] Vec<u8>),
    /// All keys that begin so; empty: all keys.
    Prefix(#[serde(with = "serde_bytes")] Vec<u8>),
}

/// How a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LockMode {
    /// By one alone.
    Exclusive,
    /// Together with others that share it.
    Shared,
}

/// Who has a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockHolder {
    /// The session.
    pub session: SessionId,
    /// Its fencing token.
    pub token: u64,
    /// How it is held.
    pub mode: LockMode,
    /// Since when, in log time.
    pub since: u64,
}

/// Who waits for a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockWaiter {
    /// The session.
    pub session: SessionId,
    /// How it wants to hold it.
    pub mode: LockMode,
    /// Since when, in log time.
    pub since: u64,
}

/// A lock as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockView {
    /// Its name.
    #[serde(with = "serde_bytes")]
    pub lock: Vec<u8>,
    /// Who has it, in the order of their tokens.
    pub holders: Vec<LockHolder>,
    /// Who waits, first come first.
    pub queue: Vec<LockWaiter>,
}

/// What a session is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// A key was set.
    Put {
        /// The watch it is told by.
        watch: u64,
        /// The key.
        #[serde(with = "serde_bytes")]
        key: Vec<u8>,
        /// Its value, if the watch wants it.
        value: Option<serde_bytes::ByteBuf>,
        /// The value's media type.
        content_type: String,
        /// The key's version.
        version: u64,
        /// It did not exist before.
        created: bool,
    },
    /// A key was removed.
    Delete {
        /// The watch it is told by.
        watch: u64,
        /// The key.
        #[serde(with = "serde_bytes")]
        key: Vec<u8>,
        /// The version it had.
        version: u64,
    },
    /// A key's time was over.
    Expire {
        /// The watch it is told by.
        watch: u64,
        /// The key.
        #[serde(with = "serde_bytes")]
        key: Vec<u8>,
        /// The version it had.
        version: u64,
    },
    /// A lock that it queued for is its own.
    LockAcquired {
        /// The lock.
        #[serde(with = "serde_bytes")]
        lock: Vec<u8>,
        /// The token.
        token: u64,
        /// How it is held.
        mode: LockMode,
    },
    /// A lock was taken away from it.
    LockLost {
        /// The lock.
        #[serde(with = "serde_bytes")]
        lock: Vec<u8>,
        /// The token that is void.
        token: u64,
    },
}

/// What a transaction asks about the keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
        #[serde(with = "serde_bytes")]
        key: Vec<u8>,
        /// Its version; 0: it does not exist.
        version: u64,
    },
    /// The key exists, or does not.
    Exists {
        /// The key.
        #[serde(with = "serde_bytes")]
        key: Vec<u8>,
        /// Whether it must.
        exists: bool,
    },
    /// The key exists and has this value.
    Value {
        /// The key.
        #[serde(with = "serde_bytes")]
        key: Vec<u8>,
        /// Its value.
        #[serde(with = "serde_bytes")]
        value: Vec<u8>,
    },
    /// The token holds the lock.
    Lock {
        /// The lock's name.
        #[serde(with = "serde_bytes")]
        lock: Vec<u8>,
        /// The token.
        token: u64,
    },
}

/// One step of a transaction. A later one sees what the earlier ones did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// Sets a key.
    Put {
        /// The key.
        #[serde(with = "serde_bytes")]
        key: Vec<u8>,
        /// Its value.
        #[serde(with = "serde_bytes")]
        value: Vec<u8>,
        /// The value's media type.
        content_type: String,
        /// How long it lives from now on, in milliseconds of log time; 0: until it is removed.
        ttl_ms: u64,
    },
    /// Removes a key.
    Delete {
        /// The key.
        #[serde(with = "serde_bytes")]
        key: Vec<u8>,
    },
    /// Reads a key.
    Get {
        /// The key.
        #[serde(with = "serde_bytes")]
        key: Vec<u8>,
    },
}

/// What one step of a transaction answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OperationOutput {
    /// The key was set.
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Output {
    /// The key was set.
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
        /// The version that the key has; `None` if it does not exist.
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
    Batch(Vec<Output>),
    /// Nothing was changed: this needs a session.
    NoSession,
    /// Nothing was changed: the token does not hold the lock.
    TokenStale {
        /// Who does.
        holders: Vec<LockHolder>,
    },
    /// The session is told of changes.
    Watching {
        /// The watch's number.
        watch: u64,
        /// It did not exist before.
        created: bool,
    },
    /// The watch is gone.
    Unwatched {
        /// It existed.
        existed: bool,
    },
    /// Nothing was changed: the session has as many watches as it may have.
    TooManyWatches,
    /// The session has the lock.
    Granted {
        /// Its token.
        token: u64,
        /// How it is held.
        mode: LockMode,
    },
    /// The session waits for the lock.
    Queued {
        /// Its place in the queue, from 1.
        position: u64,
        /// The lock.
        view: LockView,
    },
    /// The session neither has the lock nor got a place.
    Held {
        /// The place it would get.
        position: u64,
        /// The lock.
        view: LockView,
    },
    /// The lock was released, or the queue left.
    Unlocked {
        /// It was held.
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Query {
    /// One key.
    Get {
        /// The key.
        #[serde(with = "serde_bytes")]
        key: Vec<u8>,
    },
    /// Keys in order.
    List(Listing),
    /// One lock.
    Lock {
        /// Its name.
        #[serde(with = "serde_bytes")]
        lock: Vec<u8>,
    },
    /// Locks in order of their names.
    Locks {
        /// Those behind this name.
        after: Option<Vec<u8>>,
        /// At most this many.
        limit: u64,
    },
    /// What a session has.
    Holdings {
        /// The session.
        session: SessionId,
        /// At most so many locks, and so many keys.
        limit: u64,
    },
}

/// Which keys are listed, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// Only those that begin so.
    #[serde(with = "serde_bytes")]
    pub prefix: Vec<u8>,
    /// Only from this key on: a page's `next`.
    pub start: Option<Vec<u8>>,
    /// At most this many,
    pub limit: u64,
    /// and, from the second on, at most this many bytes of keys and values.
    pub max_bytes: u64,
    /// Keys that hold this behind the prefix are folded into one [`Listed::Prefix`], which ends with it.
    pub separator: Option<Vec<u8>>,
    /// Without it, values are left empty.
    pub values: bool,
}

/// A key as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// The key.
    #[serde(with = "serde_bytes")]
    pub key: Vec<u8>,
    /// Its value.
    #[serde(with = "serde_bytes")]
    pub value: Vec<u8>,
    /// The value's media type.
    pub content_type: String,
    /// The index of its last change.
    pub version: u64,
    /// The index of the put that created it.
    pub created_index: u64,
    /// How long it lives from its last change on, in milliseconds; 0: until it is removed.
    pub ttl_ms: u64,
    /// The session that it goes with; 0: none.
    pub session: SessionId,
}

/// What stands in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Listed {
    /// A key.
    Key(Item),
    /// All keys that begin so.
    Prefix(#[serde(with = "serde_bytes")] Vec<u8>),
}

/// What a query answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The key, if it exists.
    Value {
        /// It.
        item: Option<Item>,
        /// The index of its last change, its removal included. Of a key that is not there and was not removed lately, a
        /// bound that this index is not above.
        changed: u64,
    },
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
        /// Behind this name the next page starts; `None`: there is none.
        next: Option<Vec<u8>>,
    },
    /// What a session has.
    Holdings {
        /// Locks that it holds or waits for.
        locks: Vec<Vec<u8>>,
        /// Keys that go with it.
        keys: Vec<Vec<u8>>,
    },
}
