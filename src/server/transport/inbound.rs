//! The peers that dialed us.

use super::Door;
use super::frame::{self, Frame, Welcome};
use crate::server::inbox::{Event, Inbox};
use async_std::io::{self, timeout};
use async_std::io::{BufReader, WriteExt};
use async_std::net::{TcpListener, TcpStream};
use async_std::task;
use std::time::Duration;
use tracing::{debug, info, warn};

/// How long a new connection has for its greeting.
const GREETING_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections in their greeting or established; more than a cluster of any sane size has.
const CONNECTIONS: usize = 256;
/// How much of what arrives is taken from the kernel at once.
const READ_BUFFER: usize = 64 * 1024;

/// Accepts peers until the server ends.
pub(crate) async fn listen(listener: TcpListener, door: Door, inbox: Inbox) {
    let places = std::sync::Arc::new(());
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(e) => {
                warn!("cannot accept a peer: {e}");
                task::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        if std::sync::Arc::strong_count(&places) > CONNECTIONS {
            continue;
        }
        let (door, inbox, place) = (door.clone(), inbox.clone(), places.clone());
        task::spawn(async move {
            if let Err(e) = serve(stream, &door, &inbox).await {
                debug!("a peer's connection ended: {e}");
            }
            drop(place);
        });
    }
}

async fn serve(stream: TcpStream, door: &Door, inbox: &Inbox) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut writer = stream.clone();
    let mut reader = BufReader::with_capacity(READ_BUFFER, stream);
    let hello = timeout(GREETING_TIMEOUT, frame::read_hello(&mut reader)).await?;
    if let Err(rejection) = door.judge(&hello) {
        warn!(
            "server {}: server {} is refused, its directory has identity {:016x}: {rejection:?}",
            door.me.id, hello.from, hello.identity
        );
        return frame::write(&mut writer, &Welcome::Rejected(rejection)).await;
    }
    let mut judged = door.generation();
    frame::write(&mut writer, &door.welcome()).await?;
    let (from, identity, cluster) = (hello.from, hello.identity, hello.cluster);
    inbox.offer(Event::Met { id: from, identity, cluster, http: hello.http.clone(), dialed: false });
    loop {
        let frame = frame::read(&mut reader).await?;
        let generation = door.generation();
        if generation != judged {
            judged = generation;
            if let Err(rejection) = door.judge(&hello) {
                info!("server {}: server {from} is let in no longer: {rejection:?}", door.me.id);
                return Ok(());
            }
        }
        match frame {
            Frame::Consensus(message) => {
                // A full inbox loses it; the engine repeats what matters.
                inbox.offer(Event::Message { from, identity, message });
            }
            Frame::Request { id, request } => {
                inbox.offer(Event::Forwarded { from, id, request });
            }
            Frame::Reply { id, result } => {
                inbox.offer(Event::ForwardReply { id, result });
            }
            Frame::Ping => timeout(GREETING_TIMEOUT, writer.write_all(&[1])).await?,
        }
    }
}
