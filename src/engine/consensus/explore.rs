//! Hooks for the explorer in `tests/explorer`, beyond the driver's interface: fork an engine, hash its state, and end
//! an election timeout at will.

use super::election::Phase;
use super::{Engine, Loan, RoleState, StateMachine};
use crate::engine::types::Now;
use copycat_storage::{Disk, DiskFile};
use std::fmt::{self, Write};
use std::time::Duration;

/// The seed with which every draw is the greatest, so that random timeouts are as long as they can be. The explorer ends
/// them early, see [`Engine::may_time_out`].
pub(super) const STEADY: u64 = u64::MAX;

impl<D: Disk, M: StateMachine + Clone> Engine<D, M>
where
    D::File: Clone + DiskFile,
    M::Event: Clone,
{
    /// Returns an independent copy, which makes state machines with `make`. The disk handle is copied as it is: the caller
    /// must see to it that the copy works on files of its own.
    pub fn fork(&self, make: impl Fn() -> M + Send + 'static) -> Self {
        Self {
            id: self.id,
            options: self.options.clone(),
            random: self.random,
            storage: self.storage.clone(),
            loan: match &self.loan {
                Loan::Home(executor) => Loan::Home(executor.clone()),
                Loan::Out(seen, live) => Loan::Out(*seen, live.clone()),
            },
            deferred: self.deferred.clone(),
            listening: self.listening,
            make: Box::new(make),
            role: self.role.clone(),
            leader: self.leader,
            commit: self.commit,
            configurations: self.configurations.clone(),
            discard: self.discard,
            background: self.background.clone(),
            installing: self.installing.clone(),
            global: self.global,
            feeding: self.feeding.clone(),
            transfer_reply: self.transfer_reply,
            met: self.met.clone(),
            clock: self.clock.clone(),
            heard: self.heard,
            voters: self.voters.clone(),
            start: self.start,
            configuration_durable: self.configuration_durable,
            configuration_written: self.configuration_written,
            term_sequence: self.term_sequence,
            promises: self.promises.clone(),
            pending: self.pending.clone(),
            settled_term: self.settled_term,
            too_large: self.too_large,
            drained: self.drained,
            reads: self.reads.clone(),
            flush_since: self.flush_since,
            agreed: self.agreed,
            compared: self.compared,
            planted_durable: self.planted_durable,
            outputs: Vec::new(),
        }
    }
}

impl<D: Disk, M: StateMachine> Engine<D, M> {
    /// Writes everything that its decisions depend on, except the entries of its log and the time.
    ///
    /// # Errors
    /// Errors of `to`.
    pub fn fingerprint(&self, to: &mut impl Write) -> fmt::Result {
        let storage = &self.storage;
        let (meta, seen) = (storage.meta(), self.seen());
        write!(to, "{meta:?}{}", storage.first_index())?;
        write!(to, "{:?}{}", storage.snapshot().map(|s| s.index), storage.is_snapshot_pending())?;
        write!(to, "{} {}", storage.last_index(), storage.durable_index())?;
        write!(to, "{} {}", storage.durable_sequence() >= self.term_sequence, storage.is_flushed())?;
        write!(to, "{:?}{:?}{}", self.role, self.leader, self.commit)?;
        write!(to, "{:?}", self.configurations)?;
        write!(to, "{} {} {:?}", self.discard, self.global, self.background)?;
        write!(to, "{:?}{:?}{:?}", self.installing, self.feeding, self.transfer_reply)?;
        write!(to, "{:?}{:?}{:?}{:?}", self.met, self.heard, self.promises, self.pending)?;
        write!(to, "{:?}{:?}{:?}", self.reads, self.flush_since, self.agreed)?;
        write!(to, "{:?}{} {} {:?}", self.voters, self.start, self.configuration_durable, self.configuration_written)?;
        write!(to, "{:?}{} {}", self.planted_durable, seen.applied, seen.digest)
    }

    /// Returns the end of this leader's lease, if it has one.
    pub fn lease(&self) -> Option<Duration> {
        self.lease_end()
    }

    /// Replaces the seed of its random numbers.
    pub fn reseed(&mut self, seed: u64) {
        self.random = seed;
    }

    /// Makes every draw the greatest from now on, and lengthens a random timeout that has begun to the longest.
    pub fn steady(&mut self, now: Now) {
        self.random = STEADY;
        let t = self.election_timeout();
        if let RoleState::Follower(f) = &mut self.role
            && f.deadline >= now.monotonic + t
        {
            f.deadline = now.monotonic + t + t * 1023 / 1024;
        }
    }

    /// Returns whether the election timeout, which is the longest, could be over by now had a shorter one been drawn.
    pub fn may_time_out(&self, now: Now) -> bool {
        // A delay lies in [T, 2T); a poll is repeated after a quarter of one.
        let drawn = self.election_timeout() * 1023 / 1024;
        match &self.role {
            RoleState::Follower(f) => f.deadline <= now.monotonic + drawn,
            RoleState::Candidate(c) if c.phase == Phase::Poll => c.deadline <= now.monotonic + drawn / 4,
            RoleState::Candidate(c) => c.deadline <= now.monotonic + drawn,
            RoleState::Leader(_) => false,
        }
    }

    /// Ends the election timeout now.
    pub fn time_out(&mut self, now: Now) {
        match &mut self.role {
            RoleState::Follower(f) => f.deadline = now.monotonic,
            RoleState::Candidate(c) => c.deadline = now.monotonic,
            RoleState::Leader(_) => {}
        }
    }
}
