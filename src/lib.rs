//! Copycat: a replicated key-value and lock service, and the engine it is built on.
//!
//! [`engine`] is Raft and the execution of a state machine, without any I/O; [`store`] is the product's state machine;
//! [`server`] puts them on disks and sockets, [`transport`] is what its connections are made of; [`backup`] is its state in a file.

pub mod backup;
pub mod client;
pub mod engine;
pub mod server;
pub mod store;
pub mod transport;
mod wire;
