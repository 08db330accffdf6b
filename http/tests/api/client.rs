//! A client that sends exactly the bytes it is given.

use crate::fake::Server;
use crate::openapi::is_documented;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// Checks that this is a whole problem with this status and code, and gives it.
    pub(crate) fn problem(&self, status: u16, code: &str) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status, status, "{text}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{text}");
        let json = self.json();
        assert_eq!(json["code"], code, "{text}");
        assert_eq!(json["status"], status, "{text}");
        assert_eq!(json["type"], format!("urn:copycat:problem:{code}"));
        assert!(json["title"].is_string() && json["detail"].is_string() && json["retryable"].is_boolean(), "{text}");
        assert!(["applied", "not_applied", "unknown"].contains(&json["outcome"].as_str().expect("an outcome")));
        assert!(self.header("request-id").is_some() && self.header("copycat-served-by").is_some());
        json
    }

    /// 400 that names this field.
    pub(crate) fn bad(&self, field: &str) {
        let problem = self.problem(400, "bad_request");
        assert_eq!(problem["field"], field);
        assert!(problem["detail"].as_str().expect("text").contains(field));
        assert_eq!(problem["outcome"], "not_applied");
    }
}

/// One connection.
pub(crate) struct Client(BufReader<TcpStream>);

impl Client {
    pub(crate) fn connect(server: &Server) -> Self {
        let stream = TcpStream::connect(server.address).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a time limit");
        Self(BufReader::new(stream))
    }

    /// From an address of this machine's own other than the usual one.
    pub(crate) fn connect_from(address: &str, server: &Server) -> Self {
        let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None);
        let socket = socket.expect("a socket");
        let from: std::net::SocketAddr = format!("{address}:0").parse().expect("an address");
        rustix::net::bind(&socket, &from).expect("it is ours");
        rustix::net::connect(&socket, &server.address).expect("a connection");
        Self(BufReader::new(TcpStream::from(socket)))
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).expect("the server reads");
    }

    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.get_mut().write_all(bytes)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a line");
        line.trim_end().to_string()
    }

    /// The next answer to a request with this method.
    pub(crate) fn answer(&mut self, method: &str) -> Response {
        let mut response = self.head();
        let bare = method == "HEAD" || response.status == 304 || response.status < 200;
        if !bare && response.header("transfer-encoding") == Some("chunked") {
            response.body = self.chunks();
        } else if !bare {
            let length = response.header("content-length").expect("a length").parse().expect("a number");
            response.body.resize(length, 0);
            self.0.read_exact(&mut response.body).expect("the body");
        }
        response
    }

    /// A body whose length is not told.
    pub(crate) fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk() {
            body.extend_from_slice(&chunk);
        }
        body
    }

    /// A part of it.
    pub(crate) fn chunk(&mut self) -> Option<Vec<u8>> {
        let line = self.line();
        let length = usize::from_str_radix(&line, 16).unwrap_or_else(|_| panic!("{line:?}"));
        let mut chunk = vec![0; length + 2];
        self.0.read_exact(&mut chunk).expect("a chunk");
        chunk.truncate(length);
        (length > 0).then_some(chunk)
    }

    /// The next answer, up to its body.
    pub(crate) fn head(&mut self) -> Response {
        let line = self.line();
        let status = line.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or_else(|| panic!("{line:?}"));
        let mut headers = Vec::new();
        loop {
            let line = self.line();
            let Some((name, value)) = line.split_once(": ") else { break };
            headers.push((name.to_string(), value.to_string()));
        }
        Response { status, headers, body: Vec::new() }
    }

    /// The status alone, of an answer that may break off.
    pub(crate) fn answer_status(&mut self) -> u16 {
        self.line().split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0)
    }

    pub(crate) fn read_exact(&mut self, buffer: &mut [u8]) -> std::io::Result<()> {
        self.0.read_exact(buffer)
    }

    /// Whether the server has closed the connection.
    pub(crate) fn closed(&mut self) -> bool {
        matches!(self.0.read(&mut [0]), Ok(0) | Err(_))
    }
}

/// The bytes of a request; with a host unless one is given.
pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\n");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        text.push_str("Host: 127.0.0.1\r\n");
    }
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() || method == "PUT" {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    [text.as_bytes(), body].concat()
}

impl Server {
    /// A request on a connection of its own; its answer is one of the document's.
    pub(crate) fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        let mut client = Client::connect(self);
        client.send(&request(method, path, headers, body));
        let response = client.answer(method);
        // What another machine takes and gives is its own.
        if !self.fake.keyless {
            is_documented(method, path, &response);
        }
        response
    }

    pub(crate) fn get(&self, path: &str) -> Response {
        self.call("GET", path, &[], b"")
    }

    pub(crate) fn put(&self, path: &str, value: &[u8]) -> Response {
        self.call("PUT", path, &[], value)
    }

    pub(crate) fn delete(&self, path: &str) -> Response {
        self.call("DELETE", path, &[], b"")
    }

    /// A session that begins.
    pub(crate) fn begin(&self) -> u64 {
        let answer = self.call("POST", "/v1/sessions", &[], b"");
        assert_eq!(answer.status, 201);
        answer.json()["session"].as_u64().expect("an id")
    }
}
