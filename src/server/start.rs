//! Putting a server together, and taking it apart.

use super::ServerError;
use super::backend::ServerBackend;
use super::clock;
use super::driver::{self, Driver, Stopped, Wiring};
use super::durability::{Durability, prepare};
use super::feed::Feeds;
use super::flusher::Flusher;
use super::inbox::{Event, Inbox};
use super::port::Port;
use super::transport::frame::Me;
use super::transport::{Door, Links, has_leader, join, listen};
use super::view::{View, Views};
use super::waiters::Waiters;
use super::worker::Worker;
use crate::engine::{Configuration, Engine, Fatal, Index, MemberType, ServerId, decode, encode};
use crate::store::Store;
use crate::transport::{Tcp, Transport};
use async_global_executor::GlobalExecutorConfig;
use async_std::net::TcpListener;
use async_std::task;
use copycat_http::HttpConfig;
use copycat_storage::{Corrupt, AnyDisk, OpenError, Seed, Storage};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// How a server is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its number in the cluster, from 1.
    pub id: ServerId,
    /// Its data directory; made if it is not there.
    pub data: PathBuf,
    /// Where it serves HTTP.
    pub http: String,
    /// Where its peers reach it.
    pub peer: String,
    /// The initial members and their peer addresses, the same on all. Empty: the server joins a cluster.
    pub bootstrap: Vec<(ServerId, String)>,
    /// Peer addresses of members of a cluster to join, tried in turn.
    pub join: Vec<String>,
    /// What a server that joins wants to be: it enters as passive (or reserve), and votes when it has caught up.
    pub member_type: MemberType,
    /// After so many bytes of log entries a snapshot is taken; `None`: half a segment.
    pub snapshot_bytes: Option<u64>,
    /// While this server leads: members that are not heard are replaced by those that are kept ready.
    pub auto_replace: bool,
    /// The HTTP address that others are told; the own one by default.
    pub advertise_http: Option<String>,
    /// When a write counts as durable.
    pub durability: Durability,
    /// T: a follower that hears no leader for T to 2T asks for votes.
    pub election_timeout: Duration,
    /// The size of a log file, bytes.
    pub segment_size: u32,
    /// What HTTP requests are held against.
    pub limits: HttpConfig,
    /// Most answers that a session may leave unacknowledged; then it gets no new command.
    pub session_answers: usize,
    /// Most events that a session may leave unacknowledged; then it is ended.
    pub session_events: u64,
}

impl Options {
    /// The defaults for one server.
    #[must_use]
    pub fn new(id: ServerId, data: PathBuf, http: String, peer: String, bootstrap: Vec<(ServerId, String)>) -> Self {
        Self {
            id,
            data,
            http,
            peer,
            bootstrap,
            join: Vec::new(),
            member_type: MemberType::Active,
            snapshot_bytes: None,
            auto_replace: false,
            advertise_http: None,
            durability: Durability::Always,
            election_timeout: Duration::from_millis(500),
            segment_size: copycat_storage::Options::default().segment_size,
            limits: HttpConfig::default(),
            session_answers: crate::engine::Options::default().session_answers,
            session_events: crate::engine::Options::default().session_limits.events,
        }
    }
}

/// A running server of the product.
#[derive(Debug)]
pub struct Server {
    http: SocketAddr,
    stopper: Stopper,
    feeds: Feeds,
    driver: thread::JoinHandle<Result<(), Stopped>>,
    http_done: async_channel::Receiver<()>,
}

/// Asks a server to stop.
#[derive(Clone, Debug)]
pub struct Stopper {
    inbox: Inbox,
    http: async_channel::Sender<()>,
}

impl Stopper {
    /// A leader hands its office over first. Returns at once.
    pub fn stop(&self) {
        self.inbox.offer(Event::Shutdown);
    }
}

/// How long a server with a damaged log looks for a leader before it gives up.
const REPAIR_PATIENCE: Duration = Duration::from_secs(30);

