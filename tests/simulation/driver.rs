//! What a server's driver does, simulated: it steps the engine, flushes, works in the background, sends.

use crate::actors::FIRST;
use crate::members::OPERATOR;
use crate::oracles::Cue;
use crate::server::{Place, Server, SimInput};
use crate::world::{ELECTION_TIMEOUT, Event, LONGEST_HANG, World};
use copycat::engine::{Fatal, Input, Output, Refusal, Role, Work};

/// Nobody is elected whose disk has not finished a flush for so long, microseconds: four election timeouts, and what clocks
/// may differ.
const HUNG: u64 = 4 * ELECTION_TIMEOUT + ELECTION_TIMEOUT / 2;

impl World {
    pub(crate) fn start(&mut self, at: usize) -> Result<(), String> {
        if self.servers[at].is_up() || !matches!(self.servers[at].place, Place::Member | Place::Stranger) {
            return Ok(());
        }
        // An operator makes room and mends the disk before a server is started again.
        self.servers[at].disk.set_capacity(None);
        self.servers[at].disk.fail_flushes(0);
        let (time, initial) = (self.time, self.initial.clone());
        self.servers[at].start(time, &initial).map_err(|e| format!("CANNOT START: server {}: {e}", at + 1))?;
        self.count("start");
        if std::mem::take(&mut self.servers[at].repaired) {
            self.count("damage found, log given up");
        }
        self.invariants.oracles.started(&self.servers[at], time);
        let (id, identity) = (self.servers[at].id, self.servers[at].identity());
        let life = self.servers[at].life;
        self.schedule(0, Event::Met { at, life, id, identity });
        self.tell_if_removed(at);
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

    /// Whoever answers the connection of a server that was removed while it was down says so.
    pub(crate) fn tell_if_removed(&mut self, at: usize) {
        let (identity, life) = (self.servers[at].identity(), self.servers[at].life);
        let knows = |s: &Server| s.engine.as_ref().is_some_and(|e| e.committed_configuration().has_removed(identity));
        if self.servers.iter().any(knows) {
            let delay = self.rng.below(200_000);
            self.schedule(delay, Event::Stop { at, life });
        }
    }

    /// One step of a server, as its driver makes it: input, poll, outputs, flush; then the invariants.
    pub(crate) fn act(&mut self, at: usize, input: Option<SimInput>) -> Result<(), String> {
        let now = self.servers[at].now(self.time);
        let drained = self.time > self.servers[at].paused_until + 600;
        self.work += u64::from(input.is_some());
        let cue = Cue::of(&self.servers[at], input.as_ref());
        self.invariants.oracles.asked(at, input.as_ref(), self.time);
        if self.talkative
            && let Some(Input::Submit { .. } | Input::Query { .. } | Input::Change { .. }) = &input
        {
            self.say(|| format!("{} is asked {input:?}", at + 1));
        }
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
            self.outputs(at)?;
        }
        self.invariants.oracles.stepped(&self.servers, at, &cue, self.time)?;
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

    pub(crate) fn begin_flush(&mut self, at: usize) {
        let now = self.servers[at].now(self.time);
        let server = &mut self.servers[at];
        let Some(engine) = &mut server.engine else { return };
        // As a server does now and then.
        if self.rng.chance(1, 20) {
            engine.storage_mut().save_again();
        }
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
            server.flush_since = Some(self.time);
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

    pub(crate) fn begin_apply(&mut self, at: usize) -> Result<(), Fatal> {
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

    pub(crate) fn apply_done(&mut self, at: usize, life: u64) -> Result<(), String> {
        if self.servers[at].life != life || !self.servers[at].is_up() {
            return Ok(());
        }
        if self.postponed(at) {
            let delay = self.servers[at].paused_until - self.time;
            self.schedule(delay, Event::ApplyDone { at, life });
            return Ok(());
        }
        let server = &mut self.servers[at];
        let (Some(job), Some(engine)) = (server.applying.take(), &mut server.engine) else { return Ok(()) };
        if let Err(e) = engine.take_back(job.run()) {
            return self.stopped(at, &e);
        }
        self.count("applied elsewhere");
        self.act(at, None)
    }

    pub(crate) fn flush_done(&mut self, at: usize, life: u64) -> Result<(), String> {
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
        self.servers[at].flush_since = None;
        let cut = !self.healed && self.rng.chance(self.profile.aimed, 4000);
        if cut {
            let after = self.rng.below(6);
            self.servers[at].disk.cut_after(after);
        }
        match job.run() {
            result if cut => {
                // Whatever the job did, its server is gone before it hears of it.
                drop(result);
                self.count("power cut in a flush");
                self.crash(at, true);
                Ok(())
            }
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

    pub(crate) fn work_done(&mut self, at: usize, life: u64) -> Result<(), String> {
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

    /// Sees to it that the server is woken at its deadline, and not at an earlier one that is void.
    pub(crate) fn wake(&mut self, at: usize, batch: bool) {
        let server = &self.servers[at];
        let Some(engine) = &server.engine else { return };
        let mut due = server.time_of(engine.deadline()).max(self.time + 1);
        if batch {
            due = self.time + 1 + self.rng.below(300);
        }
        if self.servers[at].wake.is_none_or(|(time, _)| time != due) {
            self.unschedule_wake(at);
            self.wake_at(at, due);
        }
    }

    pub(crate) fn wake_at(&mut self, at: usize, time: u64) {
        self.schedule(time - self.time, Event::Wake { at });
        self.servers[at].wake = Some((time, self.sequence));
    }

    pub(crate) fn unschedule_wake(&mut self, at: usize) {
        if let Some(place) = self.servers[at].wake.take() {
            self.queue.remove(&place);
        }
    }

    pub(crate) fn outputs(&mut self, at: usize) -> Result<(), String> {
        let Some(engine) = &mut self.servers[at].engine else { return Ok(()) };
        for output in engine.take_outputs() {
            if let Output::Reply { id, result } = &output {
                self.invariants.oracles.answered(&self.servers[at], *id, result.as_ref().ok())?;
                // A refusal says that nothing was done.
                if matches!(result, Err(refusal) if *refusal != Refusal::Lost)
                    && *id < FIRST
                    && let Some(operation) = self.workload.unique(*id, at)
                    && self.invariants.model.is_committed(&operation)
                {
                    return Err(format!("DONE, AND REFUSED: request {id} at server {}: {result:?}", at + 1));
                }
            }
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
                // All that travels here was sent by servers that mean well.
                Output::Event(copycat::engine::Event::NotTaken { peer, why })
                    if !why.contains("no configuration known") =>
                {
                    return Err(format!("NOT TAKEN: server {} refused a message of {peer}: {why}", at + 1));
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
        Ok(())
    }

    /// The first moments of a term are the dangerous ones (Raft paper, figure 8): some leaders do not survive them.
    pub(crate) fn elected(&mut self, at: usize) {
        self.count("elections won");
        let hangs = self.servers[at].flush_since.is_some_and(|since| self.time > since + HUNG);
        if hangs && !self.profile.retimed && !self.profile.jumps {
            let broken = format!("HUNG DISK LEADS: server {}", at + 1);
            self.invariants.broken.get_or_insert(broken);
        }
        self.invariants.model.elected = self.time;
        if !self.healed && self.rng.chance(self.profile.early_death, 100) {
            let (life, delay) = (self.servers[at].life, self.rng.below(30_000));
            self.schedule(delay, Event::Kill { at, life });
        }
        // And so are those of a leader that is asked to give its vote up.
        if !self.healed && self.rng.chance(self.profile.early_demotion, 100) {
            let delay = self.rng.below(60_000);
            self.schedule(delay, Event::Operator { leader: Some(at) });
        }
    }

    /// The engine said that it must stop. One that has read a flipped byte is started again, and asks its peers.
    pub(crate) fn stopped(&mut self, at: usize, error: &Fatal) -> Result<(), String> {
        if let Fatal::Corrupt(damage) = error
            && self.servers[at].flipped
        {
            self.count("damage read");
            self.servers[at].damage = Some(damage.clone());
            self.servers[at].log_gone = true;
            self.crash(at, false);
            return Ok(());
        }
        Err(format!("STOPPED: server {}: {error}", self.servers[at].id))
    }
}
