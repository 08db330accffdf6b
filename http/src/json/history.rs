//! `GET /v1/server/history`

use serde::Serialize;
use utoipa::ToSchema;

/// Requests of one kind in one second, as this server answered them.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct OperationRate {
    /// `read`, `write`, `transaction`, `command`, `lock`, `session`, or `wait`: held until something happens.
    pub(crate) operation: &'static str,
    /// Of reads: how they were really served.
    #[schema(required)]
    pub(crate) consistency: Option<&'static str>,
    /// How many.
    pub(crate) count: u64,
    /// How many of them were answered with 429 or 5xx.
    pub(crate) failed: u64,
    /// Half of them were answered within so many microseconds, at most an eighth too many; `null` for waits.
    #[schema(required)]
    pub(crate) p50_us: Option<u64>,
    /// 99 of 100.
    #[schema(required)]
    pub(crate) p99_us: Option<u64>,
    /// All.
    #[schema(required)]
    pub(crate) max_us: Option<u64>,
}

/// How far a member is behind the leader.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct MemberLag {
    pub(crate) id: u64,
    /// In entries,
    pub(crate) lag: u64,
    /// and in milliseconds.
    pub(crate) lag_ms: u64,
}

/// A second of a server's life.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct HistoryPoint {
    /// Its end, milliseconds since the Unix epoch by this server's clock.
    pub(crate) time_ms: u64,
    pub(crate) term: u64,
    /// Who led.
    #[schema(required)]
    pub(crate) leader: Option<u64>,
    /// Committed through this index.
    pub(crate) commit_index: u64,
    /// Applied through this index.
    pub(crate) applied_index: u64,
    /// The bytes of the log's files.
    pub(crate) log_bytes: u64,
    /// Resident memory in bytes.
    #[schema(required)]
    pub(crate) memory_bytes: Option<u64>,
    /// Open sessions.
    pub(crate) sessions: usize,
    /// What was answered in it, each kind that was asked for.
    pub(crate) operations: Vec<OperationRate>,
    /// How far the members were behind; empty on servers that do not lead.
    pub(crate) members: Vec<MemberLag>,
}

/// `GET /v1/server/history`
#[derive(Serialize, ToSchema)]
pub(crate) struct HistoryPage {
    /// In order of time.
    pub(crate) points: Vec<HistoryPoint>,
    /// There are more behind these.
    pub(crate) more: bool,
}
