//! Queries: what each one waits for, and how it is answered.
//!
//! A linearizable query takes the commit index as its read index when a round of heartbeats begins *after* it arrived;
//! one round serves all that wait. When a majority has answered that round, and the read index is applied, it is
//! answered (Raft dissertation, 6.4). A lease query skips the round while the lease holds. A sequential query waits for
//! its index to be applied.

#[allow(unused_imports)] // without planted bugs the macro expands to `false`
use super::planted;
use super::{Engine, Fatal, Query, Refusal, Response, RoleState, StateMachine};
use crate::engine::machine::{Ask, Outcome};
use crate::engine::sessions::Submit;
use crate::engine::types::{Consistency, Index, Now, RequestId};
use copycat_storage::Disk;
use std::collections::BTreeMap;

/// What is done once the state is fresh enough.
#[derive(Debug)]
#[cfg_attr(feature = "planted-bugs", derive(Clone))]
pub(super) enum Task {
    /// A question is answered.
    Ask(Ask),
    /// What a client handed in is looked at again: its session was not known.
    Submit(Submit),
}

#[derive(Debug)]
#[cfg_attr(feature = "planted-bugs", derive(Clone))]
struct Waiting {
    id: RequestId,
    consistency: Consistency,
    task: Task,
}

#[derive(Debug, Default)]
#[cfg_attr(feature = "planted-bugs", derive(Clone))]
pub(super) struct Reads {
    /// Linearizable, waiting for the next round.
    arrived: Vec<Waiting>,
    /// Linearizable, waiting for this round to be confirmed; then for this index to be applied.
    round: Option<(u64, Index, Vec<Waiting>)>,
    /// Waiting for their index to be applied.
    ready: BTreeMap<(Index, RequestId), Waiting>,
    /// Sequential, on a server that has not yet learned how far the log is committed.
    early: Vec<(Index, Waiting)>,
    /// The commit index first learned from a leader that had learned it in its own term: nothing is answered from a state
    /// below it.
    learned: Option<Index>,
}

impl Reads {
    fn len(&self) -> usize {
        self.arrived.len() + self.round.as_ref().map_or(0, |(_, _, w)| w.len()) + self.ready.len() + self.early.len()
    }

    pub(super) fn cancel(&mut self, id: RequestId) {
        self.arrived.retain(|w| w.id != id);
        if let Some((_, _, waiting)) = &mut self.round {
            waiting.retain(|w| w.id != id);
        }
        self.ready.retain(|&(_, waiting), _| waiting != id);
        self.early.retain(|(_, w)| w.id != id);
    }

    /// A live leader has committed an entry of its own term, and the log through `commit`.
    pub(super) fn learn(&mut self, commit: Index) {
        if self.learned.is_none() {
            self.learned = Some(commit);
            for (index, waiting) in std::mem::take(&mut self.early) {
                self.ready.insert((index.max(commit), waiting.id), waiting);
            }
        }
    }

    pub(super) fn learned(&self) -> Option<Index> {
        self.learned
    }

    /// The queries that only a leader can answer.
    pub(super) fn leave_office(&mut self) -> Vec<RequestId> {
        let unconfirmed = self.round.take().map(|(_, _, w)| w).unwrap_or_default();
        self.arrived.drain(..).chain(unconfirmed).map(|w| w.id).collect()
    }

    /// Forgets everything: the state is gone. Returns who waits.
    pub(super) fn abandon(&mut self) -> Vec<RequestId> {
        let mut waiting = self.leave_office();
        let Self { ready, early, .. } = std::mem::take(self);
        waiting.extend(ready.into_values().chain(early.into_iter().map(|(_, w)| w)).map(|w| w.id));
        waiting
    }

    /// Something waits for entries through this index to be committed; 0: nothing.
    pub(super) fn wants(&self) -> Index {
        // Who does not yet know how far the log is committed waits for whatever comes next.
        let early = if self.early.is_empty() { 0 } else { Index::MAX };
        self.ready.last_key_value().map_or(early, |(&(index, _), _)| index.max(early))
    }
}

impl<D: Disk, M: StateMachine> Engine<D, M> {
    pub(super) fn query(&mut self, now: Now, id: RequestId, query: Query) {
        if self.reads.len() >= self.options.waiting_queries {
            return self.reply(id, Err(Refusal::Overloaded));
        }
        let Query { consistency, index, ask } = query;
        let waiting = Waiting { id, consistency, task: Task::Ask(ask) };
        if consistency == Consistency::Sequential {
            return self.sequential(index, waiting);
        }
        if !matches!(self.role, RoleState::Leader(_)) {
            return self.reply(id, Err(Refusal::NotLeader { leader: self.leader }));
        }
        if planted!(self.options, ReadWithoutRound)
            || consistency == Consistency::Lease && self.lease_end().is_some_and(|end| now.monotonic < end)
        {
            self.reads.ready.insert((self.commit, id), waiting);
        } else {
            self.reads.arrived.push(Waiting { consistency: Consistency::Linearizable, ..waiting });
        }
    }

