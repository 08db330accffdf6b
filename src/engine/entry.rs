//! What an entry's kind says, and how structures become bytes in entries and on the wire.

use bincode::de::{Decoder as _, DecoderImpl, read::Reader};
use bincode::error::DecodeError as Refused;
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

    pub(crate) fn of(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }

    /// Something follows where nothing should.
    pub(crate) fn behind(bytes: usize) -> Self {
        Self(format!("{bytes} bytes behind the end"))
    }
}

/// No structure that is decoded may claim more memory than this, whatever its bytes say.
const DECODE_LIMIT: usize = 64 * 1024 * 1024;
/// Nor more than so many times the bytes that are there: an item takes more memory than bytes, but none takes this much
/// more;
const DECODE_FACTOR: usize = 64;
/// and a little for what has next to no bytes.
const DECODE_LEAST: usize = 1024;

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
    match take(bytes)? {
        (value, []) => Ok(value),
        (_, rest) => Err(DecodeError::behind(rest.len())),
    }
}

/// The structure in front of these bytes, and the rest of them. What its lengths claim is held against the bytes that are
/// there. (None of these structures holds one of its own kind: there is no depth to bound.)
fn take<T: bincode::Decode<()>>(bytes: &[u8]) -> Result<(T, &[u8]), DecodeError> {
    let allowance = bytes.len().saturating_mul(DECODE_FACTOR).saturating_add(DECODE_LEAST).min(DECODE_LIMIT);
    let mut rest = Rest(bytes);
    let mut decoder = DecoderImpl::new(&mut rest, config(), ());
    // Bincode knows one limit for all that it reads, so what is above this one counts as used.
    decoder.claim_bytes_read(DECODE_LIMIT - allowance).map_err(DecodeError::of)?;
    let value = T::decode(&mut decoder).map_err(DecodeError::of)?;
    Ok((value, rest.0))
}

/// What has not been read yet.
struct Rest<'a>(&'a [u8]);

impl Reader for Rest<'_> {
    #[inline]
    fn read(&mut self, bytes: &mut [u8]) -> Result<(), Refused> {
        let missing = || Refused::UnexpectedEnd { additional: bytes.len() - self.0.len() };
        let (read, rest) = self.0.split_at_checked(bytes.len()).ok_or_else(missing)?;
        bytes.copy_from_slice(read);
        self.0 = rest;
        Ok(())
    }

    #[inline]
    fn peek_read(&mut self, length: usize) -> Option<&[u8]> {
        self.0.get(..length)
    }

    #[inline]
    fn consume(&mut self, length: usize) {
        self.0 = self.0.get(length..).unwrap_or_default();
    }
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
        let (value, rest) = take(self.0)?;
        self.0 = rest;
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
        if self.0.is_empty() { Ok(()) } else { Err(DecodeError::behind(self.0.len())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::sessions::{KeepAlive, Unregister};

    #[test]
    fn what_a_length_claims_is_held_against_the_bytes_that_are_there() {
        let number = |n: u64| encode(&n);
        for claimed in [100_000, 40_000_000, 1 << 40, 1 << 62, u64::MAX] {
            assert!(decode::<Vec<u8>>(&number(claimed)).is_err(), "{claimed} bytes");
            assert!(decode::<String>(&number(claimed)).is_err());
            let error = decode::<Vec<KeepAlive>>(&number(claimed)).expect_err("items");
            assert!(!error.to_string().contains("end"), "memory was taken for them: {error}");
            assert!(Decoder::new(&number(claimed)).take_bytes().is_err());
            assert!(Decoder::new(&number(claimed)).take_all::<u64, u64, Vec<u64>>(|one| one).is_err());
        }
    }

    #[test]
    fn items_that_take_many_times_their_bytes_are_read_all_the_same() {
        use crate::engine::sessions::EndReason;
        let ended = vec![Unregister { session: 1, reason: EndReason::Closed, judged_by: 0 }; 10_000];
        assert_eq!(decode(&encode(&ended)), Ok(ended));
        let alive = vec![KeepAlive::default(); 10_000];
        assert_eq!(decode(&encode(&alive)), Ok(alive));
        let empty = vec![(0_u64, String::new()); 10_000];
        assert_eq!(decode(&encode(&empty)), Ok(empty));
        let large = vec![7_u8; 40 * 1024 * 1024];
        assert_eq!(decode(&encode(&large)), Ok(large));
    }
}
