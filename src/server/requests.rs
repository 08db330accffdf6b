//! What clients wait for: each request's way from its arrival to its answer.
//!
//! A request is *parked* (nobody has it), *with the engine*, or *with the leader* (forwarded). Invariant: a command that
//! would be carried out twice if it came twice is handed over at most once, unless whoever had it said that it had no
//! effect; if that answer is lost, or its time runs out meanwhile, its outcome is unknown. Everything else (a query, a
//! command with a number or an idempotency key, a sign of life) may be handed over again at any time, and is, when whoever
//! had it is lost.

use super::transport::frame::{WireRefusal, WireRequest, WireResponse};
use crate::engine::machine::{Ask, Outcome};
use crate::engine::sessions::{SessionError, Submit};
use crate::engine::{Change, ConfigurationError, Consistency, RequestId, ServerId};
use async_channel::Sender;
use std::collections::BTreeMap;
use std::time::Duration;

/// What a client asked for.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    /// Have this logged and applied.
    Submit(Submit),
    /// Answer this query.
    Query {
        /// How fresh the answer must be.
        consistency: Consistency,
        /// The lowest index a sequential query is answered from.
        index: u64,
        /// The question.
        ask: Ask,
    },
    /// Change the configuration.
    Change(Change),
    /// Hand leadership to this member.
    Transfer(ServerId),
}

/// The answer to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    /// The command's index, or the applied index a query saw.
    pub(crate) index: u64,
    /// The term.
    pub(crate) term: u64,
    /// Of a session's command: the index of the session's last event before it.
    pub(crate) event_index: Option<u64>,
    /// The answer.
    pub(crate) output: Outcome,
    /// How a query was really served.
    pub(crate) consistency: Option<Consistency>,
    /// Which server answered.
    pub(crate) served_by: ServerId,
}

/// Why a client gets no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// There is no leader. Not applied.
    #[error("there is no leader")]
    NoLeader,
    /// A bound is reached. Not applied.
    #[error("too many requests are under way")]
    Overloaded,
    /// Larger than the log takes. Not applied.
    #[error("larger than a log entry may be")]
    TooLarge,
    /// The leader's disk is full. Not applied.
    #[error("the leader's disk is full: make room there")]
    StorageFull,
    /// Not an operation of this state machine. Not applied.
    #[error("this is no operation of the leader's state machine: it runs another version")]
    Malformed,
    /// Time ran out; whether the command has had, or will have, an effect is told.
    #[error("no answer in time")]
    Timeout {
        /// It may have.
        maybe_applied: bool,
    },
    /// The leader was lost before its answer came: the command may or may not have an effect.
    #[error("the leader was lost before its answer came")]
    LeaderLost,
    /// The server is shutting down. Not applied.
    #[error("this server is shutting down: ask another")]
    ShuttingDown,
    /// There is no such session, or it is not this command's turn. Not applied.
    #[error("{0}")]
    Session(SessionError),
    /// The session has left too many answers unacknowledged. Not applied.
    #[error("the session has too many answers open: acknowledge them")]
    SessionBusy,
    /// A newer poll of the same session has taken over.
    #[error("a newer poll of the same session took over")]
    Superseded,
    /// The configuration was not changed, or the office not handed over.
    #[error("{0}")]
    Configuration(ConfigurationError),
    /// The answer makes no sense: a fault. Whether a command had an effect is unknown.
    #[error("the answer makes no sense, which is a bug")]
    Internal,
}

/// Where a client of this server hears of its answer. One that has gone away needs none.
#[derive(Debug)]
pub(crate) enum ReplyTo {
    /// A place for this one answer.
    One(Sender<Result<Reply, Refusal>>),
    /// Among others, under this number. There is room for all that are under way.
    Numbered(u64, Sender<(u64, Result<Reply, Refusal>)>),
}

impl ReplyTo {
    pub(super) fn answer(self, result: Result<Reply, Refusal>) {
        match self {
            Self::One(reply) => drop(reply.try_send(result)),
            Self::Numbered(id, replies) => drop(replies.try_send((id, result))),
        }
    }
}

/// Who waits.
#[derive(Debug)]
pub(super) enum Origin {
    /// A client of this server.
    Local(ReplyTo),
    /// Another server, under its own number.
    Remote { server: ServerId, id: RequestId },
}

/// Where a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Parked,
    Engine,
    Leader(ServerId),
}

