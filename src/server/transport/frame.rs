//! What goes over a connection between two servers, in the frames of [`crate::wire`].
//!
//! A connection carries frames one way only, from the server that dialed it; its other direction carries the welcome
//! and then one byte for each ping, so that a dead connection is noticed.

use crate::budget::{Budget, Share};
use crate::engine::machine::Ask;
use crate::engine::sessions::Submit;
use crate::engine::{
    Change, Configuration, ConfigurationError, Consistency, Identity, Index, MemberType, Message, NamedSettings,
    RequestId, ServerId, Setting, Settings,
};
use crate::server::settings::refused;
use crate::wire;
pub(crate) use crate::wire::{Refusal as WireRefusal, Response as WireResponse};
use async_std::io::{self, WriteExt};
use bincode::{Decode, Encode};

/// The version of everything below. Servers of different versions refuse each other.
pub(crate) const WIRE_VERSION: u16 = 4;
const MAGIC: u32 = u32::from_le_bytes(*b"CCAT");
/// The longest frame: well above one append of the largest entries.
const FRAME_LIMIT: u32 = 32 * 1024 * 1024;
/// The longest greeting, and the longest answer to one: it may carry a configuration.
const GREETING_LIMIT: u32 = 4096;
const WELCOME_LIMIT: u32 = 256 * 1024;

/// The first thing on a connection, from the one who dialed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Hello {
    pub(crate) magic: u32,
    pub(crate) version: u16,
    /// The cluster, 0 while unknown; then the digests of the initial lists are compared.
    pub(crate) cluster: u128,
    pub(crate) digest: u32,
    pub(crate) from: ServerId,
    pub(crate) identity: Identity,
    /// What the dialer wants.
    pub(crate) purpose: Purpose,
    /// Where HTTP clients reach the dialer,
    pub(crate) http: String,
    /// and its peers.
    pub(crate) peer: String,
    /// The settings that the dialer goes by,
    pub(crate) settings: Settings,
    /// and what its flags name of them.
    pub(crate) given: NamedSettings,
}

/// Why a server dials another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) enum Purpose {
    /// To send it frames. It names whom it wants to reach: a wrong address is noticed at once.
    Peer {
        /// Whom.
        to: ServerId,
    },
    /// To learn whether the cluster has a leader.
    Look,
    /// To join the cluster, through whichever member it is.
    Join {
        /// As what.
        member_type: MemberType,
    },
    /// To learn who the members are: somebody has come that the dialer's configuration, being old, does not know.
    Members,
}

impl Hello {
    /// `settings`: those in force, as far as they are known.
    pub(crate) fn new(me: &Me, cluster: u128, settings: Option<Settings>, purpose: Purpose) -> Self {
        Self {
            magic: MAGIC,
            version: WIRE_VERSION,
            cluster,
            digest: me.digest,
            from: me.id,
            identity: me.identity,
            purpose,
            http: me.http.clone(),
            peer: me.peer.clone(),
            settings: settings.unwrap_or_else(|| me.settings()),
            given: me.given.clone(),
        }
    }
}

/// Who this server is, for greetings.
#[derive(Clone, Debug)]
pub(crate) struct Me {
    pub(crate) id: ServerId,
    pub(crate) identity: Identity,
    pub(crate) digest: u32,
    pub(crate) http: String,
    pub(crate) peer: String,
    /// What its flags name of the cluster's settings.
    pub(crate) given: NamedSettings,
}

impl Me {
    /// What it goes by until it knows better.
    pub(crate) fn settings(&self) -> Settings {
        Settings::default().with(&self.given)
    }
}

/// The answer to a hello.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) enum Welcome {
    /// Come in.
    Accepted { cluster: u128, identity: Identity, http: String },
    /// The committed configuration, and its entry. To one that asked to join: it is a member now.
    Joined { index: Index, configuration: Configuration },
    /// Nobody can decide now: try again.
    Later,
    /// Who leads, if anybody is known to.
    Leader { leader: Option<ServerId> },
    /// Stay out.
    Rejected(Rejection),
}

