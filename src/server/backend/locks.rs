//! Asking for a lock, and waiting for it.
//!
//! The log decides: the wait is a timer of the state machine, and this server only looks at what became of it.

use super::keys::StoreKeys;
use super::{answer, engine_read, failure};
use crate::engine::machine::{Ask, Outcome, Topic};
use crate::server::{clock, convert};
use crate::store::{self, LockView};
use async_std::future;
use copycat_http::{Answer, Caller, Consistency, Failure, LockOutput, LockRequest, Read};
use std::time::Duration;

/// How much longer than it should take the end of a wait is waited for before the leader is asked.
const SLACK: Duration = Duration::from_millis(250);

impl StoreKeys {
    pub(super) async fn ask_for_lock(
        &self,
        request: LockRequest,
        caller: Caller,
        timeout: Duration,
    ) -> Result<Answer<LockOutput>, Failure> {
        let session = caller.session.ok_or(Failure::Internal)?;
        let LockRequest { lock, mode, wait, queue } = request;
        let wait = match wait {
            Some(wait) => {
                // One sign of life: of a client that is gone, its half-open connection keeps nothing alive.
                let kept = self.port.keep_alive(session, 0, 0, timeout).await.map_err(failure)?;
                let Outcome::KeptAlive { timeout_ms, .. } = kept.output else { return Err(Failure::Internal) };
                wait.min(Duration::from_millis(timeout_ms / 2))
            }
            None => Duration::ZERO,
        };
        let topic = Topic::Machine([b"l", lock.as_slice()].concat());
        let waiter = self.port.wait(topic).map_err(failure)?;
        let end = clock::monotonic() + wait;
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        let command = store::Command::Lock { lock: lock.clone(), mode: convert::lock_mode(mode), wait_ms, queue };
        let (reply, output) = self.operate(&command, caller, timeout).await?;
        let (position, view) = match output {
            store::Output::Granted { token, mode } => {
                let output = LockOutput::Granted { token, mode: convert::logged_lock_mode(mode) };
                return Ok(answer(&reply, output));
            }
            store::Output::Held { position, view } => {
                let view = convert::lock(view);
                return Ok(answer(&reply, LockOutput::Held { position, view, wait: Duration::ZERO }));
            }
            store::Output::Queued { position, view } => (position, view),
            _ => return Err(Failure::Internal),
        };
        if wait.is_zero() {
            let view = convert::lock(view);
            return Ok(answer(&reply, LockOutput::Queued { position, view, wait }));
        }
        let query = store::Query::Lock { lock: lock.clone() };
        let local = Read { consistency: Consistency::Sequential, index: reply.index, timeout };
        let (mut read, mut last) = (local, (position, view));
        loop {
            let (seen, store::Answer::Lock(found)) = self.look(&query, read).await? else {
                return Err(Failure::Internal);
            };
            let event_index = reply.event_index;
            let told = |output| Answer { event_index, ..answer(&seen, output) };
            let now = clock::monotonic();
            match place(found, session) {
                Place::Has { token, mode } => {
                    return Ok(told(LockOutput::Granted { token, mode: convert::logged_lock_mode(mode) }));
                }
                Place::Waits(position, view) if queue && now >= end => {
                    return Ok(told(LockOutput::Queued { position, view: convert::lock(view), wait }));
                }
                Place::Waits(position, view) => last = (position, view),
                Place::Gone(view) => {
                    // Given up, or gone with its session.
                    let read = Read { index: seen.index, ..local };
                    self.port.query(Ask::Session(session), engine_read(read)).await.map_err(failure)?;
                    let view = view.unwrap_or(LockView { lock, ..last.1 });
                    return Ok(told(LockOutput::Held { position: last.0, view: convert::lock(view), wait }));
                }
            }
            if now >= end + timeout {
                return Err(Failure::Timeout { maybe_applied: true });
            }
            let until = if now < end && queue { end } else { end.max(now) + SLACK };
            read = match future::timeout(until.saturating_sub(now), waiter.woken()).await {
                Ok(index) => Read { index, ..local },
                // What this server knows may be old.
                Err(_) => Read { consistency: Consistency::Linearizable, ..local },
            };
        }
    }
}

enum Place {
    Has { token: u64, mode: store::LockMode },
    Waits(u64, LockView),
    Gone(Option<LockView>),
}

fn place(found: Option<LockView>, session: u64) -> Place {
    let Some(view) = found else { return Place::Gone(None) };
    if let Some(holder) = view.holders.iter().find(|h| h.session == session) {
        return Place::Has { token: holder.token, mode: holder.mode };
    }
    match view.queue.iter().position(|w| w.session == session) {
        Some(at) => Place::Waits(at as u64 + 1, view),
        None => Place::Gone(Some(view)),
    }
}