#[derive(Debug)]
pub(super) struct Pending {
    pub(super) origin: Origin,
    pub(super) request: Request,
    pub(super) arrived: Duration,
    pub(super) deadline: Duration,
    pub(super) place: Place,
    /// It was handed over before, and what became of that is not known.
    pub(super) uncertain: bool,
}

impl Pending {
    /// Whether it may be handed over again when it is not known what became of it.
    pub(super) fn is_repeatable(&self) -> bool {
        match &self.request {
            Request::Submit(submit) => submit.is_repeatable(),
            // Who asks to join again is told that it has.
            Request::Query { .. } | Request::Change(Change::Join { .. }) | Request::Transfer(_) => true,
            Request::Change(_) => false,
        }
    }

    /// Whether it may have had, or may yet have, an effect.
    pub(super) fn may_have_effect(&self) -> bool {
        !matches!(self.request, Request::Query { .. }) && (self.uncertain || self.place != Place::Parked)
    }

    /// What a refusal means for it: whoever refuses it now knows nothing of what became of it when it was handed over
    /// before. (Of a session that has ended, and of a number that is acknowledged, clients are told so whenever they ask.)
    pub(super) fn refused(&self, refusal: Refusal) -> Refusal {
        use Refusal::{NoLeader, Overloaded, SessionBusy, ShuttingDown, StorageFull};
        match refusal {
            NoLeader
            | Overloaded
            | StorageFull
            | ShuttingDown
            | SessionBusy
            | Refusal::Session(SessionError::SequenceGap { .. })
                if self.uncertain && matches!(self.request, Request::Submit(_)) =>
            {
                Refusal::LeaderLost
            }
            other => other,
        }
    }
}

/// All requests that wait, by number, and by deadline.
#[derive(Debug, Default)]
pub(super) struct Requests {
    next: RequestId,
    by_id: BTreeMap<RequestId, Pending>,
    by_deadline: BTreeMap<(Duration, RequestId), ()>,
    parked: Vec<RequestId>,
}

/// Requests that may wait on one server.
const REQUESTS: usize = 16 * 1024;

impl Requests {
    /// Numbers begin at a random place, so that a late answer to an earlier life of this server fits no request.
    pub(super) fn new(first: RequestId) -> Self {
        Self { next: first, ..Self::default() }
    }

    /// Takes a request in, parked; gives it back if the bound is reached.
    pub(super) fn admit(
        &mut self,
        origin: Origin,
        request: Request,
        arrived: Duration,
        timeout: Duration,
    ) -> Result<RequestId, Origin> {
        if self.by_id.len() >= REQUESTS {
            return Err(origin);
        }
        let id = self.next;
        self.next = self.next.wrapping_add(1);
        let deadline = arrived + timeout;
        self.by_id.insert(id, Pending { origin, request, arrived, deadline, place: Place::Parked, uncertain: false });
        self.by_deadline.insert((deadline, id), ());
        Ok(id)
    }

    pub(super) fn get_mut(&mut self, id: RequestId) -> Option<&mut Pending> {
        self.by_id.get_mut(&id)
    }

    pub(super) fn remove(&mut self, id: RequestId) -> Option<Pending> {
        let pending = self.by_id.remove(&id)?;
        self.by_deadline.remove(&(pending.deadline, id));
        Some(pending)
    }

    /// Whoever had it is lost, and with it what became of it. Returns whether it may be handed over again.
    pub(super) fn lose(&mut self, id: RequestId) -> Option<bool> {
        let pending = self.by_id.get_mut(&id)?;
        let repeatable = pending.is_repeatable();
        pending.uncertain |= repeatable;
        Some(repeatable)
    }

    /// Nobody has it: it is tried again by [`take_parked`](Self::take_parked).
    pub(super) fn park(&mut self, id: RequestId) {
        if let Some(pending) = self.by_id.get_mut(&id) {
            pending.place = Place::Parked;
            self.parked.push(id);
        }
    }

    pub(super) fn take_parked(&mut self) -> Vec<RequestId> {
        std::mem::take(&mut self.parked)
    }

    pub(super) fn has_parked(&self) -> bool {
        !self.parked.is_empty()
    }

    /// The requests that are there.
    pub(super) fn at(&self, place: Place) -> Vec<RequestId> {
        self.by_id.iter().filter(|(_, p)| p.place == place).map(|(&id, _)| id).collect()
    }

