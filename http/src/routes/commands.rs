//! `POST /v1/commands` and `POST /v1/transactions`: the state machine's own operations, as JSON.

use super::kv::mismatch;
use super::{App, Shared, stamped};
use crate::backend::{Answer, Command, CommandOutput, Failure};
use crate::code::Code;
use crate::json::decode::{self, READ_BYTES};
use crate::json::{self, CommandAnswer, CommandRequest, Names, Object, TransactionAnswer};
use crate::params::Params;
use crate::problem::Problem;
use crate::value::read_json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use std::time::Duration;

pub(crate) const PARAMS: &[&str] = &["timeout"];

/// The time that a request grants, and its JSON.
async fn body(app: &App, request: Request) -> Result<(Duration, Vec<u8>), Problem> {
    let (parts, body) = request.into_parts();
    let timeout = Params::parse(parts.uri.query(), &parts.headers, PARAMS)?.timeout()?;
    Ok((timeout, read_json(&app.config, &parts.headers, body).await?))
}

fn internal() -> Problem {
    Problem::of_command(Failure::Internal)
}

/// What is too large here is not one value, but all of it.
fn failed(failure: Failure) -> Problem {
    match failure {
        Failure::TooLarge => Problem::new(Code::BodyTooLarge, "larger than a log entry may be"),
        other => Problem::of_command(other),
    }
}

fn too_large_to_read() -> Problem {
    let detail = format!("its reads are too large: at most {READ_BYTES} bytes of values; nothing was done");
    Problem::new(Code::BodyTooLarge, detail)
}

pub(super) async fn transactions(State(app): State<Shared>, request: Request) -> Result<Response, Problem> {
    let (timeout, body) = body(&app, request).await?;
    let Object(shape) = json::parse(&body, app.config.json_depth)?;
    let command = decode::transaction(shape, &app.config, READ_BYTES)?;
    let names = Names::of(&command);
    let answer = app.backend.command(command, timeout).await.map_err(failed)?;
    let response = match &answer.output {
        CommandOutput::Transaction { succeeded, results } => {
            let results = json::results(*succeeded, results, &names, answer.index);
            let body = TransactionAnswer { succeeded: *succeeded, results, index: answer.index };
            json::response(StatusCode::OK, &body)
        }
        CommandOutput::ResultTooLarge => too_large_to_read().into_response(),
        _ => return Err(internal()),
    };
    Ok(stamped(response, &answer))
}

pub(super) async fn commands(State(app): State<Shared>, request: Request) -> Result<Response, Problem> {
    let (timeout, body) = body(&app, request).await?;
    let depth = app.config.json_depth;
    if json::is_array(&body) {
        return several(&app, json::parse(&body, depth)?, timeout).await;
    }
    let Object(request) = json::parse(&body, depth)?;
    drop(body);
    let command = decode::command(request, &app.config)?;
    let names = Names::of(&command);
    let answer = app.backend.command(command, timeout).await.map_err(failed)?;
    let response = match &answer.output {
        CommandOutput::ConditionFailed { version } => mismatch(*version),
        CommandOutput::ResultTooLarge => too_large_to_read().into_response(),
        output => json::response(StatusCode::OK, &told(output, &names, answer.index)?),
    };
    Ok(stamped(response, &answer))
}

async fn several(app: &App, requests: Vec<Object<CommandRequest>>, timeout: Duration) -> Result<Response, Problem> {
    let command = decode::batch(requests, &app.config)?;
    let names: Vec<_> = match &command {
        Command::Batch(commands) => commands.iter().map(Names::of).collect(),
        _ => Vec::new(),
    };
    let answer: Answer<CommandOutput> = app.backend.command(command, timeout).await.map_err(failed)?;
    let CommandOutput::Batch(outputs) = &answer.output else { return Err(internal()) };
    if outputs.len() != names.len() {
        return Err(internal());
    }
    let told = names.iter().zip(outputs).map(|(names, output)| told(output, names, answer.index));
    let body = told.collect::<Result<Vec<_>, _>>()?;
    Ok(stamped(json::response(StatusCode::OK, &body), &answer))
}

fn told<'a>(output: &'a CommandOutput, names: &Names, index: u64) -> Result<CommandAnswer<'a>, Problem> {
    let output = json::CommandOutput::new(output, names, index).ok_or_else(internal)?;
    Ok(CommandAnswer { index, output })
}
