//! A cluster whose time is simulated: the shipped engine on the shipped disks, the shipped client, and between them a network
//! without surprises but those that a scenario asks for.

mod clients;
mod operator;

use super::caller::Caller;
use crate::engine::machine::StateMachine;
use crate::engine::{
    self, Configuration, Engine, Input, MemberType, Now, Options, Output, RequestId, Role, ServerId, Work, encode,
};
use crate::wire::{ToClient, ToServer};
use clients::Errand;
use copycat_storage::{AnyDisk, FileDisk, FlushJob, Meta, RamDisk, Seed, Storage};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Microseconds, as all times here.
const ELECTION_TIMEOUT: u64 = 500_000;
const MS: u64 = 1000;
const NETWORK: u64 = 300;
const DISK: u64 = 500;
/// Nobody had it, or lost it: it is asked again.
const RETRY: u64 = 20 * MS;
/// What takes longer than this does not happen.
const PATIENCE: u64 = 120_000 * MS;

/// Where servers keep what they have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Mapped,
    Memory,
}

/// A server.
struct Node<M: StateMachine> {
    /// Of the disk that it has now: an empty one is another.
    identity: u64,
    disk: AnyDisk,
    engine: Option<Engine<AnyDisk, M>>,
    /// What it was told when it joined.
    joined: Option<(u64, Configuration)>,
    /// Rises with every start: what was meant for an earlier life is dropped.
    life: u64,
    flushing: Option<FlushJob<AnyDisk>>,
    working: Option<Work<AnyDisk>>,
    wake_at: u64,
}

enum Event {
    Hear {
        at: ServerId,
        life: u64,
        input: Input<AnyDisk>,
    },
    Flushed {
        at: ServerId,
        life: u64,
    },
    Worked {
        at: ServerId,
        life: u64,
    },
    Wake {
        at: ServerId,
        life: u64,
    },
    /// A server that was removed ends.
    End {
        at: ServerId,
        life: u64,
    },
    Carry {
        at: ServerId,
        request: RequestId,
    },
    Dial {
        client: usize,
        link: u64,
    },
    Frame {
        client: usize,
        link: u64,
        frame: ToServer,
    },
    Told {
        client: usize,
        link: u64,
        told: ToClient,
    },
    Turn {
        client: usize,
    },
}

pub(super) struct Stage<M: StateMachine> {
    level: Level,
    options: Options,
    directory: PathBuf,
    initial: Configuration,
    pub(super) time: u64,
    sequence: u64,
    queue: BTreeMap<(u64, u64), Event>,
    nodes: BTreeMap<ServerId, Node<M>>,
    pub(super) clients: Vec<Caller<M>>,
    errands: BTreeMap<RequestId, Errand>,
    next_request: RequestId,
    /// Clients that no server hears.
    pub(super) cut: BTreeSet<usize>,
    /// Answers to an operator.
    changed: BTreeMap<RequestId, Result<engine::Response, engine::Refusal>>,
}

impl<M: StateMachine + Default> Stage<M> {
    /// Servers from 1 on, started.
    pub(super) fn new(level: Level, servers: u64) -> Self {
        Self::with(level, servers, u64::MAX)
    }