/// Why a server is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) enum Rejection {
    /// It speaks another version.
    Version(u16),
    /// It belongs to another cluster.
    Cluster,
    /// It was started with another initial list.
    InitialList,
    /// It dialed the wrong server.
    WrongServer(ServerId),
    /// It is no member, or has another identity than the member with its number.
    NotAdmitted,
    /// Its directory was removed from the cluster.
    Removed,
    /// It may not join.
    MayNotJoin(ConfigurationError),
    /// Its flag names another value of a setting than what is in force.
    Flag { setting: Setting, given: u64, in_force: u64 },
    /// It would begin a cluster with another value of a setting than the one who refuses it.
    Setting { setting: Setting, given: u64, here: u64 },
}

impl std::fmt::Display for Rejection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Version(theirs) => write!(
                f,
                "it speaks version {theirs} of the peer protocol, this server version {WIRE_VERSION}: run the same release"
            ),
            Self::Cluster => f.write_str(
                "it belongs to another cluster: start this server with the data directory and the addresses of one cluster",
            ),
            Self::InitialList => {
                f.write_str("it was started with another --bootstrap list: give all servers the same list")
            }
            Self::WrongServer(theirs) => {
                write!(f, "at that address is server {theirs}: correct the addresses in --bootstrap")
            }
            Self::NotAdmitted => f.write_str(
                "it knows another data directory under this server's id: bring that directory back, or remove the member \
                 and join again",
            ),
            Self::Removed => f.write_str(
                "this server was removed from the cluster: start it with an empty directory and --join to take it back",
            ),
            Self::MayNotJoin(error) => write!(f, "{error}"),
            Self::Flag { setting, given, in_force } => f.write_str(&refused(*setting, *given, *in_force)),
            Self::Setting { setting, given, here } => {
                let (flag, given, here) = (setting.flag(), setting.text(*given), setting.text(*here));
                write!(f, "it was started with {flag} {here}, this server with {given}: give all servers the same")
            }
        }
    }
}

/// Why no connection to a peer can be had though it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It refuses this server.
    ByPeer(Rejection),
    /// It is not the member that this server's directory knows by its number.
    Stranger,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ByPeer(rejection) => write!(f, "it refuses this server: {rejection}"),
            Self::Stranger => f.write_str(
                "it belongs to another cluster than this server's data directory, or lost its own directory: start this \
                 server with a directory of that cluster (an empty one for a new cluster), or bring that directory back",
            ),
        }
    }
}

/// What is sent once a connection stands.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) enum Frame {
    /// To the engine.
    Consensus(Message),
    /// Do this for me.
    Request { id: RequestId, request: WireRequest },
    /// The answer to a request.
    Reply { id: RequestId, result: Result<WireResponse, WireRefusal> },
    /// Answer with a byte.
    Ping,
}

/// A request that one server hands to another.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) enum WireRequest {
    /// Something for the leader; its timeout in milliseconds.
    Submit { submit: Submit, timeout_ms: u64 },
    /// A query; its timeout in milliseconds.
    Query { consistency: Consistency, index: u64, ask: Ask, timeout_ms: u64 },
    /// A change of the configuration; its timeout in milliseconds.
    Change { change: Change, timeout_ms: u64 },
    /// The office is to go to this member; the timeout in milliseconds.
    Transfer { target: ServerId, timeout_ms: u64 },
}

/// Appends a frame to what is to be written. Says whether it did: one that is too long is lost, as on a broken connection,
/// but an answer says that it is.
pub(crate) fn put(buffer: &mut Vec<u8>, frame: Frame) -> bool {
    match frame {
        Frame::Reply { id, result } => {
            wire::put_answer(buffer, result, FRAME_LIMIT, |result| Frame::Reply { id, result });
            true
        }
        frame => wire::put(buffer, &frame, FRAME_LIMIT),
    }
}

/// Writes a greeting, or the answer to one.
pub(crate) async fn write<T: Encode>(stream: &mut (impl io::Write + Unpin), frame: &T) -> io::Result<()> {
    let mut buffer = Vec::new();
    if !wire::put(&mut buffer, frame, WELCOME_LIMIT) {
        return Err(wire::invalid("a greeting that is too long"));
    }
    stream.write_all(&buffer).await?;
    stream.flush().await
}

