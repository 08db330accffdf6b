//! `POST /v1/commands` and `POST /v1/transactions`: the state machine's own operations, as JSON.

use super::submit::{at, internal, stale, submit};
use super::{App, Shared, machine, stamped};
use crate::backend::{Answer, Caller, Command, CommandOutput};
use crate::caller::Claims;
use crate::code::Code;
use crate::fence::Fence;
use crate::json::decode::{self, Bounds, READ_BYTES};
use crate::json::{self, CommandAnswer, CommandRequest, Names, Object, TransactionAnswer};
use crate::params::Params;
use crate::problem::Problem;
use crate::value::read_json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use std::time::Duration;

pub(crate) const PARAMS: &[&str] = &["session", "lock", "token", "timeout"];

/// What a request says beside its JSON.
struct Asked {
    timeout: Duration,
    claims: Claims,
    fence: Option<Fence>,
}

/// That, and its JSON.
async fn read(app: &App, request: Request) -> Result<(Asked, Vec<u8>), Problem> {
    let (parts, body) = request.into_parts();
    let params = Params::parse(parts.uri.query(), PARAMS)?;
    let (timeout, claims) = (params.timeout()?, Claims::parse(&params, &parts.headers)?);
    let fence = Fence::parse(&params)?;
    Ok((Asked { timeout, claims, fence }, read_json(&app.config, &parts.headers, body).await?))
}

/// What is too large here is not one value, but all of it.
fn large(problem: Problem) -> Problem {
    match problem.code() {
        Code::ValueTooLarge => Problem::new(Code::BodyTooLarge, "larger than a log entry may be"),
        _ => problem,
    }
}

pub(super) async fn transactions(State(app): State<Shared>, request: Request) -> Result<Response, Problem> {
    let (Asked { timeout, claims, fence }, body) = read(&app, request).await?;
    let caller = claims.caller()?;
    let Object(shape) = json::parse(&body, app.config.json_depth)?;
    let command = decode::transaction(shape, &app.config, READ_BYTES)?;
    let names = Names::of(&command);
    let answer = submit(&app, Fence::around(fence, command)?, caller, timeout).await.map_err(large)?;
    let CommandOutput::Transaction { succeeded, results } = &answer.output else { return Err(internal()) };
    let results = json::results(*succeeded, results, &names, answer.index);
    let body = TransactionAnswer { succeeded: *succeeded, results, index: answer.index };
    Ok(stamped(json::response(StatusCode::OK, &body), &answer))
}

pub(super) async fn commands(State(app): State<Shared>, request: Request) -> Result<Response, Problem> {
    if app.backend.keys().is_none() {
        return machine::command(&app, request).await;
    }
    let (asked, body) = read(&app, request).await?;
    let depth = app.config.json_depth;
    if json::is_array(&body) {
        return several(&app, json::parse(&body, depth)?, asked).await;
    }
    let Object(CommandRequest { command, session, sequence }) = json::parse(&body, depth)?;
    drop(body);
    let caller = asked.claims.in_body(("session", session), ("sequence", sequence))?.caller()?;
    let command = decode::command(command, bounds(&app, &caller))?;
    let names = Names::of(&command);
    let answer = submit(&app, Fence::around(asked.fence, command)?, caller, asked.timeout).await.map_err(large)?;
    Ok(stamped(json::response(StatusCode::OK, &told(&answer.output, &names, answer.index)?), &answer))
}

fn bounds<'a>(app: &'a App, caller: &Caller) -> Bounds<'a> {
    Bounds { config: &app.config, session: caller.session.is_some() }
}

async fn several(app: &App, requests: Vec<Object<CommandRequest>>, asked: Asked) -> Result<Response, Problem> {
    let Asked { timeout, claims, fence } = asked;
    let [session, sequence] = decode::claims(&requests)?;
    let caller = claims.in_body((&session.0, session.1), (&sequence.0, sequence.1))?.caller()?;
    let command = decode::batch(requests, bounds(app, &caller))?;
    let names: Vec<_> = match &command {
        Command::Batch(commands) => commands.iter().map(Names::of).collect(),
        _ => Vec::new(),
    };
    let fenced = fence.is_some();
    let answer: Answer<CommandOutput> =
        submit(app, Fence::around(fence, command)?, caller, timeout).await.map_err(large)?;
    let CommandOutput::Batch(outputs) = &answer.output else { return Err(internal()) };
    if outputs.len() != names.len() {
        return Err(internal());
    }
    let is_stale = |output: &CommandOutput| matches!(output, CommandOutput::TokenStale { .. });
    if let [CommandOutput::TokenStale { holders }, rest @ ..] = outputs.as_slice()
        && fenced
        && rest.iter().all(is_stale)
    {
        return Err(at(stale(holders), &answer));
    }
    let told = names.iter().zip(outputs).map(|(names, output)| told(output, names, answer.index));
    let body = told.collect::<Result<Vec<_>, _>>()?;
    Ok(stamped(json::response(StatusCode::OK, &body), &answer))
}

fn told<'a>(output: &'a CommandOutput, names: &Names, index: u64) -> Result<CommandAnswer<'a>, Problem> {
    let output = json::CommandOutput::new(output, names, index).ok_or_else(internal)?;
    Ok(CommandAnswer { index, output })
}
