//! How a state machine writes itself into a snapshot and reads itself back.

use super::commit::Held;
use crate::engine::types::Index;
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
    /// The bytes are not what the machine expects.
    #[error("malformed snapshot: {0}")]
    Malformed(String),
    /// A referred entry is not in the log.
    #[error("the snapshot refers to entry {0}, which is not in the log")]
    Missing(Index),
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
    /// If the value's `Serialize` fails.
    pub fn write<T: Serialize>(&mut self, value: &T) {
        bincode::serde::encode_into_std_write(value, &mut self.bytes, bincode::config::standard())
            .expect("writing into memory");
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

/// Hands a machine's state back in the order in which it was written.
pub struct SnapshotReader<'a> {
    bytes: &'a [u8],
    resolve: &'a Resolve<'a>,
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
        let (value, read) = bincode::serde::decode_from_slice(self.bytes, bincode::config::standard())
            .map_err(|e| SnapshotError::Malformed(e.to_string()))?;
        self.bytes = &self.bytes[read..];
        Ok(value)
    }

    /// The next reference: the right to its entry, and the operation that it carries.
    ///
    /// # Errors
    /// If the entry is not in the log, or its operation is not of this type.
    pub fn read_reference<C: DeserializeOwned>(&mut self) -> Result<(Held, C), SnapshotError> {
        let index: Index = self.read()?;
        let bytes = (self.resolve)(index).ok_or(SnapshotError::Missing(index))?;
        let (operation, _) = bincode::serde::decode_from_slice(&bytes, bincode::config::standard())
            .map_err(|e| SnapshotError::Malformed(e.to_string()))?;
        Ok((Held { index }, operation))
    }
}
