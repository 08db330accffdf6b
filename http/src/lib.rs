//! The HTTP/JSON API, version 1: routes, shapes, errors, and the server that speaks it.
//!
//! A leaf: it knows nothing of Raft or of files. What it needs is one trait, [`Backend`]. What of it does I/O is
//! [`serve()`]; everything else is a function from a request to a response.
//!
//! Where the API leaves a choice:
//!
//! - Key names in JSON are text if they are UTF-8; others are base64, and `"key_encoding": "base64"` stands beside them.
//! - An unknown or repeated query parameter is `bad_request`, and so is one that belongs to a later version: a typing
//!   error, or a `session` that nobody knows, must not pass silently. A `%` that begins no pair of hexadecimal digits too.
//! - In a query string a plus sign is a space, as forms have it; in a path it is a plus sign.
//! - `limit` and `max_bytes` of a list that is streamed line by line are those of the pages beneath; its `Copycat-Index`
//!   is the first page's, the `index` of its last line the last page's.
//! - `wait` takes one version in `If-None-Match`, and no `If-Match`. Tags that are none of ours name no version.
//! - In JSON, `"if": {"version": 0}` means that the key does not exist, as in a transaction; `{"versions": […]}` is a
//!   list of them, as in `If-Match`. In a batch, the limits of `delete_prefix` add up to at most that of one, and
//!   transactions share what one may read: a batch takes no more of a server than a command.
//! - `retryable` means that the very same request may be sent again without harm, and may then succeed. So it is `false`
//!   where the outcome is `unknown`.

mod backend;
mod code;
mod conditions;
mod config;
mod cursor;
mod duration;
mod guard;
mod json;
mod key;
mod openapi;
mod params;
mod problem;
mod routes;
mod serve;
mod status;
mod value;

pub use backend::{
    Answer, Backend, Command, CommandOutput, Condition, Consistency, EntryView, Failure, Item, Listed, Operation,
    OperationOutput, Predicate, Query, QueryOutput, Read, Watched,
};
pub use config::HttpConfig;
pub use duration::parse_duration;
pub use serve::serve;
pub use status::{Checks, ClusterView, LogView, MemberView, SegmentView, ServerView};
