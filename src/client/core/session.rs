//! The session: asked for, kept alive, lost, asked for again, closed.

use super::super::{Error, Lost, State};
use super::{ACKNOWLEDGE, ACKNOWLEDGE_AFTER, About, Core, EVENTS_PATIENCE, Effect, Numbers};
use crate::engine::machine::Outcome;
use crate::engine::sessions::SessionError;
use crate::engine::{Index, SessionId};
use crate::wire::{Refusal, Request, Response, ToServer};
use std::time::Duration;

/// Signs of life are sent this many times in a timeout,
const SIGNS: u32 = 4;
/// and a server through which none has gone for this share of the timeout is left.
const PATIENCE: u32 = 2;

#[derive(Debug)]
pub(super) enum Phase {
    /// There is none; whether one was asked for.
    Absent {
        asked: bool,
    },
    Open(Open),
    /// It is lost, and is not to be followed by another one.
    Lost(Lost),
    /// The client has ended.
    Closed(Error),
}

#[derive(Debug)]
pub(super) struct Open {
    pub(super) id: SessionId,
    pub(super) timeout: Duration,
    /// When the last sign of life was sent that was heard,
    pub(super) confirmed: Duration,
    /// and the last one,
    sent: Duration,
    /// if it is under way.
    pub(super) alive_at: Option<Duration>,
    /// The next one is to go at once.
    hurry: bool,
    /// Its end was asked for.
    pub(super) closing: bool,
    /// The servers know that the program has all events through this index.
    acknowledged: Index,
}

impl Phase {
    /// Why nothing more is done, if so.
    pub(super) fn refusal(&self) -> Option<Error> {
        match self {
            Self::Lost(lost) => Some(Error::SessionLost(*lost)),
            Self::Closed(error) => Some(error.clone()),
            Self::Absent { .. } | Self::Open(_) => None,
        }
    }
}

impl Core {
    /// Asks for a session, shows that it is alive, acknowledges, or ends it: whatever is due.
    pub(super) fn keep_session(&mut self, now: Duration) {
        if self.closing && self.order.is_empty() && !matches!(self.phase, Phase::Open(_)) {
            self.end(Error::Closed);
        }
        self.lacking = self.order.lacks_events().then(|| self.lacking.unwrap_or(now));
        let Some(connected) = self.connected else { return };
        let Some(deadline) = self.session_deadline(connected) else { return };
        if now < deadline {
            return;
        }
        match &mut self.phase {
            Phase::Absent { asked } => {
                *asked = true;
                let key = format!("{:032x}.{}", self.settings.nonce, self.registrations);
                let timeout_ms = u64::try_from(self.settings.timeout.as_millis()).unwrap_or(u64::MAX);
                let name = self.settings.name.clone();
                self.request(About::Register { at: now }, Request::Register { timeout_ms, name, key });
            }
            Phase::Open(open) => {
                let session = open.id;
                if now >= open.confirmed.max(connected) + open.timeout / PATIENCE
                    || self.lacking.is_some_and(|since| now >= since + EVENTS_PATIENCE)
                {
                    self.lacking = None;
                    return self.reconnect();
                }
                if self.closing && self.order.is_empty() && !open.closing {
                    open.closing = true;
                    return self.request(About::Unregister, Request::Unregister { session });
                }
                if open.alive_at.is_some() {
                    return;
                }
                (open.sent, open.alive_at, open.hurry) = (now, Some(now), false);
                let (sequence, events) = (self.numbers.answered, self.taken.min(self.order.received()));
                self.taken_batches = 0;
                let request = Request::KeepAlive { session, sequence, event_index: events };
                self.request(About::KeepAlive { at: now, sequence, events }, request);
            }
            Phase::Lost(_) | Phase::Closed(_) => {}
        }
    }

    /// When [`keep_session`](Self::keep_session) has something to do, over a connection that stands since `connected`.
    fn session_deadline(&self, connected: Duration) -> Option<Duration> {
        match &self.phase {
            Phase::Absent { asked } => (!asked).then_some(self.backoff.until),
            Phase::Open(open) => {
                let mut at = open.confirmed.max(connected) + open.timeout / PATIENCE;
                at = self.lacking.map_or(at, |since| at.min(since + EVENTS_PATIENCE));
                if self.closing && self.order.is_empty() && !open.closing {
                    at = at.min(self.backoff.until);
                }
                if open.alive_at.is_some() {
                    return Some(at);
                }
                let unacknowledged = self.numbers.answered - self.numbers.acknowledged;
                let due = if open.hurry || unacknowledged.max(self.taken_batches) >= ACKNOWLEDGE {
                    Duration::ZERO
                } else if unacknowledged > 0 || self.taken_here() > open.acknowledged {
                    open.sent + ACKNOWLEDGE_AFTER.min(open.timeout / SIGNS)
                } else {
                    open.sent + open.timeout / SIGNS
                };
                Some(at.min(due.max(self.backoff.until)))
            }
            Phase::Lost(_) | Phase::Closed(_) => None,
        }
    }

    /// Through which index the program has this session's events.
    fn taken_here(&self) -> Index {
        self.taken.min(self.order.received())
    }

