//! Leading: replication, commit, rounds of heartbeats, the lease, and handing the office over.

#[cfg(feature = "planted-bugs")]
use super::Executor;
use super::change::{Change, ConfigurationError};
use super::expiry::Expiry;
#[allow(unused_imports)] // without planted bugs the macro expands to `false`
use super::planted;
use super::progress::Progress;
use super::quorum::reached_by_majority;
use super::{CompactionMode, Engine, Fatal, Kind, MemberType, Refusal, Response, RoleState, StateMachine, encode};
use crate::engine::machine::Outcome;
use crate::engine::message::{AppendOutcome, Message};
use crate::engine::sessions::KeepAlive;
use crate::engine::sessions::sequencing::Sequencing;
use crate::engine::types::{Index, Now, RequestId, ServerId};
use copycat_storage::Disk;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// Messages with entries to one member in one `poll`; a member far behind is fed over several.
const APPENDS_A_POLL: usize = 4;
/// Rounds that a lease may still be counted from.
const ROUNDS_KEPT: usize = 64;

#[derive(Debug)]
#[cfg_attr(feature = "planted-bugs", derive(Clone))]
struct Transfer {
    target: ServerId,
    deadline: Duration,
    /// `TimeoutNow` has left.
    sent: bool,
}

/// A server that leads its term. Invariant: `initialize` is the first entry of its term.
#[derive(Debug)]
#[cfg_attr(feature = "planted-bugs", derive(Clone))]
pub(super) struct Leader {
    pub(super) initialize: Index,
    /// When it took office.
    pub(super) since: Duration,
    pub(super) progress: BTreeMap<ServerId, Progress>,
    round: u64,
    /// When each of the latest rounds began.
    rounds: VecDeque<(u64, Duration)>,
    /// The highest round that a majority has answered, and when it began.
    confirmed: (u64, Duration),
    /// When the highest round began that a majority has answered which goes by the settings that this leader goes by, and how
    /// long a lease was then.
    leased: Option<(Duration, Duration)>,
    /// Members that have not yet been sent anything in the current round.
    round_unsent: BTreeSet<ServerId>,
    heartbeat_at: Duration,
    transfer: Option<Transfer>,
    /// `TimeoutNow` has left: another may lead before any lease runs out.
    no_lease: bool,
    /// A timer of the machine is due at this moment; looked at in `poll`.
    tick_at: Option<Duration>,
    /// When it last looked at the clock.
    awake: Duration,
    /// There is room on the disk for what clients want written.
    pub(super) room: bool,
    /// Changes of the configuration that wait for the last one to be committed.
    pub(super) changes: VecDeque<(RequestId, Change)>,
    pub(super) sequencing: Sequencing,
    /// Signs of life that are not in the log yet.
    pub(super) keep_alives: Vec<(RequestId, KeepAlive)>,
    /// The last entry of signs of life.
    pub(super) keep_alive_at: Index,
    pub(super) expiry: Expiry,
    /// The latest digest of each member.
    pub(super) digests: BTreeMap<ServerId, (Index, u32)>,
    #[cfg(feature = "planted-bugs")]
    reply_at: Duration,
}

impl Leader {
    /// `home`: what waits for the state can be done.
    pub(super) fn deadline(&self, home: bool) -> Duration {
        let next = self.transfer.as_ref().map_or(self.heartbeat_at, |t| t.deadline.min(self.heartbeat_at));
        if !home {
            return next;
        }
        let others = [self.tick_at, self.expiry.at, self.sequencing.next_end()];
        others.into_iter().flatten().fold(next, Duration::min)
    }

    /// If the office is being handed over: the successor, once it was told.
    pub(super) fn successor(&self) -> Option<Option<ServerId>> {
        self.transfer.as_ref().map(|transfer| Some(transfer.target).filter(|_| transfer.sent))
    }

    pub(super) fn confirmed_round(&self) -> u64 {
        self.confirmed.0
    }