fn bind(what: &str, address: &str) -> Result<TcpListener, ServerError> {
    listening(what, address, task::block_on(TcpListener::bind(address)))
}

/// What listens, or why nothing does.
fn listening<T>(what: &str, address: &str, result: io::Result<T>) -> Result<T, ServerError> {
    result.map_err(|e| {
        let hint = match e.kind() {
            io::ErrorKind::AddrInUse => "another process listens there: stop it, or choose another port",
            io::ErrorKind::InvalidInput => "give HOST:PORT, such as 127.0.0.1:8700",
            _ => "choose an address of this machine",
        };
        ServerError::new(format!("cannot listen on {what} {address}: {e}; {hint}"))
    })
}

/// The identity and salt of new files, and the seed of election timeouts: from the operating system.
fn random() -> Result<u64, ServerError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|e| ServerError::new(format!("no random numbers: {e}")))?;
    Ok(u64::from_le_bytes(bytes))
}

fn open(options: &Options) -> Result<Storage<AnyDisk>, ServerError> {
    let disk = open_disk(options)?;
    let storage = match Storage::open(disk.clone(), log_options(options), seed()?) {
        Err(OpenError::Corrupt(damage)) => repair(options, disk, &damage)?,
        opened => opened.map_err(|e| ServerError::new(format!("{}: {e}", options.data.display())))?,
    };
    prepared(options, storage)
}

fn open_disk(options: &Options) -> Result<AnyDisk, ServerError> {
    AnyDisk::open(&options.data).map_err(|e| ServerError::new(format!("{}: {e}", options.data.display())))
}

fn log_options(options: &Options) -> copycat_storage::Options {
    copycat_storage::Options { segment_size: options.segment_size }
}

fn seed() -> Result<Seed, ServerError> {
    Ok(Seed { identity: random()? | 1, salt: (random()? >> 32) as u32, now_ms: clock::wall_ms() })
}

/// What every start notes in the directory.
fn prepared(options: &Options, mut storage: Storage<AnyDisk>) -> Result<Storage<AnyDisk>, ServerError> {
    let mut meta = storage.meta().clone();
    if meta.server != 0 && meta.server != options.id {
        return Err(ServerError::new(format!(
            "{} belongs to server {}, not to server {}: give the right --id or another --data",
            options.data.display(),
            meta.server,
            options.id
        )));
    }
    meta.server = options.id;
    prepare(&mut meta, options.durability);
    if meta != *storage.meta() {
        storage.set_meta(meta);
    }
    Ok(storage)
}

/// Brings back a directory with damage: its log is given up, term and vote are kept, and the peers have the rest. Only if
/// they go on without this server: else what is here may be all there is.
///
/// # Errors
/// If no peer knows a leader: where the damage is.
fn repair(options: &Options, disk: AnyDisk, damage: &Corrupt) -> Result<Storage<AnyDisk>, ServerError> {
    let directory = options.data.display();
    let id = options.id;
    tracing::warn!("server {id}: {directory}: {damage}; asking the peers whether they go on without this server");
    let digest = Configuration::bootstrap(options.bootstrap.iter().cloned()).digest();
    let me = Me { id, identity: 0, digest, http: options.http.clone(), peer: options.peer.clone() };
    let others = options.bootstrap.iter().filter(|(other, _)| *other != id).map(|(_, at)| at.clone());
    let peers: Vec<String> = others.chain(options.join.iter().cloned()).collect();
    let begun = Instant::now();
    while !has_leader(&me, &Tcp, &peers) {
        if peers.is_empty() || begun.elapsed() >= REPAIR_PATIENCE {
            return Err(ServerError::new(format!(
                "{directory}: {damage}; no peer knows a leader, so nothing was changed: start the others first, or bring \
                 the file back"
            )));
        }
        thread::sleep(Duration::from_millis(500));
    }
    let opened = Storage::open_damaged(disk, log_options(options), seed()?, Some(damage.clone()));
    let (storage, _) = opened.map_err(|e| ServerError::new(format!("{directory}: {e}")))?;
    tracing::warn!("server {id}: {directory}: the damaged file is set aside, the log comes from the peers");
    Ok(storage)
}

