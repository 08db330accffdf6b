//! The connection to one peer: dialed, greeted, written to, watched, and dialed again.

use super::Door;
use super::frame::{self, Frame, Purpose, Refused, Welcome};
use crate::clock;
use crate::engine::{Identity, ServerId};
use crate::server::alarm::Alarm;
use crate::server::inbox::{Event, Inbox};
use crate::transport::{Connection, Transport};
use async_channel::{Receiver, Sender, TrySendError};
use async_std::io;
use async_std::io::{ReadExt, WriteExt};
use async_std::task;
use futures_lite::FutureExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tracing::{debug, error, info, warn};

/// Frames that may wait for one peer; what comes on top is dropped.
const QUEUE: usize = 4096;
/// What is put into one write at most, give or take a frame.
const WRITE_BYTES: usize = 256 * 1024;
const BACKOFF_FIRST: Duration = Duration::from_millis(20);
const BACKOFF_LAST: Duration = Duration::from_secs(1);
const DIAL_TIMEOUT: Duration = Duration::from_secs(2);

/// The sending side of a connection to a peer.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    address: Arc<str>,
    queue: Sender<Frame>,
    connected: Arc<AtomicBool>,
}

impl Peer {
    /// Starts to dial. `silence`: how long a peer may leave a ping unanswered before it is dialed anew.
    pub(crate) fn connect(
        id: ServerId,
        address: String,
        (door, inbox, transport): (&Door, &Inbox, &Arc<dyn Transport>),
        silence: Duration,
    ) -> Self {
        let (queue, frames) = async_channel::bounded(QUEUE);
        let connected = Arc::new(AtomicBool::new(false));
        let at = address.as_str().into();
        let (door, inbox, transport) = (door.clone(), inbox.clone(), transport.clone());
        let link = Link { id, address, door, inbox, transport, silence, frames, connected: connected.clone() };
        task::spawn(link.run());
        Self { address: at, queue, connected }
    }

    /// Where it is dialed.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Whether there is a connection, and room in the queue.
    pub(crate) fn takes(&self) -> bool {
        self.connected.load(Ordering::Acquire) && !self.queue.is_full()
    }

    /// Queues a frame. Returns false, and forgets it, if there is no connection or no room.
    pub(crate) fn send(&self, frame: Frame) -> bool {
        self.connected.load(Ordering::Acquire)
            && !matches!(self.queue.try_send(frame), Err(TrySendError::Full(_) | TrySendError::Closed(_)))
    }
}

struct Link {
    id: ServerId,
    address: String,
    door: Door,
    inbox: Inbox,
    transport: Arc<dyn Transport>,
    silence: Duration,
    frames: Receiver<Frame>,
    connected: Arc<AtomicBool>,
}

/// What a peer proved, and with which generation of the door's knowledge it was judged.
struct Judged {
    generation: u64,
    cluster: u128,
    identity: Identity,
}

