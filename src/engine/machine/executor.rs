//! Applies committed entries to a state machine, in order, once each.
//!
//! Invariants: `applied` rises by one with each entry; log time never goes back; a timer fires at the first entry whose
//! time is at or past its due time, after that entry's own operation; `live` holds just the indexes that the machine
//! holds and has not released; two executors that applied the same entries have the same digest.

use super::commit::{Commit, Context, Timer, TimerId};
use super::{CompactionMode, StateMachine};
use crate::engine::entry::Kind;
use crate::engine::types::{Index, Term};
use bincode::{Decode, Encode};
use copycat_storage::EntryRef;
use serde::{Serialize, de::DeserializeOwned};
use std::collections::BTreeMap;
use thiserror::Error;

/// An entry cannot be applied by this version; the server must stop.
#[derive(Debug, Error)]
pub enum ApplyError {
    /// The entry's kind is of a newer version.
    #[error("entry {index} is of kind {kind}, which this version does not know: start a newer version")]
    UnknownKind {
        /// Where it is.
        index: Index,
        /// Its kind.
        kind: u8,
    },
}

/// What a command answered, as bytes.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Outcome {
    /// The machine's output, encoded.
    Output(Vec<u8>),
    /// The operation's bytes are no command of this machine: it changed nothing, on every server alike.
    Malformed,
}

/// What became of one entry.
#[derive(Debug)]
pub struct Applied {
    /// Its index.
    pub index: Index,
    /// Its term.
    pub term: Term,
    /// What it answered, if it was a command.
    pub outcome: Option<Outcome>,
}

/// A state machine, and what the engine keeps beside it.
pub struct Executor<M: StateMachine> {
    machine: M,
    applied: Index,
    time: u64,
    /// How often the machine holds an entry: one that changes several keys is held for each.
    live: BTreeMap<Index, u32>,
    timers: BTreeMap<(u64, TimerId), Vec<u8>>,
    due_by_id: BTreeMap<TimerId, u64>,
    digest: u32,
    context: Context<M::Event>,
}

const CONFIG: bincode::config::Configuration = bincode::config::standard();

/// The bytes of a command, query or answer of a machine.
///
/// # Panics
/// If the value's `Serialize` fails.
pub fn encode_operation<T: Serialize>(value: &T) -> Vec<u8> {
    bincode::serde::encode_to_vec(value, CONFIG).expect("an operation encodes")
}

/// A command, query or answer from its bytes; `None` if they are another's.
#[must_use]
pub fn decode_operation<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let (value, read) = bincode::serde::decode_from_slice(bytes, CONFIG).ok()?;
    (read == bytes.len()).then_some(value)
}

/// A command's output from the bytes of an [`Outcome::Output`].
#[must_use]
pub fn decode_output<M: StateMachine>(bytes: &[u8]) -> Option<M::Output> {
    decode_operation(bytes)
}

/// A query's answer from its bytes.
#[must_use]
pub fn decode_query_output<M: StateMachine>(bytes: &[u8]) -> Option<M::Answer> {
    decode_operation(bytes)
}

impl<M: StateMachine> std::fmt::Debug for Executor<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (applied, live) = (self.applied, self.live.len());
        f.debug_struct("Executor").field("applied", &applied).field("live", &live).finish_non_exhaustive()
    }
}

impl<M: StateMachine> Executor<M> {
    /// An executor that has applied nothing.
    pub fn new(machine: M) -> Self {
        Self {
            machine,
            applied: 0,
            time: 0,
            live: BTreeMap::new(),
            timers: BTreeMap::new(),
            due_by_id: BTreeMap::new(),
            digest: 0,
            context: Context::new(),
        }
    }

    /// The machine.
    pub fn machine(&self) -> &M {
        &self.machine
    }

    /// The last applied index.
    pub fn applied(&self) -> Index {
        self.applied
    }

    /// Log time, in milliseconds.
    pub fn time(&self) -> u64 {
        self.time
    }

    /// How many entries the machine holds.
    pub fn live(&self) -> usize {
        self.live.len()
    }

    /// How many entries from `first` to `last` the machine holds.
    pub fn live_between(&self, first: Index, last: Index) -> usize {
        if first > last { 0 } else { self.live.range(first..=last).count() }
    }

