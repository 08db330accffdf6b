//! The HTTP server, on async-std: the only place of this crate that knows a runtime.

use crate::backend::Backend;
use crate::guard::Guard;
use crate::kv::json_response;
use crate::problem::{Problem, method_not_allowed, no_such_endpoint};
use crate::{kv, params::Params};
use async_channel::Receiver;
use async_std::net::{TcpListener, TcpStream};
use async_std::task;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use futures_lite::FutureExt;
use futures_lite::io::{AsyncRead, AsyncWrite};
use hyper::service::service_fn;
use serde_json::{Value, json};
use smol_hyper::rt::{FuturesIo, SmolTimer};
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tower::Service;
use tracing::{debug, warn};

/// Limits and names.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// The longest value, bytes.
    pub value_bytes: usize,
    /// How long a header block may take from its first byte.
    pub header_timeout: Duration,
    /// How long a body may take.
    pub body_timeout: Duration,
    /// How long a connection may be idle.
    pub idle_timeout: Duration,
    /// Connections at once; further ones wait in the system's queue.
    pub connections: usize,
    /// Host names that requests may name, besides this server's addresses.
    pub allow_hosts: Vec<String>,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            value_bytes: 1024 * 1024,
            header_timeout: Duration::from_secs(5),
            body_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(120),
            connections: 4096,
            allow_hosts: Vec::new(),
        }
    }
}

/// What hyper may buffer of a header block before it gives up by itself; ours is below.
const READ_BUFFER: usize = 64 * 1024;
/// How often a connection's timeouts are looked at.
const WATCH: Duration = Duration::from_millis(500);
/// How long requests under way may take once the server stops.
const LAST_REQUESTS: Duration = Duration::from_secs(1);

/// What handlers reach.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) config: Arc<HttpConfig>,
    guard: Arc<Guard>,
    requests: Arc<AtomicU64>,
}

fn router(app: App) -> Router {
    Router::new()
        .route("/v1/kv", any(kv::by_query))
        .route("/v1/kv/", any(kv::by_path))
        .route("/v1/kv/{*key}", any(kv::by_path))
        .route("/v1/cluster", get(cluster))
        .route("/v1/server", get(server))
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .route("/", get(home))
        .fallback(no_such_endpoint)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(axum::middleware::from_fn_with_state(app.clone(), envelope))
        .with_state(app)
}

