//! Asking for a lock until it is granted or the time is over.

use super::timing::Timing;
use super::{Happening, NOT_OBTAINED, UNAVAILABLE, listen};
use crate::cli::Failure;
use crate::cli::client::{Answer, Call, Client, segment};
use crate::cli::lease::{self, Lease, PATIENCE};
use serde_json::Value;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How much later than a wait's end its answer may come.
const GRACE: Duration = Duration::from_secs(5);

const PAUSE: Duration = Duration::from_millis(100);

pub(super) struct Seeker {
    pub(super) client: Arc<Client>,
    pub(super) name: Vec<u8>,
    pub(super) ttl: Duration,
    /// When to give up; none: at the first refusal.
    pub(super) until: Option<Instant>,
    pub(super) shared: bool,
    /// For the main thread, so that it can end it.
    pub(super) session: Arc<Mutex<Option<Arc<Lease>>>>,
    pub(super) teller: Sender<Happening>,
}

/// A lock, and the session that holds it.
pub(super) struct Held {
    pub(super) lease: Arc<Lease>,
    pub(super) token: u64,
}

fn unavailable(failure: Failure) -> Failure {
    Failure { code: UNAVAILABLE, ..failure }
}

impl Seeker {
    pub(super) fn obtain(&self) -> Result<Held, Failure> {
        loop {
            let lease = Lease::begin(&self.client, self.ttl, &own_name(), self.patient()).map_err(unavailable)?;
            *self.session.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&lease));
            let (teller, session) = (self.teller.clone(), lease.session);
            let to_main = teller.clone();
            let alive = move || drop(to_main.send(Happening::Alive));
            lease.keep(Timing::of(self.ttl).interval(), alive, move |why| {
                let _ = teller.send(Happening::Lost(session, why));
            });
            match self.ask(&lease)? {
                Ok(token) => {
                    let held = Held { lease, token };
                    listen(&held, &self.teller);
                    return Ok(held);
                }
                // Cut off for too long: the place in the queue is lost, the time is not over.
                Err(answer) if answer.status == 410 && !lease.has_ended() && !self.left().is_zero() => {}
                Err(answer) if matches!(answer.status, 202 | 409) => return Err(self.held_by_others(&answer)),
                Err(answer) => return Err(unavailable(answer.failure())),
            }
        }
    }

    fn left(&self) -> Duration {
        self.until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()))
    }

    /// An election alone fails nothing.
    fn patient(&self) -> Instant {
        let least = Instant::now() + PATIENCE;
        self.until.map_or(least, |until| until.max(least))
    }

    /// The token, or the last answer.
    ///
    /// A server holds a request for half the session's timeout only, and what ends without the lock gives up its place;
    /// `queue` keeps it until the next request, and until the end of the session.
    fn ask(&self, lease: &Lease) -> Result<Result<u64, Answer>, Failure> {
        let path = format!("/v1/locks/{}", segment(&self.name));
        loop {
            let wait = self.left().min(lease.longest_wait());
            let mut query = vec![("session", lease.session.to_string().into_bytes())];
            if self.shared {
                query.push(("mode", b"shared".to_vec()));
            }
            if wait.as_millis() > 0 {
                query.extend([("wait", lease::text(wait).into_bytes()), ("queue", b"true".to_vec())]);
            }
            let call = Call { query, ..Call::new("PUT", &path) };
            let answer = self.client.insist(&call, wait + GRACE, self.patient()).map_err(unavailable)?;
            match answer.status {
                200 => {
                    let token = answer.json().map_err(unavailable)?["token"].as_u64();
                    return token.map(Ok).ok_or_else(|| unavailable(Failure::new("the server's answer has no token")));
                }
                202 if !self.left().is_zero() => {}
                // The session has ended meanwhile, as the next answer will say.
                409 if wait.as_millis() > 0 && !self.left().is_zero() => thread::sleep(PAUSE),
                _ => return Ok(Err(answer)),
            }
        }
    }

    fn held_by_others(&self, answer: &Answer) -> Failure {
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let holders: Vec<String> = body["holders"].as_array().into_iter().flatten().map(|h| self.holder(h)).collect();
        let name = String::from_utf8_lossy(&self.name).into_owned();
        let text = match holders.as_slice() {
            [] => format!("the lock {name} was not obtained: others came first"),
            _ => format!("the lock {name} was not obtained: it is held by {}", holders.join(", ")),
        };
        Failure::with_code(text, NOT_OBTAINED)
    }

    /// A holder, with what its session is called if that can be learned.
    fn holder(&self, holder: &Value) -> String {
        let (session, token) = (&holder["session"], &holder["token"]);
        let path = format!("/v1/sessions/{session}");
        let call = Call::new("GET", &path);
        let view = self.client.attempt(&call, Duration::from_secs(2)).ok().and_then(|answer| answer.json().ok());
        match view.as_ref().and_then(|view| view["name"].as_str()) {
            Some(name) if !name.is_empty() => format!("session {session} ({name}), token {token}"),
            _ => format!("session {session}, token {token}"),
        }
    }
}

/// What people find in the list of sessions.
fn own_name() -> String {
    let host = rustix::system::uname();
    format!("copycat lock, process {} on {}", std::process::id(), host.nodename().to_string_lossy())
}
