//! The product's state machine: keys and their values, watches and locks.
//!
//! Invariants: a key's version is the log index of its last change, so it is never used twice; each key whose value is
//! large holds the log entry of its last put, and no other entry is held. A key that was put with a TTL has one timer, which removes it, and a
//! key without has none. An ephemeral key's session is open, and `parts` names it. A session without keys, watches and locks
//! has no part.

mod list;
mod locks;
mod removed;
mod snapshot;
mod types;
mod watches;

pub use types::{
    Answer, Command, Condition, Event, Item, Listed, Listing, LockHolder, LockMode, LockView, LockWaiter, Operation,
    OperationOutput, Output, Predicate, Query, Target,
};

use crate::engine::SessionId;
use crate::engine::machine::{
    Bincode, Commit, CompactionMode, Context, Frozen, Held, SnapshotError, SnapshotReader, StateMachine, Timer,
    TimerId, decode_operation, encode_operation,
};
#[allow(unused_imports)] // without planted bugs the macro expands to `false`
use crate::engine::planted_here;
use imbl::{OrdMap, OrdSet};
use locks::{Lock, Wish};
use removed::Removed;
use serde::{Deserialize, Serialize};
use snapshot::FrozenStore;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use watches::{Change, Watches};

/// A value of more bytes than this stays in the log, and a snapshot refers to it there; a smaller one is written into each
/// snapshot, which costs less than keeping its entry. Part of the replicated state: never change it without a new feature
/// level.
const INLINE: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    value: Vec<u8>,
    content_type: String,
    version: u64,
    created_index: u64,
    /// The entry of its put, if the value is large,
    held: Option<Held>,
    /// and which of that entry's puts it was.
    place: u32,
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
    /// Which of its entry's puts it is.
    place: u32,
}

/// What hangs on a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Part {
    keys: OrdSet<Arc<[u8]>>,
    locks: OrdSet<Arc<[u8]>>,
    /// By its number: of what, and whether with values.
    watches: OrdMap<u64, (Target, bool)>,
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

