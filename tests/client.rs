//! The native client against three servers in this process, over TCP.

#![allow(clippy::unwrap_used, missing_docs)]

use async_std::task::{self, block_on};
use copycat::client::{
    Change, Client, ConnectionStrategy, Consistency, Error, Fate, Keys, RecoveryStrategy, ServerSelection, State, blocking,
};
use copycat::server::{Options, Server};
use copycat::store::{Command, Operation, OperationOutput, Predicate, Store};
use copycat::transport::{Connection, Listener, Tcp, Transport};
use futures_lite::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use std::collections::BTreeMap;
use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

const ALL: [Consistency; 3] = [Consistency::Linearizable, Consistency::Lease, Consistency::Sequential];

fn free() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// Three servers, each of which can be stopped and started again.
struct Cluster {
    directory: PathBuf,
    addresses: Vec<(u64, String)>,
    servers: BTreeMap<u64, Server>,
}

impl Cluster {
    fn start(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("copycat-client-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        let addresses: Vec<_> = (1..=3).map(|id| (id, free())).collect();
        let mut cluster = Self { directory, addresses, servers: BTreeMap::new() };
        (1..=3).for_each(|id| cluster.start_server(id));
        cluster
    }

    fn start_server(&mut self, id: u64) {
        let peer = self.address(id).to_string();
        let data = self.directory.join(id.to_string());
        let mut options = Options::new(id, data, "127.0.0.1:0".into(), peer, self.addresses.clone());
        options.segment_size = 1 << 20;
        let begun = Instant::now();
        let server = loop {
            match Server::start(&options) {
                Ok(server) => break server,
                // Its old life may still hold the port for a moment.
                Err(e) => assert!(begun.elapsed() < Duration::from_secs(20), "{e}"),
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        self.servers.insert(id, server);
    }

    fn stop_server(&mut self, id: u64) {
        let server = self.servers.remove(&id).unwrap();
        server.stopper().stop();
        server.wait().unwrap();
    }

    fn address(&self, id: u64) -> &str {
        &self.addresses.iter().find(|(known, _)| *known == id).unwrap().1
    }

    fn all(&self) -> Vec<String> {
        self.addresses.iter().map(|(_, at)| at.clone()).collect()
    }

    async fn keys(&self) -> Keys {
        Keys::connect(self.all()).await.unwrap()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for server in self.servers.values() {
            server.stopper().stop();
        }
        while let Some((_, server)) = self.servers.pop_first() {
            let _ = server.wait();
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// TCP with a switch: while it is off, connections fail.
#[derive(Clone, Debug, Default)]
struct Switch(Arc<AtomicBool>);

impl Switch {
    fn off(&self, off: bool) {
        self.0.store(off, Ordering::SeqCst);
    }

    fn check(&self) -> io::Result<()> {
        if self.0.load(Ordering::SeqCst) { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }
}

struct Switched<T>(Switch, T);

impl AsyncRead for Switched<Box<dyn AsyncRead + Send + Unpin>> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.0.check()?;
        Pin::new(&mut self.1).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Switched<Box<dyn AsyncWrite + Send + Unpin>> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        self.0.check()?;
        Pin::new(&mut self.1).poll_write(cx, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.1).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.1).poll_close(cx)
    }
}

#[async_trait::async_trait]
impl Transport for Switch {
    async fn listen(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        Tcp.listen(address).await
    }

    async fn dial(&self, address: &str) -> io::Result<Connection> {
        self.check()?;
        let Connection { reader, writer } = Tcp.dial(address).await?;
        let (reader, writer) = (Switched(self.clone(), reader), Switched(self.clone(), writer));
        Ok(Connection { reader: Box::new(reader), writer: Box::new(writer) })
    }
}

async fn within<T>(seconds: u64, what: impl Future<Output = T>) -> T {
    async_std::future::timeout(Duration::from_secs(seconds), what).await.expect("it happens in time")
}

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// All of these, polled in order.
async fn join_all<T>(futures: Vec<Boxed<'_, T>>) -> Vec<T> {
    let mut waiting: Vec<_> = futures.into_iter().map(|future| (future, None)).collect();
    std::future::poll_fn(|cx| {
        for (future, result) in &mut waiting {
            if result.is_none()
                && let Poll::Ready(value) = future.as_mut().poll(cx)
            {
                *result = Some(value);
            }
        }
        if waiting.iter().all(|(_, result)| result.is_some()) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    waiting.into_iter().filter_map(|(_, result)| result).collect()
}

#[test]
fn commands_and_queries_on_any_server_at_each_consistency() {
    let cluster = Cluster::start("all");
    block_on(within(60, async {
        for selection in [ServerSelection::Any, ServerSelection::Leader, ServerSelection::Followers] {
            // One address is enough: the others are learned.
            let builder = Client::<Store>::builder([cluster.address(1)]).server_selection(selection).name("test");
            let keys = Keys::new(builder.connect().await.unwrap());
            assert_eq!(keys.client().members(), cluster.addresses);
            let written = keys.put("a", "1").content_type("text/plain").await.unwrap();
            for consistency in ALL {
                let item = keys.get("a", consistency).await.unwrap().unwrap();
                assert_eq!((item.value.as_slice(), item.version), (&b"1"[..], written.version), "{consistency:?}");
            }
            let stale = keys.put("a", "2").if_version(written.version + 1).await;
            assert_eq!(stale, Err(Error::ConditionFailed { version: Some(written.version) }));
            assert_eq!(keys.put("a", "2").if_absent().await, Err(Error::ConditionFailed { version: Some(written.version) }));
            let newer = keys.put("a", "2").if_version(written.version).await.unwrap();
            assert!(!newer.created && newer.version > written.version);
            let get = |key: &str| Operation::Get { key: key.into() };
            let condition = Predicate::Version { key: b"a".to_vec(), version: newer.version };
            let done = keys.transaction(condition, vec![get("a"), get("none")], Vec::new()).await.unwrap();
            assert!(done.succeeded);
            assert!(matches!(done.results.as_slice(), [OperationOutput::Value(Some(_)), OperationOutput::Value(None)]));
            keys.put("b/1", "x").await.unwrap();
            keys.put("b/2", "x").await.unwrap();
            let page = keys.list("b/").limit(1).await.unwrap();
            assert_eq!((page.items.len(), page.next), (1, Some(b"b/2".to_vec())));
            assert_eq!(keys.delete("a").await, Ok(Some(newer.version)));
            assert_eq!(keys.delete("a").await, Ok(None));
            assert_eq!(keys.delete_prefix("b/", 10).await, Ok((2, false)));
            assert_eq!(keys.put("", "x").await, Err(Error::BadName));
            assert_eq!(keys.put("big", vec![0; 5 << 20]).await, Err(Error::TooLarge));
            keys.put("session's", "x").ephemeral().await.unwrap();
            keys.client().close().await;
            assert_eq!(keys.client().state(), State::Closed);
            assert_eq!(keys.put("a", "x").await, Err(Error::Closed));
            let other = cluster.keys().await;
            assert_eq!(other.get("session's", Consistency::Linearizable).await, Ok(None), "closed, not left to time out");
        }
    }));
}

/// The values that were put, as the watch has them, with their versions.
async fn watched(watch: &mut copycat::client::Watch, count: usize) -> Vec<(String, u64)> {
    let mut changes = Vec::new();
    while changes.len() < count {
        match watch.next().await.unwrap().unwrap() {
            Change::Put { value, version, .. } => changes.push((String::from_utf8(value).unwrap(), version)),
            other => panic!("{other:?}"),
        }
    }
    changes
}

#[test]
fn a_pipeline_is_answered_in_order_and_each_command_applied_once_though_servers_and_leaders_go() {
    let mut cluster = Cluster::start("pipeline");
    let (keys, mut watch) = block_on(async {
        let keys = cluster.keys().await;
        let watch = keys.watch("counter").await.unwrap();
        (keys, watch)
    });
    let submitted = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let (keys, submitted, stop) = (keys.clone(), submitted.clone(), stop.clone());
        task::spawn(async move {
            let mut versions = Vec::new();
            while !stop.load(Ordering::SeqCst) {
                let first = submitted.fetch_add(256, Ordering::SeqCst);
                let put = |n: u64| -> Boxed<'_, _> { Box::pin(keys.put("counter", n.to_string()).into_future()) };
                let batch = (first..first + 256).map(put).collect();
                // Polled in order, so submitted in order, all at once.
                versions.extend(join_all(batch).await.into_iter().map(|written| written.unwrap().version));
            }
            versions
        })
    };
    std::thread::sleep(Duration::from_millis(300));
    // Each server once: the leader, and the one that the client talks to, among them.
    for id in 1..=3 {
        cluster.stop_server(id);
        std::thread::sleep(Duration::from_millis(700));
        cluster.start_server(id);
        std::thread::sleep(Duration::from_millis(1300));
    }
    stop.store(true, Ordering::SeqCst);
    block_on(within(60, async {
        let versions = writer.await;
        assert_eq!(versions.len() as u64, submitted.load(Ordering::SeqCst));
        assert!(versions.is_sorted(), "answers in the order of submission");
        let changes = watched(&mut watch, versions.len()).await;
        let expected: Vec<_> = versions.iter().enumerate().map(|(n, version)| (n.to_string(), *version)).collect();
        assert_eq!(changes, expected, "each once, in order, none missing");
        assert_eq!(keys.client().state(), State::Connected);
        assert!(versions.len() > 256, "something was done: {}", versions.len());
    }));
}

#[test]
fn back_to_back_a_command_is_followed_by_its_event_and_then_by_what_queries_see() {
    let cluster = Cluster::start("order");
    block_on(within(60, async {
        for selection in [ServerSelection::Leader, ServerSelection::Followers] {
            let client = Client::<Store>::builder(cluster.all()).server_selection(selection).connect().await.unwrap();
            let keys = Keys::new(client);
            let _watch = keys.watch("k").await.unwrap();
            let mut events = keys.client().events();
            for round in 0..20_u64 {
                let put = Command::Put {
                    key: b"k".to_vec(),
                    value: round.to_be_bytes().to_vec(),
                    content_type: String::new(),
                    ttl_ms: 0,
                    ephemeral: false,
                    condition: copycat::store::Condition::Always,
                };
                let query = copycat::store::Query::Get { key: b"k".to_vec() };
                let client = keys.client();
                let (first, second) = (client.submit(put.clone()), client.submit(put));
                let consistency = ALL[(round % 3) as usize];
                let submitted: Vec<Boxed<'_, u64>> = vec![
                    Box::pin(async { first.await.unwrap().index }),
                    Box::pin(async { second.await.unwrap().index }),
                    Box::pin(async { client.query(query, consistency).await.unwrap().index }),
                ];
                let indexes = join_all(submitted).await;
                assert!(indexes.is_sorted() && indexes[0] < indexes[1], "{indexes:?}");
                let got = [events.next().await.unwrap().index, events.next().await.unwrap().index];
                assert_eq!(got, indexes[..2], "an event comes with the index of its command");
            }
            keys.client().close().await;
        }
    }));
}

#[test]
fn an_expired_session_is_followed_by_a_new_one_which_gets_what_was_never_sent() {
    let cluster = Cluster::start("expiry");
    block_on(within(60, async {
        let switch = Switch::default();
        let builder = Client::<Store>::builder(cluster.all()).session_timeout(Duration::from_secs(1));
        let keys = Keys::new(builder.transport(switch.clone()).connect().await.unwrap());
        let mut watch = keys.watch("k").await.unwrap();
        let guard = keys.lock("lock").await.unwrap();
        let (state, states) = keys.client().states();
        assert_eq!(state, State::Connected);
        let first = keys.client().session().unwrap();
        let other = cluster.keys().await;
        let waiting = {
            let other = other.clone();
            task::spawn(async move { other.lock("lock").await.unwrap() })
        };
        switch.off(true);
        // Lost before another can have it, as far as the guard is concerned.
        guard.lost().await;
        assert!(guard.is_lost());
        let unsent = { let keys = keys.clone(); task::spawn(async move { keys.put("k", "unsent").await }) };
        let second = waiting.await;
        assert!(second.token() > guard.token() && !second.is_lost());
        switch.off(false);
        assert_eq!(states.recv().await, Ok(State::Suspended));
        while states.recv().await.unwrap() != State::Connected {}
        assert!(keys.client().session().unwrap() > first);
        unsent.await.expect("it moved to the new session");
        assert!(matches!(watch.next().await, Some(Err(Error::SessionLost(_)))) && watch.next().await.is_none());
        assert_eq!(keys.put("k", "x").guarded_by(&guard).await, Err(Error::TokenStale));
        assert!(keys.put("k", "x").guarded_by(&second).await.is_ok());
        assert_eq!(second.unlock().await, Ok(true));
    }));
}

#[test]
fn a_client_that_is_to_close_does_and_recovers_when_asked() {
    let cluster = Cluster::start("close");
    block_on(within(60, async {
        let switch = Switch::default();
        let builder = Client::<Store>::builder(cluster.all()).session_timeout(Duration::from_secs(1));
        let builder = builder.recovery_strategy(RecoveryStrategy::Close).transport(switch.clone());
        let keys = Keys::new(builder.connect().await.unwrap());
        let (_, states) = keys.client().states();
        switch.off(true);
        task::sleep(Duration::from_secs(4)).await;
        switch.off(false);
        while states.recv().await.unwrap() != State::Closed {}
        let lost = keys.put("k", "x").await.unwrap_err();
        assert!(matches!(lost, Error::SessionLost(_)) && lost.outcome() == Fate::NotApplied);
        let session = keys.client().recover().await.unwrap();
        assert_eq!(keys.client().session(), Some(session));
        keys.put("k", "x").await.unwrap();
        // Also one that is not lost.
        assert!(keys.client().recover().await.unwrap() > session);
        keys.put("k", "y").await.unwrap();
    }));
}

#[test]
fn a_client_that_reaches_nobody_says_so_if_it_is_to_try_once() {
    block_on(within(30, async {
        let builder = Client::<Store>::builder([free(), free()]).connection_strategy(ConnectionStrategy::Once);
        let error = builder.connect().await.unwrap_err();
        assert!(matches!(error, Error::Unreachable(_)), "{error}");
    }));
}

#[test]
fn a_lock_is_one_guards_and_is_told_when_it_is_lost() {
    let cluster = Cluster::start("locks");
    block_on(within(60, async {
        let (a, b) = (cluster.keys().await, cluster.keys().await);
        let guard = a.lock("l").await.unwrap();
        assert_eq!(b.lock("l").try_once().await.unwrap_err(), Error::LockHeld);
        assert_eq!(a.lock("l").try_once().await.unwrap_err(), Error::LockHeld, "also within the client");
        let begun = Instant::now();
        assert_eq!(b.lock("l").wait(Duration::from_millis(300)).await.unwrap_err(), Error::LockHeld);
        assert!(begun.elapsed() >= Duration::from_millis(300));
        let token = guard.token();
        drop(guard);
        let guard = b.lock("l").await.unwrap();
        assert!(guard.token() > token);
        assert!(async_std::future::timeout(Duration::from_millis(200), guard.lost()).await.is_err());
        let session = b.client().session().unwrap();
        a.client().submit(Command::Revoke { lock: b"l".to_vec(), session }).await.unwrap();
        guard.lost().await;
        assert!(guard.is_lost());
        assert_eq!(a.put("x", "y").guarded_by(&guard).await, Err(Error::TokenStale));
        // A place in the queue that is given up is no grant.
        let held = a.lock("l").await.unwrap();
        drop(guard);
        let waits = { let b = b.clone(); task::spawn(async move { b.lock("l").await }) };
        task::sleep(Duration::from_millis(200)).await;
        waits.cancel().await;
        assert_eq!(held.unlock().await, Ok(true));
        let again = a.lock("l").wait(Duration::from_secs(5)).await.expect("nobody waits any more");
        let shared = a.lock("s").shared().await.unwrap();
        let also = b.lock("s").shared().await.unwrap();
        assert_ne!(shared.token(), also.token());
        drop((again, shared, also));
    }));
}

#[test]
fn a_program_without_a_runtime_blocks() {
    let cluster = Cluster::start("blocking");
    let client = blocking::connect(Client::<Store>::builder(cluster.all())).unwrap();
    let hurried = blocking::Keys::new(client.clone().timeout(Duration::from_secs(1)));
    let keys = blocking::Keys::new(client.timeout(Duration::from_secs(20)));
    assert!(keys.call(|keys| keys.put("a", "1")).unwrap().created);
    let guard = keys.call(|keys| keys.lock("l")).unwrap();
    assert!(keys.call(|keys| keys.get("a", Consistency::Lease)).unwrap().is_some());
    assert_eq!(blocking::wait(guard.unlock()), Ok(true));
    drop(cluster);
    assert_eq!(hurried.call(|keys| keys.put("a", "2")).unwrap_err().outcome(), Fate::Unknown);
}

#[test]
fn what_is_no_client_is_refused_and_disturbs_nobody() {
    let cluster = Cluster::start("hostile");
    block_on(within(60, async {
        let keys = cluster.keys().await;
        for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 64], &[0, 0, 0, 0], &[5, 0, 0, 0, 1, 2, 3, 4, 5]] {
            let mut raw = async_std::net::TcpStream::connect(cluster.address(1)).await.unwrap();
            raw.write_all(bytes).await.unwrap();
            let mut answer = Vec::new();
            assert!(raw.read_to_end(&mut answer).await.unwrap_or(0) == 0, "{answer:?}");
        }
        keys.put("a", "1").await.unwrap();
    }));
}
