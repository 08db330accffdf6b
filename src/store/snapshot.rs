//! The store in a snapshot.
//!
//! Of each key there is all but a large value, which is in the log: the key holds the entry of its put. One entry may hold
//! several puts, so a reference names which of them it was: they are numbered in the order in which they stand in the
//! command, from 0, carried out or not.
//!
//! What hangs on a session is written only as far as it does not follow from the keys and locks.

use super::locks::Lock;
use super::removed::{FrozenRemoved, Removed};
use super::types::{Command, Operation, Target};
use super::{Expiry, Part, Record, Store};
use crate::engine::SessionId;
use crate::engine::machine::{Frozen, Held, SnapshotError, SnapshotReader, SnapshotWriter, TimerId};
use imbl::OrdMap;
use serde_bytes::{ByteBuf, Bytes};
use std::collections::VecDeque;
use std::sync::Arc;

/// The version of the encoding, its first byte.
const VERSION: u8 = 1;

/// How many puts these operations hold.
pub(super) fn puts_of(operations: &[Operation]) -> u32 {
    operations.iter().map(|operation| u32::from(matches!(operation, Operation::Put { .. }))).sum()
}

/// How many puts a command holds.
pub(super) fn puts(command: &Command) -> u32 {
    match command {
        Command::Put { .. } => 1,
        Command::Transaction { then, otherwise, .. } => puts_of(then) + puts_of(otherwise),
        Command::Batch(commands) => commands.iter().map(puts).sum(),
        Command::Guarded { command, .. } => puts(command),
        _ => 0,
    }
}

/// Key and value of each put of a command, in the order of their numbers.
fn values(command: Command, to: &mut Vec<(Vec<u8>, Vec<u8>)>) {
    match command {
        Command::Put { key, value, .. } => to.push((key, value)),
        Command::Transaction { then, otherwise, .. } => {
            to.extend(then.into_iter().chain(otherwise).filter_map(|operation| match operation {
                Operation::Put { key, value, .. } => Some((key, value)),
                _ => None,
            }));
        }
        Command::Batch(commands) => commands.into_iter().for_each(|command| values(command, to)),
        Command::Guarded { command, .. } => values(*command, to),
        _ => {}
    }
}

/// The store as it was when a snapshot was taken.
pub(super) struct FrozenStore {
    keys: OrdMap<Arc<[u8]>, Arc<Record>>,
    locks: OrdMap<Vec<u8>, Lock>,
    parts: OrdMap<SessionId, Part>,
    removed: FrozenRemoved,
    last_token: u64,
    last_watch: u64,
}

impl FrozenStore {
    pub(super) fn of(store: &Store) -> Self {
        Self {
            keys: store.keys.clone(),
            locks: store.locks.clone(),
            parts: store.parts.clone(),
            removed: store.removed.freeze(),
            last_token: store.last_token,
            last_watch: store.last_watch,
        }
    }
}

/// A record but for its value.
type Head<'a> = (&'a str, u64, u64, SessionId, Option<(u64, TimerId)>, bool);
type OwnedHead = (String, u64, u64, SessionId, Option<(u64, TimerId)>, bool);

impl Frozen for FrozenStore {
    fn write(&self, writer: &mut SnapshotWriter) {
        writer.write(&(VERSION, self.last_token, self.last_watch, self.keys.len() as u64));
        for (key, record) in &self.keys {
            let expiry = record.expiry.map(|Expiry { ttl_ms, timer }| (ttl_ms, timer));
            let Record { content_type, version, created_index, session, held, .. } = &**record;
            let head: Head<'_> = (content_type, *version, *created_index, *session, expiry, held.is_some());
            writer.write(&(Bytes::new(key), head));
            if let Some(held) = held {
                writer.write_reference(held);
                writer.write(&record.place);
            } else {
                writer.write(&Bytes::new(&record.value));
                writer.write(&record.place);
            }
        }
        writer.write(&(self.locks.len() as u64));
        for (name, lock) in &self.locks {
            writer.write(&(Bytes::new(name), lock));
        }
        let watches = || self.parts.iter().flat_map(|(session, part)| part.watches.iter().map(move |w| (session, w)));
        writer.write(&(watches().count() as u64));
        for (session, (watch, (target, values))) in watches() {
            writer.write(&(session, watch, target, values));
        }
        writer.write(&(self.removed.floor, self.removed.order.len() as u64));
        for (index, key) in &self.removed.order {
            writer.write(&(index, Bytes::new(key)));
        }
    }
}

