//! ETags and conditions, as RFC 9110 (8.8.3, 13.1) has them, over the versions of keys.

use crate::backend::Condition;
use crate::problem::Problem;
use axum::http::{HeaderMap, HeaderValue, header};

/// The ETag of a version.
pub(crate) fn etag(version: u64) -> HeaderValue {
    HeaderValue::try_from(format!("\"{version}\"")).unwrap_or_else(|_| HeaderValue::from_static("\"0\""))
}

/// What one of the two headers says.
#[derive(Debug, PartialEq, Eq)]
enum Tags {
    Any,
    /// The versions that are named; tags that are none of ours name nothing.
    Versions {
        strong: Vec<u64>,
        weak: Vec<u64>,
    },
}

fn tags(headers: &HeaderMap, name: &header::HeaderName, field: &str) -> Result<Option<Tags>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(first) = values.next() else { return Ok(None) };
    let mut list = first.as_bytes().to_vec();
    for value in values {
        list.push(b',');
        list.extend_from_slice(value.as_bytes());
    }
    if list.trim_ascii() == b"*" {
        return Ok(Some(Tags::Any));
    }
    let (mut strong, mut weak) = (Vec::new(), Vec::new());
    let mut rest = list.as_slice();
    loop {
        rest = rest.trim_ascii_start();
        match rest {
            [] => return Ok(Some(Tags::Versions { strong, weak })),
            [b',', tail @ ..] => rest = tail,
            _ => {
                let (tag, is_weak, tail) = one_tag(rest).ok_or_else(|| {
                    Problem::bad_request(field, "not a list of ETags: write each in double quotes, as \"17\"")
                })?;
                if let Some(version) = version(tag) {
                    if is_weak { &mut weak } else { &mut strong }.push(version);
                }
                rest = tail;
            }
        }
    }
}

/// The opaque part of the first ETag, whether it is weak, and what follows it.
fn one_tag(list: &[u8]) -> Option<(&[u8], bool, &[u8])> {
    let (opened, is_weak) = match list.strip_prefix(b"W/") {
        Some(opened) => (opened, true),
        None => (list, false),
    };
    let opened = opened.strip_prefix(b"\"")?;
    let end = opened.iter().position(|&b| b == b'"')?;
    let tail = opened[end + 1..].trim_ascii_start();
    (tail.is_empty() || tail[0] == b',').then_some((&opened[..end], is_weak, tail))
}

/// A version as we write it, and in no other way: `"017"` is another tag than `"17"`.
fn version(tag: &[u8]) -> Option<u64> {
    let canonical = tag == b"0" || (tag.first()? != &b'0' && tag.iter().all(u8::is_ascii_digit));
    std::str::from_utf8(tag).ok().filter(|_| canonical)?.parse().ok()
}

/// What a write requires: `If-Match`, or `If-None-Match: *`.
pub(crate) fn of_write(headers: &HeaderMap) -> Result<Condition, Problem> {
    let must = tags(headers, &header::IF_MATCH, "If-Match")?;
    let must_not = tags(headers, &header::IF_NONE_MATCH, "If-None-Match")?;
    match (must, must_not) {
        (None, None) => Ok(Condition::Always),
        (Some(Tags::Any), None) => Ok(Condition::Exists),
        (Some(Tags::Versions { strong, .. }), None) => Ok(Condition::Versions(strong)),
        (None, Some(Tags::Any)) => Ok(Condition::Absent),
        (None, Some(_)) => Err(Problem::bad_request("If-None-Match", "a write takes only *")),
        (Some(_), Some(_)) => Err(Problem::bad_request("If-Match", "not together with If-None-Match")),
    }
}

/// The version that a read waits to see replaced: the one that its `If-None-Match` names. `None`: it waits for the key.
pub(crate) fn of_wait(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    if headers.contains_key(header::IF_MATCH) {
        return Err(Problem::bad_request("If-Match", "not together with wait"));
    }
    const FIELD: &str = "If-None-Match";
    match tags(headers, &header::IF_NONE_MATCH, FIELD)? {
        None => Ok(None),
        Some(Tags::Any) => Err(Problem::bad_request(FIELD, "with wait, name the version that you have, as \"17\"")),
        Some(Tags::Versions { strong, weak }) => match [strong, weak].concat().as_slice() {
            [] => Ok(None),
            [version] => Ok(Some(*version)),
            _ => Err(Problem::bad_request(FIELD, "with wait, name one version")),
        },
    }
}

/// What a read that found its key does.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Send,
    NotModified,
    Mismatch,
}

