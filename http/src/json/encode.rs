//! From the port's commands back to the shapes: the log shows what was sent.

use super::command::{
    Command, DeleteCommand, DeletePrefix, Guarded, KeyCondition, KeyName, Op, Put, PutCommand, Revoke, Transaction,
    Unlock, Unwatch, Watch,
};
use super::cond::{AllOf, AnyOf, Cond, ExistsIs, LockIs, NotOf, ValueIs, VersionIs};
use super::locks::Mode;
use super::text::{self, Encoding};
use crate::backend::{self, Condition, Logged, Operation, Predicate, WatchTarget};
use crate::duration;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// What an entry says.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Said {
    One(Box<Command>),
    /// A batch.
    Several(Vec<Command>),
    Lock(LockSaid),
}

/// What an entry of whatever state machine says.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Shown {
    Said(Said),
    /// Of another state machine than the product's, which is the one that the document describes.
    Other(Value),
}

/// A lock was asked for.
#[derive(Serialize, ToSchema)]
pub(crate) struct LockSaid {
    lock: LockCommand,
}

/// How a lock was asked for.
#[derive(Serialize, ToSchema)]
pub(crate) struct LockCommand {
    lock: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    lock_encoding: Option<Encoding>,
    mode: Mode,
    /// How long to be held until it is granted; null: only a try.
    #[schema(required)]
    wait: Option<String>,
    /// Stay in the queue.
    queue: bool,
}

pub(super) fn shown(logged: &Logged) -> Option<Shown> {
    match logged {
        Logged::Keys(command) => said(command).map(Shown::Said),
        Logged::Other(command) => Some(Shown::Other(command.clone())),
    }
}

fn said(command: &backend::Command) -> Option<Said> {
    match command {
        backend::Command::Batch(commands) => Some(Said::Several(commands.iter().filter_map(one).collect())),
        backend::Command::Lock { lock, mode, wait_ms, queue } => {
            let (lock, lock_encoding) = owned(lock);
            let wait = (*wait_ms > 0).then(|| duration::text(*wait_ms));
            let lock = LockCommand { lock, lock_encoding, mode: (*mode).into(), wait, queue: *queue };
            Some(Said::Lock(LockSaid { lock }))
        }
        other => Some(Said::One(Box::new(one(other)?))),
    }
}

/// Neither a batch nor what is not sent as JSON is part of another command.
fn one(command: &backend::Command) -> Option<Command> {
    match command {
        backend::Command::Put { key, value, content_type, ttl_ms, ephemeral, condition } => {
            let ephemeral = *ephemeral;
            let Put { key, key_encoding, value, encoding, content_type, ttl } = put(key, value, content_type, *ttl_ms);
            let condition = when(condition);
            Some(Command::Put(PutCommand {
                key,
                key_encoding,
                value,
                encoding,
                content_type,
                ttl,
                ephemeral,
                condition,
            }))
        }
        backend::Command::Delete { key, condition } => {
            let KeyName { key, key_encoding } = name(key);
            Some(Command::Delete(DeleteCommand { key, key_encoding, condition: when(condition) }))
        }
        backend::Command::DeletePrefix { prefix, limit } => {
            let (all, (prefix, prefix_encoding)) = (prefix.is_empty(), owned(prefix));
            Some(Command::DeletePrefix(DeletePrefix { prefix, prefix_encoding, limit: Some(*limit), all }))
        }
        backend::Command::Transaction { condition, then, otherwise, .. } => Some(Command::Transaction(Transaction {
            condition: (*condition != Predicate::All(Vec::new())).then(|| cond(condition)),
            then: then.iter().map(op).collect(),
            otherwise: otherwise.iter().map(op).collect(),
        })),
        backend::Command::Guarded { lock, token, command } => {
            let ((lock, lock_encoding), token) = (owned(lock), *token);
            Some(Command::Guarded(Guarded { lock, lock_encoding, token, command: Box::new(one(command)?) }))
        }
        backend::Command::Watch { target, values } => Some(Command::Watch(watch(target, *values))),
        backend::Command::Unwatch { watch } => Some(Command::Unwatch(Unwatch { watch: *watch })),
        backend::Command::Unlock { lock, token } => {
            let (lock, lock_encoding) = owned(lock);
            Some(Command::Unlock(Unlock { lock, lock_encoding, token: *token }))
        }
        backend::Command::Revoke { lock, session } => {
            let (lock, lock_encoding) = owned(lock);
            Some(Command::Revoke(Revoke { lock, lock_encoding, session: *session }))
        }
        backend::Command::Batch(_) | backend::Command::Lock { .. } => None,
    }
}

