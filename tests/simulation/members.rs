//! The operator: servers that join, are promoted, demoted and removed; disks that are wiped; and what must hold when some
//! link stays cut for good.

use crate::server::{Place, Server, SimEngine};
use crate::world::{Event, World};
use copycat::engine::machine::Outcome;
use copycat::engine::{
    Change, Configuration, ConfigurationError, Input, MemberType, Refusal, RequestId, Response, Role, ServerId,
    Setting, decode,
};
use copycat_testkit::Rng;
use std::collections::BTreeMap;

/// Requests of the operator have numbers from here on.
pub(crate) const OPERATOR: RequestId = 1 << 50;
/// With one server deaf, or one feeder cut off, the cluster must go on within this much simulated time.
const STUBBORN: u64 = 30_000_000;
/// And within so many events: more is a storm.
const STUBBORN_EVENTS: u64 = 500_000;

/// An order to the cluster.
#[derive(Clone, Debug)]
enum Wish {
    Change(Change),
    /// Another is to lead; `None`: whoever is closest.
    Transfer(Option<ServerId>),
}

#[derive(Debug, Default)]
pub(crate) struct Operator {
    asked: RequestId,
    /// What waits for an answer, and the server that joins, if one does.
    open: BTreeMap<RequestId, (Wish, Option<usize>)>,
}

fn any_type(rng: &mut Rng) -> MemberType {
    match rng.below(4) {
        0 => MemberType::Passive,
        1 => MemberType::Reserve,
        _ => MemberType::Active,
    }
}

impl World {
    fn leader(&self) -> Option<usize> {
        let term =
            |s: &Server| s.engine.as_ref().map(SimEngine::status).filter(|s| s.role == Role::Leader).map(|s| s.term);
        (0..self.servers.len())
            .filter(|&at| term(&self.servers[at]).is_some())
            .max_by_key(|&at| term(&self.servers[at]))
    }

    /// The configuration that was committed last.
    pub(crate) fn configuration(&self) -> Configuration {
        let engines = self.servers.iter().filter_map(|s| s.engine.as_ref());
        let latest =
            engines.max_by_key(|e| (e.status().cluster != 0, e.committed_configuration().index, e.status().commit));
        latest.map(|e| e.committed_configuration().clone()).unwrap_or_default()
    }

    fn at(id: ServerId) -> usize {
        id as usize - 1
    }

    /// Every few moments something is changed; `leads`: at this server, which was just elected.
    pub(crate) fn operator_turn(&mut self, leads: Option<usize>) {
        if self.healed {
            return;
        }
        if let Some(at) = leads {
            return self.depose(at);
        }
        let delay = 1000 + self.rng.below(self.profile.operator_every * 2);
        self.schedule(delay, Event::Operator { leader: None });
        let outside: Vec<usize> =
            (0..self.servers.len()).filter(|&at| self.servers[at].place == Place::Outside).collect();
        if !outside.is_empty() && self.rng.chance(1, 2) {
            let at = outside[self.rng.below(outside.len() as u64) as usize];
            let member_type = any_type(&mut self.rng);
            self.servers[at].place = Place::Joining(member_type);
            return self.ask_to_join(at);
        }
        let mut strangers = (0..self.servers.len()).filter(|&at| self.servers[at].place == Place::Stranger);
        if let Some(at) = strangers.next_back() {
            return self.send_away(at);
        }
        let Some(leader) = self.leader() else { return };
        if self.rng.chance(1, 6) {
            return self.depose(leader);
        }
        if self.profile.retimed && self.rng.chance(1, 4) {
            return self.retime(leader);
        }
        let current = self.servers[leader].engine().configuration();
        let members: Vec<ServerId> = current.members.keys().copied().collect();
        let Some(&id) = members.get(self.rng.below(members.len().max(1) as u64) as usize) else { return };
        self.change(leader, id);
    }

    /// Something is done to a member, if all voters are whole.
    fn change(&mut self, leader: usize, id: ServerId) {
        let current = self.servers[leader].engine().configuration();
        if !current.voters().all(|v| self.is_whole(v, current)) {
            // Nobody touches the voters while one of them has lost its disk or its log, but to replace that one.
            return;
        }
        let configuration = current.index.saturating_sub(u64::from(self.rng.chance(1, 10)));
        let force = self.rng.chance(1, 8);
        let change = if self.rng.chance(1, 4) {
            Change::Remove { id, configuration, force }
        } else {
            Change::Type { id, member_type: any_type(&mut self.rng), configuration, force }
        };
        if force {
            self.count("change by force");
        }
        self.operate(Wish::Change(change), None);
    }

