//! `GET /v1/dashboard`

use super::events::FeedEvent;
use super::history::HistoryPoint;
use crate::status::{ClusterView, ServerView};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// What changes of itself: a server and its cluster, as this server knows them.
#[derive(Serialize, ToSchema)]
pub(crate) struct DashboardState {
    pub(crate) server: ServerView,
    pub(crate) cluster: ClusterView,
    /// What must hold for the server to be ready: `ok`, or why it does not hold.
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    pub(crate) checks: Map<String, Value>,
}

/// Where a page begins.
#[derive(Serialize, ToSchema)]
pub(crate) struct Dashboard {
    pub(crate) state: DashboardState,
    /// The last event of `/v1/cluster/events` that this is not older than,
    pub(crate) last_event: u64,
    /// and the time of the last point of `/v1/server/history`, 0 before the first.
    pub(crate) last_point: u64,
}

/// What came since.
#[derive(Serialize, ToSchema)]
pub(crate) struct DashboardDelta<'a> {
    /// A JSON merge patch (RFC 7396) of the state. Arrays are whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Object)]
    pub(crate) patch: Option<Value>,
    /// Events behind those before.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schema(required = false)]
    pub(crate) events: Vec<FeedEvent<'a>>,
    /// Some events were not kept long enough: ask `/v1/cluster/events`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    pub(crate) gap: bool,
    /// Seconds behind those before.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schema(required = false)]
    pub(crate) points: Vec<HistoryPoint>,
}
