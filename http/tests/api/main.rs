//! The HTTP API over real sockets, with a backend in memory.

mod client;
mod commands;
mod connections;
mod docs;
mod errors;
mod fake;
mod guard;
mod keys;
mod lists;
mod openapi;
mod removals;
mod state;
mod transactions;
mod values;
mod views;
mod waits;
