//! `/v1/locks`: who has them, and who waits.

use super::paging::{self, Page};
use super::submit::{at, internal, lock_not_found, stale, submit, value};
use super::{Shared, sessions, split, stamped, wait};
use crate::backend::{Command, CommandOutput, LockMode, LockOutput, LockRequest, Query, QueryOutput};
use crate::caller::{Claims, is_known};
use crate::code::Code;
use crate::cursor;
use crate::json;
use crate::name;
use crate::params::Params;
use crate::problem::Problem;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};

const PATH: &str = "/v1/locks";

pub(crate) const LIST: &[&str] = paging::PARAMS;
pub(crate) const READ: &[&str] = &["consistency", "index", "timeout"];
pub(crate) const ACQUIRE: &[&str] = &["session", "mode", "wait", "queue", "timeout"];
pub(crate) const RELEASE: &[&str] = &["session", "token", "timeout"];
pub(crate) const VERIFY: &[&str] = &["token", "consistency", "index", "timeout"];
pub(crate) const REVOKE: &[&str] = &["session", "timeout"];

fn mode(params: &Params) -> Result<LockMode, Problem> {
    match params.bytes("mode") {
        None | Some(b"exclusive") => Ok(LockMode::Exclusive),
        Some(b"shared") => Ok(LockMode::Shared),
        Some(_) => Err(Problem::bad_request("mode", "give exclusive or shared")),
    }
}

pub(super) async fn acquire(State(app): State<Shared>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    let params = Params::parse(uri.query(), ACQUIRE)?;
    let name = name::from_path(uri.path())?;
    let (session, caller) = Claims::parse(&params, &headers)?.session()?;
    let asked = params.wait()?.unwrap_or_default();
    let wait = Some(asked.min(app.config.wait)).filter(|wait| !wait.is_zero());
    let queue = params.flag("queue")?;
    let request = LockRequest { lock: name.clone(), mode: mode(&params)?, wait, queue };
    let known = is_known(&caller);
    let answer = app.keys()?.lock(request, caller, params.timeout()?).await;
    let answer = answer.map_err(|failure| match known {
        true => Problem::of_known_command(failure),
        // A repeat finds the same token, or the same place.
        false => Problem::of_command(failure, true),
    })?;
    let index = answer.index;
    let mut response = match &answer.output {
        LockOutput::Granted { token, mode } => {
            json::response(StatusCode::OK, &json::Held::new(&name, session, *token, *mode, index))
        }
        LockOutput::Queued { position, view, .. } => {
            json::response(StatusCode::ACCEPTED, &json::Queued::new(view, session, *position, index))
        }
        LockOutput::Held { position, view, .. } => {
            let problem = Problem::new(Code::LockHeld, "others have the lock, or came first; it was not granted");
            // A repeat that is known for one gets the first answer.
            let problem = if known { problem } else { problem.retryable() };
            let problem = problem.with("holders", value(&json::holders(&view.holders)));
            let problem = problem.with("position", *position).with("queue", value(&json::queue(view)));
            at(problem, &answer).into_response()
        }
    };
    if let LockOutput::Queued { wait, .. } | LockOutput::Held { wait, .. } = answer.output {
        wait::tell(&mut response, asked, wait);
    }
    Ok(stamped(response, &answer))
}

pub(super) async fn release(State(app): State<Shared>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    let params = Params::parse(uri.query(), RELEASE)?;
    let lock = name::from_path(uri.path())?;
    let (_, caller) = Claims::parse(&params, &headers)?.session()?;
    let command = Command::Unlock { lock, token: params.number("token")? };
    let answer = submit(&app, command, caller, params.timeout()?).await?;
    let CommandOutput::Unlocked { held } = answer.output else { return Err(internal()) };
    let body = json::Released { released: true, held, index: answer.index };
    Ok(stamped(json::response(StatusCode::OK, &body), &answer))
}

pub(super) async fn revoke(State(app): State<Shared>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    let params = Params::parse(uri.query(), REVOKE)?;
    let (lock, session) = (name::from_path(uri.path())?, sessions::at_place(&uri, 5)?);
    let caller = Claims::parse(&params, &headers)?.caller()?;
    let answer = submit(&app, Command::Revoke { lock, session }, caller, params.timeout()?).await?;
    let CommandOutput::Revoked { token } = answer.output else { return Err(internal()) };
    let body = json::Revoked { revoked: true, token, index: answer.index };
    Ok(stamped(json::response(StatusCode::OK, &body), &answer))
}

pub(super) async fn list(State(app): State<Shared>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    let params = Params::parse(uri.query(), LIST)?;
    let page = Page::parse(&params, &headers)?;
    let query = Query::Locks { after: page.after.clone(), limit: page.limit };
    let (output, from) = split(app.keys()?.query(query, page.read).await.map_err(Problem::of_query)?);
    let QueryOutput::Locks { locks, next } = output else { return Err(Problem::internal()) };
    let locks = locks.iter().map(|view| json::Lock::new(view, None)).collect();
    let body = json::Locks { locks, next: next.map(|name| cursor::encode(&name)), index: from.index };
    let mut response = json::response(StatusCode::OK, &body);
    page.link(&mut response, PATH, &params, (body.next.as_deref(), from.index))?;
    Ok(stamped(response, &from))
}

pub(super) async fn one(State(app): State<Shared>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    let read = Params::parse(uri.query(), READ)?.read(&headers)?;
    let lock = name::from_path(uri.path())?;
    let (output, from) = split(app.keys()?.query(Query::Lock { lock }, read).await.map_err(Problem::of_query)?);
    match output {
        QueryOutput::Lock(Some(view)) => {
            Ok(stamped(json::response(StatusCode::OK, &json::Lock::new(&view, Some(from.index))), &from))
        }
        QueryOutput::Lock(None) => Err(at(lock_not_found("nobody has the lock or waits for it"), &from)),
        _ => Err(Problem::internal()),
    }
}

pub(super) async fn verify(State(app): State<Shared>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    let params = Params::parse(uri.query(), VERIFY)?;
    let (read, lock) = (params.read(&headers)?, name::from_path(uri.path())?);
    let token = params.number("token")?.ok_or_else(|| Problem::bad_request("token", "missing: which one?"))?;
    let query = Query::Lock { lock: lock.clone() };
    let (output, from) = split(app.keys()?.query(query, read).await.map_err(Problem::of_query)?);
    let QueryOutput::Lock(view) = output else { return Err(Problem::internal()) };
    let holders = view.map(|view| view.holders).unwrap_or_default();
    match holders.iter().find(|holder| holder.token == token) {
        Some(holder) => {
            let body = json::Held::new(&lock, holder.session, token, holder.mode, from.index);
            Ok(stamped(json::response(StatusCode::OK, &body), &from))
        }
        None => Err(at(stale(&holders), &from)),
    }
}
