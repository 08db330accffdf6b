//! The small words of the engine.

use std::fmt;
use std::time::Duration;

/// The number of a member, unique in its cluster and never used again. Zero means *none*.
pub type ServerId = u64;
/// The random number made with a data directory: a wiped disk comes back as another one.
pub type Identity = u64;
/// A position in the log; the first entry is at 1, zero is before it.
pub type Index = u64;
/// A Raft term; zero is before the first.
pub type Term = u64;
/// A number that the driver gives to a request, so that it knows the answer by it.
pub type RequestId = u64;

/// The id of a client session: the index of the entry that registered it. Zero: no session.
pub type SessionId = u64;

/// What the clocks say at one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// A clock that never goes back and also runs while the machine is suspended. Its origin is of no importance.
    pub monotonic: Duration,
    /// Milliseconds since the Unix epoch. Used where a cluster begins, and to slew log time; never to order anything.
    pub wall: u64,
}

/// What a server is in its term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Follows a leader, or waits for one.
    Follower,
    /// Asks for votes (or polls whether it would get them).
    Candidate,
    /// Leads its term.
    Leader,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Follower => "follower",
            Self::Candidate => "candidate",
            Self::Leader => "leader",
        })
    }
}

/// How fresh the state must be that a query is answered from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub enum Consistency {
    /// As of a moment after the query arrived: the leader confirms its office with a round of heartbeats.
    Linearizable,
    /// The same as long as clocks drift less than the bound: the leader answers while its lease holds.
    Lease,
    /// At or above an index that the caller names, from any server.
    Sequential,
}
