//! Client sessions, as every server has them: who is registered and until when, the answers to numbered commands, the
//! events that are not acknowledged, and the answers to commands with an idempotency key.
//!
//! All of it is changed by applied entries only, so it is equal on all servers at an equal index. It is in each snapshot,
//! whole. What a leader keeps besides, of entries that are not applied yet, is in `sequencing`.
//!
//! # Invariants
//! - The id of a session is the index of the entry that registered it. Once ended, it is ended for ever.
//! - A session ends by an entry only. One that says *timed out* is void if the session was kept alive after it was
//!   judged, or is not overdue in log time.
//! - Answers are kept for just the numbers in `acknowledged + 1 ..= sequence`.
//! - Event batches have rising indexes, each names the one before, and none is dropped that is not acknowledged, except
//!   in a session that is marked to end for it.

mod entries;
mod events;
mod keys;
mod outcome;
pub(crate) mod sequencing;
mod session;

pub use entries::{DEFAULT_WINDOW_MS, KeepAlive, Keyed, Limits, Register, Submit, Unregister};
pub use events::Batch;
pub use outcome::{Answer, EndReason, EventPage, Outcome, SessionError, SessionInfo};
pub(crate) use session::{Admission, Session};

use super::types::{Index, SessionId};
use crate::engine::entry::{DecodeError, Decoder, Encoder};
use imbl::OrdMap;
use keys::{FrozenKeys, Keys};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Sessions whose end is remembered with its reason. Part of the replicated state: never change it without a new feature
/// level.
const ENDED: usize = 4096;

/// All sessions.
#[derive(Debug, Default)]
#[cfg_attr(feature = "planted-bugs", derive(Clone))]
pub struct Sessions {
    open: OrdMap<SessionId, Arc<Session>>,
    by_deadline: BTreeSet<(u64, SessionId)>,
    /// Those that left too many events unacknowledged.
    full: BTreeSet<SessionId>,
    ended: BTreeMap<SessionId, EndReason>,
    pub(crate) keys: Keys,
}

/// What a hash is for: to tell whether a repeat is one.
pub(crate) fn hash(session: SessionId, operation: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(operation, session)
}

impl Sessions {
    /// How many are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Whether this session is open.
    #[must_use]
    pub fn is_open(&self, id: SessionId) -> bool {
        self.open.contains_key(&id)
    }

    pub(crate) fn get(&self, id: SessionId) -> Option<&Session> {
        self.open.get(&id).map(AsRef::as_ref)
    }

