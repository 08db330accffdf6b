//! What goes wrong, how often, in one run; and the network, processes and disks to which it happens.

use crate::server::Place;
use crate::world::{Event, Slowed, World};
use copycat::engine::{AppendOutcome, Input, Message, ServerId};
use copycat_testkit::Rng;

/// Every kind of fault, as counted in reports.
pub(crate) const KINDS: &[&str] = &[
    "message lost",
    "message doubled",
    "message delayed",
    "inbound slowed",
    "link cut one way",
    "partition",
    "kill",
    "power cut",
    "pause",
    "flush hangs",
    "flush fails",
    "wall clock jumps",
    "log lost",
    "disk wiped",
    "change of members",
    "disk full",
    "leadership transfer",
];

/// The odds of one run, drawn from its seed: some runs are calm in some respect.
#[derive(Debug, Clone)]
pub(crate) struct Profile {
    pub servers: u64,
    /// Servers that may join.
    pub spares: u64,
    /// Mean time between an operator's changes, microseconds.
    pub operator_every: u64,
    pub auto_replace: bool,
    /// Bytes of entries from one snapshot to the next.
    pub snapshot_bytes: u64,
    pub clients: u64,
    pub keys: u64,
    /// Out of 1000.
    pub loss: u64,
    pub duplicate: u64,
    pub slow: u64,
    /// Longest delay of a slow message, microseconds.
    pub slow_max: u64,
    /// Mean time between faults, microseconds.
    pub fault_every: u64,
    /// How many of 100 leaders die within their first moments.
    pub early_death: u64,
    /// Longest pause of a client between operations, microseconds.
    pub think: u64,
    /// Segments are this large.
    pub segment: u32,
    /// Clients with sessions.
    pub actors: u64,
    /// Their queues of events are so small that sessions end for it.
    pub limited: bool,
    /// Longest flush that is not a hang, microseconds.
    pub flush_max: u64,
}

impl Profile {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let pick = |rng: &mut Rng, from: &[u64]| from[rng.below(from.len() as u64) as usize];
        Self {
            servers: pick(rng, &[3, 3, 3, 3, 5, 2, 1, 4]),
            spares: pick(rng, &[0, 0, 1, 2, 3]),
            operator_every: pick(rng, &[300_000, 1_000_000, 4_000_000]),
            auto_replace: rng.chance(1, 4),
            snapshot_bytes: pick(rng, &[2_000, 6_000, 20_000]),
            clients: rng.range(2, 7),
            actors: pick(rng, &[0, 0, 1, 2, 3, 4]),
            limited: rng.chance(1, 6),
            keys: rng.range(1, 5),
            loss: pick(rng, &[0, 5, 20, 100]),
            duplicate: pick(rng, &[0, 5, 50]),
            slow: pick(rng, &[0, 10, 100]),
            slow_max: pick(rng, &[20_000, 200_000, 2_000_000]),
            fault_every: pick(rng, &[200_000, 500_000, 1_000_000, 3_000_000]),
            early_death: pick(rng, &[0, 0, 20, 50]),
            think: pick(rng, &[1_000, 10_000, 50_000]),
            segment: pick(rng, &[4096, 8192, 32_768]) as u32,
            flush_max: pick(rng, &[300, 3_000, 20_000]),
        }
    }
}

impl World {
    pub(crate) fn send(&mut self, from: usize, to: ServerId, message: &Message) {
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

    pub(crate) fn inject(&mut self) {
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

    pub(crate) fn slow_down(&mut self, at: usize, delay: u64) {
        self.count("inbound slowed");
        let until = self.time + self.rng.range(500_000, 4_000_000);
        self.slowed = Some(Slowed { server: at as u64 + 1, delay, until });
    }

    pub(crate) fn reconnect_later(&mut self) {
        let delay = self.rng.range(100_000, 3_000_000);
        self.schedule(delay, Event::Reconnect);
    }

    /// Returns the other end.
    pub(crate) fn cut_link(&mut self, at: usize) -> ServerId {
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
    pub(crate) fn lose_log(&mut self, at: usize) {
        if !self.can_spare(at) {
            return;
        }
        self.count("log lost");
        self.crash(at, false);
        self.servers[at].lose_log();
    }

    /// Ends all faults.
    pub(crate) fn heal(&mut self) -> Result<(), String> {
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
