//! `GET /v1/kv?prefix=…`: keys in order, page by page.

use super::{App, stamped};
use crate::backend::{Consistency, Listed, Query, QueryOutput, Read};
use crate::cursor;
use crate::json;
use crate::params::Params;
use crate::problem::Problem;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};

/// Keys in a page when the caller names no limit,
const PAGE: u64 = 100;
/// and at most.
const LARGEST_PAGE: u64 = 1000;
/// Bytes of keys and values in a page; a page has one key at least. Both the answer in memory and what travels between
/// servers are of this size.
const PAGE_BYTES: u64 = 1024 * 1024;

pub(super) async fn list(app: &App, params: &Params, headers: &HeaderMap) -> Result<Response, Problem> {
    let read = params.read(headers)?;
    let limit = match params.number("limit")? {
        None => PAGE,
        Some(limit @ 1..=LARGEST_PAGE) => limit,
        Some(_) => return Err(Problem::bad_request("limit", format!("give 1 to {LARGEST_PAGE}"))),
    };
    let prefix = params.bytes("prefix").unwrap_or_default();
    let start = params.bytes("cursor").map(|c| cursor::decode(c, prefix)).transpose()?;
    let query =
        Query::List { prefix: prefix.to_vec(), start, limit, max_bytes: PAGE_BYTES, separator: None, values: true };
    let answer = app.backend.query(query, read).await.map_err(Problem::of_query)?;
    let QueryOutput::Page { items, next } = &answer.output else { return Err(Problem::internal()) };
    let next = next.as_ref().map(|next| cursor::encode(next));
    let keys = items.iter().filter_map(|item| match item {
        Listed::Key(item) => Some(json::Key::from(item)),
        Listed::Prefix(_) => None,
    });
    let page = json::Page { items: keys.collect(), next: next.as_deref(), index: answer.index };
    let mut response = json::response(StatusCode::OK, &page);
    if let Some(next) = next
        && let Ok(link) = HeaderValue::try_from(link(prefix, limit, &next, read, answer.index))
    {
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(stamped(response, &answer))
}

/// The next page, read as this one was; a sequential one from no earlier state than this one.
fn link(prefix: &[u8], limit: u64, next: &str, read: Read, index: u64) -> String {
    let prefix = percent_encode(prefix, NON_ALPHANUMERIC);
    let freshness = match read.consistency {
        Consistency::Linearizable => String::new(),
        Consistency::Lease => "&consistency=lease".into(),
        Consistency::Sequential => format!("&consistency=sequential&index={index}"),
    };
    format!("</v1/kv?prefix={prefix}&limit={limit}{freshness}&cursor={next}>; rel=\"next\"")
}
