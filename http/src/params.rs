//! Query parameters: each one known, each at most once, of any bytes.

use crate::backend::{Consistency, Read};
use crate::code::Code;
use crate::duration::{parse_duration, parse_ttl};
use crate::key;
use crate::problem::Problem;
use axum::http::HeaderMap;
use std::time::Duration;

/// How long a request waits when it does not say.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it may wait.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a caller may ask to be held until something changes.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// The parameters of a request.
#[derive(Debug)]
pub(crate) struct Params(Vec<(&'static str, Vec<u8>)>);

impl Params {
    /// The parameters of a query string; only these names are allowed.
    pub(crate) fn parse(query: Option<&str>, allowed: &[&'static str]) -> Result<Self, Problem> {
        let mut found: Vec<(&'static str, Vec<u8>)> = Vec::new();
        for pair in query.unwrap_or("").split('&').filter(|p| !p.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = String::from_utf8(decode("query", name)?)
                .map_err(|_| Problem::bad_request("query", "a parameter's name is not UTF-8"))?;
            let Some(&known) = allowed.iter().find(|known| **known == name) else {
                return Err(unknown(&name, allowed));
            };
            if found.iter().any(|(other, _)| *other == known) {
                return Err(Problem::bad_request(known, "given twice"));
            }
            found.push((known, decode(known, value)?));
        }
        Ok(Self(found))
    }

    pub(crate) fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_slice())
    }

    pub(crate) fn text(&self, name: &str) -> Result<Option<&str>, Problem> {
        self.bytes(name)
            .map(|bytes| std::str::from_utf8(bytes).map_err(|_| Problem::bad_request(name, "not UTF-8")))
            .transpose()
    }

    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, Problem> {
        self.text(name)?.map(|text| number(name, text)).transpose()
    }

    /// `?flag`, `?flag=true`, `?flag=false`.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, Problem> {
        match self.bytes(name) {
            None | Some(b"false") => Ok(false),
            Some(b"" | b"true") => Ok(true),
            Some(_) => Err(Problem::bad_request(name, "give true or false")),
        }
    }

    pub(crate) fn timeout(&self) -> Result<Duration, Problem> {
        let Some(text) = self.text("timeout")? else { return Ok(DEFAULT_TIMEOUT) };
        match parse_duration(text) {
            Some(timeout) if (Duration::from_millis(1)..=LONGEST_TIMEOUT).contains(&timeout) => Ok(timeout),
            Some(_) => Err(bad_duration("timeout", "give 1ms to 60s")),
            None => Err(bad_duration("timeout", &format!("{text:?} is no duration: write 1500ms, 30s or 1m"))),
        }
    }

    pub(crate) fn wait(&self) -> Result<Option<Duration>, Problem> {
        let Some(text) = self.text("wait")? else { return Ok(None) };
        match parse_duration(text) {
            Some(wait) if wait <= LONGEST_WAIT => Ok(Some(wait)),
            Some(_) => Err(bad_duration("wait", "give at most 5m")),
            None => Err(bad_duration("wait", &format!("{text:?} is no duration: write 1500ms, 30s or 5m"))),
        }
    }

    /// A key's life in milliseconds; 0: none is given.
    pub(crate) fn ttl(&self) -> Result<u64, Problem> {
        let Some(text) = self.text("ttl")? else { return Ok(0) };
        parse_ttl(text).map_err(|detail| bad_duration("ttl", &detail))
    }

    /// How to read: `?consistency=`, `?index=` or the header `Copycat-Index`, `?timeout=`.
    pub(crate) fn read(&self, headers: &HeaderMap) -> Result<Read, Problem> {
        self.read_as(self.text("consistency")?, self.number("index")?, headers)
    }

    /// The same where the first two stand elsewhere.
    pub(crate) fn read_as(
        &self,
        consistency: Option<&str>,
        index: Option<u64>,
        headers: &HeaderMap,
    ) -> Result<Read, Problem> {
        let consistency = match consistency {
            None | Some("linearizable") => Consistency::Linearizable,
            Some("lease") => Consistency::Lease,
            Some("sequential") => Consistency::Sequential,
            Some(other) => {
                let detail = format!("consistency: {other:?} is none of linearizable, lease, sequential");
                let problem = Problem::new(Code::BadConsistency, detail);
                return Err(problem.with("field", "consistency"));
            }
        };
        let index = match (index, number_in(headers, "Copycat-Index")?) {
            (Some(a), Some(b)) if a != b => {
                return Err(Problem::bad_request("index", "it and the header Copycat-Index differ"));
            }
            (a, b) => a.or(b).unwrap_or(0),
        };
        Ok(Read { consistency, index, timeout: self.timeout()? })
    }
}

fn unknown(name: &str, allowed: &[&str]) -> Problem {
    if allowed.is_empty() {
        return Problem::bad_request(name, "no such parameter; there are none here");
    }
    Problem::bad_request(name, format!("no such parameter here; there are {}", allowed.join(", ")))
}

/// What a header says, which stands once.
pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (_, Some(_)) => Err(Problem::bad_request(name, "given twice")),
        (None, None) => Ok(None),
        (Some(value), None) => {
            let text = value.to_str().map_err(|_| Problem::bad_request(name, "not ASCII"))?;
            Ok(Some(text.trim()))
        }
    }
}

