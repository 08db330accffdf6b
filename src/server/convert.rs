//! Between the shapes of the HTTP API and those of the store. They are separate types since they change for separate
//! reasons: the store's are in the log.

use crate::engine::Kind;
use crate::engine::machine::{CompactionMode, StateMachine, decode_operation};
use crate::store::{self, Store};
use copycat_http as api;
use copycat_storage::{Entry, SegmentInfo};

fn condition(condition: api::Condition) -> store::Condition {
    match condition {
        api::Condition::Always => store::Condition::Always,
        api::Condition::Absent => store::Condition::Absent,
        api::Condition::Exists => store::Condition::Exists,
        api::Condition::Versions(versions) => store::Condition::Versions(versions),
    }
}

fn predicate(predicate: api::Predicate) -> store::Predicate {
    use api::Predicate as From;
    use store::Predicate as To;
    match predicate {
        From::All(all) => To::All(all.into_iter().map(self::predicate).collect()),
        From::Any(any) => To::Any(any.into_iter().map(self::predicate).collect()),
        From::Not(not) => To::Not(Box::new(self::predicate(*not))),
        From::Version { key, version } => To::Version { key, version },
        From::Exists { key, exists } => To::Exists { key, exists },
        From::Value { key, value } => To::Value { key, value },
    }
}

fn operations(operations: Vec<api::Operation>) -> Vec<store::Operation> {
    let one = |operation| match operation {
        api::Operation::Put { key, value, content_type, ttl_ms } => {
            store::Operation::Put { key, value, content_type, ttl_ms }
        }
        api::Operation::Delete { key } => store::Operation::Delete { key },
        api::Operation::Get { key } => store::Operation::Get { key },
    };
    operations.into_iter().map(one).collect()
}

pub(super) fn command(command: api::Command) -> store::Command {
    use api::Command as From;
    use store::Command as To;
    match command {
        From::Put { key, value, content_type, ttl_ms, condition: c } => {
            To::Put { key, value, content_type, ttl_ms, condition: condition(c) }
        }
        From::Delete { key, condition: c } => To::Delete { key, condition: condition(c) },
        From::DeletePrefix { prefix, limit } => To::DeletePrefix { prefix, limit },
        From::Transaction { condition: c, then, otherwise, max_bytes } => To::Transaction {
            condition: predicate(c),
            then: operations(then),
            otherwise: operations(otherwise),
            max_bytes,
        },
        From::Batch(commands) => To::Batch(commands.into_iter().map(self::command).collect()),
    }
}

pub(super) fn output(output: store::Output) -> api::CommandOutput {
    use api::CommandOutput as To;
    use store::Output as From;
    match output {
        From::Put { created } => To::Put { created },
        From::Deleted { version } => To::Deleted { version },
        From::ConditionFailed { version } => To::ConditionFailed { version },
        From::DeletedMany { deleted, more } => To::DeletedMany { deleted, more },
        From::Transaction { succeeded, results } => {
            let one = |result| match result {
                store::OperationOutput::Put { created } => api::OperationOutput::Put { created },
                store::OperationOutput::Deleted { version } => api::OperationOutput::Deleted { version },
                store::OperationOutput::Value(found) => api::OperationOutput::Value(found.map(item)),
            };
            To::Transaction { succeeded, results: results.into_iter().map(one).collect() }
        }
        From::ResultTooLarge => To::ResultTooLarge,
        From::Batch(outputs) => To::Batch(outputs.into_iter().map(self::output).collect()),
    }
}

pub(super) fn query(query: api::Query) -> store::Query {
    match query {
        api::Query::Get { key } => store::Query::Get { key },
        api::Query::List { prefix, start, limit, max_bytes, separator, values } => {
            store::Query::List(store::Listing { prefix, start, limit, max_bytes, separator, values })
        }
    }
}

pub(super) fn item(item: store::Item) -> api::Item {
    let store::Item { key, value, content_type, version, created_index, ttl_ms } = item;
    api::Item { key, value, content_type, version, created_index, ttl_ms }
}

