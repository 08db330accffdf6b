//! Random histories.

use super::{Random, Subject};
use crate::engine::entry::{Kind, decode, encode};
use crate::engine::machine::{Codec, StateMachine, operation};
use crate::engine::sessions::{DEFAULT_WINDOW_MS, EndReason, KeepAlive, Keyed, Limits, Register, Unregister};
use crate::engine::types::{Index, SessionId};
use copycat_storage::{Entry, EntryRef};
use std::collections::BTreeMap;

/// The codec of a machine under test.
type Of<S> = <<S as Subject>::Machine as StateMachine>::Codec;

/// A session, as far as whoever makes the history has to know.
#[derive(Default)]
struct Client {
    sequence: u64,
    kept_by: Index,
}

struct Maker<'a, S> {
    subject: &'a S,
    random: Random,
    index: Index,
    time: u64,
    clients: BTreeMap<SessionId, Client>,
    /// What was sent under which number or key, to be sent again.
    numbered: BTreeMap<(SessionId, u64), Vec<u8>>,
    keyed: BTreeMap<String, (SessionId, Vec<u8>)>,
}

pub(super) fn generate<S: Subject>(subject: &S, seed: u64, length: usize) -> Vec<Entry> {
    let (clients, numbered, keyed) = Default::default();
    let mut maker = Maker { subject, random: Random::new(seed), index: 0, time: 1000, clients, numbered, keyed };
    (0..length).map(|_| maker.entry()).collect()
}

impl<S: Subject> Maker<'_, S> {
    fn entry(&mut self) -> Entry {
        self.index += 1;
        self.time += match self.random.below(64) {
            0 => self.random.below(1_000_000),
            1..8 => self.random.below(20_000),
            8..40 => self.random.below(300),
            _ => 0,
        };
        match self.random.below(24) {
            0..2 => self.register(),
            2..5 => self.keep_alive(),
            5 => self.end(),
            6 => tick(self.index, self.time),
            7 => self.make(Kind::Initialize, 0, 0, Vec::new()),
            8..11 => self.keyed(),
            11..16 => {
                let session = if self.random.one_in(2) { self.session() } else { 0 };
                let operation = self.operation();
                self.make(Kind::Command, session, 0, operation)
            }
            _ => self.numbered(),
        }
    }

    fn make(&self, kind: Kind, session: SessionId, sequence: u64, data: Vec<u8>) -> Entry {
        let (index, time) = (self.index, self.time);
        let mode = match kind {
            Kind::Command => Of::<S>::decode(&data).map_or(0, |command| S::Machine::mode(&command) as u8),
            _ => 0,
        };
        Entry { index, term: 1 + index / 20, time, session, sequence, kind: kind as u8, mode, data }
    }

    fn operation(&mut self) -> Vec<u8> {
        Of::<S>::encode(&self.subject.command(&mut self.random))
    }

    /// One that was registered; it may have ended.
    fn session(&mut self) -> SessionId {
        let count = self.clients.len() as u64;
        if count == 0 {
            return 0;
        }
        let at = usize::try_from(self.random.below(count)).unwrap_or(0);
        self.clients.keys().nth(at).copied().unwrap_or(0)
    }

    /// How long a key is known.
    fn window(&mut self) -> u64 {
        if self.random.one_in(2) { DEFAULT_WINDOW_MS } else { 1 + self.random.below(40_000) }
    }

    fn register(&mut self) -> Entry {
        let key = self.random.one_in(4).then(|| format!("register-{}", self.random.below(3)));
        let limits = Limits { events: 1 + self.random.below(30), event_bytes: 10_000 };
        let register = Register {
            timeout_ms: 1 + self.random.below(40_000),
            name: "name".into(),
            key,
            limits,
            window_ms: self.window(),
        };
        self.clients.insert(self.index, Client { sequence: 0, kept_by: self.index });
        self.make(Kind::Register, 0, 0, register.encode())
    }

    fn keep_alive(&mut self) -> Entry {
        let items: Vec<KeepAlive> = (0..=self.random.below(2))
            .map(|_| {
                let (session, alive) = (self.session(), !self.random.one_in(3));
                let Client { sequence, kept_by } = self.clients.entry(session).or_default();
                if alive {
                    *kept_by = self.index;
                }
                let sequence = self.random.below(*sequence + 2);
                let event_index = if self.random.one_in(2) { self.index } else { self.random.below(self.index) };
                KeepAlive { session, sequence, event_index, alive, server: 1, poll: self.random.one_in(2) }
            })
            .collect();
        self.make(Kind::KeepAlive, 0, 0, encode(&items))
    }

    fn end(&mut self) -> Entry {
        let items: Vec<Unregister> = (0..=self.random.below(2))
            .map(|_| {
                let session = self.session();
                let reason = match self.random.below(3) {
                    0 => EndReason::Closed,
                    1 => EndReason::QueueFull,
                    _ => EndReason::TimedOut,
                };
                let judged_by = self.clients.get(&session).map_or(0, |client| client.kept_by);
                Unregister { session, reason, judged_by }
            })
            .collect();
        self.make(Kind::Unregister, 0, 0, encode(&items))
    }

    fn keyed(&mut self) -> Entry {
        let key = format!("key-{}", self.random.below(6));
        let again = self.keyed.get(&key).cloned().filter(|_| !self.random.one_in(3));
        let (session, operation) = again.unwrap_or_else(|| {
            let session = if self.random.one_in(2) { self.session() } else { 0 };
            (session, self.operation())
        });
        self.keyed.insert(key.clone(), (session, operation.clone()));
        let data = Keyed { key, operation, window_ms: self.window() }.encode();
        self.make(Kind::KeyedCommand, session, 0, data)
    }

    fn numbered(&mut self) -> Entry {
        let session = self.session();
        if session == 0 {
            return self.register();
        }
        let last = self.clients.get(&session).map_or(0, |client| client.sequence);
        let (sequence, again) = match self.random.below(12) {
            0..3 => (1 + self.random.below(last + 1), true),
            3 => (1 + self.random.below(last + 3), false),
            _ => (last + 1, false),
        };
        let again = self.numbered.get(&(session, sequence)).cloned().filter(|_| again);
        let operation = again.unwrap_or_else(|| self.operation());
        if sequence == last + 1 {
            self.clients.entry(session).or_default().sequence = sequence;
            self.numbered.insert((session, sequence), operation.clone());
        }
        self.make(Kind::Command, session, sequence, operation)
    }
}