/// The number in a header.
pub(crate) fn number_in(headers: &HeaderMap, name: &str) -> Result<Option<u64>, Problem> {
    header(headers, name)?.map(|text| number(name, text)).transpose()
}

/// Digits alone: no sign, no space.
pub(crate) fn number(field: &str, text: &str) -> Result<u64, Problem> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let number = text.parse().ok().filter(|_| digits);
    number.ok_or_else(|| Problem::bad_request(field, format!("{text:?} is no whole number")))
}

pub(crate) fn bad_duration(field: &str, detail: &str) -> Problem {
    Problem::new(Code::BadDuration, format!("{field}: {detail}")).with("field", field)
}

/// Percent-decodes; a plus sign is a space, as forms have it.
fn decode(field: &str, text: &str) -> Result<Vec<u8>, Problem> {
    let spaced: Vec<u8> = text.bytes().map(|b| if b == b'+' { b' ' } else { b }).collect();
    key::decoded(&spaced)
        .ok_or_else(|| Problem::bad_request(field, "a % that begins no pair of hexadecimal digits: write %25"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(query: &str, allowed: &[&'static str]) -> Result<Params, Problem> {
        Params::parse(Some(query), allowed)
    }

    #[test]
    fn each_is_known_and_stands_once() {
        let found = params("key=a%2Fb+c%ff&&meta", &["key", "meta"]).expect("parameters");
        assert_eq!(found.bytes("key"), Some(&b"a/b c\xff"[..]));
        assert!(found.flag("meta").expect("a flag"));
        assert!(params("k%65y=a", &["key"]).is_ok(), "names may be encoded");
        for bad in ["key=a&key=b", "kee=a", "lock=a", "wait=1s", "key=%", "key=%zz", "%ff=a", "=a"] {
            assert!(params(bad, &["key"]).is_err(), "{bad}");
        }
    }

    #[test]
    fn values_are_checked() {
        let of = |query: &str| params(query, &["timeout", "index", "consistency"]).expect("known names");
        assert_eq!(of("").timeout().expect("the default"), Duration::from_secs(10));
        assert_eq!(of("timeout=1m").timeout().expect("the longest"), Duration::from_secs(60));
        for bad in ["timeout=61s", "timeout=0s", "timeout=5", "timeout=", "timeout=-1s"] {
            assert!(of(bad).timeout().is_err(), "{bad}");
        }
        for bad in ["index=", "index=-1", "index=%2B1", "index=1.5", "index=18446744073709551616"] {
            assert!(of(bad).number("index").is_err(), "{bad}");
        }
        let mut headers = HeaderMap::new();
        headers.insert("copycat-index", 7.into());
        assert_eq!(of("consistency=sequential").read(&headers).expect("a read").index, 7);
        assert_eq!(of("index=7").read(&headers).expect("the same twice").index, 7);
        assert!(of("index=8").read(&headers).is_err());
        assert!(of("consistency=strong").read(&headers).is_err());
    }
}
