//! What goes wrong, how often, in one run; and the network, processes and disks to which it happens.

use crate::server::Place;
use crate::world::{Event, World};
use copycat::engine::{Message, ServerId};
use copycat_storage::Disk;
use copycat_testkit::Rng;

/// Every kind of fault, as counted in reports.
pub(crate) const KINDS: &[&str] = &[
    "message lost",
    "message doubled",
    "message delayed",
    "inbound slowed",
    "link slowed one way",
    "link cut one way",
    "link heals alone",
    "partition",
    "kill",
    "power cut",
    "power cut behind a promise",
    "power cut in a flush",
    "pause",
    "flush hangs",
    "flush fails",
    "wall clock jumps",
    "monotonic clock jumps",
    "log lost",
    "bytes flipped",
    "disk wiped",
    "change of members",
    "disk full",
    "leadership transfer",
    "leader demoted or removed",
    "election timeout changed",
    "log away at a start",
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
    /// How many of 100 leaders are demoted or removed within their first moments.
    pub early_demotion: u64,
    /// How many of 1000 messages that promise something are followed by a power cut.
    pub aimed: u64,
    /// Monotonic clocks jump, so that leases mean nothing.
    pub jumps: bool,
    /// How many of 100 clients stay with one server, whoever leads.
    pub loyal: u64,
    /// The operator changes the election timeout.
    pub retimed: bool,
    /// How long idempotency keys are kept, milliseconds.
    pub window: u64,
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
    pub(crate) fn draw(rng: &mut Rng, voters: Option<u64>) -> Self {
        let pick = |rng: &mut Rng, from: &[u64]| from[rng.below(from.len() as u64) as usize];
        Self {
            servers: voters.unwrap_or_else(|| pick(rng, &[3, 3, 3, 3, 5, 2, 2, 1, 4, 3])),
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
            early_demotion: pick(rng, &[0, 0, 20, 60]),
            aimed: pick(rng, &[0, 0, 2, 10]),
            jumps: rng.chance(1, 8),
            loyal: pick(rng, &[0, 30, 70]),
            retimed: rng.chance(1, 3),
            window: pick(rng, &[1_500, 1_500, 600_000]),
            think: pick(rng, &[1_000, 10_000, 50_000]),
            segment: pick(rng, &[4096, 8192, 32_768]) as u32,
            flush_max: pick(rng, &[300, 3_000, 20_000]),
        }
    }
}

impl World {
    pub(crate) fn send(&mut self, from: usize, to: ServerId, message: &Message) {
        self.promises(from, to, message);
        // The moment after is the dangerous one: what if the old leader does not hear of the new one?
        if matches!(message, Message::TimeoutNow { .. }) && !self.healed && self.rng.chance(1, 2) {
            self.slow_down(from, 400_000);
        }
        let from_id = self.servers[from].id;
        let (identity, cluster) = (self.servers[from].identity(), self.servers[from].cluster());
        self.count("messages");
        self.say(|| format!("{from_id} -> {to} {message:?}"));
        if self.links.is_cut(from_id, to, self.time) {
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
            if faulty {
                delay += self.links.delay(from_id, to, self.time);
            }
            if faulty && self.rng.chance(self.profile.slow, 1000) {
                self.count("message delayed");
                delay += self.rng.below(self.profile.slow_max);
            }
            let (to, from, message) = (to as usize - 1, from_id, message.clone());
            let life = self.servers[to].life;
            self.schedule(delay, Event::Deliver { to, life, from, identity, cluster, message });
        }
    }

