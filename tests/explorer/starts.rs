//! The states in which explorations begin, and their bounds.

use crate::disk::Left;
use crate::world::{Budget, Order, Rules, T, World};
use copycat::engine::{Bug, Configuration, MemberType, Options};

/// One exploration.
#[derive(Clone, Copy)]
pub(crate) struct Start {
    pub name: &'static str,
    servers: u64,
    /// Leads from new servers to the first state.
    prefix: fn(&mut World) -> Result<(), String>,
    budget: Budget,
    flushes: bool,
    talks: bool,
    waits: &'static [u32],
    lefts: &'static [Left],
    orders: &'static [Order],
    padding: usize,
    /// The most events of a path.
    pub depth: u8,
    /// Progress is checked in states up to this depth.
    pub continued: u8,
    /// Multiplies the limit of steps.
    pub share: u64,
    pub bug: Option<Bug>,
}

impl Start {
    /// Returns the same start with a planted bug.
    pub(crate) fn with(&self, bug: Option<Bug>) -> Self {
        Self { bug, ..*self }
    }

    /// Returns the first state.
    pub(crate) fn world(&self) -> Result<World, String> {
        let initial = Configuration::bootstrap((1..=self.servers).map(|id| (id, format!("s{id}:1"))));
        let options = Options { bug: self.bug, append_inflight: 2, ..Options::with_election_timeout(T) };
        let mut world = World::new(Rules {
            options,
            initial,
            flushes: self.flushes,
            talks: self.talks,
            waits: self.waits,
            lefts: self.lefts,
            orders: self.orders.to_vec(),
            padding: self.padding,
        });
        (self.prefix)(&mut world)?;
        world.budget = self.budget;
        world.crashed = false;
        let mut buffer = String::new();
        for at in 0..world.servers.len() {
            world.note(at, &mut buffer);
        }
        Ok(world)
    }
}

/// A template in which nothing happens but deliveries.
const NOTHING: Start = Start {
    name: "",
    servers: 2,
    prefix: |_| Ok(()),
    budget: Budget { losses: 0, timeouts: 0, waits: 0, crashes: 0, puts: 0, reads: 0, transfers: 0, works: 0 },
    flushes: false,
    talks: false,
    waits: &[10],
    lefts: &[Left::Flushed],
    orders: &[],
    padding: 0,
    depth: 8,
    continued: 0,
    share: 1,
    bug: None,
};

const NONE: Budget = NOTHING.budget;

/// Elects a server, and lets all servers become quiet.
fn elect(world: &mut World, at: usize) -> Result<(), String> {
    // Just below 2T: the others, whose timeouts are the longest, do not stand.
    world.time += T * 19 / 10;
    world.time_out(at)?;
    world.settle()?;
    beat(world)?;
    if world.leads(at) { Ok(()) } else { Err("the server was not elected".into()) }
}

/// Lets a heartbeat interval pass, and all servers become quiet.
fn beat(world: &mut World) -> Result<(), String> {
    world.time += T / 5;
    for at in 0..world.servers.len() {
        world.act(at, None)?;
    }
    world.settle()
}

fn put(world: &mut World, at: usize) -> Result<(), String> {
    world.put(at)?;
    world.settle()?;
    beat(world)
}

/// Elects a server by some of them. The others hear nothing.
fn elect_among(world: &mut World, at: usize, among: &[usize]) -> Result<(), String> {
    world.lose_all();
    world.time += T * 19 / 10;
    world.time_out(at)?;
    for _ in 0..4 {
        world.act(at, None)?;
        world.rest(among)?;
        world.time += T / 5;
    }
    world.lose_all();
    if world.leads(at) { Ok(()) } else { Err("the server was not elected".into()) }
}

/// Writes a value that some servers hear of.
fn put_among(world: &mut World, at: usize, among: &[usize]) -> Result<(), String> {
    world.put(at)?;
    world.rest(among)?;
    world.lose_all();
    Ok(())
}

/// Changes the type of a member.
fn turn(world: &mut World, at: usize, id: u64, member_type: MemberType) -> Result<(), String> {
    world.order(at, Order::Turn(id, member_type))?;
    for _ in 0..3 {
        world.settle()?;
        beat(world)?;
    }
    Ok(())
}

/// Elects the first server and writes a value.
fn led(world: &mut World) -> Result<(), String> {
    elect(world, 0)?;
    put(world, 0)
}

/// The leader demotes itself: the entry is in its log, and in flight.
fn gives_vote_up(world: &mut World) -> Result<(), String> {
    led(world)?;
    world.order(0, Order::Turn(1, MemberType::Passive))
}