    /// Whether nothing waits but what nobody has.
    pub(super) fn is_idle(&self) -> bool {
        self.by_id.values().all(|pending| pending.place == Place::Parked)
    }

    pub(super) fn all(&self) -> Vec<RequestId> {
        self.by_id.keys().copied().collect()
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.by_deadline.keys().next().map(|&(deadline, _)| deadline)
    }

    /// The requests whose time is over.
    pub(super) fn overdue(&mut self, now: Duration) -> Vec<(RequestId, Pending)> {
        let mut overdue = Vec::new();
        while let Some((&(deadline, id), ())) = self.by_deadline.first_key_value()
            && deadline <= now
        {
            match self.remove(id) {
                Some(pending) => overdue.push((id, pending)),
                None => drop(self.by_deadline.pop_first()),
            }
        }
        overdue
    }
}

impl From<WireRefusal> for Refusal {
    fn from(refusal: WireRefusal) -> Self {
        match refusal {
            WireRefusal::NotLeader => Self::NoLeader,
            WireRefusal::Overloaded => Self::Overloaded,
            WireRefusal::TooLarge => Self::TooLarge,
            WireRefusal::StorageFull => Self::StorageFull,
            WireRefusal::Malformed => Self::Malformed,
            WireRefusal::Timeout { maybe_applied } => Self::Timeout { maybe_applied },
            WireRefusal::Session(error) => Self::Session(error),
            WireRefusal::SessionBusy => Self::SessionBusy,
            WireRefusal::Configuration(error) => Self::Configuration(error),
        }
    }
}

impl From<Refusal> for WireRefusal {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoLeader | Refusal::ShuttingDown => Self::NotLeader,
            // Polls are not forwarded: no server is superseded at another.
            Refusal::Overloaded | Refusal::Superseded => Self::Overloaded,
            Refusal::TooLarge => Self::TooLarge,
            Refusal::StorageFull => Self::StorageFull,
            Refusal::Malformed => Self::Malformed,
            Refusal::Timeout { maybe_applied } => Self::Timeout { maybe_applied },
            Refusal::LeaderLost | Refusal::Internal => Self::Timeout { maybe_applied: true },
            Refusal::Session(error) => Self::Session(error),
            Refusal::SessionBusy => Self::SessionBusy,
            Refusal::Configuration(error) => Self::Configuration(error),
        }
    }
}

impl From<Reply> for WireResponse {
    fn from(reply: Reply) -> Self {
        let Reply { index, term, event_index, output, consistency, .. } = reply;
        Self { index, term, event_index, output, consistency }
    }
}

impl Request {
    pub(super) fn to_wire(&self, timeout: Duration) -> WireRequest {
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        match self {
            Self::Submit(submit) => WireRequest::Submit { submit: submit.clone(), timeout_ms },
            Self::Query { consistency, index, ask } => {
                WireRequest::Query { consistency: *consistency, index: *index, ask: ask.clone(), timeout_ms }
            }
            Self::Change(change) => WireRequest::Change { change: change.clone(), timeout_ms },
            Self::Transfer(target) => WireRequest::Transfer { target: *target, timeout_ms },
        }
    }

