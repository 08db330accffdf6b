//! Three servers of a state machine in one process, on a network of their own: what each example begins with.

use copycat::client::{self, Client};
use copycat::{Local, LocalNetwork, Server, ServerId, StateMachine, Storage};
use std::error::Error;
use std::path::PathBuf;

pub struct Three<M: StateMachine + Default> {
    network: LocalNetwork,
    /// Where the servers keep their data; `None`: in memory.
    directory: Option<PathBuf>,
    servers: [Option<Server<M>>; 3],
}

/// Where a server listens: a name, as the network is inside this process.
fn address(id: ServerId) -> String {
    format!("server-{id}")
}

impl<M: StateMachine + Default> Three<M> {
    /// Servers that keep all in memory.
    pub fn start() -> Result<Self, Box<dyn Error>> {
        Self::start_in(None)
    }

    /// Servers that keep it in a directory for temporary files.
    pub fn start_on_disk(name: &str) -> Result<Self, Box<dyn Error>> {
        let directory = std::env::temp_dir().join(format!("copycat-example-{name}-{}", std::process::id()));
        Self::start_in(Some(directory))
    }

    fn start_in(directory: Option<PathBuf>) -> Result<Self, Box<dyn Error>> {
        let mut cluster = Self { network: LocalNetwork::new(), directory, servers: [None, None, None] };
        for id in 1..=3 {
            cluster.start_server(id)?;
        }
        Ok(cluster)
    }

    fn start_server(&mut self, id: ServerId) -> Result<(), Box<dyn Error>> {
        let storage = match &self.directory {
            Some(directory) => Storage::Mapped(directory.join(address(id))),
            None => Storage::Memory,
        };
        let server = Server::builder(id)
            .storage(storage)
            // Small files and frequent snapshots, so that an example sees the log being compacted.
            .segment_size(64 * 1024)
            .largest_entry(48 * 1024)
            .transport(self.host(&address(id)))
            .bootstrap((1..=3).map(|id| (id, address(id))))?;
        self.servers[usize::try_from(id)? - 1] = Some(server);
        Ok(())
    }

    fn host(&self, name: &str) -> Local {
        self.network.host(name)
    }

    /// A client of these servers.
    pub async fn client(&self) -> Result<Client<M>, client::Error> {
        Client::builder((1..=3).map(address)).transport(self.host("client")).connect().await
    }

    /// Stops a server and starts it again.
    pub fn restart(&mut self, id: ServerId) -> Result<(), Box<dyn Error>> {
        if let Some(server) = self.servers[usize::try_from(id)? - 1].take() {
            server.shutdown()?;
        }
        self.start_server(id)
    }

    /// Stops all of them.
    pub fn stop(self) -> Result<(), Box<dyn Error>> {
        for server in self.servers.into_iter().flatten() {
            server.shutdown()?;
        }
        if let Some(directory) = &self.directory {
            std::fs::remove_dir_all(directory)?;
        }
        Ok(())
    }
}
