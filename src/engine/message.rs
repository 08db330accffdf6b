//! What servers say to each other about consensus.
//!
//! There is no separate heartbeat: an [`Message::Append`] without entries is one. Every append names the leader's
//! current *round*; a reply echoes it, which is what confirms reads and extends the lease.

use super::consensus::Configuration;
use super::types::{Index, Term};
use bincode::{Decode, Encode};

/// One message between two members.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Message {
    /// Pre-vote (Raft dissertation, 9.6): would you vote for me in `term`? Changes nothing at either side.
    Poll {
        /// The term the sender would ask for votes in: one above its own.
        term: Term,
        /// Its last index,
        last_index: Index,
        /// and the term of the entry there.
        last_term: Term,
    },
    /// The answer to a poll.
    PollReply {
        /// The term asked about when granted, the answerer's own when not.
        term: Term,
        /// Whether a vote would be granted.
        granted: bool,
    },
    /// A request for a vote (Raft paper, 5.2).
    Vote {
        /// The candidate's term.
        term: Term,
        /// Its last index,
        last_index: Index,
        /// and the term of the entry there.
        last_term: Term,
        /// The leader itself asked for this election: voters do not wait until they miss it.
        transfer: bool,
    },
    /// The answer to a request for a vote. Leaves only when term and vote are durable.
    VoteReply {
        /// The voter's term.
        term: Term,
        /// Whether it voted for the one who asked.
        granted: bool,
    },
    /// Entries, or a heartbeat (Raft paper, 5.3).
    Append {
        /// The leader's term.
        term: Term,
        /// The index before the first entry here,
        previous_index: Index,
        /// and the term of the entry there.
        previous_term: Term,
        /// A contiguous run of entries.
        entries: Vec<WireEntry>,
        /// The leader's commit index, which may be above what the receiver has.
        commit: Index,
        /// The leader's latest round of heartbeats.
        round: u64,
        /// For a member that said it lost its log: through which index it must hold the log before it counts again.
        recover_to: Option<Index>,
        /// An index and the digest that a majority has there; `(0, 0)`: none is known.
        digest: (Index, u32),
        /// The lowest durable index of all stateful members that are heard (Copycat's `globalIndex`).
        global: Index,
    },
    /// The answer to an append. Everything it says is durable at the sender.
    AppendReply {
        /// The sender's term.
        term: Term,
        /// Which of the sender's starts this is, a random number: what was said at an earlier one is void.
        start: u64,
        /// The highest round it has seen of this leader.
        round: u64,
        /// What became of the append.
        outcome: AppendOutcome,
        /// Something waits at the sender for entries up to here to commit: tell it at once.
        wants: Index,
        /// It lost its log and has not yet recovered: do not count it.
        lost: bool,
        /// The last index at which the sender remembers its state's digest, and the digest.
        digest: (Index, u32),
        /// The entry of the latest configuration that it knows to be committed.
        configuration: Index,
    },
    /// The leader asks its successor to hold an election now (Raft dissertation, 3.10).
    TimeoutNow {
        /// The leader's term.
        term: Term,
    },
    /// The leader tells a reserve member, which has no log, the committed configuration.
    Configure {
        /// The leader's term.
        term: Term,
        /// The configuration's entry,
        index: Index,
        /// and the configuration.
        configuration: Box<Configuration>,
    },
    /// Committed entries for a passive member, from any server that has them: what is committed needs no term.
    Feed {
        /// The index before the first entry here,
        previous_index: Index,
        /// and the term of the entry there.
        previous_term: Term,
        /// A contiguous run of committed entries.
        entries: Vec<WireEntry>,
        /// The sender's commit index, at or above the last entry.
        commit: Index,
    },
    /// The answer to a feed. Everything it says is durable at the sender.
    FeedReply {
        /// Which of the sender's starts this is.
        start: u64,
        /// What became of the feed.
        outcome: AppendOutcome,
        /// Something waits at the sender for entries up to here.
        wants: Index,
    },
    /// A passive member asks to be fed: whoever was assigned to it does not.
    FeedRequest {
        /// Which of the sender's starts this is.
        start: u64,
        /// What it has durably, through this index.
        index: Index,
    },
    /// A member that lacks what is no longer in the sender's log may fetch a snapshot.
    Offer {
        /// Which.
        snapshot: SnapshotId,
    },
    /// The next part of a snapshot is asked for.
    Fetch {
        /// Of which,
        snapshot: SnapshotId,
        /// and what.
        want: Want,
    },
    /// Bytes of a snapshot.
    Piece {
        /// Of which.
        snapshot: SnapshotId,
        /// Where they begin.
        offset: u64,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Entries that a snapshot refers to.
    Pieces {
        /// Which snapshot.
        snapshot: SnapshotId,
        /// As many of those that were asked for as fit.
        entries: Vec<WireEntry>,
    },
}

