//! Inside one process: a network of named hosts, whose links can be cut.
//!
//! Invariant: a connection that stands is between hosts whose link is not cut.

use super::{Connection, Listener, Transport};
use async_channel::{Receiver, Sender};
use async_trait::async_trait;
use futures_lite::{AsyncRead, AsyncWrite};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};

/// Bytes that may be under way in one direction of a connection; then its writer waits.
const PIPE: usize = 64 * 1024;
/// Connections that may wait to be accepted at one address; further ones are refused.
const BACKLOG: usize = 128;

/// A network inside this process. A clone is the same network.
///
/// A link that is [cut](Self::cut) ends the connections between its hosts at once, and lets no new ones through until it is
/// [mended](Self::mend).
#[derive(Clone, Debug, Default)]
pub struct LocalNetwork(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// By address: whose it is, and where its connections go.
    listeners: BTreeMap<String, (String, Sender<Connection>)>,
    cut: BTreeSet<(String, String)>,
    connections: Vec<Wire>,
}

/// A connection, to be cut.
#[derive(Debug)]
struct Wire {
    hosts: (String, String),
    readers: [Weak<Mutex<Option<piper::Reader>>>; 2],
    writers: [Weak<Mutex<Option<piper::Writer>>>; 2],
}

/// What one host of a [`LocalNetwork`] listens and dials with. An address is any text, one on the whole network.
#[derive(Clone, Debug)]
pub struct Local {
    network: LocalNetwork,
    host: String,
}

/// Two hosts, whichever is named first.
fn link(a: &str, b: &str) -> (String, String) {
    if a <= b { (a.to_owned(), b.to_owned()) } else { (b.to_owned(), a.to_owned()) }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing here is left half done by a panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LocalNetwork {
    /// A network without hosts.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The transport of the host with this name, which need not have been heard of before.
    #[must_use]
    pub fn host(&self, name: &str) -> Local {
        Local { network: self.clone(), host: name.to_owned() }
    }

    /// Cuts the link between two hosts, both ways.
    pub fn cut(&self, a: &str, b: &str) {
        let mut state = lock(&self.0);
        let link = link(a, b);
        state.connections.retain(|wire| {
            if wire.hosts == link {
                wire.cut();
            }
            wire.hosts != link
        });
        state.cut.insert(link);
    }

    /// Mends a link; one that is whole stays so.
    pub fn mend(&self, a: &str, b: &str) {
        lock(&self.0).cut.remove(&link(a, b));
    }
}

impl Wire {
    fn stands(&self) -> bool {
        self.readers.iter().any(|half| half.strong_count() > 0) || self.writers.iter().any(|w| w.strong_count() > 0)
    }

    fn cut(&self) {
        // Dropping a half wakes whoever waits at the other end of its direction.
        self.readers.iter().filter_map(Weak::upgrade).for_each(|half| drop(lock(&half).take()));
        self.writers.iter().filter_map(Weak::upgrade).for_each(|half| drop(lock(&half).take()));
    }
}

/// One end of one direction, until it is cut.
#[derive(Debug)]
struct Half<T>(Arc<Mutex<Option<T>>>);

impl<T> Half<T> {
    fn new(end: T) -> Self {
        Self(Arc::new(Mutex::new(Some(end))))
    }
}

fn was_cut() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the link was cut")
}

impl AsyncRead for Half<piper::Reader> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        match lock(&self.0).as_mut() {
            Some(end) => Pin::new(end).poll_read(cx, buffer),
            None => Poll::Ready(Err(was_cut())),
        }
    }
}

impl AsyncWrite for Half<piper::Writer> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        match lock(&self.0).as_mut() {
            Some(end) => match Pin::new(end).poll_write(cx, buffer) {
                // What the pipe says when nobody will ever read.
                Poll::Ready(Ok(0)) if !buffer.is_empty() => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
                other => other,
            },
            None => Poll::Ready(Err(was_cut())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        drop(lock(&self.0).take());
        Poll::Ready(Ok(()))
    }
}

#[async_trait]
impl Transport for Local {
    async fn listen(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        let mut state = lock(&self.network.0);
        if state.listeners.contains_key(address) {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, format!("somebody listens at {address} already")));
        }
        let (sender, arriving) = async_channel::bounded(BACKLOG);
        state.listeners.insert(address.to_owned(), (self.host.clone(), sender));
        Ok(Box::new(Bound { network: self.network.clone(), address: address.to_owned(), arriving }))
    }

    async fn dial(&self, address: &str) -> io::Result<Connection> {
        let mut state = lock(&self.network.0);
        let refused = || io::Error::new(io::ErrorKind::ConnectionRefused, format!("nobody listens at {address}"));
        let (host, listener) = state.listeners.get(address).cloned().ok_or_else(refused)?;
        let hosts = link(&self.host, &host);
        if state.cut.contains(&hosts) {
            return Err(io::Error::new(io::ErrorKind::HostUnreachable, "the link is cut"));
        }
        let (there, back) = (piper::pipe(PIPE), piper::pipe(PIPE));
        let (reader, writer) = (Half::new(back.0), Half::new(there.1));
        let (other_reader, other_writer) = (Half::new(there.0), Half::new(back.1));
        state.connections.retain(Wire::stands);
        state.connections.push(Wire {
            hosts,
            readers: [Arc::downgrade(&reader.0), Arc::downgrade(&other_reader.0)],
            writers: [Arc::downgrade(&writer.0), Arc::downgrade(&other_writer.0)],
        });
        let other = Connection { reader: Box::new(other_reader), writer: Box::new(other_writer) };
        listener.try_send(other).map_err(|_| refused())?;
        Ok(Connection { reader: Box::new(reader), writer: Box::new(writer) })
    }
}

