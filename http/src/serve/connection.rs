//! One connection: hyper over a watched stream.

use super::body::TimedBody;
use super::stream::WatchedStream;
use super::timer::HeadTimer;
use super::watch::{Order, Place};
use crate::routes::Api;
use async_std::net::TcpStream;
use axum::body::Body;
use http_body::Body as _;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use smol_hyper::rt::FuturesIo;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;
use tracing::debug;

/// What hyper may buffer. A header block that is longer gets hyper's own bare 431; up to there, ours.
const READ_BUFFER: usize = 64 * 1024;

/// Serves until the client or the server ends it.
pub(super) async fn run(stream: TcpStream, api: Api, place: Place) {
    let watched = place.watched.clone();
    let service = service_fn(|request: Request<Incoming>| {
        let (api, watched) = (api.clone(), watched.clone());
        async move {
            watched.unread.store(false, Ordering::Relaxed);
            let request = request.map(|inner| match inner.is_end_stream() {
                true => Body::empty(),
                false => Body::new(TimedBody { inner, watched }),
            });
            Ok::<_, Infallible>(api.handle(request).await)
        }
    });
    let stream = match WatchedStream::new(stream, watched.clone()) {
        Ok(stream) => stream,
        Err(e) => return debug!("a connection ended before it began: {e}"),
    };
    let io = FuturesIo::new(stream);
    let mut connection = pin!(
        http1::Builder::new()
            .timer(HeadTimer(watched.clone()))
            // The limits are with the timer: this only switches it on.
            .header_read_timeout(Duration::from_secs(1))
            .max_buf_size(READ_BUFFER)
            .serve_connection(io, service)
    );
    let mut finishing = false;
    let ended = poll_fn(|cx| {
        watched.waker.register(cx.waker());
        match watched.ordered() {
            Order::Cut => return Poll::Ready(Ok(())),
            Order::Finish if !finishing => {
                finishing = true;
                connection.as_mut().graceful_shutdown();
            }
            Order::Finish | Order::Serve => {}
        }
        connection.as_mut().poll(cx)
    });
    if let Err(e) = ended.await {
        debug!("a connection ended: {e}");
    }
    drop(place);
}
