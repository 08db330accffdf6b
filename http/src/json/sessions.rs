//! Sessions, in and out.

use super::text::{self, Encoding};
use crate::backend::{KeptAlive, Registered, SessionView};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use utoipa::ToSchema;

/// How a session is to be.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewSession {
    /// It ends when it was not kept alive for so long: 1s to 24h; 30s if left out.
    #[schema(pattern = "^[0-9]+(ms|s|m|h)$")]
    pub(crate) timeout: Option<String>,
    /// For people; at most 255 bytes.
    #[schema(max_length = 255)]
    pub(crate) name: Option<String>,
}

/// How often a session that ends after `timeout_ms` is best kept alive.
fn keep_alive_ms(timeout_ms: u64) -> u64 {
    timeout_ms / 3
}

/// A session has begun.
#[derive(Serialize, ToSchema)]
pub(crate) struct Begun {
    /// Its id: the index at which it was registered.
    session: u64,
    /// It ends when it was not kept alive for so long.
    timeout_ms: u64,
    /// How often it is best kept alive.
    keep_alive_ms: u64,
    index: u64,
}

impl Begun {
    pub(crate) fn new(registered: &Registered, index: u64) -> Self {
        let Registered { session, timeout_ms } = *registered;
        Self { session, timeout_ms, keep_alive_ms: keep_alive_ms(timeout_ms), index }
    }
}

/// What a client has seen.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Acknowledged {
    /// The answers to commands through this number,
    pub(crate) sequence: Option<u64>,
    /// and the events through this index.
    pub(crate) event_index: Option<u64>,
}

/// A session was kept alive.
#[derive(Serialize, ToSchema)]
pub(crate) struct Alive {
    /// It ends when it was not kept alive for so long.
    timeout_ms: u64,
    /// How often it is best kept alive.
    keep_alive_ms: u64,
    /// The index of its last event, 0 before the first.
    event_index: u64,
}

impl From<KeptAlive> for Alive {
    fn from(KeptAlive { timeout_ms, event_index }: KeptAlive) -> Self {
        Self { timeout_ms, keep_alive_ms: keep_alive_ms(timeout_ms), event_index }
    }
}

/// A session has ended.
#[derive(Serialize, ToSchema)]
pub(crate) struct Ended {
    pub(crate) session: u64,
    pub(crate) index: u64,
}

/// A lock by its name.
#[derive(Serialize, ToSchema)]
pub(crate) struct LockName<'a> {
    lock: Cow<'a, str>,
    /// Left out where the name is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    lock_encoding: Option<Encoding>,
}

/// A key by its name.
#[derive(Serialize, ToSchema)]
pub(crate) struct KeyOf<'a> {
    key: Cow<'a, str>,
    /// Left out where the key is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    key_encoding: Option<Encoding>,
}

/// A session.
#[derive(Serialize, ToSchema)]
pub(crate) struct Session<'a> {
    /// Its id: the index at which it was registered.
    session: u64,
    /// What its client called it.
    name: &'a str,
    /// It ends when it was not kept alive for so long.
    timeout_ms: u64,
    /// How often it is best kept alive.
    keep_alive_ms: u64,
    /// When it was last kept alive, milliseconds of log time since the Unix epoch,
    last_keep_alive_ms: u64,
    /// and how long ago that is.
    keep_alive_age_ms: u64,
    /// The number of its last command.
    sequence: u64,
    /// The number through which it has acknowledged the answers.
    acknowledged_sequence: u64,
    /// The index of its last event,
    event_index: u64,
    /// and the index through which it has acknowledged events.
    acknowledged_index: u64,
    /// How many events it has not acknowledged.
    queue_depth: u64,
    /// The server that its client talked to last.
    #[schema(required)]
    server: Option<u64>,
    /// The locks it holds, at most 100 of them. Left out in a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    locks: Option<Vec<LockName<'a>>>,
    /// Its ephemeral keys, at most 100 of them. Left out in a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    ephemeral_keys: Option<Vec<KeyOf<'a>>>,
}

impl<'a> Session<'a> {
    /// As it stands in a list.
    pub(crate) fn listed(view: &'a SessionView) -> Self {
        Self {
            session: view.session,
            name: &view.name,
            timeout_ms: view.timeout_ms,
            keep_alive_ms: keep_alive_ms(view.timeout_ms),
            last_keep_alive_ms: view.last_keep_alive_ms,
            keep_alive_age_ms: view.keep_alive_age_ms,
            sequence: view.sequence,
            acknowledged_sequence: view.acknowledged_sequence,
            event_index: view.event_index,
            acknowledged_index: view.acknowledged_index,
            queue_depth: view.queue_depth,
            server: view.server,
            locks: None,
            ephemeral_keys: None,
        }
    }

    /// With all that it holds.
    pub(crate) fn whole(view: &'a SessionView) -> Self {
        let lock = |name: &'a Vec<u8>| {
            let (lock, lock_encoding) = text::key(name);
            LockName { lock, lock_encoding }
        };
        let key = |key: &'a Vec<u8>| {
            let (key, key_encoding) = text::key(key);
            KeyOf { key, key_encoding }
        };
        Self {
            locks: Some(view.locks.iter().map(lock).collect()),
            ephemeral_keys: Some(view.ephemeral_keys.iter().map(key).collect()),
            ..Self::listed(view)
        }
    }
}

/// Sessions in order of their ids.
#[derive(Serialize, ToSchema)]
pub(crate) struct Sessions<'a> {
    pub(crate) sessions: Vec<Session<'a>>,
    /// The cursor of the next page.
    #[schema(required)]
    pub(crate) next: Option<String>,
    pub(crate) index: u64,
}

/// A session is told of changes.
#[derive(Serialize, ToSchema)]
pub(crate) struct Watching {
    /// The watch's id: the index at which it was made.
    pub(crate) watch: u64,
    pub(crate) index: u64,
}

/// It is told no more.
#[derive(Serialize, ToSchema)]
pub(crate) struct Unwatched {
    /// The watch existed.
    pub(crate) deleted: bool,
    pub(crate) index: u64,
}
