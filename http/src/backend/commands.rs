//! Commands and transactions, and what comes of them.

use super::locks::{LockHolder, LockMode};
use super::queries::Item;

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
    /// Asks for a lock. Only shown, as an entry of the log: it is asked for by [`Keys::lock`](super::Keys::lock).
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
