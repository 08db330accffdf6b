//! One client's connection: HTTP/1.1 kept alive, made anew when it breaks. Cheaper than the other subcommands' calls, so
//! that what is timed is the servers.

use crate::cli::Failure;
use async_std::net::TcpStream;
use async_std::task;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, StatusCode, header};
use smol_hyper::rt::FuturesIo;

pub(super) struct Connection {
    /// `HOST:PORT`
    address: String,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Connection {
    /// To an endpoint, `http://HOST:PORT`; connects with the first request.
    pub(super) fn new(endpoint: &str) -> Self {
        let address = endpoint.trim_end_matches('/').trim_start_matches("http://").to_string();
        Self { address, sender: None }
    }

    async fn sender(&mut self) -> Result<&mut SendRequest<Full<Bytes>>, Failure> {
        if self.sender.as_ref().is_none_or(SendRequest::is_closed) {
            let stream = TcpStream::connect(&self.address).await.map_err(|e| self.failure(e))?;
            stream.set_nodelay(true).map_err(|e| self.failure(e))?;
            let (sender, connection) = handshake(FuturesIo::new(stream)).await.map_err(|e| self.failure(e))?;
            task::spawn(connection);
            self.sender = Some(sender);
        }
        self.sender.as_mut().ok_or_else(|| Failure::new("no connection"))
    }

    fn failure(&self, e: impl std::fmt::Display) -> Failure {
        Failure::new(format!("{}: {e}", self.address))
    }

    /// Sends a request and reads the answer to its end. Any status but 200 and 201 is a failure.
    pub(super) async fn call(&mut self, method: &str, path: &str, body: Bytes) -> Result<(), Failure> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.address)
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .body(Full::new(body))
            .map_err(|e| self.failure(e))?;
        let sender = self.sender().await?;
        let answered = match sender.ready().await {
            Ok(()) => sender.send_request(request).await,
            Err(e) => Err(e),
        };
        let response = answered.map_err(|e| self.failure(e))?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(|e| self.failure(e))?.to_bytes();
        match status {
            StatusCode::OK | StatusCode::CREATED => Ok(()),
            _ => Err(self.failure(format!("{status} {}", String::from_utf8_lossy(&body).trim()))),
        }
    }
}
