//! Joining a cluster: a new server asks any member to be let in, before its engine starts.

use super::frame::{self, Hello, Me, Purpose, Rejection, Welcome};
use super::inbound::JOIN_TIMEOUT;
use crate::engine::{Configuration, ConfigurationError, Index, MemberType};
use crate::transport::Transport;
use async_std::io;
use async_std::task;
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// Between two rounds over the members.
const PAUSE: Duration = Duration::from_millis(300);
/// How long a member has to say whether there is a leader.
const LOOK: Duration = Duration::from_secs(2);
/// How long no member may be found, or none find a leader, before the server gives up.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) async fn ask(transport: &dyn Transport, address: &str, hello: &Hello) -> io::Result<Welcome> {
    let mut stream = transport.dial(address).await?;
    frame::write(&mut stream.writer, hello).await?;
    frame::read_welcome(&mut stream.reader).await
}

/// Asks these members, in turn, to let this server in. Returns the committed configuration that it is in, and its entry.
///
/// # Errors
/// If it may not join, or nobody could let it in for a minute: one line that says why.
pub(crate) fn join(
    me: &Me,
    transport: &dyn Transport,
    addresses: &[String],
    member_type: MemberType,
) -> Result<(Index, Configuration), String> {
    let hello = Hello::new(me, 0, None, Purpose::Join { member_type });
    let begun = Instant::now();
    let mut said = String::new();
    loop {
        for address in addresses {
            let answer = task::block_on(io::timeout(JOIN_TIMEOUT + PAUSE, ask(transport, address, &hello)));
            let why = match answer {
                Ok(Welcome::Joined { index, configuration }) => {
                    info!("server {}: joined through {address}, configuration {index}", me.id);
                    return Ok((index, configuration));
                }
                Ok(Welcome::Rejected(Rejection::MayNotJoin(ConfigurationError::Busy))) | Ok(Welcome::Later) => {
                    format!("{address} finds no leader that lets this server in now")
                }
                Ok(Welcome::Rejected(rejection)) => return Err(format!("cannot join through {address}: {rejection}")),
                Ok(Welcome::Accepted { .. } | Welcome::Leader { .. }) => {
                    return Err(format!("{address} speaks another protocol"));
                }
                Err(e) => format!("cannot reach {address}: {e}"),
            };
            if why != said {
                warn!("server {}: {why}; trying again", me.id);
                said = why;
            }
        }
        if begun.elapsed() >= PATIENCE {
            return Err(format!("cannot join: {said}"));
        }
        task::block_on(task::sleep(PAUSE));
    }
}

/// Whether one of these members knows a leader other than this server: then a majority goes on without it.
pub(crate) fn has_leader(me: &Me, transport: &dyn Transport, addresses: &[String]) -> bool {
    let hello = Hello::new(me, 0, None, Purpose::Look);
    addresses.iter().any(|address| {
        let answer = task::block_on(io::timeout(LOOK, ask(transport, address, &hello)));
        matches!(answer, Ok(Welcome::Leader { leader: Some(leader) }) if leader != me.id)
    })
}
