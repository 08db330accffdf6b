//! What this server answered in the last minutes, second by second: how often, and how fast.
//!
//! Invariant: no two points have the same time, the later the higher; at most [`KEPT`] of them are kept. A request costs
//! one step into a histogram; what is told of a second is computed once, at its end.

use crate::backend::{Backend, Consistency};
use crate::json::{HistoryPoint, MemberLag, OperationRate};
use axum::http::{Method, StatusCode, Uri};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How many seconds are kept: ten minutes.
pub(crate) const KEPT: usize = 600;

/// Buckets for each doubling of the time that a request took: what is told is at most an eighth too long.
const STEPS: usize = 8;
/// From a microsecond to more than an hour.
const DOUBLINGS: usize = 32;

/// What is counted apart. Those that look at the server itself are not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Read(Consistency),
    Write,
    Transaction,
    Command,
    Lock,
    Session,
    /// Held until something happens: counted, but how long is up to the caller.
    Wait,
}

const KINDS: [Kind; 9] = [
    Kind::Read(Consistency::Linearizable),
    Kind::Read(Consistency::Lease),
    Kind::Read(Consistency::Sequential),
    Kind::Write,
    Kind::Transaction,
    Kind::Command,
    Kind::Lock,
    Kind::Session,
    Kind::Wait,
];

impl Kind {
    /// What a request is, by what it asks; `None`: it is not counted.
    pub(crate) fn of(method: &Method, uri: &Uri) -> Option<Self> {
        let path = uri.path().strip_prefix("/v1/")?;
        let (first, rest) = path.split_once('/').unwrap_or((path, ""));
        let read = method.is_safe();
        let query = uri.query().unwrap_or("");
        let waits = || query.split('&').any(|pair| pair.starts_with("wait="));
        Some(match first {
            "kv" | "locks" if waits() => Self::Wait,
            "sessions" if rest.ends_with("/events") => Self::Wait,
            "kv" | "locks" | "sessions" if read => Self::Read(asked(query)),
            "queries" => Self::Read(Consistency::Linearizable),
            "kv" => Self::Write,
            "transactions" => Self::Transaction,
            "commands" => Self::Command,
            "locks" => Self::Lock,
            "sessions" => Self::Session,
            _ => return None,
        })
    }

    /// The same, as it was really served.
    pub(crate) fn served(self, consistency: Option<&[u8]>) -> Self {
        let named = |c: &Consistency| consistency == Some(c.name().as_bytes());
        match (self, CONSISTENCIES.into_iter().find(named)) {
            (Self::Read(_), Some(really)) => Self::Read(really),
            _ => self,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Read(_) => "read",
            Self::Write => "write",
            Self::Transaction => "transaction",
            Self::Command => "command",
            Self::Lock => "lock",
            Self::Session => "session",
            Self::Wait => "wait",
        }
    }
}

const CONSISTENCIES: [Consistency; 3] = [Consistency::Linearizable, Consistency::Lease, Consistency::Sequential];

/// For a read that fails: what was served is not told then.
fn asked(query: &str) -> Consistency {
    let given = query.split('&').find_map(|pair| pair.strip_prefix("consistency="));
    CONSISTENCIES.into_iter().find(|c| given == Some(c.name())).unwrap_or(Consistency::Linearizable)
}

/// Requests of one kind in the running second.
#[derive(Debug)]
struct Counts {
    count: u64,
    failed: u64,
    longest: u64,
    buckets: Box<[u32]>,
}

impl Counts {
    fn new() -> Self {
        Self { count: 0, failed: 0, longest: 0, buckets: vec![0; STEPS * DOUBLINGS].into() }
    }

    fn add(&mut self, took: Duration, failed: bool) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.count += 1;
        self.failed += u64::from(failed);
        self.longest = self.longest.max(us);
        if let Some(bucket) = self.buckets.get_mut(bucket(us)) {
            *bucket += 1;
        }
    }

    /// The time within which so many of a hundred requests were answered.
    fn within(&self, percent: u64) -> u64 {
        let wanted = (self.count * percent).div_ceil(100).max(1);
        let mut seen = 0;
        for (bucket, &count) in self.buckets.iter().enumerate() {
            seen += u64::from(count);
            if seen >= wanted {
                return top(bucket).min(self.longest);
            }
        }
        self.longest
    }

    fn told(&self, kind: Kind) -> OperationRate {
        let timed = |us| Some(us).filter(|_| kind != Kind::Wait);
        OperationRate {
            operation: kind.name(),
            consistency: if let Kind::Read(consistency) = kind { Some(consistency.name()) } else { None },
            count: self.count,
            failed: self.failed,
            p50_us: timed(self.within(50)),
            p99_us: timed(self.within(99)),
            max_us: timed(self.longest),
        }
    }

    fn clear(&mut self) {
        (self.count, self.failed, self.longest) = (0, 0, 0);
        self.buckets.fill(0);
    }
}

/// Times below [`STEPS`] have a bucket each; each doubling behind that has [`STEPS`].
fn bucket(us: u64) -> usize {
    let steps = STEPS as u64;
    let doubling = us.max(steps).ilog2() - steps.ilog2();
    let at = u64::from(doubling) * steps + (us >> doubling);
    usize::try_from(at).unwrap_or(usize::MAX).min(STEPS * DOUBLINGS - 1)
}

/// The longest time in a bucket.
fn top(bucket: usize) -> u64 {
    let (steps, bucket) = (STEPS as u64, bucket as u64);
    if bucket < 2 * steps {
        return bucket;
    }
    let doubling = bucket / steps - 1;
    ((bucket - doubling * steps + 1) << doubling) - 1
}

