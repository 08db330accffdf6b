//! Copycat as its users have it: processes, sockets, signals. `COPYCAT_TEST_LONG=1` runs the long versions, with the
//! assertions on time that need a quiet machine.
#![cfg(unix)]
// The exceptions for tests do not reach helpers beside them.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, unreachable_pub)]

mod api;
mod backup;
mod chaos;
mod cli;
mod cli_sessions;
mod compaction;
mod dev;
mod disks;
mod errors;
mod examples;
mod failover;
mod frames;
mod fresh;
mod fuzz;
mod handmade;
mod harness;
mod hostile;
mod hosts;
mod load;
mod lock_jobs;
mod members;
mod native;
mod owner;
mod polls;
mod program;
mod sessions;
mod settings;
mod tour;
mod ttl;
