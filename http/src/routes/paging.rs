//! Pages of what is not keys: sessions, locks.

use crate::backend::{Consistency, Read};
use crate::cursor;
use crate::params::Params;
use crate::problem::Problem;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;

pub(crate) const PARAMS: &[&str] = &["limit", "cursor", "consistency", "index", "timeout"];

/// Items in a page when the caller names no limit,
pub(super) const PAGE: u64 = 100;
/// and at most.
pub(super) const LARGEST_PAGE: u64 = 1000;

/// Which page is asked for.
pub(super) struct Page {
    pub(super) limit: u64,
    /// Behind what it starts.
    pub(super) after: Option<Vec<u8>>,
    pub(super) read: Read,
}

/// The caller's `limit`, or the usual one.
pub(super) fn limit(params: &Params) -> Result<u64, Problem> {
    match params.number("limit")? {
        None => Ok(PAGE),
        Some(limit @ 1..=LARGEST_PAGE) => Ok(limit),
        Some(_) => Err(Problem::bad_request("limit", format!("give 1 to {LARGEST_PAGE}"))),
    }
}

impl Page {
    pub(super) fn parse(params: &Params, headers: &HeaderMap) -> Result<Self, Problem> {
        let after = params.bytes("cursor").map(|cursor| cursor::decode(cursor, b"")).transpose()?;
        Ok(Self { limit: limit(params)?, after, read: params.read(headers)? })
    }

    /// Adds where the next page is, if there is one.
    pub(super) fn link(
        &self,
        response: &mut Response,
        path: &str,
        params: &Params,
        (next, index): (Option<&str>, u64),
    ) -> Result<(), Problem> {
        let Some(next) = next else { return Ok(()) };
        let again = read_again(params, self.read, index)?;
        let link = format!("<{path}?limit={}{again}&cursor={next}>; rel=\"next\"", self.limit);
        if let Ok(link) = HeaderValue::try_from(link) {
            response.headers_mut().insert(header::LINK, link);
        }
        Ok(())
    }
}

/// The parameters of the next page that say how to read it: as this one was; sequentially, from no earlier state.
pub(super) fn read_again(params: &Params, read: Read, index: u64) -> Result<String, Problem> {
    let mut text = match read.consistency {
        Consistency::Linearizable => String::new(),
        Consistency::Lease => "&consistency=lease".into(),
        Consistency::Sequential => format!("&consistency=sequential&index={index}"),
    };
    if let Some(timeout) = params.text("timeout")? {
        text.push_str(&format!("&timeout={timeout}"));
    }
    Ok(text)
}
