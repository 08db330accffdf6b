//! Settings of the cluster, in.

use crate::backend::SettingsChange;
use crate::duration::parse_duration;
use crate::problem::Problem;
use serde::Deserialize;
use std::time::Duration;
use utoipa::ToSchema;

/// Settings that are to change; those that are left out stay as they are.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewSettings {
    /// The `configuration` that this was decided on.
    pub(crate) configuration: u64,
    /// How long a follower waits for its leader before it asks for votes: this long to twice this long; 50ms to 1m.
    #[schema(nullable = false, example = "500ms")]
    election_timeout: Option<String>,
    /// By how much clocks of two members may drift apart, in thousandths: taken off every lease; 0 to 500.
    #[schema(nullable = false)]
    clock_drift_permille: Option<u64>,
    /// The most bytes that an entry of the log may have; 16 KiB to 28 MiB.
    #[schema(nullable = false)]
    largest_entry: Option<u64>,
    /// Most open sessions.
    #[schema(nullable = false)]
    sessions: Option<u64>,
    /// Most answers that a session may leave unacknowledged.
    #[schema(nullable = false)]
    session_answers: Option<u64>,
    /// Their bytes.
    #[schema(nullable = false)]
    session_answer_bytes: Option<u64>,
    /// Most events that a session may leave unacknowledged, of one that is registered from now on.
    #[schema(nullable = false)]
    session_events: Option<u64>,
    /// Their bytes.
    #[schema(nullable = false)]
    session_event_bytes: Option<u64>,
    /// Most requests with an idempotency key whose answers are kept.
    #[schema(nullable = false)]
    idempotency_keys: Option<u64>,
    /// Their bytes.
    #[schema(nullable = false)]
    idempotency_key_bytes: Option<u64>,
    /// For how long an answer to a request with an idempotency key is kept; 1s to 24h.
    #[schema(nullable = false, example = "10m")]
    idempotency_window: Option<String>,
}

fn time(field: &str, text: Option<&String>) -> Result<Option<Duration>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let told = || Problem::bad_request(field, format!("{text:?} is no duration: write 500ms, 1s or 10m"));
    parse_duration(text).map(Some).ok_or_else(told)
}

impl NewSettings {
    pub(crate) fn change(self) -> Result<SettingsChange, Problem> {
        Ok(SettingsChange {
            configuration: self.configuration,
            election_timeout: time("election_timeout", self.election_timeout.as_ref())?,
            clock_drift_permille: self.clock_drift_permille,
            largest_entry: self.largest_entry,
            sessions: self.sessions,
            session_answers: self.session_answers,
            session_answer_bytes: self.session_answer_bytes,
            session_events: self.session_events,
            session_event_bytes: self.session_event_bytes,
            idempotency_keys: self.idempotency_keys,
            idempotency_key_bytes: self.idempotency_key_bytes,
            idempotency_window: time("idempotency_window", self.idempotency_window.as_ref())?,
        })
    }
}
