//! Names of locks from URLs: raw bytes, decoded once, never normalised.

use crate::key::decoded;
use crate::problem::Problem;

/// The longest name, bytes.
pub(crate) const NAME_BYTES: usize = 255;

/// What stands before a name in a path.
pub(crate) const PATH: &str = "/v1/locks/";

/// What is wrong with a name of this length.
pub(crate) fn fault(length: usize) -> Option<String> {
    match length {
        0 => Some("a lock's name has at least one byte".into()),
        1..=NAME_BYTES => None,
        n => Some(format!("{n} bytes; a lock's name has at most {NAME_BYTES}")),
    }
}

/// A name of allowed length.
pub(crate) fn checked(field: &str, name: Vec<u8>) -> Result<Vec<u8>, Problem> {
    match fault(name.len()) {
        Some(detail) => Err(Problem::bad_request(field, detail)),
        None => Ok(name),
    }
}

/// The name in a request's path, as it came over the wire: one segment.
pub(crate) fn from_path(path: &str) -> Result<Vec<u8>, Problem> {
    const FIELD: &str = "name";
    let raw = path.strip_prefix(PATH).and_then(|rest| rest.split('/').next()).unwrap_or_default();
    let name = decoded(raw.as_bytes())
        .ok_or_else(|| Problem::bad_request(FIELD, "a % that begins no pair of hexadecimal digits: write %25"))?;
    checked(FIELD, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_segment_decoded_once() {
        let name = |path: &str| from_path(path).expect("a name");
        assert_eq!(name("/v1/locks/a"), b"a");
        assert_eq!(name("/v1/locks/a/verify"), b"a");
        assert_eq!(name("/v1/locks/a%2Fb%252F+%ff/holders/7"), b"a/b%2F+\xff");
        assert_eq!(name("/v1/locks/.."), b"..");
        assert_eq!(name(&format!("/v1/locks/{}", "%ff".repeat(255))).len(), 255);
        for bad in ["", "/verify", "%", "%zz", "a%2"] {
            assert!(from_path(&format!("/v1/locks/{bad}")).is_err(), "{bad}");
        }
        assert!(from_path(&format!("/v1/locks/{}", "x".repeat(256))).is_err());
    }
}
