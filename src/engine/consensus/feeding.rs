//! Feeding passive members (Copycat's guide, 6.4): committed entries, from the follower that is assigned, or from whoever
//! is asked.
//!
//! Invariant: a feed carries committed entries only, so a passive member's log is the committed log through its own commit
//! index, whoever fed it, and what it has stored through there is what it acknowledges.

use super::configuration::MemberType;
#[allow(unused_imports)] // without planted bugs the macro expands to `false`
use super::planted;
use super::progress::Progress;
use super::{Engine, Fatal, RoleState, StateMachine};
use crate::engine::message::{AppendOutcome, Message, WireEntry};
use crate::engine::types::{Index, Now, ServerId, Term};
use copycat_storage::Disk;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Messages to one member in one `poll`.
const FEEDS_A_POLL: usize = 4;
/// Who asked to be fed is fed for this many election timeouts, or until it asks again.
const ASKED: u32 = 4;

/// A passive member that this server feeds.
#[derive(Debug)]
#[cfg_attr(feature = "planted-bugs", derive(Clone))]
struct Fed {
    progress: Progress,
    /// It was asked to until then; `None`: it is assigned.
    until: Option<Duration>,
}

/// Whom this server feeds.
#[derive(Debug, Default)]
#[cfg_attr(feature = "planted-bugs", derive(Clone))]
pub(super) struct Feeding {
    fed: BTreeMap<ServerId, Fed>,
    /// When to look again whether something was lost on the way.
    again_at: Duration,
}

impl Feeding {
    /// Something waits at a fed member for entries through this index.
    pub(super) fn wants(&self) -> Index {
        self.fed.values().map(|fed| fed.progress.wants).max().unwrap_or(0)
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        (!self.fed.is_empty()).then_some(self.again_at)
    }
}

/// A passive member's view of being fed.
#[derive(Debug, Default)]
#[cfg_attr(feature = "planted-bugs", derive(Clone))]
pub(super) struct Meal {
    /// Who fed it last; `None`: its leader does.
    pub(super) from: Option<ServerId>,
    pub(super) told: Index,
    wants_told: Index,
    /// Since when it has been behind the leader without getting further, and how far it was.
    behind: Option<(Duration, Index)>,
    /// How many feeders were asked in vain.
    asked: usize,
}

impl<D: Disk, M: StateMachine> Engine<D, M> {
    /// Decides whom to feed, and feeds them.
    pub(super) fn feed(&mut self, now: Now) -> Result<(), Fatal> {
        self.choose_fed(now);
        if self.feeding.fed.is_empty() {
            return Ok(());
        }
        let again = now.monotonic >= self.feeding.again_at;
        if again {
            self.feeding.again_at = now.monotonic + self.heartbeat_interval();
        }
        let ids: Vec<ServerId> = self.feeding.fed.keys().copied().collect();
        for id in ids {
            if again && let Some(fed) = self.feeding.fed.get_mut(&id) {
                fed.progress.probe_again();
            }
            let mut sent = false;
            for _ in 0..FEEDS_A_POLL {
                let Some(fed) = self.feeding.fed.get(&id) else { break };
                let next = fed.progress.next;
                if !fed.progress.is_free(self.options.append_inflight)
                    || next > self.commit
                    || !self.has_entries_from(next)
                {
                    break;
                }
                self.send_feed(id, true)?;
                sent = true;
            }
            if again && self.feeding.fed.get(&id).is_some_and(|fed| !self.has_entries_from(fed.progress.next)) {
                self.offer(id);
            }
            // What was lost on the way shows when the next message does not fit.
            if again && !sent && self.feeding.fed.get(&id).is_some_and(|fed| fed.progress.match_index < self.commit) {
                self.send_feed(id, false)?;
            }
        }
        Ok(())
    }

    fn choose_fed(&mut self, now: Now) {
        let current = self.configurations.current();
        let passive: BTreeSet<ServerId> = current.of_type(MemberType::Passive).collect();
        if passive.is_empty() {
            return self.feeding.fed.clear();
        }
        let feeds = self.own_type() == Some(MemberType::Active) && !self.storage.meta().lost;
        let assigned: BTreeSet<ServerId> = match self.leader {
            Some(leader) if feeds => {
                passive.iter().copied().filter(|&p| current.feeders_of(p, leader)[0] == self.id).collect()
            }
            _ => BTreeSet::new(),
        };
        let commit = self.commit;
        self.feeding.fed.retain(|id, fed| {
            fed.until = fed.until.filter(|&until| now.monotonic < until);
            feeds && passive.contains(id) && (assigned.contains(id) || fed.until.is_some())
        });
        for id in assigned {
            let new = || Fed { progress: Progress::new(commit, now.monotonic), until: None };
            self.feeding.fed.entry(id).or_insert_with(new);
        }
    }

    fn send_feed(&mut self, to: ServerId, with_entries: bool) -> Result<(), Fatal> {
        let commit = self.commit;
        let Some(fed) = self.feeding.fed.get_mut(&to) else { return Ok(()) };
        let p = &mut fed.progress;
        let previous_index = (p.next - 1).min(commit);
        let previous_term = self.storage.term(previous_index).ok_or(Fatal::Missing(previous_index))?;
        let mut entries: Vec<WireEntry> = Vec::new();
        if with_entries {
            let room = usize::try_from(commit - previous_index).unwrap_or(usize::MAX).min(self.options.append_entries);
            let found = self.storage.entries(previous_index + 1, room, self.options.append_bytes)?;
            entries = found.into_iter().map(Into::into).collect();
        }
        if let Some(last) = entries.last() {
            p.sent_entries(last.index);
        }
        self.send(to, Message::Feed { previous_index, previous_term, entries, commit });
        Ok(())
    }

