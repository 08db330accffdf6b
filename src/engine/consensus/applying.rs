//! Applying what is committed, and answering who waits for it.

use super::loan::weight;
use super::{Applied, Engine, Fatal, Output, Refusal, Response, RoleState, StateMachine};
use crate::engine::types::{RequestId, Term};
use copycat_storage::Disk;

impl<D: Disk, M: StateMachine> Engine<D, M> {
    /// Applies committed entries, a bounded number. Returns whether there are more.
    pub(super) fn apply(&mut self) -> Result<bool, Fatal> {
        if self.options.machine_thread {
            // By `lend`.
            return Ok(false);
        }
        let until = self.commit.min(self.applied() + self.options.apply_batch);
        while let Some(executor) = self.loan.home_mut()
            && executor.applied() < until
        {
            let index = executor.applied() + 1;
            let entry = self.storage.get(index)?.ok_or(Fatal::Missing(index))?;
            let bytes = weight(entry.data.len());
            let applied = executor.apply(entry)?;
            self.note_applied(bytes, &applied);
            self.answer_commands(applied);
        }
        Ok(self.applied() < self.commit)
    }

    /// Answers who waited for the entry at this index: whoever's entry it is not, has had no effect.
    pub(super) fn answer_commands(&mut self, applied: Applied) {
        let Applied { index, term, mut answers, .. } = applied;
        if let RoleState::Leader(leader) = &mut self.role {
            leader.sequencing.applied(index);
        }
        while let Some(&(at, of, item, id)) = self.pending.first()
            && at <= index
        {
            self.pending.pop_first();
            let last = answers.len() == 1 && self.pending.first().is_none_or(|&(at, ..)| at > index);
            let answer = if (at, of) != (index, term) {
                None
            } else if last {
                answers.pop()
            } else {
                answers.get(item as usize).cloned()
            };
            let result = answer.map_or(Err(Refusal::NotLeader { leader: self.leader }), Response::or_refusal);
            self.outputs.push(Output::Reply { id, result });
        }
        self.settle_term(term);
    }

    /// An entry of this term is committed: what leaders of earlier terms logged behind it is in the log of no later leader,
    /// and never will be, so whoever waits for that need not wait until another entry takes its place.
    pub(super) fn settle_term(&mut self, term: Term) {
        if term <= self.settled_term {
            return;
        }
        self.settled_term = term;
        let dead: Vec<RequestId> = self.pending.iter().filter(|&&(_, of, ..)| of < term).map(|&(.., id)| id).collect();
        self.pending.retain(|&(_, of, ..)| of >= term);
        for id in dead {
            self.reply(id, Err(Refusal::NotLeader { leader: self.leader }));
        }
    }

    /// An entry is applied: it counts towards the next snapshot, and the log is told what is needed no longer.
    pub(super) fn note_applied(&mut self, bytes: u64, applied: &Applied) {
        self.background.applied += bytes;
        if !applied.held {
            self.storage.release(applied.index);
        }
        for &index in &applied.released {
            self.storage.release(index);
        }
    }
}
