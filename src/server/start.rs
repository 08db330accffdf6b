//! Putting a server together: its storage, its addresses, its cluster, its threads.

use super::builder::{Api, Make, Settings};
use super::clock;
use super::descriptors::Descriptors;
use super::disks::{self, Kept, place, random};
use super::driver::{self, Driver, Wiring};
use super::durability;
use super::feed::Feeds;
use super::flusher::Flusher;
use super::inbox::{Event, Inbox};
use super::machine::MachineThread;
use super::native::Clients;
use super::port::Port;
use super::running::Parts;
use super::settings::{Flags, differing};
use super::transport::frame::Me;
use super::transport::{Door, Hall, Links, join, listen};
use super::view::{View, Views};
use super::waiters::Waiters;
use super::worker::Worker;
use super::{Server, ServerError};
use crate::engine::machine::StateMachine;
use crate::engine::{Configuration, ConfigurationError, Engine, Fatal, Index, LARGEST_ENTRY, decode, encode};
use crate::transport::Listener;
use async_channel::Receiver;
use async_global_executor::GlobalExecutorConfig;
use async_std::net::TcpListener;
use async_std::task;
use copycat_http::Backend;
use copycat_storage::{AnyDisk, Storage};
use futures_lite::FutureExt;
use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Starts the threads that sockets are served on, before async-std would start one for each processor: one alone serves
/// more, since requests are short and handing them from thread to thread costs more than it gains (see
/// `docs/benchmarks.md`). `ASYNC_STD_THREAD_COUNT` in the environment says otherwise. In a program that has started the
/// runtime already, nothing changes.
fn start_runtime() {
    let one = GlobalExecutorConfig::default().with_min_threads(1).with_max_threads(1);
    let named = one.with_env_var("ASYNC_STD_THREAD_COUNT").with_thread_name_fn(|| "copycat-sockets".to_string());
    async_global_executor::init_with_config(named);
}

fn no_thread(error: &io::Error) -> ServerError {
    ServerError::new(format!("cannot start a thread: {error}"))
}

/// The largest entry that the engine writes of its own accord: signs of life of many sessions.
const OWN_ENTRY: u64 = 48 * 1024;

/// Where a server is reached.
struct Doors {
    http: Option<(TcpListener, SocketAddr)>,
    peer: Box<dyn Listener>,
    client: Option<Box<dyn Listener>>,
}