/// The number of the put at hand; the next one gets the next.
fn take(place: &mut u32) -> u32 {
    *place += 1;
    *place - 1
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
    keys: OrdMap<Arc<[u8]>, Arc<Record>>,
    removed: Removed,
    locks: OrdMap<Vec<u8>, Lock>,
    watches: Watches,
    parts: OrdMap<SessionId, Part>,
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
        let version = context.index();
        let Value { value, content_type, ttl_ms, session, place } = value;
        let held = (value.len() > INLINE).then(|| context.hold());
        if session != 0 {
            self.part(session).keys.insert(key.as_slice().into());
        }
        let expiry = (ttl_ms > 0).then(|| {
            let due = context.time().saturating_add(ttl_ms);
            Expiry { ttl_ms, timer: context.schedule(due, encode_operation(&TimerData::Key(key.clone()))) }
        });
        let there = self.keys.get_mut(key.as_slice());
        let created_index = there.as_ref().map_or(version, |there| there.created_index);
        let created = there.is_none();
        let record = Arc::new(Record { value, content_type, version, created_index, held, place, expiry, session });
        self.watches.tell(&key, &Change::Put { record: &record, created }, context);
        if let Some(there) = there {
            let before = std::mem::replace(there, record);
            self.forget(&key, &before, session, context);
        } else {
            self.removed.forget(&key);
            self.keys.insert(key.into(), record);
        }
        created
    }

    /// What hangs on a record that is no more; the key goes with this session now (0: none).
    fn forget(&mut self, key: &[u8], record: &Record, session: SessionId, context: &mut Context<Event>) {
        if let Some(held) = &record.held {
            context.release(held.clone());
        }
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
    fn remove(&mut self, key: &[u8], context: &mut Context<Event>) -> Option<u64> {
        let version = self.version(key)?;
        self.remove_telling(key, &Change::Delete { version }, context);
        Some(version)
    }

    fn remove_telling(&mut self, key: &[u8], change: &Change<'_>, context: &mut Context<Event>) {
        let Some((key, record)) = self.keys.remove_with_key(key) else { return };
        context.touch(&[b"k", &key]);
        self.watches.tell(&key, change, context);
        self.forget(&key, &record, 0, context);
        self.removed.note(key, context.index());
    }

    fn remove_prefix(&mut self, prefix: &[u8], limit: u64, context: &mut Context<Event>) -> Output {
        let mut matching = self.from(prefix).map(|(key, _)| key).take_while(|key| key.starts_with(prefix)).cloned();
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let keys: Vec<Arc<[u8]>> = matching.by_ref().take(limit).collect();
        let more = matching.next().is_some();
        let deleted = keys.len() as u64;
        for key in keys {
            self.remove(&key, context);
        }
        Output::DeletedMany { deleted, more }
    }

    fn holds(&self, predicate: &Predicate) -> bool {
        match predicate {
            Predicate::All(all) => all.iter().all(|p| self.holds(p)),
            Predicate::Any(any) => any.iter().any(|p| self.holds(p)),
            Predicate::Not(not) => !self.holds(not),
            Predicate::Version { key, version } => self.version(key).unwrap_or(0) == *version,
            Predicate::Exists { key, exists } => self.keys.contains_key(key.as_slice()) == *exists,
            Predicate::Value { key, value } => self.keys.get(key.as_slice()).is_some_and(|r| r.value == *value),
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
                    let stored = || self.keys.get(key.as_slice()).map_or(0, |r| r.value.len());
                    bytes += written.get(key.as_slice()).copied().unwrap_or_else(stored) as u64;
                }
            }
        }
        bytes
    }

    fn operate(&mut self, operation: Operation, place: &mut u32, context: &mut Context<Event>) -> OperationOutput {
        match operation {
            Operation::Put { key, value, content_type, ttl_ms } => {
                let value = Value { value, content_type, ttl_ms, session: 0, place: take(place) };
                OperationOutput::Put { created: self.put(key, value, context) }
            }
            Operation::Delete { key } => OperationOutput::Deleted { version: self.remove(&key, context) },
            Operation::Get { key } => OperationOutput::Value(self.keys.get(key.as_slice()).map(|r| r.item(&key, true))),
        }
    }

    /// `place` counts the puts of the entry, those that are not carried out too: see [`snapshot`].
    fn command(
        &mut self,
        command: Command,
        session: SessionId,
        place: &mut u32,
        context: &mut Context<Event>,
    ) -> Output {
        let own = *place;
        *place += snapshot::puts(&command);
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
                let session = if ephemeral { session } else { 0 };
                let value = Value { value, content_type, ttl_ms, session, place: own };
                Output::Put { created: self.put(key, value, context) }
            }
            Command::Delete { key, .. } => Output::Deleted { version: self.remove(&key, context) },
            Command::DeletePrefix { prefix, limit } => self.remove_prefix(&prefix, limit, context),
            Command::Transaction { condition, then, otherwise, max_bytes } => {
                let succeeded = self.holds(&condition);
                let mut place = if succeeded { own } else { own + snapshot::puts_of(&then) };
                let operations = if succeeded { then } else { otherwise };
                if self.read_bytes(&operations) > max_bytes {
                    return Output::ResultTooLarge;
                }
                let results = operations.into_iter().map(|o| self.operate(o, &mut place, context)).collect();
                Output::Transaction { succeeded, results }
            }
            Command::Batch(commands) => {
                let mut place = own;
                Output::Batch(commands.into_iter().map(|c| self.command(c, session, &mut place, context)).collect())
            }
            Command::Guarded { lock, token, command } => {
                let planted = planted_here!(context, GuardWithoutToken) && self.locks.contains_key(&lock);
                if !planted && !self.token_holds(&lock, token) {
                    return Output::TokenStale { holders: self.locks.get(&lock).map_or_else(Vec::new, Lock::holders) };
                }
                self.command(*command, session, &mut { own }, context)
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
        let mut rest = self.locks.range::<_, [u8]>((start, Bound::Unbounded));
        let locks: Vec<LockView> = rest.by_ref().take(limit).map(|(name, lock)| lock.view(name)).collect();
        let next = rest.next().and_then(|_| locks.last().map(|view| view.lock.clone()));
        Answer::Locks { locks, next }
    }
}

