//! Locks.

use std::time::Duration;

/// How a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMode {
    /// By one alone.
    Exclusive,
    /// Together with others that share it.
    Shared,
}

/// Who has a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockHolder {
    /// The session.
    pub session: u64,
    /// Its fencing token: higher than any given before, over all locks.
    pub token: u64,
    /// How it is held.
    pub mode: LockMode,
    /// Since when, milliseconds of log time since the Unix epoch.
    pub since_ms: u64,
}

/// Who waits for a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockWaiter {
    /// The session.
    pub session: u64,
    /// How it wants to hold it.
    pub mode: LockMode,
    /// Since when, milliseconds of log time since the Unix epoch.
    pub since_ms: u64,
}

/// A lock as it is. One that nobody holds or waits for does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockView {
    /// Its name.
    pub lock: Vec<u8>,
    /// Who has it, in the order of their tokens.
    pub holders: Vec<LockHolder>,
    /// Who waits, first come first.
    pub queue: Vec<LockWaiter>,
}

/// How a lock is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockRequest {
    /// Its name.
    pub lock: Vec<u8>,
    /// How it is wanted.
    pub mode: LockMode,
    /// How long to be held until it is granted; `None`: only a try. It is cut to half the session's timeout.
    pub wait: Option<Duration>,
    /// Stay in the queue, and be told by an event.
    pub queue: bool,
}

/// What became of a lock that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockOutput {
    /// It is held.
    Granted {
        /// The token.
        token: u64,
        /// How it is held.
        mode: LockMode,
    },
    /// The session stays in the queue, and an event will tell.
    Queued {
        /// Its place, from 1.
        position: u64,
        /// Who has the lock, and all who wait.
        view: LockView,
        /// How long it was really held at most.
        wait: Duration,
    },
    /// It was not granted, and the session is in no queue.
    Held {
        /// How many would be, or were, before it, plus 1.
        position: u64,
        /// Who has the lock, and all who wait.
        view: LockView,
        /// How long it was really held at most.
        wait: Duration,
    },
}
