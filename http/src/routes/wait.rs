//! `GET /v1/kv/{key}?wait=…`: held until the key changes.

use super::{App, kv, split};
use crate::backend::Read;
use crate::conditions;
use crate::params::Params;
use crate::problem::Problem;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use std::time::Duration;

/// What was really waited for, where that is less than was asked.
const WAIT: HeaderName = HeaderName::from_static("copycat-wait");

pub(super) async fn wait(
    app: &App,
    key: Vec<u8>,
    wait: Duration,
    params: &Params,
    read: Read,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let after = match (params.number("after")?, conditions::of_wait(headers)?) {
        (Some(a), Some(b)) if a != b => return Err(Problem::bad_request("after", "it and If-None-Match differ")),
        (a, b) => a.or(b),
    };
    let meta = params.flag("meta")?;
    let used = wait.min(app.config.wait);
    let answer = app.keys()?.watch(key, after, used, read).await.map_err(Problem::of_query)?;
    let (output, from) = split(answer);
    let mut response = match output.item {
        None => kv::missing(&from),
        Some(item) if output.changed => kv::found(item, meta, &from),
        Some(item) => kv::not_modified(item.version, &from),
    };
    tell(&mut response, wait, used);
    Ok(response)
}

/// Says how long was really waited at most, where that is less than was asked.
pub(super) fn tell(response: &mut Response, asked: Duration, used: Duration) {
    if used < asked
        && let Ok(text) = HeaderValue::try_from(text(used))
    {
        response.headers_mut().insert(WAIT, text);
    }
}

/// A duration as it would be written in a request.
fn text(duration: Duration) -> String {
    match duration.as_millis() {
        ms if ms.is_multiple_of(1000) => format!("{}s", ms / 1000),
        ms => format!("{ms}ms"),
    }
}
