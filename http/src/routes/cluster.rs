//! `/v1/cluster` and `/v1/server`: what this server knows, without asking anybody; and changes of the cluster.

use super::{INDEX, Shared, TERM, number_in_path, stamped};
use crate::backend::MemberChange;
use crate::json;
use crate::params::Params;
use crate::problem::Problem;
use crate::value::read_json;
use axum::extract::{Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;

pub(crate) const CHANGE: &[&str] = &["timeout"];
pub(crate) const REMOVE: &[&str] = &["configuration", "force", "timeout"];

pub(super) async fn change(State(app): State<Shared>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let timeout = Params::parse(parts.uri.query(), CHANGE)?.timeout()?;
    let id = number_in_path(&parts.uri, 4, "member")?;
    let body = read_json(&app.config, &parts.headers, body).await?;
    let json::NewMemberType { kind, configuration, force } = json::parse(&body, app.config.json_depth)?;
    let answer = app.backend.change_member(MemberChange::Type { id, kind, configuration, force }, timeout).await;
    // Decided on one configuration, it is refused if it comes a second time.
    let answer = answer.map_err(|failure| Problem::of_command(failure, true))?;
    Ok(stamped(json::response(StatusCode::OK, &answer.output), &answer))
}

pub(super) async fn remove(State(app): State<Shared>, uri: Uri) -> Result<Response, Problem> {
    let params = Params::parse(uri.query(), REMOVE)?;
    let (timeout, force) = (params.timeout()?, params.flag("force")?);
    let id = number_in_path(&uri, 4, "member")?;
    let needed = || Problem::bad_request("configuration", "name the configuration_index that this was decided on");
    let configuration = params.number("configuration")?.ok_or_else(needed)?;
    let answer = app.backend.change_member(MemberChange::Remove { id, configuration, force }, timeout).await;
    let answer = answer.map_err(|failure| Problem::of_command(failure, true))?;
    Ok(stamped(json::response(StatusCode::OK, &answer.output), &answer))
}

pub(super) async fn transfer(State(app): State<Shared>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let timeout = Params::parse(parts.uri.query(), CHANGE)?.timeout()?;
    let body = read_json(&app.config, &parts.headers, body).await?;
    let json::NewLeader { member } = json::parse(&body, app.config.json_depth)?;
    let answer = app.backend.transfer(member, timeout).await;
    let answer = answer.map_err(|failure| Problem::of_command(failure, true))?;
    let body = json::Leading { leader: answer.output, term: answer.term };
    Ok(stamped(json::response(StatusCode::OK, &body), &answer))
}

pub(super) async fn settings(State(app): State<Shared>, uri: Uri) -> Result<Response, Problem> {
    Params::parse(uri.query(), &[])?;
    let mut response = json::response(StatusCode::OK, &app.backend.settings());
    response.headers_mut().insert(TERM, app.backend.cluster().term.into());
    Ok(response)
}

pub(super) async fn set(State(app): State<Shared>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let timeout = Params::parse(parts.uri.query(), CHANGE)?.timeout()?;
    let body = read_json(&app.config, &parts.headers, body).await?;
    let change = json::parse::<json::NewSettings>(&body, app.config.json_depth)?.change()?;
    let answer = app.backend.change_settings(change, timeout).await;
    // Decided on one configuration, it is refused if it comes a second time.
    let answer = answer.map_err(|failure| Problem::of_command(failure, true))?;
    Ok(stamped(json::response(StatusCode::OK, &answer.output), &answer))
}

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
