//! Between the shapes of the HTTP API and those of the store. They are separate types since they change for separate
//! reasons: the store's are in the log.

use super::inbox::Segment;
use crate::engine::Kind;
use crate::engine::machine::{CompactionMode, decode_operation};
use crate::engine::sessions::{Batch, Keyed, SessionInfo};
use crate::store;
use copycat_http as api;
use copycat_storage::Entry;

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
        From::Lock { lock, token } => To::Lock { lock, token },
    }
}

pub(super) fn lock_mode(mode: api::LockMode) -> store::LockMode {
    match mode {
        api::LockMode::Exclusive => store::LockMode::Exclusive,
        api::LockMode::Shared => store::LockMode::Shared,
    }
}

pub(super) fn logged_lock_mode(mode: store::LockMode) -> api::LockMode {
    match mode {
        store::LockMode::Exclusive => api::LockMode::Exclusive,
        store::LockMode::Shared => api::LockMode::Shared,
    }
}

fn holder(holder: store::LockHolder) -> api::LockHolder {
    let store::LockHolder { session, token, mode, since } = holder;
    api::LockHolder { session, token, mode: logged_lock_mode(mode), since_ms: since }
}

pub(super) fn lock(view: store::LockView) -> api::LockView {
    let store::LockView { lock, holders, queue } = view;
    let waiter = |store::LockWaiter { session, mode, since }| {
        let mode = logged_lock_mode(mode);
        api::LockWaiter { session, mode, since_ms: since }
    };
    let (holders, queue) = (holders.into_iter().map(holder).collect(), queue.into_iter().map(waiter).collect());
    api::LockView { lock, holders, queue }
}

pub(super) fn session(info: SessionInfo, now: u64) -> api::SessionView {
    api::SessionView {
        session: info.session,
        name: info.name,
        timeout_ms: info.timeout_ms,
        last_keep_alive_ms: info.kept_at,
        keep_alive_age_ms: now.saturating_sub(info.kept_at),
        sequence: info.sequence,
        acknowledged_sequence: info.acknowledged,
        event_index: info.event_index,
        acknowledged_index: info.event_acknowledged,
        queue_depth: info.queued,
        server: Some(info.server).filter(|&server| server != 0),
        locks: Vec::new(),
        ephemeral_keys: Vec::new(),
    }
}

/// `None`: it holds what is no event of the machine's.
pub(super) fn batch(batch: &Batch, event: fn(&[u8]) -> Option<api::SessionEvent>) -> Option<api::EventBatch> {
    let Batch { index, previous, events } = batch;
    let events = events.iter().map(|bytes| event(bytes)).collect::<Option<_>>()?;
    Some(api::EventBatch { index: *index, previous: *previous, events })
}

/// `None`: it is no event of the store's.
pub(super) fn event(bytes: &[u8]) -> Option<api::SessionEvent> {
    use api::SessionEvent as To;
    use store::Event as From;
    Some(match decode_operation(bytes)? {
        From::Put { watch, key, value, content_type, version, created } => {
            To::Put { watch, key, value: value.map(serde_bytes::ByteBuf::into_vec), content_type, version, created }
        }
        From::Delete { watch, key, version } => To::Delete { watch, key, version },
        From::Expire { watch, key, version } => To::Expire { watch, key, version },
        From::LockAcquired { lock, token, mode } => To::LockAcquired { lock, token, mode: logged_lock_mode(mode) },
        From::LockLost { lock, token } => To::LockLost { lock, token },
    })
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
        From::Put { key, value, content_type, ttl_ms, ephemeral, condition: c } => {
            To::Put { key, value, content_type, ttl_ms, ephemeral, condition: condition(c) }
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
        From::Guarded { lock, token, command } => {
            To::Guarded { lock, token, command: Box::new(self::command(*command)) }
        }
        From::Watch { target: t, values } => To::Watch { target: target(t), values, limit: WATCHES },
        From::Unwatch { watch } => To::Unwatch { watch },
        From::Lock { lock, mode, wait_ms, queue } => To::Lock { lock, mode: lock_mode(mode), wait_ms, queue },
        From::Unlock { lock, token } => To::Unlock { lock, token },
        From::Revoke { lock, session } => To::Revoke { lock, session },
    }
}

/// Most watches of one session.
const WATCHES: u64 = 1000;

fn target(target: api::WatchTarget) -> store::Target {
    match target {
        api::WatchTarget::Key(key) => store::Target::Key(key),
        api::WatchTarget::Prefix(prefix) => store::Target::Prefix(prefix),
    }
}

