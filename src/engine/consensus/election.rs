//! Elections: the poll (pre-vote), the vote, and what may be granted.

#[allow(unused_imports)] // without planted bugs the macro expands to `false`
use super::planted;
use super::{Configuration, Engine, RoleState, StateMachine, promises::Promise};
use crate::engine::message::Message;
use crate::engine::types::{Index, Now, Role, ServerId, Term};
use copycat_storage::Disk;
use std::collections::BTreeSet;
use std::time::Duration;

/// How a candidate asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Whether it would get votes: nothing has changed yet.
    Poll,
    /// For votes, in a term of its own.
    Vote,
}

/// A server that wants to lead. In the phase `Vote` it has voted for itself in its current term.
#[derive(Debug)]
#[cfg_attr(feature = "planted-bugs", derive(Clone))]
pub(super) struct Candidate {
    pub(super) phase: Phase,
    pub(super) granted: BTreeSet<ServerId>,
    pub(super) deadline: Duration,
}

impl<D: Disk, M: StateMachine> Engine<D, M> {
    /// How long a new follower waits before it stands. A cluster of one has nobody to wait for: but a configuration that is
    /// not committed may not be one, and who followed another within T waits until that one's lease has run out.
    pub(super) fn standing_delay(&mut self, now: Now) -> Duration {
        if planted!(self.options, AloneUncommitted) && self.is_alone() {
            return Duration::ZERO;
        }
        if !self.configurations.are_alone(self.id) {
            return self.election_delay();
        }
        let t = self.vote_timeout();
        self.heard.map_or(Duration::ZERO, |heard| (heard + t).saturating_sub(now.monotonic))
    }

    /// Whether this server is the only voter of the configuration in force.
    pub(super) fn is_alone(&self) -> bool {
        self.configuration().voters().eq([self.id])
    }

    /// Whether this server may be elected. One that loses its vote by a change that is not committed may: nobody else might
    /// have that entry, and then nobody else can win (Raft dissertation, 4.2.2).
    fn may_stand(&self) -> bool {
        let identity = self.storage.meta().identity;
        let votes = |c: &Configuration| c.is_voter(self.id) && c.admits(self.id, identity);
        (votes(self.configuration()) || votes(self.configurations.committed().1)) && self.may_vote()
    }

    /// Whether a flush has been out for so long that a leader would give its office up.
    pub(super) fn has_hung_disk(&self, now: Now) -> bool {
        self.flush_since.is_some_and(|since| now.monotonic > since + self.flush_stall())
    }

    /// Whether this server should be elected now: with a disk that hangs it could lead others, but keep nothing.
    fn is_fit(&self, now: Now) -> bool {
        self.may_stand() && (!self.has_hung_disk(now) || planted!(self.options, HungDiskStands))
    }

    /// Whether this server may vote. Who asks has a configuration in which this server votes, or would not ask; the own one
    /// may be older, and nobody might win if it refused then (Raft dissertation, 4.1).
    fn may_vote(&self) -> bool {
        !self.storage.meta().lost || planted!(self.options, LostLogVotes)
    }

    /// Whether a leader was heard within T; a leader hears itself while a quorum hears it.
    pub(super) fn hears_leader(&self, now: Now) -> bool {
        if planted!(self.options, LeaseFromReceipt) {
            return false;
        }
        match &self.role {
            RoleState::Leader(_) => self.quorum_heard(now),
            _ if planted!(self.options, VoteWhileLed) => false,
            _ => self.heard.is_some_and(|at| now.monotonic < at + self.vote_timeout()),
        }
    }

    /// Whether a log that ends so holds everything this one may have helped to commit (Raft paper, 5.4.1).
    fn is_up_to_date(&self, last_index: Index, last_term: Term) -> bool {
        (last_term, last_index) >= (self.storage.last_term(), self.storage.last_index())
    }

    pub(super) fn start_poll(&mut self, now: Now, reason: &'static str) {
        // T may have grown since the leader was heard: no vote is given before it is over, the own one neither.
        let alone = planted!(self.options, AloneUncommitted) && self.is_alone();
        let early = self.role() == Role::Follower && !alone && self.hears_leader(now);
        if !self.is_fit(now) || early {
            let since = self.heard.filter(|_| early).unwrap_or(now.monotonic);
            let deadline = since + self.election_delay();
            match &mut self.role {
                RoleState::Follower(f) => f.deadline = deadline,
                RoleState::Candidate(_) => self.become_follower(now, "it is not fit to lead"),
                RoleState::Leader(_) => {}
            }
            return;
        }
        let first = self.role() != Role::Candidate;
        // A poll disturbs nobody, so it is repeated sooner than an election would be.
        let deadline = now.monotonic + self.election_delay() / 4;
        self.leader = None;
        let granted = Some(self.id).filter(|&id| self.configuration().is_voter(id)).into_iter().collect();
        self.role = RoleState::Candidate(Candidate { phase: Phase::Poll, granted, deadline });
        if first {
            self.tell_role(reason);
        }
        if self.is_alone() {
            return self.start_vote(now, false);
        }
        let message = Message::Poll {
            term: self.term() + 1,
            last_index: self.storage.last_index(),
            last_term: self.storage.last_term(),
        };
        self.send_to_voters(&message);
    }

