//! From a request to a response: which code answers what, and the headers that every answer has.

mod accept;
mod admission;
pub(crate) mod cluster;
pub(crate) mod commands;
mod compress;
mod dashboard;
pub(crate) mod events;
pub(crate) mod feed;
pub(crate) mod health;
pub(crate) mod history;
pub(crate) mod kv;
mod list;
pub(crate) mod locks;
pub(crate) mod log;
mod machine;
mod page;
mod paging;
pub(crate) mod queries;
mod remove;
pub(crate) mod sessions;
pub(crate) mod snapshots;
mod sse;
mod stream;
mod submit;
mod wait;
pub(crate) mod watches;

use crate::backend::{Answer, Backend, Keys};
use crate::code::Code;
use crate::config::HttpConfig;
use crate::guard::Guard;
use crate::history::{History, Kind};
use crate::key;
use crate::name;
use crate::params;
use crate::problem::Problem;
use admission::{Admission, InFlight};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, any, delete, get, post};
use futures_lite::FutureExt;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use tower::Service;

const INDEX: HeaderName = HeaderName::from_static("copycat-index");
const TERM: HeaderName = HeaderName::from_static("copycat-term");
const SERVED_BY: HeaderName = HeaderName::from_static("copycat-served-by");
const EVENT_INDEX: HeaderName = HeaderName::from_static("copycat-event-index");
const CONSISTENCY: HeaderName = HeaderName::from_static("copycat-consistency");
const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

/// The longest id of a request that is taken from its sender.
const REQUEST_ID_BYTES: usize = 128;

/// What handlers reach.
pub(crate) struct App {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) config: HttpConfig,
    /// Numbers for streams of events.
    pub(crate) streams: Numbers,
    pub(crate) history: Arc<History>,
}

impl App {
    /// What is asked for keys and locks; an error where there are none.
    fn keys(&self) -> Result<&dyn Keys, Problem> {
        let none = "this server runs another state machine, without keys and locks: POST /v1/commands and /v1/queries";
        self.backend.keys().ok_or_else(|| Problem::new(Code::NoSuchEndpoint, none))
    }
}

type Shared = Arc<App>;

/// All of the API, for any number of connections.
#[derive(Clone)]
pub(crate) struct Api {
    router: Router,
    guard: Arc<Guard>,
    ids: Arc<Numbers>,
    served_by: HeaderValue,
    admission: Arc<Admission>,
    pub(crate) history: Arc<History>,
}

impl Api {
    pub(crate) fn new(backend: Arc<dyn Backend>, config: HttpConfig, local: IpAddr) -> Self {
        let guard = Arc::new(Guard::new(local, &config.allow_hosts, config.header_bytes));
        let served_by = backend.id().into();
        let admission = Arc::new(Admission::new(config.requests));
        let history = Arc::new(History::default());
        let routes = routes().into_iter();
        let router = routes
            .fold(Router::new(), |router, (path, methods)| router.route(path, methods))
            .fallback(other)
            .method_not_allowed_fallback(async || Problem::method_not_allowed())
            .with_state(Arc::new(App { backend, config, streams: Numbers::default(), history: history.clone() }));
        Self { router, guard, ids: Arc::default(), served_by, admission, history }
    }

    /// Whether a request may be looked at; and its place. The probes are always answered: what asks them would take a busy
    /// server for a dead one.
    fn admit(&self, request: &Request) -> Result<Option<InFlight>, Problem> {
        self.guard.check(request.method(), request.uri(), request.version(), request.headers())?;
        let counted = request.uri().path().starts_with("/v1");
        counted.then(|| self.admission.admit()).transpose()
    }

    /// Answers a request. A fault in a handler costs that request, not the server.
    pub(crate) async fn handle(&self, mut request: Request) -> Response {
        let id = self.ids.id(request.headers());
        let (kind, start) = (Kind::of(request.method(), request.uri()), Instant::now());
        let checked = self.admit(&request);
        let mut response = match checked {
            Ok(place) => {
                let command = !request.method().is_safe() && request.uri().path() != queries::PATH;
                // A copy, for an answer that goes on when the handler is done.
                if let Some(place) = &place {
                    request.extensions_mut().insert(place.clone());
                }
                match AssertUnwindSafe(self.router.clone().call(request)).catch_unwind().await {
                    Ok(Ok(response)) => response,
                    Ok(Err(never)) => match never {},
                    Err(_) => panicked(command),
                }
            }
            Err(problem) => problem.into_response(),
        };
        if let Some(kind) = kind {
            let served = response.headers().get(CONSISTENCY).map(HeaderValue::as_bytes);
            self.history.note(kind.served(served), response.status(), start.elapsed());
        }
        let headers = response.headers_mut();
        headers.insert(REQUEST_ID, id);
        headers.entry(SERVED_BY).or_insert_with(|| self.served_by.clone());
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        // A cache may keep a value, but asks each time whether it still holds.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        response
    }
}

