//! Connections that are too many: told so, a few at a time.

use crate::problem::Problem;
use async_std::net::TcpStream;
use async_std::task;
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use std::io;
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Refusals at a time; beyond them connections are closed without a word.
const REFUSALS: usize = 64;
/// How long a client may take to hear it.
const PATIENCE: Duration = Duration::from_secs(1);

pub(super) struct Refusals {
    answer: Arc<[u8]>,
    running: Arc<AtomicUsize>,
}

impl Refusals {
    pub(super) fn new(server: u64) -> Self {
        let body = Problem::overloaded("too many connections").body();
        let answer = format!(
            "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\n\
             connection: close\r\ncopycat-served-by: {server}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        Self { answer: answer.into_bytes().into(), running: Arc::default() }
    }

    /// Answers and closes, whatever is asked.
    pub(super) fn refuse(&self, stream: TcpStream) {
        let (answer, running) = (self.answer.clone(), self.running.clone());
        if running.fetch_add(1, Ordering::Relaxed) >= REFUSALS {
            running.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        task::spawn(async move {
            let _ = async_std::future::timeout(PATIENCE, say(stream, &answer)).await;
            running.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

/// The request is read away, or closing would take the answer back from the client.
async fn say(mut stream: TcpStream, answer: &[u8]) -> io::Result<()> {
    stream.write_all(answer).await?;
    stream.shutdown(Shutdown::Write)?;
    let mut piece = [0; 4096];
    while stream.read(&mut piece).await? > 0 {}
    Ok(())
}
