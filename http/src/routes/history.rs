//! `GET /v1/server/history`: what this server did in the last minutes.

use super::Shared;
use super::compress;
use crate::history::KEPT;
use crate::json;
use crate::params::Params;
use crate::problem::Problem;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;

pub(crate) const PARAMS: &[&str] = &["after", "limit"];

pub(super) async fn history(State(app): State<Shared>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    let params = Params::parse(uri.query(), PARAMS)?;
    let limit = match params.number("limit")?.map(usize::try_from) {
        None => KEPT,
        Some(Ok(limit @ 1..=KEPT)) => limit,
        Some(_) => return Err(Problem::bad_request("limit", format!("give 1 to {KEPT}"))),
    };
    let (points, more) = app.history.behind(params.number("after")?.unwrap_or(0), limit);
    let body = json::line(&json::HistoryPage { points, more });
    Ok(compress::response(StatusCode::OK, "application/json", body, &headers))
}
