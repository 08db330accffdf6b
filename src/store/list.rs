//! Lists of keys, page by page.

use super::types::{Answer, Listed, Listing};
use super::{Record, Store};
use imbl::shared_ptr::DefaultSharedPtr;
use std::ops::Bound;
use std::sync::Arc;

/// The first key behind all that begin with these bytes; `None`: there can be none.
fn behind(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&b| b != u8::MAX)?;
    let mut next = prefix[..=last].to_vec();
    next[last] += 1;
    Some(next)
}

impl Store {
    /// All keys from here on. The type is named, since a list goes on from another place.
    pub(super) fn from(&self, start: &[u8]) -> imbl::ordmap::RangedIter<'_, Arc<[u8]>, Arc<Record>, DefaultSharedPtr> {
        self.keys.range::<_, [u8]>((Bound::Included(start), Bound::Unbounded))
    }

    pub(super) fn list(&self, listing: &Listing) -> Answer {
        let Listing { prefix, limit, max_bytes, separator, values, .. } = listing;
        let (mut items, mut bytes) = (Vec::new(), 0);
        let start = listing.start.as_ref().filter(|start| *start > prefix).unwrap_or(prefix);
        let mut rest = self.from(start);
        while let Some((key, record)) = rest.next()
            && key.starts_with(prefix)
        {
            let folded = separator.as_ref().filter(|s| !s.is_empty()).and_then(|separator| {
                let found = key[prefix.len()..].windows(separator.len()).position(|w| w == separator)?;
                Some(&key[..prefix.len() + found + separator.len()])
            });
            bytes += match folded {
                Some(folded) => folded.len(),
                None => key.len() + if *values { record.value.len() } else { 0 },
            } as u64;
            if items.len() as u64 >= *limit || (!items.is_empty() && bytes > *max_bytes) {
                return Answer::Page { items, next: Some(key.to_vec()) };
            }
            match folded {
                Some(folded) => {
                    items.push(Listed::Prefix(folded.to_vec()));
                    let Some(next) = behind(folded) else { break };
                    rest = self.from(&next);
                }
                None => items.push(Listed::Key(record.item(key, *values))),
            }
        }
        Answer::Page { items, next: None }
    }
}

#[cfg(test)]
mod tests {
    use super::behind;

    #[test]
    fn what_is_behind_a_prefix() {
        assert_eq!(behind(b"a/"), Some(b"a0".to_vec()));
        assert_eq!(behind(b"a\xff\xff"), Some(b"b".to_vec()));
        assert_eq!(behind(b"\xff"), None);
        assert_eq!(behind(b""), None);
    }
}
