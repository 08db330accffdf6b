//! `/v1/cluster` and `/v1/server`: what this server knows, without asking anybody.

use super::{INDEX, Shared, TERM};
use crate::json;
use crate::params::Params;
use crate::problem::Problem;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;

pub(super) async fn cluster(State(app): State<Shared>, uri: Uri) -> Result<Response, Problem> {
    Params::parse(uri.query(), &[])?;
    let view = app.backend.cluster();
    let mut response = json::response(StatusCode::OK, &view);
    response.headers_mut().insert(TERM, view.term.into());
    Ok(response)
}

pub(super) async fn server(State(app): State<Shared>, uri: Uri) -> Result<Response, Problem> {
    Params::parse(uri.query(), &[])?;
    let view = app.backend.server();
    let mut response = json::response(StatusCode::OK, &view);
    response.headers_mut().insert(INDEX, view.applied_index.into());
    response.headers_mut().insert(TERM, view.term.into());
    Ok(response)
}