/// `None`: it answers no such command.
pub(super) fn output(output: store::Output) -> Option<api::CommandOutput> {
    use api::CommandOutput as To;
    use store::Output as From;
    Some(match output {
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
        From::Batch(outputs) => To::Batch(outputs.into_iter().map(self::output).collect::<Option<_>>()?),
        From::TokenStale { holders } => To::TokenStale { holders: holders.into_iter().map(holder).collect() },
        From::Watching { watch, created } => To::Watching { watch, created },
        From::Unwatched { existed } => To::Unwatched { existed },
        From::TooManyWatches => To::TooManyWatches,
        From::Unlocked { held } => To::Unlocked { held },
        From::Revoked { token } => To::Revoked { token },
        From::LockNotFound => To::LockNotFound,
        From::NoSession | From::Granted { .. } | From::Queued { .. } | From::Held { .. } => return None,
    })
}

pub(super) fn query(query: api::Query) -> store::Query {
    match query {
        api::Query::Get { key } => store::Query::Get { key },
        api::Query::List { prefix, start, limit, max_bytes, separator, values } => {
            store::Query::List(store::Listing { prefix, start, limit, max_bytes, separator, values })
        }
        api::Query::Lock { lock } => store::Query::Lock { lock },
        api::Query::Locks { after, limit } => store::Query::Locks { after, limit },
    }
}

pub(super) fn item(item: store::Item) -> api::Item {
    let store::Item { key, value, content_type, version, created_index, ttl_ms, session } = item;
    let session = Some(session).filter(|&session| session != 0);
    api::Item { key, value, content_type, version, created_index, ttl_ms, session }
}

/// `None`: it answers no such query.
pub(super) fn answer(answer: store::Answer) -> Option<api::QueryOutput> {
    Some(match answer {
        store::Answer::Value { item: found, .. } => api::QueryOutput::Value(found.map(item)),
        store::Answer::Page { items, next } => {
            let one = |listed| match listed {
                store::Listed::Key(key) => api::Listed::Key(item(key)),
                store::Listed::Prefix(prefix) => api::Listed::Prefix(prefix),
            };
            api::QueryOutput::Page { items: items.into_iter().map(one).collect(), next }
        }
        store::Answer::Lock(found) => api::QueryOutput::Lock(found.map(lock)),
        store::Answer::Locks { locks, next } => {
            api::QueryOutput::Locks { locks: locks.into_iter().map(lock).collect(), next }
        }
        store::Answer::Holdings { .. } => return None,
    })
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
        From::Put { key, value, content_type, ttl_ms, ephemeral, condition: c } => {
            To::Put { key, value, content_type, ttl_ms, ephemeral, condition: condition(c) }
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
        From::Guarded { lock, token, command } => To::Guarded { lock, token, command: Box::new(logged(*command)) },
        From::Watch { target, values, .. } => To::Watch {
            target: match target {
                store::Target::Key(key) => api::WatchTarget::Key(key),
                store::Target::Prefix(prefix) => api::WatchTarget::Prefix(prefix),
            },
            values,
        },
        From::Unwatch { watch } => To::Unwatch { watch },
        From::Lock { lock, mode, wait_ms, queue } => To::Lock { lock, mode: logged_lock_mode(mode), wait_ms, queue },
        From::Unlock { lock, token } => To::Unlock { lock, token },
        From::Revoke { lock, session } => To::Revoke { lock, session },
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
        From::Lock { lock, token } => To::Lock { lock, token },
    }
}

/// A command of the store's that is in the log.
pub(super) fn command_of(bytes: &[u8]) -> Option<api::Logged> {
    decode_operation(bytes).map(logged).map(api::Logged::Keys)
}

pub(super) fn entry(entry: &Entry, command: fn(&[u8]) -> Option<api::Logged>) -> api::EntryView {
    let kind = Kind::from_byte(entry.kind);
    let operation = match kind {
        Some(Kind::Command) => Some(entry.data.clone()),
        Some(Kind::KeyedCommand) => Keyed::decode(&entry.data).ok().map(|keyed| keyed.operation),
        _ => None,
    };
    api::EntryView {
        index: entry.index,
        term: entry.term,
        time_ms: entry.time,
        kind: match kind {
            Some(Kind::Initialize) => "initialize",
            Some(Kind::Configuration) => "configuration",
            Some(Kind::Command | Kind::KeyedCommand) => "command",
            Some(Kind::Tick) => "tick",
            Some(Kind::Register) => "register",
            Some(Kind::KeepAlive) => "keep_alive",
            Some(Kind::Unregister) => "unregister",
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
        command: operation.and_then(|bytes| command(&bytes)),
    }
}

pub(super) fn segment(segment: &Segment) -> api::SegmentView {
    let Segment { info, live, pinned_by } = segment;
    api::SegmentView {
        file: info.file_name(),
        first_index: info.first,
        last_index: info.last,
        bytes: u64::from(info.bytes),
        sealed: info.sealed,
        live: *live as u64,
        released: info.released,
        tombstones: info.tombstones,
        holes: info.holes,
        generation: u64::from(info.version),
        pinned_by: *pinned_by,
    }
}
