//! `/v1/sessions/{session}/watches`: what a session is told of.

use super::submit::{internal, submit};
use super::{Shared, number_in_path, sessions, stamped};
use crate::backend::{Command, CommandOutput};
use crate::caller::Claims;
use crate::json::decode;
use crate::json::{self, Object};
use crate::params::Params;
use crate::problem::Problem;
use crate::value::read_json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;

pub(crate) const PARAMS: &[&str] = &["timeout"];

pub(super) async fn watch(State(app): State<Shared>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let params = Params::parse(parts.uri.query(), PARAMS)?;
    let session = sessions::in_path(&parts.uri)?;
    let caller = Claims::parse(&params, &parts.headers)?.in_path(session)?.caller()?;
    let body = read_json(&app.config, &parts.headers, body).await?;
    let Object(shape) = json::parse::<Object<json::Watch>>(&body, app.config.json_depth)?;
    let answer = submit(&app, decode::watch(shape)?, caller, params.timeout()?).await?;
    let CommandOutput::Watching { watch, created } = answer.output else { return Err(internal()) };
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    let body = json::Watching { watch, index: answer.index };
    Ok(stamped(json::response(status, &body), &answer))
}

pub(super) async fn unwatch(State(app): State<Shared>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    let params = Params::parse(uri.query(), PARAMS)?;
    let (session, watch) = (sessions::in_path(&uri)?, number_in_path(&uri, 5, "watch")?);
    let caller = Claims::parse(&params, &headers)?.in_path(session)?.caller()?;
    let answer = submit(&app, Command::Unwatch { watch }, caller, params.timeout()?).await?;
    let CommandOutput::Unwatched { existed } = answer.output else { return Err(internal()) };
    let body = json::Unwatched { deleted: existed, index: answer.index };
    Ok(stamped(json::response(StatusCode::OK, &body), &answer))
}
