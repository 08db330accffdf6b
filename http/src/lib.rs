//! The HTTP/JSON API, version 1: routes, shapes, errors, and the server that speaks it.
//!
//! A leaf: it knows nothing of Raft or of files. What it needs is one trait, [`Backend`]. What of it does I/O is
//! [`serve()`]; everything else is a function from a request to a response.
//!
//! Where the API leaves a choice:
//!
//! - Key names in JSON are text if they are UTF-8; others are base64, and `"key_encoding": "base64"` stands beside them.
//! - An unknown or repeated query parameter is `bad_request`: a typing error must not pass silently. A `%` that begins no
//!   pair of hexadecimal digits too.
//! - In a query string a plus sign is a space, as forms have it; in a path it is a plus sign.
//! - `limit` and `max_bytes` of a list that is streamed line by line are those of the pages beneath; its `Copycat-Index`
//!   is the first page's, the `index` of its last line the last page's.
//! - `wait` takes one version in `If-None-Match`, and no `If-Match`. Tags that are none of ours name no version.
//! - In JSON, `"if": {"version": 0}` means that the key does not exist, as in a transaction; `{"versions": […]}` is a
//!   list of them, as in `If-Match`. In a batch, the limits of `delete_prefix` add up to at most that of one, and
//!   transactions share what one may read: a batch takes no more of a server than a command.
//! - `retryable` means that the very same request may be sent again without harm, and may then succeed. So it is `false`
//!   where the outcome is `unknown`, unless a repeat is known by its number or its key, or does nothing twice by itself:
//!   keep-alives, the end of a session, watches, and asking for a lock.
//! - A session, a number and an idempotency key belong to commands; reads take no notice of them. Keep-alives and the end
//!   of a session need neither number nor key, and refuse them. On a path that names a session, `Copycat-Session` must
//!   name the same one. Where the same is said twice, in parameters, headers or a body, it must be the same.
//! - A batch is one command: its objects name one session or none, and the first bears the number. `lock` and `token` of
//!   the request hold for each of its commands; where they stop all of them, the answer is 412.
//! - A lock's name in JSON is text if it is UTF-8, else base64 and `"lock_encoding": "base64"` beside it.
//! - A stream of events acknowledges what it begins behind, and nothing later: that a connection took bytes does not mean
//!   that they arrived. `Last-Event-ID` and `after` may stand together, as a browser that comes back sends both: the
//!   larger one counts. `wait` means nothing to a stream.

mod backend;
mod caller;
mod code;
mod conditions;
mod config;
mod cursor;
mod duration;
mod fence;
mod guard;
mod history;
mod json;
mod key;
mod name;
mod openapi;
mod params;
mod problem;
mod routes;
mod serve;
mod status;
mod value;

pub use backend::{
    Answer, Backend, Backup, Caller, ClusterEvent, Command, CommandOutput, Compaction, Condition, Conflict,
    Consistency, Ended, EntryView, EventBatch, EventPage, Failure, Feed, Item, KeptAlive, Keys, Listed, LockHolder,
    LockMode, LockOutput, LockRequest, LockView, LockWaiter, Logged, MemberChange, MemberKind, Operation,
    OperationOutput, Poll, Predicate, Query, QueryOutput, Range, Read, Registered, SessionEvent, SessionPage,
    SessionView, SettingsChange, SnapshotTaken, Unanswered, WatchTarget, Watched,
};
pub use config::HttpConfig;
pub use duration::parse_duration;
pub use serve::serve;
pub use status::{Checks, ClusterView, LogView, MemberView, SegmentView, ServerView, SettingsView, SnapshotView};
