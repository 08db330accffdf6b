//! A thread of the state machine's own: it applies what the engine lends, so that a machine that takes long delays nothing
//! else that its server does.

use super::inbox::{Event, Inbox};
use crate::engine::machine::StateMachine;
use crate::engine::{AppliedJob, ApplyJob};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

/// What came of a job, or the panic in which it ended.
type Outcome<M> = Result<AppliedJob<M>, Box<dyn Any + Send>>;

/// At most one job is out at a time, so neither channel is ever full.
pub(super) struct MachineThread<M: StateMachine> {
    jobs: SyncSender<ApplyJob<M>>,
    done: Receiver<Outcome<M>>,
}

impl<M: StateMachine> MachineThread<M> {
    /// Starts it. It ends when this value is dropped and its job is done, which nobody waits for: user code may take long.
    pub(super) fn start(name: &str, inbox: Inbox) -> std::io::Result<Self> {
        let (jobs, to_do) = sync_channel::<ApplyJob<M>>(1);
        let (outcomes, done) = sync_channel(1);
        let run = move || {
            for job in to_do {
                // The machine is not used again after a panic: the server stops.
                let outcome = catch_unwind(AssertUnwindSafe(|| job.run()));
                if outcomes.send(outcome).is_err() {
                    return;
                }
                inbox.deliver(Event::Applied);
            }
        };
        thread::Builder::new().name(format!("{name}-apply")).spawn(run)?;
        Ok(Self { jobs, done })
    }

    pub(super) fn apply(&self, job: ApplyJob<M>) {
        // It takes jobs as long as this value lives.
        let _ = self.jobs.send(job);
    }

    /// The job that is done.
    ///
    /// # Panics
    /// If the machine did.
    pub(super) fn done(&self) -> Option<AppliedJob<M>> {
        match self.done.try_recv().ok()? {
            Ok(job) => Some(job),
            Err(panic) => resume_unwind(panic),
        }
    }
}
