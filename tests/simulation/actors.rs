//! Clients with sessions: numbered commands that are repeated until they are answered, signs of life, polls for events,
//! locks and guarded writes. Some die and are never heard of again.

use crate::model::{EPHEMERAL, LOCKS, Model, OWN};
use crate::server::SimInput;
use copycat::engine::machine::{Ask, Outcome, StateMachine, decode_operation, decode_output, encode_operation};
use copycat::engine::sessions::{EventPage, KeepAlive, SessionError, Submit};
use copycat::engine::{Consistency, Input, Query, Refusal, RequestId, Response, SessionId};
use copycat::store::{Command, Condition, Event, LockMode, Output, Store, Target};
use copycat_testkit::Rng;
use std::collections::{BTreeMap, BTreeSet};

/// Requests of actors have numbers from here on.
pub(crate) const FIRST: RequestId = 1 << 40;
/// The longest timeout of a session, milliseconds.
pub(crate) const LONGEST_TIMEOUT: u64 = 6000;
/// Numbered commands on their way at once.
const PIPELINE: u64 = 4;
/// Requests with idempotency keys that a client may repeat.
const KEYED: usize = 4;
/// What the names of the workload's keys begin with.
const WATCHED: &str = "key-";

#[derive(Clone, Debug)]
enum What {
    Register {
        timeout_ms: u64,
        key: String,
    },
    /// Numbered, or with an idempotency key; with neither, it may be repeated without harm.
    Command {
        sequence: u64,
        key: Option<String>,
        command: Command,
    },
    KeepAlive {
        item: KeepAlive,
    },
    Poll {
        after: u64,
    },
    Close,
}

#[derive(Clone, Debug)]
struct Intent {
    session: SessionId,
    what: What,
    /// When it was first asked for.
    since: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Actor {
    session: SessionId,
    timeout_ms: u64,
    next: u64,
    /// Numbers that were answered.
    answered: BTreeSet<u64>,
    /// All through here were.
    contiguous: u64,
    acknowledged: u64,
    /// The index through which it has all events.
    seen: u64,
    /// Its watch was made at this index; 0: it has none.
    watching: u64,
    tokens: BTreeMap<usize, u64>,
    /// What is wanted and not yet had, by the number of the request that asks for it now.
    open: BTreeMap<RequestId, Intent>,
    kept_at: u64,
    dead: bool,
    /// What it once asked for by an idempotency key.
    keyed: Vec<Intent>,
}

#[derive(Debug, Default)]
pub(crate) struct Actors {
    pub(crate) all: Vec<Actor>,
    next_request: RequestId,
    next_value: u64,
    pub(crate) counts: BTreeMap<&'static str, u64>,
    /// Queues are so small that sessions end for it.
    pub(crate) limited: bool,
    stopped: bool,
    /// Who was last said to lead.
    pub(crate) leader: Option<u64>,
}

/// What is to be done with a request now.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Next {
    Done,
    /// Ask again, later, as a new request.
    Again(RequestId),
}

impl Actors {
    pub(crate) fn new(count: u64, limited: bool) -> Self {
        Self { all: (0..count).map(|_| Actor::default()).collect(), limited, ..Self::default() }
    }

    pub(crate) fn of(&self, request: RequestId) -> usize {
        (request - FIRST) as usize % self.all.len()
    }