    /// The leader is demoted or removed; now and then a voter dies in the same moment, and is soon back.
    fn depose(&mut self, at: usize) {
        let Some(engine) = self.servers[at].engine.as_ref().filter(|e| e.role() == Role::Leader) else { return };
        let (current, id) = (engine.configuration().clone(), self.servers[at].id);
        if current.voters().count() < 2 || !current.voters().all(|v| self.is_whole(v, &current)) {
            return;
        }
        self.count("leader demoted or removed");
        let configuration = current.index;
        let change = if self.rng.chance(1, 4) {
            Change::Remove { id, configuration, force: false }
        } else {
            let member_type = if self.rng.chance(1, 3) { MemberType::Reserve } else { MemberType::Passive };
            Change::Type { id, member_type, configuration, force: false }
        };
        self.operate(Wish::Change(change), None);
        let others: Vec<ServerId> = current.voters().filter(|&v| v != id).collect();
        let other = others[self.rng.below(others.len() as u64) as usize];
        match self.rng.below(4) {
            0 => {
                let (at, delay) = (Self::at(other), self.rng.below(100_000));
                let life = self.servers[at].life;
                self.schedule(delay, Event::Kill { at, life });
            }
            // What the new leader says does not reach the old one; the old one's last words come late.
            1 => {
                let until = self.time + self.rng.range(200_000, 2_000_000);
                let delay = self.rng.range(100_000, 450_000);
                self.links.slow(other, id, delay, until);
                let cut = self.rng.chance(1, 2);
                if cut {
                    self.cut_for_a_while(id, other);
                }
            }
            _ => {}
        }
    }

    /// The election timeout is changed, up or down.
    fn retime(&mut self, leader: usize) {
        let configuration = self.servers[leader].engine().configuration().index;
        let ms = [100, 250, 500, 1000, 2500][self.rng.below(5) as usize];
        self.count("election timeout changed");
        let named = [(Setting::ElectionTimeout, ms)].into_iter().collect();
        self.operate(Wish::Change(Change::Settings { named, configuration }), None);
    }

    /// Whether a member is meant by this configuration, and has its log.
    fn is_whole(&self, id: ServerId, configuration: &Configuration) -> bool {
        let server = &self.servers[Self::at(id)];
        let sound = |e: &SimEngine| !e.status().lost_log;
        server.is_meant_by(configuration) && !server.flipped && server.engine.as_ref().map_or(!server.log_gone, sound)
    }

    /// Leadership is to be handed over; somebody waits for that, or nobody does.
    pub(crate) fn ask_for_transfer(&mut self) {
        let target = self.rng.below(self.servers.len() as u64 + 1);
        let target = (target > 0).then_some(target);
        self.operate(Wish::Transfer(target), None);
    }

    fn ask_to_join(&mut self, at: usize) {
        let Place::Joining(member_type) = self.servers[at].place else { return };
        let (id, identity) = (self.servers[at].id, self.servers[at].identity());
        let (peer, http) = (format!("s{id}:1"), format!("s{id}:2"));
        self.operate(Wish::Change(Change::Join { id, identity, peer, http, member_type }), Some(at));
    }

    fn operate(&mut self, wish: Wish, joins: Option<usize>) {
        self.operator.asked += 1;
        let request = OPERATOR + self.operator.asked;
        self.operator.open.insert(request, (wish, joins));
        let at = self.leader().filter(|_| self.rng.chance(4, 5));
        let at = at.unwrap_or_else(|| self.rng.below(self.servers.len() as u64) as usize);
        let (delay, patience) = (50 + self.rng.below(1000), self.rng.range(300_000, 1_500_000));
        self.schedule(delay, Event::OperatorRequest { at, request });
        self.schedule(patience, Event::OperatorAnswer { request, result: None });
    }

    pub(crate) fn operator_request(&mut self, at: usize, request: RequestId) -> Result<(), String> {
        let Some((wish, _)) = self.operator.open.get(&request) else { return Ok(()) };
        let input = match wish.clone() {
            Wish::Change(change) => Input::Change { id: request, change },
            Wish::Transfer(target) => Input::Transfer { target, reply: Some(request) },
        };
        if !self.servers[at].is_up() || self.postponed(at) {
            return Ok(());
        }
        self.act(at, Some(input))
    }