    /// Learns the leader's commit index, once that is one it learned in its own term. A new leader tells the one that it had
    /// before, which may be older than what was answered from; but one of its own entries is committed only with all that
    /// was before it. That such an entry is at or below the index shows in the log here, as soon as it is here.
    pub(super) fn learn_readiness(&mut self) {
        let RoleState::Follower(f) = &self.role else { return };
        let told = f.leader_commit;
        if self.reads.learned.is_none()
            && told > 0
            && self.storage.term(told.min(self.storage.last_index())) == Some(self.term())
        {
            self.reads.learn(told);
        }
    }

    /// Whether this server is too far behind its leader to answer sequential queries, or has no state at all.
    fn is_behind(&self) -> bool {
        !self.is_stateful()
            || matches!(&self.role, RoleState::Follower(f)
                if f.leader_commit > self.applied() + self.options.sequential_lag)
    }

    /// Answers a sequential query if that needs no waiting: what is applied is at or above its index. Changes nothing, so
    /// that it may be asked between any two steps.
    #[must_use]
    pub fn query_now(&self, index: Index, ask: &Ask) -> Option<Response> {
        let applied = self.applied();
        if self.is_behind() || applied < index.max(self.reads.learned()?) {
            return None;
        }
        let state = self.executor()?;
        let output = state.ask(ask).filter(|output| !matches!(output, Outcome::Refused(_)))?;
        let (consistency, event_index) = (Some(Consistency::Sequential), state.event_index(ask));
        Some(Response { index: applied, term: self.term(), event_index, output, consistency, valid_until: None })
    }

    fn sequential(&mut self, index: Index, waiting: Waiting) {
        if self.is_behind() {
            return self.reply(waiting.id, Err(Refusal::Behind));
        }
        match self.reads.learned {
            Some(learned) => {
                self.reads.ready.insert((index.max(learned), waiting.id), waiting);
            }
            None => self.reads.early.push((index, waiting)),
        }
    }

    /// Does this when it is sure that this server led after now: as a linearizable query.
    pub(super) fn look(&mut self, id: RequestId, task: Task) {
        if self.reads.len() >= self.options.waiting_queries {
            return self.reply(id, Err(Refusal::Overloaded));
        }
        self.reads.arrived.push(Waiting { id, consistency: Consistency::Linearizable, task });
    }

    /// Begins a round of heartbeats if queries wait for one and none is under way.
    pub(super) fn begin_read_round(&mut self, now: Now) {
        if self.reads.arrived.is_empty() || self.reads.round.is_some() || !self.serves_reads() {
            return;
        }
        let read_index = self.commit;
        let round = self.start_round(now);
        self.reads.round = Some((round, read_index, std::mem::take(&mut self.reads.arrived)));
    }

    /// Answers whatever has got what it waited for.
    pub(super) fn serve_reads(&mut self, now: Now) -> Result<(), Fatal> {
        if let RoleState::Leader(leader) = &self.role
            && let Some((round, _, _)) = &self.reads.round
            && leader.confirmed_round() >= *round
            && let Some((_, read_index, waiting)) = self.reads.round.take()
        {
            let read_index = if planted!(self.options, ReadBeforeApplied) { 0 } else { read_index };
            for w in waiting {
                self.reads.ready.insert((read_index, w.id), w);
            }
        }
        if !self.is_home() {
            return Ok(());
        }
        let applied = self.applied();
        while let Some(entry) = self.reads.ready.first_entry()
            && entry.key().0 <= applied
        {
            let Waiting { id, consistency, task } = entry.remove();
            match task {
                Task::Ask(ask) => self.answer(now, id, consistency, ask),
                Task::Submit(submit) => self.submit(now, id, submit, true)?,
            }
        }
        Ok(())
    }

    fn answer(&mut self, now: Now, id: RequestId, consistency: Consistency, ask: Ask) {
        let valid_until = if consistency == Consistency::Lease {
            match self.lease_end() {
                Some(end) if now.monotonic < end => Some(end),
                _ if matches!(self.role, RoleState::Leader(_)) => {
                    let consistency = Consistency::Linearizable;
                    return self.reads.arrived.push(Waiting { id, consistency, task: Task::Ask(ask) });
                }
                _ => return self.reply(id, Err(Refusal::NotLeader { leader: self.leader })),
            }
        } else {
            None
        };
        let result = match self.state().ask(&ask) {
            Some(Outcome::Refused(error)) => Err(Refusal::Session(error)),
            Some(output) => Ok(Response {
                index: self.applied(),
                term: self.term(),
                event_index: self.state().event_index(&ask),
                output,
                consistency: Some(consistency),
                valid_until,
            }),
            None => Err(Refusal::Malformed),
        };
        self.reply(id, result);
    }
}