fn watch(target: &WatchTarget, values: bool) -> Watch {
    match target {
        WatchTarget::Key(key) => {
            let (key, key_encoding) = owned(key);
            Watch { key: Some(key), key_encoding, values, ..Watch::default() }
        }
        WatchTarget::Prefix(prefix) => {
            let (all, (prefix, prefix_encoding)) = (prefix.is_empty(), owned(prefix));
            Watch { prefix: Some(prefix), prefix_encoding, all, values, ..Watch::default() }
        }
    }
}

fn owned(bytes: &[u8]) -> (String, Option<Encoding>) {
    let (text, encoding) = text::key(bytes);
    (text.into_owned(), encoding)
}

fn name(key: &[u8]) -> KeyName {
    let (key, key_encoding) = owned(key);
    KeyName { key, key_encoding }
}

fn put(key: &[u8], value: &[u8], content_type: &str, ttl_ms: u64) -> Put {
    let (key, key_encoding) = owned(key);
    let (value, encoding) = text::text(value);
    let content_type = Some(content_type.into());
    let ttl = (ttl_ms > 0).then(|| duration::text(ttl_ms));
    Put { key, key_encoding, value: value.into_owned(), encoding: Some(encoding), content_type, ttl }
}

fn when(condition: &Condition) -> Option<KeyCondition> {
    match condition {
        Condition::Always => None,
        Condition::Absent => Some(KeyCondition::Exists(false)),
        Condition::Exists => Some(KeyCondition::Exists(true)),
        Condition::Versions(versions) => match versions.as_slice() {
            [version] => Some(KeyCondition::Version(*version)),
            many => Some(KeyCondition::Versions(many.to_vec())),
        },
    }
}

fn cond(predicate: &Predicate) -> Cond {
    match predicate {
        Predicate::All(all) => Cond::All(AllOf { all: all.iter().map(cond).collect() }),
        Predicate::Any(any) => Cond::Any(AnyOf { any: any.iter().map(cond).collect() }),
        Predicate::Not(not) => Cond::Not(NotOf { not: Box::new(cond(not)) }),
        Predicate::Version { key, version } => {
            let (key, key_encoding) = owned(key);
            Cond::Version(Box::new(VersionIs { key, key_encoding, version: *version }))
        }
        Predicate::Exists { key, exists } => {
            let (key, key_encoding) = owned(key);
            Cond::Exists(Box::new(ExistsIs { key, key_encoding, exists: *exists }))
        }
        Predicate::Value { key, value } => {
            let (key, key_encoding) = owned(key);
            let (value, encoding) = text::text(value);
            let (value, encoding) = (value.into_owned(), Some(encoding));
            Cond::Value(Box::new(ValueIs { key, key_encoding, value, encoding }))
        }
        Predicate::Lock { lock, token } => {
            let (lock, lock_encoding) = owned(lock);
            Cond::Lock(Box::new(LockIs { lock, lock_encoding, token: *token }))
        }
    }
}