pub(super) fn answer(answer: store::Answer) -> api::QueryOutput {
    match answer {
        store::Answer::Value { item: found, .. } => api::QueryOutput::Value(found.map(item)),
        store::Answer::Page { items, next } => {
            let one = |listed| match listed {
                store::Listed::Key(key) => api::Listed::Key(item(key)),
                store::Listed::Prefix(prefix) => api::Listed::Prefix(prefix),
            };
            api::QueryOutput::Page { items: items.into_iter().map(one).collect(), next }
        }
    }
}

/// A command as it is in the log, as the API would have taken it.
fn logged(command: store::Command) -> api::Command {
    use api::Command as To;
    use store::Command as From;
    let condition = |c| match c {
        store::Condition::Always => api::Condition::Always,
        store::Condition::Absent => api::Condition::Absent,
        store::Condition::Exists => api::Condition::Exists,
        store::Condition::Versions(versions) => api::Condition::Versions(versions),
    };
    let operations = |operations: Vec<store::Operation>| {
        let one = |operation| match operation {
            store::Operation::Put { key, value, content_type, ttl_ms } => {
                api::Operation::Put { key, value, content_type, ttl_ms }
            }
            store::Operation::Delete { key } => api::Operation::Delete { key },
            store::Operation::Get { key } => api::Operation::Get { key },
        };
        operations.into_iter().map(one).collect()
    };
    match command {
        From::Put { key, value, content_type, ttl_ms, condition: c } => {
            To::Put { key, value, content_type, ttl_ms, condition: condition(c) }
        }
        From::Delete { key, condition: c } => To::Delete { key, condition: condition(c) },
        From::DeletePrefix { prefix, limit } => To::DeletePrefix { prefix, limit },
        From::Transaction { condition: c, then, otherwise, max_bytes } => To::Transaction {
            condition: logged_predicate(c),
            then: operations(then),
            otherwise: operations(otherwise),
            max_bytes,
        },
        From::Batch(commands) => To::Batch(commands.into_iter().map(logged).collect()),
    }
}

fn logged_predicate(predicate: store::Predicate) -> api::Predicate {
    use api::Predicate as To;
    use store::Predicate as From;
    match predicate {
        From::All(all) => To::All(all.into_iter().map(logged_predicate).collect()),
        From::Any(any) => To::Any(any.into_iter().map(logged_predicate).collect()),
        From::Not(not) => To::Not(Box::new(logged_predicate(*not))),
        From::Version { key, version } => To::Version { key, version },
        From::Exists { key, exists } => To::Exists { key, exists },
        From::Value { key, value } => To::Value { key, value },
    }
}

pub(super) fn entry(entry: &Entry) -> api::EntryView {
    let kind = Kind::from_byte(entry.kind);
    let command =
        (kind == Some(Kind::Command)).then(|| decode_operation::<<Store as StateMachine>::Command>(&entry.data));
    api::EntryView {
        index: entry.index,
        term: entry.term,
        time_ms: entry.time,
        kind: match kind {
            Some(Kind::Initialize) => "initialize",
            Some(Kind::Configuration) => "configuration",
            Some(Kind::Command) => "command",
            Some(Kind::Tick) => "tick",
            None => "unknown",
        },
        mode: match CompactionMode::from_byte(entry.mode) {
            CompactionMode::Default => "default",
            CompactionMode::Unknown => "unknown",
            CompactionMode::Snapshot => "snapshot",
            CompactionMode::Release => "release",
            CompactionMode::Quorum => "quorum",
            CompactionMode::Full => "full",
            CompactionMode::Sequential => "sequential",
            CompactionMode::Expiring => "expiring",
            CompactionMode::Tombstone => "tombstone",
        },
        bytes: entry.data.len() as u64,
        command: command.flatten().map(logged),
    }
}

pub(super) fn segment(segment: &SegmentInfo, live: u64) -> api::SegmentView {
    let entries = (segment.last + 1).saturating_sub(segment.first);
    api::SegmentView {
        file: segment.file_name(),
        first_index: segment.first,
        last_index: segment.last,
        bytes: u64::from(segment.bytes),
        sealed: segment.sealed,
        live,
        released: entries.saturating_sub(live),
    }
}
