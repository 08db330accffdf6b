//! Commands on their way to the backend, and what of their answers is an error.

use super::{App, stamp};
use crate::backend::{Answer, Caller, Command, CommandOutput, Failure, LockHolder};
use crate::caller::is_known;
use crate::code::Code;
use crate::conditions::etag;
use crate::json;
use crate::json::decode::READ_BYTES;
use crate::problem::Problem;
use axum::http::header;
use serde::Serialize;
use serde_json::Value;
use std::time::Duration;

/// Carries out a command. An answer that says that nothing was changed is an error.
pub(super) async fn submit(
    app: &App,
    command: Command,
    caller: Caller,
    timeout: Duration,
) -> Result<Answer<CommandOutput>, Problem> {
    let (known, harmless) = (is_known(&caller), does_nothing_twice(&command));
    let answer = app.keys()?.command(command, caller, timeout).await;
    let answer = answer.map_err(|failure| match known {
        true => Problem::of_known_command(failure),
        false => Problem::of_command(failure, harmless),
    })?;
    match refused(&answer.output) {
        // It is the command's answer, which repeats of it get.
        Some(problem) if known => Err(at(problem.final_for_a_repeat(), &answer)),
        Some(problem) => Err(at(problem, &answer)),
        None => Ok(answer),
    }
}

/// Watches are told apart by what they are about, and are never made twice.
fn does_nothing_twice(command: &Command) -> bool {
    matches!(command, Command::Watch { .. } | Command::Unwatch { .. })
}

/// An error of the backend's answer, with the index that it is of.
pub(super) fn at<T>(mut problem: Problem, answer: &Answer<T>) -> Problem {
    stamp(problem.headers_mut(), answer);
    problem
}

/// An answer that is none to its command.
pub(super) fn internal() -> Problem {
    Problem::of_command(Failure::Internal, false)
}

fn refused(output: &CommandOutput) -> Option<Problem> {
    match output {
        CommandOutput::ConditionFailed { version } => Some(mismatch(*version)),
        CommandOutput::ResultTooLarge => {
            let detail = format!("its reads are too large: at most {READ_BYTES} bytes of values; nothing was done");
            Some(Problem::new(Code::BodyTooLarge, detail))
        }
        CommandOutput::TokenStale { holders } => Some(stale(holders)),
        CommandOutput::LockNotFound => Some(lock_not_found("the session neither has the lock nor waits for it")),
        CommandOutput::TooManyWatches => {
            Some(Problem::too_many_requests("the session has as many watches as it may have: remove one"))
        }
        _ => None,
    }
}

/// 412 with the version that the key has.
pub(super) fn mismatch(version: Option<u64>) -> Problem {
    let detail = match version {
        Some(version) => format!("the key has version {version}"),
        None => "the key does not exist".into(),
    };
    let problem = Problem::new(Code::VersionMismatch, detail).with("version", version);
    match version {
        Some(version) => problem.with_header(header::ETAG, etag(version)),
        None => problem,
    }
}

/// 412 with those who do hold the lock.
pub(super) fn stale(holders: &[LockHolder]) -> Problem {
    let problem = Problem::new(Code::LockTokenStale, "the token does not hold the lock");
    problem.with("holders", value(&json::holders(holders)))
}

pub(super) fn lock_not_found(detail: &str) -> Problem {
    Problem::new(Code::LockNotFound, detail)
}

/// A shape as a field of an error.
pub(super) fn value(shape: &impl Serialize) -> Value {
    serde_json::to_value(shape).unwrap_or_default()
}
