//! `/v1/kv`: keys.

use crate::backend::{Answer, Command, CommandOutput, Failure, Item, Query, QueryOutput};
use crate::headers::{content_type, etag, not_modified, write_condition};
use crate::key;
use crate::params::Params;
use crate::problem::Problem;
use crate::serve::App;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::{Map, Value, json};

/// Keys in a page when the caller names no limit,
const PAGE: u64 = 100;
/// and at most.
const LARGEST_PAGE: u64 = 1000;
/// About how many bytes of keys and values a page has at most.
const PAGE_BYTES: u64 = 4 * 1024 * 1024;

const WRITE: &[&str] = &["key", "timeout"];
const READ: &[&str] = &["key", "meta", "consistency", "index", "timeout"];
const LIST: &[&str] = &["prefix", "limit", "cursor", "consistency", "index", "timeout"];

/// `/v1/kv/{key}`
pub(crate) async fn by_path(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let key = key::from_path(request.uri().path())?;
    let (allowed, query) = match *request.method() {
        Method::GET | Method::HEAD => (&READ[1..], request.uri().query()),
        _ => (&WRITE[1..], request.uri().query()),
    };
    let params = Params::parse(query, request.headers(), allowed)?;
    one_key(&app, key, &params, request).await
}

/// `/v1/kv?key=…`, or `/v1/kv?prefix=…`
pub(crate) async fn by_query(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let (query, headers) = (request.uri().query(), request.headers());
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let names_key = query.unwrap_or("").split('&').any(|p| p == "key" || p.starts_with("key="));
    if reads && !names_key {
        let params = Params::parse(query, headers, LIST)?;
        return list(&app, &params, headers).await;
    }
    let params = Params::parse(query, headers, if reads { READ } else { WRITE })?;
    let key = params.bytes("key").ok_or_else(|| Problem::bad_request("key", "give /v1/kv/{key} or /v1/kv?key=…"))?;
    let key = key::checked(key.to_vec())?;
    one_key(&app, key, &params, request).await
}

async fn one_key(app: &App, key: Vec<u8>, params: &Params, request: Request) -> Result<Response, Problem> {
    match *request.method() {
        Method::GET | Method::HEAD => get(app, key, params, request.headers()).await,
        Method::PUT => put(app, key, params, request).await,
        Method::DELETE => delete(app, key, params, request.headers()).await,
        _ => Err(crate::problem::method_not_allowed()
            .await
            .with_header(header::ALLOW, HeaderValue::from_static("GET, HEAD, PUT, DELETE"))),
    }
}

async fn put(app: &App, key: Vec<u8>, params: &Params, request: Request) -> Result<Response, Problem> {
    let timeout = params.timeout()?;
    let condition = write_condition(request.headers())?;
    let (parts, body) = request.into_parts();
    let value = read_body(app, &parts.headers, body).await?;
    let content_type = content_type(&parts.headers, &value)?;
    let command = Command::Put { key: key.clone(), value, content_type, condition };
    let answer = app.backend.command(command, timeout).await?;
    match answer.output {
        CommandOutput::Put { created } => {
            let mut body = key_fields(&key);
            body.insert("version".into(), answer.index.into());
            body.insert("created".into(), created.into());
            body.insert("index".into(), answer.index.into());
            let status = if created { StatusCode::CREATED } else { StatusCode::OK };
            let mut response = json_response(status, &Value::Object(body));
            response.headers_mut().insert(header::ETAG, etag(answer.index));
            Ok(stamped(response, &answer))
        }
        CommandOutput::ConditionFailed { version } => Ok(mismatch(version, &answer)),
        CommandOutput::Deleted { .. } => Err(Failure::NoLeader.into()),
    }
}

async fn delete(app: &App, key: Vec<u8>, params: &Params, headers: &HeaderMap) -> Result<Response, Problem> {
    let timeout = params.timeout()?;
    let condition = write_condition(headers)?;
    let answer = app.backend.command(Command::Delete { key, condition }, timeout).await?;
    match answer.output {
        CommandOutput::Deleted { version } => {
            let body = json!({"deleted": version.is_some(), "version": version, "index": answer.index});
            Ok(stamped(json_response(StatusCode::OK, &body), &answer))
        }
        CommandOutput::ConditionFailed { version } => Ok(mismatch(version, &answer)),
        CommandOutput::Put { .. } => Err(Failure::NoLeader.into()),
    }
}

/// 412 with the version that the key has.
fn mismatch(version: Option<u64>, answer: &Answer<CommandOutput>) -> Response {
    let detail = match version {
        Some(version) => format!("the key has version {version}"),
        None => "the key does not exist".into(),
    };
    let problem = Problem::new(StatusCode::PRECONDITION_FAILED, "version_mismatch", detail).with("version", version);
    let mut response = axum::response::IntoResponse::into_response(problem);
    if let Some(version) = version {
        response.headers_mut().insert(header::ETAG, etag(version));
    }
    stamped(response, answer)
}

