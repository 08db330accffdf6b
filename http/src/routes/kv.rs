//! `/v1/kv/{key}`, and `/v1/kv?key=…` for keys that a client would fold: one key.

use super::value::{content_type, read_body};
use super::{App, Shared, empty, is_read, list, stamped};
use crate::backend::{Answer, Command, CommandOutput, Failure, Item, Query, QueryOutput};
use crate::conditions::{self, Found, ReadConditions, etag};
use crate::json;
use crate::key;
use crate::params::Params;
use crate::problem::Problem;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

const WRITE: &[&str] = &["timeout"];
const READ: &[&str] = &["meta", "consistency", "index", "timeout"];
const WRITE_NAMED: &[&str] = &["key", "timeout"];
const READ_NAMED: &[&str] = &["key", "meta", "prefix", "limit", "cursor", "consistency", "index", "timeout"];

/// `/v1/kv/{key}`
pub(super) async fn by_path(app: &App, request: Request) -> Result<Response, Problem> {
    let allowed = allowed(request.method(), READ, WRITE)?;
    let key = key::from_path(request.uri().path())?;
    let params = Params::parse(request.uri().query(), request.headers(), allowed)?;
    one_key(app, key, &params, request).await
}

/// `/v1/kv?key=…`, or `/v1/kv?prefix=…`
pub(super) async fn by_query(State(app): State<Shared>, request: Request) -> Result<Response, Problem> {
    let allowed = allowed(request.method(), READ_NAMED, WRITE_NAMED)?;
    let params = Params::parse(request.uri().query(), request.headers(), allowed)?;
    let Some(key) = params.bytes("key") else {
        if !is_read(request.method()) {
            return Err(Problem::bad_request("key", "missing: write /v1/kv/{key} or /v1/kv?key=…"));
        }
        if params.bytes("meta").is_some() {
            return Err(Problem::bad_request("meta", "needs a key"));
        }
        return list::list(&app, &params, request.headers()).await;
    };
    if let Some(name) = ["prefix", "limit", "cursor"].into_iter().find(|name| params.bytes(name).is_some()) {
        return Err(Problem::bad_request(name, "not together with key"));
    }
    let key = key::checked(key.to_vec())?;
    one_key(&app, key, &params, request).await
}

fn allowed(
    method: &Method,
    read: &'static [&'static str],
    write: &'static [&'static str],
) -> Result<&'static [&'static str], Problem> {
    match *method {
        Method::GET | Method::HEAD => Ok(read),
        Method::PUT | Method::DELETE => Ok(write),
        _ => {
            let allow = HeaderValue::from_static("GET, HEAD, PUT, DELETE");
            Err(Problem::method_not_allowed().with_header(header::ALLOW, allow))
        }
    }
}

async fn one_key(app: &App, key: Vec<u8>, params: &Params, request: Request) -> Result<Response, Problem> {
    match *request.method() {
        Method::PUT => put(app, key, params, request).await,
        Method::DELETE => delete(app, key, params, request.headers()).await,
        _ => get(app, key, params, request.headers()).await,
    }
}

async fn put(app: &App, key: Vec<u8>, params: &Params, request: Request) -> Result<Response, Problem> {
    let timeout = params.timeout()?;
    let condition = conditions::of_write(request.headers())?;
    let (parts, body) = request.into_parts();
    let value = read_body(&app.config, &parts.headers, body).await?;
    let content_type = content_type(&parts.headers, &value)?;
    let command = Command::Put { key: key.clone(), value, content_type, condition };
    let answer = app.backend.command(command, timeout).await.map_err(Problem::of_command)?;
    match answer.output {
        CommandOutput::Put { created } => {
            let status = if created { StatusCode::CREATED } else { StatusCode::OK };
            let mut response = json::response(status, &json::Written::new(&key, created, answer.index));
            response.headers_mut().insert(header::ETAG, etag(answer.index));
            Ok(stamped(response, &answer))
        }
        CommandOutput::ConditionFailed { version } => Ok(stamped(mismatch(version), &answer)),
        _ => Err(Problem::of_command(Failure::Internal)),
    }
}

async fn delete(app: &App, key: Vec<u8>, params: &Params, headers: &HeaderMap) -> Result<Response, Problem> {
    let timeout = params.timeout()?;
    let condition = conditions::of_write(headers)?;
    let command = Command::Delete { key, condition };
    let answer = app.backend.command(command, timeout).await.map_err(Problem::of_command)?;
    match answer.output {
        CommandOutput::Deleted { version } => {
            let body = json::Deleted { deleted: version.is_some(), version, index: answer.index };
            Ok(stamped(json::response(StatusCode::OK, &body), &answer))
        }
        CommandOutput::ConditionFailed { version } => Ok(stamped(mismatch(version), &answer)),
        _ => Err(Problem::of_command(Failure::Internal)),
    }
}

/// 412 with the version that the key has.
fn mismatch(version: Option<u64>) -> Response {
    let detail = match version {
        Some(version) => format!("the key has version {version}"),
        None => "the key does not exist".into(),
    };
    let mut problem =
        Problem::new(StatusCode::PRECONDITION_FAILED, "version_mismatch", detail).with("version", version);
    if let Some(version) = version {
        problem = problem.with_header(header::ETAG, etag(version));
    }
    problem.into_response()
}

async fn get(app: &App, key: Vec<u8>, params: &Params, headers: &HeaderMap) -> Result<Response, Problem> {
    let read = params.read(headers)?;
    let meta = params.flag("meta")?;
    let conditions = ReadConditions::parse(headers)?;
    let answer = app.backend.query(Query::Get { key }, read).await.map_err(Problem::of_query)?;
    let Answer { index, term, served_by, consistency, .. } = answer;
    let from = Answer { output: (), index, term, served_by, consistency };
    let QueryOutput::Value(found) = answer.output else { return Err(Problem::internal()) };
    let Some(item) = found else {
        let problem = Problem::new(StatusCode::NOT_FOUND, "key_not_found", "there is no such key");
        return Ok(stamped(problem.into_response(), &from));
    };
    let version = item.version;
    let mut response = match conditions.of(version) {
        Found::Mismatch => return Ok(stamped(mismatch(Some(version)), &from)),
        Found::NotModified => empty(StatusCode::NOT_MODIFIED),
        Found::Send if meta => json::response(StatusCode::OK, &json::Key::from(&item)),
        Found::Send => raw(item),
    };
    response.headers_mut().insert(header::ETAG, etag(version));
    Ok(stamped(response, &from))
}

/// A value's bytes, in a form that no browser runs.
fn raw(item: Item) -> Response {
    let mut response = Response::new(Body::from(item.value));
    let kind = HeaderValue::try_from(item.content_type);
    let kind = kind.unwrap_or_else(|_| HeaderValue::from_static("application/octet-stream"));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox; default-src 'none'"));
    response
}