    /// A member has just (re)connected: what was on the way to it may be lost.
    pub(super) fn met(&mut self, id: ServerId) {
        if let Some(p) = self.progress.get_mut(&id) {
            let next = p.next;
            p.probe_from(next);
        }
    }
}

impl<D: Disk, M: StateMachine> Engine<D, M> {
    /// The one place where a server becomes a leader: a majority has voted for it in its term.
    pub(super) fn become_leader(&mut self, now: Now) {
        let last = self.storage.last_index();
        let others: Vec<ServerId> = self.configuration().members.keys().copied().filter(|&m| m != self.id).collect();
        let progress = others.iter().map(|&id| (id, Progress::new(last, now.monotonic))).collect();
        self.role = RoleState::Leader(Box::new(Leader {
            initialize: last + 1,
            since: now.monotonic,
            progress,
            round: 0,
            rounds: VecDeque::new(),
            confirmed: (0, Duration::ZERO),
            leased: None,
            round_unsent: BTreeSet::new(),
            heartbeat_at: now.monotonic,
            transfer: None,
            no_lease: false,
            tick_at: None,
            awake: now.monotonic,
            room: true,
            changes: VecDeque::new(),
            sequencing: Sequencing::default(),
            keep_alives: Vec::new(),
            keep_alive_at: 0,
            expiry: Expiry::default(),
            digests: BTreeMap::new(),
            #[cfg(feature = "planted-bugs")]
            reply_at: Duration::ZERO,
        }));
        self.leader = Some(self.id);
        self.tell_role("a majority voted for it");
        if let Some(reply) = self.transfer_reply.take() {
            self.reply(reply, Err(Refusal::Configuration(ConfigurationError::NotTransferred)));
        }
        if self.append_own(now, Kind::Initialize, CompactionMode::Release, Vec::new()).is_err() {
            return self.become_follower(now, "its disk has no room for the first entry of its term");
        }
        let last = self.storage.last_index();
        if let RoleState::Leader(leader) = &mut self.role {
            for p in leader.progress.values_mut() {
                p.next = last;
            }
        }
    }

    pub(super) fn leading(&mut self) -> Option<&mut Leader> {
        match &mut self.role {
            RoleState::Leader(leader) => Some(leader),
            _ => None,
        }
    }

    /// Whether this leader knows all that is committed: an entry of its own term is (Raft paper, section 8).
    pub(super) fn serves_reads(&self) -> bool {
        match &self.role {
            RoleState::Leader(leader) => {
                self.commit >= leader.initialize || planted!(self.options, ReadBeforeInitialize)
            }
            _ => false,
        }
    }

    /// Whether a majority was heard within T. Only voters count, the leader itself too: it may have given up its vote.
    pub(super) fn quorum_heard(&self, now: Now) -> bool {
        let RoleState::Leader(leader) = &self.role else { return false };
        let t = self.vote_timeout();
        let heard = self
            .configuration()
            .voters()
            .filter(|v| *v == self.id || leader.progress.get(v).is_some_and(|p| now.monotonic < p.heard + t));
        heard.count() >= self.quorum()
    }

    pub(super) fn pass_time_leading(&mut self, now: Now) {
        if !self.quorum_heard(now) && !planted!(self.options, NoCheckQuorum) {
            return self.become_follower(now, "no majority was heard for an election timeout");
        }
        // Whatever was said to this server meanwhile is still on its way in: the others' clocks, which would have deposed
        // it, are all there is otherwise.
        let (alone, t) = (self.is_alone(), self.election_timeout());
        if let Some(leader) = self.leading() {
            let slept = alone && now.monotonic > leader.awake + t;
            leader.awake = now.monotonic;
            if slept {
                return self.become_follower(now, "it slept for an election timeout");
            }
        }
        if self.has_hung_disk(now) {
            return self.become_follower(now, "its disk does not finish a flush");
        }
        let interval = self.heartbeat_interval();
        let Some(leader) = self.leading() else { return };
        if leader.transfer.as_ref().is_some_and(|t| now.monotonic >= t.deadline) {
            leader.transfer = None;
            if let Some(reply) = self.transfer_reply.take() {
                self.reply(reply, Err(Refusal::Configuration(ConfigurationError::NotTransferred)));
            }
        }
        let Some(leader) = self.leading() else { return };
        if now.monotonic >= leader.heartbeat_at {
            self.look_for_room(now);
            let Some(leader) = self.leading() else { return };
            leader.heartbeat_at = now.monotonic + interval;
            leader.progress.values_mut().for_each(Progress::probe_again);
            self.start_round(now);
        }
    }

