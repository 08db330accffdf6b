//! Following: appends from the leader, and the replies that their durability permits.

use super::feeding::Meal;
#[allow(unused_imports)] // without planted bugs the macro expands to `false`
use super::planted;
use super::{Engine, Event, Fatal, Kind, MemberType, Output, RoleState, StateMachine, decode};
use crate::engine::message::{AppendOutcome, Message, WireEntry};
use crate::engine::types::{Index, Now, ServerId, Term};
use copycat_storage::{AppendError, Disk, Entry, Meta};
use std::time::Duration;

/// The share of T (one part in so many) over which early candidates are spread.
const EARLY_SPREAD: u32 = 3;

/// Invariant: the log equals the current leader's through `verified`; the leader was told of durable matches through
/// `told` only.
#[derive(Debug)]
#[cfg_attr(feature = "planted-bugs", derive(Clone))]
pub(super) struct Follower {
    pub(super) deadline: Duration,
    pub(super) verified: Index,
    pub(super) told: Index,
    pub(super) round: u64,
    pub(super) round_told: u64,
    pub(super) wants_told: Index,
    /// The leader's commit index, which may be above what is here.
    pub(super) leader_commit: Index,
    pub(super) recover_to: Option<Index>,
    lost_told: bool,
    configuration_told: Index,
    /// As a passive member.
    pub(super) meal: Meal,
}

impl Follower {
    pub(super) fn new(deadline: Duration) -> Self {
        Self {
            deadline,
            verified: 0,
            told: 0,
            round: 0,
            round_told: 0,
            wants_told: 0,
            leader_commit: 0,
            recover_to: None,
            lost_told: false,
            configuration_told: 0,
            meal: Meal::default(),
        }
    }

    /// Nothing is here any more.
    pub(super) fn forget_log(&mut self) {
        (self.verified, self.told) = (0, 0);
        self.meal = Meal::default();
    }
}

impl<D: Disk, M: StateMachine> Engine<D, M> {
    #[allow(clippy::too_many_arguments)] // the fields of one message
    pub(super) fn on_append(
        &mut self,
        now: Now,
        from: ServerId,
        (previous_index, previous_term): (Index, Term),
        entries: Vec<WireEntry>,
        commit: Index,
        round: u64,
        recover_to: Option<Index>,
    ) -> Result<(), Fatal> {
        self.follow(now, from);
        if let RoleState::Follower(f) = &mut self.role {
            f.round = f.round.max(round);
        }
        if let Err((term, index)) = self.agree(previous_index, previous_term) {
            self.learn_commit(commit);
            self.reject_append(from, previous_index, term, index);
            return Ok(());
        }
        let arrived = previous_index + entries.len() as u64;
        let stored = self.store(now, previous_index, entries)?;
        if planted!(self.options, TruncateWithoutConflict) && stored < self.storage.last_index() && stored > self.commit
        {
            self.cut(stored)?;
        }
        self.learn_commit(commit);
        let clamp = if planted!(self.options, CommitNotClamped) { self.storage.last_index() } else { stored };
        if commit.min(clamp) > self.commit {
            self.set_commit(commit.min(clamp));
        }
        let RoleState::Follower(f) = &mut self.role else { unreachable!("`follow` made it one") };
        // What is committed here is in every later leader's log.
        f.verified = f.verified.max(stored.min(arrived)).max(self.commit);
        if arrived > previous_index {
            f.meal.from = None;
        }
        f.recover_to = recover_to;
        self.recover_lost_log();
        Ok(())
    }

    /// Whether the log may go on behind this entry; if not, the term it has there (0: none), and the first index of that
    /// term or the one behind the last.
    pub(super) fn agree(&self, index: Index, term: Term) -> Result<(), (Term, Index)> {
        let last = self.storage.last_index();
        // At or below the commit index the logs agree by definition.
        if index <= self.commit || index <= last && self.storage.term(index) == Some(term) {
            return Ok(());
        }
        if index > last {
            return Err((0, last + 1));
        }
        let term = self.storage.term(index).unwrap_or(0);
        Err((term, self.storage.term_start(index).max(self.commit + 1)))
    }

    /// Hears the leader of the current term.
    pub(super) fn follow(&mut self, now: Now, from: ServerId) {
        assert!(
            !matches!(self.role, RoleState::Leader(_)),
            "members {} and {from} both lead term {}",
            self.id,
            self.term()
        );
        if !matches!(self.role, RoleState::Follower(_)) {
            self.become_follower(now, "another member leads the term");
        }
        if self.leader.is_none() {
            self.leader = Some(from);
            self.outputs.push(Output::Event(Event::Leader { leader: from, term: self.term() }));
            self.transferred(from);
        }
        self.heard = Some(now.monotonic);
        let deadline = now.monotonic + self.election_delay();
        if let RoleState::Follower(f) = &mut self.role {
            f.deadline = deadline;
        }
    }

    /// The connection to the leader broke. Most often its process died, so this follower asks for votes as soon as the
    /// others may give them: T after the leader was last heard, and a share of T of its own to keep candidates apart. A
    /// leader that is well is heard again before that, or by the others, who refuse the poll.
    pub(super) fn lose_sight(&mut self, id: ServerId) {
        let (t, random) = (self.vote_timeout(), u32::try_from(self.draw() % 1024).unwrap_or(0));
        let Some(heard) = self.heard.filter(|_| self.leader == Some(id)) else { return };
        if let RoleState::Follower(f) = &mut self.role {
            f.deadline = f.deadline.min(heard + t + t / EARLY_SPREAD * random / 1024);
        }
    }