/// A value that is in the log, and whose it is.
struct Wanted {
    held: Held,
    place: u32,
    at: usize,
}

/// Fetches the values that are in the log: in its order, and each entry once.
fn fetch(
    mut wanted: Vec<Wanted>,
    records: &mut [(Arc<[u8]>, Record)],
    reader: &SnapshotReader<'_>,
) -> Result<(), SnapshotError> {
    wanted.sort_by_key(|wanted| wanted.held.index());
    for same in wanted.chunk_by(|a, b| a.held == b.held) {
        let mut carried = Vec::new();
        if let [Wanted { held, .. }, ..] = same {
            values(reader.resolve::<Store>(held)?, &mut carried);
        }
        for Wanted { held, place, at } in same {
            let (key, record) = &mut records[*at];
            let put = carried.get_mut(*place as usize).filter(|(of, _)| **of == **key);
            let Some((_, value)) = put else {
                return Err(SnapshotError::Malformed(format!("entry {} holds no such put", held.index())));
            };
            record.value = std::mem::take(value);
        }
    }
    Ok(())
}

/// The store that was written.
pub(super) fn read(reader: &mut SnapshotReader<'_>) -> Result<Store, SnapshotError> {
    let (version, last_token, last_watch, count): (u8, u64, u64, u64) = reader.read()?;
    if version != VERSION {
        return Err(SnapshotError::Version(version));
    }
    let (mut records, mut wanted) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let (key, head): (ByteBuf, OwnedHead) = reader.read()?;
        let (content_type, version, created_index, session, expiry, in_log) = head;
        let held = if in_log { Some(reader.read_reference()?) } else { None };
        let value = if in_log { Vec::new() } else { reader.read::<ByteBuf>()?.into_vec() };
        let place = reader.read()?;
        wanted.extend(held.clone().map(|held| Wanted { held, place, at: records.len() }));
        let expiry = expiry.map(|(ttl_ms, timer)| Expiry { ttl_ms, timer });
        let record = Record { value, content_type, version, created_index, held, place, expiry, session };
        records.push((Arc::from(key.into_vec()), record));
    }
    fetch(wanted, &mut records, reader)?;
    let mut store = Store { last_token, last_watch, ..Store::default() };
    for (key, record) in records {
        if record.session != 0 {
            store.part(record.session).keys.insert(Arc::clone(&key));
        }
        store.keys.insert(key, Arc::new(record));
    }
    for _ in 0..reader.read::<u64>()? {
        let (name, lock): (ByteBuf, Lock) = reader.read()?;
        for session in lock.sessions() {
            store.part(session).locks.insert(name.as_slice().into());
        }
        store.locks.insert(name.into_vec(), lock);
    }
    for _ in 0..reader.read::<u64>()? {
        let (session, watch, target, values): (SessionId, u64, Target, bool) = reader.read()?;
        store.watches.restore(session, watch, &target, values);
        store.part(session).watches.insert(watch, (target, values));
    }
    let (floor, count): (u64, u64) = reader.read()?;
    let mut order = VecDeque::new();
    for _ in 0..count {
        let (index, key): (u64, ByteBuf) = reader.read()?;
        order.push_back((index, key.into_vec().into()));
    }
    let removed = FrozenRemoved { order, floor };
    store.removed = Removed::thaw(removed, |key| store.keys.contains_key(key));
    Ok(store)
}
