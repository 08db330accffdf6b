//! Leading the members: changes that are asked for, what is learned of members, and what follows from both.
//!
//! One change at a time: the next is decided when the last is committed, and only after an entry of the leader's own term
//! is (copycat #23). A configuration is in force on each server from the moment it is in its log.

use super::change::{Change, ConfigurationError, Known};
use super::configuration::{Configuration, Member, MemberStatus, MemberType};
use super::loan::Loan;
#[allow(unused_imports)] // without planted bugs the macro expands to `false`
use super::planted;
use super::progress::Progress;
use super::status::{Event, MemberChange};
use super::{CompactionMode, Engine, Fatal, Kind, Met, Output, Refusal, Response, RoleState, StateMachine, encode};
use crate::engine::machine::Outcome;
use crate::engine::message::Message;
use crate::engine::types::{Index, Now, RequestId, ServerId};
use copycat_storage::Disk;

/// Most changes that wait for their turn.
const CHANGES: usize = 16;

impl<D: Disk, M: StateMachine> Engine<D, M> {
    /// What this server is in the configuration in force; `None`: no member of it.
    pub(super) fn own_type(&self) -> Option<MemberType> {
        let current = self.configuration();
        current.type_of(self.id).filter(|_| current.admits(self.id, self.storage.meta().identity))
    }

    /// Whether this server keeps the state: a reserve member does not.
    pub(super) fn is_stateful(&self) -> bool {
        self.own_type() != Some(MemberType::Reserve)
    }

    /// Somebody asks for a change of the configuration.
    pub(super) fn ask_for_change(&mut self, id: RequestId, change: Change) {
        let Some(leader) = self.leading().filter(|l| l.successor().is_none()) else {
            return self.reply(id, Err(Refusal::NotLeader { leader: self.leader }));
        };
        if leader.changes.len() >= CHANGES {
            return self.reply(id, Err(Refusal::Configuration(ConfigurationError::Busy)));
        }
        leader.changes.push_back((id, change));
    }

    /// Changes the configuration, if there is a reason and the last change is committed.
    pub(super) fn change_configuration(&mut self, now: Now) {
        let settled = self.configurations.entry() <= self.commit;
        let early = planted!(self.options, ChangeBeforeInitialize);
        if !(self.serves_reads() || early) || !(settled || planted!(self.options, ChangesAtOnce)) {
            return;
        }
        while let Some((id, change)) = self.leading().and_then(|l| l.changes.pop_front()) {
            match self.with_known(now, |current, known| change.apply(current, known)) {
                // Whom a new leader has not heard it may hear yet: its first round is on its way.
                Err(ConfigurationError::LosesQuorum { .. }) if self.awaits_answers(now) => {
                    if let Some(leader) = self.leading() {
                        leader.changes.push_front((id, change));
                    }
                    break;
                }
                Ok(Some(next)) => {
                    match self.propose(now, next, true) {
                        Some(index) => drop(self.pending.insert((index, self.term(), 0, id))),
                        None => self.reply(id, Err(Refusal::StorageFull)),
                    }
                    return;
                }
                Ok(None) => {
                    let (index, current) = self.configurations.committed();
                    let output = Outcome::Output(encode(current));
                    let (term, event_index, consistency, valid_until) = (self.term(), None, None, None);
                    let response = Response { index, term, event_index, output, consistency, valid_until };
                    self.reply(id, Ok(response));
                }
                Err(error) => self.reply(id, Err(Refusal::Configuration(error))),
            }
        }
        if let Some(next) = self.with_known(now, Configuration::go_on) {
            self.propose(now, next, true);
        } else if let Some(next) = self.learned_of_members(now) {
            self.propose(now, next, false);
        } else if self.options.auto_replace
            && let Some(next) = self.with_known(now, Configuration::replace_dead)
        {
            self.propose(now, next, true);
        }
    }

    /// Whether this leader took office less than T ago, and a voter has not answered it since.
    fn awaits_answers(&self, now: Now) -> bool {
        let RoleState::Leader(leader) = &self.role else { return false };
        let silent = |id: ServerId| leader.progress.get(&id).is_some_and(|p| p.answered.is_none());
        now.monotonic < leader.since + self.election_timeout() && self.configuration().voters().any(silent)
    }

