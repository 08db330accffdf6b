//! The simulated world: its time, its beginning and end, and what happens next.

use crate::actors::{Actors, LONGEST_TIMEOUT};
use crate::faults::{KINDS, Profile};
use crate::invariants::{Invariants, brief_keys};
use crate::links::Links;
use crate::members::Operator;
use crate::oracles::Oracles;
use crate::server::{Place, Server, SimEngine};
use crate::workload::{LONGEST_TTL, Workload};
use copycat::engine::sessions::Limits;
use copycat::engine::{
    Configuration, Identity, Input, Message, Options, Refusal, RequestId, Response, ServerId, Settings,
};
use copycat_testkit::Rng;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

pub(crate) const ELECTION_TIMEOUT: u64 = 500_000;
pub(crate) const LONGEST_HANG: u64 = 10_000_000;
/// After everything has healed, the cluster must serve and agree within this much simulated time.
const RECOVERY: u64 = 30_000_000;
/// And within so many events: more is a storm.
const RECOVERY_EVENTS: u64 = 200_000;
/// A client with a session looks what to do next every so often, microseconds, in the mean.
const IDLE: u64 = 5_000;
/// A run makes at most so many wakes for each step that is work: more is a storm of timers.
const WAKES_PER_WORK: u64 = 20;

pub(crate) struct Setup {
    pub seed: u64,
    /// Steps of servers that take something in: the budget is of work, not of wakes or of clients' idle turns.
    pub steps: u64,
    /// The number of voters to begin with; `None`: drawn.
    pub voters: Option<u64>,
    #[cfg(feature = "planted-bugs")]
    pub bug: Option<copycat::engine::Bug>,
}

impl Setup {
    pub(crate) fn new(seed: u64, steps: u64) -> Self {
        Self {
            seed,
            steps,
            voters: None,
            #[cfg(feature = "planted-bugs")]
            bug: None,
        }
    }
}

impl Setup {
    /// The same, with the voters of `COPYCAT_SIM_VOTERS` and the bug that `COPYCAT_SIM_BUG` names.
    pub(crate) fn from_environment(seed: u64, steps: u64) -> Self {
        let mut setup = Self::new(seed, steps);
        setup.voters = std::env::var("COPYCAT_SIM_VOTERS").ok().map(|n| n.parse().expect("a number of voters"));
        #[cfg(feature = "planted-bugs")]
        if let Ok(name) = std::env::var("COPYCAT_SIM_BUG") {
            setup.bug = Some(crate::planted::bug(&name).unwrap_or_else(|| panic!("COPYCAT_SIM_BUG={name} is no bug")));
        }
        setup
    }
}

#[derive(Debug, Default)]
pub(crate) struct Report {
    pub counts: BTreeMap<&'static str, u64>,
    /// A checksum over everything that happened.
    pub trace: u64,
    pub violation: Option<String>,
}

pub(crate) enum Event {
    Deliver {
        to: usize,
        /// The receiver's life when it was sent: a connection does not outlive a process.
        life: u64,
        from: ServerId,
        identity: Identity,
        cluster: u128,
        message: Message,
    },
    Met {
        at: usize,
        life: u64,
        id: ServerId,
        identity: Identity,
    },
    Disconnected {
        at: usize,
        life: u64,
        id: ServerId,
    },
    FlushDone {
        at: usize,
        life: u64,
    },
    /// Background work has ended.
    WorkDone {
        at: usize,
        life: u64,
    },
    /// The machine's thread has applied what it was given.
    ApplyDone {
        at: usize,
        life: u64,
    },
    /// A server's deadline; there is one at most for each server.
    Wake {
        at: usize,
    },
    Start {
        at: usize,
    },
    Kill {
        at: usize,
        life: u64,
    },
    /// The power fails, right behind a message that promised something.
    PowerCut {
        at: usize,
        life: u64,
    },
    Fault,
    /// A client's turn: begin something, or give up waiting.
    Client {
        client: usize,
    },
    Timeout {
        client: usize,
        request: RequestId,
    },
    Request {
        at: usize,
        client: usize,
        request: RequestId,
    },
    Answer {
        client: usize,
        request: RequestId,
        at: usize,
        result: Result<Response, Refusal>,
    },
    /// A turn of a client with a session.
    Actor {
        actor: usize,
    },
    ActorRequest {
        at: usize,
        request: RequestId,
    },
    ActorAnswer {
        request: RequestId,
        result: Result<Response, Refusal>,
    },
    ActorTimeout {
        request: RequestId,
    },
    /// The server that had the request died.
    Lost {
        client: usize,
        request: RequestId,
    },
    /// The operator's turn: whatever comes to mind, or at this leader,
    Operator {
        leader: Option<usize>,
    },
    /// its question at a server,
    OperatorRequest {
        at: usize,
        request: RequestId,
    },
    /// and the answer, or that none came.
    OperatorAnswer {
        request: RequestId,
        result: Option<Result<Response, Refusal>>,
    },
    /// A server has been told that it was removed.
    Stop {
        at: usize,
        life: u64,
    },
}

