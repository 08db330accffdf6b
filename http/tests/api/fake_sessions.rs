//! The sessions of the backend in memory: numbers, idempotency keys, watches, events.

use crate::state::State;
use copycat_http::{
    Answer, Caller, Command, CommandOutput, Ended, EventBatch, EventPage, Failure, Feed, KeptAlive, LockOutput,
    LockRequest, Poll, Registered, SessionEvent, SessionPage, SessionView, WatchTarget,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Answers that a session may leave unacknowledged, and watches that it may have.
const ANSWERS: usize = 4;
const WATCHES: usize = 3;
/// Batches in a page.
const BATCHES: usize = 3;

/// A request that is known again.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Request {
    Command(Command),
    Lock(LockRequest),
    Register(Duration, String),
}

#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Command(Answer<CommandOutput>),
    Lock(Answer<LockOutput>),
    Register(Answer<Registered>),
}

#[derive(Clone, Debug)]
pub(crate) struct Done(Request, Reply);

/// Who polls a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Poller {
    Nobody,
    Poll(usize),
    Stream(u64),
}

pub(crate) struct Session {
    name: String,
    timeout: Duration,
    ended: Option<Ended>,
    sequence: u64,
    acknowledged_sequence: u64,
    answers: BTreeMap<u64, Done>,
    pub(crate) watches: BTreeMap<u64, (WatchTarget, bool)>,
    events: Vec<EventBatch>,
    pub(crate) event_index: u64,
    pub(crate) acknowledged_index: u64,
    poller: Poller,
    streams: BTreeSet<u64>,
    pub(crate) keep_alives: u64,
}

impl Session {
    fn acknowledge(&mut self, index: u64) {
        self.acknowledged_index = self.acknowledged_index.max(index);
        self.events.retain(|batch| batch.index > index);
    }
}

fn is_of(target: &WatchTarget, key: &[u8]) -> bool {
    match target {
        WatchTarget::Key(watched) => watched == key,
        WatchTarget::Prefix(prefix) => key.starts_with(prefix),
    }
}

impl State {
    pub(crate) fn answer<T>(&self, output: T) -> Answer<T> {
        Answer { output, index: self.index, term: 3, event_index: None, served_by: 2, consistency: None }
    }

    /// A session that lives.
    pub(crate) fn alive(&mut self, session: u64) -> Result<&mut Session, Failure> {
        let session = self.sessions.get_mut(&session).ok_or(Failure::SessionNotFound)?;
        match session.ended {
            Some(why) => Err(Failure::SessionExpired(why)),
            None => Ok(session),
        }
    }

    /// The first answer to a request that comes again.
    pub(crate) fn known(&mut self, caller: &Caller, request: &Request) -> Result<Option<Reply>, Failure> {
        if let Some(key) = &caller.idempotency_key {
            return match self.done.get(key) {
                Some(Done(first, _)) if first != request => Err(Failure::IdempotencyMismatch),
                found => Ok(found.map(|Done(_, reply)| reply.clone())),
            };
        }
        let Some(id) = caller.session else { return Ok(None) };
        let session = self.alive(id)?;
        let Some(number) = caller.sequence else { return Ok(None) };
        if number <= session.acknowledged_sequence {
            return Err(Failure::SequenceAcknowledged { acknowledged: session.acknowledged_sequence });
        }
        match session.answers.get(&number) {
            Some(Done(first, _)) if first != request => Err(Failure::SequenceMismatch),
            Some(Done(_, reply)) => Ok(Some(reply.clone())),
            None if number != session.sequence + 1 => Err(Failure::SequenceGap { expected: session.sequence + 1 }),
            None if session.answers.len() >= ANSWERS => Err(Failure::SessionBusy),
            None => Ok(None),
        }
    }

    pub(crate) fn keep(&mut self, caller: &Caller, request: Request, reply: Reply) {
        let done = Done(request, reply);
        if let Some(key) = &caller.idempotency_key {
            self.done.insert(key.clone(), done);
        } else if let (Some(session), Some(number)) = (caller.session, caller.sequence) {
            let session = self.sessions.get_mut(&session).expect("it lives");
            session.sequence = number;
            session.answers.insert(number, done);
        }
    }

