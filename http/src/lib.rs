//! The HTTP/JSON API, version 1: routes, shapes, errors, and the server that speaks it.
//!
//! A leaf: it knows nothing of Raft or of files. What it needs is one trait, [`Backend`].

mod backend;
mod duration;
mod guard;
mod headers;
mod key;
mod kv;
mod params;
mod problem;
mod serve;
mod status;

pub use backend::{
    Answer, Backend, Command, CommandOutput, Condition, Consistency, Failure, Item, Query, QueryOutput, Read,
};
pub use duration::parse_duration;
pub use serve::{HttpConfig, serve};
pub use status::{Checks, ClusterView, LogView, MemberView, ServerView};
