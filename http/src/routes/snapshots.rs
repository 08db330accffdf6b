//! `/v1/snapshots` and `/v1/log/compactions`: this server's own log and snapshots.

use super::{INDEX, InFlight, Shared, TERM};
use crate::backend::Failure;
use crate::code::Code;
use crate::json;
use crate::params::Params;
use crate::problem::Problem;
use crate::value::read_json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use futures_lite::StreamExt;
use std::io;

pub(crate) const PARAMS: &[&str] = &["timeout"];
pub(crate) const KIND: &str = "application/octet-stream";

pub(super) async fn compact(State(app): State<Shared>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let timeout = Params::parse(parts.uri.query(), PARAMS)?.timeout()?;
    let body = read_json(&app.config, &parts.headers, body).await?;
    let json::NewCompaction { kind } = json::parse(&body, app.config.json_depth)?;
    let done = app.backend.compact(kind == json::CompactionKind::Major, timeout).await.map_err(problem)?;
    Ok(json::response(StatusCode::OK, &json::Compaction::new(kind, done)))
}

pub(super) async fn take(State(app): State<Shared>, request: Request) -> Result<Response, Problem> {
    let timeout = Params::parse(request.uri().query(), PARAMS)?.timeout()?;
    let taken = app.backend.take_snapshot(timeout).await.map_err(problem)?;
    let status = if taken.new { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = json::response(status, &json::Snapshot::from(taken));
    response.headers_mut().insert(INDEX, taken.index.into());
    response.headers_mut().insert(TERM, taken.term.into());
    Ok(response)
}

/// The backup, piece by piece, as the client takes it. The request's place among those under way is given back with the
/// body. A backup that breaks off ends the connection: then it lacks its end.
pub(super) async fn latest(State(app): State<Shared>, request: Request) -> Result<Response, Problem> {
    let timeout = Params::parse(request.uri().query(), PARAMS)?.timeout()?;
    let place = request.extensions().get::<InFlight>().cloned();
    let missing = || Problem::new(Code::NoSuchEndpoint, "no snapshot was taken here yet: POST /v1/snapshots takes one");
    let backup = app.backend.backup(timeout).await.map_err(Problem::of_query)?.ok_or_else(missing)?;
    let pieces = backup.pieces.map(move |piece| {
        let _held = &place;
        piece.map(Bytes::from).map_err(|failure| io::Error::other(format!("the backup broke off: {failure:?}")))
    });
    let mut response = Response::new(Body::from_stream(pieces));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(KIND));
    let name = format!("attachment; filename=\"copycat-{}.backup\"", backup.index);
    if let Ok(name) = HeaderValue::try_from(name) {
        headers.insert(header::CONTENT_DISPOSITION, name);
    }
    headers.insert(INDEX, backup.index.into());
    headers.insert(TERM, backup.term.into());
    Ok(response)
}

/// Done twice, it does nothing twice.
fn problem(failure: Failure) -> Problem {
    match failure {
        Failure::Overloaded => Problem::overloaded("a snapshot or a compaction is under way"),
        Failure::StorageFull => Problem::new(Code::StorageFull, "this server's disk is full: make room").retryable(),
        other => Problem::of_command(other, true),
    }
}
