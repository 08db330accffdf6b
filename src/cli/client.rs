//! HTTP calls to a cluster: the next endpoint is tried when one cannot be reached.

use super::{Endpoints, Failure};
use serde_json::Value;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A little more than the longest request a server takes.
const TIMEOUT: Duration = Duration::from_secs(65);
/// The largest answer that is read.
const ANSWER_LIMIT: u64 = 64 * 1024 * 1024;

/// Between two attempts at a call: at first, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

pub(super) struct Client {
    agent: ureq::Agent,
    endpoints: Vec<String>,
    /// The endpoint that attempts go to: the last that helped.
    at: AtomicUsize,
}

pub(super) struct Call<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    /// Parameters, not yet encoded.
    pub(super) query: Vec<(&'a str, Vec<u8>)>,
    pub(super) headers: Vec<(&'a str, String)>,
    pub(super) body: Option<Vec<u8>>,
}

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: ureq::http::HeaderMap,
    pub(super) body: Vec<u8>,
}

impl<'a> Call<'a> {
    /// Without parameters, headers and body.
    pub(super) fn new(method: &'a str, path: &'a str) -> Self {
        Self { method, path, query: Vec::new(), headers: Vec::new(), body: None }
    }
}

impl Answer {
    /// This answer, if it has one of the statuses that it should have.
    pub(super) fn expect(self, statuses: &[u16]) -> Result<Self, Failure> {
        if statuses.contains(&self.status) { Ok(self) } else { Err(self.failure()) }
    }

    pub(super) fn json(&self) -> Result<Value, Failure> {
        serde_json::from_slice(&self.body).map_err(|e| Failure::new(format!("the server's answer is no JSON: {e}")))
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }

    /// What went wrong; null if nothing did, or it is told otherwise than in JSON.
    fn problem(&self) -> Value {
        if self.status < 400 { Value::Null } else { serde_json::from_slice(&self.body).unwrap_or_default() }
    }

    /// The problem's code, or nothing.
    pub(super) fn code(&self) -> String {
        self.problem()["code"].as_str().unwrap_or_default().to_string()
    }

    /// The same call may find the cluster in a better state.
    fn is_passing(&self) -> bool {
        (self.status == 429 || self.status >= 500) && self.problem()["retryable"] == true
    }

    /// Another server may be better off, and this one has done nothing.
    fn is_for_another(&self) -> bool {
        if self.status != 503 {
            return false;
        }
        let problem = self.problem();
        problem["retryable"] == true && problem["outcome"] == "not_applied"
    }

    /// The problem in this answer as a failure, with the exit code that the help names.
    pub(super) fn failure(&self) -> Failure {
        let problem = self.problem();
        let text = |field: &str| problem.get(field).and_then(Value::as_str).unwrap_or_default();
        let code = match (text("code"), text("outcome")) {
            ("key_not_found" | "session_not_found" | "session_expired", _) => 3,
            ("version_mismatch", _) => 4,
            (_, "unknown") => 5,
            _ => 1,
        };
        let detail = if text("detail").is_empty() { text("title") } else { text("detail") };
        Failure::with_code(format!("{} {}: {detail}", self.status, text("code")), code)
    }
}