    pub(crate) fn operator_answer(
        &mut self,
        request: RequestId,
        result: Option<Result<Response, Refusal>>,
    ) -> Result<(), String> {
        let Some((wish, joins)) = self.operator.open.remove(&request) else { return Ok(()) };
        let Wish::Change(change) = wish else { return self.transferred(result) };
        match (result, joins) {
            (Some(Ok(response)), joins) => {
                self.count("change of members");
                let Outcome::Output(bytes) = response.output else { return Err("MALFORMED change".into()) };
                let configuration: Configuration = decode(&bytes).map_err(|e| e.to_string())?;
                let Change::Join { id, identity, .. } = change else { return Ok(()) };
                let Some(at) = joins else { return Ok(()) };
                let waits = matches!(self.servers[at].place, Place::Joining(_));
                if waits && self.servers[at].identity() == identity && configuration.admits(id, identity) {
                    self.count("join");
                    self.servers[at].place = Place::Member;
                    self.servers[at].joined = Some((response.index, configuration));
                    let delay = self.rng.below(300_000);
                    self.schedule(delay, Event::Start { at });
                } else if waits {
                    // Removed again meanwhile.
                    self.ask_to_join(at);
                }
            }
            (result, Some(at)) => {
                let error = match result {
                    Some(Err(Refusal::Configuration(error))) => Some(error),
                    _ => None,
                };
                match error {
                    Some(ConfigurationError::NumberTaken) => {
                        // The wiped disk's member goes first.
                        let configuration = self.configuration().index;
                        let id = self.servers[at].id;
                        self.operate(Wish::Change(Change::Remove { id, configuration, force: false }), None);
                    }
                    Some(ConfigurationError::Removed) => {
                        let mut rng = self.rng.fork();
                        self.servers[at].wipe(&mut rng);
                    }
                    _ => {}
                }
                self.ask_to_join(at);
            }
            (_, None) => {}
        }
        Ok(())
    }

    /// Whoever is said to lead has led.
    fn transferred(&mut self, result: Option<Result<Response, Refusal>>) -> Result<(), String> {
        let Some(Ok(response)) = result else { return Ok(()) };
        self.count("transfer answered");
        let Outcome::Output(bytes) = response.output else { return Err("MALFORMED transfer".into()) };
        let leader: ServerId = decode(&bytes).map_err(|e| e.to_string())?;
        if self.invariants.has_led(leader, response.term) {
            return Ok(());
        }
        Err(format!("WRONG LEADER: {leader} is said to lead term {}", response.term))
    }

    /// A server that was removed stops; its operator empties its disk.
    pub(crate) fn stop_removed(&mut self, at: usize, life: u64) {
        if self.servers[at].life == life && self.servers[at].is_up() {
            self.count("left");
            self.send_away(at);
        }
    }

    /// It stops, and has an empty disk.
    pub(crate) fn send_away(&mut self, at: usize) {
        if self.servers[at].is_up() {
            self.crash(at, false);
        }
        let mut rng = self.rng.fork();
        self.servers[at].wipe(&mut rng);
        self.servers[at].place = Place::Outside;
        self.invariants.forget(at);
    }

    /// Whether what this server holds may be lost: it is one of at least three voters, and all others are whole.
    pub(crate) fn can_spare(&self, at: usize) -> bool {
        let Some(leader) = self.leader() else { return false };
        let current = self.servers[leader].engine().configuration();
        let whole = |id: ServerId| self.servers[Self::at(id)].is_up() && self.is_whole(id, current);
        let committed = self.servers[leader].engine().committed_configuration();
        // With a change on its way, fewer might be left than can be spared.
        let harmless = |wish: &Wish| matches!(wish, Wish::Transfer(_) | Wish::Change(Change::Join { .. }));
        self.operator.open.values().all(|(wish, _)| harmless(wish))
            && current.voters().count() >= 3
            && current.is_voter(self.servers[at].id)
            && committed.voters().eq(current.voters())
            && current.voters().all(whole)
    }

    /// A voter's disk is replaced by an empty one. Some are started as if nothing had happened.
    pub(crate) fn lose_disk(&mut self, at: usize) {
        if !self.can_spare(at) {
            return;
        }
        self.count("disk wiped");
        self.send_away(at);
        if at < self.profile.servers as usize && self.rng.chance(1, 2) {
            self.servers[at].place = Place::Stranger;
            let delay = self.rng.below(100_000);
            self.schedule(delay, Event::Start { at });
        }
    }

