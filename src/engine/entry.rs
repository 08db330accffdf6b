//! What an entry's kind says, and how structures become bytes in entries and on the wire.

use thiserror::Error;

/// What a log entry is. The numbers are part of the file format and of the wire format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// The first entry of a leader's term: it carries nothing but time, and commits what came before.
    Initialize = 1,
    /// The cluster's configuration, whole.
    Configuration = 2,
    /// An operation of the state machine.
    Command = 3,
    /// Time goes on: appended when a timer is due and the log is idle.
    Tick = 4,
    /// A session begins.
    Register = 5,
    /// Signs of life of sessions, and what their clients have received.
    KeepAlive = 6,
    /// Sessions end.
    Unregister = 7,
    /// An operation of the state machine with an idempotency key.
    KeyedCommand = 8,
}

impl Kind {
    /// The kind with this number; `None` for one that this version does not know.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Initialize),
            2 => Some(Self::Configuration),
            3 => Some(Self::Command),
            4 => Some(Self::Tick),
            5 => Some(Self::Register),
            6 => Some(Self::KeepAlive),
            7 => Some(Self::Unregister),
            8 => Some(Self::KeyedCommand),
            _ => None,
        }
    }
}

/// Bytes that are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("malformed bytes: {0}")]
pub struct DecodeError(String);

impl DecodeError {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

/// No structure that is decoded may claim more memory than this, whatever its bytes say.
const DECODE_LIMIT: usize = 64 * 1024 * 1024;

pub(crate) fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<DECODE_LIMIT>()
}

/// The bytes of a structure of the engine or of the wire.
///
/// # Panics
/// If the structure is larger than 64 MiB: entries and messages are bounded far below.
pub fn encode<T: bincode::Encode>(value: &T) -> Vec<u8> {
    bincode::encode_to_vec(value, config()).expect("a bounded structure encodes")
}

/// The structure in these bytes, which must hold it and nothing else.
///
/// # Errors
/// If the bytes are malformed, claim too much, or go on behind the structure.
pub fn decode<T: bincode::Decode<()>>(bytes: &[u8]) -> Result<T, DecodeError> {
    let (value, read) = bincode::decode_from_slice(bytes, config()).map_err(|e| DecodeError(e.to_string()))?;
    if read != bytes.len() {
        return Err(DecodeError(format!("{} bytes behind the end", bytes.len() - read)));
    }
    Ok(value)
}

/// Puts structures one behind the other: for what may be larger, as a whole, than a decoded structure may be.
#[derive(Debug, Default)]
pub(crate) struct Encoder(Vec<u8>);

impl Encoder {
    pub(crate) fn put<T: bincode::Encode>(&mut self, value: &T) {
        bincode::encode_into_std_write(value, &mut self.0, config()).expect("a bounded structure encodes into memory");
    }

    /// Their number, and each of them.
    pub(crate) fn put_all<T: bincode::Encode>(&mut self, values: impl ExactSizeIterator<Item = T>) {
        self.put(&(values.len() as u64));
        for value in values {
            self.put(&value);
        }
    }

    /// Bytes, however many.
    pub(crate) fn put_bytes(&mut self, bytes: &[u8]) {
        self.put(&(bytes.len() as u64));
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Takes structures in the order in which an [`Encoder`] put them.
#[derive(Debug)]
pub(crate) struct Decoder<'a>(&'a [u8]);

impl<'a> Decoder<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn take<T: bincode::Decode<()>>(&mut self) -> Result<T, DecodeError> {
        let (value, read) = bincode::decode_from_slice(self.0, config()).map_err(|e| DecodeError(e.to_string()))?;
        self.0 = &self.0[read..];
        Ok(value)
    }

    /// What `put_all` put. Memory grows with what is read, not with what the bytes claim.
    pub(crate) fn take_all<T, U, C>(&mut self, mut each: impl FnMut(T) -> U) -> Result<C, DecodeError>
    where
        T: bincode::Decode<()>,
        C: Default + Extend<U>,
    {
        let count: u64 = self.take()?;
        let mut all = C::default();
        for _ in 0..count {
            all.extend([each(self.take()?)]);
        }
        Ok(all)
    }

    pub(crate) fn take_bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let length: u64 = self.take()?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let (bytes, rest) = self.0.split_at_checked(length).ok_or_else(|| DecodeError::new("cut short"))?;
        self.0 = rest;
        Ok(bytes)
    }

    /// Whether all was taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All was taken.
    pub(crate) fn end(self) -> Result<(), DecodeError> {
        if self.0.is_empty() { Ok(()) } else { Err(DecodeError(format!("{} bytes behind the end", self.0.len()))) }
    }
}