    /// Servers that take a snapshot after so many bytes.
    pub(super) fn with(level: Level, servers: u64, snapshot_bytes: u64) -> Self {
        static STAGES: AtomicU64 = AtomicU64::new(0);
        let number = STAGES.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("copycat-scenario-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        let options =
            Options { snapshot_bytes, ..Options::with_election_timeout(Duration::from_micros(ELECTION_TIMEOUT)) };
        let mut stage = Self {
            level,
            options,
            directory,
            initial: Configuration::bootstrap((1..=servers).map(|id| (id, format!("s{id}:1")))),
            time: 0,
            sequence: 0,
            queue: BTreeMap::new(),
            nodes: BTreeMap::new(),
            clients: Vec::new(),
            errands: BTreeMap::new(),
            next_request: 0,
            cut: BTreeSet::new(),
            changed: BTreeMap::new(),
        };
        for id in 1..=servers {
            stage.add(id);
            stage.start(id);
        }
        stage
    }

    /// A server with an empty disk.
    pub(super) fn add(&mut self, id: ServerId) {
        let identity = self.nodes.get(&id).map_or(id * 1000 + 1, |node| node.identity + 1);
        let disk = match self.level {
            Level::Memory => AnyDisk::Ram(RamDisk::new(64 << 20)),
            Level::Mapped => {
                let place = self.directory.join(format!("{id}-{identity}"));
                AnyDisk::File(FileDisk::open(&place).expect("a directory"))
            }
        };
        let (engine, joined, flushing, working) = (None, None, None, None);
        let life = self.nodes.get(&id).map_or(0, |node| node.life + 1);
        let node = Node { identity, disk, engine, joined, life, flushing, working, wake_at: u64::MAX };
        self.nodes.insert(id, node);
    }

    /// Starts a server on what its disk has.
    pub(super) fn start(&mut self, id: ServerId) {
        let now = self.now();
        let node = self.nodes.get_mut(&id).expect("a server");
        node.life += 1;
        node.wake_at = u64::MAX;
        let seed = Seed { identity: node.identity, salt: u32::try_from(node.life).expect("few"), now_ms: now.wall };
        let storage_options = copycat_storage::Options { segment_size: copycat_storage::MIN_SEGMENT };
        let mut storage = Storage::open(node.disk.clone(), storage_options, seed).expect("it opens");
        let mut initial = self.initial.clone();
        if let Some((index, known)) = &node.joined {
            // As a server does that is let in, before its engine starts.
            initial = Configuration::default();
            if storage.configuration().is_empty() && storage.last_index() == 0 {
                storage.set_meta(Meta { cluster: known.cluster, ..storage.meta().clone() });
                storage.set_configuration(encode(&(*index, known.clone())));
            }
        }
        let random = node.identity + node.life;
        let engine = Engine::new(id, self.options.clone(), random, now, storage, M::default, initial);
        node.engine = Some(engine.expect("it starts"));
        let running: Vec<ServerId> = self.running().collect();
        for other in running {
            self.meet(id, other);
            if other != id {
                self.meet(other, id);
            }
        }
        self.act(id, None);
    }

    /// A server meets another, or itself.
    fn meet(&mut self, at: ServerId, id: ServerId) {
        let (identity, life) = (self.nodes[&id].identity, self.nodes[&at].life);
        let cluster = self.engine(id).storage().meta().cluster;
        let input = Input::Peer { id, identity, cluster, http: format!("s{id}:2") };
        self.schedule(NETWORK, Event::Hear { at, life, input });
    }

    /// A server ends at once: what it has not written to its files is there all the same, since these are mapped.
    pub(super) fn kill(&mut self, id: ServerId) {
        let node = self.nodes.get_mut(&id).expect("a server");
        (node.engine, node.flushing, node.working) = (None, None, None);
        let running: Vec<ServerId> = self.running().collect();
        for at in running {
            let life = self.nodes[&at].life;
            self.schedule(NETWORK, Event::Hear { at, life, input: Input::Disconnected(id) });
        }
        self.errands.retain(|_, errand| errand.home != id);
        let again: Vec<_> = self.errands.iter().filter(|(_, e)| e.at == id).map(|(&r, e)| (r, e.home)).collect();
        for (request, at) in again {
            self.schedule(RETRY, Event::Carry { at, request });
        }
        for client in 0..self.clients.len() {
            if self.clients[client].connection == Some(id) {
                self.clients[client].disconnect();
                self.dial(client, NETWORK);
            }
        }
    }

    /// A server ends as one does that is asked to: it hands its office over first.
    pub(super) fn stop(&mut self, id: ServerId) {
        if self.engine(id).role() == Role::Leader && self.running().count() > 1 {
            self.act(id, Some(Input::Transfer { target: None, reply: None }));
            self.until("the office is handed over", |s| s.engine(id).role() != Role::Leader);
        }
        self.kill(id);
    }

    fn schedule(&mut self, delay: u64, event: Event) {
        self.sequence += 1;
        self.queue.insert((self.time + delay, self.sequence), event);
    }

    pub(super) fn now(&self) -> Now {
        Now { monotonic: Duration::from_micros(self.time), wall: 1_700_000_000_000 + self.time / MS }
    }

    pub(super) fn running(&self) -> impl Iterator<Item = ServerId> {
        self.nodes.iter().filter(|(_, node)| node.engine.is_some()).map(|(&id, _)| id)
    }

    pub(super) fn engine(&self, id: ServerId) -> &Engine<AnyDisk, M> {
        self.nodes[&id].engine.as_ref().expect("it runs")
    }

    /// The leader that can serve, when there is one.
    pub(super) fn leader(&mut self) -> ServerId {
        let leads = |s: &Self| {
            s.running().find(|&id| {
                let status = s.engine(id).status();
                status.role == Role::Leader && status.ready && status.applied == status.last_index
            })
        };
        self.until("somebody leads", |s| leads(s).is_some());
        leads(self).expect("as was seen")
    }

    /// A server that follows.
    pub(super) fn follower(&mut self) -> ServerId {
        let leader = self.leader();
        self.running().find(|&id| id != leader).expect("several servers")
    }

    /// Lets so much time pass.
    pub(super) fn wait(&mut self, ms: u64) {
        let end = self.time + ms * MS;
        while self.queue.first_key_value().is_some_and(|((at, _), _)| *at <= end) {
            self.next();
        }
        self.time = end;
    }

    /// Lets time pass until this holds.
    ///
    /// # Panics
    /// If that takes too long.
    pub(super) fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let end = self.time + PATIENCE;
        while !holds(self) {
            assert!(self.time < end, "in vain: {what}; {:#?}", self.states());
            self.next();
        }
    }

    fn states(&self) -> Vec<engine::Status> {
        self.running().map(|id| self.engine(id).status()).collect()
    }