impl StateMachine for Store {
    type Codec = Bincode;
    type Command = Command;
    type Query = Query;
    type Output = Output;
    type Answer = Answer;
    type Event = Event;

    /// A put is live as long as its value is in the log; if it is small, never. Of several that are one command, the one
    /// counts that is dropped last: the modes that the store uses rise in that order.
    fn mode(command: &Command) -> CompactionMode {
        let one = |operation: &Operation| match operation {
            Operation::Put { ttl_ms: 1.., .. } => CompactionMode::Expiring,
            Operation::Put { .. } | Operation::Get { .. } => CompactionMode::Release,
            Operation::Delete { .. } => CompactionMode::Tombstone,
        };
        let last = |modes: &mut dyn Iterator<Item = CompactionMode>| modes.max_by_key(|&mode| mode as u8);
        match command {
            Command::Put { ttl_ms: 1.., .. } => CompactionMode::Expiring,
            Command::Put { .. } => CompactionMode::Release,
            // What removes a key must be on all servers before it is forgotten.
            Command::Delete { .. } | Command::DeletePrefix { .. } => CompactionMode::Tombstone,
            Command::Transaction { then, otherwise, .. } => {
                last(&mut then.iter().chain(otherwise).map(one)).unwrap_or(CompactionMode::Release)
            }
            Command::Batch(commands) => last(&mut commands.iter().map(Self::mode)).unwrap_or(CompactionMode::Release),
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
        self.command(commit.operation, commit.session, &mut 0, context)
    }

    /// What the session had goes: first its watches, so that it is not told of what follows.
    fn close(&mut self, session: SessionId, context: &mut Context<Event>) {
        let Some(Part { keys, locks, watches }) = self.parts.remove(&session) else { return };
        self.unwatch_all(session, watches.values().map(|(target, _)| target));
        for key in &keys {
            self.remove(key, context);
        }
        self.release_all(session, &locks, context);
    }

    /// A key's timer is cancelled whenever the key is changed, so the one that fires is its last.
    fn timer(&mut self, timer: Timer, context: &mut Context<Event>) {
        match decode_operation(&timer.data) {
            Some(TimerData::Key(key)) => {
                if let Some(record) = self.keys.get(key.as_slice())
                    && record.expiry.is_some_and(|e| e.timer == timer.id)
                {
                    let version = record.version;
                    self.remove_telling(&key, &Change::Expire { version }, context);
                }
            }
            Some(TimerData::GiveUp { lock, session }) => self.give_up(&lock, session, timer.id, context),
            None => {}
        }
    }

    fn freeze(&self) -> Option<Box<dyn Frozen>> {
        Some(Box::new(FrozenStore::of(self)))
    }

    fn install(&mut self, reader: &mut SnapshotReader<'_>) -> Result<(), SnapshotError> {
        *self = snapshot::read(reader)?;
        Ok(())
    }

    fn query(&self, query: Query) -> Answer {
        match query {
            Query::Get { key } => match self.keys.get(key.as_slice()) {
                Some(record) => Answer::Value { item: Some(record.item(&key, true)), changed: record.version },
                None => Answer::Value { item: None, changed: self.removed.last(&key) },
            },
            Query::List(listing) => self.list(&listing),
            Query::Lock { lock } => Answer::Lock(self.locks.get(&lock).map(|found| found.view(&lock))),
            Query::Locks { after, limit } => self.list_locks(after.as_deref(), limit),
            Query::Holdings { session, limit } => {
                let limit = usize::try_from(limit).unwrap_or(usize::MAX);
                let some = |set: &OrdSet<Arc<[u8]>>| set.iter().take(limit).map(|name| name.to_vec()).collect();
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
