//! The product's state machine: keys and their values, watches and locks.
//!
//! Invariants: a key's version is the log index of its last change, so it is never used twice; each key holds the log
//! entry of its last put, and no other entry is held. A key that was put with a TTL has one timer, which removes it, and a
//! key without has none. An ephemeral key's session is open, and `parts` names it. A session without keys, watches and locks
//! has no part.

mod list;
mod locks;
mod removed;
mod types;
mod watches;

pub use types::{
    Answer, Command, Condition, Event, Item, Listed, Listing, LockHolder, LockMode, LockView, LockWaiter, Operation,
    OperationOutput, Output, Predicate, Query, Target,
};

use crate::engine::SessionId;
use crate::engine::machine::{
    Commit, CompactionMode, Context, Held, StateMachine, Timer, TimerId, decode_operation, encode_operation,
};
#[allow(unused_imports)] // without planted bugs the macro expands to `false`
use crate::engine::planted_here;
use locks::{Lock, Wish};
use removed::Removed;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use watches::{Change, Watches};

#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    value: Vec<u8>,
    content_type: String,
    version: u64,
    created_index: u64,
    held: Held,
    expiry: Option<Expiry>,
    /// It goes with this session; 0: with none.
    session: SessionId,
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
    /// 0: none.
    session: SessionId,
}

/// What hangs on a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Part {
    keys: BTreeSet<Vec<u8>>,
    locks: BTreeSet<Vec<u8>>,
    watches: BTreeMap<u64, Target>,
}

/// What a timer is for. In the log's state: only ever add variants at the end.
#[derive(Debug, Serialize, Deserialize)]
enum TimerData {
    /// A key's time is over.
    Key(#[serde(with = "serde_bytes")] Vec<u8>),
    /// A wait for a lock is over.
    GiveUp {
        #[serde(with = "serde_bytes")]
        lock: Vec<u8>,
        session: SessionId,
    },
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
            session: self.session,
        }
    }
}

