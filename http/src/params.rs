//! Query parameters: each one known, each at most once, of any bytes.

use crate::backend::{Consistency, Read};
use crate::duration::parse_duration;
use crate::problem::Problem;
use axum::http::{HeaderMap, StatusCode};
use percent_encoding::percent_decode;
use std::time::Duration;

/// How long a request waits when it does not say.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it may wait.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Parameters that the API has set aside for what is not built yet: never silently ignored.
const LATER: &[&str] = &[
    "ttl",
    "session",
    "ephemeral",
    "lock",
    "token",
    "wait",
    "after",
    "separator",
    "values",
    "max_bytes",
    "all",
    "mode",
    "queue",
];
/// Headers likewise.
const LATER_HEADERS: &[&str] = &["idempotency-key", "copycat-session", "copycat-sequence"];

#[derive(Debug)]
pub(crate) struct Params(Vec<(String, Vec<u8>)>);

impl Params {
    /// The parameters of a query string; only these names are allowed.
    pub(crate) fn parse(query: Option<&str>, headers: &HeaderMap, allowed: &[&str]) -> Result<Self, Problem> {
        let mut found: Vec<(String, Vec<u8>)> = Vec::new();
        for pair in query.unwrap_or("").split('&').filter(|p| !p.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = String::from_utf8_lossy(&decode(name)).into_owned();
            if LATER.contains(&name.as_str()) && !allowed.contains(&name.as_str()) {
                return Err(Problem::bad_request(&name, "this version does not support it here"));
            }
            if !allowed.contains(&name.as_str()) {
                return Err(Problem::bad_request(
                    &name,
                    format!("no such parameter here; there are {}", allowed.join(", ")),
                ));
            }
            if found.iter().any(|(known, _)| *known == name) {
                return Err(Problem::bad_request(&name, "given twice"));
            }
            found.push((name, decode(value)));
        }
        if let Some(name) = LATER_HEADERS.iter().find(|name| headers.contains_key(**name)) {
            return Err(Problem::bad_request(name, "this version does not support this header"));
        }
        Ok(Self(found))
    }

    pub(crate) fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_slice())
    }

    pub(crate) fn text(&self, name: &str) -> Result<Option<&str>, Problem> {
        self.bytes(name)
            .map(|bytes| std::str::from_utf8(bytes).map_err(|_| Problem::bad_request(name, "not UTF-8")))
            .transpose()
    }

    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, Problem> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        text.parse().map(Some).map_err(|_| Problem::bad_request(name, format!("{text:?} is no whole number")))
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

    /// How to read: `?consistency=`, `?index=` or the header `Copycat-Index`, `?timeout=`.
    pub(crate) fn read(&self, headers: &HeaderMap) -> Result<Read, Problem> {
        let consistency = match self.text("consistency")? {
            None | Some("linearizable") => Consistency::Linearizable,
            Some("lease") => Consistency::Lease,
            Some("sequential") => Consistency::Sequential,
            Some(other) => {
                let detail = format!("consistency: {other:?} is none of linearizable, lease, sequential");
                return Err(
                    Problem::new(StatusCode::BAD_REQUEST, "bad_consistency", detail).with("field", "consistency")
                );
            }
        };
        let header = match headers.get("copycat-index") {
            None => None,
            Some(value) => {
                let number = value.to_str().ok().and_then(|text| text.trim().parse::<u64>().ok());
                Some(number.ok_or_else(|| Problem::bad_request("Copycat-Index", "no whole number"))?)
            }
        };
        let index = match (self.number("index")?, header) {
            (Some(a), Some(b)) if a != b => {
                return Err(Problem::bad_request("index", "the parameter and the header Copycat-Index differ"));
            }
            (a, b) => a.or(b).unwrap_or(0),
        };
        Ok(Read { consistency, index, timeout: self.timeout()? })
    }
}

fn bad_duration(field: &str, detail: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "bad_duration", format!("{field}: {detail}")).with("field", field)
}

/// Percent-decodes; a plus sign is a space, as forms have it.
fn decode(text: &str) -> Vec<u8> {
    let spaced: Vec<u8> = text.bytes().map(|b| if b == b'+' { b' ' } else { b }).collect();
    percent_decode(&spaced).collect()
}
