//! From the port's commands back to the shapes: the log shows what was sent.

use super::command::{
    AllOf, AnyOf, Command, Cond, DeleteCommand, DeletePrefix, ExistsIs, KeyCondition, KeyName, NotOf, Op, Put,
    PutCommand, Transaction, ValueIs, VersionIs,
};
use super::text::{self, Encoding};
use crate::backend::{self, Condition, Operation, Predicate};
use crate::duration;
use serde::Serialize;
use utoipa::ToSchema;

/// What an entry says.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Said {
    One(Box<Command>),
    /// A batch.
    Several(Vec<Command>),
}

pub(super) fn said(command: &backend::Command) -> Option<Said> {
    match command {
        backend::Command::Batch(commands) => Some(Said::Several(commands.iter().filter_map(one).collect())),
        other => Some(Said::One(Box::new(one(other)?))),
    }
}

/// A batch holds no batch.
fn one(command: &backend::Command) -> Option<Command> {
    match command {
        backend::Command::Put { key, value, content_type, ttl_ms, condition } => {
            let Put { key, key_encoding, value, encoding, content_type, ttl } = put(key, value, content_type, *ttl_ms);
            let condition = when(condition);
            Some(Command::Put(PutCommand { key, key_encoding, value, encoding, content_type, ttl, condition }))
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
        backend::Command::Batch(_) => None,
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
            condition,
        };
        let leaves = vec![
            Predicate::Version { key: key.clone(), version: 0 },
            Predicate::Exists { key: b"a".to_vec(), exists: false },
            Predicate::Value { key: key.clone(), value: value.clone() },
            Predicate::Value { key: b"a".to_vec(), value: Vec::new() },
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
        ])
    }

    #[test]
    fn what_is_shown_can_be_sent_again() {
        let command = everything();
        let Some(Said::Several(shown)) = said(&command) else { panic!("a batch is several") };
        let sent: Vec<_> = shown.iter().map(|c| serde_json::json!({ "command": c })).collect();
        let text = serde_json::to_vec(&sent).expect("JSON");
        let read = crate::json::parse(&text, 32).expect("the same shapes");
        assert_eq!(decode::batch(read, &HttpConfig::default()).expect("within the limits"), command);
    }
}