    pub(crate) fn get_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        self.open.get_mut(&id).map(Arc::make_mut)
    }

    /// Why this session is not open, said by a server that has applied the log through `applied`.
    #[must_use]
    pub fn missing(&self, id: SessionId, applied: Index) -> SessionError {
        if id == 0 || id > applied {
            return SessionError::NotFound;
        }
        SessionError::Ended(self.ended.get(&id).copied().unwrap_or(EndReason::Forgotten))
    }

    /// The next moment, in log time, at which a session is overdue.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        self.by_deadline.first().map(|&(at, _)| at)
    }

    /// Sessions that are overdue at this log time, each with the index it was last kept alive at; and those whose queue
    /// is full. At most `limit`.
    pub(crate) fn to_end(&self, time: u64, limit: usize) -> Vec<Unregister> {
        let full = self.full.iter().map(|&session| Unregister { session, reason: EndReason::QueueFull, judged_by: 0 });
        let overdue = self.by_deadline.range(..=(time, SessionId::MAX)).filter_map(|&(_, session)| {
            let judged_by = self.open.get(&session)?.kept_by;
            Some(Unregister { session, reason: EndReason::TimedOut, judged_by })
        });
        full.chain(overdue).take(limit).collect()
    }

    /// Whether there is a session to end at once, whatever the time.
    pub(crate) fn has_full(&self) -> bool {
        !self.full.is_empty()
    }

    pub(crate) fn register(&mut self, index: Index, time: u64, register: Register) -> Outcome {
        let session = Session::new(index, time, register);
        let timeout_ms = session.timeout_ms;
        self.by_deadline.insert((session.deadline(), index));
        self.open.insert(index, Arc::new(session));
        Outcome::Registered { session: index, timeout_ms }
    }

    fn touch(&mut self, id: SessionId, index: Index, time: u64) {
        let Some(session) = self.open.get_mut(&id).map(Arc::make_mut) else { return };
        self.by_deadline.remove(&(session.deadline(), id));
        (session.kept_at, session.kept_by) = (time, index);
        self.by_deadline.insert((session.deadline(), id));
    }

    /// A new leader's first entry: all sessions begin their timeout anew, so an election expires nobody.
    pub(crate) fn reset(&mut self, index: Index, time: u64) {
        let ids: Vec<SessionId> = self.open.keys().copied().collect();
        for id in ids {
            self.touch(id, index, time);
        }
    }

    pub(crate) fn keep_alive(&mut self, index: Index, time: u64, item: &KeepAlive) -> Outcome {
        if !self.is_open(item.session) {
            return Outcome::Refused(self.missing(item.session, index));
        }
        if item.alive {
            self.touch(item.session, index, time);
        }
        let Some(session) = self.get_mut(item.session) else { unreachable!("it is open") };
        session.acknowledge(item.sequence);
        session.events.acknowledge(item.event_index);
        if item.server != 0 {
            session.server = item.server;
        }
        if item.poll {
            session.poll = index;
        }
        Outcome::KeptAlive { timeout_ms: session.timeout_ms, event_index: session.events.last() }
    }

    /// Whether this entry ends the session; then it is ended.
    pub(crate) fn end(&mut self, time: u64, item: &Unregister, planted: bool) -> bool {
        let Some(session) = self.open.get(&item.session) else { return false };
        let timed_out = planted || session.kept_by == item.judged_by && time >= session.deadline();
        if item.reason == EndReason::TimedOut && !timed_out {
            return false;
        }
        self.by_deadline.remove(&(session.deadline(), item.session));
        self.full.remove(&item.session);
        self.open.remove(&item.session);
        self.ended.insert(item.session, item.reason);
        if self.ended.len() > ENDED {
            self.ended.pop_first();
        }
        true
    }

    /// Queues a batch of events. Returns whether the session is there to get it.
    pub(crate) fn publish(&mut self, id: SessionId, index: Index, events: Vec<Vec<u8>>) -> bool {
        let Some(session) = self.open.get_mut(&id).map(Arc::make_mut) else { return false };
        if self.full.contains(&id) {
            return false;
        }
        if !session.events.push(index, events, session.limits) {
            self.full.insert(id);
            return false;
        }
        true
    }

    #[cfg(feature = "planted-bugs")]
    pub(crate) fn trim(&mut self, id: SessionId) {
        if let Some(session) = self.get_mut(id) {
            session.events.trim(4);
        }
    }

    #[cfg(feature = "planted-bugs")]
    pub(crate) fn break_pointer(&mut self, id: SessionId) {
        if let Some(session) = self.get_mut(id) {
            session.events.break_pointer();
        }
    }

    /// A copy, for a snapshot. What it shares with these is copied when these change.
    pub(crate) fn freeze(&self) -> FrozenSessions {
        FrozenSessions {
            open: self.open.clone(),
            full: self.full.iter().copied().collect(),
            ended: self.ended.iter().map(|(&id, &reason)| (id, reason)).collect(),
            keys: self.keys.freeze(),
        }
    }

    pub(crate) fn load(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let count: u64 = from.take()?;
        let mut open = OrdMap::new();
        for _ in 0..count {
            open.insert(from.take()?, Arc::new(Session::load(from)?));
        }
        let full: BTreeSet<SessionId> = from.take_all(|id: SessionId| id)?;
        let ended = from.take_all(|ended: (SessionId, EndReason)| ended)?;
        let keys = Keys::load(from)?;
        let by_deadline = open.iter().map(|(&id, session): (_, &Arc<Session>)| (session.deadline(), id)).collect();
        Ok(Self { open, by_deadline, full, ended, keys })
    }

    /// What there is to see of a session.
    #[must_use]
    pub fn info(&self, id: SessionId) -> Option<SessionInfo> {
        self.open.get(&id).map(|session| session.info(id))
    }

    /// The sessions behind an id, in order.
    #[must_use]
    pub fn list(&self, after: SessionId, limit: usize) -> Vec<SessionInfo> {
        let behind = self.open.range(after.saturating_add(1)..);
        behind.take(limit).map(|(&id, session)| session.info(id)).collect()
    }

    /// A session's events behind an index (`None`: behind the acknowledged one), at most `bytes` of them but at least one
    /// batch.
    ///
    /// # Errors
    /// If the session is not open here, or has acknowledged what is asked for.
    pub fn events(
        &self,
        id: SessionId,
        after: Option<Index>,
        bytes: usize,
        applied: Index,
    ) -> Result<EventPage, SessionError> {
        let session = self.open.get(&id).ok_or_else(|| self.missing(id, applied))?;
        let acknowledged = session.events.acknowledged();
        let after = after.unwrap_or(acknowledged);
        if after < acknowledged {
            return Err(SessionError::EventsGap { acknowledged });
        }
        Ok(EventPage {
            batches: session.events.behind(after, bytes),
            event_index: session.events.last(),
            timeout_ms: session.timeout_ms,
            poll: session.poll,
        })
    }
}

/// All sessions as they were when a snapshot was taken.
#[derive(Debug)]
pub(crate) struct FrozenSessions {
    open: OrdMap<SessionId, Arc<Session>>,
    full: Vec<SessionId>,
    ended: Vec<(SessionId, EndReason)>,
    keys: FrozenKeys,
}

impl FrozenSessions {
    pub(crate) fn save(&self, to: &mut Encoder) {
        to.put(&(self.open.len() as u64));
        for (id, session) in &self.open {
            to.put(id);
            session.save(to);
        }
        to.put_all(self.full.iter());
        to.put_all(self.ended.iter());
        self.keys.save(to);
    }

    /// Leaves something out that belongs there.
    #[cfg(feature = "planted-bugs")]
    pub(crate) fn plant(&mut self, bug: crate::engine::Bug) {
        use crate::engine::Bug;
        if bug == Bug::SnapshotWithoutKeys {
            self.keys = Keys::default().freeze();
        }
        let ids: Vec<SessionId> = self.open.keys().copied().collect();
        for id in ids {
            let Some(session) = self.open.get_mut(&id).map(Arc::make_mut) else { continue };
            match bug {
                Bug::SnapshotWithoutAnswers => session.forget_answers(),
                Bug::SnapshotWithoutEvents => session.events.forget_queued(),
                Bug::SnapshotForgetsBackPointer => session.events.forget_last(),
                _ => {}
            }
        }
    }
}
