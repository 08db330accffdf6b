//! The shapes of JSON, in and out. They are apart from the port's types: what travels inside the cluster may change
//! without them.

mod answers;
mod command;
mod cond;
mod dashboard;
pub(crate) mod decode;
mod encode;
mod events;
mod history;
mod keys;
mod locks;
mod log;
mod machine;
mod members;
mod object;
mod read;
mod sessions;
mod settings;
mod snapshots;
mod text;

pub(crate) use answers::{CommandAnswer, CommandOutput, Names, QueryAnswer, TransactionAnswer, results};
pub(crate) use command::{CommandRequest, Query, QueryRequest, Transaction, Watch};
pub(crate) use dashboard::{Dashboard, DashboardDelta, DashboardState};
pub(crate) use events::{Batch, Events, FeedEvent, FeedPage};
pub(crate) use history::{HistoryPage, HistoryPoint, MemberLag, OperationRate};
pub(crate) use keys::{Deleted, DeletedMany, Key, ListItem, Page, Written};
pub(crate) use locks::{Held, Lock, Locks, Queued, Released, Revoked, holders, queue};
pub(crate) use log::{Entries, Entry, Log};
pub(crate) use machine::{MachineAnswer, MachineCommand, MachineQuery};
pub(crate) use members::{Leading, NewLeader, NewMemberType};
pub(crate) use object::Object;
pub(crate) use read::{is_array, parse, parse_or_default};
pub(crate) use sessions::{Acknowledged, Alive, Begun, Ended, NewSession, Session, Sessions, Unwatched, Watching};
pub(crate) use settings::NewSettings;
pub(crate) use snapshots::{Compaction, CompactionKind, NewCompaction, Snapshot};

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Serialize;

/// A JSON answer, with a newline at its end for whoever reads it in a terminal.
pub(crate) fn response(status: StatusCode, body: &impl Serialize) -> Response {
    let mut response = Response::new(Body::from(line(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// JSON and the end of the line.
pub(crate) fn line(body: &impl Serialize) -> Vec<u8> {
    let mut text = serde_json::to_vec(body).unwrap_or_default();
    text.push(b'\n');
    text
}
