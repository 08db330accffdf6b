//! The least of an HTTP/1.1 client: one connection, kept alive, one request at a time. It is small so that what is timed
//! is the servers.

use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub struct Http {
    address: String,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
}

pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

fn bad(text: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.into())
}

impl Http {
    pub fn new(address: &str) -> Self {
        Self { address: address.to_string(), stream: None, buffer: Vec::with_capacity(16 * 1024) }
    }

    /// Sends a request and reads its answer. A connection that broke is made anew by the next call.
    pub async fn call(&mut self, method: &str, path: &str, body: &[u8]) -> io::Result<Answer> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(&self.address).await?;
                stream.set_nodelay(true)?;
                stream
            }
        };
        self.buffer.clear();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        self.buffer.extend_from_slice(head.as_bytes());
        self.buffer.extend_from_slice(body);
        stream.write_all(&self.buffer).await?;
        self.buffer.clear();
        let answer = self.read(&mut stream).await?;
        self.stream = Some(stream);
        Ok(answer)
    }

    async fn read(&mut self, stream: &mut TcpStream) -> io::Result<Answer> {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            self.more(stream).await?;
        };
        let head = String::from_utf8_lossy(&self.buffer[..end]).to_ascii_lowercase();
        let status = head.get(9..12).and_then(|s| s.parse().ok()).ok_or_else(|| bad("no status"))?;
        let field = |name: &str| {
            head.lines().find_map(|l| l.strip_prefix(name).and_then(|l| l.strip_prefix(':')).map(str::trim))
        };
        let body = if field("transfer-encoding").is_some_and(|v| v.contains("chunked")) {
            self.chunked(stream, end).await?
        } else {
            let length: usize = field("content-length").and_then(|v| v.parse().ok()).unwrap_or(0);
            while self.buffer.len() < end + length {
                self.more(stream).await?;
            }
            self.buffer[end..end + length].to_vec()
        };
        Ok(Answer { status, body })
    }

    async fn chunked(&mut self, stream: &mut TcpStream, mut at: usize) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = loop {
                if let Some(end) = self.buffer[at..].windows(2).position(|w| w == b"\r\n") {
                    break at + end;
                }
                self.more(stream).await?;
            };
            let size = std::str::from_utf8(&self.buffer[at..line]).ok().and_then(|s| usize::from_str_radix(s, 16).ok());
            let size = size.ok_or_else(|| bad("no chunk size"))?;
            let (from, to) = (line + 2, line + 2 + size);
            while self.buffer.len() < to + 2 {
                self.more(stream).await?;
            }
            if size == 0 {
                return Ok(body);
            }
            body.extend_from_slice(&self.buffer[from..to]);
            at = to + 2;
        }
    }

    async fn more(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        if stream.read_buf(&mut self.buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// Reads the next line of a streamed answer, such as a watch of etcd's gateway: sends the request when `body` is
    /// given, and leaves the connection open.
    pub async fn stream_line(&mut self, request: Option<(&str, &[u8])>) -> io::Result<String> {
        if let Some((path, body)) = request {
            let mut stream = TcpStream::connect(&self.address).await?;
            stream.set_nodelay(true)?;
            let head =
                format!("POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n", self.address, body.len());
            stream.write_all(&[head.as_bytes(), body].concat()).await?;
            self.buffer.clear();
            self.stream = Some(stream);
        }
        let mut stream = self.stream.take().ok_or_else(|| bad("no stream"))?;
        loop {
            // Each message of the gateway is a line of JSON in a chunk of its own.
            if let Some(at) = self.buffer.iter().position(|&b| b == b'\n')
                && self.buffer[..at].starts_with(b"{")
            {
                let line = String::from_utf8_lossy(&self.buffer[..at]).into_owned();
                self.buffer.drain(..=at);
                self.stream = Some(stream);
                return Ok(line);
            }
            if let Some(at) = self.buffer.iter().position(|&b| b == b'\n') {
                self.buffer.drain(..=at);
                continue;
            }
            self.more(&mut stream).await?;
        }
    }
}
