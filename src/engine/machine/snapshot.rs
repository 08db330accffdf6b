//! How a state machine writes itself into a snapshot and reads itself back.

use super::commit::Held;
use super::{Codec, StateMachine};
use crate::engine::entry::{DecodeError, Kind, config};
use crate::engine::limited;
use crate::engine::sessions::Keyed;
use crate::engine::types::Index;
use copycat_storage::EntryRef;
use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;

/// A frozen copy of a state machine, which can be written away from the thread that applies entries.
pub trait Frozen: Send {
    /// Writes the state.
    fn write(&self, writer: &mut SnapshotWriter);
}

/// Why a snapshot could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SnapshotError {
    /// The state machine has no `install`.
    #[error("this state machine reads no snapshots")]
    NotSupported,
    /// The snapshot is of another version of this program.
    #[error("a snapshot of version {0}, which this program does not read")]
    Version(u8),
    /// The bytes are not what the machine expects.
    #[error("malformed snapshot: {0}")]
    Malformed(String),
    /// A referred entry is not in the log.
    #[error("the snapshot refers to entry {0}, which is not in the log")]
    Missing(Index),
}

impl From<DecodeError> for SnapshotError {
    fn from(error: DecodeError) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// Collects a machine's state. What is held by a live commit is written as a reference to its log entry.
#[derive(Debug, Default)]
pub struct SnapshotWriter {
    bytes: Vec<u8>,
    references: Vec<Index>,
}

impl SnapshotWriter {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes a value.
    ///
    /// # Panics
    /// If the value's `Serialize` fails, or it is larger than 64 MiB: write what is large piece by piece.
    pub fn write<T: Serialize>(&mut self, value: &T) {
        bincode::serde::encode_into_std_write(value, &mut self.bytes, config())
            .expect("a value below 64 MiB, written into memory");
    }

    /// Writes a reference to a held entry instead of what it carries.
    pub fn write_reference(&mut self, held: &Held) {
        self.references.push(held.index);
        self.write(&held.index);
    }

    /// The bytes, and the entries they refer to.
    #[must_use]
    pub fn finish(self) -> (Vec<u8>, Vec<Index>) {
        (self.bytes, self.references)
    }
}

/// Finds the operation of the entry at an index.
pub type Resolve<'a> = dyn Fn(Index) -> Option<Vec<u8>> + 'a;

/// The operation of the state machine that an entry carries; `None` if it carries none.
#[must_use]
pub fn operation(entry: &EntryRef<'_>) -> Option<Vec<u8>> {
    match Kind::from_byte(entry.kind)? {
        Kind::Command => Some(entry.data.to_vec()),
        Kind::KeyedCommand => Keyed::decode(entry.data).ok().map(|keyed| keyed.operation),
        _ => None,
    }
}

/// Hands a machine's state back in the order in which it was written.
pub struct SnapshotReader<'a> {
    bytes: &'a [u8],
    resolve: &'a Resolve<'a>,
}

impl std::fmt::Debug for SnapshotReader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotReader").field("left", &self.bytes.len()).finish_non_exhaustive()
    }
}

impl<'a> SnapshotReader<'a> {
    /// A reader of these bytes that finds referred entries by `resolve`.
    #[must_use]
    pub fn new(bytes: &'a [u8], resolve: &'a Resolve<'a>) -> Self {
        Self { bytes, resolve }
    }

    /// The next value.
    ///
    /// # Errors
    /// If the bytes are not of this type.
    pub fn read<T: DeserializeOwned>(&mut self) -> Result<T, SnapshotError> {
        let (value, rest) = limited::take(self.bytes)?;
        self.bytes = rest;
        Ok(value)
    }

    /// The next reference: the right to its entry. What the entry carries is had by [`resolve`](Self::resolve), best in the
    /// order of the log and once for each entry.
    ///
    /// # Errors
    /// If the bytes are malformed.
    pub fn read_reference(&mut self) -> Result<Held, SnapshotError> {
        Ok(Held { index: self.read()? })
    }

    /// The command of a held entry, of the machine `M` whose snapshot this is.
    ///
    /// # Errors
    /// If the entry is not in the log, or its command is not of this machine.
    pub fn resolve<M: StateMachine>(&self, held: &Held) -> Result<M::Command, SnapshotError> {
        let bytes = (self.resolve)(held.index).ok_or(SnapshotError::Missing(held.index))?;
        let malformed = || SnapshotError::Malformed(format!("entry {} is no command of this machine", held.index));
        M::Codec::decode(&bytes).ok_or_else(malformed)
    }

    /// All was read.
    pub(super) fn end(&self) -> Result<(), SnapshotError> {
        let left = self.bytes.len();
        if left == 0 { Ok(()) } else { Err(SnapshotError::Malformed(format!("{left} bytes behind the end"))) }
    }
}
