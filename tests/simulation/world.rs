//! The simulated world: time, the network, and what happens next.

use crate::actors::{Actors, FIRST, LONGEST_TIMEOUT, Next};
use crate::faults::Profile;
use crate::invariants::{Invariants, brief_keys};
use crate::members::{OPERATOR, Operator};
use crate::server::{Place, Server, SimEngine, SimInput};
use crate::workload::{LONGEST_TTL, Workload};
use copycat::engine::sessions::Limits;
use copycat::engine::{
    AppendOutcome, Configuration, Consistency, Fatal, Identity, Input, Message, Options, Output, Refusal, RequestId,
    Response, Role, ServerId, Work,
};
use copycat_testkit::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

const ELECTION_TIMEOUT: u64 = 500_000;
const LONGEST_HANG: u64 = 10_000_000;
/// After everything has healed, the cluster must serve and agree within this much simulated time.
const RECOVERY: u64 = 30_000_000;
/// And within so many events: more is a storm.
const RECOVERY_EVENTS: u64 = 200_000;

pub(crate) struct Setup {
    pub seed: u64,
    pub steps: u64,
    #[cfg(feature = "planted-bugs")]
    pub bug: Option<copycat::engine::Bug>,
}

impl Setup {
    pub(crate) fn new(seed: u64, steps: u64) -> Self {
        Self {
            seed,
            steps,
            #[cfg(feature = "planted-bugs")]
            bug: None,
        }
    }
}

