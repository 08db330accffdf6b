//! Bytes as JSON has them: text, or base64 and a word beside it that says so.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use utoipa::ToSchema;

/// How bytes are written in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) enum Encoding {
    /// As they are.
    #[serde(rename = "utf-8")]
    Utf8,
    /// In base64, the standard alphabet with padding.
    #[serde(rename = "base64")]
    Base64,
}

/// Bytes as text if they are UTF-8, else in base64; and which of the two.
pub(super) fn text(bytes: &[u8]) -> (Cow<'_, str>, Encoding) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (text.into(), Encoding::Utf8),
        Err(_) => (STANDARD.encode(bytes).into(), Encoding::Base64),
    }
}

/// The same of a key: that it is text goes without saying.
pub(super) fn key(bytes: &[u8]) -> (Cow<'_, str>, Option<Encoding>) {
    let (text, encoding) = text(bytes);
    (text, (encoding == Encoding::Base64).then_some(encoding))
}

/// The bytes that were meant.
pub(super) fn bytes(text: String, encoding: Option<Encoding>) -> Result<Vec<u8>, &'static str> {
    match encoding {
        None | Some(Encoding::Utf8) => Ok(text.into_bytes()),
        Some(Encoding::Base64) => STANDARD.decode(text).map_err(|_| "not base64: the standard alphabet, with padding"),
    }
}
