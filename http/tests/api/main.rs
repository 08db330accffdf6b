//! The HTTP API over real sockets, with a backend in memory.

mod client;
mod connections;
mod errors;
mod fake;
mod guard;
mod keys;
mod lists;
mod state;
mod values;
mod views;
