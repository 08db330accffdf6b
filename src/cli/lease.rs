//! A session that this process holds: begun, kept alive from a thread, listened to, ended.

use super::Failure;
use super::client::{Call, Client, Pauses};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long an attempt at a call may take that a server answers at once.
pub(super) const ATTEMPT: Duration = Duration::from_secs(5);
/// How long a cluster may take to elect a leader, before a call is given up.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);
/// How long to leave it to another client that polls the same session.
const SUPERSEDED: Duration = Duration::from_secs(1);
/// The longest wait of one request.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(30);

pub(super) struct Lease {
    pub(super) client: Arc<Client>,
    pub(super) session: u64,
    timeout: Duration,
    /// The servers let the session live until then at least, in milliseconds of [`now`].
    alive_until: AtomicU64,
    ended: AtomicBool,
}

/// What a poll comes back with.
pub(super) enum Polled {
    /// Batches of events, possibly none.
    Batches(Vec<Value>),
    /// Another client of this session has acknowledged, and so lost, what comes next.
    Gap,
    /// The session has ended, and why.
    Over(String),
    /// No server said anything.
    Nothing,
}

/// A clock that also runs while the machine sleeps, where there is one: sessions end meanwhile.
pub(super) fn now() -> Duration {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let id = rustix::time::ClockId::Boottime;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let id = rustix::time::ClockId::Monotonic;
    let t = rustix::time::clock_gettime(id);
    Duration::new(u64::try_from(t.tv_sec).unwrap_or(0), u32::try_from(t.tv_nsec).unwrap_or(0))
}

/// A duration as the API has it.
pub(super) fn text(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}

/// How long a session may live without a sign of life.
pub(super) fn session_timeout(given: &str) -> Result<Duration, String> {
    let sane = Duration::from_secs(1)..=Duration::from_secs(24 * 3600);
    super::duration(given).and_then(|t| if sane.contains(&t) { Ok(t) } else { Err("give 1s to 24h".into()) })
}

/// A name by which servers know the repeat of a request.
fn idempotency_key() -> Result<String, Failure> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(Failure::new)?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

/// The request that begins a session; a repeat of it begins no other.
pub(super) fn registration(timeout: Duration, name: &str) -> Result<Call<'static>, Failure> {
    let body = json!({ "timeout": text(timeout), "name": name }).to_string().into_bytes();
    let headers = vec![("Idempotency-Key", idempotency_key()?)];
    Ok(Call { headers, body: Some(body), ..Call::new("POST", "/v1/sessions") })
}

impl Lease {
    pub(super) fn begin(
        client: &Arc<Client>,
        timeout: Duration,
        name: &str,
        until: Instant,
    ) -> Result<Arc<Self>, Failure> {
        let call = registration(timeout, name)?;
        // Whichever attempt it was that began it, it was none before the first.
        let sent = now();
        let answer = client.insist(&call, ATTEMPT, until)?.expect(&[201])?;
        let session = answer.json()?["session"].as_u64();
        let session = session.ok_or_else(|| Failure::new("the server's answer names no session"))?;
        let (client, ended) = (Arc::clone(client), AtomicBool::new(false));
        let lease = Self { client, session, timeout, alive_until: AtomicU64::new(0), ended };
        lease.was_alive_at(sent);
        Ok(Arc::new(lease))
    }

    fn was_alive_at(&self, sent: Duration) {
        let until = u64::try_from((sent + self.timeout).as_millis()).unwrap_or(u64::MAX);
        self.alive_until.fetch_max(until, Ordering::Relaxed);
    }

    /// This process has ended it.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// Until when the session will live for sure, on the clock of [`now`].
    pub(super) fn alive_until(&self) -> Duration {
        Duration::from_millis(self.alive_until.load(Ordering::Relaxed))
    }

    /// How long the session will live for sure.
    pub(super) fn left(&self) -> Duration {
        self.alive_until().saturating_sub(now())
    }

