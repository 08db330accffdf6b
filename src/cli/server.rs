//! `copycat server`

use super::{Failure, duration, limits, signals, start_logging};
use clap::{Args, ValueEnum};
use copycat::engine::{MemberType, Setting};
use copycat::server::{Builder, Durability, Storage};
use copycat::store::Store;
use copycat_http::HttpConfig;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

#[derive(Args)]
#[command(
    after_help = "Example, the first of three servers:\n  copycat server --id 1 --data /var/lib/copycat \\\n    \
--http 127.0.0.1:8700 --peer 127.0.0.1:9700 \\\n    --bootstrap 1=127.0.0.1:9700,2=127.0.0.1:9701,3=127.0.0.1:9702\n\n\
A fourth, which joins them:\n  copycat server --id 4 --data /var/lib/copycat \\\n    \
--http 127.0.0.1:8703 --peer 127.0.0.1:9703 --join 127.0.0.1:9700,127.0.0.1:9701"
)]
pub(super) struct Server {
    /// This server's number in the cluster, from 1, never used again for another
    #[arg(long, env = "COPYCAT_ID", value_parser = clap::value_parser!(u64).range(1..))]
    id: u64,
    /// Its data directory
    #[arg(long, env = "COPYCAT_DATA")]
    data: PathBuf,
    /// Where it serves HTTP
    #[arg(long, env = "COPYCAT_HTTP", value_name = "ADDR")]
    http: String,
    /// Where its peers reach it
    #[arg(long, env = "COPYCAT_PEER", value_name = "ADDR")]
    peer: String,
    /// Where it serves native clients [default: at --peer]
    #[arg(long, env = "COPYCAT_CLIENT", value_name = "ADDR")]
    client: Option<String>,
    /// All initial members and their peer addresses, the same list on each
    #[arg(long, env = "COPYCAT_BOOTSTRAP", value_name = "1=ADDR,2=ADDR,…", value_parser = bootstrap,
          required_unless_present = "join", conflicts_with = "join")]
    bootstrap: Option<Members>,
    /// Join a running cluster: peer addresses of members, tried in turn
    #[arg(long, env = "COPYCAT_JOIN", value_name = "ADDR,ADDR,…", value_delimiter = ',', value_parser = peer_address)]
    join: Vec<String>,
    /// What a server that joins is to be; to vote, it is caught up first
    #[arg(long = "type", env = "COPYCAT_TYPE", value_enum, default_value = "active", requires = "join")]
    member_type: Type,
    /// The HTTP address that other servers tell clients [default: that of --http]
    #[arg(long, env = "COPYCAT_ADVERTISE_HTTP", value_name = "ADDR")]
    advertise_http: Option<String>,
    #[command(flatten)]
    tuning: Tuning,
}

/// What `server` and `dev` share.
#[derive(Args)]
pub(super) struct Tuning {
    /// When a write counts as durable: always, interval=100ms, never
    #[arg(long, env = "COPYCAT_DURABILITY", default_value = "always", value_parser = durability)]
    durability: Durability,
    #[command(flatten)]
    cluster: OfCluster,
    /// The size of a log file in bytes; larger where the largest entry would not fit
    #[arg(long, env = "COPYCAT_SEGMENT_SIZE", default_value_t = copycat_storage::Options::default().segment_size,
          value_parser = clap::value_parser!(u32).range(2 * 1024 * 1024..=1024 * 1024 * 1024))]
    segment_size: u32,
    /// A host name that HTTP requests may name, besides this server's addresses
    #[arg(long, env = "COPYCAT_ALLOW_HOST", value_delimiter = ',')]
    allow_host: Vec<String>,
    /// The longest that a client may be held until something changes: longer waits are cut to this
    #[arg(long, env = "COPYCAT_LONGEST_WAIT", default_value = "5m", value_parser = longest_wait)]
    longest_wait: Duration,
    #[command(flatten)]
    requests: limits::Requests,
    /// Listen on addresses that other machines reach, without encryption or passwords
    #[arg(long, env = "COPYCAT_INSECURE")]
    insecure: bool,
    /// After so many bytes of log entries a snapshot is taken, and what it covers compacted [default: half a segment]
    #[arg(long, env = "COPYCAT_SNAPSHOT_BYTES", value_parser = clap::value_parser!(u64).range(64 * 1024..))]
    snapshot_bytes: Option<u64>,
    /// While a server that says so leads: members that are not heard are replaced by available passive and reserve ones
    #[arg(long, env = "COPYCAT_AUTO_REPLACE")]
    auto_replace: bool,
}