/// Sees to it that the directory knows the cluster: what it knows beats how the server is started, and one that knows
/// none joins, if it is to.
fn enter(options: &Options, me: &Me, storage: &mut Storage<AnyDisk>) -> Result<(), ServerError> {
    if !storage.configuration().is_empty() {
        let known = decode::<(Index, Configuration)>(storage.configuration());
        let (_, known) =
            known.map_err(|e| ServerError::new(format!("{}: configuration: {e}", options.data.display())))?;
        if known.has_removed(me.identity) {
            return Err(ServerError::new(format!(
                "{} was removed from its cluster: start with an empty directory and --join to take the server back",
                options.data.display()
            )));
        }
        return Ok(());
    }
    if options.join.is_empty() || storage.last_index() > 0 {
        return Ok(());
    }
    let (index, configuration) = join(me, &Tcp, &options.join, options.member_type).map_err(ServerError::new)?;
    let meta = copycat_storage::Meta { cluster: configuration.cluster, ..storage.meta().clone() };
    storage.set_meta(meta);
    storage.set_configuration(encode(&(index, configuration)));
    Ok(())
}

/// Starts the threads that sockets are served on, before async-std would start one for each processor: one alone serves
/// more, since requests are short and handing them from thread to thread costs more than it gains (see
/// `docs/benchmarks.md`). `ASYNC_STD_THREAD_COUNT` in the environment says otherwise. In a program that has started the
/// runtime already, nothing changes.
fn start_runtime() {
    let one = GlobalExecutorConfig::default().with_min_threads(1).with_max_threads(1);
    let named = one.with_env_var("ASYNC_STD_THREAD_COUNT").with_thread_name_fn(|| "copycat-sockets".to_string());
    async_global_executor::init_with_config(named);
}

