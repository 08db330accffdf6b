//! `/v1/kv/{key}`, and `/v1/kv?key=…` for keys that a client would fold: one key.

use super::submit::{at, internal, mismatch, submit};
use super::{App, Shared, empty, list, remove, split, stamped, wait};
use crate::backend::{Answer, Command, CommandOutput, Item, Query, QueryOutput};
use crate::caller::Claims;
use crate::code::Code;
use crate::conditions::{self, Found, ReadConditions, etag};
use crate::fence::Fence;
use crate::json;
use crate::key;
use crate::params::Params;
use crate::problem::Problem;
use crate::value::{content_type, read_value};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// The parameters of `/v1/kv/{key}`,
pub(crate) const PUT: &[&str] = &["ttl", "ephemeral", "session", "lock", "token", "timeout"];
pub(crate) const DELETE: &[&str] = &["session", "lock", "token", "timeout"];
pub(crate) const READ: &[&str] = &["meta", "wait", "after", "consistency", "index", "timeout"];
/// and of `/v1/kv`: those of one key, and those of many.
pub(crate) const PUT_NAMED: &[&str] = &["key", "ttl", "ephemeral", "session", "lock", "token", "timeout"];
pub(crate) const DELETE_NAMED: &[&str] = &["key", "prefix", "limit", "all", "session", "lock", "token", "timeout"];
pub(crate) const READ_NAMED: &[&str] = &[
    "key",
    "meta",
    "wait",
    "after",
    "prefix",
    "limit",
    "max_bytes",
    "cursor",
    "separator",
    "values",
    "consistency",
    "index",
    "timeout",
];
/// What stands only beside a key,
const OF_ONE: &[&str] = &["meta", "wait", "after"];
/// and what never does.
const OF_MANY: &[&str] = &["prefix", "limit", "max_bytes", "cursor", "separator", "values", "all"];

/// `/v1/kv/{key}`
pub(super) async fn by_path(app: &App, request: Request) -> Result<Response, Problem> {
    let allowed = allowed(request.method(), READ, PUT, DELETE)?;
    let key = key::from_path(request.uri().path())?;
    let params = Params::parse(request.uri().query(), allowed)?;
    one_key(app, key, &params, request).await
}

/// `/v1/kv?key=…`, or `/v1/kv?prefix=…`
pub(super) async fn by_query(State(app): State<Shared>, request: Request) -> Result<Response, Problem> {
    let allowed = allowed(request.method(), READ_NAMED, PUT_NAMED, DELETE_NAMED)?;
    let params = Params::parse(request.uri().query(), allowed)?;
    let named = |names: &'static [&'static str]| names.iter().find(|name| params.bytes(name).is_some());
    if let Some(key) = params.bytes("key") {
        if let Some(name) = named(OF_MANY) {
            return Err(Problem::bad_request(name, "not together with key"));
        }
        let key = key::checked(key.to_vec())?;
        return one_key(&app, key, &params, request).await;
    }
    if let Some(name) = named(OF_ONE) {
        return Err(Problem::bad_request(name, "needs a key"));
    }
    match *request.method() {
        Method::PUT => Err(Problem::bad_request("key", "missing: write /v1/kv/{key} or /v1/kv?key=…")),
        Method::DELETE => remove::remove(&app, &params, request.headers()).await,
        _ => {
            let place = request.extensions().get().cloned();
            list::list(&app, &params, &list::Asked { headers: request.headers(), place }).await
        }
    }
}

fn allowed(
    method: &Method,
    read: &'static [&'static str],
    put: &'static [&'static str],
    delete: &'static [&'static str],
) -> Result<&'static [&'static str], Problem> {
    match *method {
        Method::GET | Method::HEAD => Ok(read),
        Method::PUT => Ok(put),
        Method::DELETE => Ok(delete),
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
    let (timeout, ttl_ms, ephemeral) = (params.timeout()?, params.ttl()?, params.flag("ephemeral")?);
    let (fence, caller) = (Fence::parse(params)?, Claims::parse(params, request.headers())?.caller()?);
    if ephemeral && caller.session.is_none() {
        return Err(Problem::bad_request("ephemeral", "needs a session, with which the key goes"));
    }
    let condition = conditions::of_write(request.headers())?;
    let (parts, body) = request.into_parts();
    let value = read_value(&app.config, &parts.headers, body).await?;
    let content_type = content_type(&parts.headers, &value)?;
    let command = Command::Put { key: key.clone(), value, content_type, ttl_ms, ephemeral, condition };
    let answer = submit(app, Fence::around(fence, command)?, caller, timeout).await?;
    let CommandOutput::Put { created } = answer.output else { return Err(internal()) };
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = json::response(status, &json::Written::new(&key, created, answer.index));
    response.headers_mut().insert(header::ETAG, etag(answer.index));
    Ok(stamped(response, &answer))
}

async fn delete(app: &App, key: Vec<u8>, params: &Params, headers: &HeaderMap) -> Result<Response, Problem> {
    let timeout = params.timeout()?;
    let (fence, caller) = (Fence::parse(params)?, Claims::parse(params, headers)?.caller()?);
    let command = Command::Delete { key, condition: conditions::of_write(headers)? };
    let answer = submit(app, Fence::around(fence, command)?, caller, timeout).await?;
    let CommandOutput::Deleted { version } = answer.output else { return Err(internal()) };
    let body = json::Deleted { deleted: version.is_some(), version, index: answer.index };
    Ok(stamped(json::response(StatusCode::OK, &body), &answer))
}

async fn get(app: &App, key: Vec<u8>, params: &Params, headers: &HeaderMap) -> Result<Response, Problem> {
    let read = params.read(headers)?;
    let meta = params.flag("meta")?;
    if let Some(wait) = params.wait()? {
        return wait::wait(app, key, wait, params, read, headers).await;
    }
    if params.bytes("after").is_some() {
        return Err(Problem::bad_request("after", "needs wait"));
    }
    let conditions = ReadConditions::parse(headers)?;
    let answer = app.keys()?.query(Query::Get { key }, read).await.map_err(Problem::of_query)?;
    let (output, from) = split(answer);
    let QueryOutput::Value(item) = output else { return Err(Problem::internal()) };
    let Some(item) = item else { return Ok(missing(&from)) };
    Ok(match conditions.of(item.version) {
        Found::Mismatch => at(mismatch(Some(item.version)), &from).into_response(),
        Found::NotModified => not_modified(item.version, &from),
        Found::Send => found(item, meta, &from),
    })
}

/// 404, with the index to go on from.
pub(super) fn missing(from: &Answer<()>) -> Response {
    at(Problem::new(Code::KeyNotFound, "there is no such key"), from).into_response()
}

pub(super) fn not_modified(version: u64, from: &Answer<()>) -> Response {
    let mut response = empty(StatusCode::NOT_MODIFIED);
    response.headers_mut().insert(header::ETAG, etag(version));
    stamped(response, from)
}

/// A key's value, or, with `meta`, all about it.
pub(super) fn found(item: Item, meta: bool, from: &Answer<()>) -> Response {
    let version = item.version;
    let mut response = if meta { json::response(StatusCode::OK, &json::Key::from(&item)) } else { raw(item) };
    response.headers_mut().insert(header::ETAG, etag(version));
    stamped(response, from)
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