    /// With little room left, clients' writes are refused, so that signs of life, elections and compaction can go on. When
    /// there is room again, sessions begin their timeouts anew: their clients may have been told to wait.
    fn look_for_room(&mut self, now: Now) {
        // What the system does not tell is found out by appending.
        let room = self.storage.has_room(0).unwrap_or(true);
        let Some(leader) = self.leading() else { return };
        let had = std::mem::replace(&mut leader.room, room);
        if room && !had {
            // Without room for it there is none.
            let _ = self.append_own(now, Kind::Initialize, CompactionMode::Release, Vec::new());
        }
    }

    /// Begins a round of heartbeats: every member will be sent something that carries its number. It is confirmed at once
    /// where this leader is the only voter; that one voter is enough does not say that it is this one.
    pub(super) fn start_round(&mut self, now: Now) -> u64 {
        let planted = planted!(self.options, AloneByNumber) && self.quorum() == 1;
        let (alone, lease) = (self.is_alone() || planted, self.lease_timeout());
        let Some(leader) = self.leading() else { return 0 };
        leader.round += 1;
        leader.rounds.push_back((leader.round, now.monotonic));
        if leader.rounds.len() > ROUNDS_KEPT {
            leader.rounds.pop_front();
        }
        leader.round_unsent = leader.progress.keys().copied().collect();
        if alone {
            leader.confirmed = (leader.round, now.monotonic);
            leader.leased = lease.map(|length| (now.monotonic, length));
        }
        leader.round
    }

    /// When this leader's lease ends, if it has one at all. One whose vote was taken away, or is being taken away by an
    /// entry in its log, has none: others may be elected without it.
    pub(super) fn lease_end(&self) -> Option<Duration> {
        let RoleState::Leader(leader) = &self.role else { return None };
        #[cfg(feature = "planted-bugs")]
        if planted!(self.options, LeaseFromReceipt) && leader.confirmed.0 > 0 {
            return Some(leader.reply_at + self.election_timeout() * 2);
        }
        let both = [self.configuration(), self.configurations.committed().1];
        let votes = both.iter().all(|c| c.is_voter(self.id)) || planted!(self.options, LeaseWithoutVote);
        if leader.no_lease || !self.serves_reads() || !votes {
            return None;
        }
        let ((began, length), lease) = (leader.leased?, self.lease_timeout()?);
        Some(began + if planted!(self.options, LeaseByNewTimeoutAtOnce) { lease } else { length.min(lease) })
    }

    pub(super) fn on_append_reply(
        &mut self,
        now: Now,
        from: ServerId,
        start: u64,
        (round, outcome, wants, lost): (u64, AppendOutcome, Index, bool),
        configuration: Index,
        digest: (Index, u32),
    ) {
        let last = self.storage.last_index();
        let hint = self.agreement_hint(outcome);
        let reserve = self.configuration().type_of(from) == Some(MemberType::Reserve);
        let anyway = planted!(self.options, KnownOutlivesStart);
        let Some(leader) = self.leading() else { return };
        let Some(p) = leader.progress.get_mut(&from) else { return };
        if anyway {
            p.start_anyway(start);
        }
        if !p.is_of_last_start(start, round, leader.round) {
            return;
        }
        if digest.0 > 0 {
            leader.digests.insert(from, digest);
        }
        (p.heard, p.answered) = (now.monotonic, Some(now.monotonic));
        p.configuration = p.configuration.max(configuration);
        p.round = p.round.max(round.min(leader.round));
        p.wants = wants;
        if lost {
            p.lost(last);
        } else {
            p.lost_until = None;
        }
        match outcome {
            // It is about to discard what it has.
            _ if reserve => {}
            AppendOutcome::Matched(index) => {
                p.matched(index.min(last));
            }
            AppendOutcome::Rejected { previous_index, .. } => {
                p.rejected(previous_index, hint);
            }
        }
        #[cfg(feature = "planted-bugs")]
        {
            leader.reply_at = now.monotonic;
        }
        self.confirm_rounds(now);
        self.continue_transfer(from);
    }

