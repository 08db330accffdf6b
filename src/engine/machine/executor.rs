//! Applies committed entries to a state machine, in order, once each.
//!
//! Invariants: `applied` rises by one with each entry; log time never goes back; an idempotency key that has ended at an
//! entry's time is dropped before the entry is judged; a timer fires at the first entry whose time is at or past its due
//! time, after that entry's own operation; `live` holds just the indexes that the machine
//! holds and has not released; two executors that applied the same entries have the same digest, and are equal in all that
//! a snapshot holds.

use super::commit::{Commit, Context, Timer, TimerId, Topic};
use super::frozen::{Origin, Timers};
use super::live::Live;
use super::{Codec, CompactionMode, StateMachine};
use crate::engine::entry::{DecodeError, Kind, decode, encode};
#[allow(unused_imports)] // without planted bugs the macro expands to `false`
use crate::engine::options::planted_here;
use crate::engine::sessions::{
    Admission, Answer, EndReason, KeepAlive, Keyed, Outcome, Register, Session, Sessions, Unregister, hash,
};
use crate::engine::types::{Index, SessionId, Term};
use bincode::{Decode, Encode};
use copycat_storage::EntryRef;
use imbl::OrdMap;
use std::collections::{BTreeMap, VecDeque};
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

/// What became of one entry.
#[derive(Debug)]
pub struct Applied {
    /// Its index.
    pub index: Index,
    /// Its term.
    pub term: Term,
    /// What it answered: one answer an item. That to a repeat is the first one, with the index of then.
    pub answers: Vec<Answer>,
    /// The machine holds this very entry: it stays in the log. One that is not held is released at once.
    pub held: bool,
    /// Earlier entries that were held and are no longer: once each, in the order of their release.
    pub released: Vec<Index>,
}

/// A question to the applied state.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Ask {
    /// The machine's, encoded.
    Machine(Vec<u8>),
    /// One session.
    Session(SessionId),
    /// The sessions behind this id.
    Sessions {
        /// The id.
        after: SessionId,
        /// At most so many.
        limit: u32,
    },
    /// A session's events.
    Events {
        /// Whose.
        session: SessionId,
        /// Those behind this index; `None`: behind the acknowledged one.
        after: Option<Index>,
        /// At most so many bytes, but at least one batch.
        bytes: u32,
    },
    /// The machine's, encoded, by a session's client: the response tells of the session's last event.
    OfSession {
        /// Whose.
        session: SessionId,
        /// The question.
        operation: Vec<u8>,
    },
}

impl Ask {
    /// The session that it is about.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        match *self {
            Self::Session(session) | Self::Events { session, .. } | Self::OfSession { session, .. } => Some(session),
            Self::Machine(_) | Self::Sessions { .. } => None,
        }
    }
}

/// How many applied indexes there are from one remembered digest to the next,
const DIGEST_EVERY: Index = 64;
/// and how many of them are remembered.
const DIGESTS: usize = 256;

