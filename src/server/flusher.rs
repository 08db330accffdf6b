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
    /// The latest preparation; the storage asks for one at a time.
    preparing: Option<JoinHandle<()>>,
}

impl Flusher {
    pub(super) fn start(name: &str, inbox: Inbox) -> std::io::Result<Self> {
        // The storage hands out one job at a time.
        let (jobs, queue) = sync_channel(1);
        let back = inbox.clone();
        let thread = thread::Builder::new().name(format!("{name}-flush")).spawn(move || run(&queue, &back))?;
        Ok(Self { jobs, inbox, thread, preparing: None })
    }

    /// Runs this job; its result comes to the inbox.
    pub(super) fn flush(&self, job: FlushJob<AnyDisk>) {
        // The thread lives as long as this handle; if it is gone, no promise is ever kept.
        let _ = self.jobs.send(job);
    }

    /// Creates the next segment, on a thread of its own: allocating it must not delay a flush.
    pub(super) fn prepare(&mut self, job: PrepareJob<AnyDisk>) {
        let inbox = self.inbox.clone();
        let spawned = thread::Builder::new().name("copycat-prepare".into()).spawn(move || {
            inbox.deliver(Event::Prepared(job.run()));
        });
        match spawned {
            Ok(thread) => self.preparing = Some(thread),
            Err(e) => {
                self.inbox.offer(Event::Prepared(Err(e)));
            }
        }
    }

    /// Ends the threads when what they do is done: then nobody has the disk any more.
    pub(super) fn stop(self) {
        drop(self.jobs);
        for thread in [Some(self.thread), self.preparing].into_iter().flatten() {
            let _ = thread.join();
        }
    }
}

fn run(queue: &Receiver<FlushJob<AnyDisk>>, inbox: &Inbox) {
    while let Ok(job) = queue.recv() {
        inbox.deliver(Event::Persisted(job.run()));
    }
}
