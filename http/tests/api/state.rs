//! What the backend in memory knows.

use copycat_http::{
    Command, CommandOutput, Condition, EntryView, Failure, Item, Listed, Operation, OperationOutput, Predicate, Query,
    QueryOutput, Read,
};
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Default)]
pub(crate) struct State {
    pub(crate) index: u64,
    keys: BTreeMap<Vec<u8>, Item>,
    /// The index of each key's last change, deletions too.
    pub(crate) changed: BTreeMap<Vec<u8>, u64>,
    pub(crate) log: Vec<EntryView>,
    /// What everything fails with.
    pub(crate) failure: Option<Failure>,
    /// After how many more reads that happens; 0: at once.
    pub(crate) good_reads: u64,
    /// What a server lacks.
    pub(crate) unready: bool,
    pub(crate) timeouts: Vec<Duration>,
    pub(crate) reads: Vec<Read>,
    /// How its first look is to be.
    pub(crate) looks: Vec<Read>,
    pub(crate) waits: Vec<(Option<u64>, Duration)>,
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
    pub(crate) fn commit(&mut self, command: Command) -> CommandOutput {
        self.index += 1;
        self.log.push(EntryView {
            index: self.index,
            term: 3,
            time_ms: 1_700_000_000_000 + self.index,
            kind: "command",
            mode: "release",
            bytes: 100,
            command: Some(command.clone()),
        });
        self.apply(command)
    }

    fn put(&mut self, key: Vec<u8>, value: Vec<u8>, content_type: String, ttl_ms: u64) -> bool {
        let created_index = self.keys.get(&key).map_or(self.index, |item| item.created_index);
        let item = Item { key: key.clone(), value, content_type, version: self.index, created_index, ttl_ms };
        self.changed.insert(key.clone(), self.index);
        self.keys.insert(key, item).is_none()
    }

    fn delete(&mut self, key: &[u8]) -> Option<u64> {
        let gone = self.keys.remove(key)?;
        self.changed.insert(key.to_vec(), self.index);
        Some(gone.version)
    }

    fn apply(&mut self, command: Command) -> CommandOutput {
        match command {
            Command::Put { key, condition, .. } | Command::Delete { key, condition }
                if !holds(&condition, self.version(&key)) =>
            {
                CommandOutput::ConditionFailed { version: self.version(&key) }
            }
            Command::Put { key, value, content_type, ttl_ms, .. } => {
                CommandOutput::Put { created: self.put(key, value, content_type, ttl_ms) }
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
                let chosen = if succeeded { then } else { otherwise };
                let (keys, changed) = (self.keys.clone(), self.changed.clone());
                let results: Vec<_> = chosen.into_iter().map(|operation| self.operation(operation)).collect();
                let read: usize = results
                    .iter()
                    .map(|result| match result {
                        OperationOutput::Value(Some(item)) => item.value.len(),
                        _ => 0,
                    })
                    .sum();
                if read as u64 > max_bytes {
                    (self.keys, self.changed) = (keys, changed);
                    return CommandOutput::ResultTooLarge;
                }
                CommandOutput::Transaction { succeeded, results }
            }
            Command::Batch(commands) => {
                CommandOutput::Batch(commands.into_iter().map(|command| self.apply(command)).collect())
            }
        }
    }

    fn predicate(&self, predicate: &Predicate) -> bool {
        match predicate {
            Predicate::All(all) => all.iter().all(|p| self.predicate(p)),
            Predicate::Any(any) => any.iter().any(|p| self.predicate(p)),
            Predicate::Not(not) => !self.predicate(not),
            Predicate::Version { key, version } => self.version(key).unwrap_or(0) == *version,
            Predicate::Exists { key, exists } => self.keys.contains_key(key) == *exists,
            Predicate::Value { key, value } => self.keys.get(key).is_some_and(|item| item.value == *value),
        }
    }

    fn operation(&mut self, operation: Operation) -> OperationOutput {
        match operation {
            Operation::Put { key, value, content_type, ttl_ms } => {
                OperationOutput::Put { created: self.put(key, value, content_type, ttl_ms) }
            }
            Operation::Delete { key } => OperationOutput::Deleted { version: self.delete(&key) },
            Operation::Get { key } => OperationOutput::Value(self.item(&key)),
        }
    }

    pub(crate) fn ask(&self, query: Query) -> QueryOutput {
        let Query::List { prefix, start, limit, max_bytes, separator, values } = query else {
            let Query::Get { key } = query else { unreachable!("there are two") };
            return QueryOutput::Value(self.item(&key));
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
