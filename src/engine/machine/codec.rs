//! How the operations of a state machine become bytes: in the log, on the wire, in snapshots.

use super::StateMachine;
use crate::engine::consensus::Configuration;
use crate::engine::entry::{DecodeError, Kind, decode};
use crate::engine::limited;
use crate::engine::sessions::{KeepAlive, Keyed, Register, Unregister};
use copycat_storage::EntryRef;
use serde::{Serialize, de::DeserializeOwned};

/// Writes a machine's commands, queries, outputs, answers and events, and reads them back.
///
/// A value is written alike wherever it is written, now and by every later version: servers compare what they wrote, and read
/// what was written years ago. So a codec, once chosen for a machine, stays. What it says about changing the types is at
/// [`StateMachine`].
pub trait Codec: Send + 'static {
    /// The bytes of a value.
    ///
    /// # Panics
    /// If the value cannot be written in this form: then it never can, so tests find it.
    fn encode<T: Serialize>(value: &T) -> Vec<u8>;

    /// The value in these bytes, which hold it and nothing else; `None` if they are another's.
    ///
    /// The bytes may be anybody's. A codec must not take memory for more than is there, nor follow a nesting as deep as the
    /// bytes go: a server would end by it, and so would each server that has the entry in its log. What [`Bincode`] and
    /// [`Json`] read is bounded in both respects, whatever the type.
    fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T>;

    /// Why these bytes hold no such value, for people; `None` if they do.
    fn refusal<T: DeserializeOwned>(bytes: &[u8]) -> Option<String> {
        Self::decode::<T>(bytes).is_none().then(|| "these are another's bytes".to_owned())
    }
}

/// Bincode 2: short and fast, and strict. Values nest at most 192 deep. Nothing but the values is written, so types that it wrote can be read by the same
/// types only, but for new variants behind the others. Serde's `untagged`, `flatten`, `skip_serializing_if` and `default` do
/// not work with it.
#[derive(Clone, Copy, Debug)]
pub struct Bincode;

const CONFIG: bincode::config::Configuration = bincode::config::standard();

impl Codec for Bincode {
    fn encode<T: Serialize>(value: &T) -> Vec<u8> {
        bincode::serde::encode_to_vec(value, CONFIG).expect("an operation encodes")
    }

    fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
        limited::whole(bytes).ok()
    }

    fn refusal<T: DeserializeOwned>(bytes: &[u8]) -> Option<String> {
        limited::whole::<T>(bytes).err().map(|e| e.to_string())
    }
}

/// JSON: longer and slower, but fields and variants are written with their names, so types may grow in more ways, and the log
/// is readable. Maps have texts as keys, numbers are finite, and values nest at most 128 deep.
#[derive(Clone, Copy, Debug)]
pub struct Json;

impl Codec for Json {
    fn encode<T: Serialize>(value: &T) -> Vec<u8> {
        serde_json::to_vec(value).expect("an operation is JSON")
    }

    fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
        serde_json::from_slice(bytes).ok()
    }

    fn refusal<T: DeserializeOwned>(bytes: &[u8]) -> Option<String> {
        serde_json::from_slice::<T>(bytes).err().map(|e| e.to_string())
    }
}

/// The bytes of a command, query or answer of a machine whose codec is [`Bincode`].
///
/// # Panics
/// If the value's `Serialize` fails.
pub fn encode_operation<T: Serialize>(value: &T) -> Vec<u8> {
    Bincode::encode(value)
}

/// A command, query or answer of a machine whose codec is [`Bincode`]; `None` if the bytes are another's.
#[must_use]
pub fn decode_operation<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    Bincode::decode(bytes)
}

/// A command's output from the bytes of an [`Outcome::Output`](super::Outcome::Output).
#[must_use]
pub fn decode_output<M: StateMachine>(bytes: &[u8]) -> Option<M::Output> {
    M::Codec::decode(bytes)
}

/// A query's answer from its bytes.
#[must_use]
pub fn decode_query_output<M: StateMachine>(bytes: &[u8]) -> Option<M::Answer> {
    M::Codec::decode(bytes)
}

/// Whether the bytes are a command of this machine's.
#[must_use]
pub fn is_command<M: StateMachine>(command: &[u8]) -> bool {
    M::Codec::decode::<M::Command>(command).is_some()
}

/// What is wrong with an entry that servers cannot read, for people: what it carries is not what its kind says, or no command
/// of this machine. All servers skip such an entry, unless its kind is of a newer version.
#[must_use]
pub fn unreadable<M: StateMachine>(entry: &EntryRef<'_>) -> Option<String> {
    let of = |result: Result<(), DecodeError>| result.err().map(|e| e.to_string());
    match Kind::from_byte(entry.kind) {
        None => Some(format!("kind {} is of a newer version, which it needs", entry.kind)),
        Some(Kind::Command) => M::Codec::refusal::<M::Command>(entry.data),
        Some(Kind::KeyedCommand) => match Keyed::decode(entry.data) {
            Ok(keyed) => M::Codec::refusal::<M::Command>(&keyed.operation),
            Err(e) => Some(e.to_string()),
        },
        Some(Kind::Register) => of(Register::decode(entry.data).map(drop)),
        Some(Kind::KeepAlive) => of(decode::<Vec<KeepAlive>>(entry.data).map(drop)),
        Some(Kind::Unregister) => of(decode::<Vec<Unregister>>(entry.data).map(drop)),
        Some(Kind::Configuration) => of(decode::<Configuration>(entry.data).map(drop)),
        Some(Kind::Initialize | Kind::Tick) => None,
    }
}

/// Whether the bytes are a query of this machine's.
#[must_use]
pub fn is_query<M: StateMachine>(query: &[u8]) -> bool {
    M::Codec::decode::<M::Query>(query).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Before {
        Put { key: String },
        Delete(u64),
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum After {
        Put { key: String },
        Delete(u64),
        Touch,
    }

    /// A field that is new, which only JSON allows.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Grown {
        Touch,
        Put {
            key: String,
            #[serde(default)]
            ttl: u64,
        },
    }

    fn put() -> Before {
        Before::Put { key: "a".into() }
    }

    fn grows<C: Codec>() {
        assert_eq!(C::decode(&C::encode(&put())), Some(After::Put { key: "a".into() }));
        assert_eq!(C::decode(&C::encode(&Before::Delete(7))), Some(After::Delete(7)));
        assert_eq!(C::decode::<Before>(&C::encode(&After::Touch)), None, "of a version that is not known here");
        assert_eq!(C::decode::<Before>(&[C::encode(&put()), b" x".to_vec()].concat()), None, "something behind it");
    }

    #[test]
    fn new_variants_behind_the_others_leave_the_old_ones_as_they_were() {
        grows::<Bincode>();
        grows::<Json>();
    }

    #[test]
    fn fields_and_the_order_of_variants_are_jsons_own_freedom() {
        assert_eq!(Json::decode(&Json::encode(&put())), Some(Grown::Put { key: "a".into(), ttl: 0 }));
        assert_eq!(Bincode::decode::<Grown>(&Bincode::encode(&put())), None);
    }
}
