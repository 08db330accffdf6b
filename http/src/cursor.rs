//! Where a list goes on. Opaque to callers: base64url of a version byte and the last key that was listed.

use crate::key::KEY_BYTES;
use crate::problem::Problem;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

const VERSION: u8 = 1;

pub(crate) fn encode(last: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(last.len() + 1);
    bytes.push(VERSION);
    bytes.extend_from_slice(last);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The key behind which the list with this prefix goes on.
pub(crate) fn decode(cursor: &[u8], prefix: &[u8]) -> Result<Vec<u8>, Problem> {
    let mut bytes = URL_SAFE_NO_PAD.decode(cursor).unwrap_or_default();
    if bytes.first() != Some(&VERSION) || !(2..=KEY_BYTES + 1).contains(&bytes.len()) {
        return Err(Problem::bad_request("cursor", "not a cursor of ours: take \"next\" as it is"));
    }
    bytes.remove(0);
    if !bytes.starts_with(prefix) {
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
        assert!(decode(encode(b"b").as_bytes(), b"a").is_err(), "another list's");
        let longest = vec![b'a'; KEY_BYTES];
        assert_eq!(decode(encode(&longest).as_bytes(), b"").expect("ours"), longest);
        for bad in ["", "a", "!", "AQ", "AmE", &encode(&vec![b'a'; KEY_BYTES + 1]), &(encode(b"a") + "=")] {
            assert!(decode(bad.as_bytes(), b"").is_err(), "{bad}");
        }
    }
}
