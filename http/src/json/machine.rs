//! Commands and queries of a state machine that this crate does not know.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A command as it is sent.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MachineCommand {
    pub(crate) command: Value,
    /// Whose command it is.
    pub(crate) session: Option<u64>,
    /// Its number in its session.
    pub(crate) sequence: Option<u64>,
}

/// A query as it is sent.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MachineQuery {
    pub(crate) query: Value,
    /// Left out: `linearizable`.
    pub(crate) consistency: Option<String>,
    /// The lowest index to answer from.
    pub(crate) index: Option<u64>,
}

/// What either answers.
#[derive(Serialize)]
pub(crate) struct MachineAnswer<'a> {
    pub(crate) index: u64,
    pub(crate) output: &'a Value,
}
