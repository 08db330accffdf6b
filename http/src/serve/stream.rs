//! A connection's bytes, watched.

use super::watch::Watched;
use async_io::Async;
use futures_lite::io::{AsyncRead, AsyncWrite};
use std::io::{self, Read};
use std::net::TcpStream;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

/// How much of an unwanted request is thrown away before its connection is closed under it, in pieces.
const LINGER_PIECES: usize = 512;
const PIECE: usize = 16 * 1024;

/// Invariant: while `drained`, nothing has been heard of more bytes, and the kernel is not asked for any: a connection that
/// waits for its answer is polled for every step of it.
pub(super) struct WatchedStream {
    inner: Async<TcpStream>,
    watched: Arc<Watched>,
    drained: bool,
    /// Our side is closed; how many pieces may still be thrown away.
    closing: Option<usize>,
}

impl WatchedStream {
    /// # Errors
    /// If the stream cannot be waited for.
    pub(super) fn new(stream: async_std::net::TcpStream, watched: Arc<Watched>) -> io::Result<Self> {
        let inner = Async::new(TcpStream::try_from(stream)?)?;
        Ok(Self { inner, watched, drained: false, closing: None })
    }

    fn receive(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            if self.drained {
                ready!(self.inner.poll_readable(cx))?;
                self.drained = false;
            }
            match self.inner.get_ref().read(buffer) {
                Ok(n) => {
                    // Less than there was room for is all that there was. Of the end one hears again and again.
                    self.drained = n > 0 && n < buffer.len();
                    return Poll::Ready(Ok(n));
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.drained = true,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
    }
}

impl AsyncRead for WatchedStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let polled = self.receive(cx, buffer);
        if polled.is_ready() {
            self.watched.received();
        }
        polled
    }
}

impl WatchedStream {
    fn noted<T>(&self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.watched.write.clear();
            return polled;
        }
        self.watched.await_write();
        if self.watched.passed(&self.watched.write) {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes no answer")));
        }
        Poll::Pending
    }
}

impl AsyncWrite for WatchedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.noted(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write_vectored(cx, bytes);
        self.noted(polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    /// Closes our side; and, where the client may still be sending, reads on for a while.
    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.closing.is_none() {
            // A client that is gone already has no end to be told of.
            self.inner.get_ref().shutdown(std::net::Shutdown::Write).ok();
            self.closing = Some(if self.watched.unread.load(Ordering::Relaxed) { LINGER_PIECES } else { 0 });
        }
        let mut piece = [0; PIECE];
        while let Some(left @ 1..) = self.closing {
            self.watched.await_end();
            if self.watched.passed(&self.watched.linger) {
                break;
            }
            match ready!(self.receive(cx, &mut piece)) {
                Ok(1..) => self.closing = Some(left - 1),
                Ok(0) | Err(_) => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}