impl Event {
    /// How a report calls it.
    fn kind(&self) -> &'static str {
        match self {
            Self::Deliver { .. } => "event: message arrives",
            Self::Met { .. } | Self::Disconnected { .. } => "event: connection",
            Self::FlushDone { .. } => "event: flush ends",
            Self::WorkDone { .. } | Self::ApplyDone { .. } => "event: work ends",
            Self::Wake { .. } => WAKE,
            Self::Start { .. } | Self::Kill { .. } | Self::PowerCut { .. } | Self::Stop { .. } | Self::Fault => {
                "event: fault or start"
            }
            Self::Client { .. } | Self::Request { .. } | Self::Answer { .. } => "event: client",
            Self::Actor { .. } | Self::ActorRequest { .. } | Self::ActorAnswer { .. } => "event: actor",
            Self::Timeout { .. } | Self::ActorTimeout { .. } | Self::Lost { .. } => "event: client's timeout",
            Self::Operator { .. } | Self::OperatorRequest { .. } | Self::OperatorAnswer { .. } => "event: operator",
        }
    }
}

/// A server's deadline passes.
pub(crate) const WAKE: &str = "event: wake";

pub(crate) struct World {
    pub rng: Rng,
    pub profile: Profile,
    pub time: u64,
    pub sequence: u64,
    pub queue: BTreeMap<(u64, u64), Event>,
    pub servers: Vec<Server>,
    pub operator: Operator,
    pub links: Links,
    pub invariants: Invariants,
    pub workload: Workload,
    pub actors: Actors,
    pub counts: BTreeMap<&'static str, u64>,
    /// Steps of servers so far that took something in.
    pub work: u64,
    pub wakes: u64,
    pub trace: u64,
    pub healed: bool,
    /// Prints every message and event.
    pub talkative: bool,
    pub initial: Configuration,
}

/// Runs one seed to its end.
pub(crate) fn run(setup: &Setup) -> Report {
    let mut world = World::new(setup);
    let result = catch_unwind(AssertUnwindSafe(|| world.run(setup.steps)));
    let violation = match result {
        Ok(Ok(())) => None,
        Ok(Err(violation)) => Some(violation),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("?");
            Some(format!("PANIC: {text}"))
        }
    };
    let violation = violation.map(|v| format!("{v} (at {} µs, {:?})", world.time, world.profile));
    Report { counts: world.counts, trace: world.trace, violation }
}

impl World {
    fn new(setup: &Setup) -> Self {
        let mut rng = Rng::new(setup.seed);
        let profile = Profile::draw(&mut rng, setup.voters);
        let options = Options {
            append_entries: rng.range(1, 20) as usize,
            append_bytes: rng.range(64, 4096) as usize,
            append_inflight: rng.range(1, 8) as usize,
            apply_batch: rng.range(1, 20),
            uncommitted_entries: 64,
            promotion_lag: 8,
            auto_replace: profile.auto_replace,
            // Not drawn: so that what is drawn for the others stays as it is.
            machine_thread: setup.seed % 4 == 3,
            snapshot_bytes: profile.snapshot_bytes,
            #[cfg(feature = "planted-bugs")]
            bug: setup.bug,
            ..Options::with_settings(Settings {
                election_timeout: Duration::from_micros(ELECTION_TIMEOUT),
                session_answers: 8,
                idempotency_window: Duration::from_millis(profile.window),
                session_limits: Limits { events: if profile.limited { 24 } else { 1 << 20 }, event_bytes: 1 << 30 },
                ..Settings::default()
            })
        };
        let mut servers: Vec<Server> = (1..=profile.servers + profile.spares)
            .map(|id| Server::new(id, &mut rng.fork(), profile.segment, options.clone()))
            .collect();
        for spare in &mut servers[profile.servers as usize..] {
            spare.place = Place::Outside;
        }
        let initial = Configuration::bootstrap((1..=profile.servers).map(|id| (id, format!("s{id}:1"))));
        let workload = Workload::new(&profile, &mut rng);
        let actors = Actors::new(profile.actors, profile.limited);
        let oracles = Oracles::new(servers.len(), options.settings.election_timeout, profile.jumps);
        let mut invariants = Invariants::new(oracles, &initial, workload.keys.clone(), &options);
        invariants.model.jumps = profile.jumps;
        let mut world = Self {
            rng,
            profile,
            time: 0,
            sequence: 0,
            queue: BTreeMap::new(),
            servers,
            operator: Operator::default(),
            links: Links::default(),
            invariants,
            workload,
            actors,
            counts: BTreeMap::new(),
            work: 0,
            wakes: 0,
            trace: 0xcbf2_9ce4_8422_2325,
            healed: false,
            talkative: std::env::var_os("COPYCAT_SIM_TRACE").is_some(),
            initial,
        };
        for at in 0..world.profile.servers as usize {
            let delay = world.rng.below(50_000);
            world.schedule(delay, Event::Start { at });
        }
        let first = 1_000_000 + world.rng.below(world.profile.operator_every);
        world.schedule(first, Event::Operator { leader: None });
        for client in 0..world.workload.clients.len() {
            let delay = 100_000 + world.rng.below(2_000_000);
            world.schedule(delay, Event::Client { client });
        }
        for actor in 0..world.actors.all.len() {
            let delay = 100_000 + world.rng.below(2_000_000);
            world.schedule(delay, Event::Actor { actor });
        }
        let first = 1_000_000 + world.rng.below(300_000);
        world.schedule(first, Event::Fault);
        world
    }

