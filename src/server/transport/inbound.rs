//! Whoever dialed us: peers, and native clients.

use super::Door;
use super::frame::{self, Frame, Greeting, Hello, Purpose, Rejection, Welcome};
use crate::engine::machine::{Outcome, StateMachine};
use crate::engine::{Change, MemberType, decode};
use crate::server::inbox::{Event, Inbox};
use crate::server::native::Clients;
use crate::server::requests::{Refusal, Reply, ReplyTo, Request};
use crate::transport::{Connection, Listener};
use async_channel::Receiver;
use async_std::io::{self, timeout};
use async_std::io::{BufReader, WriteExt};
use async_std::task;
use futures_lite::{AsyncRead, AsyncWrite, FutureExt};
use std::time::Duration;
use tracing::{debug, info, warn};

/// How long a new connection has for its greeting.
const GREETING_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the leader has to let a server in.
pub(super) const JOIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections in their greeting or established; more than a cluster of any sane size has.
const CONNECTIONS: usize = 256;
/// How much of what arrives is taken from the kernel at once.
const READ_BUFFER: usize = 64 * 1024;

/// Who is let in at one address.
pub(crate) struct Hall<M: StateMachine> {
    pub(crate) door: Door,
    pub(crate) inbox: Inbox,
    pub(crate) clients: Clients<M>,
    /// Peers are, too, not only clients.
    pub(crate) peers: bool,
}

type Reader = BufReader<Box<dyn AsyncRead + Send + Unpin>>;
type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// Accepts connections until the server has `ended`, which closes that channel; then the connections end, too.
pub(crate) async fn listen<M: StateMachine>(listener: Box<dyn Listener>, hall: Hall<M>, ended: Receiver<()>) {
    let hall = std::sync::Arc::new(hall);
    let places = std::sync::Arc::new(());
    loop {
        let accepted = async { Some(listener.accept().await) };
        let over = async {
            let _ = ended.recv().await;
            None
        };
        let stream = match accepted.or(over).await {
            None => return,
            Some(Ok(stream)) => stream,
            Some(Err(e)) => {
                warn!("cannot accept a connection: {e}");
                task::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        if std::sync::Arc::strong_count(&places) > CONNECTIONS {
            continue;
        }
        let (hall, ended, place) = (hall.clone(), ended.clone(), places.clone());
        task::spawn(async move {
            let over = async {
                let _ = ended.recv().await;
                Ok(())
            };
            if let Err(e) = hall.receive(stream, place).or(over).await {
                debug!("a connection ended: {e}");
            }
        });
    }
}

impl<M: StateMachine> Hall<M> {
    /// `place`: one of those for peers, and for whoever has not greeted yet.
    async fn receive(&self, stream: Connection, place: std::sync::Arc<()>) -> io::Result<()> {
        let Connection { reader, writer } = stream;
        let mut reader = BufReader::with_capacity(READ_BUFFER, reader);
        match timeout(GREETING_TIMEOUT, frame::read_greeting(&mut reader)).await? {
            Greeting::Client(hello) => {
                // Clients have places of their own.
                drop(place);
                self.clients.serve(reader, writer, &hello).await
            }
            Greeting::Peer(_) if !self.peers => Err(io::Error::other("a server at the address of the clients")),
            Greeting::Peer(hello) => serve(reader, writer, *hello, &self.door, &self.inbox).await,
        }
    }
}

async fn serve(mut reader: Reader, mut writer: Writer, hello: Hello, door: &Door, inbox: &Inbox) -> io::Result<()> {
    if let Err(rejection) = door.judge(&hello) {
        warn!(
            "server {}: server {} is refused, its directory has identity {:016x}: {rejection:?}",
            door.me.id, hello.from, hello.identity
        );
        return frame::write(&mut writer, &Welcome::Rejected(rejection)).await;
    }
    if let Purpose::Join { member_type } = hello.purpose {
        let answer = introduce(hello, member_type, inbox).await;
        return frame::write(&mut writer, &answer).await;
    }
    if hello.purpose == Purpose::Look {
        return frame::write(&mut writer, &Welcome::Leader { leader: door.leader() }).await;
    }
    let (mut judged, mut shut) = (door.generation(), false);
    frame::write(&mut writer, &door.welcome()).await?;
    let (from, identity, cluster) = (hello.from, hello.identity, hello.cluster);
    let (http, peer) = (hello.http.clone(), hello.peer.clone());
    inbox.offer(Event::Met { id: from, identity, cluster, http, peer, dialed: false });
    loop {
        let frame = frame::read(&mut reader).await?;
        let generation = door.generation();
        if generation != judged {
            judged = generation;
            if let Err(rejection) = door.judge(&hello) {
                info!("server {}: server {from} is let in no longer: {rejection:?}", door.me.id);
                shut = true;
            }
        }
        match frame {
            // A leader that is removed still has to say so to whoever asked for it through this server.
            Frame::Reply { id, result } => {
                inbox.offer(Event::ForwardReply { id, result });
            }
            _ if shut => return Ok(()),
            Frame::Consensus(message) => {
                // A full inbox loses it; the engine repeats what matters.
                inbox.offer(Event::Message { from, identity, cluster, message });
            }
            Frame::Request { id, request } => {
                inbox.offer(Event::Forwarded { from, id, request });
            }
            Frame::Ping => timeout(GREETING_TIMEOUT, writer.write_all(&[1])).await?,
        }
    }
}

/// Asks the leader to let a server in.
async fn introduce(hello: Hello, member_type: MemberType, inbox: &Inbox) -> Welcome {
    let Hello { from: id, identity, http, peer, .. } = hello;
    let request = Request::Change(Change::Join { id, identity, peer, http, member_type });
    let (reply, answer) = async_channel::bounded(1);
    let reply = ReplyTo::One(reply);
    if inbox.try_offer(Event::Request { request, timeout: JOIN_TIMEOUT, reply }).is_err() {
        return Welcome::Later;
    }
    match answer.recv().await {
        Ok(Ok(Reply { index, output: Outcome::Output(bytes), .. })) => match decode(&bytes) {
            Ok(configuration) => Welcome::Joined { index, configuration },
            Err(_) => Welcome::Later,
        },
        Ok(Err(Refusal::Configuration(error))) => Welcome::Rejected(Rejection::MayNotJoin(error)),
        _ => Welcome::Later,
    }
}