    /// All that keep the state have the same.
    pub(super) fn agree(&mut self) {
        let same = |s: &Self| {
            let keeps = |status: &engine::Status| status.member_type != Some(MemberType::Reserve);
            let mut states = s.states().into_iter().filter(keeps).map(|status| (status.applied, status.digest));
            let first = states.next();
            states.all(|state| Some(state) == first)
        };
        self.until("all have the same state", same);
    }

    /// What happens next.
    fn next(&mut self) {
        let ((time, _), event) = self.queue.pop_first().expect("clocks go on");
        self.time = time;
        let lives = |s: &Self, at: ServerId, life: u64| s.nodes[&at].life == life && s.nodes[&at].engine.is_some();
        match event {
            Event::Hear { at, life, input } if lives(self, at, life) => self.act(at, Some(input)),
            Event::Flushed { at, life } if lives(self, at, life) => {
                if let Some(job) = self.nodes.get_mut(&at).and_then(|node| node.flushing.take()) {
                    self.act(at, Some(Input::Persisted(job.run().expect("the disk works"))));
                }
            }
            Event::Worked { at, life } if lives(self, at, life) => {
                if let Some(work) = self.nodes.get_mut(&at).and_then(|node| node.working.take()) {
                    let worked = work.run(usize::MAX, || true).expect("it is not interrupted");
                    self.act(at, Some(Input::Worked(worked)));
                }
            }
            Event::Wake { at, life } if lives(self, at, life) => {
                self.nodes.get_mut(&at).expect("a server").wake_at = u64::MAX;
                self.act(at, None);
            }
            Event::End { at, life } if lives(self, at, life) => self.kill(at),
            Event::Hear { .. }
            | Event::Flushed { .. }
            | Event::Worked { .. }
            | Event::Wake { .. }
            | Event::End { .. } => {}
            Event::Carry { at, request } => self.carry(at, request),
            Event::Dial { client, link } if self.clients[client].link == link => self.connect(client),
            Event::Frame { client, link, frame } if self.clients[client].link == link => {
                if !self.cut.contains(&client) {
                    self.arrive(client, frame);
                }
            }
            Event::Told { client, link, told } if self.clients[client].link == link => {
                if !self.cut.contains(&client) {
                    let now = self.now().monotonic;
                    self.clients[client].core.told(now, told);
                    self.turn(client);
                }
            }
            Event::Turn { client } => self.turn(client),
            Event::Dial { .. } | Event::Frame { .. } | Event::Told { .. } => {}
        }
    }

    /// One step of a server, as its driver makes it.
    fn act(&mut self, at: ServerId, input: Option<Input<AnyDisk>>) {
        let now = self.now();
        let node = self.nodes.get_mut(&at).expect("a server");
        let Some(engine) = &mut node.engine else { return };
        if let Some(input) = input {
            engine.step(now, input).expect("it goes on");
        }
        engine.step(now, Input::Drained).expect("it goes on");
        while engine.poll(now).expect("it goes on") {}
        if let Some(job) = engine.storage_mut().prepare() {
            engine.storage_mut().prepared(job.run());
        }
        let life = node.life;
        let mut begun = Vec::new();
        if node.flushing.is_none()
            && let Some(job) = engine.flush(now)
        {
            node.flushing = Some(job);
            begun.push(Event::Flushed { at, life });
        }
        if node.working.is_none()
            && let Some(work) = engine.work()
        {
            node.working = Some(work);
            begun.push(Event::Worked { at, life });
        }
        let due = u64::try_from(engine.deadline().as_micros()).expect("soon").max(self.time + 1);
        let wakes = due < node.wake_at;
        if wakes {
            node.wake_at = due;
        }
        let outputs = engine.take_outputs();
        for event in begun {
            self.schedule(DISK, event);
        }
        if wakes {
            self.schedule(due - self.time, Event::Wake { at, life });
        }
        for output in outputs {
            self.emit(at, output);
        }
        self.push(at);
    }

    fn emit(&mut self, at: ServerId, output: Output) {
        match output {
            Output::Send { to, message } => {
                let Some(node) = self.nodes.get(&to).filter(|node| node.engine.is_some()) else { return };
                let life = node.life;
                let cluster = self.engine(at).storage().meta().cluster;
                let input = Input::Message { from: at, identity: self.nodes[&at].identity, cluster, message };
                self.schedule(NETWORK, Event::Hear { at: to, life, input });
            }
            Output::Reply { id, result } if self.errands.contains_key(&id) => self.answered(at, id, result),
            Output::Reply { id, result } => drop(self.changed.insert(id, result)),
            Output::Event(engine::Event::Removed { .. }) => {
                let life = self.nodes[&at].life;
                self.schedule(RETRY, Event::End { at, life });
            }
            Output::Event(_) | Output::Refused { .. } => {}
        }
    }
}

impl<M: StateMachine> Drop for Stage<M> {
    fn drop(&mut self) {
        self.nodes.clear();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
