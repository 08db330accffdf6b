//! The explored state: servers, the messages between them, the clock, and the promises made so far.

use crate::disk::Left;
use crate::machine;
use crate::oracle::Oracle;
use crate::server::{Input, Server, checksum};
use copycat::engine::sessions::Submit;
use copycat::engine::{
    Change, Configuration, Consistency, Kind, MemberType, Message, Now, Options, Output, Query, Role,
};
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::hash::{Hash, Hasher};
use std::rc::Rc;
use std::time::Duration;

/// T.
pub(crate) const T: Duration = Duration::from_millis(500);
/// The most messages on one link. Older ones are lost.
const LINK: usize = 4;
/// The most rounds of deliveries until servers that talk are taken to be quiet.
const ROUNDS: usize = 30;

/// A membership change that the operator asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Turn(u64, MemberType),
    Remove(u64),
}

/// The number of events of each kind that are left on a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Budget {
    pub losses: u8,
    pub timeouts: u8,
    pub waits: u8,
    pub crashes: u8,
    pub puts: u8,
    pub reads: u8,
    pub transfers: u8,
    pub works: u8,
}

/// Settings of one exploration.
pub(crate) struct Rules {
    pub options: Options,
    pub initial: Configuration,
    /// Flushes are separate events. Otherwise everything is flushed before the next event.
    pub flushes: bool,
    /// Messages are delivered by `Talk`. Otherwise each one is delivered by itself.
    pub talks: bool,
    /// Durations that a wait may have, in twentieths of T.
    pub waits: &'static [u32],
    pub lefts: &'static [Left],
    pub orders: Vec<Order>,
    /// Bytes added to each put, to fill segments.
    pub padding: usize,
}

pub(crate) struct Sent {
    message: Message,
    cluster: u128,
    hash: u64,
}

#[derive(Clone)]
pub(crate) struct World {
    pub rules: Rc<Rules>,
    pub servers: Vec<Rc<Server>>,
    /// Indexed by sender and receiver, oldest message first.
    links: Vec<VecDeque<Rc<Sent>>>,
    pub time: Duration,
    pub oracle: Oracle,
    pub budget: Budget,
    orders: usize,
    requests: u64,
    values: u64,
    /// A server has crashed since the exploration began.
    pub crashed: bool,
    /// A log of events and messages, if one is wanted.
    pub trace: Option<String>,
}

impl World {
    pub(crate) fn new(rules: Rules) -> Self {
        let count = rules.initial.members.len();
        let servers = (1..=count as u64).map(|id| Rc::new(Server::new(id))).collect();
        let mut world = Self {
            rules: Rc::new(rules),
            servers,
            links: vec![VecDeque::new(); count * count],
            time: Duration::from_secs(10),
            oracle: Oracle::default(),
            budget: Budget::default(),
            orders: 0,
            requests: 0,
            values: 0,
            crashed: false,
            trace: None,
        };
        for at in 0..count {
            world.start(at).expect("an empty server starts");
        }
        world
    }

    pub(crate) fn now(&self) -> Now {
        Now { monotonic: self.time, wall: 1_700_000_000_000 }
    }

    /// The number of messages on a link.
    pub(crate) fn waiting(&self, from: usize, to: usize) -> usize {
        self.links[self.link(from, to)].len()
    }

    pub(crate) fn next_request(&mut self) -> u64 {
        self.requests += 1;
        self.requests
    }

    pub(crate) fn orders_left(&self) -> bool {
        self.orders < self.rules.orders.len()
    }

    pub(crate) fn next_order(&mut self, at: usize) -> Result<(), String> {
        let order = self.rules.orders[self.orders];
        self.orders += 1;
        self.order(at, order)
    }

    /// Ends a server's election timeout.
    pub(crate) fn time_out(&mut self, at: usize) -> Result<(), String> {
        let now = self.now();
        if let Some(engine) = &mut Rc::make_mut(&mut self.servers[at]).engine {
            engine.time_out(now);
        }
        self.act(at, None)
    }

    fn link(&self, from: usize, to: usize) -> usize {
        from * self.servers.len() + to
    }

    pub(crate) fn engine(&self, at: usize) -> Option<&crate::server::Explored> {
        self.servers[at].engine.as_ref()
    }