    /// When [`turn`](Self::turn) is to be called at the latest.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let connected = self.connected?;
        let waits = !self.commands.is_empty() || !self.queries.is_empty();
        // What could have been sent at the last turn, and was not, waits for something else than time.
        let again = (waits && self.backoff.until > self.turned).then_some(self.backoff.until);
        self.session_deadline(connected).into_iter().chain(again).min()
    }

    /// Asks the server for the session's events, and shows at once that it is alive.
    pub(super) fn follow(&mut self) {
        let after = self.order.received();
        let Phase::Open(open) = &mut self.phase else { return };
        (open.hurry, open.alive_at) = (true, None);
        let session = open.id;
        self.effects.push(Effect::Send(ToServer::Follow { session, after }));
    }

    /// The next sign of life is to go at once.
    pub(super) fn hurry(&mut self) {
        if let Phase::Open(open) = &mut self.phase {
            open.hurry = true;
        }
    }

    /// What became of a request that was not an operation.
    pub(super) fn session_replied(&mut self, now: Duration, about: About, result: Result<Response, Refusal>) {
        match (about, result) {
            (About::Register { at }, Ok(Response { output: Outcome::Registered { session, timeout_ms }, .. })) => {
                self.open(session, Duration::from_millis(timeout_ms), at);
            }
            (About::KeepAlive { at, sequence, events }, Ok(Response { output: Outcome::KeptAlive { .. }, .. })) => {
                let Phase::Open(open) = &mut self.phase else { return };
                (open.confirmed, open.alive_at) = (open.confirmed.max(at), None);
                open.acknowledged = open.acknowledged.max(events);
                self.numbers.acknowledged = self.numbers.acknowledged.max(sequence);
                self.backoff.reset();
                self.turn_to(State::Connected);
            }
            (About::Unregister, Ok(_) | Err(Refusal::Session(_))) => self.end(Error::Closed),
            (About::KeepAlive { .. }, Err(Refusal::Session(error))) => self.lose(error.into()),
            (_, refused) => {
                match &mut self.phase {
                    Phase::Absent { asked } => *asked = false,
                    Phase::Open(open) if matches!(about, About::Unregister) => open.closing = false,
                    Phase::Open(open) => (open.alive_at, open.hurry) = (None, true),
                    _ => {}
                }
                if let Err(Refusal::Session(SessionError::IdempotencyMismatch)) = refused {
                    self.registrations += 1;
                }
                self.backoff.fail(now);
                if refused == Err(Refusal::NotLeader) {
                    self.reconnect();
                }
            }
        }
    }

    fn open(&mut self, id: SessionId, timeout: Duration, at: Duration) {
        let open = Open {
            id,
            timeout,
            confirmed: at,
            sent: at,
            alive_at: None,
            hurry: false,
            closing: false,
            acknowledged: 0,
        };
        self.phase = Phase::Open(open);
        self.numbers = Numbers::default();
        self.registrations += 1;
        self.backoff.reset();
        self.follow();
        self.turn_to(State::Connected);
    }

    /// The session is over. What was sent in it has an unknown outcome; what was never sent waits for the next session, if
    /// there is to be one.
    pub(super) fn lose(&mut self, lost: Lost) {
        self.leave_session(lost);
        if self.settings.recover && !self.closing {
            self.phase = Phase::Absent { asked: false };
            return self.turn_to(State::Suspended);
        }
        self.fail_all(&Error::SessionLost(lost));
        self.phase = Phase::Lost(lost);
        self.turn_to(State::Closed);
    }

    fn leave_session(&mut self, lost: Lost) {
        if let Some(session) = self.session() {
            self.effects.push(Effect::Lost(session, lost));
        }
        self.forget_requests();
        for (place, error) in std::mem::take(&mut self.failing) {
            self.fail(place, error);
        }
        for place in self.unanswered.clone() {
            if self.order.get_mut(place).is_some_and(|payload| payload.sequence != 0) {
                self.fail(place, Error::Unknown);
            }
        }
        self.order.end_session();
        self.lacking = None;
    }

    fn fail(&mut self, place: super::Place, error: Error) {
        self.unanswered.remove(&place);
        self.commands.remove(&place);
        self.queries.remove(&place);
        self.order.answer(place, Err(error));
    }

    fn fail_all(&mut self, error: &Error) {
        let all: Vec<_> = self.unanswered.iter().chain(&self.queries).copied().collect();
        for place in all {
            self.fail(place, error.clone());
        }
    }

    /// Gives the session up, and asks for a new one.
    pub(crate) fn recover(&mut self) {
        match self.phase {
            Phase::Open(ref open) => {
                let session = open.id;
                if self.connected.is_some() {
                    self.request(About::Unregister, Request::Unregister { session });
                }
                self.leave_session(Lost::GivenUp);
            }
            Phase::Lost(_) => {}
            Phase::Absent { .. } | Phase::Closed(_) => return,
        }
        self.phase = Phase::Absent { asked: false };
        self.turn_to(State::Suspended);
    }

    /// Ends the session when all that was submitted is done; nothing more is taken.
    pub(crate) fn close(&mut self) {
        self.closing = true;
    }

    /// Why the client has ended, if it has.
    pub(crate) fn end_reason(&self) -> Option<Error> {
        if let Phase::Closed(error) = &self.phase { Some(error.clone()) } else { None }
    }

    /// Ends the client, whatever is under way.
    pub(crate) fn end(&mut self, error: Error) {
        if matches!(self.phase, Phase::Closed(_)) {
            return;
        }
        self.leave_session(Lost::GivenUp);
        self.fail_all(&error);
        self.phase = Phase::Closed(error);
        self.turn_to(State::Closed);
    }
}

impl From<SessionError> for Lost {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Ended(reason) => Self::Ended(reason),
            SessionError::NotFound => Self::NotFound,
            _ => Self::Broken,
        }
    }
}
