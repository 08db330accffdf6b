//! The executor, and how it is lent out: with [`Options::machine_thread`](crate::engine::Options::machine_thread) entries are
//! applied on another thread, so that a state machine that takes long delays no heartbeat and no vote (Copycat's guide, 4).
//!
//! It leaves with the entries that it is to apply, and comes back with what became of them. Invariant: while it is out,
//! nothing is applied, asked, frozen, replaced or discarded here; what needs it waits. What is applied counts from the
//! moment it is back.

use super::{Applied, Engine, Executor, Fatal, Refusal, RoleState, StateMachine};
use crate::engine::machine::{ApplyError, Live};
use crate::engine::sessions::Submit;
use crate::engine::types::{Index, Now, RequestId};
use copycat_storage::{Disk, Entry};

/// What is known of the state also while it is out.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    pub(super) applied: Index,
    pub(super) digest: u32,
    pub(super) last_digest: (Index, u32),
    pub(super) time: u64,
    pub(super) sessions: usize,
    pub(super) freezes: bool,
}

impl Seen {
    fn of<M: StateMachine>(executor: &Executor<M>) -> Self {
        Self {
            applied: executor.applied(),
            digest: executor.digest(),
            last_digest: executor.last_digest(),
            time: executor.time(),
            sessions: executor.sessions().len(),
            freezes: executor.freezes(),
        }
    }
}

/// Where the executor is.
pub(super) enum Loan<M: StateMachine> {
    Home(Box<Executor<M>>),
    /// What was seen of it last, and the entries that the machine held.
    Out(Seen, Live),
}

impl<M: StateMachine> Loan<M> {
    pub(super) fn new(executor: Executor<M>) -> Self {
        Self::Home(Box::new(executor))
    }

    pub(super) fn home(&self) -> Option<&Executor<M>> {
        match self {
            Self::Home(executor) => Some(executor),
            Self::Out(..) => None,
        }
    }

    pub(super) fn home_mut(&mut self) -> Option<&mut Executor<M>> {
        match self {
            Self::Home(executor) => Some(executor),
            Self::Out(..) => None,
        }
    }
}

/// Entries to be applied, on another thread, in order.
pub struct ApplyJob<M: StateMachine> {
    executor: Box<Executor<M>>,
    entries: Vec<Entry>,
}

/// An [`ApplyJob`] that was run.
pub struct AppliedJob<M: StateMachine> {
    executor: Box<Executor<M>>,
    applied: Vec<(u64, Applied)>,
    error: Option<ApplyError>,
}

impl<M: StateMachine> std::fmt::Debug for ApplyJob<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApplyJob").field("entries", &self.entries.len()).finish_non_exhaustive()
    }
}

impl<M: StateMachine> std::fmt::Debug for AppliedJob<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AppliedJob").field("entries", &self.applied.len()).finish_non_exhaustive()
    }
}

impl<M: StateMachine> ApplyJob<M> {
    /// Applies them. Takes as long as the state machine takes.
    ///
    /// # Panics
    /// If the machine does: then the server must stop.
    #[must_use]
    pub fn run(mut self) -> AppliedJob<M> {
        let (mut applied, mut error) = (Vec::with_capacity(self.entries.len()), None);
        for entry in &self.entries {
            match self.executor.apply(entry.borrow()) {
                Ok(one) => applied.push((weight(entry.data.len()), one)),
                Err(e) => {
                    error = Some(e);
                    break;
                }
            }
        }
        AppliedJob { executor: self.executor, applied, error }
    }
}

/// What an entry counts for towards the next snapshot, in bytes.
pub(super) fn weight(data: usize) -> u64 {
    64 + data as u64
}

impl<D: Disk, M: StateMachine> Engine<D, M> {
    /// The state machine and what is kept beside it; `None` while they are lent.
    pub fn executor(&self) -> Option<&Executor<M>> {
        self.loan.home()
    }

    /// How many entries the machine holds.
    pub fn live(&self) -> usize {
        self.held().len()
    }

    /// How many entries from `first` to `last` the machine holds.
    pub fn live_between(&self, first: Index, last: Index) -> usize {
        self.held().between(first, last)
    }

    fn held(&self) -> &Live {
        match &self.loan {
            Loan::Home(executor) => executor.held(),
            Loan::Out(_, live) => live,
        }
    }