async fn get(app: &App, key: Vec<u8>, params: &Params, headers: &HeaderMap) -> Result<Response, Problem> {
    let read = params.read(headers)?;
    let meta = params.flag("meta")?;
    let answer = app.backend.query(Query::Get { key }, read).await?;
    let QueryOutput::Value(found) = &answer.output else { return Err(Failure::NoLeader.into()) };
    let Some(item) = found else {
        let problem = Problem::new(StatusCode::NOT_FOUND, "key_not_found", "there is no such key");
        return Ok(stamped(axum::response::IntoResponse::into_response(problem), &answer));
    };
    let mut response = if not_modified(headers, item.version)? {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else if meta {
        json_response(StatusCode::OK, &Value::Object(item_fields(item)))
    } else {
        raw(item)
    };
    response.headers_mut().insert(header::ETAG, etag(item.version));
    Ok(stamped(response, &answer))
}

/// A value's bytes, in a form that no browser runs.
fn raw(item: &Item) -> Response {
    let mut response = Response::new(Body::from(item.value.clone()));
    let headers = response.headers_mut();
    let kind = HeaderValue::try_from(item.content_type.as_str());
    headers.insert(header::CONTENT_TYPE, kind.unwrap_or_else(|_| HeaderValue::from_static("application/octet-stream")));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox; default-src 'none'"));
    response
}

async fn list(app: &App, params: &Params, headers: &HeaderMap) -> Result<Response, Problem> {
    let read = params.read(headers)?;
    let limit = match params.number("limit")? {
        None => PAGE,
        Some(limit @ 1..=LARGEST_PAGE) => limit,
        Some(_) => return Err(Problem::bad_request("limit", format!("give 1 to {LARGEST_PAGE}"))),
    };
    let after = params.bytes("cursor").map(decode_cursor).transpose()?;
    let prefix = params.bytes("prefix").unwrap_or_default().to_vec();
    let query = Query::List { prefix: prefix.clone(), after, limit, max_bytes: PAGE_BYTES };
    let answer = app.backend.query(query, read).await?;
    let QueryOutput::Page { items, more } = &answer.output else { return Err(Failure::NoLeader.into()) };
    let next = items.last().filter(|_| *more).map(|item| encode_cursor(&item.key));
    let body = json!({
        "items": items.iter().map(|item| Value::Object(item_fields(item))).collect::<Vec<_>>(),
        "next": next,
        "index": answer.index,
    });
    let mut response = json_response(StatusCode::OK, &body);
    if let Some(next) = next {
        let prefix = percent_encoding::percent_encode(&prefix, percent_encoding::NON_ALPHANUMERIC);
        let link = format!("</v1/kv?prefix={prefix}&limit={limit}&cursor={next}>; rel=\"next\"");
        if let Ok(link) = HeaderValue::try_from(link) {
            response.headers_mut().insert(header::LINK, link);
        }
    }
    Ok(stamped(response, &answer))
}

/// Cursors are opaque to callers; the first byte is their version.
fn encode_cursor(key: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode([b"1", key].concat())
}

fn decode_cursor(cursor: &[u8]) -> Result<Vec<u8>, Problem> {
    match URL_SAFE_NO_PAD.decode(cursor).as_deref() {
        Ok([b'1', key @ ..]) => Ok(key.to_vec()),
        _ => Err(Problem::bad_request("cursor", "not a cursor of ours: take \"next\" as it is")),
    }
}

/// `key`, as text if it is UTF-8, else in base64 and said to be.
fn key_fields(key: &[u8]) -> Map<String, Value> {
    let mut fields = Map::new();
    match std::str::from_utf8(key) {
        Ok(text) => {
            fields.insert("key".into(), text.into());
        }
        Err(_) => {
            fields.insert("key".into(), STANDARD.encode(key).into());
            fields.insert("key_encoding".into(), "base64".into());
        }
    }
    fields
}

fn item_fields(item: &Item) -> Map<String, Value> {
    let mut fields = key_fields(&item.key);
    let (value, encoding) = match std::str::from_utf8(&item.value) {
        Ok(text) => (text.to_string(), "utf-8"),
        Err(_) => (STANDARD.encode(&item.value), "base64"),
    };
    fields.insert("value".into(), value.into());
    fields.insert("encoding".into(), encoding.into());
    fields.insert("content_type".into(), item.content_type.as_str().into());
    fields.insert("version".into(), item.version.into());
    fields.insert("created_index".into(), item.created_index.into());
    fields.insert("ttl_ms".into(), Value::Null);
    fields.insert("session".into(), Value::Null);
    fields
}

pub(crate) fn json_response(status: StatusCode, body: &Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Where an answer comes from, and at which index.
fn stamped<T>(mut response: Response, answer: &Answer<T>) -> Response {
    let headers = response.headers_mut();
    headers.insert("copycat-index", answer.index.into());
    headers.insert("copycat-term", answer.term.into());
    headers.insert("copycat-served-by", answer.served_by.into());
    if let Some(consistency) = answer.consistency {
        headers.insert("copycat-consistency", HeaderValue::from_static(consistency.name()));
    }
    response
}

/// The request's body, within the limits of size and time.
async fn read_body(app: &App, headers: &HeaderMap, body: Body) -> Result<Vec<u8>, Problem> {
    let limit = app.config.value_bytes;
    let too_large = || {
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "value_too_large", format!("a value has at most {limit} bytes"))
            .with_header(header::CONNECTION, HeaderValue::from_static("close"))
    };
    let length = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|n| n > limit as u64) {
        return Err(too_large());
    }
    let read = Limited::new(body, limit).collect();
    match async_std::future::timeout(app.config.body_timeout, read).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes().to_vec()),
        Ok(Err(e)) if e.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Problem::bad_request("body", "the connection broke before its end")),
        Err(_) => {
            let detail = "the body did not arrive in time";
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "bad_request", detail)
                .with_header(header::CONNECTION, HeaderValue::from_static("close")))
        }
    }
}