/// Bytes in a URL.
pub(super) fn encode(bytes: &[u8]) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/".contains(&b);
    bytes.iter().map(|&b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// A name in a URL that is one segment of its path.
pub(super) fn segment(bytes: &[u8]) -> String {
    encode(bytes).replace('/', "%2F")
}

impl Client {
    pub(super) fn new(cluster: &Endpoints) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(2)))
            .timeout_global(Some(TIMEOUT))
            .build();
        let trim = |e: &String| {
            let e = e.trim_end_matches('/');
            if e.contains("://") { e.to_string() } else { format!("http://{e}") }
        };
        let endpoints = cluster.endpoints.iter().map(trim).collect();
        Self { agent: config.into(), endpoints, at: AtomicUsize::new(0) }
    }

    /// Makes a call. Only a server that could not be reached at all, or says that it did nothing and can do nothing now,
    /// is followed by the next one: a command whose answer was lost must not be sent twice.
    pub(super) fn call(&self, call: &Call<'_>) -> Result<Answer, Failure> {
        let (mut last, mut refused) = (String::new(), None);
        for endpoint in &self.endpoints {
            match self.try_one(endpoint, call, TIMEOUT) {
                Ok(answer) if answer.is_for_another() => refused = Some(answer),
                Ok(answer) => return Ok(answer),
                Err(e) if never_sent(&e) => last = format!("{endpoint}: {e}"),
                Err(e) if call.method == "GET" => last = format!("{endpoint}: {e}"),
                Err(e) => {
                    let text = format!("{endpoint}: {e}; whether the command was carried out is unknown");
                    return Err(Failure::with_code(text, 5));
                }
            }
        }
        refused.ok_or_else(|| nobody(&last))
    }

    /// The body of a GET as it comes, however long that takes, from the first endpoint that can be reached and does not
    /// send to another.
    pub(super) fn download(&self, path: &str) -> Result<impl std::io::Read + use<>, Failure> {
        let (mut last, mut refused) = (String::new(), None);
        for endpoint in &self.endpoints {
            let request = ureq::http::Request::get(format!("{endpoint}{path}")).body(());
            let answered = request.map_err(ureq::Error::from).and_then(|request| {
                let request = self.agent.configure_request(request).timeout_global(None);
                self.agent.run(request.timeout_recv_response(Some(TIMEOUT)).build())
            });
            let response = match answered {
                Ok(response) => response,
                Err(e) => {
                    last = format!("{endpoint}: {e}");
                    continue;
                }
            };
            let (parts, mut body) = response.into_parts();
            if parts.status.as_u16() == 200 {
                return Ok(body.into_reader());
            }
            let read = body.with_config().limit(ANSWER_LIMIT).read_to_vec();
            let body = read.map_err(|e| Failure::new(format!("{endpoint}: {e}")))?;
            let answer = Answer { status: parts.status.as_u16(), headers: parts.headers, body };
            if !answer.is_for_another() {
                return Err(answer.failure());
            }
            refused = Some(answer);
        }
        Err(refused.map_or_else(|| nobody(&last), |answer| answer.failure()))
    }

    /// Makes a call that does nothing twice, once, at one server; when that does not help, the next attempt goes to the next.
    pub(super) fn attempt(&self, call: &Call<'_>, time: Duration) -> Result<Answer, Failure> {
        let at = self.at.load(Ordering::Relaxed);
        let endpoint = &self.endpoints[at % self.endpoints.len()];
        let failure = match self.try_one(endpoint, call, time) {
            Ok(answer) if !answer.is_passing() => return Ok(answer),
            Ok(answer) => Failure::new(format!("{endpoint}: {}", answer.failure().text)),
            Err(e) => Failure::new(format!("{endpoint}: {e}")),
        };
        // Several threads may find the same server down: it is left behind once.
        let _ = self.at.compare_exchange(at, at + 1, Ordering::Relaxed, Ordering::Relaxed);
        Err(failure)
    }

    /// Makes such a call again and again, until it is answered or the time is over.
    pub(super) fn insist(&self, call: &Call<'_>, each: Duration, until: Instant) -> Result<Answer, Failure> {
        let mut pauses = Pauses::new(self);
        loop {
            match self.attempt(call, each) {
                Ok(answer) => return Ok(answer),
                Err(failure) => {
                    let pause = pauses.next();
                    if Instant::now() + pause >= until {
                        return Err(Failure::new(format!("no server helps: {}", failure.text)));
                    }
                    std::thread::sleep(pause);
                }
            }
        }
    }

    fn try_one(&self, endpoint: &str, call: &Call<'_>, time: Duration) -> Result<Answer, ureq::Error> {
        let mut url = format!("{endpoint}{}", call.path);
        for (i, (name, value)) in call.query.iter().enumerate() {
            url.push(if i == 0 { '?' } else { '&' });
            url.push_str(name);
            url.push('=');
            url.push_str(&encode(value));
        }
        let mut request = ureq::http::Request::builder().method(call.method).uri(url);
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        let response = match &call.body {
            Some(body) => self.agent.run(self.within(request.body(body.as_slice())?, time)),
            None => self.agent.run(self.within(request.body(())?, time)),
        }?;
        let (parts, mut body) = response.into_parts();
        let body = body.with_config().limit(ANSWER_LIMIT).read_to_vec()?;
        Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
    }

    fn within<B: ureq::AsSendBody>(&self, request: ureq::http::Request<B>, time: Duration) -> ureq::http::Request<B> {
        self.agent.configure_request(request).timeout_global(Some(time)).build()
    }
}