    pub(super) fn is_home(&self) -> bool {
        self.loan.home().is_some()
    }

    /// The executor, where it is known to be here.
    pub(super) fn state(&self) -> &Executor<M> {
        self.loan.home().expect("what needs the state begins when it is here")
    }

    /// The executor, where it is known to be here.
    pub(super) fn state_mut(&mut self) -> &mut Executor<M> {
        self.loan.home_mut().expect("what needs the state begins when it is here")
    }

    pub(super) fn seen(&self) -> Seen {
        match &self.loan {
            Loan::Home(executor) => Seen::of(executor),
            Loan::Out(seen, _) => *seen,
        }
    }

    /// The last applied index.
    pub fn applied(&self) -> Index {
        match &self.loan {
            Loan::Home(executor) => executor.applied(),
            Loan::Out(seen, _) => seen.applied,
        }
    }

    /// Committed entries for another thread to apply, with the state machine, if there are any and it is here. The job goes
    /// back, when it has run, through [`take_back`](Self::take_back). `None`, and always, without
    /// [`Options::machine_thread`](crate::engine::Options::machine_thread).
    ///
    /// # Errors
    /// If the log cannot be read.
    pub fn lend(&mut self) -> Result<Option<ApplyJob<M>>, Fatal> {
        let next = self.applied() + 1;
        let until = self.commit.min(self.applied() + self.options.apply_batch);
        // What is about to go is not lent; a leader gives up nothing before it has handed its office over, for which it
        // must get on.
        let going = self.discard && matches!(self.role, RoleState::Follower(_)) || self.is_installing();
        if !self.options.machine_thread || !self.is_home() || next > until || going {
            return Ok(None);
        }
        let mut entries = Vec::new();
        for index in next..=until {
            entries.push(self.storage.get(index)?.ok_or(Fatal::Missing(index))?.to_owned());
        }
        let out = Loan::Out(self.seen(), self.state().held().clone());
        let Loan::Home(executor) = std::mem::replace(&mut self.loan, out) else { return Ok(None) };
        Ok(Some(ApplyJob { executor, entries }))
    }

    /// The executor is back. To be followed by [`poll`](Self::poll), which takes in what clients handed in meanwhile.
    ///
    /// # Errors
    /// If an entry could not be applied: the server must stop.
    ///
    /// # Panics
    /// If the executor was not out.
    pub fn take_back(&mut self, job: AppliedJob<M>) -> Result<(), Fatal> {
        assert!(!self.is_home(), "an executor came back that was not out");
        let AppliedJob { executor, applied, error } = job;
        self.loan = Loan::Home(executor);
        let listening = self.listening;
        self.state_mut().listen(listening);
        for (bytes, applied) in applied {
            self.note_applied(bytes, &applied);
            self.answer_commands(applied);
        }
        if let Some(error) = error {
            return Err(error.into());
        }
        Ok(())
    }

    /// Whether this leader can judge numbers, keys and sessions: the executor is here, and has applied all that earlier
    /// leaders have logged.
    fn judges(&self) -> bool {
        let RoleState::Leader(leader) = &self.role else { return false };
        self.loan.home().is_some_and(|executor| executor.applied() >= leader.initialize)
    }

    /// Keeps what a client hands in until it can be judged. Gives it back if it need not wait.
    pub(super) fn defer(&mut self, id: RequestId, submit: Submit) -> Option<Submit> {
        let leads = matches!(self.role, RoleState::Leader(_));
        if !leads || self.judges() || matches!(submit, Submit::Command { session: 0, key: None, .. }) {
            return Some(submit);
        }
        if self.deferred.len() < self.options.waiting_queries {
            self.deferred.push((id, submit));
        } else {
            self.reply(id, Err(Refusal::Overloaded));
        }
        None
    }

    /// Whether something that had to wait need not any more.
    pub(super) fn has_deferred(&self) -> bool {
        !self.deferred.is_empty() && self.judges()
    }

    /// Takes in what had to wait.
    pub(super) fn take_deferred(&mut self, now: Now) -> Result<(), Fatal> {
        if self.has_deferred() {
            for (id, submit) in std::mem::take(&mut self.deferred) {
                self.submit(now, id, submit, false)?;
            }
        }
        Ok(())
    }
}
