//! What all members of the cluster have alike.

use std::time::Duration;

/// A setting whose value may be asked for only within a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Its name in JSON.
    pub field: &'static str,
    /// The least and the most; times in milliseconds.
    pub least: u64,
    /// The most.
    pub most: u64,
    /// Whether it is a time.
    pub is_time: bool,
}

/// Settings that somebody wants to be something else; what is `None` is left as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SettingsChange {
    /// The `configuration` that this was decided on.
    pub configuration: u64,
    /// How long a follower waits for its leader before it asks for votes: this long to twice this long.
    pub election_timeout: Option<Duration>,
    /// By how much clocks may drift apart, in thousandths.
    pub clock_drift_permille: Option<u64>,
    /// The most bytes of an entry.
    pub largest_entry: Option<u64>,
    /// Most open sessions.
    pub sessions: Option<u64>,
    /// Most answers that a session may leave unacknowledged,
    pub session_answers: Option<u64>,
    /// and their bytes.
    pub session_answer_bytes: Option<u64>,
    /// Most events that a session may leave unacknowledged,
    pub session_events: Option<u64>,
    /// and their bytes.
    pub session_event_bytes: Option<u64>,
    /// Most idempotency keys whose answers are kept,
    pub idempotency_keys: Option<u64>,
    /// and their bytes,
    pub idempotency_key_bytes: Option<u64>,
    /// for how long.
    pub idempotency_window: Option<Duration>,
}
