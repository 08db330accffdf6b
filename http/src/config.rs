//! What can be set, and the error of a limit that shows in the middle of a request.

use std::error::Error;
use std::fmt;
use std::time::Duration;

/// Limits and names.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// The longest value, bytes. Longer: 413.
    pub value_bytes: usize,
    /// The longest JSON body, bytes. Longer: 413.
    pub json_bytes: usize,
    /// How deeply JSON may be nested. Deeper: 400.
    pub json_depth: usize,
    /// Operations in a transaction, and parts of its condition. More: 413.
    pub operations: usize,
    /// Commands in a batch. More: 413.
    pub commands: usize,
    /// The longest wait for a change of a key, for events and for a lock. A longer one is cut to this, and an answer that
    /// is empty for it says so; one beyond 5 minutes is refused.
    pub wait: Duration,
    /// After how long a stream of events that has nothing to say shows that it is alive.
    pub comment: Duration,
    /// The largest header block, bytes. Larger: 431.
    pub header_bytes: usize,
    /// How long a header block may take from its first byte, the first one of a connection from the connection's
    /// beginning. Longer: the connection is closed.
    pub header_timeout: Duration,
    /// How long a body may take. Longer: 408.
    pub body_timeout: Duration,
    /// How long a client may take no byte of an answer. Longer: the connection is closed.
    pub write_timeout: Duration,
    /// How long a connection may be idle between requests. Longer: it is closed.
    pub idle_timeout: Duration,
    /// Connections at once. Further ones: 503.
    pub connections: usize,
    /// Connections of one address. Further ones: 429.
    pub connections_per_address: usize,
    /// The first file descriptor that no connection may have: from there on they are kept for other things. Further
    /// connections: 503.
    pub descriptors: u64,
    /// Requests under way at once, probes apart. Further ones: 503. A connection has one at a time, so that this is
    /// reached only with more connections than that.
    pub requests: usize,
    /// How long requests that are under way may take once the server is told to stop.
    pub drain: Duration,
    /// Host names that requests may name, besides this server's addresses.
    pub allow_hosts: Vec<String>,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            value_bytes: 1024 * 1024,
            json_bytes: 4 * 1024 * 1024,
            json_depth: 32,
            operations: 128,
            commands: 1000,
            wait: Duration::from_secs(300),
            comment: Duration::from_secs(15),
            header_bytes: 16 * 1024,
            header_timeout: Duration::from_secs(5),
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(120),
            connections: 16 * 1024,
            connections_per_address: 4096,
            descriptors: u64::MAX,
            requests: 16 * 1024,
            drain: Duration::from_millis(1500),
            allow_hosts: Vec::new(),
        }
    }
}

/// The body did not arrive in time.
#[derive(Debug)]
pub(crate) struct TooSlow;

impl fmt::Display for TooSlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the body did not arrive in time")
    }
}

impl Error for TooSlow {}