    /// How long a request may be held.
    pub(super) fn longest_wait(&self) -> Duration {
        LONGEST_WAIT.min(self.timeout / 2)
    }

    /// Keeps it alive from a thread, once in an interval, and tells of each time that it was. The thread ends when the session
    /// has, and tells why.
    pub(super) fn keep(
        self: &Arc<Self>,
        interval: Duration,
        alive: impl Fn() + Send + 'static,
        over: impl FnOnce(String) + Send + 'static,
    ) {
        let lease = Arc::clone(self);
        thread::spawn(move || {
            if let Some(why) = lease.keep_on(interval, &alive) {
                over(why);
            }
        });
    }

    /// How often a session is kept alive if nothing depends on it to the second.
    pub(super) fn usual_interval(&self) -> Duration {
        self.timeout / 3
    }

    fn keep_on(&self, interval: Duration, alive: &impl Fn()) -> Option<String> {
        let path = format!("/v1/sessions/{}/keep-alive", self.session);
        let call = Call::new("POST", &path);
        let mut due = self.left().saturating_sub(self.timeout.saturating_sub(interval));
        let mut pauses = Pauses::new(&self.client);
        loop {
            thread::sleep(due);
            if self.has_ended() {
                return None;
            }
            let sent = now();
            match self.client.attempt(&call, interval.min(ATTEMPT)) {
                Ok(answer) if answer.status == 200 => {
                    self.was_alive_at(sent);
                    alive();
                    (due, pauses) = (interval, Pauses::new(&self.client));
                }
                Ok(answer) if matches!(answer.status, 404 | 410) => return Some(answer.failure().text),
                Ok(_) | Err(_) => due = pauses.next().min(interval),
            }
        }
    }

    /// Asks to be told of keys. Returns the index after which it is.
    pub(super) fn watch(&self, what: &Value, until: Instant) -> Result<u64, Failure> {
        let path = format!("/v1/sessions/{}/watches", self.session);
        let body = Some(what.to_string().into_bytes());
        let call = Call { body, ..Call::new("POST", &path) };
        let answer = self.client.insist(&call, ATTEMPT, until)?;
        match answer.json()?["watch"].as_u64() {
            Some(index) if matches!(answer.status, 200 | 201) => Ok(index),
            _ => Err(answer.failure()),
        }
    }

    /// Asks for events, and acknowledges those through `after`.
    pub(super) fn poll(&self, after: Option<u64>) -> Polled {
        let wait = self.longest_wait();
        let mut query = vec![("wait", text(wait).into_bytes())];
        query.extend(after.map(|after| ("after", after.to_string().into_bytes())));
        let path = format!("/v1/sessions/{}/events", self.session);
        let call = Call { query, ..Call::new("GET", &path) };
        let Ok(answer) = self.client.attempt(&call, wait + ATTEMPT) else { return Polled::Nothing };
        match (answer.status, answer.code().as_str()) {
            (200, _) => match answer.json() {
                Ok(page) => Polled::Batches(page["batches"].as_array().cloned().unwrap_or_default()),
                Err(_) => Polled::Nothing,
            },
            (409, "events_gap") => Polled::Gap,
            (404 | 410, _) => Polled::Over(answer.failure().text),
            (409, _) => {
                thread::sleep(SUPERSEDED);
                Polled::Batches(Vec::new())
            }
            _ => Polled::Nothing,
        }
    }

    /// Ends the session, and with it all that it holds. If no server hears of it in time, they end it after its timeout.
    pub(super) fn end(&self, time: Duration) -> Result<(), Failure> {
        self.ended.store(true, Ordering::Relaxed);
        let path = format!("/v1/sessions/{}", self.session);
        let answer = self.client.insist(&Call::new("DELETE", &path), ATTEMPT.min(time), Instant::now() + time)?;
        // One that has ended is what was wanted, and may be what an attempt without an answer did.
        answer.expect(&[200, 410]).map(drop)
    }
}
