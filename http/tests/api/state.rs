//! What the backend in memory knows: keys, and commands of every kind.

use crate::fake_locks::Locks;
use crate::fake_sessions::{Done, Session};
use copycat_http::{
    ClusterEvent, Command, CommandOutput, Condition, EntryView, Failure, Item, Listed, Logged, Operation,
    OperationOutput, Poll, Predicate, Query, QueryOutput, Read, SessionEvent,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

#[derive(Default)]
pub(crate) struct State {
    pub(crate) index: u64,
    keys: BTreeMap<Vec<u8>, Item>,
    pub(crate) sessions: BTreeMap<u64, Session>,
    pub(crate) locks: Locks,
    /// Requests by their idempotency keys.
    pub(crate) done: BTreeMap<String, Done>,
    pub(crate) feed: Vec<ClusterEvent>,
    /// Where the member serves HTTP.
    pub(crate) http: Option<String>,
    /// The index of each key's last change, deletions too.
    pub(crate) changed: BTreeMap<Vec<u8>, u64>,
    pub(crate) log: Vec<EntryView>,
    /// What everything fails with.
    pub(crate) failure: Option<Failure>,
    /// After how many more reads that happens; 0: at once.
    pub(crate) good_reads: u64,
    /// There is a snapshot to be backed up,
    pub(crate) has_snapshot: bool,
    /// of which so many pieces were made,
    pub(crate) pieces_given: Arc<AtomicU64>,
    /// and not all come.
    pub(crate) backup_breaks_off: bool,
    /// What a server lacks.
    pub(crate) unready: bool,
    pub(crate) timeouts: Vec<Duration>,
    pub(crate) reads: Vec<Read>,
    /// How its first look is to be.
    pub(crate) looks: Vec<Read>,
    pub(crate) waits: Vec<(Option<u64>, Duration)>,
    pub(crate) polls: Vec<Poll>,
}

fn holds(condition: &Condition, version: Option<u64>) -> bool {
    match condition {
        Condition::Always => true,
        Condition::Absent => version.is_none(),
        Condition::Exists => version.is_some(),
        Condition::Versions(any) => version.is_some_and(|v| any.contains(&v)),
    }
}

impl State {
    /// What a read fails with.
    pub(crate) fn failing(&mut self) -> Option<Failure> {
        if self.good_reads > 0 {
            self.good_reads -= 1;
            return None;
        }
        self.failure
    }

    pub(crate) fn item(&self, key: &[u8]) -> Option<Item> {
        self.keys.get(key).cloned()
    }

    fn version(&self, key: &[u8]) -> Option<u64> {
        self.keys.get(key).map(|item| item.version)
    }

    /// Appends and applies.
    pub(crate) fn commit(&mut self, command: Command, session: Option<u64>) -> CommandOutput {
        self.log(&command);
        self.apply(command, session)
    }

    pub(crate) fn log(&mut self, command: &Command) {
        self.index += 1;
        self.log.push(EntryView {
            index: self.index,
            term: 3,
            time_ms: 1_700_000_000_000 + self.index,
            kind: "command",
            mode: "release",
            bytes: 100,
            command: Some(Logged::Keys(command.clone())),
        });
    }

    fn put(&mut self, key: Vec<u8>, value: Vec<u8>, content_type: String, ttl_ms: u64, session: Option<u64>) -> bool {
        let version = self.index;
        let created_index = self.keys.get(&key).map_or(version, |item| item.created_index);
        self.changed.insert(key.clone(), version);
        let created = !self.keys.contains_key(&key);
        self.tell(&key, |watch, values| SessionEvent::Put {
            watch,
            key: key.clone(),
            value: values.then(|| value.clone()),
            content_type: content_type.clone(),
            version,
            created,
        });
        self.keys.insert(key.clone(), Item { key, value, content_type, version, created_index, ttl_ms, session });
        created
    }

    fn delete(&mut self, key: &[u8]) -> Option<u64> {
        let gone = self.keys.remove(key)?;
        self.changed.insert(key.to_vec(), self.index);
        let version = gone.version;
        self.tell(key, |watch, _| SessionEvent::Delete { watch, key: key.to_vec(), version });
        Some(version)
    }

    /// A key's time is over.
    pub(crate) fn expire(&mut self, key: &[u8]) {
        self.index += 1;
        let gone = self.keys.remove(key).expect("it exists");
        self.tell(key, |watch, _| SessionEvent::Expire { watch, key: key.to_vec(), version: gone.version });
    }

    /// The ephemeral keys of a session.
    pub(crate) fn ephemeral(&self, session: u64) -> Vec<Vec<u8>> {
        self.keys.values().filter(|item| item.session == Some(session)).map(|item| item.key.clone()).collect()
    }

    pub(crate) fn delete_ephemeral(&mut self, session: u64) {
        for key in self.ephemeral(session) {
            self.delete(&key);
        }
    }

    fn apply(&mut self, command: Command, session: Option<u64>) -> CommandOutput {
        match command {
            Command::Put { key, condition, .. } | Command::Delete { key, condition }
                if !holds(&condition, self.version(&key)) =>
            {
                CommandOutput::ConditionFailed { version: self.version(&key) }
            }
            Command::Put { key, value, content_type, ttl_ms, ephemeral, .. } => {
                let session = session.filter(|_| ephemeral);
                assert!(session.is_some() || !ephemeral, "an ephemeral key has a session");
                CommandOutput::Put { created: self.put(key, value, content_type, ttl_ms, session) }
            }
            Command::Delete { key, .. } => CommandOutput::Deleted { version: self.delete(&key) },
            Command::DeletePrefix { prefix, limit } => {
                let matching: Vec<_> = self.keys.keys().filter(|key| key.starts_with(&prefix)).cloned().collect();
                let some = matching.iter().take(usize::try_from(limit).expect("a small number"));
                let deleted = some.filter(|key| self.delete(key).is_some()).count() as u64;
                CommandOutput::DeletedMany { deleted, more: (matching.len() as u64) > deleted }
            }
            Command::Transaction { condition, then, otherwise, max_bytes } => {
                let succeeded = self.predicate(&condition);
                self.transaction(succeeded, if succeeded { then } else { otherwise }, max_bytes)
            }
            Command::Batch(commands) => {
                CommandOutput::Batch(commands.into_iter().map(|command| self.apply(command, session)).collect())
            }
            Command::Guarded { lock, token, command } => match self.locks.holds(&lock, token) {
                true => self.apply(*command, session),
                false => CommandOutput::TokenStale { holders: self.locks.holders(&lock) },
            },
            Command::Watch { target, values } => self.watch(session.expect("a session"), target, values),
            Command::Unwatch { watch } => {
                let session = self.sessions.get_mut(&session.expect("a session")).expect("it lives");
                CommandOutput::Unwatched { existed: session.watches.remove(&watch).is_some() }
            }
            Command::Unlock { lock, token } => self.unlock(session.expect("a session"), &lock, token),
            Command::Revoke { lock, session } => self.revoke(session, &lock),
            Command::Lock { .. } => unreachable!("it is only shown"),
        }
    }

    fn transaction(&mut self, succeeded: bool, chosen: Vec<Operation>, max_bytes: u64) -> CommandOutput {
        let (keys, changed) = (self.keys.clone(), self.changed.clone());
        let results: Vec<_> = chosen.into_iter().map(|operation| self.operation(operation)).collect();
        let bytes = |result: &OperationOutput| match result {
            OperationOutput::Value(Some(item)) => item.value.len() as u64,
            _ => 0,
        };
        if results.iter().map(bytes).sum::<u64>() > max_bytes {
            (self.keys, self.changed) = (keys, changed);
            return CommandOutput::ResultTooLarge;
        }
        CommandOutput::Transaction { succeeded, results }
    }

    fn predicate(&self, predicate: &Predicate) -> bool {
        match predicate {
            Predicate::All(all) => all.iter().all(|p| self.predicate(p)),
            Predicate::Any(any) => any.iter().any(|p| self.predicate(p)),
            Predicate::Not(not) => !self.predicate(not),
            Predicate::Version { key, version } => self.version(key).unwrap_or(0) == *version,
            Predicate::Exists { key, exists } => self.keys.contains_key(key) == *exists,
            Predicate::Value { key, value } => self.keys.get(key).is_some_and(|item| item.value == *value),
            Predicate::Lock { lock, token } => self.locks.holds(lock, *token),
        }
    }

    fn operation(&mut self, operation: Operation) -> OperationOutput {
        match operation {
            Operation::Put { key, value, content_type, ttl_ms } => {
                OperationOutput::Put { created: self.put(key, value, content_type, ttl_ms, None) }
            }
            Operation::Delete { key } => OperationOutput::Deleted { version: self.delete(&key) },
            Operation::Get { key } => OperationOutput::Value(self.item(&key)),
        }
    }

    pub(crate) fn ask(&self, query: Query) -> QueryOutput {
        let Query::List { prefix, start, limit, max_bytes, separator, values } = query else {
            return match query {
                Query::Get { key } => QueryOutput::Value(self.item(&key)),
                other => self.locks.ask(other),
            };
        };
        let (mut items, mut bytes) = (Vec::<Listed>::new(), 0);
        let matching = self.keys.iter().filter(|(key, _)| key.starts_with(&prefix));
        for (key, item) in matching.filter(|(key, _)| start.as_ref().is_none_or(|start| *key >= start)) {
            let found = separator.as_ref().and_then(|separator| {
                let at = key[prefix.len()..].windows(separator.len()).position(|part| part == separator)?;
                Some(key[..prefix.len() + at + separator.len()].to_vec())
            });
            let listed = match found {
                Some(folded) => Listed::Prefix(folded),
                None if values => Listed::Key(item.clone()),
                None => Listed::Key(Item { value: Vec::new(), ..item.clone() }),
            };
            if items.last() == Some(&listed) {
                continue;
            }
            bytes += match &listed {
                Listed::Key(item) => item.key.len() + item.value.len(),
                Listed::Prefix(prefix) => prefix.len(),
            } as u64;
            if items.len() as u64 >= limit || (!items.is_empty() && bytes > max_bytes) {
                return QueryOutput::Page { items, next: Some(key.clone()) };
            }
            items.push(listed);
        }
        QueryOutput::Page { items, next: None }
    }
}