pub(super) fn tick(index: Index, time: u64) -> Entry {
    let term = 1 + index / 20;
    Entry { index, term, time, session: 0, sequence: 0, kind: Kind::Tick as u8, mode: 0, data: Vec::new() }
}

pub(super) fn is_tick(entry: &Entry) -> bool {
    entry.kind == Kind::Tick as u8
}

/// What is less than this entry, the least first.
pub(super) fn less(entry: &Entry) -> Vec<Entry> {
    let mut less = Vec::new();
    if !is_tick(entry) {
        less.push(tick(entry.index, entry.time));
    }
    if entry.session != 0 {
        less.push(Entry { session: 0, sequence: 0, ..entry.clone() });
    }
    less
}

pub(super) fn borrow(entry: &Entry) -> EntryRef<'_> {
    let Entry { index, term, time, session, sequence, kind, mode, ref data } = *entry;
    EntryRef { index, term, time, session, sequence, kind, mode, data }
}

/// An entry in words.
pub(super) fn describe<S: Subject>(entry: &Entry) -> String {
    let Entry { index, time, session, sequence, data, .. } = entry;
    let place = format!("{index} at {time} ms");
    let command = operation(&borrow(entry)).and_then(|bytes| Of::<S>::decode(&bytes));
    let command = command.map(|command: <S::Machine as StateMachine>::Command| format!("{command:?}"));
    match Kind::from_byte(entry.kind) {
        Some(Kind::Command) => {
            format!("{place}: session {session}, number {sequence}: {}", command.unwrap_or_default())
        }
        Some(Kind::KeyedCommand) => {
            let key = Keyed::decode(data).map(|keyed| keyed.key).unwrap_or_default();
            format!("{place}: session {session}, key {key}: {}", command.unwrap_or_default())
        }
        Some(Kind::Register) => format!("{place}: {:?}", Register::decode(data)),
        Some(Kind::KeepAlive) => format!("{place}: {:?}", decode::<Vec<KeepAlive>>(data)),
        Some(Kind::Unregister) => format!("{place}: {:?}", decode::<Vec<Unregister>>(data)),
        other => format!("{place}: {other:?}"),
    }
}
