//! Where a list goes on. Opaque to callers: base64url of a version byte and where the next page starts.

use crate::key::KEY_BYTES;
use crate::problem::Problem;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

const VERSION: u8 = 2;

pub(crate) fn encode(start: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(start.len() + 1);
    bytes.push(VERSION);
    bytes.extend_from_slice(start);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Where the list with this prefix goes on. That may lie behind all keys with the prefix, never before them.
pub(crate) fn decode(cursor: &[u8], prefix: &[u8]) -> Result<Vec<u8>, Problem> {
    let mut bytes = URL_SAFE_NO_PAD.decode(cursor).unwrap_or_default();
    if bytes.first() != Some(&VERSION) || !(2..=KEY_BYTES + 1).contains(&bytes.len()) {
        return Err(Problem::bad_request("cursor", "not a cursor of ours: take \"next\" as it is"));
    }
    bytes.remove(0);
    if bytes.as_slice() < prefix {
        return Err(Problem::bad_request("cursor", "it belongs to a list with another prefix"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_are_taken() {
        for key in [&b"a/b"[..], b"a", b"a\0\xff/"] {
            assert_eq!(decode(encode(key).as_bytes(), b"a").expect("ours"), key);
        }
        assert_eq!(decode(encode(b"b").as_bytes(), b"a").expect("ours"), b"b", "behind a folded prefix");
        assert!(decode(encode(b"a").as_bytes(), b"b").is_err(), "another list's");
        let longest = vec![b'a'; KEY_BYTES];
        assert_eq!(decode(encode(&longest).as_bytes(), b"").expect("ours"), longest);
        for bad in ["", "a", "!", "Ag", "AWE", &encode(&vec![b'a'; KEY_BYTES + 1]), &(encode(b"a") + "=")] {
            assert!(decode(bad.as_bytes(), b"").is_err(), "{bad}");
        }
    }
}
