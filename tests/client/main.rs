//! The native client against three servers in this process, on a network whose links can be cut.

#![allow(clippy::unwrap_used, missing_docs)]

mod bell;
mod order;
mod ports;
mod product;
mod sessions;

use copycat::client::{Client, Consistency, Keys};
use copycat::store::Store;
use copycat::{LocalNetwork, Server, StateMachine, Storage};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

const ALL: [Consistency; 3] = [Consistency::Linearizable, Consistency::Lease, Consistency::Sequential];
/// The clients' host.
const HERE: &str = "here";

static TURN: Mutex<()> = Mutex::new(());

/// One test at a time: elections and sessions want a machine to themselves.
fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Three servers, each of which can be stopped, started again, and cut off from the clients.
struct Cluster<M: StateMachine = Store> {
    network: LocalNetwork,
    directory: PathBuf,
    servers: BTreeMap<u64, Server<M>>,
    _turn: MutexGuard<'static, ()>,
}

fn at(id: u64) -> String {
    format!("host-{id}")
}

impl<M: StateMachine + Default> Cluster<M> {
    fn start(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("copycat-client-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        let (network, servers) = (LocalNetwork::new(), BTreeMap::new());
        let mut cluster = Self { network, directory, servers, _turn: turn() };
        (1..=3).for_each(|id| cluster.start_server(id));
        cluster
    }

    fn start_server(&mut self, id: u64) {
        let builder = Server::builder(id)
            .storage(Storage::Mapped(self.directory.join(id.to_string())))
            .segment_size(1 << 20)
            .largest_entry((1 << 20) - 4096)
            .transport(self.network.host(&at(id)))
            .peer_address(at(id));
        self.servers.insert(id, builder.bootstrap([1, 2, 3].map(|id| (id, at(id)))).unwrap());
    }

    fn stop_server(&mut self, id: u64) {
        self.servers.remove(&id).unwrap().shutdown().unwrap();
    }

    /// Cuts the clients off from all servers.
    fn cut(&self) {
        (1..=3).for_each(|id| self.network.cut(HERE, &at(id)));
    }

    fn mend(&self) {
        (1..=3).for_each(|id| self.network.mend(HERE, &at(id)));
    }

    fn client(&self) -> copycat::client::Builder<M> {
        Client::builder([1, 2, 3].map(at)).transport(self.network.host(HERE))
    }

    fn leader(&self) -> u64 {
        loop {
            let leader = self.servers.values().find_map(|server| server.state().leader);
            if let Some(leader) = leader.filter(|leader| self.servers.contains_key(leader)) {
                return leader;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Cluster {
    async fn keys(&self) -> Keys {
        // A host of its own, which is never cut off.
        Keys::new(self.client().transport(self.network.host("there")).connect().await.unwrap())
    }
}

impl<M: StateMachine> Drop for Cluster<M> {
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
