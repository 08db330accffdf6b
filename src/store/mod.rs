//! The product's state machine: keys and their values.
//!
//! Invariants: a key's version is the log index of its last change, so it is never used twice; each key holds the log
//! entry of its last put, and no other entry is held.

use crate::engine::machine::{Commit, CompactionMode, Context, Held, StateMachine};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Bound;

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
    fn holds(&self, version: Option<u64>) -> bool {
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
    List {
        /// Only those that begin so.
        #[serde(with = "serde_bytes")]
        prefix: Vec<u8>,
        /// Only those behind this key.
        after: Option<Vec<u8>>,
        /// At most this many,
        limit: u64,
        /// and, from the second on, at most this many bytes of keys and values.
        max_bytes: u64,
    },
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
}

/// What a query answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
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

#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    value: Vec<u8>,
    content_type: String,
    version: u64,
    created_index: u64,
    held: Held,
}

impl Record {
    fn item(&self, key: &[u8]) -> Item {
        Item {
            key: key.to_vec(),
            value: self.value.clone(),
            content_type: self.content_type.clone(),
            version: self.version,
            created_index: self.created_index,
        }
    }
}

/// All keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Store {
    keys: BTreeMap<Vec<u8>, Record>,
}

impl Store {
    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    fn version(&self, key: &[u8]) -> Option<u64> {
        self.keys.get(key).map(|r| r.version)
    }

    fn list(&self, prefix: &[u8], after: Option<&[u8]>, limit: u64, max_bytes: u64) -> Answer {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let (mut items, mut bytes) = (Vec::new(), 0);
        for (key, record) in self.keys.range::<[u8], _>((start, Bound::Unbounded)) {
            if !key.starts_with(prefix) {
                break;
            }
            bytes += (key.len() + record.value.len()) as u64;
            if items.len() as u64 >= limit || (!items.is_empty() && bytes > max_bytes) {
                return Answer::Page { items, more: true };
            }
            items.push(record.item(key));
        }
        Answer::Page { items, more: false }
    }
}

impl StateMachine for Store {
    type Command = Command;
    type Query = Query;
    type Output = Output;
    type Answer = Answer;
    type Event = ();

    fn mode(command: &Command) -> CompactionMode {
        match command {
            Command::Put { .. } => CompactionMode::Release,
            Command::Delete { .. } => CompactionMode::Tombstone,
        }
    }

    fn apply(&mut self, commit: Commit<Command>, context: &mut Context<()>) -> Output {
        let (Command::Put { key, condition, .. } | Command::Delete { key, condition }) = &commit.operation;
        let version = self.version(key);
        if !condition.holds(version) {
            return Output::ConditionFailed { version };
        }
        match commit.operation {
            Command::Put { key, value, content_type, .. } => {
                let held = context.hold();
                let created_index = self.keys.get(&key).map_or(commit.index, |r| r.created_index);
                let record = Record { value, content_type, version: commit.index, created_index, held };
                let replaced = self.keys.insert(key, record);
                let created = replaced.is_none();
                if let Some(replaced) = replaced {
                    context.release(replaced.held);
                }
                Output::Put { created }
            }
            Command::Delete { key, .. } => {
                if let Some(removed) = self.keys.remove(&key) {
                    context.release(removed.held);
                }
                Output::Deleted { version }
            }
        }
    }

    fn query(&self, query: Query) -> Answer {
        match query {
            Query::Get { key } => Answer::Value(self.keys.get(&key).map(|r| r.item(&key))),
            Query::List { prefix, after, limit, max_bytes } => self.list(&prefix, after.as_deref(), limit, max_bytes),
        }
    }
}

#[cfg(test)]
mod tests;