fn op(operation: &Operation) -> Op {
    match operation {
        Operation::Put { key, value, content_type, ttl_ms } => Op::Put(put(key, value, content_type, *ttl_ms)),
        Operation::Delete { key } => Op::Delete(name(key)),
        Operation::Get { key } => Op::Get(name(key)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HttpConfig;
    use crate::json::decode;

    /// One of everything, and what is not text.
    fn everything() -> backend::Command {
        let (key, value, content_type) = (b"\xff/k".to_vec(), b"\0\xfe".to_vec(), "a/b".to_string());
        let put = |condition| backend::Command::Put {
            key: key.clone(),
            value: value.clone(),
            content_type: content_type.clone(),
            ttl_ms: if condition == Condition::Always { 1500 } else { 0 },
            ephemeral: condition == Condition::Exists,
            condition,
        };
        let leaves = vec![
            Predicate::Version { key: key.clone(), version: 0 },
            Predicate::Exists { key: b"a".to_vec(), exists: false },
            Predicate::Value { key: key.clone(), value: value.clone() },
            Predicate::Value { key: b"a".to_vec(), value: Vec::new() },
            Predicate::Lock { lock: key.clone(), token: 7 },
            Predicate::Lock { lock: b"l".to_vec(), token: 8 },
        ];
        let any = Predicate::Any(vec![Predicate::Not(Box::new(Predicate::All(leaves)))]);
        let operations = vec![
            Operation::Put {
                key: key.clone(),
                value: value.clone(),
                content_type: content_type.clone(),
                ttl_ms: 60_000,
            },
            Operation::Delete { key: key.clone() },
            Operation::Get { key: b"a".to_vec() },
        ];
        let transaction = |condition| backend::Command::Transaction {
            condition,
            then: operations.clone(),
            otherwise: operations[1..].to_vec(),
            max_bytes: decode::READ_BYTES / 2,
        };
        backend::Command::Batch(vec![
            put(Condition::Always),
            put(Condition::Absent),
            put(Condition::Exists),
            put(Condition::Versions(vec![7])),
            put(Condition::Versions(vec![])),
            backend::Command::Delete { key: key.clone(), condition: Condition::Versions(vec![7, 8]) },
            backend::Command::DeletePrefix { prefix: key.clone(), limit: 3 },
            backend::Command::DeletePrefix { prefix: Vec::new(), limit: 4 },
            transaction(any),
            transaction(Predicate::All(Vec::new())),
            backend::Command::Guarded { lock: key.clone(), token: 9, command: Box::new(put(Condition::Always)) },
            backend::Command::Watch { target: WatchTarget::Key(key.clone()), values: true },
            backend::Command::Unwatch { watch: 3 },
            backend::Command::Unlock { lock: key.clone(), token: None },
            backend::Command::Unlock { lock: b"l".to_vec(), token: Some(9) },
            backend::Command::Revoke { lock: key.clone(), session: 4 },
        ])
    }

    #[test]
    fn what_is_shown_can_be_sent_again() {
        let command = everything();
        let Some(Said::Several(shown)) = said(&command) else { panic!("a batch is several") };
        let sent: Vec<_> = shown.iter().map(|c| serde_json::json!({ "command": c })).collect();
        let text = serde_json::to_vec(&sent).expect("JSON");
        let read = crate::json::parse(&text, 32).expect("the same shapes");
        let bounds = decode::Bounds { config: &HttpConfig::default(), session: true };
        assert_eq!(decode::batch(read, bounds).expect("within the limits"), command);
    }

    #[test]
    fn watches_are_shown_as_they_were_sent() {
        for target in [b"\xff".as_slice(), b"a", b""].map(|prefix| WatchTarget::Prefix(prefix.to_vec())) {
            let command = backend::Command::Watch { target, values: false };
            let Some(Said::One(shown)) = said(&command) else { panic!("it is one") };
            let Command::Watch(shape) = *shown else { panic!("it is a watch") };
            assert_eq!(decode::watch(shape).expect("the same shape"), command);
        }
    }

    #[test]
    fn a_lock_is_shown_as_it_was_asked_for() {
        let shown = |lock: &[u8], wait_ms| {
            let (lock, mode) = (lock.to_vec(), backend::LockMode::Shared);
            let said = said(&backend::Command::Lock { lock, mode, wait_ms, queue: true });
            serde_json::to_value(said).expect("JSON")
        };
        let expected = serde_json::json!({"lock": {"lock": "l", "mode": "shared", "wait": "1500ms", "queue": true}});
        assert_eq!(shown(b"l", 1500), expected);
        assert_eq!(
            (&shown(b"\xff", 0)["lock"]["wait"], &shown(b"\xff", 0)["lock"]["lock"]),
            (&None::<u8>.into(), &"/w==".into())
        );
    }
}