/// The next frame; its memory is had of the share.
pub(crate) async fn read(stream: &mut (impl io::Read + Unpin), share: &mut Share) -> io::Result<Frame> {
    wire::parse(&wire::read_bytes(stream, FRAME_LIMIT, share).await?)
}

/// The first frame on a connection.
#[derive(Debug)]
pub(crate) enum Greeting {
    /// Another server's.
    Peer(Box<Hello>),
    /// A native client's.
    Client(wire::Hello),
}

/// A greeting; anything else on the port is refused by its first bytes.
pub(crate) async fn read_greeting(stream: &mut (impl io::Read + Unpin)) -> io::Result<Greeting> {
    let bytes = wire::read_bytes(stream, GREETING_LIMIT, &mut Budget::new(0).share()).await?;
    if wire::is_client(&bytes) {
        return wire::parse(&bytes).map(Greeting::Client);
    }
    let hello: Hello = wire::parse(&bytes)?;
    if hello.magic != MAGIC {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "neither a Copycat server nor a client of one"));
    }
    Ok(Greeting::Peer(Box::new(hello)))
}

pub(crate) async fn read_welcome(stream: &mut (impl io::Read + Unpin)) -> io::Result<Welcome> {
    wire::read(stream, WELCOME_LIMIT).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::machine::Outcome;

    #[test]
    fn frames_survive_the_wire() {
        let frames = [
            Frame::Consensus(Message::TimeoutNow { term: 7 }),
            Frame::Request {
                id: 9,
                request: WireRequest::Submit { submit: Submit::Unregister { session: 7 }, timeout_ms: 4 },
            },
            Frame::Reply { id: 9, result: Err(WireRefusal::Timeout { maybe_applied: true }) },
            Frame::Ping,
        ];
        let mut bytes = Vec::new();
        for frame in &frames {
            assert!(put(&mut bytes, frame.clone()));
        }
        async_std::task::block_on(async {
            let (mut stream, mut share) = (bytes.as_slice(), Budget::new(0).share());
            for frame in &frames {
                assert_eq!(&read(&mut stream, &mut share).await.expect("a frame"), frame);
            }
            let end = read(&mut stream, &mut share).await.expect_err("the end");
            assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
        });
    }

    #[test]
    fn what_is_too_long_is_not_sent_and_an_answer_says_so() {
        let (mut bytes, long) = (Vec::new(), vec![0; FRAME_LIMIT as usize]);
        let submit = Submit::Command { operation: long.clone(), mode: 0, session: 0, sequence: 0, key: None };
        let request = Frame::Request { id: 1, request: WireRequest::Submit { submit, timeout_ms: 1 } };
        assert!(!put(&mut bytes, request) && bytes.is_empty());
        let told = [
            (Some(Consistency::Linearizable), WireRefusal::TooLarge),
            (None, WireRefusal::Timeout { maybe_applied: true }),
        ];
        for (consistency, refusal) in told {
            let output = Outcome::Output(long.clone());
            let response = WireResponse { index: 1, term: 1, event_index: None, output, consistency };
            assert!(put(&mut bytes, Frame::Reply { id: 7, result: Ok(response) }));
            let sent = async_std::task::block_on(read(&mut bytes.as_slice(), &mut Budget::new(0).share()));
            assert_eq!(sent.expect("a frame"), Frame::Reply { id: 7, result: Err(refusal) });
            bytes.clear();
        }
    }

    #[test]
    fn a_length_that_lies_is_refused_before_memory_is_taken() {
        async_std::task::block_on(async {
            let mut share = Budget::new(0).share();
            let mut stream: &[u8] = b"\xff\xff\xff\xff rest";
            assert_eq!(read(&mut stream, &mut share).await.expect_err("too long").kind(), io::ErrorKind::InvalidData);
            let mut stream: &[u8] = b"\0\0\0\x01 and four thousand bytes less than it says";
            assert_eq!(read(&mut stream, &mut share).await.expect_err("cut").kind(), io::ErrorKind::UnexpectedEof);
            let mut stream: &[u8] = b"GET / HTTP/1.1\r\n\r\n";
            assert_eq!(read_greeting(&mut stream).await.expect_err("not ours").kind(), io::ErrorKind::InvalidData);
        });
    }
}
