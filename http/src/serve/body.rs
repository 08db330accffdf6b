//! A request's body, within its time.

use super::watch::Watched;
use crate::config::TooSlow;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

pub(super) struct TimedBody {
    pub(super) inner: Incoming,
    pub(super) watched: Arc<Watched>,
}

impl Body for TimedBody {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        if polled.is_pending() {
            self.watched.await_body();
            if self.watched.passed(&self.watched.body) {
                return Poll::Ready(Some(Err(Box::new(TooSlow))));
            }
        }
        Poll::Ready(ready!(polled).map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for TimedBody {
    fn drop(&mut self) {
        self.watched.body.clear();
        if !self.inner.is_end_stream() {
            self.watched.unread.store(true, Ordering::Relaxed);
        }
    }
}
