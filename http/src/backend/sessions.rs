//! Sessions, their watches and their events.

use super::locks::LockMode;
use serde_json::Value;
use std::time::Duration;

/// A new session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// Its id: the index at which it was registered.
    pub session: u64,
    /// It ends when it was not kept alive for so long.
    pub timeout_ms: u64,
}

/// A session that was kept alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptAlive {
    /// It ends when it was not kept alive for so long.
    pub timeout_ms: u64,
    /// The index of its last event, 0 before the first.
    pub event_index: u64,
}

/// A session as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionView {
    /// Its id.
    pub session: u64,
    /// What its client called it.
    pub name: String,
    /// It ends when it was not kept alive for so long.
    pub timeout_ms: u64,
    /// When it was last kept alive, milliseconds of log time since the Unix epoch,
    pub last_keep_alive_ms: u64,
    /// and how long ago that is.
    pub keep_alive_age_ms: u64,
    /// The number of its last command.
    pub sequence: u64,
    /// The number through which it has acknowledged the answers.
    pub acknowledged_sequence: u64,
    /// The index of its last event,
    pub event_index: u64,
    /// and the index through which it has acknowledged events.
    pub acknowledged_index: u64,
    /// Events that are not acknowledged.
    pub queue_depth: u64,
    /// The server its client talked to last.
    pub server: Option<u64>,
    /// The locks it holds, at most 100 of them,
    pub locks: Vec<Vec<u8>>,
    /// and its ephemeral keys, at most 100 of them.
    pub ephemeral_keys: Vec<Vec<u8>>,
}

/// Sessions in order of their ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionPage {
    /// They, without locks and keys.
    pub sessions: Vec<SessionView>,
    /// The id after which the next page starts; `None`: there is none.
    pub next: Option<u64>,
}

/// Asks for a session's events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poll {
    /// Whose.
    pub session: u64,
    /// Acknowledges all through this index; `None`: nothing.
    pub acknowledge: Option<u64>,
    /// Asks for what follows this index; `None`: the acknowledged one. A poll acknowledges what it asks behind, a stream
    /// only where it begins.
    pub after: Option<u64>,
    /// How long to be held until there is one; cut to half the session's timeout unless it is a stream.
    pub wait: Duration,
    /// A poll keeps the session alive, on arrival; the steps of a stream do not.
    pub keep_alive: bool,
    /// The number of the stream, the same in all its steps, which do not supersede each other; `None`: a poll of its own.
    pub stream: Option<u64>,
}

/// A session's events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventPage {
    /// One batch an index, bounded in bytes but at least one if there is any.
    pub batches: Vec<EventBatch>,
    /// The index of the session's last event here, 0 before the first.
    pub event_index: u64,
    /// How long it was really held at most.
    pub wait: Duration,
}

/// All events of a session at one index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventBatch {
    /// The index.
    pub index: u64,
    /// The index of the session's batch before; 0: there was none.
    pub previous: u64,
    /// The events, in order.
    pub events: Vec<SessionEvent>,
}

/// What a session is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionEvent {
    /// What a state machine without keys has published.
    Other(Value),
    /// A key was set.
    Put {
        /// The watch it is told by.
        watch: u64,
        /// The key.
        key: Vec<u8>,
        /// Its new value, if the watch wants values.
        value: Option<Vec<u8>>,
        /// The value's media type.
        content_type: String,
        /// The key's new version.
        version: u64,
        /// It did not exist before.
        created: bool,
    },
    /// A key was removed.
    Delete {
        /// The watch it is told by.
        watch: u64,
        /// The key.
        key: Vec<u8>,
        /// The version it had.
        version: u64,
    },
    /// A key's time was over.
    Expire {
        /// The watch it is told by.
        watch: u64,
        /// The key.
        key: Vec<u8>,
        /// The version it had.
        version: u64,
    },
    /// A lock that it queued for is its own.
    LockAcquired {
        /// The lock.
        lock: Vec<u8>,
        /// The token.
        token: u64,
        /// How it is held.
        mode: LockMode,
    },
    /// A lock was taken away from it.
    LockLost {
        /// The lock.
        lock: Vec<u8>,
        /// The token that is void.
        token: u64,
    },
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Its client ended it.
    Closed,
    /// It was not kept alive.
    TimedOut,
    /// It left too many events unacknowledged.
    QueueFull,
    /// Long ago: the reason is forgotten.
    Forgotten,
}

impl Ended {
    /// As the API has it: `closed`, `timeout`, `queue_full`, `unknown`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::TimedOut => "timeout",
            Self::QueueFull => "queue_full",
            Self::Forgotten => "unknown",
        }
    }
}
