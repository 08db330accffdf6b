//! `/v1/sessions`: their beginning, their life, their end.

use super::paging::{self, Page};
use super::{Shared, number_in_path, stamped};
use crate::backend::SessionView;
use crate::caller::{Claims, real};
use crate::cursor;
use crate::duration::parse_duration;
use crate::json;
use crate::params::{Params, bad_duration};
use crate::problem::Problem;
use crate::value::read_json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::Response;
use std::ops::RangeInclusive;
use std::time::Duration;

const PATH: &str = "/v1/sessions";

pub(crate) const LIST: &[&str] = paging::PARAMS;
pub(crate) const READ: &[&str] = &["consistency", "index", "timeout"];
pub(crate) const COMMAND: &[&str] = &["timeout"];

/// How long a session lives without being kept alive, when its client does not say,
const USUAL_TIMEOUT: Duration = Duration::from_secs(30);
/// and when it does.
const TIMEOUTS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 3600);

/// The longest name, bytes.
const NAME_BYTES: usize = 255;

/// The session in a request's path.
pub(super) fn in_path(uri: &Uri) -> Result<u64, Problem> {
    at_place(uri, 3)
}

/// The session at this place of a request's path.
pub(super) fn at_place(uri: &Uri, place: usize) -> Result<u64, Problem> {
    let session = number_in_path(uri, place, "session")?;
    real("session", Some(session)).map(|_| session)
}

pub(super) async fn register(State(app): State<Shared>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let params = Params::parse(parts.uri.query(), COMMAND)?;
    let timeout = params.timeout()?;
    let key = Claims::parse(&params, &parts.headers)?.key_alone()?;
    let body = read_json(&app.config, &parts.headers, body).await?;
    let new: json::NewSession = json::parse_or_default(&body, app.config.json_depth)?;
    let name = new.name.unwrap_or_default();
    if name.len() > NAME_BYTES {
        return Err(Problem::bad_request("name", format!("{} bytes; at most {NAME_BYTES}", name.len())));
    }
    let (session_timeout, known) = (session_timeout(new.timeout.as_deref())?, key.is_some());
    let answer = app.backend.register(session_timeout, name, key, timeout).await;
    let answer = answer.map_err(|failure| Problem::of_command(failure, known))?;
    let mut response = json::response(StatusCode::CREATED, &json::Begun::new(&answer.output, answer.index));
    if let Ok(location) = HeaderValue::try_from(format!("{PATH}/{}", answer.output.session)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(stamped(response, &answer))
}

fn session_timeout(given: Option<&str>) -> Result<Duration, Problem> {
    let Some(text) = given else { return Ok(USUAL_TIMEOUT) };
    match parse_duration(text) {
        Some(timeout) if TIMEOUTS.contains(&timeout) => Ok(timeout),
        Some(_) => Err(bad_duration("timeout", "give 1s to 24h")),
        None => Err(bad_duration("timeout", &format!("{text:?} is no duration: write 1500ms, 30s or 5m"))),
    }
}

pub(super) async fn list(State(app): State<Shared>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    let params = Params::parse(uri.query(), LIST)?;
    let page = Page::parse(&params, &headers)?;
    let after = match page.after.as_deref().map(<[u8; 8]>::try_from) {
        None => 0,
        Some(Ok(id)) => u64::from_be_bytes(id),
        Some(Err(_)) => return Err(Problem::bad_request("cursor", "it belongs to another list")),
    };
    let answer = app.backend.sessions(after, page.limit, page.read).await.map_err(Problem::of_query)?;
    let next = answer.output.next.map(|id| cursor::encode(&id.to_be_bytes()));
    let sessions: &[SessionView] = &answer.output.sessions;
    let sessions = sessions.iter().map(json::Session::listed).collect();
    let body = json::Sessions { sessions, next, index: answer.index };
    let mut response = json::response(StatusCode::OK, &body);
    page.link(&mut response, PATH, &params, (body.next.as_deref(), answer.index))?;
    Ok(stamped(response, &answer))
}

pub(super) async fn one(State(app): State<Shared>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    let read = Params::parse(uri.query(), READ)?.read(&headers)?;
    let answer = app.backend.session(in_path(&uri)?, read).await.map_err(Problem::of_query)?;
    Ok(stamped(json::response(StatusCode::OK, &json::Session::whole(&answer.output)), &answer))
}

/// The session that a request's path names and that is asked for as often as it takes, and the time that this may take.
fn unnumbered(uri: &Uri, headers: &HeaderMap) -> Result<(u64, Duration), Problem> {
    let params = Params::parse(uri.query(), COMMAND)?;
    let session = in_path(uri)?;
    Claims::parse(&params, headers)?.in_path(session)?.unnumbered()?;
    Ok((session, params.timeout()?))
}

pub(super) async fn keep_alive(State(app): State<Shared>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let (session, timeout) = unnumbered(&parts.uri, &parts.headers)?;
    let body = read_json(&app.config, &parts.headers, body).await?;
    let seen: json::Acknowledged = json::parse_or_default(&body, app.config.json_depth)?;
    let answer = app.backend.keep_alive(session, seen.sequence, seen.event_index, timeout).await;
    let answer = answer.map_err(|failure| Problem::of_command(failure, true))?;
    Ok(stamped(json::response(StatusCode::OK, &json::Alive::from(answer.output)), &answer))
}

pub(super) async fn unregister(State(app): State<Shared>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    let (session, timeout) = unnumbered(&uri, &headers)?;
    let answer = app.backend.unregister(session, timeout).await;
    let answer = answer.map_err(|failure| Problem::of_command(failure, true))?;
    let body = json::Ended { session, index: answer.index };
    Ok(stamped(json::response(StatusCode::OK, &body), &answer))
}
