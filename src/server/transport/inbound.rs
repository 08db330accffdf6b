//! Whoever dialed us: peers, and native clients.

use super::Door;
use super::frame::{self, Frame, Greeting, Hello, Purpose, Rejection, Welcome};
use super::places::{Place, Places};
use crate::budget::Budget;
use crate::clock;
use crate::engine::machine::{Outcome, StateMachine};
use crate::engine::{Change, MemberType, decode};
use crate::server::alarm::Alarm;
use crate::server::descriptors::{Accepting, Descriptors};
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

/// How long a new connection has for its greeting, and to take the answer.
const GREETING_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the leader has to let a server in.
pub(super) const JOIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection of a server that is no member here may last: it dials again, if it has more to say.
const STRANGER: Duration = Duration::from_secs(10);
/// How many times as long as its dialer leaves between two signs of life a connection may be silent.
const SILENCES: u32 = 5;
/// How much of what arrives is taken from the kernel at once.
const READ_BUFFER: usize = 64 * 1024;
/// Between two tries to accept a connection, when one failed.
const RETRY: Duration = Duration::from_millis(100);
/// Memory for long frames that are arriving, or wait for the driver: of the members, and of all others together.
const MEMBERS_BYTES: usize = 64 * 1024 * 1024;
const OTHERS_BYTES: usize = 64 * 1024 * 1024;

/// Who is let in at one address.
pub(crate) struct Hall<M: StateMachine> {
    door: Door,
    inbox: Inbox,
    clients: Clients<M>,
    /// Peers are, too, not only clients.
    peers: bool,
    /// How long a peer leaves between two signs of life, at most.
    silence: Duration,
    places: Places,
    members: Budget,
    others: Budget,
}

type Reader = BufReader<Box<dyn AsyncRead + Send + Unpin>>;
type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// Accepts connections until the server has `ended`, which closes that channel; then the connections end, too.
pub(crate) async fn listen<M: StateMachine>(listener: Box<dyn Listener>, hall: Hall<M>, ended: Receiver<()>) {
    let hall = std::sync::Arc::new(hall);
    let (mut accepting, descriptors) = (Accepting::default(), Descriptors::of_process());
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
                accepting.failed(listener.address(), &e);
                task::sleep(RETRY).await;
                continue;
            }
        };
        accepting.went_well(listener.address());
        let (hall, ended, place) = (hall.clone(), ended.clone(), hall.places.greet(!descriptors.has_room()));
        task::spawn(async move {
            let over = async {
                let _ = ended.recv().await;
                Ok(())
            };
            if let Err(e) = hall.receive(stream, place).or(over).await {
                debug!("a connection ended: {e}");
            }
        });
        // Who lost a place leaves before the next one is let in.
        task::yield_now().await;
    }
}

/// Answers a greeting.
async fn answer(writer: &mut Writer, welcome: Welcome) -> io::Result<()> {
    timeout(GREETING_TIMEOUT, frame::write(writer, &welcome)).await
}

/// A peer that was let in.
struct Guest {
    hello: Hello,
    place: Place,
    /// It is a member of the configuration, not only of the cluster.
    member: bool,
}

impl<M: StateMachine> Hall<M> {
    /// `silence`: how long a peer leaves between two signs of life, at most.
    pub(crate) fn new(door: Door, inbox: Inbox, clients: Clients<M>, peers: bool, silence: Duration) -> Self {
        let (members, others) = (Budget::new(MEMBERS_BYTES), Budget::new(OTHERS_BYTES));
        Self { door, inbox, clients, peers, silence, places: Places::default(), members, others }
    }

    async fn receive(&self, stream: Connection, place: Place) -> io::Result<()> {
        let Connection { reader, writer } = stream;
        let mut reader = BufReader::with_capacity(READ_BUFFER, reader);
        match place.keep(timeout(GREETING_TIMEOUT, frame::read_greeting(&mut reader))).await? {
            Greeting::Client(hello) => {
                // Clients have places of their own.
                drop(place);
                self.clients.serve(reader, writer, &hello, &self.others).await
            }
            Greeting::Peer(_) if !self.peers => Err(io::Error::other("a server at the address of the clients")),
            Greeting::Peer(hello) => self.greeted(reader, writer, *hello, place).await,
        }
    }

    async fn greeted(&self, reader: Reader, mut writer: Writer, hello: Hello, place: Place) -> io::Result<()> {
        let door = &self.door;
        if let Err(rejection) = door.judge(&hello) {
            warn!(
                "server {}: server {} is refused, its directory has identity {:016x}: {rejection:?}",
                door.me.id, hello.from, hello.identity
            );
            return place.keep(answer(&mut writer, Welcome::Rejected(rejection))).await;
        }
        match hello.purpose {
            Purpose::Peer { .. } => {}
            Purpose::Join { member_type } => {
                let place = place.of_stranger();
                let welcome = place.keep(async { Ok(introduce(hello, member_type, &self.inbox).await) }).await?;
                return place.keep(answer(&mut writer, welcome)).await;
            }
            Purpose::Look => {
                return place.keep(answer(&mut writer, Welcome::Leader { leader: door.leader() })).await;
            }
            Purpose::Members => return place.keep(answer(&mut writer, door.members())).await,
        }
        let member = door.admits(hello.from, hello.identity);
        let place = if member { place.of_member(hello.from) } else { place.of_stranger() };
        let guest = Guest { hello, place, member };
        let serve = async {
            answer(&mut writer, door.welcome()).await?;
            self.serve(reader, writer, &guest).await
        };
        if member { guest.place.keep(serve).await } else { guest.place.keep(timeout(STRANGER, serve)).await }
    }

    async fn serve(&self, mut reader: Reader, mut writer: Writer, guest: &Guest) -> io::Result<()> {
        let (door, inbox, hello) = (&self.door, &self.inbox, &guest.hello);
        let (mut judged, mut shut) = (door.generation(), false);
        let (from, identity, cluster) = (hello.from, hello.identity, hello.cluster);
        if !guest.member {
            inbox.offer(Event::Stranger { id: from, peer: hello.peer.clone() });
        }
        let (budget, mut alarm) = (if guest.member { &self.members } else { &self.others }, Alarm::default());
        loop {
            let mut share = budget.share();
            let until = clock::monotonic() + self.silence * SILENCES;
            let Some(frame) = alarm.next(until, frame::read(&mut reader, &mut share)).await else {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the peer is silent"));
            };
            let frame = frame?;
            let generation = door.generation();
            if generation != judged {
                judged = generation;
                if let Err(rejection) = door.judge(hello) {
                    info!("server {}: server {from} is let in no longer: {rejection:?}", door.me.id);
                    shut = true;
                }
            }
            match frame {
                // A leader that is removed still has to say so to whoever asked for it through this server.
                Frame::Reply { id, result } => {
                    inbox.offer(Event::ForwardReply { from, id, result });
                }
                _ if shut => return Ok(()),
                Frame::Consensus(message) => {
                    // A full inbox loses it; the engine repeats what matters.
                    inbox.offer(Event::Message { from, identity, cluster, message, share });
                }
                // Whoever is no member has nobody's requests to hand on.
                Frame::Request { .. } if !guest.member => return Err(io::Error::other("a request of no member")),
                Frame::Request { id, request } => {
                    inbox.offer(Event::Forwarded { from, id, request, share });
                }
                Frame::Ping => timeout(GREETING_TIMEOUT, writer.write_all(&[1])).await?,
            }
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
