//! `POST /v1/commands` and `POST /v1/queries` of a state machine that this crate does not know: what it takes and gives is its
//! own JSON.

use super::{App, stamped};
use crate::backend::{Failure, Unanswered};
use crate::caller::{Claims, is_known};
use crate::json::{self, MachineAnswer, MachineCommand, MachineQuery, Object};
use crate::params::Params;
use crate::problem::Problem;
use crate::value::read_json;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;

const COMMAND: &[&str] = &["session", "timeout"];
const QUERY: &[&str] = &["timeout"];

fn problem(unanswered: Unanswered, field: &str, failed: impl FnOnce(Failure) -> Problem) -> Problem {
    match unanswered {
        Unanswered::Unfit(why) => Problem::bad_request(field, why),
        Unanswered::Failed(failure) => failed(failure),
    }
}

pub(super) async fn command(app: &App, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let params = Params::parse(parts.uri.query(), COMMAND)?;
    let (timeout, claims) = (params.timeout()?, Claims::parse(&params, &parts.headers)?);
    let body = read_json(&app.config, &parts.headers, body).await?;
    let Object(MachineCommand { command, session, sequence }) = json::parse(&body, app.config.json_depth)?;
    let caller = claims.in_body(("session", session), ("sequence", sequence))?.caller()?;
    let known = is_known(&caller);
    let answer = app.backend.command(command, caller, timeout).await;
    let answer = answer.map_err(|unanswered| {
        problem(unanswered, "command", |failure| match known {
            true => Problem::of_known_command(failure),
            false => Problem::of_command(failure, false),
        })
    })?;
    let body = MachineAnswer { index: answer.index, output: &answer.output };
    Ok(stamped(json::response(StatusCode::OK, &body), &answer))
}

pub(super) async fn query(app: &App, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let params = Params::parse(parts.uri.query(), QUERY)?;
    let body = read_json(&app.config, &parts.headers, body).await?;
    let Object(MachineQuery { query, consistency, index }) = json::parse(&body, app.config.json_depth)?;
    let read = params.read_as(consistency.as_deref(), index, &parts.headers)?;
    let answer = app.backend.query(query, read).await.map_err(|u| problem(u, "query", Problem::of_query))?;
    let body = MachineAnswer { index: answer.index, output: &answer.output };
    Ok(stamped(json::response(StatusCode::OK, &body), &answer))
}