    pub(crate) fn event_index(&self, caller: &Caller) -> Option<u64> {
        caller.session.map(|session| self.sessions[&session].event_index)
    }

    pub(crate) fn command(&mut self, command: Command, caller: &Caller) -> Result<Answer<CommandOutput>, Failure> {
        let request = Request::Command(command.clone());
        if let Some(id) = caller.session {
            self.alive(id)?;
        }
        if let Some(Reply::Command(first)) = self.known(caller, &request)? {
            return Ok(first);
        }
        let event_index = self.event_index(caller);
        let output = self.commit(command, caller.session);
        let answer = Answer { event_index, ..self.answer(output) };
        self.keep(caller, request, Reply::Command(answer.clone()));
        Ok(answer)
    }

    pub(crate) fn register(
        &mut self,
        timeout: Duration,
        name: String,
        idempotency_key: Option<String>,
    ) -> Result<Answer<Registered>, Failure> {
        let caller = Caller { idempotency_key, ..Caller::default() };
        let request = Request::Register(timeout, name.clone());
        if let Some(Reply::Register(first)) = self.known(&caller, &request)? {
            return Ok(first);
        }
        self.index += 1;
        let session = Session {
            name,
            timeout,
            ended: None,
            sequence: 0,
            acknowledged_sequence: 0,
            answers: BTreeMap::new(),
            watches: BTreeMap::new(),
            events: Vec::new(),
            event_index: 0,
            acknowledged_index: 0,
            poller: Poller::Nobody,
            streams: BTreeSet::new(),
            keep_alives: 0,
        };
        self.sessions.insert(self.index, session);
        let timeout_ms = u64::try_from(timeout.as_millis()).expect("a short time");
        let answer = self.answer(Registered { session: self.index, timeout_ms });
        self.keep(&caller, request, Reply::Register(answer.clone()));
        Ok(answer)
    }

    pub(crate) fn keep_alive(
        &mut self,
        id: u64,
        sequence: Option<u64>,
        event_index: Option<u64>,
    ) -> Result<Answer<KeptAlive>, Failure> {
        let session = self.alive(id)?;
        session.keep_alives += 1;
        if let Some(number) = sequence {
            session.acknowledged_sequence = session.acknowledged_sequence.max(number);
            session.answers.retain(|n, _| *n > number);
        }
        if let Some(index) = event_index {
            session.acknowledge(index);
        }
        let timeout_ms = u64::try_from(session.timeout.as_millis()).expect("a short time");
        let alive = KeptAlive { timeout_ms, event_index: session.event_index };
        self.index += 1;
        Ok(self.answer(alive))
    }

    pub(crate) fn unregister(&mut self, id: u64) -> Result<Answer<()>, Failure> {
        self.alive(id)?;
        self.end(id, Ended::Closed);
        Ok(self.answer(()))
    }

    /// Ends a session: what it holds goes.
    pub(crate) fn end(&mut self, id: u64, why: Ended) {
        self.index += 1;
        self.sessions.get_mut(&id).expect("it lives").ended = Some(why);
        self.delete_ephemeral(id);
        self.leave_locks(id);
    }

    pub(crate) fn session_view(&mut self, id: u64) -> Result<SessionView, Failure> {
        let (locks, ephemeral_keys) = (self.locks.of(id), self.ephemeral(id));
        self.alive(id)?;
        Ok(SessionView { locks, ephemeral_keys, ..self.short_view(id) })
    }

    fn short_view(&self, id: u64) -> SessionView {
        let session = &self.sessions[&id];
        SessionView {
            session: id,
            name: session.name.clone(),
            timeout_ms: u64::try_from(session.timeout.as_millis()).expect("a short time"),
            last_keep_alive_ms: 1_700_000_000_000,
            keep_alive_age_ms: 5,
            sequence: session.sequence,
            acknowledged_sequence: session.acknowledged_sequence,
            event_index: session.event_index,
            acknowledged_index: session.acknowledged_index,
            queue_depth: session.events.iter().map(|batch| batch.events.len() as u64).sum(),
            server: (session.keep_alives > 0).then_some(2),
            locks: Vec::new(),
            ephemeral_keys: Vec::new(),
        }
    }

