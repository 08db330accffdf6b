//! `GET /v1/log` and `GET /v1/log/entries`: this server's own log, without asking anybody.

use super::paging::limit;
use super::{Shared, TERM};
use crate::json;
use crate::params::Params;
use crate::problem::Problem;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;

pub(crate) const ENTRIES: &[&str] = &["from", "limit"];

/// Bytes in a page, which has one entry at least.
const PAGE_BYTES: u64 = 1024 * 1024;

pub(super) async fn log(State(app): State<Shared>, uri: Uri) -> Result<Response, Problem> {
    Params::parse(uri.query(), &[])?;
    let segments = app.backend.segments().await.map_err(Problem::of_query)?;
    let server = app.backend.server();
    let mut response = json::response(StatusCode::OK, &json::Log::new(&server.log, segments));
    response.headers_mut().insert(TERM, server.term.into());
    Ok(response)
}

pub(super) async fn entries(State(app): State<Shared>, uri: Uri) -> Result<Response, Problem> {
    let params = Params::parse(uri.query(), ENTRIES)?;
    let limit = limit(&params)?;
    let from = params.number("from")?.unwrap_or(0).max(1);
    let found = app.backend.entries(from, limit, PAGE_BYTES).await.map_err(Problem::of_query)?;
    // Asked afterwards: the log has at least what was found.
    let server = app.backend.server();
    let next = found.last().filter(|last| last.index < server.log.last_index).map(|last| last.index + 1);
    let page = json::Entries { entries: found.iter().map(json::Entry::from).collect(), next };
    let mut response = json::response(StatusCode::OK, &page);
    response.headers_mut().insert(TERM, server.term.into());
    Ok(response)
}
