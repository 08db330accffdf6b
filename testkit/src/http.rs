//! A small HTTP/1.1 client that never sends a request twice, and knows whether one may have arrived.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// The largest answer that is read.
const ANSWER_LIMIT: u64 = 64 * 1024 * 1024;

/// No answer came.
#[derive(Debug)]
pub enum Lost {
    /// There was no connection: the server has not seen the request.
    NeverSent(io::Error),
    /// The server may have acted on it.
    Unanswered(io::Error),
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverSent(e) => write!(f, "never sent: {e}"),
            Self::Unanswered(e) => write!(f, "sent, no answer: {e}"),
        }
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Names in small letters, and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// A header, by its name in small letters.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A client of one server. It keeps one connection.
#[derive(Debug)]
pub struct Client {
    server: SocketAddr,
    timeout: Duration,
    connection: Option<BufReader<TcpStream>>,
}

impl Client {
    /// A client that waits no longer than this for a piece of an answer.
    #[must_use]
    pub fn new(server: SocketAddr, timeout: Duration) -> Self {
        Self { server, timeout, connection: None }
    }

    /// The server it talks to.
    #[must_use]
    pub fn server(&self) -> SocketAddr {
        self.server
    }

    /// Sends one request, once.
    ///
    /// # Errors
    /// If no answer came, and whether the request may have arrived.
    pub fn request(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer, Lost> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect().map_err(Lost::NeverSent)?,
        };
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.server);
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body);
        // Even a failed write may have brought the request over.
        connection.get_mut().write_all(&bytes).map_err(Lost::Unanswered)?;
        let (answer, keep) = read_answer(&mut connection, method).map_err(Lost::Unanswered)?;
        if keep {
            self.connection = Some(connection);
        }
        Ok(answer)
    }

    fn connect(&self) -> io::Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect_timeout(&self.server, self.timeout)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(self.timeout))?;
        stream.set_write_timeout(Some(self.timeout))?;
        Ok(BufReader::new(stream))
    }
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_string())
}

fn line(from: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    if from.take(64 * 1024).read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_string())
}

/// The answer, and whether the connection can be used again.
fn read_answer(from: &mut impl BufRead, method: &str) -> io::Result<(Answer, bool)> {
    let (status, headers) = loop {
        let first = line(from)?;
        let status: u16 =
            first.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or_else(|| malformed("no status line"))?;
        let mut headers = Vec::new();
        loop {
            let header = line(from)?;
            if header.is_empty() {
                break;
            }
            let (name, value) = header.split_once(':').ok_or_else(|| malformed("no header"))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_string()));
        }
        if status >= 200 {
            break (status, headers);
        }
    };
    let mut answer = Answer { status, headers, body: Vec::new() };
    let mut keep = answer.header("connection").is_none_or(|c| !c.eq_ignore_ascii_case("close"));
    let chunked = answer.header("transfer-encoding").is_some_and(|t| t.eq_ignore_ascii_case("chunked"));
    if method == "HEAD" || status == 204 || status == 304 {
        return Ok((answer, keep));
    }
    if chunked {
        read_chunks(from, &mut answer.body)?;
    } else if let Some(length) = answer.header("content-length") {
        let length: u64 = length.parse().map_err(|_| malformed("no length"))?;
        if length > ANSWER_LIMIT {
            return Err(malformed("too long"));
        }
        from.take(length).read_to_end(&mut answer.body)?;
        if answer.body.len() as u64 != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    } else {
        from.take(ANSWER_LIMIT).read_to_end(&mut answer.body)?;
        keep = false;
    }
    Ok((answer, keep))
}

fn read_chunks(from: &mut impl BufRead, body: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let size = line(from)?;
        let size = u64::from_str_radix(size.split(';').next().unwrap_or_default(), 16)
            .map_err(|_| malformed("no chunk size"))?;
        if size == 0 {
            while !line(from)?.is_empty() {}
            return Ok(());
        }
        let before = body.len() as u64;
        if before + size > ANSWER_LIMIT {
            return Err(malformed("too long"));
        }
        from.take(size).read_to_end(body)?;
        if body.len() as u64 - before != size || !line(from)?.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> io::Result<(Answer, bool)> {
        read_answer(&mut text.as_bytes(), "GET")
    }

    #[test]
    fn answers_are_read_whole_or_not_at_all() {
        let (answer, keep) = read("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nETag: \"7\"\r\n\r\nhi").unwrap();
        assert_eq!((answer.status, answer.text().as_str(), keep), (200, "hi", true));
        assert_eq!(answer.header("etag"), Some("\"7\""));
        let (answer, _) =
            read("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n1;x\r\n!\r\n0\r\n\r\n").unwrap();
        assert_eq!(answer.text(), "hi!");
        assert!(!read("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").unwrap().1);
        assert_eq!(read("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 304 x\r\n\r\n").unwrap().0.status, 304);
        for cut in ["", "HTTP/1.1 200 OK\r\nContent-Le", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi"] {
            assert!(read(cut).is_err(), "{cut:?}");
        }
        assert!(read("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhi").is_err());
    }

    #[test]
    fn nobody_there_is_never_sent() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut client = Client::new(free, Duration::from_secs(1));
        assert!(matches!(client.request("GET", "/", &[], b""), Err(Lost::NeverSent(_))));
    }
}