impl Doors {
    fn open(settings: &Settings, peer: &str) -> Result<Self, ServerError> {
        let http = settings.http.as_ref().map(|at| {
            let bound = task::block_on(TcpListener::bind(at));
            listening("the HTTP address", at, bound.and_then(|l| l.local_addr().map(|local| (l, local))))
        });
        let bind = |what, at| listening(what, at, task::block_on(settings.transport.listen(at)));
        let client = settings.client.as_ref().map(|at| bind("the client address", at)).transpose();
        Ok(Self { http: http.transpose()?, peer: bind("the peer address", peer)?, client: client? })
    }
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

/// Where the peers reach this server: as it is told, or as the list has it.
fn peer_address(settings: &Settings) -> Result<String, ServerError> {
    let id = settings.id;
    let listed = settings.bootstrap.iter().find(|(listed, _)| *listed == id).map(|(_, at)| at.clone());
    if settings.join.is_empty() && listed.is_none() {
        return Err(ServerError::new(format!("--bootstrap does not list server {id} itself: add it")));
    }
    let address = settings.peer.clone().or(listed);
    address.ok_or_else(|| ServerError::new(format!("server {id} has no peer address: a server that joins needs one")))
}

/// Sees to it that the storage knows the cluster: what it knows beats how the server is started, and one that knows
/// none joins, if it is to.
fn enter(settings: &Settings, me: &Me, storage: &mut Storage<AnyDisk>) -> Result<(), ServerError> {
    if !storage.configuration().is_empty() {
        let known = decode::<(Index, Configuration)>(storage.configuration());
        let (_, known) = known.map_err(|e| ServerError::new(format!("{}: configuration: {e}", place(settings))))?;
        if known.has_removed(me.identity) {
            return Err(ServerError::new(format!(
                "{} was removed from its cluster: start with an empty directory and --join to take the server back",
                place(settings)
            )));
        }
        return Ok(());
    }
    if settings.join.is_empty() || storage.last_index() > 0 {
        return Ok(());
    }
    let joined = join(me, &*settings.transport, &settings.join, settings.member_type);
    let (index, configuration) = joined.map_err(ServerError::new)?;
    let meta = copycat_storage::Meta { cluster: configuration.cluster, ..storage.meta().clone() };
    storage.set_meta(meta);
    storage.set_configuration(encode(&(index, configuration)));
    Ok(())
}

/// Makes the log's files large enough for the largest entry: by what the storage knows of the cluster's settings, or as this
/// server would have them.
fn fit_segments(settings: &Settings, own: &crate::engine::Settings, storage: &mut Storage<AnyDisk>) {
    let known = decode::<(Index, Configuration)>(storage.configuration()).ok().and_then(|(_, known)| known.settings);
    let largest = known.map_or(own.largest_entry, |known| known.largest_entry).clamp(OWN_ENTRY, LARGEST_ENTRY);
    let asked = storage.options().segment_size;
    if storage.fit(usize::try_from(largest).unwrap_or(usize::MAX)) && storage.options().segment_size > asked {
        tracing::warn!(
            "server {}: new log files have {} bytes, not the {asked} of --segment-size: an entry may have {largest} bytes",
            settings.id,
            storage.options().segment_size
        );
    }
}

/// What this server acknowledged may be gone: see to it, and say so. Whether it is alone, the engine knows by now.
fn lose_unflushed<M: StateMachine>(settings: &Settings, engine: &mut Engine<AnyDisk, M>) {
    let is_alone = |c: &Configuration| c.voters().eq([settings.id]);
    let alone = is_alone(engine.configuration()) && is_alone(engine.committed_configuration());
    let mut meta = engine.storage().meta().clone();
    let said = durability::after_power_loss(&mut meta, alone, engine.storage().last_index());
    engine.storage_mut().set_meta(meta);
    tracing::warn!("server {}: {}: {said}", settings.id, place(settings));
}

/// The engine on this storage.
fn engine<M: StateMachine>(
    settings: &Settings,
    initial: &Configuration,
    kept: Kept,
    make: &Make<M>,
) -> Result<Engine<AnyDisk, M>, ServerError> {
    let own = crate::engine::Settings::default().with(&settings.given);
    let mut options = crate::engine::Options::with_settings(own);
    options.auto_replace = settings.auto_replace;
    options.machine_thread = settings.machine_thread;
    options.snapshot_bytes = settings.snapshot_bytes.unwrap_or(u64::from(settings.segment_size) / 2);
    let (seed, disk) = (random()?, kept.storage.disk().clone());
    let start = |mut storage: Storage<AnyDisk>| {
        fit_segments(settings, &own, &mut storage);
        let (options, now, make) = (options.clone(), clock::now(), make.clone());
        Engine::new(settings.id, options, seed, now, storage, move || make(), initial.clone())
    };
    let Kept { storage, mut unflushed } = kept;
    let engine = match start(storage) {
        // Found only now, by reading what a start needs.
        Err(Fatal::Corrupt(damage)) => {
            let again = disks::reopen(settings, disk, &damage)?;
            unflushed = again.unflushed;
            start(again.storage)
        }
        started => started,
    };
    let mut engine = engine.map_err(|e| ServerError::new(format!("{}: {e}", place(settings))))?;
    let (committed, current) = (engine.committed_configuration(), engine.configuration());
    if let Some(line) = differing(&settings.given, committed, current) {
        return Err(ServerError::new(format!("server {}: {line}", settings.id)));
    }
    if unflushed {
        lose_unflushed(settings, &mut engine);
    }
    if !initial.members.is_empty() && !engine.configuration().same_members(initial) {
        tracing::warn!(
            "server {}: {} knows other members or addresses than --bootstrap lists: what it knows is in force",
            settings.id,
            place(settings)
        );
    }
    Ok(engine)
}

/// Serves HTTP until the server has `ended`; the channel that is returned is closed when it is done.
fn serve(listener: TcpListener, backend: Arc<dyn Backend>, settings: &Settings, ended: Receiver<()>) -> Receiver<()> {
    let (end, done) = async_channel::bounded(1);
    let mut limits = settings.limits.clone();
    limits.descriptors = limits.descriptors.min(Descriptors::of_process().clients());
    task::spawn(async move {
        if let Err(e) = copycat_http::serve(listener, backend, limits, ended).await {
            tracing::error!("the HTTP server ended: {e}");
        }
        end.close();
    });
    done
}

/// Starts a server: opens its storage, binds its addresses, joins its cluster.
pub(super) fn start<M: StateMachine>(
    mut settings: Settings,
    make: &Make<M>,
    api: Api<M>,
) -> Result<Server<M>, ServerError> {
    start_runtime();
    if let Some(setting) = settings.given.out_of_range() {
        return Err(ServerError::new(ConfigurationError::OutOfRange(setting)));
    }
    let peer = peer_address(&settings)?;
    settings.peer = Some(peer.clone());
    let initial = Configuration::bootstrap(settings.bootstrap.iter().cloned());
    let mut kept = disks::open(&settings)?;
    let doors = Doors::open(&settings, &peer)?;
    let http = doors.http.as_ref().map(|&(_, at)| at);
    let advertised = settings.advertise_http.clone().or(http.map(|at| at.to_string())).unwrap_or_default();
    let (id, identity, given) = (settings.id, kept.storage.meta().identity, settings.given.clone());
    let me = Me { id, identity, digest: initial.digest(), http: advertised.clone(), peer: peer.clone(), given };
    enter(&settings, &me, &mut kept.storage)?;
    let cluster = kept.storage.meta().cluster;
    let engine = engine(&settings, &initial, kept, make)?;
    let door = Door::new(me, cluster, engine.configuration().clone());
    let (inbox, events) = Inbox::new();
    inbox.offer(Event::Met { id, identity, cluster, http: advertised });
    let silence = (engine.election_timeout() * 2).max(Duration::from_secs(1));
    let known = engine.committed_configuration().settings;
    let flags = Flags::new(settings.given.clone(), known, cluster != 0);
    let views = Views::new(View::of(&engine));
    let name = format!("copycat-{id}");
    let waiters = Waiters::default();
    let feeds = Feeds::new(waiters.clone());
    let wiring = Wiring {
        flusher: Flusher::start(&name, inbox.clone()).map_err(|e| no_thread(&e))?,
        worker: Worker::start_thread(&name, inbox.clone()).map_err(|e| no_thread(&e))?,
        machine: settings
            .machine_thread
            .then(|| MachineThread::start(&name, inbox.clone()))
            .transpose()
            .map_err(|e| no_thread(&e))?,
        links: Links::new(door.clone(), inbox.clone(), settings.transport.clone(), silence),
        door: door.clone(),
        views: views.clone(),
        waiters: waiters.clone(),
        feeds: feeds.clone(),
        flags,
    };
    let driver = Arc::new(Mutex::new(Some(Driver::new(engine, wiring, settings.durability, random()?))));
    let port = Arc::new(Port::new(id, inbox.clone(), driver.clone(), views, (waiters, feeds.clone())));
    // As long as the driver runs: whoever serves sockets ends when this is dropped.
    let (running, ended) = async_channel::bounded::<()>(1);
    let descriptors = Descriptors::of_process();
    let clients = Clients::new(port.clone(), descriptors);
    let hall = |clients, peers| Hall::new(door.clone(), inbox.clone(), clients, peers, silence);
    // Clients have an address of their own, or share that of the peers.
    let at_peers = doors.client.as_ref().map_or_else(|| clients.clone(), |own| clients.send_to(own.address()));
    let mut listeners = vec![task::spawn(listen(doors.peer, hall(at_peers, true), ended.clone()))];
    listeners.extend(doors.client.map(|own| task::spawn(listen(own, hall(clients, false), ended.clone()))));
    let http_done = doors.http.map(|(listener, _)| serve(listener, api(port.clone()), &settings, ended.clone()));
    let drive = async move {
        let _running = running;
        driver::run(driver, events).await
    };
    let driving = task::spawn(AssertUnwindSafe(drive).catch_unwind());
    Ok(Server::new(Parts { port, inbox, http, http_done, feeds, driving, listeners }))
}