/// All keys, watches and locks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Store {
    keys: BTreeMap<Vec<u8>, Record>,
    removed: Removed,
    locks: BTreeMap<Vec<u8>, Lock>,
    watches: Watches,
    parts: BTreeMap<SessionId, Part>,
    last_token: u64,
    last_watch: u64,
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

    fn part(&mut self, session: SessionId) -> &mut Part {
        self.parts.entry(session).or_default()
    }

    fn forget_empty_part(&mut self, session: SessionId) {
        if self.parts.get(&session).is_some_and(|part| *part == Part::default()) {
            self.parts.remove(&session);
        }
    }

    /// Returns whether the key is new.
    fn put(&mut self, key: Vec<u8>, value: Value, context: &mut Context<Event>) -> bool {
        context.touch(&[b"k", &key]);
        let (held, version) = (context.hold(), context.index());
        let Value { value, content_type, ttl_ms, session } = value;
        if session != 0 {
            self.part(session).keys.insert(key.clone());
        }
        let expiry = (ttl_ms > 0).then(|| {
            let due = context.time().saturating_add(ttl_ms);
            Expiry { ttl_ms, timer: context.schedule(due, encode_operation(&TimerData::Key(key.clone()))) }
        });
        let created_index = self.keys.get(&key).map_or(version, |there| there.created_index);
        let record = Record { value, content_type, version, created_index, held, expiry, session };
        let created = created_index == version && !self.keys.contains_key(&key);
        self.watches.tell(&key, &Change::Put { record: &record, created }, context);
        match self.keys.entry(key) {
            std::collections::btree_map::Entry::Occupied(mut there) => {
                let before = there.insert(record);
                let key = there.key().clone();
                self.forget(&key, before, session, context);
            }
            std::collections::btree_map::Entry::Vacant(free) => {
                self.removed.forget(free.key());
                free.insert(record);
            }
        }
        created
    }

    /// What hangs on a record that is no more; the key goes with this session now (0: none).
    fn forget(&mut self, key: &[u8], record: Record, session: SessionId, context: &mut Context<Event>) {
        context.release(record.held);
        if let Some(expiry) = record.expiry {
            context.cancel(expiry.timer);
        }
        if record.session != 0 && record.session != session {
            if let Some(part) = self.parts.get_mut(&record.session) {
                part.keys.remove(key);
            }
            self.forget_empty_part(record.session);
        }
    }

    /// Returns the version that the key had.
    fn remove(&mut self, key: Vec<u8>, context: &mut Context<Event>) -> Option<u64> {
        let version = self.version(&key)?;
        self.remove_telling(key, &Change::Delete { version }, context);
        Some(version)
    }

    fn remove_telling(&mut self, key: Vec<u8>, change: &Change<'_>, context: &mut Context<Event>) {
        let Some(record) = self.keys.remove(&key) else { return };
        context.touch(&[b"k", &key]);
        self.watches.tell(&key, change, context);
        self.forget(&key, record, 0, context);
        self.removed.note(key, context.index());
    }

    fn remove_prefix(&mut self, prefix: &[u8], limit: u64, context: &mut Context<Event>) -> Output {
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
            Predicate::Lock { lock, token } => self.token_holds(lock, *token),
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

    fn operate(&mut self, operation: Operation, context: &mut Context<Event>) -> OperationOutput {
        match operation {
            Operation::Put { key, value, content_type, ttl_ms } => {
                let value = Value { value, content_type, ttl_ms, session: 0 };
                OperationOutput::Put { created: self.put(key, value, context) }
            }
            Operation::Delete { key } => OperationOutput::Deleted { version: self.remove(key, context) },
            Operation::Get { key } => OperationOutput::Value(self.keys.get(&key).map(|r| r.item(&key, true))),
        }
    }

    fn command(&mut self, command: Command, session: SessionId, context: &mut Context<Event>) -> Output {
        if let Command::Put { key, condition, .. } | Command::Delete { key, condition } = &command
            && *condition != Condition::Always
        {
            let version = self.version(key);
            if !condition.holds(version) {
                return Output::ConditionFailed { version };
            }
        }
        match command {
            Command::Put { ephemeral: true, .. } if session == 0 => Output::NoSession,
            Command::Put { key, value, content_type, ttl_ms, ephemeral, .. } => {
                let value = Value { value, content_type, ttl_ms, session: if ephemeral { session } else { 0 } };
                Output::Put { created: self.put(key, value, context) }
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
            Command::Batch(commands) => {
                Output::Batch(commands.into_iter().map(|c| self.command(c, session, context)).collect())
            }
            Command::Guarded { lock, token, command } => {
                let planted = planted_here!(context, GuardWithoutToken) && self.locks.contains_key(&lock);
                if !planted && !self.token_holds(&lock, token) {
                    return Output::TokenStale { holders: self.locks.get(&lock).map_or_else(Vec::new, Lock::holders) };
                }
                self.command(*command, session, context)
            }
            Command::Watch { target, values, limit } => self.watch(session, target, values, limit, context.index()),
            Command::Unwatch { watch } => self.unwatch(session, watch),
            Command::Lock { lock, mode, wait_ms, queue } => {
                self.lock(lock, session, &Wish { mode, wait_ms, queue }, context)
            }
            Command::Unlock { lock, token } => self.unlock(&lock, session, token, context),
            Command::Revoke { lock, session } => self.revoke(&lock, session, context),
        }
    }

    fn list_locks(&self, after: Option<&[u8]>, limit: u64) -> Answer {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut rest = self.locks.range::<[u8], _>((start, Bound::Unbounded));
        let locks: Vec<LockView> = rest.by_ref().take(limit).map(|(name, lock)| lock.view(name)).collect();
        let next = rest.next().and_then(|_| locks.last().map(|view| view.lock.clone()));
        Answer::Locks { locks, next }
    }
}

impl StateMachine for Store {
    type Command = Command;
    type Query = Query;
    type Output = Output;
    type Answer = Answer;
    type Event = Event;

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
            Command::Guarded { command, .. } => Self::mode(command),
            // Their effect is in the next snapshot, whole.
            Command::Watch { .. }
            | Command::Unwatch { .. }
            | Command::Lock { .. }
            | Command::Unlock { .. }
            | Command::Revoke { .. } => CompactionMode::Snapshot,
        }
    }

    fn apply(&mut self, commit: Commit<Command>, context: &mut Context<Event>) -> Output {
        self.command(commit.operation, commit.session, context)
    }

    /// What the session had goes: first its watches, so that it is not told of what follows.
    fn close(&mut self, session: SessionId, context: &mut Context<Event>) {
        let Some(Part { keys, locks, watches }) = self.parts.remove(&session) else { return };
        self.unwatch_all(session, watches.into_values());
        for key in keys {
            self.remove(key, context);
        }
        self.release_all(session, &locks.into_iter().collect::<Vec<_>>(), context);
    }

    /// A key's timer is cancelled whenever the key is changed, so the one that fires is its last.
    fn timer(&mut self, timer: Timer, context: &mut Context<Event>) {
        match decode_operation(&timer.data) {
            Some(TimerData::Key(key)) => {
                if let Some(record) = self.keys.get(&key)
                    && record.expiry.is_some_and(|e| e.timer == timer.id)
                {
                    let version = record.version;
                    self.remove_telling(key, &Change::Expire { version }, context);
                }
            }
            Some(TimerData::GiveUp { lock, session }) => self.give_up(&lock, session, timer.id, context),
            None => {}
        }
    }

    fn query(&self, query: Query) -> Answer {
        match query {
            Query::Get { key } => match self.keys.get(&key) {
                Some(record) => Answer::Value { item: Some(record.item(&key, true)), changed: record.version },
                None => Answer::Value { item: None, changed: self.removed.last(&key) },
            },
            Query::List(listing) => self.list(&listing),
            Query::Lock { lock } => Answer::Lock(self.locks.get(&lock).map(|found| found.view(&lock))),
            Query::Locks { after, limit } => self.list_locks(after.as_deref(), limit),
            Query::Holdings { session, limit } => {
                let limit = usize::try_from(limit).unwrap_or(usize::MAX);
                let some = |set: &BTreeSet<Vec<u8>>| set.iter().take(limit).cloned().collect();
                let part = self.parts.get(&session);
                Answer::Holdings {
                    locks: part.map_or_else(Vec::new, |part| some(&part.locks)),
                    keys: part.map_or_else(Vec::new, |part| some(&part.keys)),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
