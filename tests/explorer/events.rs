//! Events: the steps that lead from one state to another.

use crate::disk::Left;
use crate::server::Input;
use crate::world::{T, World};
use copycat::engine::Consistency;

/// One step from a state to the next. Servers are named by position, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// Delivers a message; the `lost` ones before it on its link are lost.
    Deliver { from: usize, to: usize, lost: usize },
    /// Delivers everything between two servers, in both directions, until their links are empty.
    Talk(usize, usize),
    /// Ends the election timeout of a follower or candidate.
    Timeout(usize),
    /// Advances all clocks by this many twentieths of T.
    Pass(u32),
    /// Makes everything written so far durable.
    Flush(usize),
    /// Kills the process or cuts the power.
    Crash(usize, Left),
    /// Starts a server that is down.
    Start(usize),
    /// A client writes a new value.
    Put(usize),
    /// A client reads the register.
    Read(usize, Consistency),
    /// The operator asks for the next membership change of the start's list.
    Order(usize),
    /// The operator asks the first server to hand leadership to the second.
    Transfer(usize, usize),
    /// Requests a snapshot and runs the background work to its end.
    Work(usize),
}

impl Event {
    /// The kind, as reports count it.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Deliver { lost: 0, .. } => "deliveries",
            Self::Deliver { .. } => "deliveries after losses",
            Self::Talk(..) => "talks",
            Self::Timeout(_) => "timeouts",
            Self::Pass(_) => "waits",
            Self::Flush(_) => "flushes",
            Self::Crash(..) => "crashes",
            Self::Start(_) => "restarts",
            Self::Put(_) => "puts",
            Self::Read(..) => "reads",
            Self::Order(_) => "orders",
            Self::Transfer(..) => "transfers",
            Self::Work(_) => "works",
        }
    }
}

/// The number of kinds that [`Event::kind`] tells apart.
pub(crate) const KINDS: usize = 13;

impl World {
    /// Returns the events that are possible in this state, always in the same order.
    pub(crate) fn events(&self) -> Vec<Event> {
        let mut events = Vec::with_capacity(24);
        self.messages(&mut events);
        self.requests(&mut events);
        self.faults(&mut events);
        events
    }

    fn up(&self, at: usize) -> bool {
        self.engine(at).is_some()
    }

    fn messages(&self, events: &mut Vec<Event>) {
        let count = self.servers.len();
        let losses = usize::from(self.budget.losses);
        for from in 0..count {
            for to in (0..count).filter(|&to| self.up(to)) {
                let waiting = self.waiting(from, to);
                if !self.rules.talks {
                    events.extend((0..waiting.min(losses + 1)).map(|lost| Event::Deliver { from, to, lost }));
                } else if from < to && self.up(from) && waiting + self.waiting(to, from) > 0 {
                    events.push(Event::Talk(from, to));
                }
            }
        }
    }

    /// Only leaders are asked: a follower refuses, which changes nothing.
    fn requests(&self, events: &mut Vec<Event>) {
        let count = self.servers.len();
        for at in (0..count).filter(|&at| self.leads(at)) {
            if self.budget.reads > 0 {
                events.extend([Consistency::Linearizable, Consistency::Lease].map(|way| Event::Read(at, way)));
            }
            if self.budget.puts > 0 {
                events.push(Event::Put(at));
            }
            if self.orders_left() {
                events.push(Event::Order(at));
            }
            if self.budget.transfers > 0 {
                events.extend((0..count).filter(|&to| to != at).map(|to| Event::Transfer(at, to)));
            }
        }
    }

    fn faults(&self, events: &mut Vec<Event>) {
        let (rules, budget) = (&self.rules, &self.budget);
        let now = self.now();
        for at in 0..self.servers.len() {
            let Some(engine) = self.engine(at) else {
                events.push(Event::Start(at));
                continue;
            };
            if budget.timeouts > 0 && engine.may_time_out(now) {
                events.push(Event::Timeout(at));
            }
            if rules.flushes && self.servers[at].can_flush() {
                events.push(Event::Flush(at));
            }
            if budget.crashes > 0 {
                events.extend(rules.lefts.iter().map(|&left| Event::Crash(at, left)));
            }
            if budget.works > 0 {
                events.push(Event::Work(at));
            }
        }
        if budget.waits > 0 {
            events.extend(rules.waits.iter().map(|&share| Event::Pass(share)));
        }
    }

    /// Applies an event. An error is a violated invariant. `buffer` is scratch space.
    pub(crate) fn apply(&mut self, event: Event, buffer: &mut String) -> Result<(), String> {
        self.say(|| format!("{event:?}"));
        let changed = self.carry_out(event)?;
        for at in changed {
            self.note(at, buffer);
        }
        Ok(())
    }

    /// Returns the servers whose state may have changed.
    fn carry_out(&mut self, event: Event) -> Result<Vec<usize>, String> {
        let at = match event {
            Event::Talk(a, b) => {
                self.talk(&[a, b])?;
                return Ok(vec![a, b]);
            }
            Event::Pass(share) => {
                self.budget.waits -= 1;
                return self.pass(T * share / 20);
            }
            Event::Deliver { from, to, lost } => {
                self.budget.losses -= u8::try_from(lost).expect("few");
                self.deliver(from, to, lost)?;
                to
            }
            Event::Timeout(at) => {
                self.budget.timeouts -= 1;
                self.time_out(at)?;
                at
            }
            Event::Flush(at) => {
                self.flush(at)?;
                at
            }
            Event::Crash(at, left) => {
                self.budget.crashes -= 1;
                self.stop(at, left);
                at
            }
            Event::Start(at) => {
                self.start(at)?;
                at
            }
            Event::Put(at) => {
                self.budget.puts -= 1;
                self.put(at)?;
                at
            }
            Event::Read(at, consistency) => {
                self.budget.reads -= 1;
                self.read(at, consistency)?;
                at
            }
            Event::Order(at) => {
                self.next_order(at)?;
                at
            }
            Event::Transfer(at, to) => {
                self.budget.transfers -= 1;
                let target = Some(self.servers[to].id);
                self.act(at, Some(Input::Transfer { target, reply: None }))?;
                at
            }
            Event::Work(at) => {
                self.budget.works -= 1;
                self.work(at)?;
                at
            }
        };
        Ok(vec![at])
    }
}