/// Around every request: is it for us, and the headers that every answer has.
async fn envelope(State(app): State<App>, request: Request, next: Next) -> Response {
    let id = request.headers().get("request-id").filter(|v| v.len() <= 128 && !v.is_empty()).cloned();
    let mut response = match app.guard.check(request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    let id = id.unwrap_or_else(|| {
        let number = app.requests.fetch_add(1, Ordering::Relaxed);
        HeaderValue::try_from(format!("{}-{number:x}", app.backend.id())).unwrap_or(HeaderValue::from_static("0"))
    });
    let headers = response.headers_mut();
    headers.insert("request-id", id);
    headers.entry("copycat-served-by").or_insert_with(|| app.backend.id().into());
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn cluster(State(app): State<App>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    Params::parse(uri.query(), &headers, &[])?;
    let view = serde_json::to_value(app.backend.cluster()).unwrap_or_default();
    Ok(json_response(StatusCode::OK, &view))
}

async fn server(State(app): State<App>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    Params::parse(uri.query(), &headers, &[])?;
    let view = serde_json::to_value(app.backend.server()).unwrap_or_default();
    Ok(json_response(StatusCode::OK, &view))
}

async fn live() -> &'static str {
    "ok\n"
}

async fn ready(State(app): State<App>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    let verbose = Params::parse(uri.query(), &headers, &["verbose"])?.flag("verbose")?;
    let checks = app.backend.checks();
    let status = if checks.pass() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    if verbose {
        let named = checks
            .0
            .iter()
            .map(|(name, check)| (name.to_string(), Value::from(check.as_ref().err().map_or("ok", String::as_str))));
        let body = json!({"ready": checks.pass(), "checks": Value::Object(named.collect())});
        return Ok(json_response(status, &body));
    }
    let text = match checks.0.iter().find_map(|(name, check)| Some((name, check.as_ref().err()?))) {
        None => "ok\n".to_string(),
        Some((name, why)) => format!("{name}: {why}\n"),
    };
    Ok((status, text).into_response())
}

async fn home(State(app): State<App>) -> String {
    format!(
        "Copycat, server {}.\n\nThe API is below /v1/:\n  curl -X PUT <this address>/v1/kv/hello -d world\n  \
         curl <this address>/v1/kv/hello\n  curl <this address>/v1/cluster\n",
        app.backend.id()
    )
}

/// Serves until `stop` has a message or is closed; then finishes what is under way, within a second.
///
/// # Errors
/// If the listener's address cannot be told.
pub async fn serve(
    listener: TcpListener,
    backend: Arc<dyn Backend>,
    config: HttpConfig,
    stop: Receiver<()>,
) -> io::Result<()> {
    let guard = Arc::new(Guard::new(listener.local_addr()?, &config.allow_hosts));
    let app = App { backend, config: Arc::new(config), guard, requests: Arc::default() };
    let router = router(app.clone());
    let connections = Arc::new(AtomicUsize::new(0));
    // Closed when the server stops: every connection watches it.
    let (closing, closed) = async_channel::bounded::<()>(1);
    loop {
        let accepted = async { Some(listener.accept().await) }
            .or(async {
                let _ = stop.recv().await;
                None
            })
            .await;
        let stream = match accepted {
            None => break,
            Some(Ok((stream, _))) => stream,
            Some(Err(e)) => {
                warn!("cannot accept a connection: {e}");
                task::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        while connections.load(Ordering::Relaxed) >= app.config.connections && !stop.is_closed() {
            task::sleep(Duration::from_millis(10)).await;
        }
        connections.fetch_add(1, Ordering::Relaxed);
        let (router, app, closed, connections) = (router.clone(), app.clone(), closed.clone(), connections.clone());
        task::spawn(async move {
            if let Err(e) = connection(stream, router, &app.config, closed).await {
                debug!("a connection ended: {e}");
            }
            connections.fetch_sub(1, Ordering::Relaxed);
        });
    }
    drop(closing);
    let deadline = Instant::now() + LAST_REQUESTS;
    while connections.load(Ordering::Relaxed) > 0 && Instant::now() < deadline {
        task::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

async fn connection(
    stream: TcpStream,
    router: Router,
    config: &HttpConfig,
    closed: Receiver<()>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    stream.set_nodelay(true)?;
    let clock = Arc::new(Clock::new());
    let io = FuturesIo::new(Timed { stream, clock: clock.clone() });
    let service = {
        let clock = clock.clone();
        service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            clock.set(Phase::Busy);
            let (mut router, clock) = (router.clone(), clock.clone());
            async move {
                let response = router.call(request.map(Body::new)).await.unwrap_or_else(|e| match e {});
                clock.set(Phase::Answer);
                Ok::<_, Infallible>(response)
            }
        })
    };
    // hyper's own header timeout also counts idle time, so it gets the idle limit; the stricter one is ours. Without the
    // timer it would do nothing at all.
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(SmolTimer::new())
        .header_read_timeout(config.idle_timeout)
        .max_buf_size(READ_BUFFER)
        .serve_connection(io, service);
    futures_lite::pin!(connection);
    loop {
        enum Next {
            Ended(Result<(), hyper::Error>),
            Look,
            Close,
        }
        let ended = async { Next::Ended(connection.as_mut().await) };
        let look = async {
            task::sleep(WATCH.min(config.header_timeout)).await;
            Next::Look
        };
        let close = async {
            let _ = closed.recv().await;
            Next::Close
        };
        match ended.or(look).or(close).await {
            Next::Ended(result) => return Ok(result?),
            Next::Look if clock.waits_too_long(config) => return Ok(()),
            Next::Look => {}
            Next::Close => {
                connection.as_mut().graceful_shutdown();
                return Ok(async_std::future::timeout(LAST_REQUESTS, connection).await??);
            }
        }
    }
}

/// What a connection is waiting for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The first byte of a request.
    Idle = 0,
    /// The rest of its header block.
    Head = 1,
    /// A body, or the backend: those have limits of their own.
    Busy = 2,
    /// The client, to take its answer.
    Answer = 3,
}

/// Since when a connection has been waiting for what: the phase in the low two bits, milliseconds above.
struct Clock {
    start: Instant,
    state: AtomicU64,
}

impl Clock {
    fn new() -> Self {
        // A new connection owes its first header block at once.
        Self { start: Instant::now(), state: AtomicU64::new(Phase::Head as u64) }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX >> 2)
    }

    fn set(&self, phase: Phase) {
        self.state.store(self.now() << 2 | phase as u64, Ordering::Relaxed);
    }

    fn is(&self, phase: Phase) -> bool {
        self.state.load(Ordering::Relaxed) & 3 == phase as u64
    }

    fn waits_too_long(&self, config: &HttpConfig) -> bool {
        let state = self.state.load(Ordering::Relaxed);
        let waited = Duration::from_millis(self.now().saturating_sub(state >> 2));
        match state & 3 {
            1 => waited >= config.header_timeout,
            2 => false,
            _ => waited >= config.idle_timeout,
        }
    }
}

/// A stream that notes when a request begins to arrive and when an answer leaves.
struct Timed {
    stream: TcpStream,
    clock: Arc<Clock>,
}

impl AsyncRead for Timed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if matches!(result, Poll::Ready(Ok(n)) if n > 0) && self.clock.is(Phase::Idle) {
            self.clock.set(Phase::Head);
        }
        result
    }
}

impl AsyncWrite for Timed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if result.is_ready() && self.clock.is(Phase::Answer) {
            self.clock.set(Phase::Idle);
        }
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}