struct Bound {
    network: LocalNetwork,
    address: String,
    arriving: Receiver<Connection>,
}

#[async_trait]
impl Listener for Bound {
    async fn accept(&self) -> io::Result<Connection> {
        self.arriving.recv().await.map_err(|_| io::Error::from(io::ErrorKind::NotConnected))
    }

    fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        lock(&self.network.0).listeners.remove(&self.address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_std::future::timeout;
    use async_std::task::{block_on, spawn};
    use futures_lite::{AsyncReadExt, AsyncWriteExt};
    use std::time::Duration;

    async fn pair(network: &LocalNetwork) -> (Box<dyn Listener>, Connection, Connection) {
        let listener = network.host("b").listen("b:1").await.expect("it is free");
        let dialed = network.host("a").dial("b:1").await.expect("it listens");
        let accepted = listener.accept().await.expect("a connection");
        (listener, dialed, accepted)
    }

    #[test]
    fn bytes_go_both_ways_and_end_when_an_end_is_dropped() {
        block_on(async {
            let network = LocalNetwork::new();
            let (listener, mut a, mut b) = pair(&network).await;
            assert_eq!(listener.address(), "b:1");
            let sent: Vec<u8> = (0..=250).cycle().take(PIPE * 3).collect();
            let mut writer = a.writer;
            let copy = sent.clone();
            let task = spawn(async move { writer.write_all(&copy).await.map(|()| writer) });
            let mut got = vec![0; sent.len()];
            b.reader.read_exact(&mut got).await.expect("all of it, though it is more than fits");
            assert!(got == sent);
            b.writer.write_all(b"back").await.expect("it is read");
            let mut got = [0; 4];
            a.reader.read_exact(&mut got).await.expect("four bytes");
            assert_eq!(&got, b"back");
            drop((task.await.expect("written"), a.reader));
            assert_eq!(b.reader.read(&mut got).await.expect("the end"), 0);
            assert_eq!(b.writer.write(b"x").await.expect_err("nobody reads").kind(), io::ErrorKind::BrokenPipe);
        });
    }

    #[test]
    fn an_address_is_one_listeners_until_that_is_dropped() {
        block_on(async {
            let network = LocalNetwork::new();
            let (a, b) = (network.host("a"), network.host("b"));
            let first = a.listen("x").await.expect("it is free");
            assert_eq!(b.listen("x").await.err().map(|e| e.kind()), Some(io::ErrorKind::AddrInUse));
            let mut kept = Vec::new();
            while let Ok(connection) = b.dial("x").await {
                kept.push(connection);
            }
            assert_eq!(kept.len(), BACKLOG, "nobody accepts");
            drop(first);
            assert_eq!(b.dial("x").await.err().map(|e| e.kind()), Some(io::ErrorKind::ConnectionRefused));
            assert!(b.listen("x").await.is_ok());
        });
    }

    #[test]
    fn a_cut_ends_what_waits_and_lets_nothing_through_until_it_is_mended() {
        block_on(async {
            let network = LocalNetwork::new();
            let (_listener, mut a, mut b) = pair(&network).await;
            a.writer.write_all(b"lost").await.expect("there is room");
            let cutter = network.clone();
            let waiting = spawn(async move {
                let mut byte = [0];
                let (read, full) = (a.reader.read(&mut byte).await, vec![0; PIPE * 2]);
                (read, b.writer.write_all(&full).await)
            });
            spawn(async move {
                async_std::task::sleep(Duration::from_millis(50)).await;
                cutter.cut("b", "a");
            });
            let (read, written) = timeout(Duration::from_secs(10), waiting).await.expect("it does not wait for ever");
            assert!(!matches!(read, Ok(1..)), "{read:?}");
            assert_eq!(written.expect_err("cut").kind(), io::ErrorKind::ConnectionReset);
            let mut bytes = [0; 4];
            assert_eq!(b.reader.read(&mut bytes).await.expect_err("cut").kind(), io::ErrorKind::ConnectionReset);
            let from = |host: &str| network.host(host);
            assert_eq!(from("a").dial("b:1").await.expect_err("cut").kind(), io::ErrorKind::HostUnreachable);
            assert!(from("c").dial("b:1").await.is_ok(), "another link");
            network.mend("a", "b");
            assert!(from("a").dial("b:1").await.is_ok());
        });
    }
}