impl Setup {
    /// The same, with the bug that `COPYCAT_SIM_BUG` names.
    pub(crate) fn from_environment(seed: u64, steps: u64) -> Self {
        #[allow(unused_mut)] // without planted bugs there is none
        let mut setup = Self::new(seed, steps);
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

/// A server that hears its peers late.
struct Slowed {
    server: ServerId,
    delay: u64,
    until: u64,
}

pub(crate) enum Event {
    Deliver {
        to: usize,
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
    Wake {
        at: usize,
        life: u64,
    },
    Start {
        at: usize,
    },
    Kill {
        at: usize,
        life: u64,
    },
    Reconnect,
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
    /// The operator's turn,
    Operator,
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

pub(crate) struct World {
    pub rng: Rng,
    pub profile: Profile,
    pub time: u64,
    sequence: u64,
    queue: BTreeMap<(u64, u64), Event>,
    pub servers: Vec<Server>,
    pub operator: Operator,
    pub cut: BTreeSet<(ServerId, ServerId)>,
    slowed: Option<Slowed>,
    pub invariants: Invariants,
    pub workload: Workload,
    actors: Actors,
    pub counts: BTreeMap<&'static str, u64>,
    trace: u64,
    pub healed: bool,
    /// Prints every message and event.
    talkative: bool,
    initial: Configuration,
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
        let profile = Profile::draw(&mut rng);
        let options = Options {
            append_entries: rng.range(1, 20) as usize,
            append_bytes: rng.range(64, 4096) as usize,
            append_inflight: rng.range(1, 8) as usize,
            apply_batch: rng.range(1, 20),
            uncommitted_entries: 64,
            session_answers: 8,
            auto_replace: profile.auto_replace,
            // Not drawn: so that what is drawn for the others stays as it is.
            machine_thread: setup.seed % 4 == 3,
            snapshot_bytes: profile.snapshot_bytes,
            session_limits: Limits { events: if profile.limited { 24 } else { 1 << 20 }, event_bytes: 1 << 30 },
            #[cfg(feature = "planted-bugs")]
            bug: setup.bug,
            ..Options::with_election_timeout(Duration::from_micros(ELECTION_TIMEOUT))
        };
        let mut servers: Vec<Server> = (1..=profile.servers + profile.spares)
            .map(|id| Server::new(id, &mut rng.fork(), profile.segment, options.clone()))
            .collect();
        for spare in &mut servers[profile.servers as usize..] {
            spare.place = Place::Outside;
        }
        let initial = Configuration::bootstrap((1..=profile.servers).map(|id| (id, format!("s{id}:1"))));
        let workload = Workload::new(&profile);
        let actors = Actors::new(profile.actors, profile.limited);
        let invariants = Invariants::new(servers.len(), &initial, workload.keys.clone(), &options);
        let mut world = Self {
            rng,
            profile,
            time: 0,
            sequence: 0,
            queue: BTreeMap::new(),
            servers,
            operator: Operator::default(),
            cut: BTreeSet::new(),
            slowed: None,
            invariants,
            workload,
            actors,
            counts: BTreeMap::new(),
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
        world.schedule(first, Event::Operator);
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
    fn say(&self, what: impl FnOnce() -> String) {
        if self.talkative {
            println!("{} {}", self.time, what());
        }
    }

    /// FNV-1a.
    fn note(&mut self, bytes: &[u8]) {
        for &b in bytes {
            self.trace = (self.trace ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn run(&mut self, steps: u64) -> Result<(), String> {
        for step in 0..steps {
            self.next()?;
            // A run in which little time passes meets a fault all the same.
            if step == steps / 2 {
                while crate::faults::KINDS.iter().all(|kind| !self.counts.contains_key(kind)) {
                    self.inject();
                }
            }
        }
        self.heal()?;
        self.with_one_deaf()?;
        self.with_one_hungry()?;
        let (end, goal) = (self.time + RECOVERY, self.workload.acknowledged + 20);
        let mut events = 0;
        while !(self.workload.acknowledged >= goal && self.agree()) {
            events += 1;
            if self.time > end || events > RECOVERY_EVENTS {
                let states: Vec<_> =
                    self.servers.iter().map(|s| s.engine.as_ref().map(copycat::engine::Engine::status)).collect();
                return Err(format!(
                    "NO PROGRESS: {} of {goal} acknowledged after everything healed; {states:#?}",
                    self.workload.acknowledged
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
        match event {
            Event::Deliver { to, from, identity, cluster, message } => {
                if self.postponed(to) {
                    let delay = self.servers[to].paused_until - self.time + self.rng.below(500);
                    self.schedule(delay, Event::Deliver { to, from, identity, cluster, message });
                } else if self.servers[to].is_up() {
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
            Event::Wake { at, life } => {
                if self.servers[at].life == life && self.servers[at].is_up() {
                    self.servers[at].wake_at = u64::MAX;
                    if self.postponed(at) {
                        let delay = self.servers[at].paused_until - self.time;
                        self.schedule(delay, Event::Wake { at, life });
                    } else {
                        self.act(at, None)?;
                    }
                }
            }
            Event::Start { at } => self.start(at)?,
            // Once all has healed, what is cut is cut on purpose.
            Event::Reconnect if self.healed => {}
            Event::Reconnect => self.cut.clear(),
            Event::Kill { at, life } => {
                if self.servers[at].life == life && self.servers[at].is_up() && !self.healed {
                    self.count("kill");
                    self.crash(at, false);
                }
            }
            Event::Fault => {
                if !self.healed {
                    // Some kinds find nothing to do.
                    let before: u64 = self.counts.values().sum();
                    for _ in 0..20 {
                        self.inject();
                        if self.counts.values().sum::<u64>() > before {
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
                let delay = 1 + self.rng.below(self.profile.think * 2);
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
            Event::Operator => self.operator_turn(),
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

    fn start(&mut self, at: usize) -> Result<(), String> {
        if self.servers[at].is_up() || !matches!(self.servers[at].place, Place::Member | Place::Stranger) {
            return Ok(());
        }
        // An operator makes room and mends the disk before a server is started again.
        self.servers[at].disk.set_capacity(None);
        self.servers[at].disk.fail_flushes(0);
        let (time, initial) = (self.time, self.initial.clone());
        self.servers[at].start(time, &initial).map_err(|e| format!("CANNOT START: server {}: {e}", at + 1))?;
        self.count("start");
        let (id, identity) = (self.servers[at].id, self.servers[at].identity());
        let life = self.servers[at].life;
        self.schedule(0, Event::Met { at, life, id, identity });
        for other in 0..self.servers.len() {
            if other != at && self.servers[other].is_up() {
                let delay = self.rng.below(20_000);
                let (other_id, other_identity) = (self.servers[other].id, self.servers[other].identity());
                let other_life = self.servers[other].life;
                self.schedule(delay, Event::Met { at, life, id: other_id, identity: other_identity });
                self.schedule(delay, Event::Met { at: other, life: other_life, id, identity });
            }
        }
        self.act(at, None)
    }

    /// One step of a server, as its driver makes it: input, poll, outputs, flush; then the invariants.
    pub(crate) fn act(&mut self, at: usize, input: Option<SimInput>) -> Result<(), String> {
        let now = self.servers[at].now(self.time);
        let drained = self.time > self.servers[at].paused_until + 600;
        let Some(engine) = &mut self.servers[at].engine else { return Ok(()) };
        let mut result = input.map_or(Ok(()), |input| engine.step(now, input));
        // What a paused server was sent meanwhile comes in its first moments.
        if drained {
            result = result.and_then(|()| engine.step(now, Input::Drained));
        }
        // A driver takes several inputs in one batch: sometimes the poll comes later.
        let batch = !self.healed && self.rng.chance(1, 10);
        while !batch && result.is_ok() {
            let Some(engine) = &mut self.servers[at].engine else { break };
            match engine.poll(now) {
                // What it commits now, it may have discarded in the next step.
                Ok(true) => self.invariants.check(&self.servers, at, self.time)?,
                Ok(false) => break,
                Err(e) => result = Err(e),
            }
        }
        if let Err(e) = result {
            return self.stopped(at, &e);
        }
        if !batch {
            self.begin_flush(at);
            if let Err(e) = self.begin_apply(at) {
                return self.stopped(at, &e);
            }
            self.outputs(at);
        }
        self.wake(at, batch);
        let Some(engine) = &self.servers[at].engine else { return Ok(()) };
        let status = engine.status();
        self.note(&[at as u8, status.role as u8]);
        self.note(&status.term.to_le_bytes());
        self.note(&status.commit.to_le_bytes());
        self.note(&status.digest.to_le_bytes());
        let time = self.time;
        self.invariants.check(&self.servers, at, time)
    }

    fn begin_flush(&mut self, at: usize) {
        let now = self.servers[at].now(self.time);
        let server = &mut self.servers[at];
        let Some(engine) = &mut server.engine else { return };
        if let Some(job) = engine.storage_mut().prepare() {
            let prepared = job.run();
            engine.storage_mut().prepared(prepared);
        }
        if server.work.is_none()
            && let Some(work) = engine.work()
        {
            server.work = Some(work);
            let life = server.life;
            let delay = 100 + self.rng.below(self.profile.flush_max * 20);
            self.schedule(delay, Event::WorkDone { at, life });
        }
        let server = &mut self.servers[at];
        let Some(engine) = &mut server.engine else { return };
        if server.job.is_none()
            && let Some(job) = engine.flush(now)
        {
            server.job = Some(job);
            let life = server.life;
            let hang = !self.healed && self.rng.chance(1, 2000);
            let delay = if hang {
                self.count("flush hangs");
                self.rng.range(500_000, LONGEST_HANG)
            } else {
                50 + self.rng.below(self.profile.flush_max)
            };
            self.schedule(delay, Event::FlushDone { at, life });
        }
    }

    fn begin_apply(&mut self, at: usize) -> Result<(), Fatal> {
        let server = &mut self.servers[at];
        let Some(engine) = &mut server.engine else { return Ok(()) };
        let Some(job) = engine.lend()? else { return Ok(()) };
        server.applying = Some(job);
        let life = server.life;
        let slow = !self.healed && self.rng.chance(1, 200);
        let delay = if slow {
            self.count("machine sleeps");
            self.rng.range(ELECTION_TIMEOUT, 5 * ELECTION_TIMEOUT)
        } else {
            20 + self.rng.below(self.profile.flush_max)
        };
        self.schedule(delay, Event::ApplyDone { at, life });
        Ok(())
    }

    fn apply_done(&mut self, at: usize, life: u64) -> Result<(), String> {
        if self.servers[at].life != life || !self.servers[at].is_up() {
            return Ok(());
        }
        if self.postponed(at) {
            let delay = self.servers[at].paused_until - self.time;
            self.schedule(delay, Event::ApplyDone { at, life });
            return Ok(());
        }
        let now = self.servers[at].now(self.time);
        let server = &mut self.servers[at];
        let (Some(job), Some(engine)) = (server.applying.take(), &mut server.engine) else { return Ok(()) };
        if let Err(e) = engine.take_back(now, job.run()) {
            return self.stopped(at, &e);
        }
        self.count("applied elsewhere");
        self.act(at, None)
    }

    fn flush_done(&mut self, at: usize, life: u64) -> Result<(), String> {
        if self.servers[at].life != life || !self.servers[at].is_up() {
            return Ok(());
        }
        if self.postponed(at) {
            // The disk goes on while the process does not: the job ends then, its news are heard later.
            let delay = self.servers[at].paused_until - self.time;
            self.schedule(delay, Event::FlushDone { at, life });
            return Ok(());
        }
        let Some(job) = self.servers[at].job.take() else { return Ok(()) };
        match job.run() {
            Ok(persisted) => self.act(at, Some(Input::Persisted(persisted))),
            Err(_) => {
                // A failed flush ends the server; what it did not flush is in doubt, so the power goes too.
                self.count("flush fails");
                self.servers[at].disk.fail_flushes(0);
                self.crash(at, true);
                Ok(())
            }
        }
    }

    fn work_done(&mut self, at: usize, life: u64) -> Result<(), String> {
        if self.servers[at].life != life || !self.servers[at].is_up() {
            return Ok(());
        }
        if self.postponed(at) {
            let delay = self.servers[at].paused_until - self.time;
            self.schedule(delay, Event::WorkDone { at, life });
            return Ok(());
        }
        let Some(work) = self.servers[at].work.take() else { return Ok(()) };
        self.count(match work {
            Work::Write { .. } => "state frozen",
            Work::Snapshot(_) => "snapshot written",
            Work::Compact(_) => "compaction",
            Work::Stage(_) => "snapshot received",
        });
        let Some(worked) = work.run(512, || true) else { return Ok(()) };
        self.act(at, Some(Input::Worked(worked)))
    }

    fn wake(&mut self, at: usize, batch: bool) {
        let server = &mut self.servers[at];
        let Some(engine) = &server.engine else { return };
        let mut due = server.time_of(engine.deadline()).max(self.time + 1);
        if batch {
            due = self.time + 1 + self.rng.below(300);
        }
        let server = &mut self.servers[at];
        if due < server.wake_at {
            server.wake_at = due;
            let life = server.life;
            self.schedule(due - self.time, Event::Wake { at, life });
        }
    }

    fn outputs(&mut self, at: usize) {
        let Some(engine) = &mut self.servers[at].engine else { return };
        for output in engine.take_outputs() {
            if self.talkative && !matches!(output, Output::Send { .. }) {
                let text = format!("{} {output:?}", at + 1);
                self.say(|| text);
            }
            match output {
                Output::Send { to, message } => self.send(at, to, &message),
                Output::Reply { id, result } if id >= OPERATOR => {
                    let delay = 50 + self.rng.below(1000);
                    self.schedule(delay, Event::OperatorAnswer { request: id, result: Some(result) });
                }
                Output::Reply { id, result } if id >= FIRST => {
                    let delay = 50 + self.rng.below(1000);
                    self.schedule(delay, Event::ActorAnswer { request: id, result });
                }
                Output::Reply { id, result } => {
                    let client = self.workload.client_of(id);
                    let delay = 50 + self.rng.below(1000);
                    self.schedule(delay, Event::Answer { client, request: id, at, result });
                }
                Output::Refused { peer, identity, removed } => {
                    self.count("refused");
                    let told = peer as usize - 1;
                    if removed && self.servers[told].identity() == identity {
                        let (life, delay) = (self.servers[told].life, self.rng.below(200_000));
                        self.schedule(delay, Event::Stop { at: told, life });
                    }
                }
                Output::Event(copycat::engine::Event::Installed { .. }) => self.count("snapshot installed"),
                Output::Event(copycat::engine::Event::Removed { .. }) => {
                    let (life, delay) = (self.servers[at].life, self.rng.below(1_000_000));
                    self.schedule(delay, Event::Stop { at, life });
                }
                Output::Event(copycat::engine::Event::Role { role: Role::Leader, .. }) => self.elected(at),
                Output::Event(_) => {}
            }
        }
    }

    /// The first moments of a term are the dangerous ones (Raft paper, figure 8): some leaders do not survive them.
    fn elected(&mut self, at: usize) {
        self.count("elections won");
        if !self.healed && self.rng.chance(self.profile.early_death, 100) {
            let (life, delay) = (self.servers[at].life, self.rng.below(30_000));
            self.schedule(delay, Event::Kill { at, life });
        }
    }

    fn send(&mut self, from: usize, to: ServerId, message: &Message) {
        match *message {
            Message::VoteReply { term, granted: true } => {
                self.invariants.voted(self.servers[from].identity(), term, to);
                self.invariants.promised(&self.servers[from], term, Some(to), None);
            }
            Message::AppendReply { term, outcome: AppendOutcome::Matched(index), .. } if self.rng.chance(1, 30) => {
                self.invariants.promised(&self.servers[from], term, None, Some(index));
            }
            // The moment after is the dangerous one: what if the old leader does not hear of the new one?
            Message::TimeoutNow { .. } if !self.healed && self.rng.chance(1, 2) => self.slow_down(from, 400_000),
            _ => {}
        }
        let from_id = self.servers[from].id;
        let (identity, cluster) = (self.servers[from].identity(), self.servers[from].cluster());
        self.count("messages");
        self.say(|| format!("{from_id} -> {to} {message:?}"));
        if self.cut.contains(&(from_id, to)) {
            return;
        }
        let faulty = !self.healed;
        if faulty && self.rng.chance(self.profile.loss, 1000) {
            return self.count("message lost");
        }
        let copies = if faulty && self.rng.chance(self.profile.duplicate, 1000) {
            self.count("message doubled");
            2
        } else {
            1
        };
        for _ in 0..copies {
            let mut delay = 50 + self.rng.below(1000);
            if let Some(slowed) = &self.slowed
                && faulty
                && slowed.server == to
                && self.time < slowed.until
            {
                delay += slowed.delay;
            }
            if faulty && self.rng.chance(self.profile.slow, 1000) {
                self.count("message delayed");
                delay += self.rng.below(self.profile.slow_max);
            }
            let (to, from, message) = (to as usize - 1, from_id, message.clone());
            self.schedule(delay, Event::Deliver { to, from, identity, cluster, message });
        }
    }

    /// The engine said that it must stop.
    fn stopped(&mut self, at: usize, error: &Fatal) -> Result<(), String> {
        Err(format!("STOPPED: server {}: {error}", self.servers[at].id))
    }

    /// The process ends; with `power`, what was not flushed is in doubt.
    pub(crate) fn crash(&mut self, at: usize, power: bool) {
        let committed = self.invariants.committed();
        self.say(|| format!("{} goes down", at + 1));
        let server = &mut self.servers[at];
        let Some(engine) = server.engine.take() else { return };
        let storage = engine.storage();
        server.durable_when_down =
            (committed + 1..=storage.durable_index()).filter_map(|index| Some((index, storage.term(index)?))).collect();
        drop(engine);
        (server.job, server.work, server.applying) = (None, None, None);
        if power {
            let mut rng = self.rng.fork();
            self.servers[at].disk.crash(&mut || rng.next_u64());
        } else {
            self.servers[at].disk.restart();
        }
        self.servers[at].paused_until = 0;
        // Whoever is connected to it sees that at once, after a power cut later or never.
        for other in 0..self.servers.len() {
            if self.servers[other].is_up() && !(power && self.rng.chance(1, 2)) {
                let (life, id, delay) = (self.servers[other].life, self.servers[at].id, self.rng.below(5_000));
                self.schedule(delay, Event::Disconnected { at: other, life, id });
            }
        }
        let longest = if self.rng.chance(1, 2) { 50_000 } else { 2_000_000 };
        let down = self.rng.range(1_000, longest);
        self.schedule(down, Event::Start { at });
        for (client, request) in self.workload.waiting_at(at) {
            let delay = self.rng.below(5_000);
            self.schedule(delay, Event::Lost { client, request });
        }
    }

    fn inject(&mut self) {
        let at = self.rng.below(self.servers.len() as u64) as usize;
        match self.rng.below(18) {
            0 | 1 => {
                if self.servers[at].is_up() {
                    self.count("kill");
                    self.crash(at, false);
                }
            }
            2 | 3 => {
                if self.servers[at].is_up() {
                    self.count("power cut");
                    self.crash(at, true);
                }
            }
            4 if self.servers[at].is_up() => {
                self.count("pause");
                self.servers[at].paused_until = self.time + self.rng.range(10_000, 3_000_000);
            }
            5 => {
                // All at once: the power of the building.
                for at in 0..self.servers.len() {
                    if self.servers[at].is_up() {
                        self.count("power cut");
                        self.crash(at, true);
                    }
                }
            }
            6 => {
                let other = self.cut_link(at);
                let (life, delay) = (self.servers[at].life, self.rng.below(100_000));
                self.schedule(delay, Event::Disconnected { at, life, id: other });
                self.reconnect_later();
            }
            7 => {
                self.count("partition");
                let side: Vec<bool> = self.servers.iter().map(|_| self.rng.chance(1, 2)).collect();
                for a in 0..self.servers.len() {
                    for b in 0..self.servers.len() {
                        if side[a] != side[b] {
                            self.cut.insert((a as u64 + 1, b as u64 + 1));
                        }
                    }
                }
                self.reconnect_later();
            }
            8 | 9 => self.cut.clear(),
            10 => {
                if self.servers[at].job.is_some() {
                    self.servers[at].disk.fail_flushes(1);
                }
            }
            11 => {
                self.count("wall clock jumps");
                self.servers[at].wall_offset = self.rng.range(0, 7_200_000) as i64 - 3_600_000;
            }
            12 if self.rng.chance(1, 2) => self.lose_disk(at),
            12 => self.lose_log(at),
            13 | 14 => {
                // A leader that is slowed goes on believing in itself while others go on without it.
                let delay = self.rng.range(50_000, 1_500_000);
                self.slow_down(at, delay);
            }
            _ => {
                if self.rng.chance(1, 3) {
                    self.count("disk full");
                    let full = self.rng.chance(1, 2);
                    self.servers[at].disk.set_capacity(full.then_some(0));
                } else {
                    self.count("leadership transfer");
                    let target = self.rng.below(self.servers.len() as u64 + 1);
                    // An error shows in the next step of that server.
                    let now = self.servers[at].now(self.time);
                    if let Some(engine) = &mut self.servers[at].engine {
                        let target = (target > 0).then_some(target);
                        let _ = engine.step(now, Input::Transfer { target, reply: None });
                    }
                }
            }
        }
    }

    fn slow_down(&mut self, at: usize, delay: u64) {
        self.count("inbound slowed");
        let until = self.time + self.rng.range(500_000, 4_000_000);
        self.slowed = Some(Slowed { server: at as u64 + 1, delay, until });
    }

    fn reconnect_later(&mut self) {
        let delay = self.rng.range(100_000, 3_000_000);
        self.schedule(delay, Event::Reconnect);
    }

    /// Returns the other end.
    fn cut_link(&mut self, at: usize) -> ServerId {
        self.count("link cut one way");
        let other = self.rng.below(self.servers.len() as u64) + 1;
        let id = at as u64 + 1;
        if self.rng.chance(1, 2) {
            self.cut.insert((id, other));
        } else {
            self.cut.insert((other, id));
        }
        other
    }

    /// A server loses its segments but keeps `meta`. What was on it counted for quorums, so this is only survivable
    /// one server at a time, with a majority besides: the next loss waits until the last one has been made good.
    fn lose_log(&mut self, at: usize) {
        if !self.can_spare(at) {
            return;
        }
        self.count("log lost");
        self.crash(at, false);
        self.servers[at].lose_log();
    }

    /// Ends all faults.
    fn heal(&mut self) -> Result<(), String> {
        self.healed = true;
        self.cut.clear();
        for at in 0..self.servers.len() {
            self.servers[at].disk.set_capacity(None);
            self.servers[at].disk.fail_flushes(0);
            self.servers[at].paused_until = 0;
            if self.servers[at].place == Place::Stranger {
                self.send_away(at);
            }
            if !self.servers[at].is_up() {
                self.start(at)?;
            }
        }
        Ok(())
    }
}

impl World {
    /// Sends an actor's request to some server, now and then to two.
    fn ask(&mut self, request: RequestId, wait: u64) {
        let servers = self.servers.len() as u64;
        for _ in 0..if self.rng.chance(1, 10) { 2 } else { 1 } {
            let at = match self.actors.leader {
                Some(leader) if self.actors.wants_leader(request) && self.rng.chance(4, 5) => leader as usize - 1,
                _ => self.rng.below(servers) as usize,
            };
            let delay = wait + 50 + self.rng.below(1000);
            self.schedule(delay, Event::ActorRequest { at, request });
        }
        let patience = wait + self.rng.range(200_000, 1_500_000);
        self.schedule(patience, Event::ActorTimeout { request });
    }

    fn ask_again(&mut self, next: Next) {
        if let Next::Again(request) = next {
            let wait = self.rng.range(5_000, 100_000);
            self.ask(request, wait);
        }
    }

    fn actor_request(&mut self, at: usize, request: RequestId) -> Result<(), String> {
        if !self.actors.is_open(request) {
            return Ok(());
        }
        if self.postponed(at) {
            let delay = self.servers[at].paused_until - self.time + self.rng.below(500);
            self.schedule(delay, Event::ActorRequest { at, request });
            return Ok(());
        }
        if !self.servers[at].is_up() {
            let at = self.rng.below(self.servers.len() as u64) as usize;
            self.schedule(20_000, Event::ActorRequest { at, request });
            return Ok(());
        }
        let input = self.actors.input(request);
        self.act(at, input)
    }

    fn client_turn(&mut self, client: usize) {
        if self.workload.stopped {
            return;
        }
        let time = self.time;
        let request = self.workload.begin(client, time, &mut self.rng);
        self.schedule(3_000_000, Event::Timeout { client, request });
        self.dispatch(client, request, 0);
    }

    /// Sends a client's request to the server it believes in, or to any.
    fn dispatch(&mut self, client: usize, request: RequestId, wait: u64) {
        let servers = self.servers.len() as u64;
        let at = match self.workload.clients[client].leader {
            Some(leader) if self.rng.chance(4, 5) => leader as usize - 1,
            _ => self.rng.below(servers) as usize,
        };
        let delay = wait + 50 + self.rng.below(1000);
        self.schedule(delay, Event::Request { at, client, request });
    }

    fn client_request(&mut self, at: usize, client: usize, request: RequestId) -> Result<(), String> {
        if !self.workload.is_waiting(client, request) {
            return Ok(());
        }
        if self.postponed(at) {
            let delay = self.servers[at].paused_until - self.time + self.rng.below(500);
            self.schedule(delay, Event::Request { at, client, request });
            return Ok(());
        }
        if !self.servers[at].is_up() {
            // Connection refused: it was never handed over.
            self.workload.clients[client].leader = None;
            self.dispatch(client, request, 20_000);
            return Ok(());
        }
        let input = self.workload.hand_over(client, at);
        // As the server does: a sequential query that need not wait goes past the inbox.
        if let Input::Query { query, .. } = &input
            && query.consistency == Consistency::Sequential
            && let Some(response) = self.servers[at].engine().query_now(query.index, &query.ask)
        {
            self.count("queries answered at once");
            let delay = 50 + self.rng.below(1000);
            self.schedule(delay, Event::Answer { client, request, at, result: Ok(response) });
            return Ok(());
        }
        self.act(at, Some(input))
    }

    fn client_answer(
        &mut self,
        client: usize,
        request: RequestId,
        at: usize,
        result: Result<Response, Refusal>,
    ) -> Result<(), String> {
        if !self.workload.is_waiting(client, request) {
            return Ok(());
        }
        match result {
            Ok(response) => {
                self.workload.clients[client].leader = Some(at as u64 + 1);
                let time = self.time;
                self.workload.answered(client, time, &response, &self.invariants)?;
                self.count("requests answered");
                self.next_turn(client);
            }
            Err(Refusal::NotLeader { leader }) => {
                self.workload.clients[client].leader = leader;
                self.workload.took_back(client);
                let wait = self.rng.range(1_000, 30_000);
                self.dispatch(client, request, wait);
            }
            Err(Refusal::Lost) => self.client_gives_up(client, request, false),
            Err(Refusal::Malformed) => return Err("MALFORMED: an operation of ours was refused".into()),
            Err(_) => {
                let time = self.time;
                self.workload.refused(client, time);
                self.count("requests refused");
                self.next_turn(client);
            }
        }
        Ok(())
    }

    fn client_gives_up(&mut self, client: usize, request: RequestId, lost: bool) {
        if !self.workload.is_waiting(client, request) || lost && !self.workload.is_handed_over(client) {
            return;
        }
        let time = self.time;
        self.workload.gave_up(client, time);
        self.count("requests given up");
        self.next_turn(client);
    }

    fn next_turn(&mut self, client: usize) {
        let delay = 1 + self.rng.below(self.profile.think);
        self.schedule(delay, Event::Client { client });
    }
}