impl Link {
    /// Until the queue is closed.
    async fn run(self) {
        let mut backoff = BACKOFF_FIRST;
        let mut said = None;
        while !self.frames.is_closed() {
            match io::timeout(DIAL_TIMEOUT, self.dial()).await {
                Ok(Ok((stream, peer))) => {
                    info!("server {}: connected to server {} at {}", self.door.me.id, self.id, self.address);
                    (backoff, said) = (BACKOFF_FIRST, None);
                    let end = self.transmit(stream, peer).await;
                    self.connected.store(false, Ordering::Release);
                    while self.frames.try_recv().is_ok() {}
                    self.inbox.offer(Event::Disconnected { id: self.id });
                    let why = end.map_or_else(|e| e.to_string(), |()| "closed".into());
                    info!("server {}: the connection to server {} ended: {why}", self.door.me.id, self.id);
                }
                Ok(Err(refused)) => {
                    if said != Some(refused) {
                        warn!(
                            "server {}: no way to server {} at {}: {refused}",
                            self.door.me.id, self.id, self.address
                        );
                        said = Some(refused);
                    }
                    self.inbox.offer(Event::Refused { peer: self.id, refused });
                }
                Err(e) => debug!("cannot reach server {} at {}: {e}", self.id, self.address),
            }
            task::sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF_LAST);
        }
    }

    async fn dial(&self) -> io::Result<Result<(Connection, Judged), Refused>> {
        let mut stream = self.transport.dial(&self.address).await?;
        frame::write(&mut stream.writer, &self.door.hello(Purpose::Peer { to: self.id })).await?;
        match frame::read_welcome(&mut stream.reader).await? {
            Welcome::Accepted { cluster, identity, http } => {
                let judged = Judged { generation: self.door.generation(), cluster, identity };
                if !self.door.knows(self.id, cluster, identity) {
                    return Ok(Err(Refused::Stranger));
                }
                while self.frames.try_recv().is_ok() {}
                self.connected.store(true, Ordering::Release);
                self.inbox.offer(Event::Met { id: self.id, identity, cluster, http });
                Ok(Ok((stream, judged)))
            }
            Welcome::Rejected(rejection) => Ok(Err(Refused::ByPeer(rejection))),
            Welcome::Joined { .. } | Welcome::Later | Welcome::Leader { .. } => {
                Err(io::Error::new(io::ErrorKind::InvalidData, "an answer to another question"))
            }
        }
    }

    /// Whether the peer is still the member that is meant, after the configuration changed.
    fn still_knows(&self, peer: &mut Judged) -> bool {
        let generation = self.door.generation();
        let changed = generation != peer.generation;
        peer.generation = generation;
        !changed || self.door.knows(self.id, peer.cluster, peer.identity)
    }

    /// Writes frames until the connection fails or its other end falls silent.
    async fn transmit(&self, stream: Connection, peer: Judged) -> io::Result<()> {
        let alive = AtomicBool::new(true);
        let Connection { mut reader, mut writer } = stream;
        let watch = async {
            let mut pongs = [0; 64];
            loop {
                if reader.read(&mut pongs).await? == 0 {
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed by the peer"));
                }
                alive.store(true, Ordering::Relaxed);
            }
        };
        self.write(&mut writer, &alive, peer).or(watch).await
    }

    fn put(&self, buffer: &mut Vec<u8>, frame: Frame) {
        if !frame::put(buffer, frame) {
            error!("server {}: a frame to server {} is too long, and is not sent", self.door.me.id, self.id);
        }
    }

    async fn write(
        &self,
        stream: &mut (impl io::Write + Unpin),
        alive: &AtomicBool,
        mut peer: Judged,
    ) -> io::Result<()> {
        let mut buffer = Vec::with_capacity(WRITE_BYTES);
        let (mut alarm, mut check_at) = (Alarm::default(), clock::monotonic() + self.silence);
        loop {
            match alarm.until(check_at, self.frames.recv()).await {
                Some(Ok(frame)) => self.put(&mut buffer, frame),
                Some(Err(_)) => return Ok(()),
                None => {}
            }
            while buffer.len() < WRITE_BYTES
                && let Ok(frame) = self.frames.try_recv()
            {
                self.put(&mut buffer, frame);
            }
            if !self.still_knows(&mut peer) {
                return Err(io::Error::other("it belongs to another cluster"));
            }
            let now = clock::monotonic();
            if now >= check_at {
                if !alive.swap(false, Ordering::Relaxed) {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "the peer is silent"));
                }
                check_at = now + self.silence;
                self.put(&mut buffer, Frame::Ping);
            }
            io::timeout(self.silence * 2, stream.write_all(&buffer)).await?;
            buffer.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Configuration;
    use crate::server::transport::frame::Me;
    use crate::transport::LocalNetwork;
    use std::pin::Pin;
    use std::task::{Context, Poll};
    use std::time::Instant;

    /// Takes everything, and sees to it that there is always something more to be taken. It gives up in the end.
    struct Busy(Sender<Frame>, Instant);

    impl io::Write for Busy {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            if self.1.elapsed() > Duration::from_secs(20) {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            let _ = self.0.try_send(Frame::Ping);
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn a_silent_peer_is_noticed_however_much_there_is_to_send() {
        let configuration = Configuration::bootstrap([(1, "a".into()), (2, "b".into())]);
        let (http, peer) = (String::new(), "a".to_string());
        let given = crate::engine::NamedSettings::default();
        let me = Me { id: 1, identity: 10, digest: configuration.digest(), http, peer, given };
        let (inbox, _arriving) = Inbox::new();
        let (queue, frames) = async_channel::bounded(QUEUE);
        queue.try_send(Frame::Ping).unwrap();
        let link = Link {
            id: 2,
            address: "b".into(),
            door: Door::new(me, 7, configuration),
            inbox,
            transport: Arc::new(LocalNetwork::new().host("a")),
            silence: Duration::from_millis(20),
            frames,
            connected: Arc::default(),
        };
        let judged = Judged { generation: link.door.generation(), cluster: 7, identity: 20 };
        let mut busy = Busy(queue, Instant::now());
        let ended = task::block_on(link.write(&mut busy, &AtomicBool::new(true), judged));
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