    /// Where the logs may agree, from what a follower has in the place of ours: behind our last entry of its term, or
    /// where its term begins (Raft dissertation, 5.3: one round trip a term).
    pub(super) fn agreement_hint(&self, outcome: AppendOutcome) -> Index {
        let AppendOutcome::Rejected { conflict_term: term, conflict_index: first, .. } = outcome else { return 0 };
        let mut index = self.storage.last_index();
        while index >= self.storage.first_index() && index > 0 {
            match self.storage.term(index) {
                Some(t) if t == term => return index + 1,
                Some(t) if t > term => index = self.storage.term_start(index) - 1,
                _ => break,
            }
        }
        first
    }

    fn confirm_rounds(&mut self, now: Now) {
        let RoleState::Leader(leader) = &self.role else { return };
        // The highest round that a majority of the voters of which `counts` holds has answered.
        let highest = |counts: &dyn Fn(&Progress) -> bool| {
            let of = |v: ServerId| leader.progress.get(&v).filter(|p| counts(p)).map_or(0, |p| p.round);
            let voters = self.configuration().voters();
            let mut answered: Vec<u64> = voters.map(|v| if v == self.id { leader.round } else { of(v) }).collect();
            let confirmed = reached_by_majority(&mut answered);
            leader.rounds.iter().rfind(|(round, _)| *round <= confirmed).copied()
        };
        let (confirmed, leased) = (highest(&|_| true), highest(&|p| self.knows_settings(p)));
        let lease = self.lease_timeout();
        let Some(leader) = self.leading() else { return };
        if let Some((round, began)) = confirmed {
            leader.confirmed = (round, began.min(now.monotonic));
        }
        if let (Some((round, began)), Some(length)) = (leased, lease) {
            leader.leased = Some((began.min(now.monotonic), length));
            leader.rounds.retain(|&(later, _)| later > round);
        }
    }

    /// Commits what a majority holds durably, if it is of this term.
    pub(super) fn advance_commit(&mut self) {
        let memory = planted!(self.options, LeaderCountsMemory);
        let memory = memory || planted!(self.options, AloneWithoutFlush) && self.quorum() == 1;
        let own = if memory { self.storage.last_index() } else { self.durable_index() };
        let RoleState::Leader(leader) = &self.role else { return };
        let heard = |v: &ServerId| leader.progress.get(v).is_none_or(|p| p.match_index > 0);
        let own_vote = self.configuration().is_voter(self.id) || !planted!(self.options, LeaderWithoutVoteCounts);
        let heard_only = planted!(self.options, QuorumOfTheHeard);
        let counting = if planted!(self.options, CommitByOldQuorum) {
            self.configurations.committed().1
        } else {
            self.configuration()
        };
        let mut copies: Vec<Index> = counting
            .voters()
            .filter(|v| !heard_only || heard(v))
            .map(|v| if v == self.id { own } else { leader.progress.get(&v).map_or(0, Progress::counted) })
            .chain((!own_vote).then_some(own))
            .collect();
        let index = reached_by_majority(&mut copies).min(self.storage.last_index());
        // Only an entry of the own term is committed by counting copies (Raft paper, 5.4.2 and figure 8).
        let own_term = self.storage.term(index) == Some(self.term());
        if index > self.commit && own_term {
            self.set_commit(index);
            if self.serves_reads() {
                self.reads.learn(self.commit);
            }
        }
    }

