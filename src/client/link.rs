//! The connection to one server: found, greeted, written to, read from, and watched.

use super::strategy::{ConnectionStrategy, ServerSelection};
use crate::engine::ServerId;
use crate::transport::{Connection, Transport};
use crate::wire::{self, Cluster, Hello, ToClient, ToServer, Welcome};
use async_channel::{Receiver, Sender};
use async_std::io::{self, BufReader, timeout};
use async_std::task::{self, JoinHandle};
use async_std::{future, net};
use futures_lite::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a server has to take a connection, and for its greeting.
const DIAL_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a server is asked for a sign of life,
const PING: Duration = Duration::from_secs(1);
/// and how long it may be silent.
const SILENCE: Duration = Duration::from_secs(4);
/// How long one frame may take.
const FRAME_TIMEOUT: Duration = Duration::from_secs(30);
/// Frames that were read and not looked at; then no more is read.
const INCOMING: usize = 64;
const READ_BUFFER: usize = 64 * 1024;
/// How often a client follows servers that send it elsewhere.
const REDIRECTIONS: usize = 3;

/// A connection that stands.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) server: ServerId,
    /// What the server says; closed when the connection has ended.
    pub(super) incoming: Receiver<ToClient>,
    /// Whole frames. It needs no bound of its own: what is sent is bounded by what may be outstanding.
    outgoing: Sender<Vec<u8>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.outgoing.close();
        for running in self.tasks.drain(..) {
            task::spawn(running.cancel());
        }
    }
}

/// Where servers are looked for.
#[derive(Clone, Debug)]
pub(super) struct Search {
    pub(super) transport: Arc<dyn Transport>,
    pub(super) seeds: Vec<String>,
    pub(super) cluster: Cluster,
    pub(super) strategy: ConnectionStrategy,
    pub(super) selection: ServerSelection,
    /// Where the last connection was: others are tried first.
    pub(super) left: Option<ServerId>,
}

