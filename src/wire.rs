//! What a native client and a server say to each other, and how structures become frames: a length (u32, little-endian),
//! then that many bytes of one bincode 2 structure. Whoever reads them takes no more memory than bytes have arrived.
//!
//! The client greets, the server answers once ([`Welcome`]); then both send frames at will. Requests carry a number of the
//! client's, unique on its connection; the answers carry it back, in any order.

use crate::budget::{Budget, Share};
use crate::engine::machine::Outcome;
use crate::engine::sessions::{Batch, SessionError};
use crate::engine::{ConfigurationError, Consistency, DecodeError, Index, ServerId, SessionId, Term, decode, encode};
use async_std::io::{self, ReadExt};
use bincode::{Decode, Encode};

/// The version of what clients and servers say to each other. A server answers a client of another version with its own.
pub(crate) const VERSION: u16 = 1;
/// What a client's greeting begins with.
pub(crate) const MAGIC: u32 = u32::from_le_bytes(*b"CCLI");
/// The longest greeting.
pub(crate) const HELLO_LIMIT: u32 = 4096;
/// The longest frame that a server takes from a client: one request.
pub(crate) const REQUEST_LIMIT: u32 = 8 * 1024 * 1024;
/// The longest frame that a client takes from a server.
pub(crate) const ANSWER_LIMIT: u32 = 32 * 1024 * 1024;
/// The longest operation that a client sends; what is around it has room in [`REQUEST_LIMIT`].
pub(crate) const OPERATION_LIMIT: usize = 4 * 1024 * 1024;

/// A client's greeting.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Hello {
    pub(crate) magic: u32,
    pub(crate) version: u16,
}

impl Hello {
    pub(crate) fn new() -> Self {
        Self { magic: MAGIC, version: VERSION }
    }

    /// Whether it is a client's of this version.
    pub(crate) fn is_ours(&self) -> bool {
        *self == Self::new()
    }
}

/// The answer to a greeting.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) enum Welcome {
    /// Come in.
    Accepted {
        /// Who speaks.
        server: ServerId,
        /// What it knows of its cluster.
        cluster: Cluster,
    },
    /// This server's clients speak at another address. An unspecified host means the one that was dialed.
    Elsewhere(String),
    /// It speaks this version.
    Version(u16),
    /// It has as many clients as it may have.
    Full,
}

/// A cluster, as a server knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Cluster {
    /// Its id; 0: it has none yet.
    pub(crate) id: u128,
    /// Who leads, if anybody is known to.
    pub(crate) leader: Option<ServerId>,
    /// The members, and where clients reach them.
    pub(crate) members: Vec<(ServerId, String)>,
}

/// What a client sends.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) enum ToServer {
    /// Do this; the answer carries the number.
    Request { id: u64, request: Request },
    /// Push this session's events behind this index, from now on, on this connection.
    Follow { session: SessionId, after: Index },
    /// Answer with a [`ToClient::Pong`].
    Ping,
}

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) enum Request {
    /// A new session. `key`: a repeat is known by it.
    Register { timeout_ms: u64, name: String, key: String },
    /// A sign of life: it has all answers through `sequence`, and all events through `event_index`.
    KeepAlive { session: SessionId, sequence: u64, event_index: Index },
    /// The end of a session.
    Unregister { session: SessionId },
    /// A numbered command of a session.
    Command { session: SessionId, sequence: u64, mode: u8, operation: Vec<u8> },
    /// A query, answered from a state at or above `index`.
    Query { session: SessionId, consistency: Consistency, index: Index, operation: Vec<u8> },
}

/// What a server sends.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) enum ToClient {
    /// The answer to the request of this number.
    Reply { id: u64, result: Result<Response, Refusal> },
    /// Events of a session, in order.
    Events { session: SessionId, batches: Vec<Batch> },
    /// A session's events cannot be followed: why.
    Ended { session: SessionId, error: SessionError },
    /// The cluster has changed.
    Cluster(Cluster),
    /// The answer to a [`ToServer::Ping`].
    Pong,
}

/// The answer to a request that was carried out.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Response {
    pub(crate) index: Index,
    pub(crate) term: Term,
    pub(crate) event_index: Option<Index>,
    pub(crate) output: Outcome,
    pub(crate) consistency: Option<Consistency>,
}

/// Why a request was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) enum Refusal {
    NotLeader,
    Overloaded,
    TooLarge,
    StorageFull,
    Malformed,
    /// Its time ran out, and whether it may have had an effect.
    Timeout {
        maybe_applied: bool,
    },
    Session(SessionError),
    SessionBusy,
    Configuration(ConfigurationError),
}

/// Appends a frame to what is to be written. Says whether it did: one that is longer than `limit` is not sent.
#[must_use]
pub(crate) fn put<T: Encode>(buffer: &mut Vec<u8>, frame: &T, limit: u32) -> bool {
    let bytes = encode(frame);
    let Some(length) = u32::try_from(bytes.len()).ok().filter(|&length| length <= limit) else { return false };
    buffer.extend_from_slice(&length.to_le_bytes());
    buffer.extend_from_slice(&bytes);
    true
}

/// The answer to a request, as a frame of at most `limit` bytes. In the place of one that is longer the client is told
/// that there is none: of a query because it is too large; a command has had its effect.
pub(crate) fn put_answer<T: Encode>(buffer: &mut Vec<u8>, answer: Answer, limit: u32, frame: impl Fn(Answer) -> T) {
    let query = matches!(&answer, Ok(Response { consistency: Some(_), .. }));
    if !put(buffer, &frame(answer), limit) {
        let refusal = if query { Refusal::TooLarge } else { Refusal::Timeout { maybe_applied: true } };
        let put = put(buffer, &frame(Err(refusal)), limit);
        debug_assert!(put, "a refusal is short");
    }
}

/// What a request got.
pub(crate) type Answer = Result<Response, Refusal>;

pub(crate) fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// What memory is taken for before a byte of a frame has arrived, and without asking the budget.
const FIRST: usize = 4096;

/// The bytes of the next frame; one that claims to be longer than `limit` is refused at once. Memory is taken as they
/// arrive, at most twice what has come, out of the share.
pub(crate) async fn read_bytes(
    stream: &mut (impl io::Read + Unpin),
    limit: u32,
    share: &mut Share,
) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).await?;
    let length = u32::from_le_bytes(length);
    if length > limit {
        return Err(invalid(format!("a frame of {length} bytes")));
    }
    let (length, mut bytes) = (length as usize, Vec::new());
    while bytes.len() < length {
        let arrived = bytes.len();
        let next = (arrived * 2).max(FIRST).min(length);
        if next > FIRST {
            share.grow(next).await?;
        }
        bytes.reserve_exact(next - arrived);
        bytes.resize(next, 0);
        stream.read_exact(&mut bytes[arrived..]).await?;
    }
    Ok(bytes)
}

/// The structure in a frame.
pub(crate) fn parse<T: Decode<()>>(bytes: &[u8]) -> io::Result<T> {
    decode(bytes).map_err(|e: DecodeError| invalid(e))
}

/// The next frame, of a connection that has its memory for itself.
pub(crate) async fn read<T: Decode<()>>(stream: &mut (impl io::Read + Unpin), limit: u32) -> io::Result<T> {
    parse(&read_bytes(stream, limit, &mut Budget::new(limit as usize).share()).await?)
}

/// Whether a greeting is a client's.
pub(crate) fn is_client(greeting: &[u8]) -> bool {
    let magic = encode(&MAGIC);
    greeting.starts_with(&magic)
}