/// A state machine, and what the engine keeps beside it.
#[cfg_attr(feature = "planted-bugs", derive(Clone))]
pub struct Executor<M: StateMachine> {
    pub(super) machine: M,
    pub(super) applied: Index,
    /// The term of the entry there.
    pub(super) term: Term,
    pub(super) time: u64,
    pub(super) live: Live,
    /// Held entries that are no longer, of the entry being applied.
    released: Vec<Index>,
    /// How the held entries were applied, if that is what the machine is rebuilt from.
    pub(super) origins: OrdMap<Index, Origin>,
    /// The machine is frozen, not rebuilt.
    freezes: bool,
    pub(super) timers: Timers,
    pub(super) due_by_id: BTreeMap<TimerId, u64>,
    /// What the entry being applied has published, by session.
    published: BTreeMap<SessionId, Vec<Vec<u8>>>,
    pub(super) digest: u32,
    pub(super) digests: VecDeque<(Index, u32)>,
    pub(super) context: Context<M::Event>,
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
            freezes: machine.freeze().is_some(),
            machine,
            applied: 0,
            term: 0,
            time: 0,
            live: Live::default(),
            released: Vec::new(),
            origins: OrdMap::new(),
            timers: Timers::new(),
            due_by_id: BTreeMap::new(),
            published: BTreeMap::new(),
            digest: 0,
            digests: VecDeque::new(),
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
        self.live.between(first, last)
    }

    /// The entries that the machine holds.
    pub(in crate::engine) fn held(&self) -> &Live {
        &self.live
    }

    /// Whether the machine is frozen for a snapshot, and not rebuilt from its live entries.
    pub fn freezes(&self) -> bool {
        self.freezes
    }

    /// Whether the machine holds this entry.
    pub fn is_live(&self, index: Index) -> bool {
        self.live.has(index)
    }

    /// The entries that the machine holds, in order: after a start or an install, all others through the applied index are
    /// released.
    pub fn live_indexes(&self) -> impl Iterator<Item = Index> + '_ {
        self.live.indexes()
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
    pub fn take_touched(&mut self) -> Vec<Topic> {
        self.context.take_touched()
    }

    /// The sessions.
    pub fn sessions(&self) -> &Sessions {
        &self.context.sessions
    }

    /// A checksum over everything applied, answered, published, held, released and scheduled so far: equal on all servers
    /// at an equal index.
    pub fn digest(&self) -> u32 {
        self.digest
    }

    /// The digest at the last index at which all servers remember theirs; `(0, 0)` before the first.
    pub fn last_digest(&self) -> (Index, u32) {
        self.digests.back().copied().unwrap_or_default()
    }

    /// The digest at an index, if it is remembered.
    pub fn digest_at(&self, index: Index) -> Option<u32> {
        let at = self.digests.binary_search_by_key(&index, |&(at, _)| at).ok()?;
        self.digests.get(at).map(|&(_, digest)| digest)
    }

    /// Runs with a bug that the simulator must find.
    #[cfg(feature = "planted-bugs")]
    pub fn plant(&mut self, bug: Option<crate::engine::options::Bug>) {
        self.context.bug = bug;
    }

    /// When the next timer is due, in log time.
    pub fn next_due(&self) -> Option<u64> {
        self.timers.get_min().map(|&((due, _), _)| due)
    }

    /// Whether a timer is due after the first and not after the second of these log times.
    pub fn is_due(&self, after: u64, through: u64) -> bool {
        self.timers.range((after.saturating_add(1), 0)..=(through, TimerId::MAX)).next().is_some()
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
        self.context.turn_to(entry.index, time);
        // What cannot be read does nothing, on every server alike, and time goes on: a server that ended by such an entry
        // would end by it at each start, and so would all others.
        let malformed = |_: DecodeError| vec![Self::answer(&entry, None, Outcome::Malformed)];
        let late = planted_here!(self.context, KeysEndOnApplyOnly);
        if !late {
            self.context.sessions.keys.expire(time);
        }
        let answers = match kind {
            Kind::Command => vec![self.numbered(&entry, time)],
            Kind::KeyedCommand => {
                Keyed::decode(entry.data).map_or_else(malformed, |keyed| vec![self.keyed(&entry, time, keyed)])
            }
            Kind::Register => Register::decode(entry.data)
                .map_or_else(malformed, |register| vec![self.register(&entry, time, register)]),
            Kind::KeepAlive => {
                decode::<Vec<_>>(entry.data).map_or_else(malformed, |items| self.keep_alive(&entry, time, &items))
            }
            Kind::Unregister => {
                decode::<Vec<_>>(entry.data).map_or_else(malformed, |items| self.end(&entry, time, &items))
            }
            Kind::Initialize => {
                if !planted_here!(self.context, ElectionExpires) {
                    self.context.sessions.reset(entry.index, time);
                }
                Vec::new()
            }
            // Whoever asked for a configuration is told what has come of it.
            Kind::Configuration => vec![Self::answer(&entry, None, Outcome::Output(entry.data.to_vec()))],
            Kind::Tick => Vec::new(),
        };
        self.applied = entry.index;
        self.term = entry.term;
        self.time = time;
        self.fire();
        if late {
            self.context.sessions.keys.expire(time);
        }
        self.publish(entry.index);
        self.extend_digest(&answers);
        let mut released = std::mem::take(&mut self.released);
        released.retain(|&index| index != entry.index);
        Ok(Applied { index: entry.index, term: entry.term, answers, held: self.live.has(entry.index), released })
    }

    fn answer(entry: &EntryRef<'_>, event_index: Option<Index>, outcome: Outcome) -> Answer {
        Answer { index: entry.index, term: entry.term, event_index, outcome }
    }

    /// An operation of the machine.
    fn operate(&mut self, session: SessionId, time: u64, operation: &[u8]) -> Outcome {
        let Some(operation) = M::Codec::decode::<M::Command>(operation) else { return Outcome::Malformed };
        let commit = Commit { index: self.context.index(), time, session, operation };
        let next_timer = self.context.next_timer;
        let output = self.machine.apply(commit, &mut self.context);
        if !self.freezes && !self.context.held.is_empty() {
            self.origins.insert(self.context.index(), Origin { time, session, next_timer });
        }
        self.settle();
        Outcome::Output(M::Codec::encode(&output))
    }

    /// A command that may belong to a session, and may have a number there.
    fn numbered(&mut self, entry: &EntryRef<'_>, time: u64) -> Answer {
        let (session, sequence) = (entry.session, entry.sequence);
        if session == 0 {
            let outcome = self.operate(0, time, entry.data);
            return Self::answer(entry, None, outcome);
        }
        let Some(open) = self.context.sessions.get(session) else {
            let error = self.context.sessions.missing(session, entry.index);
            return Self::answer(entry, None, Outcome::Refused(error));
        };
        let event_index = Some(open.event_index());
        if sequence == 0 {
            let outcome = self.operate(session, time, entry.data);
            return Self::answer(entry, event_index, outcome);
        }
        let hash = if planted_here!(self.context, MismatchAccepted) { 0 } else { hash(session, entry.data) };
        match open.admit(sequence, hash) {
            Admission::Repeat(_) if planted_here!(self.context, ApplyRepeats) => {
                let outcome = self.operate(session, time, entry.data);
                Self::answer(entry, event_index, outcome)
            }
            Admission::Repeat(answer) => answer,
            Admission::Refused(error) => Self::answer(entry, event_index, Outcome::Refused(error)),
            Admission::New => {
                let outcome = self.operate(session, time, entry.data);
                let answer = Self::answer(entry, event_index, outcome);
                let evict = planted_here!(self.context, AnswersEvicted);
                if let Some(session) = self.context.sessions.get_mut(session) {
                    session.keep(sequence, hash, answer.clone(), evict);
                }
                answer
            }
        }
    }

    /// The log time by which keys are judged: what has ended then was dropped before.
    fn key_time(&self, time: u64) -> u64 {
        if planted_here!(self.context, KeysEndOnApplyOnly) { 0 } else { time }
    }

    fn keyed(&mut self, entry: &EntryRef<'_>, time: u64, keyed: Keyed) -> Answer {
        let session = entry.session;
        let event_index = self.context.sessions.get(session).map(Session::event_index);
        if session != 0 && event_index.is_none() {
            let error = self.context.sessions.missing(session, entry.index);
            return Self::answer(entry, None, Outcome::Refused(error));
        }
        let hash = hash(session, &keyed.operation);
        match self.context.sessions.keys.admit(&keyed.key, hash, self.key_time(time)) {
            Admission::Repeat(answer) => answer,
            Admission::Refused(error) => Self::answer(entry, event_index, Outcome::Refused(error)),
            Admission::New => {
                let outcome = self.operate(session, time, &keyed.operation);
                let answer = Self::answer(entry, event_index, outcome);
                self.context.sessions.keys.keep(keyed.key, hash, time.saturating_add(keyed.window_ms), answer.clone());
                answer
            }
        }
    }

    fn register(&mut self, entry: &EntryRef<'_>, time: u64, register: Register) -> Answer {
        let named = register.key.clone().map(|key| (key, register.hash()));
        if let Some((key, hash)) = &named {
            match self.context.sessions.keys.admit(key, *hash, self.key_time(time)) {
                Admission::Repeat(answer) => return answer,
                Admission::Refused(error) => return Self::answer(entry, None, Outcome::Refused(error)),
                Admission::New => {}
            }
        }
        let end = time.saturating_add(register.window_ms);
        let outcome = self.context.sessions.register(entry.index, time, register);
        self.context.touch_session(entry.index);
        self.machine.register(entry.index, &mut self.context);
        self.settle();
        let answer = Self::answer(entry, Some(0), outcome);
        if let Some((key, hash)) = named {
            self.context.sessions.keys.keep(key, hash, end, answer.clone());
        }
        answer
    }

    fn keep_alive(&mut self, entry: &EntryRef<'_>, time: u64, items: &[KeepAlive]) -> Vec<Answer> {
        let one = |item: &KeepAlive| {
            let outcome = self.context.sessions.keep_alive(entry.index, time, item);
            if item.poll {
                self.context.touch_session(item.session);
            }
            Self::answer(entry, None, outcome)
        };
        items.iter().map(one).collect()
    }

    /// All of them end before the machine hears of the first: what one leaves must not go to another that is leaving.
    fn end(&mut self, entry: &EntryRef<'_>, time: u64, items: &[Unregister]) -> Vec<Answer> {
        let mut ended = Vec::new();
        let mut answers = Vec::new();
        for item in items {
            let outcome = if self.context.sessions.is_open(item.session) {
                if self.context.sessions.end(time, item, planted_here!(self.context, ExpiryIgnoresKeepAlive)) {
                    ended.push(*item);
                }
                Outcome::Closed
            } else {
                Outcome::Refused(self.context.sessions.missing(item.session, entry.index))
            };
            answers.push(Self::answer(entry, None, outcome));
        }
        for Unregister { session, reason, .. } in ended {
            self.context.touch_session(session);
            if reason == EndReason::Closed {
                self.machine.unregister(session, &mut self.context);
            } else {
                self.machine.expire(session, &mut self.context);
            }
            self.machine.close(session, &mut self.context);
            self.settle();
        }
        answers
    }

    /// What this entry has published becomes one batch a session.
    fn publish(&mut self, index: Index) {
        for (session, events) in std::mem::take(&mut self.published) {
            for event in &events {
                self.digest = crc32c::crc32c_append(self.digest, event);
            }
            #[cfg(feature = "planted-bugs")]
            if planted_here!(self.context, EventsTrimmed) {
                self.context.sessions.trim(session);
            }
            if self.context.sessions.publish(session, index, events) {
                self.context.touch_session(session);
                #[cfg(feature = "planted-bugs")]
                if planted_here!(self.context, WrongBackPointer) {
                    self.context.sessions.break_pointer(session);
                }
            }
        }
    }

    /// Fires what is due. A timer that a fired one sets for now or earlier fires with it; their number is bounded by
    /// what the machine schedules.
    fn fire(&mut self) {
        while let Some(&((due, id), ref data)) = self.timers.get_min()
            && due <= self.time
        {
            let data = data.to_vec();
            self.timers.remove(&(due, id));
            self.due_by_id.remove(&id);
            self.machine.timer(Timer { id, due, data }, &mut self.context);
            self.settle();
        }
    }

    /// Takes over what the machine did through its context.
    fn settle(&mut self) {
        let Context { held, released, scheduled, cancelled, events, sessions, .. } = &mut self.context;
        let mut digest = self.digest;
        let mut note = |tag: u8, number: u64| {
            let mut what = [tag; 9];
            what[1..].copy_from_slice(&number.to_le_bytes());
            digest = crc32c::crc32c_append(digest, &what);
        };
        for index in held.drain(..) {
            note(b'h', index);
            self.live.hold(index);
            let known = self.freezes || self.origins.contains_key(&index);
            assert!(known, "a machine that cannot be frozen held entry {index} outside of `apply`");
        }
        for index in released.drain(..) {
            note(b'r', index);
            if self.live.release(index) {
                self.released.push(index);
                self.origins.remove(&index);
            }
        }
        for timer in scheduled.drain(..) {
            note(b's', timer.due);
            self.due_by_id.insert(timer.id, timer.due);
            self.timers.insert((timer.due, timer.id), timer.data.into());
        }
        for id in cancelled.drain(..) {
            note(b'c', id);
            if let Some(due) = self.due_by_id.remove(&id) {
                self.timers.remove(&(due, id));
            }
        }
        self.digest = digest;
        for (session, event) in events.drain(..) {
            // One that has ended gets nothing.
            if sessions.is_open(session) {
                self.published.entry(session).or_default().push(M::Codec::encode(&event));
            }
        }
    }

    fn extend_digest(&mut self, answers: &[Answer]) {
        let mut place = [0; 16];
        place[..8].copy_from_slice(&self.applied.to_le_bytes());
        place[8..].copy_from_slice(&self.time.to_le_bytes());
        self.digest = crc32c::crc32c_append(self.digest, &place);
        for answer in answers {
            self.digest = match &answer.outcome {
                Outcome::Output(bytes) => crc32c::crc32c_append(self.digest, bytes),
                other => crc32c::crc32c_append(self.digest, &encode(other)),
            };
        }
        if self.applied.is_multiple_of(DIGEST_EVERY) {
            self.digests.push_back((self.applied, self.digest));
            if self.digests.len() > DIGESTS {
                self.digests.pop_front();
            }
        }
    }

    /// Answers a question; `None` if the machine does not know it.
    pub fn ask(&self, ask: &Ask) -> Option<Outcome> {
        let sessions = &self.context.sessions;
        Some(match ask {
            Ask::Machine(operation) | Ask::OfSession { operation, .. } => Outcome::Output(self.query(operation)?),
            Ask::Session(session) => match sessions.info(*session) {
                Some(info) => Outcome::Sessions(vec![info]),
                None => Outcome::Refused(sessions.missing(*session, self.applied)),
            },
            Ask::Sessions { after, limit } => Outcome::Sessions(sessions.list(*after, *limit as usize)),
            Ask::Events { session, after, bytes } => {
                match sessions.events(*session, *after, *bytes as usize, self.applied) {
                    Ok(page) => Outcome::Events(page),
                    Err(error) => Outcome::Refused(error),
                }
            }
        })
    }

    /// The index of the last event of the session whose client asks this, 0 before the first.
    pub fn event_index(&self, ask: &Ask) -> Option<Index> {
        let Ask::OfSession { session, .. } = ask else { return None };
        self.context.sessions.get(*session).map(Session::event_index)
    }

    /// Answers a query; `None` if its bytes are no query of this machine.
    pub fn query(&self, operation: &[u8]) -> Option<Vec<u8>> {
        Some(M::Codec::encode(&self.machine.query(M::Codec::decode(operation)?)))
    }

    /// The mode under which a command's entry is logged; `None` if the bytes are no command of this machine.
    pub fn mode(operation: &[u8]) -> Option<CompactionMode> {
        Some(M::mode(&M::Codec::decode(operation)?))
    }
}
