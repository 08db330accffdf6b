//! How a server is put together: what it keeps where, who reaches it, what it allows.

use super::backend::ServerBackend;
use super::durability::Durability;
use super::port::Port;
use super::start;
use super::{Server, ServerError};
use crate::engine::machine::StateMachine;
use crate::engine::{MemberType, NamedSettings, ServerId, Setting};
use crate::store::Store;
use crate::transport::{Tcp, Transport};
use copycat_http::{Backend, HttpConfig};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Where a server keeps its log, its snapshots, and what it promised.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Storage {
    /// In mapped files of this directory, which is made if it is not there. One server at a time may have it.
    Mapped(PathBuf),
    /// In memory: nothing survives the server. A server that is started again is another one, even under its old number: it is
    /// let in by [`join`](Builder::join) when its old self has been removed. And if a majority is started again at once, all
    /// that the cluster knew is lost. For tests, and for what may be lost.
    Memory,
}

/// Bytes that a server in memory keeps at most, if nothing else is said.
const MEMORY: u64 = 1024 * 1024 * 1024;

/// What a builder knows.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) id: ServerId,
    pub(super) storage: Option<Storage>,
    pub(super) memory: u64,
    pub(super) durability: Durability,
    pub(super) segment_size: u32,
    pub(super) snapshot_bytes: Option<u64>,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) peer: Option<String>,
    pub(super) client: Option<String>,
    pub(super) http: Option<String>,
    pub(super) advertise_http: Option<String>,
    pub(super) limits: HttpConfig,
    /// What is named of the cluster's settings.
    pub(super) given: NamedSettings,
    pub(super) auto_replace: bool,
    pub(super) machine_thread: bool,
    pub(super) bootstrap: Vec<(ServerId, String)>,
    pub(super) join: Vec<String>,
    pub(super) member_type: MemberType,
}

/// What serves HTTP requests for a machine.
pub(super) type Api<M> = fn(Arc<Port<M>>) -> Arc<dyn Backend>;

/// Makes a machine as it is at first.
pub(super) type Make<M> = Arc<dyn Fn() -> M + Send + Sync>;

/// A server to be started: see [`Server::builder`].
///
/// A storage must be given, and to [`join`](Self::join) a peer address; all else has a default.
#[must_use = "it starts by `bootstrap` or `join`"]
pub struct Builder<M: StateMachine> {
    settings: Settings,
    make: Make<M>,
    api: Api<M>,
}

impl<M: StateMachine> std::fmt::Debug for Builder<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Builder").field(&self.settings).finish()
    }
}

impl<M: StateMachine> Builder<M> {
    pub(super) fn new(id: ServerId, make: Make<M>) -> Self {
        let settings = Settings {
            id,
            storage: None,
            memory: MEMORY,
            durability: Durability::Always,
            segment_size: copycat_storage::Options::default().segment_size,
            snapshot_bytes: None,
            transport: Arc::new(Tcp),
            peer: None,
            client: None,
            http: None,
            advertise_http: None,
            limits: HttpConfig::default(),
            given: NamedSettings::default(),
            auto_replace: false,
            machine_thread: false,
            bootstrap: Vec::new(),
            join: Vec::new(),
            member_type: MemberType::Active,
        };
        Self { settings, make, api: |port| Arc::new(ServerBackend::new(port)) }
    }

    fn with(mut self, set: impl FnOnce(&mut Settings)) -> Self {
        set(&mut self.settings);
        self
    }

    /// Where it keeps its data.
    pub fn storage(self, storage: Storage) -> Self {
        self.with(|s| s.storage = Some(storage))
    }

    /// Bytes that a server in [memory](Storage::Memory) keeps at most: its log files, of which there are always two, and its
    /// snapshots. When too few are left for these, client writes are refused as with a full disk. By default 1 GiB.
    pub fn memory_limit(self, bytes: u64) -> Self {
        self.with(|s| s.memory = bytes)
    }

    /// When a write counts as durable; by default when it is on the disks of a majority.
    pub fn durability(self, durability: Durability) -> Self {
        self.with(|s| s.durability = durability)
    }

    /// The size of a log file in bytes, a multiple of 4,096; by default 32 MiB. If the largest entry that the cluster allows
    /// does not fit into one, they are made larger.
    pub fn segment_size(self, bytes: u32) -> Self {
        self.with(|s| s.segment_size = bytes)
    }

    /// After so many bytes of log entries a snapshot is taken; by default half a segment.
    pub fn snapshot_bytes(self, bytes: u64) -> Self {
        self.with(|s| s.snapshot_bytes = Some(bytes))
    }

    /// What connections between servers, and of native clients, are made with; by default TCP.
    pub fn transport(self, transport: impl Transport) -> Self {
        self.with(|s| s.transport = Arc::new(transport))
    }

    /// Where its peers reach it; by default what the list of [`bootstrap`](Self::bootstrap) says.
    pub fn peer_address(self, address: impl Into<String>) -> Self {
        self.with(|s| s.peer = Some(address.into()))
    }

    /// Where it serves native clients; by default at the address of the peers, where clients are told of this one
    /// otherwise. With an unspecified host (`0.0.0.0:9700`) they use the host that they know the peers' address by.
    pub fn client_address(self, address: impl Into<String>) -> Self {
        self.with(|s| s.client = Some(address.into()))
    }