/// The last minutes.
#[derive(Debug)]
pub(crate) struct History(Mutex<Kept>);

#[derive(Debug)]
struct Kept {
    running: Vec<Counts>,
    points: VecDeque<HistoryPoint>,
}

impl Default for History {
    fn default() -> Self {
        let running = KINDS.iter().map(|_| Counts::new()).collect();
        Self(Mutex::new(Kept { running, points: VecDeque::new() }))
    }
}

impl History {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request of this kind was answered.
    pub(crate) fn note(&self, kind: Kind, status: StatusCode, took: Duration) {
        let failed = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
        if let Some(at) = KINDS.iter().position(|known| *known == kind) {
            self.lock().running[at].add(took, failed);
        }
    }

    /// A second is over.
    pub(crate) fn end_second(&self, backend: &dyn Backend) {
        let (server, cluster) = (backend.server(), backend.cluster());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let time_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let lags = cluster.members.iter().filter_map(|member| {
            Some(MemberLag { id: member.id, lag: member.lag?, lag_ms: member.lag_ms.unwrap_or(0) })
        });
        let members = lags.collect();
        let mut kept = self.lock();
        // The wall clock may go back; ours must not.
        let last = kept.points.back().map_or(0, |point| point.time_ms);
        let mut operations = Vec::new();
        for (kind, counts) in KINDS.iter().zip(&mut kept.running) {
            if counts.count > 0 {
                operations.push(counts.told(*kind));
                counts.clear();
            }
        }
        kept.points.push_back(HistoryPoint {
            time_ms: time_ms.max(last + 1),
            term: server.term,
            leader: server.leader,
            commit_index: server.commit_index,
            applied_index: server.applied_index,
            log_bytes: server.log.bytes,
            memory_bytes: server.memory_bytes,
            sessions: server.sessions,
            operations,
            members,
        });
        if kept.points.len() > KEPT {
            kept.points.pop_front();
        }
    }

    /// The points behind this time, at most `limit`; and whether there are more.
    pub(crate) fn behind(&self, after: u64, limit: usize) -> (Vec<HistoryPoint>, bool) {
        let kept = self.lock();
        let from = kept.points.partition_point(|point| point.time_ms <= after);
        let points: Vec<_> = kept.points.range(from..).take(limit).cloned().collect();
        let more = from + points.len() < kept.points.len();
        (points, more)
    }

    /// The time of the last point, 0 before the first.
    pub(crate) fn last(&self) -> u64 {
        self.lock().points.back().map_or(0, |point| point.time_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_what_is_at_most_an_eighth_apart() {
        let mut last = 0;
        for us in (0..5000).chain([65_535, 65_536, 1_000_000, 3_600_000_000]) {
            let at = bucket(us);
            assert!(at >= last && top(at) >= us, "{us} is in {at}, which ends at {}", top(at));
            assert!(top(at) <= us + us / 8, "{us} is told as {}", top(at));
            assert!(at == 0 || top(at - 1) < us || us == 0);
            last = at;
        }
        assert_eq!(bucket(u64::MAX), STEPS * DOUBLINGS - 1);
    }

    #[test]
    fn quantiles_are_of_what_was_counted() {
        let mut counts = Counts::new();
        (1..=100).for_each(|ms| counts.add(Duration::from_millis(ms), ms == 100));
        let told = counts.told(Kind::Write);
        assert_eq!((told.count, told.failed, told.max_us), (100, 1, Some(100_000)));
        let near = |us: Option<u64>, exact: u64| us.is_some_and(|us| (exact..=exact * 9 / 8).contains(&us));
        assert!(near(told.p50_us, 50_000) && near(told.p99_us, 99_000), "{told:?}");
        assert_eq!(counts.told(Kind::Wait).p50_us, None, "how long a wait takes is up to the caller");
        counts.clear();
        counts.add(Duration::from_micros(3), false);
        assert_eq!(counts.told(Kind::Write).p99_us, Some(3));
    }

    #[test]
    fn requests_are_told_apart() {
        let of = |method: &str, uri: &str| {
            let method = method.parse().expect("a method");
            Kind::of(&method, &uri.parse().expect("a path"))
        };
        assert_eq!(of("GET", "/v1/kv/a"), Some(Kind::Read(Consistency::Linearizable)));
        assert_eq!(of("GET", "/v1/kv?prefix=&consistency=lease"), Some(Kind::Read(Consistency::Lease)));
        assert_eq!(of("GET", "/v1/kv/a?wait=1s"), Some(Kind::Wait));
        assert_eq!(of("GET", "/v1/sessions/1/events"), Some(Kind::Wait));
        assert_eq!(of("PUT", "/v1/kv/a"), Some(Kind::Write));
        assert_eq!(of("POST", "/v1/transactions"), Some(Kind::Transaction));
        assert_eq!(of("POST", "/v1/sessions/4/keep-alive"), Some(Kind::Session));
        assert_eq!(of("DELETE", "/v1/locks/a/holders/4"), Some(Kind::Lock));
        for looked in ["/v1/cluster", "/v1/server", "/v1/dashboard", "/v1/log", "/livez", "/"] {
            assert_eq!(of("GET", looked), None, "{looked}");
        }
        let read = Kind::Read(Consistency::Lease);
        assert_eq!(read.served(Some(b"linearizable")), Kind::Read(Consistency::Linearizable));
        assert_eq!((read.served(None), Kind::Write.served(Some(b"lease"))), (read, Kind::Write));
    }
}
