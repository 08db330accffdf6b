//! What goes wrong for a client, and how its session can end.

use crate::engine::sessions::EndReason;

/// Why an operation has no answer. Of each it is known whether the operation had an effect: see [`Error::outcome`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The client was closed. Not applied.
    #[error("the client is closed")]
    Closed,
    /// No server was reached, and the connection strategy says to try no further. Not applied.
    #[error("no server was reached: {0}")]
    Unreachable(String),
    /// The session ended before the operation was sent. Not applied.
    #[error("the session is lost: {0}")]
    SessionLost(Lost),
    /// The command was sent, and the session was lost before its answer came: it may or may not have been applied.
    #[error("the session was lost before the answer came: the command may have been applied, or not")]
    Unknown,
    /// Larger than the servers take. Not applied.
    #[error("the operation is larger than the servers take")]
    TooLarge,
    /// The leader's disk is full. Not applied.
    #[error("the leader's disk is full")]
    StorageFull,
    /// The servers run another state machine than this client: not an operation of theirs. Not applied.
    #[error("the servers' state machine does not know this operation, or this client not its answer")]
    Malformed,
    /// The time that the caller set ran out. A command goes on: it may be applied yet.
    #[error("the time is over")]
    Timeout,
    /// The state machine answered what this call cannot make sense of.
    #[error("an answer to another question")]
    Unexpected,
    /// A key's name, or a lock's, is empty or too long. Not applied.
    #[error("a key has 1 to 4096 bytes, a lock's name 1 to 255")]
    BadName,
    /// The key has another version than the call requires. Not applied.
    #[error("the key is not as required: its version is {version:?}")]
    ConditionFailed {
        /// The version that it has; `None`: it does not exist.
        version: Option<u64>,
    },
    /// The lock that guards the call is not held with its token any more. Not applied.
    #[error("the lock is not held with this token any more")]
    TokenStale,
    /// Somebody else has the lock. Not applied.
    #[error("somebody else has the lock")]
    LockHeld,
    /// The session has as many watches as it may have. Not applied.
    #[error("the session has as many watches as it may have")]
    TooManyWatches,
    /// The transaction would read too much. Not applied.
    #[error("the transaction would read more than its bound")]
    ResultTooLarge,
}

/// Whether an operation without an answer had an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It had none, and will have none.
    NotApplied,
    /// It may have had one, or may yet.
    Unknown,
}

impl Error {
    /// What became of the operation.
    #[must_use]
    pub fn outcome(&self) -> Fate {
        match self {
            Self::Unknown | Self::Timeout | Self::Unexpected => Fate::Unknown,
            _ => Fate::NotApplied,
        }
    }
}

/// How a session was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lost {
    /// The cluster has ended it.
    Ended(EndReason),
    /// The cluster does not know it: it was wiped, or restored from a backup.
    NotFound,
    /// The client gave it up.
    GivenUp,
    /// Client and cluster do not agree about it.
    Broken,
}

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ended(EndReason::Closed) => "it was closed",
            Self::Ended(EndReason::TimedOut) => "it timed out",
            Self::Ended(EndReason::QueueFull) => "too many of its events were not taken",
            Self::Ended(EndReason::Forgotten) => "it ended long ago",
            Self::NotFound => "the cluster does not know it",
            Self::GivenUp => "the client gave it up",
            Self::Broken => "client and cluster do not agree about it",
        })
    }
}

/// How a client stands with the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// A session is open, and the connected server has confirmed it.
    Connected,
    /// There is no connection, or no session yet: the client tries to get there. Operations wait.
    Suspended,
    /// The client has ended, or its session is lost and it does not recover by itself.
    Closed,
}