/// How long to wait before one more attempt: other servers are tried at once, then ever more slowly.
pub(super) struct Pauses {
    at_once: usize,
    next: Duration,
}

impl Pauses {
    pub(super) fn new(client: &Client) -> Self {
        Self { at_once: client.endpoints.len() - 1, next: PAUSES.0 }
    }

    pub(super) fn next(&mut self) -> Duration {
        if self.at_once > 0 {
            self.at_once -= 1;
            return Duration::ZERO;
        }
        let pause = self.next;
        self.next = (pause * 2).min(PAUSES.1);
        pause
    }
}

/// No endpoint could be reached, the last for this reason.
fn nobody(last: &str) -> Failure {
    Failure::new(format!("no server answers: {last}; is the cluster running, and --endpoint right?"))
}

fn never_sent(e: &ureq::Error) -> bool {
    match e {
        ureq::Error::ConnectionFailed | ureq::Error::HostNotFound | ureq::Error::BadUri(_) => true,
        ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => true,
        ureq::Error::Io(e) => e.kind() == ErrorKind::ConnectionRefused,
        _ => false,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A server that gives this answer once.
    fn answering(status: &str, body: &str) -> String {
        serving(1, status, body)
    }

    /// A server that gives this answer so many times, and is gone then.
    pub(crate) fn serving(times: usize, status: &str, body: &str) -> String {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
        std::thread::spawn(move || {
            use std::io::{Read, Write};
            for _ in 0..times {
                let (mut stream, _) = listener.accept().expect("a client");
                let _ = stream.read(&mut [0; 4096]);
                stream.write_all(answer.as_bytes()).expect("it reads");
            }
        });
        address.to_string()
    }

    #[test]
    fn a_server_that_did_nothing_is_followed_by_the_next() {
        let call = Call { body: Some(Vec::new()), ..Call::new("PUT", "/v1/kv") };
        let status =
            |endpoints: Vec<String>| Client::new(&Endpoints { endpoints }).call(&call).map(|answer| answer.status);
        let problem = |code: &str, outcome: &str| {
            serde_json::json!({ "code": code, "retryable": true, "outcome": outcome }).to_string()
        };
        let without = || answering("503 Service Unavailable", &problem("no_leader", "not_applied"));
        assert_eq!(status(vec![without(), answering("200 OK", "{}")]).expect("an answer"), 200);
        assert_eq!(status(vec![without(), without()]).expect("an answer"), 503, "what the last one said");
        let lost = answering("504 Gateway Timeout", &problem("timeout", "unknown"));
        assert_eq!(status(vec![lost, answering("200 OK", "{}")]).expect("an answer"), 504, "it is not sent twice");
    }

    #[test]
    fn keys_of_any_bytes_survive_a_url() {
        assert_eq!(encode(b"a/b-c"), "a/b-c");
        assert_eq!(encode("ä &=?#%".as_bytes()), "%C3%A4%20%26%3D%3F%23%25");
        assert_eq!(segment(b"a/b"), "a%2Fb");
    }
}