/// Every path but those of single keys, which hold any bytes.
fn routes() -> Vec<(&'static str, MethodRouter<Shared>)> {
    vec![
        ("/", get(health::home)),
        ("/livez", get(health::live)),
        ("/readyz", get(health::ready)),
        ("/openapi.json", get(health::openapi)),
        ("/v1/cluster", get(cluster::cluster)),
        ("/v1/cluster/events", get(feed::feed)),
        ("/v1/cluster/members/{member}", post(cluster::change).delete(cluster::remove)),
        ("/v1/cluster/settings", get(cluster::settings).put(cluster::set)),
        ("/v1/cluster/leader", post(cluster::transfer)),
        ("/v1/server", get(cluster::server)),
        ("/v1/server/history", get(history::history)),
        ("/v1/dashboard", get(dashboard::dashboard)),
        ("/v1/log", get(log::log)),
        ("/v1/log/entries", get(log::entries)),
        ("/v1/log/compactions", post(snapshots::compact)),
        ("/v1/snapshots", post(snapshots::take)),
        ("/v1/snapshots/latest", get(snapshots::latest)),
        ("/v1/kv", any(kv::by_query)),
        ("/v1/transactions", post(commands::transactions)),
        ("/v1/commands", post(commands::commands)),
        (queries::PATH, post(queries::queries)),
        ("/v1/sessions", get(sessions::list).post(sessions::register)),
        ("/v1/sessions/{session}", get(sessions::one).delete(sessions::unregister)),
        ("/v1/sessions/{session}/keep-alive", post(sessions::keep_alive)),
        ("/v1/sessions/{session}/watches", post(watches::watch)),
        ("/v1/sessions/{session}/watches/{watch}", delete(watches::unwatch)),
        ("/v1/sessions/{session}/events", get(events::events)),
        ("/v1/locks", get(locks::list)),
        ("/v1/locks/{name}", get(locks::one).put(locks::acquire).delete(locks::release)),
        ("/v1/locks/{name}/verify", get(locks::verify)),
        ("/v1/locks/{name}/holders/{session}", delete(locks::revoke)),
    ]
}

fn panicked(command: bool) -> Response {
    tracing::error!("a request handler panicked");
    let failure = crate::backend::Failure::Internal;
    let problem = if command { Problem::of_command(failure, false) } else { Problem::of_query(failure) };
    problem.into_response()
}

/// Keys are not left to the router, which would decode and match them its own way.
async fn other(State(app): State<Shared>, request: Request) -> Response {
    if request.uri().path().starts_with(key::PATH) {
        return kv::by_path(&app, request).await.into_response();
    }
    if request.uri().path().starts_with(page::PATH) {
        return page::file(&app, request.method(), request.uri().path(), request.headers());
    }
    // A lock without a name is of no route.
    if request.uri().path().starts_with(name::PATH)
        && let Err(problem) = name::from_path(request.uri().path())
    {
        return problem.into_response();
    }
    Problem::no_such_endpoint().into_response()
}

/// The number at this place of a path.
fn number_in_path(uri: &Uri, place: usize, field: &str) -> Result<u64, Problem> {
    params::number(field, uri.path().split('/').nth(place).unwrap_or_default())
}

/// Numbers with a random start, so that those of two servers, and of two lives of a server, differ.
pub(crate) struct Numbers {
    life: u64,
    next: AtomicU64,
}

impl Default for Numbers {
    fn default() -> Self {
        Self { life: RandomState::new().hash_one(0), next: AtomicU64::new(1) }
    }
}

impl Numbers {
    pub(crate) fn next(&self) -> u64 {
        self.life.wrapping_add(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// The id of a request: its own, or one that is made for it.
    fn id(&self, headers: &HeaderMap) -> HeaderValue {
        match headers.get(REQUEST_ID) {
            Some(given) if is_sane(given.as_bytes()) => given.clone(),
            _ => {
                let number = self.next.fetch_add(1, Ordering::Relaxed);
                let id = format!("{:08x}-{number:x}", self.life >> 32);
                HeaderValue::try_from(id).unwrap_or_else(|_| HeaderValue::from_static("-"))
            }
        }
    }
}

fn is_sane(id: &[u8]) -> bool {
    (1..=REQUEST_ID_BYTES).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
}

/// Where an answer comes from, and at which index.
fn stamp<T>(headers: &mut HeaderMap, answer: &Answer<T>) {
    headers.insert(INDEX, answer.index.into());
    headers.insert(TERM, answer.term.into());
    headers.insert(SERVED_BY, answer.served_by.into());
    if let Some(index) = answer.event_index {
        headers.insert(EVENT_INDEX, index.into());
    }
    if let Some(consistency) = answer.consistency {
        headers.insert(CONSISTENCY, HeaderValue::from_static(consistency.name()));
    }
}

fn stamped<T>(mut response: Response, answer: &Answer<T>) -> Response {
    stamp(response.headers_mut(), answer);
    response
}

/// What was answered, and the rest of the answer.
fn split<T>(answer: Answer<T>) -> (T, Answer<()>) {
    let Answer { output, index, term, event_index, served_by, consistency } = answer;
    (output, Answer { output: (), index, term, event_index, served_by, consistency })
}

fn empty(status: axum::http::StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::routes;

    #[test]
    fn the_document_has_every_path_and_no_other() {
        let mut served: Vec<_> = routes().into_iter().map(|(path, _)| path.to_string()).collect();
        served.push("/v1/kv/{key}".into());
        let mut told = crate::openapi::paths();
        served.sort();
        told.sort();
        assert_eq!(told, served);
    }
}
