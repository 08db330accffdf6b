//! `/livez`, `/readyz`, and the page that says what this is.

use super::{Shared, page};
use crate::code::Code;
use crate::openapi;
use crate::params::Params;
use crate::problem::Problem;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, Uri, header};
use axum::response::{IntoResponse, Response};

/// That this code runs is all it says: a server without a quorum is alive, and must not be restarted for it.
pub(super) async fn live() -> &'static str {
    "ok\n"
}

pub(crate) const READY: &[&str] = &["verbose"];

/// `ok`, or what is missing; `?verbose` names every check.
pub(super) async fn ready(State(app): State<Shared>, uri: Uri) -> Result<String, Problem> {
    let verbose = Params::parse(uri.query(), READY)?.flag("verbose")?;
    let checks = app.backend.checks();
    if let Some((name, why)) = checks.0.iter().find_map(|(name, check)| Some((name, check.as_ref().err()?))) {
        let problem = Problem::new(Code::NotReady, format!("{name}: {why}")).retryable();
        return Err(problem.with("checks", checks.told()));
    }
    let mut text = String::new();
    for (name, _) in checks.0.iter().filter(|_| verbose) {
        text.push_str(&format!("{name}: ok\n"));
    }
    Ok(text + "ok\n")
}

/// The API as programs read it.
pub(super) async fn openapi() -> ([(HeaderName, &'static str); 1], &'static str) {
    ([(header::CONTENT_TYPE, "application/json")], openapi::text())
}

/// The dashboard for browsers; for everybody else the way in, with the address that the caller itself used.
pub(super) async fn home(State(app): State<Shared>, headers: HeaderMap) -> Response {
    if page::wants_page(&headers) {
        return page::home(&app, &headers);
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    let text = format!(
        "Copycat, server {}: a replicated key-value and lock service. Its API is below /v1/:\n\n  \
         curl -X PUT http://{host}/v1/kv/hello -d world\n  \
         curl http://{host}/v1/kv/hello\n  \
         curl 'http://{host}/v1/kv?prefix=he'\n  \
         curl -X POST http://{host}/v1/sessions\n  \
         curl http://{host}/v1/locks\n  \
         curl http://{host}/v1/cluster\n  \
         curl http://{host}/v1/server\n\n\
         Probes: /livez and /readyz?verbose. All of it: /openapi.json. In a browser, this page is the dashboard.\n",
        app.backend.id()
    );
    ([(header::VARY, "Accept")], text).into_response()
}