/// What all members have alike: named for a cluster's first start only, on all of its servers, and changed later by
/// `copycat cluster settings`. A server that is started with something else than what is in force refuses to start; what is
/// left out is what is in force.
#[derive(Args)]
#[command(next_help_heading = "Settings of the cluster, for its first start")]
struct OfCluster {
    /// How long a follower waits for its leader before it asks for votes: this long to twice this long [default: 500ms]
    #[arg(long, env = "COPYCAT_ELECTION_TIMEOUT", value_name = "TIME", value_parser = election_timeout)]
    election_timeout: Option<Duration>,
    /// The most bytes that an entry of the log may have [default: 8 MiB]
    #[arg(long, env = "COPYCAT_LARGEST_ENTRY", value_name = "BYTES",
          value_parser = clap::value_parser!(u64).range(Setting::LargestEntry.range()))]
    largest_entry: Option<u64>,
    /// Most answers that a session may leave unacknowledged; then it gets no new command [default: 1024]
    #[arg(long, env = "COPYCAT_SESSION_ANSWERS", value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    session_answers: Option<u32>,
    /// Most events that a session may leave unacknowledged; then it is ended [default: 16384]
    #[arg(long, env = "COPYCAT_SESSION_EVENTS", value_name = "N",
          value_parser = clap::value_parser!(u64).range(Setting::SessionEvents.range()))]
    session_events: Option<u64>,
    /// How long a repeat of a request is known by its Idempotency-Key [default: 10m]
    #[arg(long, env = "COPYCAT_IDEMPOTENCY_WINDOW", value_name = "TIME", value_parser = idempotency_window)]
    idempotency_window: Option<Duration>,
}

impl OfCluster {
    /// Sets what is named, and nothing else.
    fn apply(&self, mut server: Builder<Store>) -> Builder<Store> {
        if let Some(timeout) = self.election_timeout {
            server = server.election_timeout(timeout);
        }
        if let Some(bytes) = self.largest_entry {
            server = server.largest_entry(bytes);
        }
        if let Some(most) = self.session_answers {
            server = server.session_answers(usize::try_from(most).unwrap_or(usize::MAX));
        }
        if let Some(most) = self.session_events {
            server = server.session_events(most);
        }
        if let Some(window) = self.idempotency_window {
            server = server.idempotency_window(window);
        }
        server
    }
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Type {
    /// It votes
    Active,
    /// It keeps the state and does not vote
    Passive,
    /// It knows the configuration only
    Reserve,
}

impl From<Type> for MemberType {
    fn from(given: Type) -> Self {
        match given {
            Type::Active => Self::Active,
            Type::Passive => Self::Passive,
            Type::Reserve => Self::Reserve,
        }
    }
}

#[derive(Clone)]
pub(super) struct Members(pub(super) Vec<(u64, String)>);

pub(super) fn bootstrap(text: &str) -> Result<Members, String> {
    let mut members: Vec<(u64, String)> = Vec::new();
    for item in text.split(',').map(str::trim).filter(|i| !i.is_empty()) {
        let (id, address) = item.split_once('=').ok_or_else(|| format!("{item:?} is not ID=HOST:PORT"))?;
        let id = id.parse().ok().filter(|&id| id > 0).ok_or_else(|| format!("{id:?} is no server number from 1"))?;
        peer_address(address)?;
        if members.iter().any(|(other, at)| *other == id || at == address) {
            return Err(format!("{item:?} repeats a number or an address"));
        }
        members.push((id, address.to_string()));
    }
    if members.is_empty() {
        return Err("it lists no server".into());
    }
    Ok(Members(members))
}

fn peer_address(text: &str) -> Result<String, String> {
    let text = text.trim();
    if !text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok()) {
        return Err(format!("{text:?} is not HOST:PORT"));
    }
    Ok(text.to_string())
}