/// The leader died and another one was elected.
fn leader_died(world: &mut World) -> Result<(), String> {
    elect(world, 2)?;
    world.lose_all();
    world.stop(2, Left::All);
    elect(world, 0)
}

/// The third server was deposed with a pending put, which the second has committed, applied and compacted away.
fn snapshot_instead_of_an_answer(world: &mut World) -> Result<(), String> {
    elect(world, 2)?;
    world.put(2)?;
    world.deliver(2, 1, 0)?;
    elect_among(world, 1, &[0, 1])?;
    for _ in 0..8 {
        put_among(world, 1, &[0, 1])?;
    }
    for _ in 0..2 {
        world.work(1)?;
        world.work(0)?;
    }
    world.lose_all();
    world.pass(T / 5).map(drop)
}

/// The third server lacks entries that the others have compacted away.
fn one_is_behind(world: &mut World) -> Result<(), String> {
    led(world)?;
    for _ in 0..8 {
        put_among(world, 0, &[0, 1])?;
    }
    for _ in 0..2 {
        world.work(0)?;
        world.work(1)?;
    }
    world.lose_all();
    world.time += T / 5;
    world.act(0, None)
}

/// A leader promotes the fifth server, which alone hears of it. The third is elected by the second and fourth, which then
/// hear no more (Ongaro's raft-dev message of 2015 on single-server changes).
fn change_before_an_entry(world: &mut World) -> Result<(), String> {
    led(world)?;
    turn(world, 0, 5, MemberType::Passive)?;
    world.order(0, Order::Turn(5, MemberType::Active))?;
    world.rest(&[0, 4])?;
    world.lose_all();
    world.time += T * 19 / 10;
    world.time_out(2)?;
    for other in [1, 3, 1, 3] {
        world.deliver_all(2, other)?;
        world.deliver_all(other, 2)?;
        if world.leads(2) {
            break;
        }
    }
    // The first hears of the term, and refuses its vote.
    world.deliver(2, 0, 0)?;
    world.deliver(2, 0, 0)?;
    world.lose_all();
    if world.leads(2) { Ok(()) } else { Err("the third was not elected".into()) }
}

/// All servers were restarted.
fn restarted(world: &mut World) -> Result<(), String> {
    led(world)?;
    for at in 0..world.servers.len() {
        world.stop(at, Left::All);
    }
    world.lose_all();
    for at in 0..world.servers.len() {
        world.start(at)?;
    }
    world.settle()?;
    world.time += T;
    Ok(())
}

const ONE: Budget = Budget { losses: 1, timeouts: 1, waits: 1, puts: 1, reads: 1, ..NONE };

