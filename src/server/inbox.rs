//! The queue of a driver: whatever happens to a server goes through it.

use super::requests::{Refusal, Reply, ReplyTo, Request};
use super::transport::frame::{Refused, WireRefusal, WireRequest, WireResponse};
use crate::budget::Share;
use crate::engine::{Identity, Message, RequestId, ServerId, Worked};
use async_channel::{Receiver, RecvError, Sender, TrySendError};
use copycat_storage::{AnyDisk, Entry, MappedFile, Persisted, Prepared, SegmentInfo, SnapshotInfo, SnapshotStream};
use std::time::Duration;

/// Events that may wait for the driver; peers' messages that do not fit are lost, clients are refused.
const INBOX: usize = 16 * 1024;

/// A file of the log, and what keeps it.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) info: SegmentInfo,
    /// How many of its entries the state machine holds.
    pub(crate) live: usize,
    pub(crate) pinned_by: Option<&'static str>,
}

/// A snapshot, taken now or found.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) new: bool,
    pub(crate) info: SnapshotInfo,
}

/// What a compaction has done.
#[derive(Debug)]
pub(crate) struct Compacted {
    pub(crate) compacted: bool,
    pub(crate) segments: u64,
    pub(crate) bytes_before: u64,
    pub(crate) bytes_after: u64,
}

/// Why a snapshot or a compaction is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChoreRefusal {
    /// One is under way, or too many wait for one.
    Busy,
    /// This server has no state of its own now.
    Stateless,
    /// It went wrong; the server's log tells why.
    Failed,
}

/// What happens to a server.
#[derive(Debug)]
pub(crate) enum Event {
    Message {
        from: ServerId,
        identity: Identity,
        cluster: u128,
        message: Message,
        /// What it has of the memory for long frames, until the driver takes it.
        share: Share,
    },
    Persisted(std::io::Result<Persisted<AnyDisk>>),
    Prepared(std::io::Result<Prepared<AnyDisk>>),
    /// Background work has ended.
    Worked(Worked<AnyDisk>),
    /// The machine's own thread has applied what it was given.
    Applied,
    Request {
        request: Request,
        timeout: Duration,
        reply: ReplyTo,
    },
    Forwarded {
        from: ServerId,
        id: RequestId,
        request: WireRequest,
        /// What it has of the memory for long frames, until the driver takes it.
        share: Share,
    },
    ForwardReply {
        from: ServerId,
        id: RequestId,
        result: Result<WireResponse, WireRefusal>,
    },
    /// A server was dialed, and greeted this one as the member that was meant; or it is this one itself.
    Met {
        id: ServerId,
        identity: Identity,
        cluster: u128,
        http: String,
    },
    /// A server of this cluster has come that the configuration does not know, from where it says that it is.
    Stranger {
        id: ServerId,
        peer: String,
    },
    /// This is where such a server is: as the members have it.
    Found {
        id: ServerId,
        peer: String,
    },
    Disconnected {
        id: ServerId,
    },
    /// Entries of the own log, for whoever looks at it.
    Entries {
        from: u64,
        limit: usize,
        bytes: usize,
        reply: Sender<Result<Vec<Entry>, String>>,
    },
    /// The files of the own log.
    Segments {
        reply: Sender<Vec<Segment>>,
    },
    /// The own log is to be compacted.
    Compact {
        major: bool,
        reply: Sender<Result<Compacted, ChoreRefusal>>,
    },
    /// A snapshot is to be taken.
    TakeSnapshot {
        reply: Sender<Result<Taken, ChoreRefusal>>,
    },
    /// The latest snapshot, to be backed up.
    Backup {
        reply: Sender<Option<SnapshotStream<MappedFile>>>,
    },
    /// The entries of these indexes, in order: so many of them as have at most so many bytes, one at least.
    Pick {
        indexes: Vec<u64>,
        bytes: usize,
        reply: Sender<Result<Vec<Entry>, String>>,
    },
    Refused {
        peer: ServerId,
        refused: Refused,
    },
    Shutdown,
}

/// Where events are handed to a driver.
#[derive(Clone, Debug)]
pub(crate) struct Inbox(Sender<Event>);

/// Where the driver takes them from. When it is gone, so is what nobody has taken: whoever waits for an answer to it hears so.
#[derive(Debug)]
pub(crate) struct Arriving(Receiver<Event>);

impl Arriving {
    /// The next event, when there is one; an error if there will be none.
    pub(crate) async fn next(&self) -> Result<Event, RecvError> {
        self.0.recv().await
    }

    /// The next event, if it is there already.
    pub(crate) fn take(&self) -> Option<Event> {
        self.0.try_recv().ok()
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        self.0.close();
        while self.0.try_recv().is_ok() {}
    }
}

impl Inbox {
    pub(crate) fn new() -> (Self, Arriving) {
        let (sender, receiver) = async_channel::bounded(INBOX);
        (Self(sender), Arriving(receiver))
    }

    /// Hands an event over if there is room; says whether there was.
    pub(crate) fn offer(&self, event: Event) -> bool {
        self.0.try_send(event).is_ok()
    }

    /// The same; says whether there is no room, or nobody to take it any more.
    pub(crate) fn try_offer(&self, event: Event) -> Result<(), Refusal> {
        self.0.try_send(event).map_err(|e| match e {
            TrySendError::Full(_) => Refusal::Overloaded,
            TrySendError::Closed(_) => Refusal::ShuttingDown,
        })
    }

    /// Hands a request to the driver, and waits for its answer.
    pub(crate) async fn ask(&self, request: Request, timeout: Duration) -> Result<Reply, Refusal> {
        let (reply, answer) = async_channel::bounded(1);
        self.try_offer(Event::Request { request, timeout, reply: ReplyTo::One(reply) })?;
        // The driver answers everything that it takes, in time; a driver that has ended drops what it has.
        answer.recv().await.unwrap_or(Err(Refusal::LeaderLost))
    }

    /// Hands an event over, waiting for room: for threads of the server's own. A driver that has ended needs none.
    pub(crate) fn deliver(&self, event: Event) {
        let _ = self.0.send_blocking(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Change;
    use async_std::{future, task};

    #[test]
    fn who_asked_a_driver_that_is_gone_hears_so() {
        let (inbox, arriving) = Inbox::new();
        let (reply, answer) = async_channel::bounded(1);
        let request = || Request::Change(Change::Remove { id: 1, configuration: 0, force: false });
        let timeout = Duration::from_secs(60);
        inbox.try_offer(Event::Request { request: request(), timeout, reply: ReplyTo::One(reply) }).unwrap();
        drop(arriving);
        let heard = future::timeout(Duration::from_secs(20), answer.recv());
        assert!(task::block_on(heard).expect("an end of the waiting").is_err());
        assert_eq!(task::block_on(inbox.ask(request(), timeout)), Err(Refusal::ShuttingDown));
        assert!(!inbox.offer(Event::Shutdown));
        inbox.deliver(Event::Shutdown);
    }
}