    pub(super) fn on_feed_reply(&mut self, from: ServerId, start: u64, outcome: AppendOutcome, wants: Index) {
        let hint = self.agreement_hint(outcome);
        let commit = self.commit;
        let Some(Fed { progress: p, .. }) = self.feeding.fed.get_mut(&from) else { return };
        // What a reply of an earlier start says here, coming late, the next one puts right: a feed commits nothing.
        p.is_of_last_start(start, 1, 0);
        p.wants = wants;
        match outcome {
            AppendOutcome::Matched(index) => drop(p.matched(index.min(commit))),
            AppendOutcome::Rejected { previous_index, .. } => drop(p.rejected(previous_index, hint.min(commit + 1))),
        }
    }

    /// A member asks to be fed from behind what it says that it has: its log may have been lost or repaired since it was
    /// fed last.
    pub(super) fn on_feed_request(&mut self, now: Now, from: ServerId, start: u64, index: Index) {
        if self.configuration().type_of(from) != Some(MemberType::Passive) {
            return;
        }
        let until = Some(now.monotonic + self.election_timeout() * ASKED);
        let commit = self.commit;
        let new = || Fed { progress: Progress::new(commit, now.monotonic), until };
        let planted = planted!(self.options, FeedByOldMatch);
        let fed = self.feeding.fed.entry(from).or_insert_with(new);
        fed.until = until;
        if !planted {
            fed.progress = Progress::new(index.min(commit), now.monotonic);
            fed.progress.is_of_last_start(start, 1, 0);
        }
    }

    /// Committed entries arrive at a passive member.
    pub(super) fn on_feed(
        &mut self,
        now: Now,
        from: ServerId,
        (previous_index, previous_term): (Index, Term),
        entries: Vec<WireEntry>,
        commit: Index,
    ) -> Result<(), Fatal> {
        // Who believes that it votes takes it too: that it was demoted may be in what it is fed.
        if !self.is_stateful() || !matches!(self.role, RoleState::Follower(_)) {
            return Ok(());
        }
        let outcome = match self.agree(previous_index, previous_term) {
            Ok(()) => {
                self.raise_term(now, entries.last().map_or(0, |e| e.term));
                let stored = self.store(now, previous_index, entries)?;
                // That this is how far a live leader is, only the leader tells.
                if commit.min(stored) > self.commit {
                    self.set_commit(commit.min(stored));
                }
                None
            }
            Err((conflict_term, conflict_index)) => {
                Some(AppendOutcome::Rejected { previous_index, conflict_term, conflict_index })
            }
        };
        let (commit, start, wants) = (self.commit, self.start, self.wants());
        let durable = self.durable_index();
        let RoleState::Follower(f) = &mut self.role else { return Ok(()) };
        f.verified = f.verified.max(commit);
        f.meal.from = Some(from);
        match outcome {
            Some(outcome) => self.send(from, Message::FeedReply { start, outcome, wants }),
            // What brought nothing new is answered at once, or a probe that matched would wait for an answer.
            None if f.verified <= durable => f.meal.told = 0,
            None => {}
        }
        self.recover_lost_log();
        Ok(())
    }

    /// Tells whoever feeds this member what is durable here.
    pub(super) fn acknowledge_feed(&mut self) {
        // What a leader of its own term sent may not be committed, and then not be what the feeder has.
        let durable = self.durable_index().min(self.commit);
        let (wants, start) = (self.wants(), self.start);
        let RoleState::Follower(f) = &mut self.role else { return };
        let Some(from) = f.meal.from else { return };
        let matched = f.verified.min(durable);
        if matched > f.meal.told || wants > f.meal.wants_told {
            (f.meal.told, f.meal.wants_told) = (matched, wants);
            self.send(from, Message::FeedReply { start, outcome: AppendOutcome::Matched(matched), wants });
        }
    }

    /// A passive member that has been behind for an election timeout and gets no further asks the next feeder.
    pub(super) fn look_for_feeder(&mut self, now: Now) {
        let passive = self.own_type() == Some(MemberType::Passive);
        let (id, commit, t) = (self.id, self.commit, self.election_timeout());
        let leader = self.leader.unwrap_or(0);
        let RoleState::Follower(f) = &mut self.role else { return };
        if !passive || leader == 0 || commit >= f.leader_commit {
            f.meal.behind = None;
            return;
        }
        match f.meal.behind {
            Some((since, at)) if at == commit => {
                if now.monotonic >= since + t {
                    let feeders = self.configurations.current().feeders_of(id, leader);
                    f.meal.asked += 1;
                    f.meal.behind = Some((now.monotonic, commit));
                    let next = feeders[f.meal.asked % feeders.len()];
                    if !planted!(self.options, HungryForEver) {
                        let (start, index) = (self.start, self.durable_index().min(commit));
                        self.send(next, Message::FeedRequest { start, index });
                    }
                }
            }
            _ => f.meal.behind = Some((now.monotonic, commit)),
        }
    }

    /// When a passive member that gets no further asks the next feeder.
    pub(super) fn hungry_at(&self) -> Option<Duration> {
        let RoleState::Follower(f) = &self.role else { return None };
        f.meal.behind.map(|(since, _)| since + self.election_timeout())
    }
}