pub(crate) const STARTS: &[Start] = &[
    Start {
        name: "two, just elected",
        prefix: led,
        budget: Budget { timeouts: 2, waits: 3, crashes: 2, ..ONE },
        orders: &[Order::Turn(1, MemberType::Passive)],
        depth: 12,
        continued: 2,
        ..NOTHING
    },
    Start {
        name: "two, just elected, from afar",
        prefix: led,
        budget: Budget { timeouts: 3, waits: 3, crashes: 2, puts: 2, reads: 1, ..NONE },
        orders: &[
            Order::Turn(1, MemberType::Passive),
            Order::Turn(1, MemberType::Active),
            Order::Turn(2, MemberType::Passive),
        ],
        talks: true,
        lefts: &[Left::Flushed, Left::All],
        depth: 12,
        continued: 2,
        ..NOTHING
    },
    Start {
        name: "two, flushes apart",
        prefix: led,
        budget: Budget { timeouts: 2, waits: 2, crashes: 2, ..ONE },
        flushes: true,
        lefts: &[Left::Flushed, Left::Log],
        depth: 12,
        ..NOTHING
    },
    Start {
        name: "two, the leader gives its vote up",
        prefix: gives_vote_up,
        budget: Budget { waits: 2, ..ONE },
        depth: 12,
        ..NOTHING
    },
    Start {
        name: "two, the leader gives its vote up, and the other is started anew",
        prefix: gives_vote_up,
        budget: Budget { crashes: 1, ..ONE },
        flushes: true,
        depth: 9,
        ..NOTHING
    },
    Start {
        name: "two, the leader gives its vote up, and an answer is late",
        prefix: |world| {
            gives_vote_up(world)?;
            world.deliver(0, 1, 0)?;
            world.lose_all();
            world.pass(T / 5)?;
            world.deliver(0, 1, 0)
        },
        budget: Budget { waits: 2, ..ONE },
        flushes: true,
        depth: 9,
        ..NOTHING
    },
    Start {
        name: "three, just elected",
        servers: 3,
        prefix: led,
        budget: Budget { timeouts: 2, waits: 2, ..ONE },
        orders: &[Order::Turn(2, MemberType::Passive)],
        depth: 12,
        continued: 2,
        ..NOTHING
    },
    Start {
        name: "three, just elected, from afar",
        servers: 3,
        prefix: led,
        budget: Budget { timeouts: 3, waits: 3, crashes: 1, puts: 2, reads: 1, ..NONE },
        talks: true,
        depth: 12,
        continued: 1,
        ..NOTHING
    },
    Start {
        name: "three, flushes apart, and somebody stands",
        servers: 3,
        prefix: |world| {
            led(world)?;
            world.time += T * 3 / 2;
            Ok(())
        },
        budget: Budget { timeouts: 2, crashes: 2, ..ONE },
        flushes: true,
        lefts: &[Left::Flushed, Left::Log],
        depth: 12,
        ..NOTHING
    },
    Start {
        name: "three, the leader died and another was elected",
        servers: 3,
        prefix: leader_died,
        budget: Budget { waits: 2, ..ONE },
        orders: &[Order::Turn(2, MemberType::Passive)],
        depth: 12,
        continued: 3,
        ..NOTHING
    },
    Start {
        name: "three, one is removed",
        servers: 3,
        prefix: |world| {
            led(world)?;
            world.order(0, Order::Remove(3))
        },
        budget: Budget { timeouts: 2, waits: 2, crashes: 1, ..ONE },
        depth: 12,
        continued: 2,
        ..NOTHING
    },
    Start {
        name: "three, one comes to vote",
        servers: 3,
        prefix: |world| {
            led(world)?;
            turn(world, 0, 3, MemberType::Passive)?;
            world.order(0, Order::Turn(3, MemberType::Active))
        },
        budget: Budget { timeouts: 2, waits: 2, crashes: 1, ..ONE },
        depth: 12,
        continued: 2,
        ..NOTHING
    },
    Start {
        name: "three, their types change, from afar",
        servers: 3,
        prefix: led,
        budget: Budget { timeouts: 2, waits: 2, crashes: 1, puts: 1, reads: 1, ..NONE },
        orders: &[
            Order::Turn(1, MemberType::Passive),
            Order::Turn(2, MemberType::Reserve),
            Order::Turn(2, MemberType::Active),
        ],
        talks: true,
        depth: 12,
        continued: 2,
        ..NOTHING
    },
    Start {
        name: "three, a lease is held, and the office handed over",
        servers: 3,
        prefix: led,
        budget: Budget { timeouts: 2, waits: 2, transfers: 1, ..ONE },
        depth: 12,
        ..NOTHING
    },
    Start {
        name: "three, a snapshot is on its way",
        servers: 3,
        prefix: one_is_behind,
        budget: Budget { crashes: 1, works: 2, ..ONE },
        padding: 900,
        depth: 12,
        ..NOTHING
    },
    Start {
        name: "three, a snapshot comes instead of an answer",
        servers: 3,
        prefix: snapshot_instead_of_an_answer,
        budget: Budget { losses: 1, timeouts: 1, waits: 1, works: 2, reads: 1, ..NONE },
        padding: 900,
        depth: 12,
        ..NOTHING
    },
    Start {
        name: "three, a snapshot was just taken, from afar",
        servers: 3,
        prefix: |world| {
            led(world)?;
            world.work(0)?;
            world.work(1)?;
            world.settle()
        },
        budget: Budget { timeouts: 2, waits: 2, crashes: 2, puts: 1, reads: 1, works: 1, ..NONE },
        talks: true,
        lefts: &[Left::Flushed, Left::All],
        depth: 12,
        ..NOTHING
    },
    Start {
        name: "three, all were started again",
        servers: 3,
        prefix: restarted,
        budget: Budget { timeouts: 3, waits: 2, crashes: 1, ..ONE },
        depth: 12,
        continued: 2,
        ..NOTHING
    },
    Start {
        name: "three, a log is lost",
        servers: 3,
        prefix: led,
        budget: Budget { timeouts: 2, waits: 2, crashes: 1, puts: 1, reads: 1, ..NONE },
        talks: true,
        lefts: &[Left::NoLog],
        depth: 12,
        ..NOTHING
    },
    Start {
        name: "five, a change before an entry of the term",
        servers: 5,
        prefix: change_before_an_entry,
        budget: Budget { timeouts: 1, waits: 2, ..NONE },
        orders: &[Order::Turn(1, MemberType::Passive)],
        talks: true,
        waits: &[4, 20],
        depth: 9,
        ..NOTHING
    },
];
