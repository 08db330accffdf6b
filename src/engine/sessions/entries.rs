//! What clients hand in, and what the entries about sessions carry. These are in the log and on the wire.

use super::outcome::EndReason;
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

/// A [`Kind::Register`](crate::engine::Kind::Register) entry.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Register {
    /// The session ends when it was not kept alive for so long, in milliseconds of log time.
    pub timeout_ms: u64,
    /// What its client calls it.
    pub name: String,
    /// The name by which a repeat is known.
    pub key: Option<String>,
    /// How much it may leave unacknowledged.
    pub limits: Limits,
}

impl Register {
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
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Keyed {
    /// The name by which a repeat is known.
    pub key: String,
    /// The operation of the state machine.
    pub operation: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

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
