//! The peers that dialed us.

use super::Door;
use super::frame::{self, Frame, Hello, Purpose, Rejection, Welcome};
use crate::engine::machine::Outcome;
use crate::engine::{Change, MemberType, decode};
use crate::server::inbox::{Event, Inbox};
use crate::server::requests::{Refusal, Reply, Request};
use crate::transport::{Connection, Listener};
use async_channel::Receiver;
use async_std::io::{self, timeout};
use async_std::io::{BufReader, WriteExt};
use async_std::task;
use futures_lite::FutureExt;
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

/// Accepts peers until the server has `ended`, which closes that channel; then their connections end, too.
pub(crate) async fn listen(listener: Box<dyn Listener>, door: Door, inbox: Inbox, ended: Receiver<()>) {
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
                warn!("cannot accept a peer: {e}");
                task::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        if std::sync::Arc::strong_count(&places) > CONNECTIONS {
            continue;
        }
        let (door, inbox, ended, place) = (door.clone(), inbox.clone(), ended.clone(), places.clone());
        task::spawn(async move {
            let over = async {
                let _ = ended.recv().await;
                Ok(())
            };
            if let Err(e) = serve(stream, &door, &inbox).or(over).await {
                debug!("a peer's connection ended: {e}");
            }
            drop(place);
        });
    }
}

async fn serve(stream: Connection, door: &Door, inbox: &Inbox) -> io::Result<()> {
    let Connection { reader, mut writer } = stream;
    let mut reader = BufReader::with_capacity(READ_BUFFER, reader);
    let hello = timeout(GREETING_TIMEOUT, frame::read_hello(&mut reader)).await?;
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
