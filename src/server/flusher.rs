//! The thread that waits for the disk, so that the driver never does.

use super::inbox::{Event, Inbox};
use copycat_storage::{AnyDisk, FlushJob, PrepareJob};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

/// Where jobs are handed to.
#[derive(Debug)]
pub(super) struct Flusher {
    jobs: SyncSender<FlushJob<AnyDisk>>,
    inbox: Inbox,
    thread: JoinHandle<()>,
}

impl Flusher {
    pub(super) fn start(name: &str, inbox: Inbox) -> std::io::Result<Self> {
        // The storage hands out one job at a time.
        let (jobs, queue) = sync_channel(1);
        let back = inbox.clone();
        let thread = thread::Builder::new().name(format!("{name}-flush")).spawn(move || run(&queue, &back))?;
        Ok(Self { jobs, inbox, thread })
    }

    /// Runs this job; its result comes to the inbox.
    pub(super) fn flush(&self, job: FlushJob<AnyDisk>) {
        // The thread lives as long as this handle; if it is gone, no promise is ever kept.
        let _ = self.jobs.send(job);
    }

    /// Creates the next segment, on a thread of its own: allocating it must not delay a flush.
    pub(super) fn prepare(&self, job: PrepareJob<AnyDisk>) {
        let inbox = self.inbox.clone();
        let spawned = thread::Builder::new().name("copycat-prepare".into()).spawn(move || {
            inbox.deliver(Event::Prepared(job.run()));
        });
        if let Err(e) = spawned {
            self.inbox.offer(Event::Prepared(Err(e)));
        }
    }

    /// Ends the thread when the job under way has ended.
    pub(super) fn stop(self) {
        drop(self.jobs);
        let _ = self.thread.join();
    }
}

fn run(queue: &Receiver<FlushJob<AnyDisk>>, inbox: &Inbox) {
    while let Ok(job) = queue.recv() {
        inbox.deliver(Event::Persisted(job.run()));
    }
}