    pub(super) fn from_wire(request: WireRequest) -> (Self, Duration) {
        match request {
            WireRequest::Submit { submit, timeout_ms } => (Self::Submit(submit), Duration::from_millis(timeout_ms)),
            WireRequest::Query { consistency, index, ask, timeout_ms } => {
                (Self::Query { consistency, index, ask }, Duration::from_millis(timeout_ms))
            }
            WireRequest::Change { change, timeout_ms } => (Self::Change(change), Duration::from_millis(timeout_ms)),
            WireRequest::Transfer { target, timeout_ms } => (Self::Transfer(target), Duration::from_millis(timeout_ms)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query() -> Request {
        Request::Query { consistency: Consistency::Linearizable, index: 0, ask: Ask::Machine(Vec::new()) }
    }

    fn remote(id: RequestId) -> Origin {
        Origin::Remote { server: 2, id }
    }

    #[test]
    fn a_request_is_found_by_number_place_and_deadline_and_then_gone() {
        let mut r = Requests::new(u64::MAX);
        let ms = Duration::from_millis;
        let a = r.admit(remote(1), query(), ms(0), ms(30)).expect("room");
        let b = r.admit(remote(2), query(), ms(0), ms(10)).expect("room");
        assert_eq!((a, b), (u64::MAX, 0), "numbers wrap");
        assert_eq!(r.next_deadline(), Some(ms(10)));
        r.get_mut(a).expect("there").place = Place::Leader(3);
        assert_eq!(r.at(Place::Leader(3)), [a]);
        r.park(b);
        assert_eq!(r.take_parked(), [b]);
        assert!(!r.has_parked() && !r.is_idle(), "the leader has one");
        assert_eq!(r.overdue(ms(9)).len(), 0);
        assert_eq!(r.overdue(ms(10)).into_iter().map(|(id, _)| id).collect::<Vec<_>>(), [b]);
        assert!(r.remove(a).is_some() && r.remove(a).is_none());
        assert_eq!(r.next_deadline(), None);
    }

    #[test]
    fn what_has_been_parked_and_is_gone_does_not_stand_for_what_is_under_way() {
        let mut r = Requests::new(1);
        let gone = r.admit(remote(1), query(), Duration::ZERO, Duration::ZERO).expect("room");
        r.park(gone);
        r.remove(gone);
        assert!(r.is_idle());
        let under_way = r.admit(remote(2), query(), Duration::ZERO, Duration::ZERO).expect("room");
        r.get_mut(under_way).expect("there").place = Place::Engine;
        assert!(!r.is_idle());
        r.park(under_way);
        assert!(r.is_idle());
    }

    #[test]
    fn a_refusal_of_what_was_handed_over_before_does_not_say_that_nothing_was_done() {
        let mut r = Requests::new(0);
        let known = Submit::Command { operation: Vec::new(), mode: 0, session: 7, sequence: 1, key: None };
        let command = r.admit(remote(1), Request::Submit(known), Duration::ZERO, Duration::ZERO).expect("room");
        let read = r.admit(remote(2), query(), Duration::ZERO, Duration::ZERO).expect("room");
        let gap = Refusal::Session(SessionError::SequenceGap { expected: 1 });
        let mismatch = Refusal::Session(SessionError::SequenceMismatch);
        for refusal in [Refusal::NoLeader, Refusal::Overloaded, Refusal::StorageFull, Refusal::SessionBusy, gap] {
            for id in [command, read] {
                let pending = r.get_mut(id).expect("there");
                pending.uncertain = false;
                assert_eq!(pending.refused(refusal), refusal);
                pending.uncertain = true;
                assert_eq!(pending.refused(refusal), if id == read { refusal } else { Refusal::LeaderLost });
            }
        }
        let pending = r.get_mut(command).expect("there");
        for refusal in [Refusal::TooLarge, Refusal::Malformed, mismatch] {
            assert_eq!(pending.refused(refusal), refusal, "so it was refused before, too");
        }
    }

    #[test]
    fn what_was_lost_and_is_parked_again_may_have_had_an_effect() {
        let mut r = Requests::new(0);
        let submit = |sequence| Submit::Command { operation: Vec::new(), mode: 0, session: 7, sequence, key: None };
        let mut admit = |request| r.admit(remote(1), request, Duration::ZERO, Duration::ZERO).expect("room");
        let (known, once) = (admit(Request::Submit(submit(1))), admit(Request::Submit(submit(0))));
        for id in [known, once] {
            r.get_mut(id).expect("there").place = Place::Leader(3);
        }
        assert_eq!((r.lose(known), r.lose(once), r.lose(77)), (Some(true), Some(false), None));
        r.park(known);
        let pending = r.get_mut(known).expect("there");
        assert!(pending.may_have_effect(), "so nobody is told that there was no leader, and nothing was done");
        assert_eq!(pending.refused(Refusal::NoLeader), Refusal::LeaderLost);
    }

    #[test]
    fn the_table_is_bounded() {
        let mut r = Requests::new(0);
        for i in 0..REQUESTS as u64 {
            r.admit(remote(i), query(), Duration::ZERO, Duration::ZERO).expect("room");
        }
        assert!(r.admit(remote(0), query(), Duration::ZERO, Duration::ZERO).is_err());
        assert_eq!(r.overdue(Duration::ZERO).len(), REQUESTS);
        assert!(r.admit(remote(0), query(), Duration::ZERO, Duration::ZERO).is_ok());
    }
}
