//! The product's state machine: keys and their values.
//!
//! Invariants: a key's version is the log index of its last change, so it is never used twice; each key holds the log
//! entry of its last put, and no other entry is held. A key that was put with a TTL has one timer, which removes it, and a
//! key without has none.

mod list;
mod removed;
mod types;

pub use types::{
    Answer, Command, Condition, Item, Listed, Listing, Operation, OperationOutput, Output, Predicate, Query,
};

use crate::engine::machine::{
    Commit, CompactionMode, Context, Held, StateMachine, Timer, TimerId, decode_operation, encode_operation,
};
use removed::Removed;
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    value: Vec<u8>,
    content_type: String,
    version: u64,
    created_index: u64,
    held: Held,
    expiry: Option<Expiry>,
}

/// A TTL that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Expiry {
    ttl_ms: u64,
    timer: TimerId,
}

/// What a put stores.
struct Value {
    value: Vec<u8>,
    content_type: String,
    ttl_ms: u64,
}

impl Record {
    fn item(&self, key: &[u8], value: bool) -> Item {
        Item {
            key: key.to_vec(),
            value: if value { self.value.clone() } else { Vec::new() },
            content_type: self.content_type.clone(),
            version: self.version,
            created_index: self.created_index,
            ttl_ms: self.expiry.map_or(0, |e| e.ttl_ms),
        }
    }
}