    pub(crate) fn leads(&self, at: usize) -> bool {
        self.engine(at).is_some_and(|engine| engine.role() == Role::Leader)
    }

    pub(crate) fn say(&mut self, text: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            writeln!(trace, "{}", text()).expect("a string grows");
        }
    }

    /// Returns a hash of the state. States with equal hashes are taken to be the same.
    pub(crate) fn print(&self) -> u64 {
        let mut hasher = xxhash_rust::xxh3::Xxh3Default::new();
        for server in &self.servers {
            hasher.update(&server.print.to_le_bytes());
            server.durable.hash(&mut hasher);
        }
        for link in &self.links {
            hasher.update(&(link.len() as u64).to_le_bytes());
            for sent in link {
                hasher.update(&sent.hash.to_le_bytes());
            }
        }
        (self.time, &self.oracle, self.budget, self.orders, self.crashed).hash(&mut hasher);
        hasher.finish()
    }

    pub(crate) fn start(&mut self, at: usize) -> Result<(), String> {
        let now = self.now();
        let rules = Rc::clone(&self.rules);
        Rc::make_mut(&mut self.servers[at]).start(now, &rules.options, &rules.initial)?;
        self.act(at, None)
    }

    pub(crate) fn stop(&mut self, at: usize, left: Left) {
        Rc::make_mut(&mut self.servers[at]).stop(left);
        let id = self.servers[at].id;
        self.oracle.crashed(id);
        self.crashed = true;
    }

    /// Hands a server an input, polls it, and checks the invariants.
    pub(crate) fn act(&mut self, at: usize, input: Option<Input>) -> Result<(), String> {
        let now = self.now();
        let mut input = input;
        // A flush can cause writes that need another one.
        for _ in 0..8 {
            let outputs = Rc::make_mut(&mut self.servers[at]).act(now, input.take())?;
            Rc::make_mut(&mut self.servers[at]).look();
            self.oracle.check(&self.servers, at, self.time)?;
            self.take(at, outputs)?;
            if self.rules.flushes {
                break;
            }
            input = Rc::make_mut(&mut self.servers[at]).flush(now);
            if input.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn take(&mut self, at: usize, outputs: Vec<Output>) -> Result<(), String> {
        for output in outputs {
            match output {
                Output::Send { to, message } => {
                    let from = Rc::clone(&self.servers[at]);
                    self.say(|| format!("  {} -> {to} {message:?}", from.id));
                    self.oracle.sent(&self.servers, &from, to, &message)?;
                    let Some(place) = self.servers.iter().position(|s| s.id == to) else { continue };
                    let hash = xxhash_rust::xxh3::xxh3_64(&copycat::engine::encode(&message));
                    let cluster = from.engine.as_ref().map_or(0, |e| e.storage().meta().cluster);
                    let link = self.link(at, place);
                    self.links[link].push_back(Rc::new(Sent { message, cluster, hash }));
                    if self.links[link].len() > LINK {
                        self.links[link].pop_front();
                    }
                }
                Output::Reply { id, result } => {
                    self.say(|| format!("  reply {id}: {result:?}"));
                    // The server drops a lease read that has expired.
                    let late = |r: &copycat::engine::Response| r.valid_until.is_some_and(|until| self.time >= until);
                    if result.as_ref().is_ok_and(late) {
                        continue;
                    }
                    let item = result.as_ref().ok().and_then(|response| machine::item(&response.output));
                    self.oracle.answered(id, &result, item)?;
                }
                Output::Event(event) => self.say(|| format!("  {} {event:?}", at + 1)),
                Output::Refused { .. } => {}
            }
        }
        Ok(())
    }

    pub(crate) fn deliver(&mut self, from: usize, to: usize, lost: usize) -> Result<(), String> {
        let link = self.link(from, to);
        self.links[link].drain(..lost);
        let Some(sent) = self.links[link].pop_front() else { return Ok(()) };
        let (id, identity) = (self.servers[from].id, self.servers[from].identity());
        let (receiver, time) = (Rc::clone(&self.servers[to]), self.time);
        self.oracle.received(&receiver, &sent.message, time);
        self.act(to, Some(Input::Message { from: id, identity, cluster: sent.cluster, message: sent.message.clone() }))
    }

    /// Delivers messages among servers until no more are sent.
    pub(crate) fn talk(&mut self, among: &[usize]) -> Result<(), String> {
        for _ in 0..ROUNDS {
            let mut quiet = true;
            for &from in among {
                for &to in among {
                    quiet &= self.links[self.link(from, to)].is_empty();
                    self.deliver_all(from, to)?;
                }
            }
            if quiet {
                break;
            }
        }
        Ok(())
    }

    /// Delivers the messages that are on a link now.
    pub(crate) fn deliver_all(&mut self, from: usize, to: usize) -> Result<(), String> {
        for _ in 0..self.links[self.link(from, to)].len() {
            self.deliver(from, to, 0)?;
        }
        Ok(())
    }

    /// Delivers and flushes among all running servers until they are quiet. No time passes.
    pub(crate) fn settle(&mut self) -> Result<(), String> {
        let up: Vec<usize> = (0..self.servers.len()).filter(|&at| self.engine(at).is_some()).collect();
        self.rest(&up)
    }

    /// Delivers and flushes among these servers until they are quiet.
    pub(crate) fn rest(&mut self, among: &[usize]) -> Result<(), String> {
        for _ in 0..ROUNDS {
            self.talk(among)?;
            let mut quiet = true;
            for &at in among {
                if self.servers[at].can_flush() {
                    quiet = false;
                    self.flush(at)?;
                }
            }
            if quiet {
                break;
            }
        }
        Ok(())
    }

    pub(crate) fn flush(&mut self, at: usize) -> Result<(), String> {
        let now = self.now();
        match Rc::make_mut(&mut self.servers[at]).flush(now) {
            Some(input) => self.act(at, Some(input)),
            None => Ok(()),
        }
    }

    /// Drops all messages.
    pub(crate) fn lose_all(&mut self) {
        self.links.iter_mut().for_each(VecDeque::clear);
    }

    /// Advances the clock and polls the servers whose deadline has come. Returns those.
    pub(crate) fn pass(&mut self, time: Duration) -> Result<Vec<usize>, String> {
        self.time += time;
        let due = |at: &usize| self.engine(*at).is_some_and(|engine| engine.deadline() <= self.time);
        let due: Vec<usize> = (0..self.servers.len()).filter(due).collect();
        for &at in &due {
            self.act(at, None)?;
        }
        Ok(due)
    }

    pub(crate) fn note(&mut self, at: usize, buffer: &mut String) {
        Rc::make_mut(&mut self.servers[at]).note(buffer);
    }

    pub(crate) fn put(&mut self, at: usize) -> Result<(), String> {
        let id = self.next_request();
        self.values += 1;
        let submit = machine::put(self.values, self.rules.padding);
        if let Submit::Command { operation, .. } = &submit {
            let of = self.servers[at].id;
            self.oracle.put(id, of, checksum(Kind::Command as u8, operation));
        }
        self.act(at, Some(Input::Submit { id, submit }))
    }

    pub(crate) fn read(&mut self, at: usize, consistency: Consistency) -> Result<(), String> {
        let id = self.next_request();
        self.oracle.asked(id, self.servers[at].id);
        let query = Query { consistency, index: 0, ask: machine::read() };
        self.act(at, Some(Input::Query { id, query }))
    }

    pub(crate) fn order(&mut self, at: usize, order: Order) -> Result<(), String> {
        let id = self.next_request();
        let Some(engine) = self.engine(at) else { return Ok(()) };
        let configuration = engine.configuration().index;
        let change = match order {
            Order::Turn(id, member_type) => Change::Type { id, member_type, configuration, force: false },
            Order::Remove(id) => Change::Remove { id, configuration, force: false },
        };
        self.act(at, Some(Input::Change { id, change }))
    }

    /// Requests a snapshot and runs all background work: snapshots, compactions, installs.
    pub(crate) fn work(&mut self, at: usize) -> Result<(), String> {
        if let Some(engine) = &mut Rc::make_mut(&mut self.servers[at]).engine {
            engine.request_snapshot();
        }
        for _ in 0..8 {
            let Some(input) = Rc::make_mut(&mut self.servers[at]).work() else { break };
            self.act(at, Some(input))?;
            self.flush(at)?;
        }
        Ok(())
    }
}