    /// What a message promises must be true and durable when it leaves, and the power may fail right behind it.
    fn promises(&mut self, from: usize, to: ServerId, message: &Message) {
        let closely = self.rng.chance(1, 30);
        if !self.invariants.promises(&self.servers[from], to, message, closely) {
            return;
        }
        self.invariants.acknowledges(&self.servers[from], message);
        if !self.healed && self.rng.chance(self.profile.aimed, 1000) {
            let (life, delay) = (self.servers[from].life, self.rng.below(3_000));
            self.schedule(delay, Event::PowerCut { at: from, life });
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
        self.unschedule_wake(at);
        self.invariants.oracles.down(at, power);
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

    pub(crate) fn inject(&mut self) -> Result<(), String> {
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
            }
            7 => {
                self.count("partition");
                let side: Vec<bool> = self.servers.iter().map(|_| self.rng.chance(1, 2)).collect();
                for a in 0..self.servers.len() {
                    for b in 0..self.servers.len() {
                        if side[a] != side[b] {
                            self.cut_for_a_while(a as u64 + 1, b as u64 + 1);
                        }
                    }
                }
            }
            8 => {
                self.count("link heals alone");
                let (time, mut rng) = (self.time, self.rng.fork());
                self.links.heal_one(time, &mut rng);
            }
            9 => {
                self.count("link slowed one way");
                let (other, delay) = (self.other(at), self.rng.range(20_000, 900_000));
                let until = self.time + self.rng.range(100_000, 2_000_000);
                self.links.slow(at as u64 + 1, other, delay, until);
                // The classic: what is under way arrives late, and nothing follows it.
                if self.rng.chance(1, 2) {
                    self.cut_for_a_while(at as u64 + 1, other);
                    self.cut_for_a_while(other, at as u64 + 1);
                }
            }
            10 => {
                if self.servers[at].job.is_some() {
                    self.servers[at].disk.fail_flushes(1);
                }
            }
            11 if self.profile.jumps && self.rng.chance(1, 2) => {
                self.count("monotonic clock jumps");
                self.servers[at].jumped += self.rng.range(10_000, 2_000_000) as i64;
                self.unschedule_wake(at);
                let soon = self.time + 1;
                self.wake_at(at, soon);
            }
            11 => {
                self.count("wall clock jumps");
                self.servers[at].wall_offset = self.rng.range(0, 7_200_000) as i64 - 3_600_000;
            }
            12 => match self.rng.below(4) {
                0 => self.lose_disk(at),
                1 => self.lose_log(at),
                2 => self.log_away(at)?,
                _ => self.flip_bytes(at),
            },
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
                    self.ask_for_transfer();
                }
            }
        }
        Ok(())
    }

    /// Another server than this one.
    fn other(&mut self, at: usize) -> ServerId {
        let others = self.servers.len() as u64 - 1;
        let other = self.rng.below(others.max(1));
        if other >= at as u64 { (other + 1) % self.servers.len() as u64 + 1 } else { other + 1 }
    }

    /// A server hears everybody late.
    pub(crate) fn slow_down(&mut self, at: usize, delay: u64) {
        self.count("inbound slowed");
        let until = self.time + self.rng.range(500_000, 4_000_000);
        for from in 0..self.servers.len() {
            self.links.slow(from as u64 + 1, at as u64 + 1, delay, until);
        }
    }

    /// Cuts one direction; it heals by itself.
    pub(crate) fn cut_for_a_while(&mut self, from: ServerId, to: ServerId) {
        let until = self.time + self.rng.range(100_000, 3_000_000);
        self.links.cut(from, to, until);
    }

    /// Returns the other end.
    pub(crate) fn cut_link(&mut self, at: usize) -> ServerId {
        self.count("link cut one way");
        let (id, other) = (at as u64 + 1, self.other(at));
        if self.rng.chance(1, 2) {
            self.cut_for_a_while(id, other);
        } else {
            self.cut_for_a_while(other, id);
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

    /// A server goes down, and a byte that it had stored for good is another one when it comes back: it must notice, and
    /// ask its peers.
    fn flip_bytes(&mut self, at: usize) {
        if !self.can_spare(at) {
            return;
        }
        let names = self.servers[at].disk.list().expect("the disk lists");
        let mut sealed: Vec<&String> = names.iter().filter(|n| n.ends_with(".log")).collect();
        // The last segment, and one prepared behind it, may hold what was never promised: a flip there can look like a
        // torn tail.
        sealed.truncate(sealed.len().saturating_sub(2));
        sealed.extend(names.iter().filter(|n| *n == "snapshot"));
        let Some(&name) = sealed.get(self.rng.below(sealed.len().max(1) as u64) as usize) else { return };
        let name = name.clone();
        self.count("bytes flipped");
        self.crash(at, false);
        let length = self.servers[at].disk.get(&name).expect("it is listed").len() as u64;
        let (offset, mask) = (self.rng.below(length.max(1)), 1 << self.rng.below(8));
        self.servers[at].disk.corrupt(&name, offset, mask).expect("the byte is there");
        (self.servers[at].flipped, self.servers[at].log_gone) = (true, true);
    }

    /// A server is started without its log files, as where a file system was not mounted: it refuses, and destroys
    /// nothing. Then they are put back, and all that it had is there.
    fn log_away(&mut self, at: usize) -> Result<(), String> {
        let Some(engine) = self.servers[at].engine.as_ref() else { return Ok(()) };
        if engine.storage().last_index() == 0 || self.servers[at].flipped || engine.status().lost_log {
            return Ok(());
        }
        self.count("log away at a start");
        self.crash(at, false);
        let kept = self.servers[at].start_without_log();
        kept.map_err(|why| format!("LOST BY A START: server {}: {why}", at + 1))
    }

    /// Ends all faults.
    pub(crate) fn heal(&mut self) -> Result<(), String> {
        self.healed = true;
        self.links.heal();
        for at in 0..self.servers.len() {
            self.servers[at].disk.set_capacity(None);
            self.servers[at].disk.fail_flushes(0);
            self.servers[at].paused_until = 0;
            if self.servers[at].place == Place::Stranger {
                self.send_away(at);
            }
            if self.servers[at].is_up() {
                self.tell_if_removed(at);
            } else {
                self.start(at)?;
            }
        }
        Ok(())
    }
}