    fn learn_commit(&mut self, commit: Index) {
        if planted!(self.options, ServesOldCommit) {
            self.reads.learn(commit);
        }
        if let RoleState::Follower(f) = &mut self.role {
            f.leader_commit = f.leader_commit.max(commit);
        }
    }

    /// Stores these entries, which were found to be a contiguous run, as far as they are not yet here, and cuts the log only at a real conflict. Returns through which index the log now
    /// equals the leader's.
    pub(super) fn store(&mut self, now: Now, previous: Index, entries: Vec<WireEntry>) -> Result<Index, Fatal> {
        let mut through = previous;
        for entry in entries {
            let index = entry.index;
            let have = self.storage.term(index);
            if index > self.commit && have != Some(entry.term) {
                if have.is_some() && !self.cut(index - 1)? {
                    return Ok(through);
                }
                let configuration = if entry.kind == Kind::Configuration as u8 {
                    Some(decode(&entry.data).map_err(|e| Fatal::Malformed(index, e))?)
                } else {
                    None
                };
                let time = entry.time;
                match self.append_entry(&Entry::from(entry)) {
                    Ok(()) => {}
                    // No room: what fits is acknowledged, the rest is asked for again.
                    Err(AppendError::Full(_)) => return Ok(through),
                    // No segment is large enough for it, so the leader has what it should not.
                    Err(e @ AppendError::TooLarge { .. }) if !planted!(self.options, SegmentsNeverGrow) => {
                        if self.too_large != index {
                            self.too_large = index;
                            self.complain("an entry of the leader's log is refused", e);
                        }
                        return Ok(through);
                    }
                    Err(e) => return Err(e.into()),
                }
                self.clock.note(time, now);
                if let Some(configuration) = configuration {
                    self.configurations.push(index, configuration);
                }
            }
            through = index;
        }
        Ok(through)
    }

    /// Drops the entries above `last`, and what hangs on them. Returns false, having done nothing, if the disk has no
    /// room for it.
    fn cut(&mut self, last: Index) -> Result<bool, Fatal> {
        assert!(last >= self.commit, "cut at {last} below the commit index {}", self.commit);
        match self.storage.truncate(last) {
            Ok(()) => {}
            Err(AppendError::Full(_)) => return Ok(false),
            Err(e) => return Err(e.into()),
        }
        if !planted!(self.options, ConfigurationNotRolledBack) {
            self.configurations.roll_back(last);
        }
        Ok(true)
    }

    pub(super) fn reject_append(&mut self, to: ServerId, previous_index: Index, term: Term, index: Index) {
        let wants = if matches!(self.role, RoleState::Follower(_)) { self.wants() } else { 0 };
        let mut round = 0;
        if let RoleState::Follower(f) = &mut self.role {
            f.round_told = f.round;
            round = f.round;
        }
        let outcome = AppendOutcome::Rejected { previous_index, conflict_term: term, conflict_index: index };
        let (start, lost) = (self.start, self.storage.meta().lost);
        let (digest, configuration) = (self.durable_digest(), self.known_configuration());
        let term = self.term();
        self.promise(to, Message::AppendReply { term, start, round, outcome, wants, lost, digest, configuration });
    }

    /// Through which index this server wants to hear of commits at once. Who listens for changes wants all of them.
    pub(super) fn wants(&self) -> Index {
        if self.listening { Index::MAX } else { self.reads.wants().max(self.feeding.wants()) }
    }

    /// The latest digest of the state that this server will have again after a power cut; `(0, 0)`: none.
    fn durable_digest(&self) -> (Index, u32) {
        Some(self.seen().last_digest).filter(|&(index, _)| index <= self.storage.durable_index()).unwrap_or_default()
    }

    /// Tells the leader what has become durable, what round it was heard in, and what waits here.
    pub(super) fn acknowledge(&mut self) {
        self.acknowledge_feed();
        let Some(leader) = self.leader else { return };
        let votes = self.own_type() == Some(MemberType::Active);
        let term_durable = self.storage.durable_sequence() >= self.term_sequence;
        let memory = planted!(self.options, AcknowledgeBeforeDurable);
        let durable = if memory { self.storage.last_index() } else { self.durable_index() };
        let Meta { term, lost, .. } = *self.storage.meta();
        let (wants, digest) = (self.wants(), self.durable_digest());
        let (start, configuration) = (self.start, self.known_configuration());
        let RoleState::Follower(f) = &mut self.role else { return };
        let unproved = planted!(self.options, MatchUnproved);
        let matched = if unproved { durable } else { f.verified.min(durable) };
        // A leader need not hear of each entry of a member that does not vote, but of what it was told itself.
        let configured = configuration > f.configuration_told;
        let news = f.round > f.round_told || lost != f.lost_told;
        let news = news || if votes { matched > f.told || wants > f.wants_told } else { configured };
        if !news || !(term_durable || memory) {
            return;
        }
        (f.told, f.round_told, f.wants_told, f.lost_told) = (matched, f.round, wants, lost);
        f.configuration_told = configuration;
        let outcome = AppendOutcome::Matched(matched);
        let round = f.round;
        let message = Message::AppendReply { term, start, round, outcome, wants, lost, digest, configuration };
        self.send(leader, message);
    }
}