/// Which snapshot: equal ones have the same bytes, whoever took them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SnapshotId {
    /// The last entry whose effect it holds,
    pub index: Index,
    /// that entry's term,
    pub term: Term,
    /// and a checksum of the content.
    pub checksum: u32,
}

/// What is wanted of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Want {
    /// Its bytes from this offset on.
    Bytes(u64),
    /// Entries that it refers to.
    Entries(Vec<Index>),
}

/// What became of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum AppendOutcome {
    /// The sender's log equals the leader's through this index, durably.
    Matched(Index),
    /// The entry before the append's first is missing or of another term.
    Rejected {
        /// The `previous_index` that did not match.
        previous_index: Index,
        /// The term of the entry the sender has there, 0 if it has none.
        conflict_term: Term,
        /// The first index it has of that term, or the one behind its last.
        conflict_index: Index,
    },
}

impl Message {
    /// The sender's term; for a poll, the term it is about; 0 for what has to do with no term.
    #[must_use]
    pub fn term(&self) -> Term {
        match self {
            Self::Feed { .. }
            | Self::FeedReply { .. }
            | Self::FeedRequest { .. }
            | Self::Offer { .. }
            | Self::Fetch { .. }
            | Self::Piece { .. }
            | Self::Pieces { .. } => 0,
            Self::Poll { term, .. }
            | Self::PollReply { term, .. }
            | Self::Vote { term, .. }
            | Self::VoteReply { term, .. }
            | Self::Append { term, .. }
            | Self::AppendReply { term, .. }
            | Self::TimeoutNow { term }
            | Self::Configure { term, .. } => *term,
        }
    }

    /// Whether it is for one who follows, or is asked for its vote: that may come from a server which the receiver's
    /// configuration, being old, does not know (Raft dissertation, 4.1). What counts for a quorum may not.
    #[must_use]
    pub fn is_for_followers(&self) -> bool {
        match self {
            Self::Poll { .. }
            | Self::Vote { .. }
            | Self::Append { .. }
            | Self::TimeoutNow { .. }
            | Self::Configure { .. }
            | Self::Feed { .. }
            | Self::Offer { .. }
            | Self::Piece { .. }
            | Self::Pieces { .. } => true,
            Self::PollReply { .. }
            | Self::VoteReply { .. }
            | Self::AppendReply { .. }
            | Self::FeedReply { .. }
            | Self::FeedRequest { .. }
            | Self::Fetch { .. } => false,
        }
    }
}

/// A log entry on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct WireEntry {
    /// Its place in the log.
    pub index: Index,
    /// The term of the leader that appended it.
    pub term: Term,
    /// Log time, in milliseconds since the Unix epoch.
    pub time: u64,
    /// The session of a command; 0: none.
    pub session: u64,
    /// The command's number in its session.
    pub sequence: u64,
    /// What it is, see [`Kind`](super::Kind).
    pub kind: u8,
    /// Its compaction mode.
    pub mode: u8,
    /// The operation.
    pub data: Vec<u8>,
}

impl From<copycat_storage::Entry> for WireEntry {
    fn from(e: copycat_storage::Entry) -> Self {
        let copycat_storage::Entry { index, term, time, session, sequence, kind, mode, data } = e;
        Self { index, term, time, session, sequence, kind, mode, data }
    }
}

impl From<WireEntry> for copycat_storage::Entry {
    fn from(e: WireEntry) -> Self {
        let WireEntry { index, term, time, session, sequence, kind, mode, data } = e;
        Self { index, term, time, session, sequence, kind, mode, data }
    }
}
