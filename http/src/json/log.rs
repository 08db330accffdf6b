//! `GET /v1/log` and `GET /v1/log/entries`

use super::encode::{self, Said, Shown};
use crate::backend::EntryView;
use crate::status::{LogView, SegmentView};
use serde::Serialize;
use utoipa::ToSchema;

/// This server's log.
#[derive(Serialize, ToSchema)]
pub(crate) struct Log {
    /// Its files, in order.
    segments: Vec<SegmentView>,
    /// The first index in it.
    first_index: u64,
    /// The last.
    last_index: u64,
    /// Durable through this index.
    durable_index: u64,
    /// How many bytes the files have.
    bytes: u64,
    /// How many entries the state machine holds.
    live: usize,
}

impl Log {
    pub(crate) fn new(view: &LogView, segments: Vec<SegmentView>) -> Self {
        let LogView { first_index, last_index, durable_index, bytes, live, segments: _ } = *view;
        Self { segments, first_index, last_index, durable_index, bytes, live }
    }
}

/// An entry of the log.
#[derive(Serialize, ToSchema)]
pub(crate) struct Entry {
    /// Its place.
    index: u64,
    /// The term of the leader that appended it.
    term: u64,
    /// Log time, milliseconds since the Unix epoch.
    time_ms: u64,
    /// `initialize`, `configuration`, `command`, `tick`, `register`, `keep_alive` or `unregister`.
    kind: &'static str,
    /// Its compaction mode, such as `release` or `tombstone`.
    mode: &'static str,
    /// The bytes it carries.
    bytes: u64,
    /// What a command says.
    #[schema(required, value_type = Option<Said>)]
    command: Option<Shown>,
}

impl From<&EntryView> for Entry {
    fn from(entry: &EntryView) -> Self {
        let EntryView { index, term, time_ms, kind, mode, bytes, command } = entry;
        let command = command.as_ref().and_then(encode::shown);
        Self { index: *index, term: *term, time_ms: *time_ms, kind, mode, bytes: *bytes, command }
    }
}

/// Entries in order.
#[derive(Serialize, ToSchema)]
pub(crate) struct Entries {
    pub(crate) entries: Vec<Entry>,
    /// Where the next page starts.
    #[schema(required)]
    pub(crate) next: Option<u64>,
}