    fn send_to_voters(&mut self, message: &Message) {
        let voters: Vec<ServerId> = self.configuration().voters().filter(|&v| v != self.id).collect();
        for to in voters {
            self.send(to, message.clone());
        }
    }

    /// Begins a term. The requests leave at once; the own vote counts when it is durable.
    fn start_vote(&mut self, now: Now, transfer: bool) {
        let term = self.term() + 1;
        self.set_vote(term, self.id);
        let deadline = now.monotonic + self.election_delay();
        self.role = RoleState::Candidate(Candidate { phase: Phase::Vote, granted: BTreeSet::new(), deadline });
        self.leader = None;
        self.promises.add(self.term_sequence, term, Promise::OwnVote);
        let message = Message::Vote {
            term,
            last_index: self.storage.last_index(),
            last_term: self.storage.last_term(),
            transfer,
        };
        self.send_to_voters(&message);
    }

    pub(super) fn on_poll(&mut self, now: Now, from: ServerId, term: Term, last_index: Index, last_term: Term) {
        let granted = term > self.term()
            && self.may_vote()
            && !self.hears_leader(now)
            && self.is_up_to_date(last_index, last_term);
        // Refused with the own term, so that one that is behind in terms catches up (etcd #8243, #8501).
        let term = if granted { term } else { self.term() };
        self.promise(from, Message::PollReply { term, granted });
    }

    pub(super) fn on_poll_granted(&mut self, now: Now, from: ServerId, term: Term) {
        let expected = self.term() + 1;
        let majority = self.quorum();
        if !self.configuration().is_voter(from) {
            return;
        }
        if let RoleState::Candidate(c) = &mut self.role
            && c.phase == Phase::Poll
            && term == expected
        {
            c.granted.insert(from);
            if c.granted.len() >= majority {
                self.start_vote(now, false);
            }
        }
    }

    pub(super) fn on_vote(
        &mut self,
        now: Now,
        from: ServerId,
        term: Term,
        last_index: Index,
        last_term: Term,
        transfer: bool,
    ) {
        let heard = !transfer && self.hears_leader(now);
        if term < self.term() || heard {
            return self.promise(from, Message::VoteReply { term: self.term(), granted: false });
        }
        if term > self.term() {
            self.adopt_term(now, term);
        }
        let vote = self.storage.meta().vote;
        let granted = (vote == 0 || vote == from) && self.may_vote() && self.is_up_to_date(last_index, last_term);
        if granted && vote == 0 {
            self.set_vote(term, from);
            let deadline = now.monotonic + self.election_delay();
            if let RoleState::Follower(f) = &mut self.role {
                f.deadline = deadline;
            }
        }
        self.promise(from, Message::VoteReply { term: self.term(), granted });
    }

    pub(super) fn on_vote_granted(&mut self, now: Now, from: ServerId) {
        let majority = self.quorum();
        if !self.configuration().is_voter(from) {
            return;
        }
        if let RoleState::Candidate(c) = &mut self.role
            && c.phase == Phase::Vote
        {
            c.granted.insert(from);
            if c.granted.len() >= majority && self.is_fit(now) {
                self.become_leader(now);
            }
        }
    }

    pub(super) fn on_timeout_now(&mut self, now: Now, from: ServerId) {
        if self.leader == Some(from) && self.is_fit(now) {
            self.start_vote(now, true);
        }
    }

    /// A server that lost its log counts again once it durably holds what the leader had when it heard of the loss.
    pub(super) fn recover_lost_log(&mut self) {
        if let RoleState::Follower(f) = &self.role
            && let Some(index) = f.recover_to
            && self.storage.meta().lost
            && f.verified.min(self.storage.durable_index()) >= index
        {
            let mut meta = self.storage.meta().clone();
            meta.lost = false;
            self.storage.set_meta(meta);
            self.term_sequence = self.storage.write_sequence();
        }
    }
}