    /// From now on, keep account of the topics that are touched (or no longer).
    pub fn listen(&mut self, listening: bool) {
        self.context.listen(listening);
    }

    /// Whether account is kept of the topics that are touched.
    pub fn is_listening(&self) -> bool {
        self.context.is_listening()
    }

    /// The topics that were touched since they were last taken, in order.
    pub fn take_touched(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.context.touched)
    }

    /// A checksum over everything applied and answered so far: equal on all servers at an equal index.
    pub fn digest(&self) -> u32 {
        self.digest
    }

    /// When the next timer is due, in log time.
    pub fn next_due(&self) -> Option<u64> {
        self.timers.keys().next().map(|&(due, _)| due)
    }

    /// Applies the next entry.
    ///
    /// # Errors
    /// If this version does not know the entry's kind.
    ///
    /// # Panics
    /// If the entry is not the next one, or the machine panics.
    pub fn apply(&mut self, entry: EntryRef<'_>) -> Result<Applied, ApplyError> {
        assert_eq!(entry.index, self.applied + 1, "entries are applied one by one");
        let kind =
            Kind::from_byte(entry.kind).ok_or(ApplyError::UnknownKind { index: entry.index, kind: entry.kind })?;
        let time = self.time.max(entry.time);
        let outcome = (kind == Kind::Command).then(|| self.command(&entry, time));
        self.applied = entry.index;
        self.time = time;
        self.fire(entry.index);
        self.extend_digest(outcome.as_ref());
        Ok(Applied { index: entry.index, term: entry.term, outcome })
    }

    fn command(&mut self, entry: &EntryRef<'_>, time: u64) -> Outcome {
        let Some(operation) = decode_operation::<M::Command>(entry.data) else { return Outcome::Malformed };
        self.context.turn_to(entry.index, time);
        let commit = Commit { index: entry.index, time, session: entry.session, operation };
        let output = self.machine.apply(commit, &mut self.context);
        self.settle();
        Outcome::Output(encode_operation(&output))
    }

    /// Fires what is due. A timer that a fired one sets for now or earlier fires with it; their number is bounded by
    /// what the machine schedules.
    fn fire(&mut self, index: Index) {
        while let Some((&(due, id), _)) = self.timers.first_key_value()
            && due <= self.time
        {
            let data = self.timers.remove(&(due, id)).unwrap_or_default();
            self.due_by_id.remove(&id);
            self.context.turn_to(index, self.time);
            self.machine.timer(Timer { id, due, data }, &mut self.context);
            self.settle();
        }
    }

    /// Takes over what the machine did through its context. Events go to open sessions, of which there are none yet.
    fn settle(&mut self) {
        let Context { held, released, scheduled, cancelled, events, .. } = &mut self.context;
        for index in held.drain(..) {
            *self.live.entry(index).or_default() += 1;
        }
        for index in released.drain(..) {
            if let Some(holds) = self.live.get_mut(&index) {
                *holds -= 1;
                if *holds == 0 {
                    self.live.remove(&index);
                }
            }
        }
        for timer in scheduled.drain(..) {
            self.due_by_id.insert(timer.id, timer.due);
            self.timers.insert((timer.due, timer.id), timer.data);
        }
        for id in cancelled.drain(..) {
            if let Some(due) = self.due_by_id.remove(&id) {
                self.timers.remove(&(due, id));
            }
        }
        events.clear();
    }

    fn extend_digest(&mut self, outcome: Option<&Outcome>) {
        let mut place = [0; 16];
        place[..8].copy_from_slice(&self.applied.to_le_bytes());
        place[8..].copy_from_slice(&self.time.to_le_bytes());
        self.digest = crc32c::crc32c_append(self.digest, &place);
        if let Some(Outcome::Output(bytes)) = outcome {
            self.digest = crc32c::crc32c_append(self.digest, bytes);
        }
    }

    /// Answers a query; `None` if its bytes are no query of this machine.
    pub fn query(&self, operation: &[u8]) -> Option<Vec<u8>> {
        Some(encode_operation(&self.machine.query(decode_operation(operation)?)))
    }

    /// The mode under which a command's entry is logged; `None` if the bytes are no command of this machine.
    pub fn mode(operation: &[u8]) -> Option<CompactionMode> {
        Some(M::mode(&decode_operation(operation)?))
    }
}
