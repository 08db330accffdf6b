//! What a client is sent without asking each time: its session's events, and what becomes of the cluster.

use super::{PUSHED, REQUEST_TIMEOUT, cluster};
use crate::engine::SessionId;
use crate::engine::machine::{StateMachine, Topic};
use crate::server::port::Port;
use crate::server::requests::Refusal;
use crate::wire::{Cluster, ToClient};
use async_channel::{Receiver, Sender};
use async_std::{future, io, task};
use futures_lite::future::or;
use std::time::Duration;

/// After what could not be found out, another look.
const RETRY: Duration = Duration::from_millis(100);
/// What happens is heard of a moment before it is seen.
const SETTLES: Duration = Duration::from_millis(20);
/// The cluster is looked at so often though nothing is heard of it.
const LOOK: Duration = Duration::from_secs(1);

fn ended() -> io::Error {
    io::Error::other("the server has ended")
}

/// Tells a client of changes of the cluster, of which it knows this. Ends with the server.
pub(super) async fn news<M: StateMachine>(
    port: &Port<M>,
    mut known: Cluster,
    pushes: Sender<ToClient>,
) -> io::Result<()> {
    let waiter = port.wait_for_news().map_err(|_| io::Error::other("too many wait"))?;
    loop {
        let _ = future::timeout(LOOK, waiter.woken()).await;
        task::sleep(SETTLES).await;
        if port.has_ended() {
            return Err(ended());
        }
        let cluster = cluster(port);
        if cluster != known {
            known = cluster.clone();
            pushes.send(ToClient::Cluster(cluster)).await.map_err(io::Error::other)?;
        }
    }
}

/// Pushes the events of the session that the client last asked to follow.
pub(super) async fn events<M: StateMachine>(
    port: &Port<M>,
    followed: Receiver<(SessionId, u64)>,
    pushes: Sender<ToClient>,
) -> io::Result<()> {
    const { assert!(PUSHED > 1, "a page of events and an answer to a ping") };
    let mut now = followed.recv().await.map_err(io::Error::other)?;
    loop {
        let next = async { followed.recv().await.map_err(io::Error::other) };
        now = or(next, async { follow(port, now, &pushes).await }).await?;
    }
}

/// Never returns but with an error.
async fn follow<M: StateMachine>(
    port: &Port<M>,
    (session, mut after): (SessionId, u64),
    pushes: &Sender<ToClient>,
) -> io::Result<(SessionId, u64)> {
    // Before the first look, so that nothing falls between the two.
    let waiter = port.wait(Topic::Session(session)).map_err(|_| io::Error::other("too many wait"))?;
    // A server that has applied less than a session's id, or than what its client has seen, knows nothing to say.
    let mut floor = session.max(after);
    loop {
        match port.events(session, Some(after), floor, REQUEST_TIMEOUT).await {
            Ok((_, page)) => {
                if let Some(last) = page.batches.last() {
                    after = last.index;
                    let events = ToClient::Events { session, batches: page.batches };
                    pushes.send(events).await.map_err(io::Error::other)?;
                    continue;
                }
                floor = floor.max(waiter.woken().await);
            }
            Err(Refusal::Session(error)) => {
                pushes.send(ToClient::Ended { session, error }).await.map_err(io::Error::other)?;
                return std::future::pending().await;
            }
            Err(Refusal::ShuttingDown) => return Err(ended()),
            // No leader, or too much to do: the state may be fresh enough later.
            Err(_) => task::sleep(RETRY).await,
        }
    }
}
