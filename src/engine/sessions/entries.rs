//! What clients hand in, and what the entries about sessions carry. These are in the log and on the wire.

use super::outcome::EndReason;
use crate::engine::entry::{DecodeError, Decoder, Encoder};
use crate::engine::machine::CompactionMode;
use crate::engine::types::{Index, ServerId, SessionId};
use bincode::{Decode, Encode};

/// What a client wants a leader to log.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Submit {
    /// An operation of the state machine.
    Command {
        /// The operation, encoded.
        operation: Vec<u8>,
        /// Its compaction mode.
        mode: u8,
        /// The session it belongs to; 0: none.
        session: SessionId,
        /// Its number in the session, from 1; 0: it has none, and a repeat of it is not known.
        sequence: u64,
        /// For one without a number: the name by which a repeat of it is known.
        key: Option<String>,
    },
    /// A new session.
    Register {
        /// It ends when it was not kept alive for so long, in milliseconds of log time.
        timeout_ms: u64,
        /// What its client calls it.
        name: String,
        /// The name by which a repeat of this is known.
        key: Option<String>,
    },
    /// A sign of life of a session, and what its client has received.
    KeepAlive(KeepAlive),
    /// The end of a session, by its client.
    Unregister {
        /// Which one.
        session: SessionId,
    },
}

impl Submit {
    /// A command of no session: a repeat of it is not known.
    #[must_use]
    pub fn command(operation: Vec<u8>, mode: CompactionMode) -> Self {
        Self::Command { operation, mode: mode as u8, session: 0, sequence: 0, key: None }
    }

    /// Whether it is for a session and names none: 0 is no session.
    #[must_use]
    pub(crate) fn lacks_session(&self) -> bool {
        match self {
            Self::Command { session, sequence, .. } => *session == 0 && *sequence != 0,
            Self::KeepAlive(item) => item.session == 0,
            Self::Unregister { session } => *session == 0,
            Self::Register { .. } => false,
        }
    }

    /// Whether it may be handed over again when it is not known what became of it: it will not be carried out twice.
    #[must_use]
    pub fn is_repeatable(&self) -> bool {
        match self {
            Self::Command { sequence, key, .. } => *sequence != 0 || key.is_some(),
            Self::Register { key, .. } => key.is_some(),
            Self::KeepAlive(_) | Self::Unregister { .. } => true,
        }
    }
}

/// How much a session may leave unacknowledged. Written into its entry, since applying must not depend on a server's
/// settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Limits {
    /// Events in its queue,
    pub events: u64,
    /// and their bytes.
    pub event_bytes: u64,
}

/// One item of a [`Kind::KeepAlive`](crate::engine::Kind::KeepAlive) entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct KeepAlive {
    /// Whose.
    pub session: SessionId,
    /// It has the answers to all commands through this number; 0: it says nothing of it.
    pub sequence: u64,
    /// It has all events through this index; 0: it says nothing of it.
    pub event_index: Index,
    /// It is a sign of life, not only an acknowledgement.
    pub alive: bool,
    /// The server that its client talks to; 0: unknown.
    pub server: ServerId,
    /// It is the beginning of a poll, which supersedes earlier ones.
    pub poll: bool,
}

/// How long the answer to a request with an idempotency key is kept if its entry says nothing of it, in milliseconds of log
/// time: all entries of version 0.1.0 mean this.
pub const DEFAULT_WINDOW_MS: u64 = 10 * 60 * 1000;

/// Writes an entry's fields, and behind them the window of its key unless that is the default: so an entry with the default
/// has the same bytes as in version 0.1.0.
fn with_window<T: Encode>(fields: &T, window_ms: u64) -> Vec<u8> {
    let mut to = Encoder::default();
    to.put(fields);
    if window_ms != DEFAULT_WINDOW_MS {
        to.put(&window_ms);
    }
    to.finish()
}

fn fields_and_window<T: Decode<()>>(bytes: &[u8]) -> Result<(T, u64), DecodeError> {
    let mut from = Decoder::new(bytes);
    let fields = from.take()?;
    let window_ms = if from.is_empty() { DEFAULT_WINDOW_MS } else { from.take()? };
    from.end()?;
    Ok((fields, window_ms))
}

/// A [`Kind::Register`](crate::engine::Kind::Register) entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Register {
    /// The session ends when it was not kept alive for so long, in milliseconds of log time.
    pub timeout_ms: u64,
    /// What its client calls it.
    pub name: String,
    /// The name by which a repeat is known.
    pub key: Option<String>,
    /// How much it may leave unacknowledged.
    pub limits: Limits,
    /// How long the key is known, in milliseconds of log time. Written into the entry, as the limits are.
    pub window_ms: u64,
}