    /// Sends each member what it lacks, within the window, and at least a heartbeat if a round or a waiting reader asks
    /// for one.
    pub(super) fn replicate(&mut self) -> Result<(), Fatal> {
        let members: Vec<ServerId> = match &self.role {
            RoleState::Leader(leader) => leader.progress.keys().copied().collect(),
            _ => return Ok(()),
        };
        for id in members {
            let votes = self.configuration().is_voter(id);
            let mut sent = false;
            for _ in 0..APPENDS_A_POLL {
                if !votes || !self.may_send_entries(id) {
                    break;
                }
                self.send_append(id, true)?;
                sent = true;
            }
            let commit = self.commit;
            let Some(leader) = self.leading() else { return Ok(()) };
            let unsent = leader.round_unsent.remove(&id);
            let wants = |p: &Progress| p.wants > p.commit_sent && commit > p.commit_sent;
            let awaited = votes && leader.progress.get(&id).is_some_and(wants);
            if unsent && !votes {
                self.configure(id);
            }
            // What it lacks is no longer in the log.
            if unsent && votes && self.lacks_entries(id) {
                self.offer(id);
            }
            if !sent && (unsent || awaited) {
                self.send_append(id, false)?;
            }
        }
        Ok(())
    }

    fn lacks_entries(&self, id: ServerId) -> bool {
        let RoleState::Leader(leader) = &self.role else { return false };
        leader.progress.get(&id).is_some_and(|p| !self.has_entries_from(p.next))
    }

    fn may_send_entries(&self, id: ServerId) -> bool {
        let RoleState::Leader(leader) = &self.role else { return false };
        leader.progress.get(&id).is_some_and(|p| {
            p.next <= self.storage.last_index()
                && self.has_entries_from(p.next)
                && p.is_free(self.options.append_inflight)
        })
    }

    fn send_append(&mut self, to: ServerId, with_entries: bool) -> Result<(), Fatal> {
        let (term, commit, digest, global) = (self.term(), self.commit, self.agreed, self.global);
        let (count, bytes) = (self.options.append_entries, self.options.append_bytes);
        let votes = self.configuration().is_voter(to);
        let RoleState::Leader(leader) = &mut self.role else { return Ok(()) };
        let Some(p) = leader.progress.get_mut(&to) else { return Ok(()) };
        // Who does not vote is fed by others: to it this is a heartbeat that fits any log.
        let previous_index = if votes { p.next - 1 } else { 0 };
        let previous_term = self.storage.term(previous_index).ok_or(Fatal::Missing(previous_index))?;
        #[allow(unused_mut)] // only a planted bug changes it
        let mut entries = if with_entries { self.storage.entries(p.next, count, bytes)? } else { Vec::new() };
        #[cfg(feature = "planted-bugs")]
        if planted!(self.options, ReleasedSkippedInAppends) {
            let applied = self.loan.home().map_or(0, Executor::applied);
            let live = |index| self.loan.home().is_some_and(|e| e.is_live(index));
            entries.retain(|e| e.index > applied || live(e.index) || e.kind != Kind::Command as u8);
        }
        if let Some(last) = entries.last() {
            p.sent_entries(last.index);
        }
        p.commit_sent = commit;
        let message = Message::Append {
            term,
            previous_index,
            previous_term,
            entries: entries.into_iter().map(Into::into).collect(),
            commit,
            round: leader.round,
            recover_to: p.lost_until,
            digest,
            global,
        };
        self.send(to, message);
        Ok(())
    }

    /// Appends a tick when a timer of the machine is due and nothing else is on its way to move time.
    pub(super) fn tick_timers(&mut self, now: Now) {
        if !self.is_home() {
            return;
        }
        let due = self.state().next_due();
        let idle = self.storage.last_index() == self.applied();
        let RoleState::Leader(leader) = &mut self.role else { return };
        leader.tick_at = None;
        if planted!(self.options, TimeOnCommandsOnly) {
            return;
        }
        let time = self.leader_time(now);
        let RoleState::Leader(leader) = &mut self.role else { return };
        match due {
            Some(due) if idle && due <= time => {
                // Without room there is no tick; the next command or the next try moves time.
                let _ = self.append_own(now, Kind::Tick, CompactionMode::Release, Vec::new());
            }
            Some(due) if idle => leader.tick_at = Some(now.monotonic + Duration::from_millis(due - time)),
            _ => {}
        }
    }

