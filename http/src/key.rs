//! Keys from URLs: raw bytes, decoded once, never normalised.

use crate::problem::Problem;
use percent_encoding::percent_decode;

/// The longest key, bytes.
pub(crate) const KEY_BYTES: usize = 4096;

/// What stands before a key in a path.
pub(crate) const PATH: &str = "/v1/kv/";

/// A key of allowed length.
pub(crate) fn checked(key: Vec<u8>) -> Result<Vec<u8>, Problem> {
    match key.len() {
        0 => Err(Problem::bad_request("key", "a key has at least one byte")),
        1..=KEY_BYTES => Ok(key),
        n => Err(Problem::bad_request("key", format!("{n} bytes; a key has at most {KEY_BYTES}"))),
    }
}

/// Percent-decodes; `None` if a `%` begins no pair of hexadecimal digits: whoever wrote that forgot to encode.
pub(crate) fn decoded(text: &[u8]) -> Option<Vec<u8>> {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|&b| b == b'%') {
        match rest[at + 1..] {
            [a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => rest = &rest[at + 3..],
            _ => return None,
        }
    }
    Some(percent_decode(text).collect())
}

/// The key in a request's path, as it came over the wire.
pub(crate) fn from_path(path: &str) -> Result<Vec<u8>, Problem> {
    let raw = path.strip_prefix(PATH).unwrap_or_default();
    let key = decoded(raw.as_bytes())
        .ok_or_else(|| Problem::bad_request("key", "a % that begins no pair of hexadecimal digits: write %25"))?;
    checked(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_decoded_once_and_kept_as_they_are() {
        let key = |path: &str| from_path(path).expect("a key");
        assert_eq!(key("/v1/kv/a"), b"a");
        assert_eq!(key("/v1/kv/a/b"), b"a/b");
        assert_eq!(key("/v1/kv/a%2Fb%2fc"), b"a/b/c");
        assert_eq!(key("/v1/kv/a//b/"), b"a//b/");
        assert_eq!(key("/v1/kv//"), b"/");
        assert_eq!(key("/v1/kv/%252F+"), b"%2F+");
        assert_eq!(key("/v1/kv/%00%ff"), b"\0\xff");
        assert_eq!(key("/v1/kv/./.."), b"./..");
        assert_eq!(key("/v1/kv/ä"), "ä".as_bytes());
    }

    #[test]
    fn bad_keys_are_refused() {
        assert!(from_path("/v1/kv/").is_err());
        for bad in ["50%", "%f", "%zz", "%%20", "a%2"] {
            assert!(from_path(&format!("/v1/kv/{bad}")).is_err(), "{bad}");
        }
        assert!(from_path(&format!("/v1/kv/{}", "x".repeat(4097))).is_err());
        assert_eq!(from_path(&format!("/v1/kv/{}", "%FF".repeat(4096))).expect("a key").len(), 4096);
    }
}
