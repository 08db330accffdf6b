//! Keys from paths: raw bytes, decoded once, never normalised.

use crate::problem::Problem;
use percent_encoding::percent_decode_str;

/// The longest key, bytes.
const KEY_BYTES: usize = 4096;

/// A key of allowed length.
pub(crate) fn checked(key: Vec<u8>) -> Result<Vec<u8>, Problem> {
    match key.len() {
        0 => Err(Problem::bad_request("key", "a key has at least one byte")),
        1..=KEY_BYTES => Ok(key),
        n => Err(Problem::bad_request("key", format!("{n} bytes; a key has at most {KEY_BYTES}"))),
    }
}

/// The key behind `/v1/kv/` in a request's path.
pub(crate) fn from_path(path: &str) -> Result<Vec<u8>, Problem> {
    let raw = path.strip_prefix("/v1/kv/").unwrap_or_default();
    checked(percent_decode_str(raw).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_decoded_once_and_kept_as_they_are() {
        let key = |path: &str| from_path(path).expect("a key");
        assert_eq!(key("/v1/kv/a"), b"a");
        assert_eq!(key("/v1/kv/a/b"), b"a/b");
        assert_eq!(key("/v1/kv/a%2Fb"), b"a/b");
        assert_eq!(key("/v1/kv/a//b/"), b"a//b/");
        assert_eq!(key("/v1/kv//"), b"/");
        assert_eq!(key("/v1/kv/%252F+"), b"%2F+");
        assert_eq!(key("/v1/kv/%00%ff"), b"\0\xff");
        assert_eq!(key("/v1/kv/.."), b"..");
        assert!(from_path("/v1/kv/").is_err());
        assert!(from_path(&format!("/v1/kv/{}", "x".repeat(4097))).is_err());
        assert_eq!(key(&format!("/v1/kv/{}", "x".repeat(4096))).len(), 4096);
    }
}
