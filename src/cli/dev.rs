//! `copycat dev`

use super::server::Tuning;
use super::{Failure, limits, signals, start_logging};
use clap::Args;
use copycat::server::{Server, Storage};
use copycat::store::Store;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Peers listen this far above the HTTP ports.
const PEER_PORTS: u16 = 1000;

#[derive(Args)]
#[command(after_help = "Example:\n  copycat dev\n  curl -X PUT http://127.0.0.1:8700/v1/kv/hello -d world")]
pub(super) struct Dev {
    /// How many servers
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=9))]
    servers: u16,
    /// Where their data is kept between runs
    #[arg(long, env = "COPYCAT_DATA", default_value = "./copycat-data")]
    data: PathBuf,
    /// The first server's HTTP address; the others follow, peers listen 1,000 above
    #[arg(long, env = "COPYCAT_HTTP", default_value = "127.0.0.1:8700", value_name = "ADDR")]
    http: SocketAddr,
    #[command(flatten)]
    tuning: Tuning,
}

impl Dev {
    pub(super) fn run(self) -> Result<(), Failure> {
        start_logging();
        limits::raise_open_files();
        let top = PEER_PORTS + self.servers;
        if self.http.port() == 0 || self.http.port().checked_add(top).is_none() {
            return Err(Failure::new(format!("--http {}: choose a port from 1 to {}", self.http, u16::MAX - top)));
        }
        let known = std::fs::read_dir(&self.data).map(Iterator::count).unwrap_or(0);
        if known != 0 && known != usize::from(self.servers) && self.data.join("server-1").is_dir() {
            return Err(Failure::new(format!(
                "{} holds a cluster of {known} servers: say --servers {known}, or choose another --data",
                self.data.display()
            )));
        }
        let address = |offset: u16| SocketAddr::new(self.http.ip(), self.http.port() + offset).to_string();
        let members: Vec<(u64, String)> =
            (0..self.servers).map(|i| (u64::from(i) + 1, address(PEER_PORTS + i))).collect();
        let mut servers = Vec::new();
        for (offset, (id, peer)) in (0..).zip(members.clone()) {
            let data = self.data.join(format!("server-{id}"));
            let http = address(offset);
            let server =
                Server::<Store>::builder(id).storage(Storage::Mapped(data)).http_address(&http).keys_and_locks();
            servers
                .push(self.tuning.apply(server, &[("--http", &http), ("--peer", &peer)])?.bootstrap(members.clone())?);
        }
        signals::stop_on_signal(servers.iter().map(Server::stopper).collect())?;
        let url = format!("http://{}", self.http);
        println!("{} servers, data in {}. Ctrl-C stops them.", self.servers, self.data.display());
        println!("Open  {url}/");
        println!("Try   curl -X PUT {url}/v1/kv/hello -d world");
        println!("      curl {url}/v1/kv/hello");
        let mut result = Ok(());
        for server in servers {
            result = result.and(server.wait().map_err(Failure::from));
        }
        result
    }
}