    /// Where it serves HTTP; without it, it does not. Port 0: any that is free.
    ///
    /// The API is that of `docs/api.md`, without what is about keys and locks: `POST /v1/commands` takes a command as
    /// `{"command": …}`, `POST /v1/queries` a query as `{"query": …}`, both as serde has them in JSON; sessions, events, the
    /// cluster, the log and snapshots are there, and the dashboard.
    pub fn http_address(self, address: impl Into<String>) -> Self {
        self.with(|s| s.http = Some(address.into()))
    }

    /// The HTTP address that other servers tell clients; by default the own one.
    pub fn advertise_http(self, address: impl Into<String>) -> Self {
        self.with(|s| s.advertise_http = Some(address.into()))
    }

    /// What HTTP requests are held against.
    pub fn http_limits(self, limits: HttpConfig) -> Self {
        self.with(|s| s.limits = limits)
    }

    /// How long a follower waits for its leader before it asks for votes: this long to twice this long, in whole
    /// milliseconds, 50 ms to 1 minute; by default 500 ms.
    ///
    /// It is a setting of the cluster, as [`largest_entry`](Self::largest_entry), [`session_answers`](Self::session_answers)
    /// and [`session_events`](Self::session_events) are: what is named here holds for a cluster's first start, on all of its
    /// servers alike. Later it is changed by a request (`PUT /v1/cluster/settings`), and a server that is started with
    /// something else than what is in force refuses to start. One that names nothing takes what is in force.
    pub fn election_timeout(self, timeout: Duration) -> Self {
        self.with(|s| s.given.set_time(Setting::ElectionTimeout, timeout))
    }

    /// The most bytes that an entry of the log may have, thus roughly a command, 16 KiB to 28 MiB; by default 8 MiB. A setting
    /// of the cluster: see [`election_timeout`](Self::election_timeout).
    pub fn largest_entry(self, bytes: u64) -> Self {
        self.with(|s| s.given.set(Setting::LargestEntry, bytes))
    }

    /// Whether the state machine gets a thread of its own. It should, if applying an entry may take longer than a small part of
    /// the election timeout: then heartbeats and votes do not wait for it, only what needs its state does. Otherwise entries
    /// are applied where they are committed, which is quicker.
    pub fn machine_thread(self, own: bool) -> Self {
        self.with(|s| s.machine_thread = own)
    }

    /// Whether, while this server leads, members that are not heard are replaced by those that are kept ready.
    pub fn auto_replace(self, replace: bool) -> Self {
        self.with(|s| s.auto_replace = replace)
    }

    /// Most answers that a session may leave unacknowledged; then it gets no new command. By default 1,024. A setting of the
    /// cluster: see [`election_timeout`](Self::election_timeout).
    pub fn session_answers(self, most: usize) -> Self {
        self.with(|s| s.given.set(Setting::SessionAnswers, most as u64))
    }

    /// Most events that a session may leave unacknowledged; then it is ended. By default 16,384. A setting of the cluster: see
    /// [`election_timeout`](Self::election_timeout).
    pub fn session_events(self, most: u64) -> Self {
        self.with(|s| s.given.set(Setting::SessionEvents, most))
    }

    /// How long the answer to a request with an idempotency key is kept, and a repeat of the request known by it; then the key
    /// is new again. By default 10 minutes. A setting of the cluster: see
    /// [`election_timeout`](Self::election_timeout).
    pub fn idempotency_window(self, window: Duration) -> Self {
        self.with(|s| s.given.set_time(Setting::IdempotencyWindow, window))
    }

    /// What it is to be when it joins: it enters as passive or reserve, and votes, if it is to, when it has caught up. By
    /// default active.
    pub fn member_type(self, member_type: MemberType) -> Self {
        self.with(|s| s.member_type = member_type)
    }

    /// Starts it as one of the first members of a cluster, which are named here with their peer addresses, the same on each of
    /// them. A server whose storage knows a cluster goes on in that, whatever is named: so this starts it again, too.
    ///
    /// It blocks until the server runs; it serves as soon as a leader is known.
    ///
    /// # Errors
    /// If an address or the storage cannot be used, or the list is not right: one line that says what to do.
    pub fn bootstrap(
        self,
        members: impl IntoIterator<Item = (ServerId, impl Into<String>)>,
    ) -> Result<Server<M>, ServerError> {
        let members = members.into_iter().map(|(id, at)| (id, at.into())).collect();
        self.with(|s| s.bootstrap = members).start()
    }

    /// Starts it as a new member of a running cluster, through the first of these peer addresses that lets it in. A server whose
    /// storage knows a cluster goes on in that and asks nobody: so this starts it again, too.
    ///
    /// It blocks until the server runs, which is when it is let in.
    ///
    /// # Errors
    /// If it is not let in, or nobody that could do that was found for a minute; if an address or the storage cannot be used.
    pub fn join(self, addresses: impl IntoIterator<Item = impl Into<String>>) -> Result<Server<M>, ServerError> {
        let addresses: Vec<String> = addresses.into_iter().map(Into::into).collect();
        if addresses.is_empty() {
            return Err(ServerError::new("no address of a member to join is given"));
        }
        self.with(|s| s.join = addresses).start()
    }

    fn start(self) -> Result<Server<M>, ServerError> {
        start::start(self.settings, &self.make, self.api)
    }
}

impl Builder<Store> {
    /// Its HTTP API has the keys and locks, too.
    pub fn keys_and_locks(self) -> Self {
        Self { api: |port| Arc::new(ServerBackend::with_keys(port)), ..self }
    }
}