    /// Whether only a leader can carry it out.
    pub(crate) fn wants_leader(&self, request: RequestId) -> bool {
        let intent = self.all[self.of(request)].open.get(&request);
        intent.is_some_and(|intent| !matches!(intent.what, What::Poll { .. }))
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn request(&mut self, actor: usize, intent: Intent) -> RequestId {
        self.next_request += 1;
        let request = FIRST + self.next_request * self.all.len() as u64 + actor as u64;
        self.all[actor].open.insert(request, intent);
        request
    }

    pub(crate) fn is_open(&self, request: RequestId) -> bool {
        self.all[self.of(request)].open.contains_key(&request)
    }

    /// All sessions are left alone from now on.
    pub(crate) fn stop(&mut self) {
        self.stopped = true;
        for actor in &mut self.all {
            actor.dead = true;
            actor.open.clear();
        }
    }

    /// An actor's turn: what it begins.
    pub(crate) fn turn(&mut self, at: usize, time: u64, rng: &mut Rng) -> Vec<RequestId> {
        let actor = &mut self.all[at];
        if self.stopped {
            return Vec::new();
        }
        if actor.dead {
            // Somebody else comes.
            if rng.chance(1, 50) {
                *actor = Actor::default();
            }
            return Vec::new();
        }
        let session = actor.session;
        if session == 0 {
            if !actor.open.is_empty() {
                return Vec::new();
            }
            self.next_value += 1;
            let key = format!("register-{at}-{}", self.next_value);
            let timeout_ms = rng.range(1000, LONGEST_TIMEOUT);
            return vec![
                self.request(at, Intent { session: 0, what: What::Register { timeout_ms, key }, since: time }),
            ];
        }
        let mut begun = Vec::new();
        if time >= actor.kept_at + actor.timeout_ms * 1000 / 3 {
            actor.kept_at = time;
            let (sequence, event_index) = (actor.contiguous, actor.seen);
            let item = KeepAlive { session, sequence, event_index, alive: true, ..KeepAlive::default() };
            actor.acknowledged = actor.acknowledged.max(sequence);
            begun.push(What::KeepAlive { item });
        }
        let room = actor.next - actor.contiguous < PIPELINE;
        match rng.below(40) {
            0 if rng.chance(1, 4) => {
                actor.dead = true;
                actor.open.clear();
                self.count("actors that die");
                return Vec::new();
            }
            1 if rng.chance(1, 4) => begun.push(What::Close),
            2..6 if actor.watching == 0 => {
                let command = Command::Watch { target: Target::Prefix(WATCHED.into()), values: true, limit: 10 };
                begun.push(What::Command { sequence: 0, key: None, command });
            }
            6..16 => {
                let polls = actor.open.values().any(|i| matches!(i.what, What::Poll { .. }));
                if actor.watching != 0 && !polls {
                    begun.push(What::Poll { after: actor.seen });
                }
            }
            18..32 if room => {
                if rng.chance(1, 8) {
                    self.next_value += 1;
                    let key = Some(format!("put-{}", self.next_value));
                    let command = self.put(format!("{OWN}{at}-keyed"), false);
                    let session = if rng.chance(1, 2) { session } else { 0 };
                    let what = What::Command { sequence: 0, key, command };
                    let intent = Intent { session, what, since: time };
                    let keyed = &mut self.all[at].keyed;
                    keyed.push(intent.clone());
                    if keyed.len() > KEYED {
                        keyed.remove(0);
                    }
                    return vec![self.request(at, intent)];
                }
                actor.next += 1;
                let sequence = actor.next;
                let mut commands = vec![self.command(at, rng)];
                // A client that loses count: another command with the same number.
                if rng.chance(1, 12) {
                    commands.push(self.command(at, rng));
                }
                begun.extend(commands.into_iter().map(|command| What::Command { sequence, key: None, command }));
            }
            // The same key again, perhaps long after: the first answer, or carried out anew.
            16..18 => {
                let keyed = &self.all[at].keyed;
                let old = keyed.get(rng.below(keyed.len().max(1) as u64) as usize);
                if let Some(old) = old.filter(|old| old.session == 0 || old.session == session).cloned() {
                    return vec![self.request(at, Intent { since: time, ..old })];
                }
            }
            32..38 => begun.push(self.lock(at, rng)),
            _ => {}
        }
        begun.into_iter().map(|what| self.request(at, Intent { session, what, since: time })).collect()
    }

    fn put(&mut self, key: String, ephemeral: bool) -> Command {
        self.next_value += 1;
        let value = format!("v{}", self.next_value).into_bytes();
        let (content_type, condition) = (String::new(), Condition::Always);
        Command::Put { key: key.into_bytes(), value, content_type, ttl_ms: 0, ephemeral, condition }
    }

    fn command(&mut self, at: usize, rng: &mut Rng) -> Command {
        match rng.below(8) {
            0 => self.put(format!("{EPHEMERAL}{at}"), true),
            1 | 2 => {
                let which = rng.below(LOCKS.len() as u64) as usize;
                let lock = LOCKS[which];
                // The last token it had, whether it still holds or not.
                let token = self.all[at].tokens.get(&which).copied().unwrap_or(1);
                let command = Box::new(self.put(lock.to_string(), false));
                Command::Guarded { lock: lock.into(), token, command }
            }
            _ => self.put(format!("{OWN}{at}-{}", rng.below(3)), false),
        }
    }

    fn lock(&mut self, at: usize, rng: &mut Rng) -> What {
        let which = rng.below(LOCKS.len() as u64) as usize;
        let lock: Vec<u8> = LOCKS[which].into();
        let held = self.all[at].tokens.get(&which).copied();
        let command = if held.is_some() && rng.chance(1, 2) {
            Command::Unlock { lock, token: held }
        } else {
            let mode = if rng.chance(1, 3) { LockMode::Shared } else { LockMode::Exclusive };
            let wait_ms = if rng.chance(1, 2) { rng.range(50, 2000) } else { 0 };
            Command::Lock { lock, mode, wait_ms, queue: rng.chance(1, 3) }
        };
        What::Command { sequence: 0, key: None, command }
    }

    /// What a server is asked for this request; `None`: nobody wants it any more.
    pub(crate) fn input(&self, request: RequestId) -> Option<SimInput> {
        let intent = self.all[self.of(request)].open.get(&request)?;
        let session = intent.session;
        let submit = match &intent.what {
            What::Register { timeout_ms, key } => {
                let (name, key) = ("actor".into(), Some(key.clone()));
                Submit::Register { timeout_ms: *timeout_ms, name, key }
            }
            What::Command { sequence, key, command } => Submit::Command {
                operation: encode_operation(command),
                mode: Store::mode(command) as u8,
                session,
                sequence: *sequence,
                key: key.clone(),
            },
            What::KeepAlive { item } => Submit::KeepAlive(*item),
            What::Close => Submit::Unregister { session },
            What::Poll { after } => {
                let ask = Ask::Events { session, after: Some(*after), bytes: 200 };
                let query = Query { consistency: Consistency::Sequential, index: session.max(*after), ask };
                return Some(Input::Query { id: request, query });
            }
        };
        Some(Input::Submit { id: request, submit })
    }

    /// It was not answered, or by somebody who could do nothing: what was wanted is still wanted.
    pub(crate) fn again(&mut self, request: RequestId) -> Next {
        let at = self.of(request);
        let Some(intent) = self.all[at].open.remove(&request) else { return Next::Done };
        // A sign of life is made anew, with what is known then; a poll too.
        if matches!(intent.what, What::KeepAlive { .. } | What::Poll { .. }) {
            self.all[at].kept_at = 0;
            return Next::Done;
        }
        if let What::Command { sequence, .. } = intent.what
            && sequence != 0
            && (self.all[at].answered.contains(&sequence) || sequence <= self.all[at].contiguous)
        {
            return Next::Done;
        }
        self.count("actors repeat");
        Next::Again(self.request(at, intent))
    }

    pub(crate) fn answered(
        &mut self,
        request: RequestId,
        result: Result<Response, Refusal>,
        model: &Model,
    ) -> Result<Next, String> {
        let at = self.of(request);
        let Some(intent) = self.all[at].open.get(&request).cloned() else { return Ok(Next::Done) };
        let response = match result {
            Ok(response) => response,
            Err(Refusal::Session(error)) => return self.refused(request, &intent, error, model),
            Err(Refusal::Malformed) => return Err("MALFORMED: an operation of an actor's was refused".into()),
            Err(refusal) => {
                if let Refusal::NotLeader { leader } = refusal {
                    self.leader = leader;
                }
                return Ok(self.again(request));
            }
        };
        self.all[at].open.remove(&request);
        self.count("actors answered");
        match (intent.what, &response.output) {
            (What::Register { timeout_ms, .. }, Outcome::Registered { session, .. }) => {
                self.all[at] = Actor { session: *session, timeout_ms, ..Actor::default() };
            }
            (What::Command { sequence, key, command }, Outcome::Output(bytes)) => {
                let output = decode_output::<Store>(bytes).ok_or("MALFORMED output")?;
                let once = sequence != 0 || key.is_some();
                if once && !model.is_command(response.index, sequence, &encode_operation(&command)) {
                    let at = response.index;
                    return Err(format!("ANOTHER COMMAND'S ANSWER: {command:?}, number {sequence}, at {at}"));
                }
                if key.is_some() && !model.may_answer(response.index, intent.since) {
                    let (at, since) = (response.index, intent.since);
                    return Err(format!(
                        "KEPT TOO LONG: {key:?}, asked for at {since} µs, has the answer of entry {at}"
                    ));
                }
                self.done(at, sequence, &command, &output, response.index);
            }
            (What::Poll { after }, Outcome::Events(page)) => self.told(at, after, page, response.index, model)?,
            (What::Close, Outcome::Closed) => self.all[at] = Actor::default(),
            (What::KeepAlive { .. }, Outcome::KeptAlive { .. }) => {}
            (what, output) => return Err(format!("MALFORMED: {output:?} answers {what:?}")),
        }
        Ok(Next::Done)
    }

    fn done(&mut self, at: usize, sequence: u64, command: &Command, output: &Output, index: u64) {
        let actor = &mut self.all[at];
        if sequence != 0 {
            actor.answered.insert(sequence);
            while actor.answered.remove(&(actor.contiguous + 1)) {
                actor.contiguous += 1;
            }
        }
        let which = |lock: &Vec<u8>| LOCKS.iter().position(|name| name.as_bytes() == lock.as_slice());
        match (command, output) {
            (Command::Watch { .. }, Output::Watching { watch, .. }) => {
                actor.watching = *watch;
                actor.seen = actor.seen.max(*watch.min(&index));
            }
            (Command::Lock { lock, .. }, Output::Granted { token, .. }) => {
                which(lock).map(|which| actor.tokens.insert(which, *token));
            }
            _ => {}
        }
    }

    /// The session's end, or a number whose time is past.
    fn refused(
        &mut self,
        request: RequestId,
        intent: &Intent,
        error: SessionError,
        model: &Model,
    ) -> Result<Next, String> {
        let at = self.of(request);
        let actor = &mut self.all[at];
        let wrong = |what: &str| Err(format!("{what}: {intent:?}: {error:?}; {actor:?}"));
        match (error, &intent.what) {
            (SessionError::Ended(_), _) if model.is_open(intent.session) => wrong("SAID TO HAVE ENDED"),
            (SessionError::Ended(_), _) => {
                if actor.session == intent.session {
                    self.all[at] = Actor::default();
                }
                self.count("actors outlive their session");
                Ok(Next::Done)
            }
            (SessionError::NotFound, _) => wrong("SAID TO BE UNKNOWN"),
            (SessionError::SequenceGap { .. }, What::Command { .. }) => Ok(self.again(request)),
            // One of two commands with one number.
            (SessionError::SequenceMismatch, What::Command { sequence, .. }) => {
                let twin = |i: &Intent| matches!(&i.what, What::Command { sequence: s, .. } if s == sequence);
                let twins = actor.open.iter().filter(|&(id, i)| *id != request && twin(i)).count();
                if twins == 0 && !actor.answered.contains(sequence) && *sequence > actor.contiguous {
                    return wrong("MISTAKEN FOR ANOTHER");
                }
                actor.open.remove(&request);
                self.count("numbers used twice");
                Ok(Next::Done)
            }
            (SessionError::SequenceAcknowledged { .. }, What::Command { sequence, .. }) => {
                if *sequence > actor.acknowledged {
                    return wrong("ANSWER FORGOTTEN");
                }
                actor.open.remove(&request);
                Ok(Next::Done)
            }
            // An earlier poll's answer came late, and what it told was acknowledged since.
            (SessionError::EventsGap { acknowledged }, What::Poll { after }) if *after < acknowledged => {
                if acknowledged > actor.seen {
                    return wrong("ACKNOWLEDGED UNSEEN");
                }
                actor.open.remove(&request);
                Ok(Next::Done)
            }
            _ => wrong("REFUSED"),
        }
    }

    /// Each event once, in order, none missing.
    fn told(&mut self, at: usize, after: u64, page: &EventPage, applied: u64, model: &Model) -> Result<(), String> {
        let actor = &mut self.all[at];
        if after != actor.seen {
            return Ok(());
        }
        let wrong = |what: &str| Err(format!("{what}: after {after}, applied {applied}: {page:?}"));
        let mut batches = 0;
        for batch in &page.batches {
            if batch.previous > actor.seen || batch.index <= actor.seen || batch.previous >= batch.index {
                return wrong("EVENTS OUT OF THEIR CHAIN");
            }
            let mut keys = BTreeSet::new();
            for bytes in &batch.events {
                match decode_operation::<Event>(bytes).ok_or("MALFORMED event")? {
                    Event::Put { key, .. } | Event::Delete { key, .. } | Event::Expire { key, .. } => {
                        keys.insert(key);
                    }
                    Event::LockAcquired { lock, token, .. } => {
                        let which = LOCKS.iter().position(|name| name.as_bytes() == lock.as_slice());
                        which.map(|which| actor.tokens.insert(which, token));
                    }
                    Event::LockLost { .. } => return wrong("LOST A LOCK that nobody took"),
                }
            }
            let from = actor.seen.max(actor.watching);
            let due: Vec<_> = model.changes(from, batch.index).collect();
            let told_of = due.iter().find(|(index, _)| **index == batch.index).map(|(_, keys)| *keys);
            if due.iter().any(|(index, _)| **index < batch.index) {
                return wrong("EVENTS MISSED");
            }
            if batch.index > actor.watching && told_of.cloned().unwrap_or_default() != keys {
                return wrong("WRONG EVENTS");
            }
            actor.seen = batch.index;
            batches += 1;
        }
        // A page that was not full told all there was.
        let all = page.batches.last().is_none_or(|batch| batch.index == page.event_index);
        if all && !self.limited {
            let from = actor.seen.max(actor.watching);
            if model.is_open(actor.session) && model.changes(from, applied).next().is_some() {
                return wrong("EVENTS NOT TOLD");
            }
        }
        *self.counts.entry("batches told").or_default() += batches;
        Ok(())
    }
}
