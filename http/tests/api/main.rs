//! The HTTP API over real sockets, with a backend in memory.

mod client;
mod commands;
mod connections;
mod docs;
mod errors;
mod events;
mod fake;
mod fake_locks;
mod fake_sessions;
mod feed;
mod fences;
mod guard;
mod keys;
mod lists;
mod locks;
mod openapi;
mod removals;
mod retries;
mod schema;
mod sessions;
mod state;
mod transactions;
mod values;
mod views;
mod waits;
mod watches;
