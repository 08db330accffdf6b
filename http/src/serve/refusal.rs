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

/// Who has too many.
#[derive(Clone, Copy)]
pub(super) enum Refusal {
    /// The server.
    Server,
    /// The client's address.
    Address,
}

pub(super) struct Refusals {
    of_server: Arc<[u8]>,
    of_address: Arc<[u8]>,
    running: Arc<AtomicUsize>,
}

fn answer(server: u64, problem: &Problem) -> Arc<[u8]> {
    let (status, body) = (problem.status(), problem.body());
    let text = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\n\
         connection: close\r\ncopycat-served-by: {server}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    text.into_bytes().into()
}

impl Refusals {
    pub(super) fn new(server: u64) -> Self {
        Self {
            of_server: answer(server, &Problem::overloaded("too many connections")),
            of_address: answer(server, &Problem::too_many_requests("too many connections from this address")),
            running: Arc::default(),
        }
    }

    /// Answers and closes, whatever is asked.
    pub(super) fn refuse(&self, stream: TcpStream, why: Refusal) {
        let answer = match why {
            Refusal::Server => self.of_server.clone(),
            Refusal::Address => self.of_address.clone(),
        };
        let running = self.running.clone();
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