    /// Begins to hand the office over.
    pub(super) fn start_transfer(&mut self, now: Now, target: Option<ServerId>, reply: Option<RequestId>) {
        let (id, t) = (self.id, self.election_timeout());
        let voters: Vec<ServerId> = self.configuration().voters().filter(|&v| v != id).collect();
        let Some(leader) = self.leading() else {
            if let Some(reply) = reply {
                self.reply(reply, Err(Refusal::NotLeader { leader: self.leader }));
            }
            return;
        };
        let heard = |v: &ServerId| leader.progress.get(v).is_some_and(|p| now.monotonic < p.heard + t);
        let closest = || {
            let key = |v: &ServerId| leader.progress.get(v).map(|p| (p.answered.is_some(), p.counted()));
            voters.iter().copied().filter(heard).max_by_key(key)
        };
        let error = match target {
            Some(target) if target == id => None,
            Some(target) if !voters.contains(&target) => Some(ConfigurationError::NotVoter(target)),
            Some(target) if reply.is_some() && !heard(&target) => Some(ConfigurationError::Unreachable(target)),
            _ if leader.transfer.is_some() && reply.is_some() => Some(ConfigurationError::Busy),
            _ => None,
        };
        if let (Some(reply), Some(error)) = (reply, error) {
            return self.reply(reply, Err(Refusal::Configuration(error)));
        }
        let successor = target.filter(|v| voters.contains(v)).or_else(closest);
        if let Some(target) = successor.filter(|_| leader.transfer.is_none() && target != Some(id)) {
            leader.transfer = Some(Transfer { target, deadline: now.monotonic + t, sent: false });
            self.transfer_reply = reply;
            self.continue_transfer(target);
        } else if let Some(reply) = reply {
            // It leads already.
            self.name_leader(reply, id);
        }
    }

    /// Somebody else leads (or the one who was to): whoever asked for that is told.
    pub(super) fn transferred(&mut self, leader: ServerId) {
        if let Some(reply) = self.transfer_reply.take() {
            self.name_leader(reply, leader);
        }
    }

    /// Answers a request for a transfer.
    fn name_leader(&mut self, reply: RequestId, leader: ServerId) {
        let (index, term, output) = (self.commit, self.term(), Outcome::Output(encode(&leader)));
        let response = Response { index, term, event_index: None, output, consistency: None, valid_until: None };
        self.reply(reply, Ok(response));
    }

    /// Tells the successor to hold its election once it has everything.
    fn continue_transfer(&mut self, from: ServerId) {
        let (last, term) = (self.storage.last_index(), self.term());
        let planted = planted!(self.options, LeaseAfterTransfer);
        let Some(leader) = self.leading() else { return };
        let caught_up = leader.progress.get(&from).is_some_and(|p| p.counted() == last);
        if let Some(transfer) = &mut leader.transfer
            && transfer.target == from
            && caught_up
            && !transfer.sent
        {
            transfer.sent = true;
            leader.no_lease = !planted;
            self.send(from, Message::TimeoutNow { term });
        }
    }

    /// Finds the digest that a majority has at the latest index that a majority has reached.
    pub(super) fn agree_on_digest(&mut self) {
        let own = self.seen().last_digest;
        if own.0 <= self.agreed.0 {
            return;
        }
        let quorum = self.quorum();
        let voters: Vec<ServerId> = self.configuration().voters().collect();
        let RoleState::Leader(leader) = &self.role else { return };
        let digests = voters.iter().map(|v| if *v == self.id { Some(own) } else { leader.digests.get(v).copied() });
        let mut counted = BTreeMap::new();
        for digest in digests.flatten().filter(|&(index, _)| index > self.agreed.0) {
            *counted.entry(digest).or_insert(0) += 1;
        }
        if let Some((&digest, _)) = counted.iter().rev().find(|&(_, &count)| count >= quorum) {
            self.agreed = digest;
        }
    }
}