    pub(crate) fn session_page(&self, after: u64, limit: u64) -> SessionPage {
        let alive = self.sessions.iter().filter(|(id, session)| **id > after && session.ended.is_none());
        let mut ids: Vec<_> = alive.map(|(id, _)| *id).collect();
        let limit = usize::try_from(limit).expect("a small number");
        let next = (ids.len() > limit).then(|| ids[limit - 1]);
        ids.truncate(limit);
        SessionPage { sessions: ids.into_iter().map(|id| self.short_view(id)).collect(), next }
    }

    pub(crate) fn watch(&mut self, id: u64, target: WatchTarget, values: bool) -> CommandOutput {
        let index = self.index;
        let session = self.sessions.get_mut(&id).expect("it lives");
        if let Some((watch, there)) = session.watches.iter_mut().find(|(_, (of, _))| *of == target) {
            there.1 = values;
            return CommandOutput::Watching { watch: *watch, created: false };
        }
        if session.watches.len() >= WATCHES {
            return CommandOutput::TooManyWatches;
        }
        session.watches.insert(index, (target, values));
        CommandOutput::Watching { watch: index, created: true }
    }

    /// Tells the sessions that watch this key.
    pub(crate) fn tell(&mut self, key: &[u8], event: impl Fn(u64, bool) -> SessionEvent) {
        let mut told = Vec::new();
        for (id, session) in self.sessions.iter().filter(|(_, session)| session.ended.is_none()) {
            let of_key = session.watches.iter().filter(|(_, (target, _))| is_of(target, key));
            told.extend(of_key.map(|(watch, (_, values))| (*id, event(*watch, *values))));
        }
        for (id, event) in told {
            self.tell_session(id, event);
        }
    }

    pub(crate) fn tell_session(&mut self, id: u64, event: SessionEvent) {
        let index = self.index;
        let session = self.sessions.get_mut(&id).expect("it was there");
        match session.events.last_mut() {
            Some(batch) if batch.index == index => batch.events.push(event),
            _ => session.events.push(EventBatch { index, previous: session.event_index, events: vec![event] }),
        }
        session.event_index = index;
    }

    /// A poll arrives, and takes over unless it goes on with a stream; how long it is held.
    pub(crate) fn arrive(&mut self, poll: &Poll) -> Result<(Poller, Duration), Failure> {
        self.polls.push(poll.clone());
        let me = poll.stream.map_or(Poller::Poll(self.polls.len()), Poller::Stream);
        let session = self.alive(poll.session)?;
        session.keep_alives += u64::from(poll.keep_alive);
        let goes_on = poll.stream.is_some_and(|stream| !session.streams.insert(stream));
        if !goes_on {
            session.poller = me;
        }
        if let Some(index) = poll.acknowledge {
            session.acknowledge(index);
        }
        let wait = if poll.stream.is_some() { poll.wait } else { poll.wait.min(session.timeout / 2) };
        Ok((me, wait))
    }

    pub(crate) fn look_for_events(&mut self, poll: &Poll, me: Poller, wait: Duration) -> Result<EventPage, Failure> {
        let session = self.alive(poll.session)?;
        let acknowledged = session.acknowledged_index;
        if session.poller != me {
            return Err(Failure::Superseded);
        }
        let after = poll.after.unwrap_or(acknowledged);
        if after < acknowledged {
            return Err(Failure::EventsGap { acknowledged });
        }
        let batches = session.events.iter().filter(|batch| batch.index > after).take(BATCHES).cloned().collect();
        Ok(EventPage { batches, event_index: session.event_index, wait })
    }

    pub(crate) fn feed(&self, after: Option<u64>) -> Feed {
        let (first, last) = (self.feed.first().map_or(1, |e| e.id), self.feed.last().map_or(0, |e| e.id));
        match after {
            Some(after) if after + 1 < first => Feed::Trimmed { resume: first - 1 },
            Some(after) if after > last => Feed::Trimmed { resume: last },
            _ => {
                let behind = self.feed.iter().filter(|event| event.id > after.unwrap_or(0));
                Feed::Events { events: behind.take(BATCHES).cloned().collect(), last }
            }
        }
    }
}
