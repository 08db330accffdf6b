//! Servers inside another program, with a state machine of its own: started, listened to, cut off, changed, stopped.

#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs)]

mod http;
mod life;
mod members;
mod panic;
mod slow;
mod tally;
mod tcp;

use copycat::{Builder, Consistency, LocalNetwork, MemberType, Refusal, Role, Server, Storage};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tally::{Command, Tally};

/// How long anything may take on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(20);

static TURN: Mutex<()> = Mutex::new(());

/// One test at a time: elections want a machine to themselves.
fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn block<T>(future: impl Future<Output = T>) -> T {
    async_std::task::block_on(future)
}

/// Waits until something holds.
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A directory that goes with its value.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("copycat-embedded-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }

    fn of(&self, id: u64) -> PathBuf {
        self.0.join(format!("server-{id}"))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Three servers on a network of their own.
struct Three {
    network: LocalNetwork,
    directory: Option<Directory>,
    servers: Vec<Option<Server<Tally>>>,
}

fn at(id: u64) -> String {
    format!("host-{id}")
}

fn list() -> [(u64, String); 3] {
    [1, 2, 3].map(|id| (id, at(id)))
}

/// A server of this network; in memory, if there is no directory.
fn builder(network: &LocalNetwork, directory: Option<&Path>, id: u64) -> Builder<Tally> {
    let storage = directory.map_or(Storage::Memory, |path| Storage::Mapped(path.join(format!("server-{id}"))));
    Server::builder(id)
        .storage(storage)
        .memory_limit(64 << 20)
        .segment_size(1 << 20)
        .largest_entry((1 << 20) - 4096)
        .transport(network.host(&at(id)))
        .peer_address(at(id))
}

impl Three {
    fn start(directory: Option<Directory>) -> Self {
        let mut three = Self { network: LocalNetwork::new(), directory, servers: Vec::new() };
        for id in 1..=3 {
            let server = three.builder(id).bootstrap(list()).unwrap();
            three.servers.push(Some(server));
        }
        three.leader();
        three
    }

    fn builder(&self, id: u64) -> Builder<Tally> {
        builder(&self.network, self.directory.as_ref().map(|d| d.0.as_path()), id)
    }

    fn place(id: u64) -> usize {
        usize::try_from(id).unwrap() - 1
    }

    fn server(&self, id: u64) -> &Server<Tally> {
        self.servers[Self::place(id)].as_ref().expect("it runs")
    }

    fn take(&mut self, id: u64) -> Server<Tally> {
        self.servers[Self::place(id)].take().expect("it runs")
    }

    fn running(&self) -> impl Iterator<Item = &Server<Tally>> {
        self.servers.iter().flatten()
    }

    /// Who leads, when a majority agrees on it.
    fn leader(&self) -> u64 {
        until("a leader", || {
            let lead = self.running().map(Server::state).find(|s| s.role == Role::Leader && s.ready)?;
            let follow = |s: &&Server<Tally>| s.state().leader == Some(lead.id) && s.state().term == lead.term;
            (self.running().filter(follow).count() >= 2).then_some(lead.id)
        })
    }

    fn add(&self, through: u64, n: u64) -> Result<u64, Refusal> {
        block(self.server(through).submit(&Command::Add(n), TIMEOUT)).map(|answer| answer.output)
    }

    fn sum(&self, through: u64) -> Result<u64, Refusal> {
        let server = self.server(through);
        block(server.query(&(), Consistency::Linearizable, 0, TIMEOUT)).map(|answer| answer.output)
    }

    fn shut_down(self) {
        for server in self.servers.into_iter().flatten() {
            server.shutdown().unwrap();
        }
    }
}

/// What a member is, as another knows it.
fn type_of(server: &Server<Tally>, id: u64) -> Option<MemberType> {
    server.cluster().member(id).map(|member| member.member_type())
}