    fn with_known<T>(&self, now: Now, run: impl FnOnce(&Configuration, &Known<'_>) -> T) -> T {
        let progress = |id: ServerId| match &self.role {
            RoleState::Leader(leader) => leader.progress.get(&id),
            _ => None,
        };
        let t = self.election_timeout();
        let remembered = planted!(self.options, QuorumOfTheRemembered);
        let answered = |p: &Progress| p.answered.or(Some(p.heard).filter(|_| remembered));
        // Only who has answered in this term is known to be there. One that lost its log counts for nothing until it has
        // it back.
        let heard = |id| {
            id == self.id
                || progress(id)
                    .is_some_and(|p| answered(p).is_some_and(|at| now.monotonic < at + t) && p.lost_until.is_none())
        };
        // It must also know that it is to keep the state: one that believes to be a reserve takes nothing.
        let known = self.configurations.committed().0;
        let close = |p: &Progress| {
            p.counted() > 0 && p.counted() + self.options.promotion_lag >= self.commit && p.configuration >= known
        };
        let unready = planted!(self.options, PromoteUnready);
        let caught_up = |id| unready || progress(id).is_some_and(|p| p.answered.is_some() && close(p));
        run(self.configuration(), &Known { me: self.id, heard: &heard, caught_up: &caught_up })
    }

    /// Appends a configuration, which is then in force here. `decided`: a member's type or address changes, so decisions
    /// that were made on the one before are stale. Returns its entry, if there was room for it.
    fn propose(&mut self, now: Now, mut next: Configuration, decided: bool) -> Option<Index> {
        if decided || planted!(self.options, StatusMovesIndex) {
            next.index = self.storage.last_index() + 1;
        }
        let voters: Vec<ServerId> = self.configuration().voters().collect();
        let index = self.append_own(now, Kind::Configuration, CompactionMode::Full, encode(&next)).ok()?;
        self.configurations.push(index, next);
        let (id, last) = (self.id, self.storage.last_index());
        let members: Vec<(ServerId, MemberType)> =
            self.configuration().members.iter().map(|(&id, m)| (id, m.member_type)).collect();
        let leader = self.leading()?;
        leader.progress.retain(|id, _| members.iter().any(|(member, _)| member == id));
        for (member, member_type) in members.into_iter().filter(|&(member, _)| member != id) {
            let p = leader.progress.entry(member).or_insert_with(|| Progress::new(last, now.monotonic));
            if member_type == MemberType::Active && !voters.contains(&member) {
                // From now on the leader feeds it.
                p.probe_from(0);
            }
            if member_type == MemberType::Reserve {
                // It discards its log: what it held counts for nothing if it comes back.
                p.forget();
            }
        }
        Some(index)
    }

    /// The cluster's id, identities, HTTP addresses, and who is heard: what is simply true. It is asked for at each poll, so
    /// nothing is copied before there is news.
    fn learned_of_members(&mut self, now: Now) -> Option<Configuration> {
        let (fresh, own) = (self.configuration().cluster == 0, self.options.settings);
        let cluster = if fresh { u128::from(self.draw()) << 64 | u128::from(self.draw()) | 1 } else { 0 };
        let RoleState::Leader(leader) = &self.role else { return None };
        let current = self.configurations.current();
        let missing = self.election_timeout() * 2;
        let status = |id: ServerId, member: &Member| match leader.progress.get(&id) {
            None => MemberStatus::Available,
            Some(p) if now.monotonic >= p.heard + missing => MemberStatus::Unavailable,
            Some(p) if p.answered.is_some() && now.monotonic < p.heard + missing / 2 => MemberStatus::Available,
            Some(_) => member.status,
        };
        // A directory of another cluster is no member, whatever its number.
        let met = |id: ServerId, member: &Member| {
            let fits = |met: &&Met| {
                let ours = met.cluster == 0 || met.cluster == current.cluster;
                ours && member.identity.is_none_or(|known| known == met.identity)
            };
            self.met.get(&id).filter(fits)
        };
        let news = |id: ServerId, member: &Member| {
            let other = |met: &Met| member.identity != Some(met.identity) || member.http != met.http;
            status(id, member) != member.status || met(id, member).is_some_and(other)
        };
        let unsettled = current.settings.is_none();
        if !fresh && !unsettled && !current.members.iter().any(|(&id, member)| news(id, member)) {
            return None;
        }
        let mut next = current.clone();
        next.reason = String::new();
        if fresh {
            next.cluster = cluster;
        }
        if unsettled {
            next.settings = Some(own);
        }
        for (&id, member) in &mut next.members {
            if let Some(met) = met(id, member) {
                member.identity = Some(met.identity);
                member.http.clone_from(&met.http);
            }
            let status = status(id, member);
            if status != member.status {
                let why = if status == MemberStatus::Available { "answers again" } else { "has missed its heartbeats" };
                next.reason = format!("server {id} {why}");
            }
            member.status = status;
        }
        Some(next)
    }

    /// A leader that has no vote any more hands its office over once that is committed.
    pub(super) fn retire(&mut self, now: Now) {
        let (entry, committed) = self.configurations.committed();
        let votes = committed.is_voter(self.id) || self.configurations.entry() != entry;
        if votes || self.applied() < entry {
            return;
        }
        match self.leading().and_then(|l| l.successor()) {
            Some(Some(_)) => self.become_follower(now, "it has no vote any more"),
            Some(None) => {}
            None => self.start_transfer(now, None, None),
        }
    }

    /// These configurations are superseded by a committed one: tells what has changed, and what this server has become.
    pub(super) fn configurations_committed(&mut self, superseded: &[(Index, Configuration)]) {
        let Some((_, first)) = superseded.first() else { return };
        let (index, committed) = self.configurations.committed();
        let was = first.type_of(self.id);
        let (now_is, removed) = (committed.type_of(self.id), committed.has_removed(self.storage.meta().identity));
        let mut steps: Vec<Configuration> = superseded.iter().map(|(_, c)| c.clone()).collect();
        steps.push(committed.clone());
        let mut at: Vec<Index> = superseded.iter().skip(1).map(|&(index, _)| index).collect();
        at.push(index);
        self.storage.set_configuration(encode(&(index, committed.clone())));
        self.configuration_written = Some((self.storage.write_sequence(), index));
        let cluster = committed.cluster;
        for (pair, index) in steps.windows(2).zip(at) {
            for (member, change) in MemberChange::between(&pair[0], &pair[1]) {
                let reason = pair[1].reason.clone();
                self.outputs.push(Output::Event(Event::Member { member, change, index, reason }));
            }
            if pair[0].settings.is_some() && pair[0].settings != pair[1].settings {
                let reason = pair[1].reason.clone();
                self.outputs.push(Output::Event(Event::Settings { index, reason }));
            }
        }
        if cluster != 0 && self.storage.meta().cluster != cluster {
            let mut meta = self.storage.meta().clone();
            meta.cluster = cluster;
            self.storage.set_meta(meta);
        }
        if removed {
            self.outputs.push(Output::Event(Event::Removed { index }));
        }
        // Only now: a demotion that is not committed may yet be undone.
        self.discard |= now_is == Some(MemberType::Reserve) && was != Some(MemberType::Reserve);
        // A leader that was demoted, and is to keep the state after all before it has handed its office over.
        self.discard &= !matches!(now_is, Some(MemberType::Active | MemberType::Passive));
        self.fit_segments();
    }

    /// A reserve member keeps no state.
    pub(super) fn discard_state(&mut self) -> Result<(), Fatal> {
        self.discard |=
            planted!(self.options, DiscardBeforeCommit) && !self.is_stateful() && self.storage.last_index() > 0;
        // A leader hands its office over first.
        if !self.discard || !matches!(self.role, RoleState::Follower(_)) || !self.is_home() {
            return Ok(());
        }
        self.discard = false;
        self.abandon();
        match self.storage.give_up() {
            Ok(()) => {}
            // Without room for it, it is tried again.
            Err(copycat_storage::AppendError::Full(_)) => {
                self.discard = true;
                return Ok(());
            }
            Err(e) => return Err(e.into()),
        }
        self.configurations.roll_back(0);
        for id in self.reads.abandon() {
            self.reply(id, Err(Refusal::NotLeader { leader: self.leader }));
        }
        for (.., id) in std::mem::take(&mut self.pending) {
            self.reply(id, Err(Refusal::Lost));
        }
        // What was said of the log that was here is void, also where it comes late.
        self.start = super::mix(self.start.wrapping_add(super::GOLDEN));
        let mut executor = super::Executor::new((self.make)());
        executor.listen(self.listening);
        #[cfg(feature = "planted-bugs")]
        executor.plant(self.options.bug);
        self.loan = Loan::new(executor);
        (self.commit, self.compared, self.agreed) = (0, 0, (0, 0));
        self.background.forget();
        if let RoleState::Follower(f) = &mut self.role {
            f.forget_log();
        }
        Ok(())
    }

    /// The entry of the latest committed configuration that this server will not forget.
    pub(super) fn known_configuration(&self) -> Index {
        let planted = planted!(self.options, ReportsUndurable);
        if planted { self.configurations.committed().0 } else { self.configuration_durable }
    }

    /// A leader tells a reserve member the committed configuration.
    pub(super) fn on_configure(&mut self, now: Now, from: ServerId, index: Index, configuration: Configuration) {
        self.follow(now, from);
        if let Some(before) = self.configurations.learn(index, configuration) {
            self.configurations_committed(&[(0, before)]);
        }
    }

    /// Tells a member that does not vote the committed configuration, if it does not know it: its log may have no entry
    /// of it.
    pub(super) fn configure(&mut self, id: ServerId) {
        let (index, configuration) = self.configurations.committed();
        let RoleState::Leader(leader) = &self.role else { return };
        if leader.progress.get(&id).is_some_and(|p| p.configuration < index) {
            let (term, configuration) = (self.term(), Box::new(configuration.clone()));
            self.send(id, Message::Configure { term, index, configuration });
        }
    }
}