    /// The members that keep the state, as far as they are up.
    pub(crate) fn stateful(&self) -> Vec<&Server> {
        let configuration = self.configuration();
        self.servers.iter().filter(|s| s.is_meant_by(&configuration) && s.is_stateful()).collect()
    }

    /// Whether all members that are meant are up, nobody is about to join, and all that keep the state have the same.
    pub(crate) fn agree(&self) -> bool {
        if self.servers.iter().any(|s| matches!(s.place, Place::Joining(_))) {
            return false;
        }
        let configuration = self.configuration();
        let stateful = self.stateful();
        let applied = |s: &Server| s.engine.as_ref().map(|e| e.status().applied);
        let first = stateful.first().and_then(|s| applied(s));
        let settled = configuration.members.values().all(|m| m.becoming.is_none());
        let same = |s: &&Server| applied(s) == first && s.engine().storage().last_index() == first.unwrap_or(0);
        settled
            && self.servers.iter().filter(|s| s.is_meant_by(&configuration)).all(Server::is_up)
            && first.is_some_and(|a| a >= self.invariants.committed())
            && stateful.iter().all(same)
    }

    /// Lets time pass until this holds.
    fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) -> Result<(), String> {
        let (end, most) = (self.time + STUBBORN, self.work + STUBBORN_EVENTS);
        while !holds(self) {
            if self.time > end || self.work > most {
                let states: Vec<_> =
                    self.servers.iter().filter_map(|s| s.engine.as_ref().map(SimEngine::status)).collect();
                return Err(format!("STUCK {what}: {states:#?}"));
            }
            self.next()?;
        }
        Ok(())
    }

    /// In some runs the leader hears nobody any more, though all hear it: the others must go on (one-way links,
    /// Cloudflare 2020-11-02).
    pub(crate) fn with_one_deaf(&mut self) -> Result<(), String> {
        let goal = self.workload.acknowledged + 5;
        if !self.rng.chance(1, 5) {
            return Ok(());
        }
        self.until("after everything healed", |w| w.workload.acknowledged >= goal && w.leader().is_some())?;
        let Some(leader) = self.leader() else { return Ok(()) };
        let current = self.servers[leader].engine().configuration();
        let sound = |e: &SimEngine| !e.status().lost_log;
        let heard = |&v: &ServerId| {
            let server = &self.servers[Self::at(v)];
            server.is_meant_by(current) && server.engine.as_ref().is_some_and(sound)
        };
        let others = current.voters().filter(|&v| v != self.servers[leader].id).filter(heard).count();
        // Two voters that a change would leave could not spare one.
        let committed = self.servers[leader].engine().committed_configuration();
        let changing = self.profile.auto_replace
            || !self.operator.open.is_empty()
            || committed != current
            || current.members.values().any(|m| m.becoming.is_some());
        if changing || others < current.voters().count() / 2 + 1 {
            return Ok(());
        }
        self.count("deaf leader");
        let id = self.servers[leader].id;
        for other in 0..self.servers.len() as u64 {
            self.links.cut(other + 1, id, u64::MAX);
        }
        let goal = self.workload.acknowledged + 10;
        self.until("while the leader is deaf", |w| w.workload.acknowledged >= goal && w.leader() != Some(leader))?;
        self.links.heal();
        Ok(())
    }

    /// In some runs a passive member's feeder cannot reach it any more: it must be fed all the same.
    pub(crate) fn with_one_hungry(&mut self) -> Result<(), String> {
        if !self.rng.chance(1, 2) {
            return Ok(());
        }
        let Some(leader) = self.leader() else { return Ok(()) };
        let leads = self.servers[leader].id;
        let committed = self.servers[leader].engine().committed_configuration().clone();
        let up =
            |id: &ServerId| self.servers[Self::at(*id)].is_up() && self.servers[Self::at(*id)].is_meant_by(&committed);
        let Some(passive) = committed.of_type(MemberType::Passive).find(up) else { return Ok(()) };
        let feeder = committed.feeders_of(passive, leads)[0];
        if feeder == leads {
            return Ok(());
        }
        self.count("hungry member");
        self.links.cut(feeder, passive, u64::MAX);
        self.links.cut(passive, feeder, u64::MAX);
        let goal = self.invariants.committed() + 10;
        self.until("of a passive member that its feeder cannot reach", |w| {
            let moved = w.configuration().index != committed.index || w.leader() != Some(leader);
            moved || w.servers[Self::at(passive)].engine.as_ref().is_some_and(|e| e.status().applied >= goal)
        })?;
        self.links.heal();
        Ok(())
    }
}
