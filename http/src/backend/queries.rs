//! Questions, and how they are asked.

use super::locks::LockView;
use std::time::Duration;

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
