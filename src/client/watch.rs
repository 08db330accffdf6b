//! Watches: a stream of what changes some keys.

use super::events::{Event, Events, Heard};
use super::{Error, Keys};
use crate::engine::{Index, SessionId};
use crate::store::{self, Command, Output, Store, Target};
use async_lock::Mutex;
use async_std::task;
use std::collections::HashMap;

/// Most watches of one session.
const WATCHES: u64 = 1000;

/// How many of a client's watches share each of the session's. Changed while the session's watch is made or given up, so
/// that no new one gets a number that is about to go.
#[derive(Debug, Default)]
pub(super) struct Watches(Mutex<HashMap<u64, usize>>);

/// What happened to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// It was set.
    Put {
        /// The key.
        key: Vec<u8>,
        /// Its value.
        value: Vec<u8>,
        /// The value's media type.
        content_type: String,
        /// Its version: the index of this change.
        version: u64,
        /// It did not exist before.
        created: bool,
    },
    /// It was deleted.
    Delete {
        /// The key.
        key: Vec<u8>,
        /// The version it had.
        version: u64,
    },
    /// Its time was over.
    Expire {
        /// The key.
        key: Vec<u8>,
        /// The version it had.
        version: u64,
    },
}

/// The changes of some keys, in order, each once, until the session is lost. It is given up when it is dropped.
///
/// As long as changes are not taken from here, the session's events are kept by the cluster, which ends a session that
/// leaves too many.
#[derive(Debug)]
pub struct Watch {
    keys: Keys,
    events: Events<Store>,
    session: SessionId,
    watch: u64,
    since: Index,
    ended: bool,
}

impl Watch {
    pub(super) async fn begin(keys: &Keys, target: Target) -> Result<Self, Error> {
        let mut shared = keys.watches.0.lock().await;
        // Before the watch begins, so that nothing falls between the two.
        let events = keys.client.events();
        let answer = keys.command(Command::Watch { target, values: true, limit: WATCHES }).await?;
        match answer.output {
            Output::Watching { watch, .. } => {
                *shared.entry(watch).or_default() += 1;
                let (keys, session, since) = (keys.clone(), answer.session, answer.index);
                drop(shared);
                Ok(Self { keys, events, session, watch, since, ended: false })
            }
            Output::TooManyWatches => Err(Error::TooManyWatches),
            _ => Err(Error::Unexpected),
        }
    }

    /// The index at which it began: changes above it are told.
    #[must_use]
    pub fn since(&self) -> Index {
        self.since
    }

    /// The next change. `None`: the watch has ended, since the client was closed, or after an error.
    ///
    /// # Errors
    /// [`Error::SessionLost`]: changes may have been missed since the last one. Watch again, and look at what matters anew.
    pub async fn next(&mut self) -> Option<Result<Change, Error>> {
        while !self.ended {
            match self.events.hear().await {
                Some(Heard::Event(event)) => {
                    if let Some(change) = self.change(event) {
                        return Some(Ok(change));
                    }
                }
                Some(Heard::Lost(session, lost)) if session == self.session => {
                    self.ended = true;
                    return Some(Err(Error::SessionLost(lost)));
                }
                Some(Heard::Lost(..) | Heard::Open(_)) => {}
                None => self.ended = true,
            }
        }
        None
    }

    /// What an event is to this watch, if anything.
    fn change(&self, Event { index, event }: Event<store::Event>) -> Option<Change> {
        use store::Event as E;
        let (E::Put { watch, .. } | E::Delete { watch, .. } | E::Expire { watch, .. }) = event else { return None };
        // Another watch of the same target may have begun earlier.
        if watch != self.watch || index <= self.since {
            return None;
        }
        Some(match event {
            E::Put { key, value, content_type, version, created, .. } => {
                let value = value.map(serde_bytes::ByteBuf::into_vec).unwrap_or_default();
                Change::Put { key, value, content_type, version, created }
            }
            E::Delete { key, version, .. } => Change::Delete { key, version },
            E::Expire { key, version, .. } => Change::Expire { key, version },
            E::LockAcquired { .. } | E::LockLost { .. } => return None,
        })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let (keys, watch, session) = (self.keys.clone(), self.watch, self.session);
        task::spawn(async move {
            let mut shared = keys.watches.0.lock().await;
            let Some(count) = shared.get_mut(&watch) else { return };
            *count -= 1;
            if *count > 0 {
                return;
            }
            shared.remove(&watch);
            // With the session, its watches are gone.
            if keys.client.session() == Some(session) {
                let _ = keys.command(Command::Unwatch { watch }).await;
            }
        });
    }
}