/// The host of an address, if what is said to be elsewhere names none.
fn elsewhere(dialed: &str, told: &str) -> String {
    match (told.parse::<net::SocketAddr>(), dialed.rsplit_once(':')) {
        (Ok(at), Some((host, _))) if at.ip().is_unspecified() => format!("{host}:{}", at.port()),
        _ => told.to_string(),
    }
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    // Without randomness all clients begin with the first server, which is no harm.
    let _ = getrandom::fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

impl Search {
    /// Finds a server.
    ///
    /// # Errors
    /// If the strategy says to try no further: what was wrong last.
    pub(super) async fn run(mut self) -> Result<(Link, Cluster), String> {
        let mut pauses = self.strategy.pauses();
        loop {
            let why = match self.round().await {
                Ok(found) => return Ok(found),
                Err(why) => why,
            };
            let Some(pause) = pauses.next() else { return Err(why) };
            // All clients of a server that is lost come at once: they spread.
            task::sleep(pause.mul_f64(0.5 + 0.5 * (random() % 1024) as f64 / 1024.0)).await;
            self.left = None;
        }
    }

    /// Tries each address once.
    async fn round(&self) -> Result<(Link, Cluster), String> {
        let mut addresses = self.selection.order(&self.seeds, &self.cluster, random());
        let members = &self.cluster.members;
        let left = self.left.and_then(|left| members.iter().find(|(id, _)| *id == left).map(|(_, at)| at.clone()));
        addresses.sort_by_key(|address| Some(address) == left.as_ref());
        let mut why = "no address of a server is given".to_string();
        for address in addresses {
            match self.reach(&address).await {
                Ok((link, cluster)) => return Ok(self.improve(&address, link, cluster).await),
                Err(e) => why = format!("{address}: {e}"),
            }
        }
        Err(why)
    }

    /// A server that is just heard of may suit better.
    async fn improve(&self, address: &str, link: Link, cluster: Cluster) -> (Link, Cluster) {
        match self.selection.better(link.server, &cluster) {
            Some(better) if better != address => self.reach(&better).await.unwrap_or((link, cluster)),
            _ => (link, cluster),
        }
    }

    async fn reach(&self, address: &str) -> io::Result<(Link, Cluster)> {
        let mut address = address.to_string();
        for _ in 0..=REDIRECTIONS {
            match timeout(DIAL_TIMEOUT, self.greet(&address)).await? {
                (Welcome::Accepted { server, cluster }, reader, writer) => {
                    return Ok((Link::start(server, reader, writer), cluster));
                }
                (Welcome::Elsewhere(there), ..) => address = elsewhere(&address, &there),
                (Welcome::Version(version), ..) => {
                    let ours = wire::VERSION;
                    let text =
                        format!("it speaks version {version} of the client protocol, this client version {ours}");
                    return Err(io::Error::other(text));
                }
                (Welcome::Full, ..) => return Err(io::Error::other("it has as many clients as it may have")),
            }
        }
        Err(io::Error::other("sent elsewhere time and again"))
    }

    async fn greet(&self, address: &str) -> io::Result<(Welcome, Reader, Writer)> {
        let Connection { reader, mut writer } = self.transport.dial(address).await?;
        let mut bytes = Vec::new();
        put(&mut bytes, &Hello::new(), wire::HELLO_LIMIT);
        writer.write_all(&bytes).await?;
        let mut reader = BufReader::with_capacity(READ_BUFFER, reader);
        Ok((wire::read(&mut reader, wire::ANSWER_LIMIT).await?, reader, writer))
    }
}

type Reader = BufReader<Box<dyn AsyncRead + Send + Unpin>>;
type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// What a client sends is bounded far below, when it is handed in.
fn put<T: bincode::Encode>(buffer: &mut Vec<u8>, frame: &T, limit: u32) {
    let put = wire::put(buffer, frame, limit);
    debug_assert!(put, "a frame that is too long");
}

impl Link {
    fn start(server: ServerId, reader: Reader, writer: Writer) -> Self {
        let (sender, incoming) = async_channel::bounded(INCOMING);
        // Bounded by what may be outstanding: all of it is sent once over each connection.
        let (outgoing, frames) = async_channel::unbounded();
        let ended = sender.clone();
        let tasks = vec![
            task::spawn(async move {
                let why = read(reader, &sender).await;
                tracing::debug!("the connection to server {server} ended: {why:?}");
                sender.close();
            }),
            task::spawn(async move {
                let why = write(writer, &frames).await;
                tracing::debug!("the connection to server {server} ended: {why:?}");
                ended.close();
            }),
        ];
        Self { server, incoming, outgoing, tasks }
    }

    /// Sends these frames, in order.
    pub(super) fn send(&self, frames: &[ToServer]) {
        if frames.is_empty() {
            return;
        }
        let mut bytes = Vec::new();
        for frame in frames {
            put(&mut bytes, frame, wire::REQUEST_LIMIT);
        }
        // A connection that has ended is noticed by its reader.
        let _ = self.outgoing.try_send(bytes);
    }
}

async fn read(mut reader: Reader, to: &Sender<ToClient>) -> io::Result<()> {
    loop {
        if timeout(SILENCE, reader.fill_buf()).await?.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let frame = timeout(FRAME_TIMEOUT, wire::read(&mut reader, wire::ANSWER_LIMIT)).await?;
        if to.send(frame).await.is_err() {
            return Ok(());
        }
    }
}

async fn write(mut writer: Writer, frames: &Receiver<Vec<u8>>) -> io::Result<()> {
    let mut pinged = Instant::now();
    let mut ping = Vec::new();
    put(&mut ping, &ToServer::Ping, wire::REQUEST_LIMIT);
    loop {
        if pinged.elapsed() >= PING {
            pinged = Instant::now();
            timeout(FRAME_TIMEOUT, writer.write_all(&ping)).await?;
        }
        match future::timeout(PING.saturating_sub(pinged.elapsed()), frames.recv()).await {
            Ok(Ok(bytes)) => timeout(FRAME_TIMEOUT, writer.write_all(&bytes)).await?,
            Ok(Err(_)) => return Ok(()),
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elsewhere_on_any_host_is_on_the_host_that_was_dialed() {
        assert_eq!(elsewhere("db1:9700", "0.0.0.0:9800"), "db1:9800");
        assert_eq!(elsewhere("[::1]:9700", "[::]:9800"), "[::1]:9800");
        assert_eq!(elsewhere("db1:9700", "10.0.0.1:9800"), "10.0.0.1:9800");
        assert_eq!(elsewhere("db1:9700", "db2:9800"), "db2:9800");
    }
}