    pub(crate) fn schedule(&mut self, delay: u64, event: Event) {
        self.sequence += 1;
        self.queue.insert((self.time + delay, self.sequence), event);
    }

    pub(crate) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
        if what != "messages" {
            self.say(|| what.to_string());
        }
    }

    #[allow(clippy::print_stdout)] // it is asked for
    pub(crate) fn say(&self, what: impl FnOnce() -> String) {
        if self.talkative {
            println!("{} {}", self.time, what());
        }
    }

    /// FNV-1a.
    pub(crate) fn note(&mut self, bytes: &[u8]) {
        for &b in bytes {
            self.trace = (self.trace ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn run(&mut self, steps: u64) -> Result<(), String> {
        let mut forced = false;
        while self.work < steps {
            self.next()?;
            if self.wakes > WAKES_PER_WORK * (self.work + 1000) {
                return Err(format!("STORM: {} wakes, {} steps of work", self.wakes, self.work));
            }
            // A run in which little time passes meets a fault all the same.
            if self.work >= steps / 2 && !std::mem::replace(&mut forced, true) {
                while KINDS.iter().all(|kind| !self.counts.contains_key(kind)) {
                    self.inject()?;
                }
            }
        }
        self.heal()?;
        self.with_one_deaf()?;
        self.with_one_hungry()?;
        let (end, goal) = (self.time + RECOVERY, self.workload.acknowledged + 20);
        let most = self.work + RECOVERY_EVENTS;
        while !(self.workload.acknowledged >= goal && self.agree()) {
            if self.time > end || self.work > most {
                let states: Vec<_> =
                    self.servers.iter().map(|s| s.engine.as_ref().map(copycat::engine::Engine::status)).collect();
                let places: Vec<_> = self.servers.iter().map(|s| s.place).collect();
                return Err(format!(
                    "NO PROGRESS: {} of {goal} acknowledged after everything healed, {} committed; {places:?} {:?} {states:#?}",
                    self.workload.acknowledged,
                    self.invariants.committed(),
                    self.configuration()
                ));
            }
            if self.workload.acknowledged >= goal {
                self.workload.stopped = true;
                self.actors.stop();
            }
            self.next()?;
        }
        // Nobody writes any more, and yet time goes on in the log. (A flush that hung before may hang on for a while.)
        self.workload.stopped = true;
        self.actors.stop();
        let end = self.time + (LONGEST_TTL.max(LONGEST_TIMEOUT) + 1000) * 1000 + LONGEST_HANG;
        loop {
            let stateful = self.stateful();
            let executors = || stateful.iter().filter_map(|s| s.executor());
            let brief = executors().any(|e| !brief_keys(e).is_empty());
            let sessions = executors().any(|e| !e.sessions().is_empty());
            // Those who do not vote hear of the last entry a heartbeat later.
            if !brief && !sessions && executors().count() == stateful.len() && self.agree() {
                break;
            }
            if self.time > end {
                let what = match (brief, sessions) {
                    (true, _) => "TTL NEVER ENDS: a key is left",
                    (_, true) => "SESSION NEVER ENDS: a session is left",
                    _ => "NO PROGRESS: servers differ",
                };
                return Err(format!("{what} in a cluster at rest"));
            }
            self.next()?;
        }
        self.invariants.check_end(&self.stateful())?;
        let configuration = self.configuration();
        let members = self.servers.iter().filter(|s| s.is_meant_by(&configuration)).map(|s| s.id as usize - 1);
        self.invariants.oracles.check_end(&members.collect(), self.time)?;
        let commands = self.invariants.commands;
        self.counts.insert("commands committed", commands);
        self.counts.append(&mut self.actors.counts);
        self.counts.insert("sessions timed out", self.invariants.model.ended);
        self.counts.insert("repeats in the log", self.invariants.model.repeats);
        self.workload.check(&mut self.counts)
    }

    pub(crate) fn next(&mut self) -> Result<(), String> {
        let ((time, _), event) = self.queue.pop_first().ok_or("nothing left to happen")?;
        assert!(time >= self.time);
        self.time = time;
        self.note(&time.to_le_bytes());
        let kind = event.kind();
        *self.counts.entry(kind).or_default() += 1;
        self.wakes += u64::from(kind == WAKE);
        match event {
            Event::Deliver { to, life, from, identity, cluster, message } => {
                if self.postponed(to) {
                    let delay = self.servers[to].paused_until - self.time + self.rng.below(500);
                    self.schedule(delay, Event::Deliver { to, life, from, identity, cluster, message });
                } else if self.servers[to].is_up() && self.servers[to].life == life {
                    self.act(to, Some(Input::Message { from, identity, cluster, message }))?;
                }
            }
            Event::Met { at, life, id, identity } => {
                let admits = |e: &SimEngine| e.configuration().admits(id, identity);
                if self.servers[at].life == life
                    && self.servers[at].engine.as_ref().is_some_and(admits)
                    && !self.postponed(at)
                {
                    let http = format!("s{id}:2");
                    // One cluster in one world: a wiped server knows none, which the engine takes alike.
                    self.act(at, Some(Input::Peer { id, identity, cluster: 0, http }))?;
                }
            }
            Event::Disconnected { at, life, id } => {
                if self.servers[at].life == life && self.servers[at].is_up() && !self.postponed(at) {
                    self.act(at, Some(Input::Disconnected(id)))?;
                }
            }
            Event::FlushDone { at, life } => self.flush_done(at, life)?,
            Event::WorkDone { at, life } => self.work_done(at, life)?,
            Event::ApplyDone { at, life } => self.apply_done(at, life)?,
            Event::Wake { at } => {
                self.servers[at].wake = None;
                if self.postponed(at) {
                    let until = self.servers[at].paused_until;
                    self.wake_at(at, until);
                } else {
                    self.act(at, None)?;
                }
            }
            Event::Start { at } => self.start(at)?,
            Event::PowerCut { at, life } => {
                if self.servers[at].life == life && self.servers[at].is_up() && !self.healed {
                    self.count("power cut behind a promise");
                    self.crash(at, true);
                }
            }
            Event::Kill { at, life } => {
                if self.servers[at].life == life && self.servers[at].is_up() && !self.healed {
                    self.count("kill");
                    self.crash(at, false);
                }
            }
            Event::Fault => {
                if !self.healed {
                    // Some kinds find nothing to do.
                    let count = |w: &Self| KINDS.iter().filter_map(|kind| w.counts.get(kind)).sum::<u64>();
                    let before = count(self);
                    for _ in 0..20 {
                        self.inject()?;
                        if count(self) > before {
                            break;
                        }
                    }
                    let delay = self.rng.below(self.profile.fault_every * 2) + 1000;
                    self.schedule(delay, Event::Fault);
                }
            }
            Event::Actor { actor } => {
                let time = self.time;
                for request in self.actors.turn(actor, time, &mut self.rng) {
                    self.ask(request, 0);
                }
                let delay = 1 + self.rng.below(self.profile.think.max(IDLE) * 2);
                self.schedule(delay, Event::Actor { actor });
            }
            Event::ActorRequest { at, request } => self.actor_request(at, request)?,
            Event::ActorAnswer { request, result } => {
                let next = self.actors.answered(request, result, &self.invariants.model)?;
                self.ask_again(next);
            }
            Event::ActorTimeout { request } => {
                let next = self.actors.again(request);
                self.ask_again(next);
            }
            Event::Operator { leader } => self.operator_turn(leader),
            Event::OperatorRequest { at, request } => self.operator_request(at, request)?,
            Event::OperatorAnswer { request, result } => self.operator_answer(request, result)?,
            Event::Stop { at, life } => self.stop_removed(at, life),
            Event::Client { client } => self.client_turn(client),
            Event::Timeout { client, request } => self.client_gives_up(client, request, false),
            Event::Lost { client, request } => self.client_gives_up(client, request, true),
            Event::Request { at, client, request } => self.client_request(at, client, request)?,
            Event::Answer { client, request, at, result } => self.client_answer(client, request, at, result)?,
        }
        Ok(())
    }

    pub(crate) fn postponed(&self, at: usize) -> bool {
        self.servers[at].paused_until > self.time
    }
}
