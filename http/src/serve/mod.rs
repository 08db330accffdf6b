//! The server: async-std's sockets, hyper's HTTP/1, and the limits of a connection. Nothing outside this module knows of
//! a runtime.

mod body;
mod connection;
mod refusal;
mod stream;
mod timer;
mod watch;

use crate::backend::Backend;
use crate::config::HttpConfig;
use crate::routes::Api;
use async_channel::Receiver;
use async_std::net::{TcpListener, TcpStream};
use async_std::task;
use futures_lite::FutureExt;
use refusal::{Refusal, Refusals};
use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::{debug, warn};
use watch::Connections;

/// The longest and the shortest wait after the system could not give us a connection (no more file descriptors).
const BACK_OFF: [Duration; 2] = [Duration::from_secs(1), Duration::from_millis(10)];
/// How many of the descriptors that are kept for other things may be those of connections that are told so.
const REFUSED_ABOVE: u64 = 8;
/// What the history of requests is counted by.
const SECOND: Duration = Duration::from_secs(1);
/// How often a stopping server looks whether its connections have ended.
const LOOK: Duration = Duration::from_millis(5);
/// How long connections that are cut off may take to notice.
const LAST_LOOK: Duration = Duration::from_millis(100);

/// Serves until `stop` has a message or is closed. Then accepts nothing more, closes idle connections, finishes what is
/// under way within [`HttpConfig::drain`], and cuts off what is not.
///
/// # Errors
/// If the listener's address cannot be told.
pub async fn serve(
    listener: TcpListener,
    backend: Arc<dyn Backend>,
    config: HttpConfig,
    stop: Receiver<()>,
) -> io::Result<()> {
    let local = listener.local_addr()?.ip();
    let connections = Arc::new(Connections::new(&config));
    let refusals = Refusals::new(backend.id());
    let (limit, per_address, drain) = (config.connections, config.connections_per_address, config.drain);
    let descriptors = config.descriptors;
    let api = Api::new(backend.clone(), config, local);
    let counting = {
        let history = api.history.clone();
        task::spawn(async move {
            loop {
                task::sleep(SECOND).await;
                history.end_second(backend.as_ref());
            }
        })
    };
    let ticking = {
        let connections = connections.clone();
        task::spawn(async move {
            loop {
                task::sleep(connections.tick()).await;
                connections.look();
            }
        })
    };
    while let Some((stream, address)) = next(&listener, &stop).await {
        let above = u64::try_from(stream.as_raw_fd()).unwrap_or(u64::MAX).checked_sub(descriptors);
        if above.is_some_and(|above| above >= REFUSED_ABOVE) {
            continue;
        }
        if above.is_some() || connections.len() >= limit {
            refusals.refuse(stream, Refusal::Server);
            continue;
        }
        if connections.from(address) >= per_address {
            refusals.refuse(stream, Refusal::Address);
            continue;
        }
        if let Err(e) = stream.set_nodelay(true) {
            debug!("a connection ended before it began: {e}");
            continue;
        }
        task::spawn(connection::run(stream, api.clone(), connections.begin(address)));
    }
    drop(listener);
    connections.finish();
    all_gone(&connections, drain).await;
    connections.cut();
    all_gone(&connections, LAST_LOOK).await;
    ticking.cancel().await;
    counting.cancel().await;
    Ok(())
}

/// The next connection; `None` once the server is to stop.
async fn next(listener: &TcpListener, stop: &Receiver<()>) -> Option<(TcpStream, IpAddr)> {
    let [longest, mut wait] = BACK_OFF;
    let mut said = false;
    loop {
        match unless(stop, listener.accept()).await? {
            Ok((stream, address)) => return Some((stream, address.ip())),
            Err(e) if is_the_clients(&e) => debug!("a client gave up before it was accepted: {e}"),
            Err(e) => {
                if !said {
                    warn!("cannot accept connections: {e}; trying again");
                    said = true;
                }
                unless(stop, task::sleep(wait)).await?;
                wait = (wait * 2).min(longest);
            }
        }
    }
}

/// What this future gives; `None` if the server is to stop before.
async fn unless<T>(stop: &Receiver<()>, future: impl Future<Output = T>) -> Option<T> {
    let stopped = async {
        let _ = stop.recv().await;
        None
    };
    stopped.or(async { Some(future.await) }).await
}

fn is_the_clients(e: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(e.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

async fn all_gone(connections: &Connections, patience: Duration) {
    let deadline = Instant::now() + patience;
    while connections.len() > 0 && Instant::now() < deadline {
        task::sleep(LOOK).await;
    }
}