/// All keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Store {
    keys: BTreeMap<Vec<u8>, Record>,
    removed: Removed,
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

    /// Returns whether the key is new.
    fn put(&mut self, key: Vec<u8>, value: Value, context: &mut Context<()>) -> bool {
        context.touch(&key);
        let (held, version) = (context.hold(), context.index());
        let Value { value, content_type, ttl_ms } = value;
        let expiry = (ttl_ms > 0).then(|| {
            let due = context.time().saturating_add(ttl_ms);
            Expiry { ttl_ms, timer: context.schedule(due, encode_operation(&serde_bytes::Bytes::new(&key))) }
        });
        match self.keys.entry(key) {
            std::collections::btree_map::Entry::Occupied(mut there) => {
                let created_index = there.get().created_index;
                let record = Record { value, content_type, version, created_index, held, expiry };
                Self::forget(there.insert(record), context);
                false
            }
            std::collections::btree_map::Entry::Vacant(free) => {
                self.removed.forget(free.key());
                free.insert(Record { value, content_type, version, created_index: version, held, expiry });
                true
            }
        }
    }

    /// What hangs on a record that is no more.
    fn forget(record: Record, context: &mut Context<()>) {
        context.release(record.held);
        if let Some(expiry) = record.expiry {
            context.cancel(expiry.timer);
        }
    }

    /// Returns the version that the key had.
    fn remove(&mut self, key: Vec<u8>, context: &mut Context<()>) -> Option<u64> {
        let record = self.keys.remove(&key)?;
        let version = record.version;
        context.touch(&key);
        Self::forget(record, context);
        self.removed.note(key, context.index());
        Some(version)
    }

    fn remove_prefix(&mut self, prefix: &[u8], limit: u64, context: &mut Context<()>) -> Output {
        let mut matching = self.from(prefix).map(|(key, _)| key).take_while(|key| key.starts_with(prefix)).cloned();
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let keys: Vec<Vec<u8>> = matching.by_ref().take(limit).collect();
        let more = matching.next().is_some();
        let deleted = keys.len() as u64;
        for key in keys {
            self.remove(key, context);
        }
        Output::DeletedMany { deleted, more }
    }

    fn holds(&self, predicate: &Predicate) -> bool {
        match predicate {
            Predicate::All(all) => all.iter().all(|p| self.holds(p)),
            Predicate::Any(any) => any.iter().any(|p| self.holds(p)),
            Predicate::Not(not) => !self.holds(not),
            Predicate::Version { key, version } => self.version(key).unwrap_or(0) == *version,
            Predicate::Exists { key, exists } => self.keys.contains_key(key) == *exists,
            Predicate::Value { key, value } => self.keys.get(key).is_some_and(|r| r.value == *value),
        }
    }

    /// How many bytes of values these operations would read.
    fn read_bytes(&self, operations: &[Operation]) -> u64 {
        let (mut written, mut bytes) = (BTreeMap::<&[u8], usize>::new(), 0);
        for operation in operations {
            match operation {
                Operation::Put { key, value, .. } => drop(written.insert(key, value.len())),
                Operation::Delete { key } => drop(written.insert(key, 0)),
                Operation::Get { key } => {
                    let stored = || self.keys.get(key).map_or(0, |r| r.value.len());
                    bytes += written.get(key.as_slice()).copied().unwrap_or_else(stored) as u64;
                }
            }
        }
        bytes
    }

    fn operate(&mut self, operation: Operation, context: &mut Context<()>) -> OperationOutput {
        match operation {
            Operation::Put { key, value, content_type, ttl_ms } => {
                OperationOutput::Put { created: self.put(key, Value { value, content_type, ttl_ms }, context) }
            }
            Operation::Delete { key } => OperationOutput::Deleted { version: self.remove(key, context) },
            Operation::Get { key } => OperationOutput::Value(self.keys.get(&key).map(|r| r.item(&key, true))),
        }
    }

    fn command(&mut self, command: Command, context: &mut Context<()>) -> Output {
        if let Command::Put { key, condition, .. } | Command::Delete { key, condition } = &command
            && *condition != Condition::Always
        {
            let version = self.version(key);
            if !condition.holds(version) {
                return Output::ConditionFailed { version };
            }
        }
        match command {
            Command::Put { key, value, content_type, ttl_ms, .. } => {
                Output::Put { created: self.put(key, Value { value, content_type, ttl_ms }, context) }
            }
            Command::Delete { key, .. } => Output::Deleted { version: self.remove(key, context) },
            Command::DeletePrefix { prefix, limit } => self.remove_prefix(&prefix, limit, context),
            Command::Transaction { condition, then, otherwise, max_bytes } => {
                let succeeded = self.holds(&condition);
                let operations = if succeeded { then } else { otherwise };
                if self.read_bytes(&operations) > max_bytes {
                    return Output::ResultTooLarge;
                }
                let results = operations.into_iter().map(|o| self.operate(o, context)).collect();
                Output::Transaction { succeeded, results }
            }
            Command::Batch(commands) => Output::Batch(commands.into_iter().map(|c| self.command(c, context)).collect()),
        }
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
            Command::Put { ttl_ms: 1.., .. } => CompactionMode::Expiring,
            Command::Put { .. } => CompactionMode::Release,
            // What removes a key must be on all servers before it is forgotten.
            Command::Delete { .. } | Command::DeletePrefix { .. } => CompactionMode::Tombstone,
            Command::Transaction { then, otherwise, .. } => {
                let removes = |o: &Operation| matches!(o, Operation::Delete { .. });
                let any = then.iter().chain(otherwise).any(removes);
                if any { CompactionMode::Tombstone } else { CompactionMode::Release }
            }
            Command::Batch(commands) => {
                let any = commands.iter().any(|c| Self::mode(c) == CompactionMode::Tombstone);
                if any { CompactionMode::Tombstone } else { CompactionMode::Release }
            }
        }
    }

    fn apply(&mut self, commit: Commit<Command>, context: &mut Context<()>) -> Output {
        self.command(commit.operation, context)
    }

    /// A key's time is over. Its timer is cancelled whenever the key is changed, so the one that fires is its last.
    fn timer(&mut self, timer: Timer, context: &mut Context<()>) {
        let key: serde_bytes::ByteBuf = decode_operation(&timer.data).unwrap_or_default();
        if self.keys.get(key.as_slice()).is_some_and(|r| r.expiry.is_some_and(|e| e.timer == timer.id)) {
            self.remove(key.into_vec(), context);
        }
    }

    fn query(&self, query: Query) -> Answer {
        match query {
            Query::Get { key } => match self.keys.get(&key) {
                Some(record) => Answer::Value { item: Some(record.item(&key, true)), changed: record.version },
                None => Answer::Value { item: None, changed: self.removed.last(&key) },
            },
            Query::List(listing) => self.list(&listing),
        }
    }
}

#[cfg(test)]
mod tests;
