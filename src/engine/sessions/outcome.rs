//! What entries and questions about sessions answer: the same on every server.

use super::events::Batch;
use crate::engine::types::{Index, ServerId, SessionId, Term};
use bincode::{Decode, Encode};

/// What a command or a query answered.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Outcome {
    /// The machine's output, encoded.
    Output(Vec<u8>),
    /// The operation's bytes are none of this machine: it changed nothing, on every server alike.
    Malformed,
    /// A session was registered.
    Registered {
        /// Its id.
        session: SessionId,
        /// Its timeout in milliseconds.
        timeout_ms: u64,
    },
    /// A session was kept alive.
    KeptAlive {
        /// Its timeout in milliseconds.
        timeout_ms: u64,
        /// The index of its last event; 0 before the first.
        event_index: Index,
    },
    /// A session was ended by its client.
    Closed,
    /// Nothing was done.
    Refused(SessionError),
    /// A session's events.
    Events(EventPage),
    /// Sessions.
    Sessions(Vec<SessionInfo>),
}

impl Outcome {
    /// About how many bytes it takes to keep.
    pub(crate) fn bytes(&self) -> u64 {
        if let Self::Output(bytes) = self { bytes.len() as u64 } else { 0 }
    }
}

/// Why nothing was done for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, thiserror::Error)]
pub enum SessionError {
    /// No session with this id was registered through the index of this answer.
    #[error("there is no such session, and never was")]
    NotFound,
    /// It has ended.
    #[error("the session has ended: {0}")]
    Ended(EndReason),
    /// A number that comes too early.
    #[error("the session's next command is number {expected}, which has not come")]
    SequenceGap {
        /// The number that is expected.
        expected: u64,
    },
    /// The answer to this number was acknowledged, and is forgotten.
    #[error("answers are acknowledged through number {acknowledged}, and forgotten")]
    SequenceAcknowledged {
        /// Through which number.
        acknowledged: u64,
    },
    /// Another command had this number.
    #[error("the session has given this number to another command")]
    SequenceMismatch,
    /// Another request had this idempotency key.
    #[error("this idempotency key was given to another request")]
    IdempotencyMismatch,
    /// The events that are asked for were acknowledged, and are forgotten.
    #[error("events are acknowledged through index {acknowledged}, and forgotten")]
    EventsGap {
        /// Through which index.
        acknowledged: Index,
    },
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum EndReason {
    /// By its client.
    Closed,
    /// It was not kept alive.
    TimedOut,
    /// It left too many events unacknowledged.
    QueueFull,
    /// Long ago: the reason is forgotten.
    Forgotten,
}

impl std::fmt::Display for EndReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Closed => "its client closed it",
            Self::TimedOut => "it was not kept alive",
            Self::QueueFull => "it left too many events unacknowledged",
            Self::Forgotten => "long ago, for a reason that is forgotten",
        })
    }
}

/// The answer to one command, as it is kept for repeats of it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Answer {
    /// The index of the entry that did it,
    pub index: Index,
    /// and its term.
    pub term: Term,
    /// Of a session's command: the index of the session's last event before it.
    pub event_index: Option<Index>,
    /// What it answered.
    pub outcome: Outcome,
}

/// A part of a session's events.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct EventPage {
    /// The batches in order.
    pub batches: Vec<Batch>,
    /// The index of the session's last event; 0 before the first.
    pub event_index: Index,
    /// The session's timeout in milliseconds.
    pub timeout_ms: u64,
    /// The index of the entry of its latest poll.
    pub poll: Index,
}

/// A session as it is.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SessionInfo {
    /// Its id.
    pub session: SessionId,
    /// What its client calls it.
    pub name: String,
    /// Its timeout in milliseconds.
    pub timeout_ms: u64,
    /// When it was last kept alive, in log time,
    pub kept_at: u64,
    /// and by which entry.
    pub kept_by: Index,
    /// The number of its last command.
    pub sequence: u64,
    /// It has acknowledged the answers through this number.
    pub acknowledged: u64,
    /// The index of its last event.
    pub event_index: Index,
    /// It has acknowledged the events through this index.
    pub event_acknowledged: Index,
    /// Events that are not acknowledged.
    pub queued: u64,
    /// The server its client talked to last; 0: unknown.
    pub server: ServerId,
}