impl Server {
    /// Starts a server: opens its directory, binds its ports, joins its peers. It serves as soon as there is a leader.
    ///
    /// # Errors
    /// If an address or the directory cannot be used; the error is one line that says what to do.
    pub fn start(options: &Options) -> Result<Self, ServerError> {
        start_runtime();
        let initial = Configuration::bootstrap(options.bootstrap.iter().cloned());
        if options.join.is_empty() && !initial.members.contains_key(&options.id) {
            return Err(ServerError::new(format!("--bootstrap does not list server {} itself: add it", options.id)));
        }
        let mut storage = open(options)?;
        let http_listener = bind("the HTTP address", &options.http)?;
        let peer_listener = listening("the peer address", &options.peer, task::block_on(Tcp.listen(&options.peer)))?;
        let http = http_listener.local_addr().map_err(ServerError::new)?;
        let me = Me {
            id: options.id,
            identity: storage.meta().identity,
            digest: initial.digest(),
            http: options.advertise_http.clone().unwrap_or_else(|| http.to_string()),
            peer: options.peer.clone(),
        };
        enter(options, &me, &mut storage)?;
        let (id, cluster, seed) = (options.id, storage.meta().cluster, random()?);
        let mut engine_options = crate::engine::Options::with_election_timeout(options.election_timeout);
        engine_options.session_answers = options.session_answers;
        engine_options.session_limits.events = options.session_events;
        engine_options.auto_replace = options.auto_replace;
        engine_options.snapshot_bytes = options.snapshot_bytes.unwrap_or(u64::from(options.segment_size) / 2);
        let start = |storage| {
            let (options, now) = (engine_options.clone(), clock::now());
            Engine::new(id, options, seed, now, storage, Store::default, initial.clone())
        };
        let engine = match start(storage) {
            // Found only now, by reading what a start needs.
            Err(Fatal::Corrupt(damage)) => {
                let disk = open_disk(options)?;
                start(prepared(options, repair(options, disk, &damage)?)?)
            }
            started => started,
        };
        let engine = engine.map_err(|e| ServerError::new(format!("{}: {e}", options.data.display())))?;
        let configuration = engine.configuration().clone();
        if !initial.members.is_empty() && !configuration.same_members(&initial) {
            tracing::warn!(
                "server {}: {} knows other members or addresses than --bootstrap lists: what it knows is in force",
                options.id,
                options.data.display()
            );
        }
        let door = Door::new(me.clone(), cluster, configuration.clone());
        let (inbox, events) = Inbox::new();
        let Me { id, identity, http: advertised, peer, .. } = me;
        inbox.offer(Event::Met { id, identity, cluster, http: advertised, peer, dialed: false });
        let silence = (options.election_timeout * 2).max(Duration::from_secs(1));
        let links = Links::new(door.clone(), inbox.clone(), Arc::new(Tcp), silence);
        let views = Views::new(View::of(&engine));
        let name = format!("copycat-{}", options.id);
        let flusher = Flusher::start(&name, inbox.clone())
            .map_err(|e| ServerError::new(format!("cannot start a thread: {e}")))?;
        let waiters = Waiters::default();
        let feeds = Feeds::new(waiters.clone());
        let worker = Worker::start_thread(&name, inbox.clone())
            .map_err(|e| ServerError::new(format!("cannot start a thread: {e}")))?;
        let wiring = Wiring {
            flusher,
            worker,
            links,
            door: door.clone(),
            views: views.clone(),
            waiters: waiters.clone(),
            feeds: feeds.clone(),
        };
        let driver = Arc::new(Mutex::new(Some(Driver::new(engine, wiring, options.durability, random()?))));
        let (http_stop, http_stopped) = async_channel::bounded(1);
        let (http_end, http_done) = async_channel::bounded(1);
        task::spawn(listen(peer_listener, door, inbox.clone()));
        let sources = (waiters, feeds.clone());
        let port = Arc::new(Port::new(options.id, inbox.clone(), driver.clone(), views, sources));
        let backend = Arc::new(ServerBackend::new(port));
        let config = options.limits.clone();
        task::spawn(async move {
            if let Err(e) = copycat_http::serve(http_listener, backend, config, http_stopped).await {
                tracing::error!("the HTTP server ended: {e}");
            }
            http_end.close();
        });
        let driver = thread::Builder::new()
            .name(name)
            .spawn(move || driver::run(&driver, events))
            .map_err(|e| ServerError::new(format!("cannot start a thread: {e}")))?;
        Ok(Self { http, stopper: Stopper { inbox, http: http_stop }, feeds, driver, http_done })
    }

    /// Where it serves HTTP.
    #[must_use]
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// What happens to it and to the cluster from now on, as this server sees it: elections, and members that join, leave
    /// or change. The channel is closed when the server has ended, and when 1,024 events are left unread.
    #[must_use]
    pub fn events(&self) -> async_channel::Receiver<crate::engine::Event> {
        self.feeds.listen()
    }

    /// What stops it.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Waits until it has stopped.
    ///
    /// # Errors
    /// If it had to stop by itself.
    pub fn wait(self) -> Result<(), ServerError> {
        let result = self.driver.join();
        // Whoever still waits has been answered; the HTTP server sends those answers and ends.
        let _ = self.stopper.http.try_send(());
        task::block_on(async {
            let _ = async_std::future::timeout(Duration::from_secs(2), self.http_done.recv()).await;
        });
        match result {
            Ok(result) => result.map_err(ServerError::new),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_string()));
                let text = text.unwrap_or_else(|| "unknown".into());
                Err(ServerError::new(format!("the server's thread panicked, which is a bug: {text}")))
            }
        }
    }
}
