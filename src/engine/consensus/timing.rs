//! The settings in force, and which of several holds while they change.
//!
//! A lease is safe because of what those who grant it refuse: whoever has heard a leader gives no vote, its own included,
//! for T after that. Let a leader count a lease of length L from a round that the members Q, a majority, have answered. Who
//! is elected later needs votes of a majority V, and some member x is in both. It heard the leader's round, so it votes no
//! sooner than its own T after that; if L is at most that T, the lease has ended by then (the drift bound is taken off L).
//! So L must be no more than the T of *each* member that is counted in Q, whatever it knows of a change of T by then.
//!
//! - **What x goes by.** The largest T of its stack of configurations: the latest that it knows to be committed, and all
//!   above that in its log ([`Engine::vote_timeout`]). A restart builds the same stack from snapshot and log, and one that lost
//!   its log does not vote. It holds for granted votes, for its own candidacy, and for the wait after a restart.
//! - **What a leader goes by.** The smallest lease of *its* stack ([`Engine::lease_timeout`]), and it counts only those whose
//!   log durably holds the latest configuration that it knows to be committed ([`Engine::knows_settings`]).
//! - **Then L <= T of x.** x's log holds the entry e of the leader's latest committed configuration, so e is in x's stack,
//!   or x knows a later one to be committed. In the first case x's largest T is at least that of e, and the leader's smallest
//!   is at most that. In the second, what x knows to be committed in a term up to the leader's is in the leader's log, above
//!   e, so that it is in the leader's stack, and its smallest is at most that. What is committed in a later term comes after
//!   the first election that x took part in, of which this speaks.
//!
//! After an increase of T leases thus grow when the change is committed, member by member; after a decrease they shrink as
//! soon as it is in the leader's log. That a majority has an entry is not enough: a member that lacks it may be the one that
//! answered the round and then votes, for a candidate that has it and has long not heard the leader.
//!
//! A configuration without settings, as version 0.1.0 and a first start have it, says nothing of the others' T: there is no
//! lease before one with settings is committed, and each goes by its own T meanwhile.

#[allow(unused_imports)] // without planted bugs the macro expands to `false`
use super::planted;
use super::progress::Progress;
use super::{Configuration, Engine, StateMachine};
use crate::engine::settings::{LARGEST_ENTRY, Settings};
use copycat_storage::{AppendError, Disk, Entry};
use std::time::Duration;

/// Heartbeats in an election timeout.
const HEARTBEATS: u32 = 5;

impl<D: Disk, M: StateMachine> Engine<D, M> {
    /// The settings of the configuration in force. One without goes by what this server was started with.
    pub fn settings(&self) -> &Settings {
        self.settings_of(self.configuration())
    }

    fn settings_of<'a>(&'a self, configuration: &'a Configuration) -> &'a Settings {
        configuration.settings.as_ref().unwrap_or(&self.options.settings)
    }

    fn stack(&self) -> impl Iterator<Item = &Settings> {
        self.configurations.all().map(|configuration| self.settings_of(configuration))
    }

    /// T, for all that no safety stands on.
    pub fn election_timeout(&self) -> Duration {
        self.settings().election_timeout
    }

    /// T, for votes that are refused, own candidacies, and the wait after a restart.
    pub(super) fn vote_timeout(&self) -> Duration {
        if planted!(self.options, VoteByNewTimeoutAtOnce) {
            return self.election_timeout();
        }
        self.stack().map(|s| s.election_timeout).max().unwrap_or_default()
    }

    /// How long a lease lasts, from when its round of heartbeats was sent; `None`: there is none.
    pub(super) fn lease_timeout(&self) -> Option<Duration> {
        if planted!(self.options, LeaseByNewTimeoutAtOnce) {
            return Some(self.settings().lease());
        }
        self.configurations.all().map(|c| c.settings.as_ref().map(Settings::lease)).min()?
    }

    /// Whether a member refuses votes by no less than the settings that leases go by.
    pub(super) fn knows_settings(&self, progress: &Progress) -> bool {
        progress.counted() >= self.configurations.committed().0 || planted!(self.options, LeaseByNewTimeoutAtOnce)
    }

    /// How often a leader that has nothing else to say is heard. A follower may go by any T of the stack.
    pub fn heartbeat_interval(&self) -> Duration {
        self.stack().map(|s| s.election_timeout).min().unwrap_or_default() / HEARTBEATS
    }

    /// How long a flush may be outstanding before a leader gives up its office: a hung disk keeps no zombie in it.
    pub fn flush_stall(&self) -> Duration {
        Duration::from_secs(2).max(self.election_timeout() * 4)
    }

    /// How long a session's command is held whose number comes too early.
    pub(super) fn hold(&self) -> Duration {
        self.election_timeout() * 2
    }

    /// The most bytes of data that an entry for a client may have.
    pub fn largest_entry(&self) -> u64 {
        self.stack().map(|s| s.largest_entry).min().unwrap_or_default()
    }

    /// Appends to the log. What is larger than its segments makes them larger: whether it may be so large was decided
    /// before.
    pub(super) fn append_entry(&mut self, entry: &Entry) -> Result<(), AppendError> {
        match self.storage.append(entry) {
            Err(AppendError::TooLarge { bytes, .. })
                if bytes as u64 <= LARGEST_ENTRY
                    && !planted!(self.options, SegmentsNeverGrow)
                    && self.storage.fit(bytes) =>
            {
                self.storage.append(entry)
            }
            result => result,
        }
    }

    /// The segments made from now on hold what the settings allow.
    pub(super) fn fit_segments(&mut self) {
        let largest = self.configurations.all().filter_map(|c| c.settings.map(|s| s.largest_entry)).max().unwrap_or(0);
        if !planted!(self.options, SegmentsNeverGrow) {
            self.storage.fit(usize::try_from(largest.min(LARGEST_ENTRY)).unwrap_or(0));
        }
    }
}
