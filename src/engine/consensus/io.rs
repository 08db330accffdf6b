//! What goes into an engine and what comes out of it.

use super::background::Worked;
use super::change::{Change, ConfigurationError};
use super::status::Event;
use crate::engine::entry::DecodeError;
use crate::engine::machine::{ApplyError, Ask, Outcome};
use crate::engine::message::Message;
use crate::engine::sessions::{SessionError, Submit};
use crate::engine::types::{Consistency, Identity, Index, RequestId, ServerId, Term};
use copycat_storage::{AppendError, Corrupt, Disk, Persisted};
use std::time::Duration;
use thiserror::Error;

/// Something that happened.
#[derive(Debug)]
pub enum Input<D: Disk> {
    /// A server sent a message; `identity` and `cluster` are what it said in its handshake.
    Message {
        /// The sender,
        from: ServerId,
        /// its data directory,
        identity: Identity,
        /// and its cluster; 0: it did not know yet.
        cluster: u128,
        /// What it says.
        message: Message,
    },
    /// A flush job ended well.
    Persisted(Persisted<D>),
    /// A client hands in what only a leader can log. Answered by [`Output::Reply`].
    Submit {
        /// Names the answer.
        id: RequestId,
        /// What is to be logged.
        submit: Submit,
    },
    /// Everything that had arrived by now was taken in before this. Without it no session is ever found to be overdue.
    Drained,
    /// A client asks a query. Answered by [`Output::Reply`].
    Query {
        /// Names the answer.
        id: RequestId,
        /// What is asked.
        query: Query,
    },
    /// Nobody waits for this query any more.
    Cancel(RequestId),
    /// A member (or this server itself) was met: what its handshake told.
    Peer {
        /// Which member.
        id: ServerId,
        /// Its data directory.
        identity: Identity,
        /// The cluster it belongs to; 0: it does not know yet.
        cluster: u128,
        /// Where HTTP clients reach it.
        http: String,
    },
    /// The connection to a member broke: a hint that it may be gone.
    Disconnected(ServerId),
    /// Hand leadership over.
    Transfer {
        /// To this member; `None`: to the one that is closest.
        target: Option<ServerId>,
        /// Who waits for it, if anybody does. Answered by [`Output::Reply`] when another member leads.
        reply: Option<RequestId>,
    },
    /// A [`Work`](super::Work) has ended.
    Worked(Worked<D>),
    /// The configuration is to be changed. Answered by [`Output::Reply`], with the encoded configuration, when that is
    /// committed.
    Change {
        /// Names the answer.
        id: RequestId,
        /// What is asked for.
        change: Change,
    },
}

/// A query of the applied state.
#[derive(Clone, Debug)]
pub struct Query {
    /// How fresh the answer must be.
    pub consistency: Consistency,
    /// The lowest index that a sequential query is answered from.
    pub index: Index,
    /// The question.
    pub ask: Ask,
}

/// Something to do.
#[derive(Debug)]
pub enum Output {
    /// Send a message. Loss is no error.
    Send {
        /// To this member.
        to: ServerId,
        /// The message.
        message: Message,
    },
    /// Answer a request.
    Reply {
        /// Which one.
        id: RequestId,
        /// The answer.
        result: Result<Response, Refusal>,
    },
    /// A sender uses the number of a member but is another data directory, or no member at all.
    Refused {
        /// The number it uses.
        peer: ServerId,
        /// The identity it proved.
        identity: Identity,
        /// That directory was removed from the cluster: it should be told.
        removed: bool,
    },
    /// Something worth telling an operator.
    Event(Event),
}

/// The answer to a command or query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The command's index, or the applied index that the query saw.
    pub index: Index,
    /// The term of the command's entry; this server's term for a query.
    pub term: Term,
    /// Of a session's command: the index of the session's last event before it.
    pub event_index: Option<Index>,
    /// The answer.
    pub output: Outcome,
    /// How a query was really served.
    pub consistency: Option<Consistency>,
    /// A lease read: right only if it leaves before this moment of the monotonic clock.
    pub valid_until: Option<Duration>,
}

/// Why a request was not carried out. None of them has had an effect, but for [`Lost`](Self::Lost).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Only a leader can, and this server is not (or no longer) it.
    NotLeader {
        /// The one it knows of.
        leader: Option<ServerId>,
    },
    /// A bound is reached: try later.
    Overloaded,
    /// The operation is larger than the log takes.
    TooLarge,
    /// No room on the leader's disk.
    StorageFull,
    /// This server is too far behind to answer a sequential query.
    Behind,
    /// The operation's bytes are not one of this machine's.
    Malformed,
    /// It is not this session's turn, or there is no such session.
    Session(SessionError),
    /// The session has left too many answers unacknowledged.
    SessionBusy,
    /// The configuration was not changed, or the office not handed over.
    Configuration(ConfigurationError),
    /// It was logged, and this server keeps no log any more: whether it has an effect is not known here.
    Lost,
}

/// This server must stop: its local state is not fit to go on.
#[derive(Debug, Error)]
pub enum Fatal {
    /// The log cannot be read.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
    /// An entry cannot be applied.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The log cannot be written.
    #[error(transparent)]
    Log(#[from] AppendError),
    /// An entry carries what it should not.
    #[error("entry {0} cannot be read: {1}")]
    Malformed(Index, DecodeError),
    /// A majority has another state than this server.
    #[error(
        "the state at entry {index} differs from that of a majority ({own:08x}, not {agreed:08x}): this server must not \
         answer from it; keep its directory for whoever looks into it, and start it with an empty one"
    )]
    Diverged {
        /// Where it was compared.
        index: Index,
        /// This server's digest,
        own: u32,
        /// and the majority's.
        agreed: u32,
    },
    /// The snapshot cannot be read.
    #[error("the snapshot at index {0} cannot be read: {1}")]
    Snapshot(Index, String),
    /// An index that the log must have is not there.
    #[error("entry {0} is not in the log")]
    Missing(Index),
}
