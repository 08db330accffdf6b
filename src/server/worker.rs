//! The thread on which snapshots are written and logs compacted: slowly, so that flushes have the disk.

use super::inbox::{Event, Inbox};
use crate::engine::Work;
use copycat_storage::AnyDisk;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Bytes read or written in one go,
const SLICE: usize = 256 * 1024;
/// and the rest after it: at most some 100 MB a second.
const REST: Duration = Duration::from_millis(2);

/// Where work is handed to.
#[derive(Debug)]
pub(super) struct Worker {
    works: SyncSender<Work<AnyDisk>>,
    stopping: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Worker {
    pub(super) fn start_thread(name: &str, inbox: Inbox) -> std::io::Result<Self> {
        // The engine hands out one work at a time.
        let (works, queue) = sync_channel(1);
        let stopping = Arc::new(AtomicBool::new(false));
        let flag = stopping.clone();
        let thread = thread::Builder::new().name(format!("{name}-work")).spawn(move || run(&queue, &inbox, &flag))?;
        Ok(Self { works, stopping, thread })
    }

    /// Does this; what comes of it comes to the inbox.
    pub(super) fn start(&self, work: Work<AnyDisk>) {
        let _ = self.works.send(work);
    }

    /// Ends the thread. Work under way is dropped: the next start deletes what it leaves.
    pub(super) fn stop(self) {
        self.stopping.store(true, Ordering::Release);
        drop(self.works);
        let _ = self.thread.join();
    }
}

fn run(queue: &Receiver<Work<AnyDisk>>, inbox: &Inbox, stopping: &AtomicBool) {
    while let Ok(work) = queue.recv() {
        let rest = || {
            thread::sleep(REST);
            !stopping.load(Ordering::Acquire)
        };
        if let Some(worked) = work.run(SLICE, rest) {
            inbox.deliver(Event::Worked(worked));
        }
    }
}