impl Register {
    /// The bytes of the entry.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        with_window(&(self.timeout_ms, &self.name, &self.key, self.limits), self.window_ms)
    }

    /// Reads the bytes of an entry, of version 0.1.0 too.
    ///
    /// # Errors
    /// If they are malformed.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let ((timeout_ms, name, key, limits), window_ms) = fields_and_window(bytes)?;
        Ok(Self { timeout_ms, name, key, limits, window_ms })
    }

    /// Tells whether a repeat is one.
    pub(crate) fn hash(&self) -> u64 {
        super::hash(self.timeout_ms, self.name.as_bytes())
    }
}

/// One item of a [`Kind::Unregister`](crate::engine::Kind::Unregister) entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Unregister {
    /// Which one.
    pub session: SessionId,
    /// Why.
    pub reason: EndReason,
    /// If it timed out: the index of the last sign of life that the leader knew of.
    pub judged_by: Index,
}

/// A [`Kind::KeyedCommand`](crate::engine::Kind::KeyedCommand) entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyed {
    /// The name by which a repeat is known.
    pub key: String,
    /// The operation of the state machine.
    pub operation: Vec<u8>,
    /// How long the key is known, in milliseconds of log time. Written into the entry, since applying must not depend on a
    /// server's settings.
    pub window_ms: u64,
}

impl Keyed {
    /// The bytes of the entry.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        with_window(&(&self.key, &self.operation), self.window_ms)
    }

    /// Reads the bytes of an entry, of version 0.1.0 too.
    ///
    /// # Errors
    /// If they are malformed.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let ((key, operation), window_ms) = fields_and_window(bytes)?;
        Ok(Self { key, operation, window_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::encode;

    /// The entries as version 0.1.0 has them.
    #[derive(Encode)]
    struct OldKeyed {
        key: String,
        operation: Vec<u8>,
    }

    #[derive(Encode)]
    struct OldRegister {
        timeout_ms: u64,
        name: String,
        key: Option<String>,
        limits: Limits,
    }

    #[test]
    fn entries_of_0_1_0_have_the_default_window_and_the_same_bytes() {
        let old = encode(&OldKeyed { key: "k".into(), operation: vec![1, 2, 3] });
        let keyed = Keyed { key: "k".into(), operation: vec![1, 2, 3], window_ms: DEFAULT_WINDOW_MS };
        assert_eq!((Keyed::decode(&old).as_ref(), keyed.encode()), (Ok(&keyed), old));
        let limits = Limits { events: 5, event_bytes: 6 };
        let old = encode(&OldRegister { timeout_ms: 7, name: "n".into(), key: Some("k".into()), limits });
        let (name, key, window_ms) = ("n".to_string(), Some("k".to_string()), DEFAULT_WINDOW_MS);
        let register = Register { timeout_ms: 7, name, key, limits, window_ms };
        assert_eq!((Register::decode(&old).as_ref(), register.encode()), (Ok(&register), old));
    }

    #[test]
    fn an_entry_carries_a_window_of_its_own() {
        let keyed = Keyed { key: "k".into(), operation: vec![0], window_ms: 1000 };
        assert_eq!(Keyed::decode(&keyed.encode()), Ok(keyed.clone()));
        let mut longer = keyed.encode();
        longer.push(0);
        assert!(Keyed::decode(&longer).is_err(), "nothing may stand behind the window");
        let limits = Limits { events: 5, event_bytes: 6 };
        let register = Register { timeout_ms: 7, name: String::new(), key: None, limits, window_ms: 0 };
        assert_eq!(Register::decode(&register.encode()), Ok(register));
    }

    #[test]
    fn only_what_is_known_again_may_be_handed_over_twice() {
        let command = |sequence, key: Option<&str>| Submit::Command {
            operation: Vec::new(),
            mode: 0,
            session: 7,
            sequence,
            key: key.map(str::to_string),
        };
        let register = |key: Option<&str>| Submit::Register {
            timeout_ms: 1000,
            name: String::new(),
            key: key.map(str::to_string),
        };
        assert!(!command(0, None).is_repeatable() && !register(None).is_repeatable());
        assert!(command(1, None).is_repeatable() && command(0, Some("k")).is_repeatable());
        assert!(register(Some("k")).is_repeatable());
        assert!(Submit::KeepAlive(KeepAlive::default()).is_repeatable());
        assert!(Submit::Unregister { session: 7 }.is_repeatable());
    }
}
