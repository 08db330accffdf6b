//! `DELETE /v1/kv?prefix=…`: all keys that begin so.

use super::submit::{internal, submit};
use super::{App, stamped};
use crate::backend::CommandOutput;
use crate::caller::Claims;
use crate::fence::Fence;
use crate::json::{self, decode};
use crate::key::KEY_BYTES;
use crate::params::Params;
use crate::problem::Problem;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;

pub(super) async fn remove(app: &App, params: &Params, headers: &HeaderMap) -> Result<Response, Problem> {
    for name in [header::IF_MATCH, header::IF_NONE_MATCH] {
        if headers.contains_key(&name) {
            let field = if name == header::IF_MATCH { "If-Match" } else { "If-None-Match" };
            return Err(Problem::bad_request(field, "many keys have many versions: not together with a prefix"));
        }
    }
    let prefix = params.bytes("prefix").unwrap_or_default().to_vec();
    if prefix.len() > KEY_BYTES {
        return Err(Problem::bad_request("prefix", format!("at most {KEY_BYTES} bytes")));
    }
    let (fence, caller) = (Fence::parse(params)?, Claims::parse(params, headers)?.caller()?);
    let command = decode::delete_prefix(prefix, params.number("limit")?, params.flag("all")?)?;
    let answer = submit(app, Fence::around(fence, command)?, caller, params.timeout()?).await?;
    let CommandOutput::DeletedMany { deleted, more } = answer.output else { return Err(internal()) };
    let body = json::DeletedMany { deleted, more, index: answer.index };
    Ok(stamped(json::response(StatusCode::OK, &body), &answer))
}