/// A read's `If-Match` and `If-None-Match`.
#[derive(Debug)]
pub(crate) struct ReadConditions {
    must: Option<Tags>,
    must_not: Option<Tags>,
}

impl ReadConditions {
    pub(crate) fn parse(headers: &HeaderMap) -> Result<Self, Problem> {
        Ok(Self {
            must: tags(headers, &header::IF_MATCH, "If-Match")?,
            must_not: tags(headers, &header::IF_NONE_MATCH, "If-None-Match")?,
        })
    }

    pub(crate) fn of(&self, version: u64) -> Found {
        if let Some(Tags::Versions { strong, .. }) = &self.must
            && !strong.contains(&version)
        {
            return Found::Mismatch;
        }
        match &self.must_not {
            Some(Tags::Any) => Found::NotModified,
            Some(Tags::Versions { strong, weak }) if strong.contains(&version) || weak.contains(&version) => {
                Found::NotModified
            }
            _ => Found::Send,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(header::HeaderName, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(name.clone(), HeaderValue::from_str(value).expect("a value"));
        }
        map
    }

    const MUST: header::HeaderName = header::IF_MATCH;
    const MUST_NOT: header::HeaderName = header::IF_NONE_MATCH;

    #[test]
    fn writes_follow_the_rfc() {
        let of = |pairs: &[(header::HeaderName, &str)]| of_write(&headers(pairs)).ok();
        assert_eq!(of(&[]), Some(Condition::Always));
        assert_eq!(of(&[(MUST, " * ")]), Some(Condition::Exists));
        assert_eq!(of(&[(MUST_NOT, "*")]), Some(Condition::Absent));
        assert_eq!(of(&[(MUST, "\"17\" ,, \"18\"")]), Some(Condition::Versions(vec![17, 18])));
        assert_eq!(of(&[(MUST, "\"17\""), (MUST, "\"18\"")]), Some(Condition::Versions(vec![17, 18])), "two lines");
        assert_eq!(of(&[(MUST, "W/\"17\"")]), Some(Condition::Versions(vec![])), "weak never matches");
        let not_ours = "\"abc\", \"a,b\", \"017\", \"+17\", \"\", \"99999999999999999999\"";
        assert_eq!(of(&[(MUST, not_ours)]), Some(Condition::Versions(vec![])));
        for bad in ["17", "\"17", "17\"", "\"17\" \"18\"", "\"17\", *", "w/\"17\""] {
            assert_eq!(of(&[(MUST, bad)]), None, "{bad}");
        }
        assert_eq!(of(&[(MUST_NOT, "\"17\"")]), None);
        assert_eq!(of(&[(MUST, "*"), (MUST_NOT, "*")]), None);
    }

    #[test]
    fn a_wait_names_one_version_or_none() {
        let of = |pairs: &[(header::HeaderName, &str)]| of_wait(&headers(pairs)).ok();
        assert_eq!(of(&[]), Some(None));
        assert_eq!(of(&[(MUST_NOT, "\"17\"")]), Some(Some(17)));
        assert_eq!(of(&[(MUST_NOT, "W/\"17\"")]), Some(Some(17)), "as a cache weakens it");
        assert_eq!(of(&[(MUST_NOT, "\"\"")]), Some(None), "curl's, when it has none");
        for bad in ["*", "\"17\", \"18\"", "17"] {
            assert_eq!(of(&[(MUST_NOT, bad)]), None, "{bad}");
        }
        assert_eq!(of(&[(MUST, "\"17\"")]), None);
    }

    #[test]
    fn reads_follow_the_rfc() {
        let of = |pairs: &[(header::HeaderName, &str)]| ReadConditions::parse(&headers(pairs)).expect("tags").of(17);
        assert_eq!(of(&[]), Found::Send);
        assert_eq!(of(&[(MUST_NOT, "\"17\"")]), Found::NotModified);
        assert_eq!(of(&[(MUST_NOT, "\"1\", W/\"17\"")]), Found::NotModified, "weak matches here");
        assert_eq!(of(&[(MUST_NOT, "*")]), Found::NotModified);
        assert_eq!(of(&[(MUST_NOT, "\"\"")]), Found::Send, "curl's, when it has none");
        assert_eq!(of(&[(MUST_NOT, "\"18\"")]), Found::Send);
        assert_eq!(of(&[(MUST, "\"17\"")]), Found::Send);
        assert_eq!(of(&[(MUST, "W/\"17\"")]), Found::Mismatch);
        assert_eq!(of(&[(MUST, "\"18\""), (MUST_NOT, "\"17\"")]), Found::Mismatch);
    }
}