fn durability(text: &str) -> Result<Durability, String> {
    match text.split_once('=') {
        None if text == "always" => Ok(Durability::Always),
        None if text == "never" => Ok(Durability::Never),
        Some(("interval", interval)) => duration(interval).map(Durability::Interval),
        _ => Err("write always, interval=100ms or never".into()),
    }
}

fn longest_wait(text: &str) -> Result<Duration, String> {
    duration(text).and_then(|t| if t <= Duration::from_secs(300) { Ok(t) } else { Err("give at most 5m".into()) })
}

fn idempotency_window(text: &str) -> Result<Duration, String> {
    let sane = Duration::from_secs(1)..=Duration::from_secs(24 * 3600);
    duration(text).and_then(|t| if sane.contains(&t) { Ok(t) } else { Err("give 1s to 24h".into()) })
}

fn election_timeout(text: &str) -> Result<Duration, String> {
    duration(text).and_then(|t| {
        let sane = Duration::from_millis(50)..=Duration::from_secs(60);
        if sane.contains(&t) { Ok(t) } else { Err("give 50ms to 60s".into()) }
    })
}

impl Tuning {
    /// Sets what these flags say. `addresses`: where this server listens, each with the flag that says so.
    pub(super) fn apply(&self, server: Builder<Store>, addresses: &[(&str, &str)]) -> Result<Builder<Store>, Failure> {
        for (flag, address) in addresses {
            let mut found = address.to_socket_addrs().into_iter().flatten();
            if !self.insecure && found.any(|a: SocketAddr| !a.ip().is_loopback()) {
                return Err(Failure::new(format!(
                    "{flag} {address} is reachable from other machines, and neither encryption nor passwords are \
                     built yet: use a loopback address, or say --insecure"
                )));
            }
        }
        let allow_hosts = self.allow_host.clone();
        let mut limits = HttpConfig { allow_hosts, wait: self.longest_wait, ..HttpConfig::default() };
        self.requests.apply(&mut limits);
        let server = self
            .cluster
            .apply(server)
            .durability(self.durability)
            .segment_size(self.segment_size)
            .auto_replace(self.auto_replace)
            .http_limits(limits);
        Ok(match self.snapshot_bytes {
            Some(bytes) => server.snapshot_bytes(bytes),
            None => server,
        })
    }
}

impl Server {
    pub(super) fn run(self) -> Result<(), Failure> {
        start_logging();
        limits::raise_open_files();
        let server = copycat::server::Server::<Store>::builder(self.id)
            .storage(Storage::Mapped(self.data))
            .http_address(&self.http)
            .keys_and_locks()
            .peer_address(&self.peer)
            .member_type(self.member_type.into());
        let client = self.client.as_deref().map(|client| ("--client", client));
        let addresses: Vec<_> = [("--http", &*self.http), ("--peer", &*self.peer)].into_iter().chain(client).collect();
        let mut server = self.tuning.apply(server, &addresses)?;
        if let Some((_, client)) = client {
            server = server.client_address(client);
        }
        if let Some(advertised) = self.advertise_http {
            server = server.advertise_http(advertised);
        }
        let server = match self.bootstrap {
            Some(Members(members)) => server.bootstrap(members)?,
            None => server.join(self.join)?,
        };
        let http = server.http().map(|at| at.to_string()).unwrap_or_default();
        tracing::info!("server {} serves http://{http}", self.id);
        signals::stop_on_signal(vec![server.stopper()])?;
        Ok(server.wait()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bootstrap_list_names_each_server_once() {
        let list = bootstrap("1=a:1, 2=[::1]:2").map(|m| m.0);
        assert_eq!(list, Ok(vec![(1, "a:1".to_string()), (2, "[::1]:2".to_string())]));
        for bad in ["", "1", "0=a:1", "x=a:1", "1=a", "1=:5", "1=a:99999", "1=a:1,1=b:1", "1=a:1,2=a:1"] {
            assert!(bootstrap(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durability_is_spelled_as_documented() {
        assert_eq!(durability("always"), Ok(Durability::Always));
        assert_eq!(durability("interval=100ms"), Ok(Durability::Interval(Duration::from_millis(100))));
        assert_eq!(durability("never"), Ok(Durability::Never));
        assert!(durability("sometimes").is_err() && durability("interval").is_err());
    }
}
