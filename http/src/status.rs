//! The shapes of `/v1/cluster`, `/v1/server`, `/livez` and `/readyz`.

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use std::time::Duration;
use utoipa::ToSchema;

/// `GET /v1/cluster`
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ClusterView {
    /// 32 hexadecimal digits; `null` until the first leader has drawn it.
    #[schema(required)]
    pub cluster_id: Option<String>,
    /// This server's term.
    pub term: u64,
    /// Who leads it.
    #[schema(required)]
    pub leader: Option<u64>,
    /// The index that a change of the configuration must name.
    pub configuration_index: u64,
    /// The members, by id.
    pub members: Vec<MemberView>,
}

/// `GET /v1/cluster/settings`: what all members have alike.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SettingsView {
    /// How long a follower waits for its leader before it asks for votes: this long to twice this long.
    #[serde(serialize_with = "as_text")]
    #[schema(value_type = String, example = "500ms")]
    pub election_timeout: Duration,
    /// By how much clocks of two members may drift apart, in thousandths: taken off every lease.
    pub clock_drift_permille: u64,
    /// The most bytes that an entry of the log may have.
    pub largest_entry: u64,
    /// Most open sessions.
    pub sessions: u64,
    /// Most answers that a session may leave unacknowledged.
    pub session_answers: u64,
    /// Their bytes.
    pub session_answer_bytes: u64,
    /// Most events that a session may leave unacknowledged, of one that is registered now.
    pub session_events: u64,
    /// Their bytes.
    pub session_event_bytes: u64,
    /// Most requests with an idempotency key whose answers are kept.
    pub idempotency_keys: u64,
    /// Their bytes.
    pub idempotency_key_bytes: u64,
    /// For how long an answer to a request with an idempotency key is kept.
    #[serde(serialize_with = "as_text")]
    #[schema(value_type = String, example = "10m")]
    pub idempotency_window: Duration,
    /// The index of the configuration that they are of, which a change must name.
    pub configuration: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde calls it
fn as_text<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
    let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    to.serialize_str(&crate::duration::long_text(ms))
}

/// A member.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct MemberView {
    /// Its number.
    pub id: u64,
    /// `active`, `passive` or `reserve`.
    #[serde(rename = "type")]
    pub member_type: &'static str,
    /// What it is to become as soon as it has caught up; `null`: nothing else.
    #[schema(required)]
    pub becoming: Option<&'static str>,
    /// `available` or `unavailable`.
    pub status: &'static str,
    /// The identity of its data directory, 16 hexadecimal digits; `null` until it is known.
    #[schema(required)]
    pub identity: Option<String>,
    /// Its HTTP address, `null` until it is known.
    #[schema(required)]
    pub http: Option<String>,
    /// Its peer address.
    pub peer: String,
    /// Durable there through this index; known by the leader only.
    #[schema(required)]
    pub match_index: Option<u64>,
    /// How many entries it lacks; known by the leader only.
    #[schema(required)]
    pub lag: Option<u64>,
    /// For how long it has lacked the first of them, in milliseconds; known by the leader only.
    #[schema(required)]
    pub lag_ms: Option<u64>,
    /// How long ago the leader heard it, in milliseconds; known by the leader only, `null` too if not since it leads.
    #[schema(required)]
    pub heard_ms: Option<u64>,
}

/// `GET /v1/server`
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ServerView {
    /// Its number.
    pub id: u64,
    /// The identity of its data directory, 16 hexadecimal digits.
    pub identity: String,
    /// `active`, `passive` or `reserve`; `null`: it is no member.
    #[serde(rename = "type")]
    #[schema(required)]
    pub member_type: Option<&'static str>,
    /// `leader`, `follower`, `candidate`, or, of one that does not vote, its type.
    pub role: &'static str,
    /// The version of the program.
    pub version: &'static str,
    /// Since it was started.
    pub uptime_ms: u64,
    /// Its term.
    pub term: u64,
    /// For whom it voted in it.
    #[schema(required)]
    pub vote: Option<u64>,
    /// Who leads it.
    #[schema(required)]
    pub leader: Option<u64>,
    /// Committed through this index.
    pub commit_index: u64,
    /// Applied through this index.
    pub applied_index: u64,
    /// Log time, milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// A checksum of all that was applied, 8 hexadecimal digits: equal on all servers at an equal applied index.
    pub digest: String,
    /// Through this index its state was found to be that of a majority. A server that differs stops.
    pub compared_index: u64,
    /// Open sessions.
    pub sessions: usize,
    /// It lost its log and is getting it back.
    pub log_lost: bool,
    /// Every available member that keeps the state has everything through this index: major compaction goes so far.
    pub global_index: u64,
    /// Its latest durable snapshot; `null`: none was taken yet.
    #[schema(required)]
    pub snapshot: Option<SnapshotView>,
    /// Its log.
    pub log: LogView,
    /// Resident memory in bytes; `null` where the system does not tell.
    #[schema(required)]
    pub memory_bytes: Option<u64>,
}

/// A server's snapshot.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SnapshotView {
    /// The last entry whose effect it holds.
    pub index: u64,
    /// The bytes of its file, without the entries that it refers to.
    pub bytes: u64,
}

/// A server's log.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct LogView {
    /// The first index in it.
    pub first_index: u64,
    /// The last.
    pub last_index: u64,
    /// Durable through this index.
    pub durable_index: u64,
    /// How many files it has.
    pub segments: usize,
    /// How many bytes they have.
    pub bytes: u64,
    /// How many entries the state machine holds.
    pub live: usize,
}

/// A file of a server's log.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SegmentView {
    /// Its file.
    pub file: String,
    /// The first index in it,
    pub first_index: u64,
    /// and the last; below the first when it has no entry.
    pub last_index: u64,
    /// The bytes its entries take.
    pub bytes: u64,
    /// No entry is added to it any more.
    pub sealed: bool,
    /// How many of its entries the state machine holds.
    pub live: u64,
    /// How many are needed no longer, and still there.
    pub released: u64,
    /// Of those, how many the last compaction had to leave: what they undo may still be elsewhere.
    pub tombstones: u64,
    /// Indexes whose entries compaction has dropped.
    pub holes: u64,
    /// 1, and 1 more for each time that compaction has rewritten it.
    pub generation: u64,
    /// What keeps compaction from dropping it: `active` (it is written to), `above the snapshot`, `referred to by the
    /// snapshot`, `above the global index` (of tombstones); `null`: nothing.
    #[schema(required)]
    pub pinned_by: Option<&'static str>,
}

/// What must hold for a server to be ready: each by name.
#[derive(Clone, Debug, Default)]
pub struct Checks(pub Vec<(&'static str, Result<(), String>)>);

impl Checks {
    /// Whether all hold.
    #[must_use]
    pub fn pass(&self) -> bool {
        self.0.iter().all(|(_, check)| check.is_ok())
    }

    /// Each by name: `ok`, or why it does not hold.
    pub(crate) fn told(&self) -> Map<String, Value> {
        let told = |check: &Result<(), String>| check.clone().err().unwrap_or_else(|| "ok".into());
        self.0.iter().map(|(name, check)| ((*name).to_string(), told(check).into())).collect()
    }
}
