//! One server: an engine, its driver, its disk, its peers, and its HTTP port.
//!
//! ```text
//! HTTP task ──► driver inbox ──► Engine::step ──► poll ──► outputs ──► peers' queues, answers
//!                    ▲                             │
//!                    └──── Persisted ◄── flusher ◄─┘ flush job
//! ```

mod alarm;
mod backend;
mod ballots;
mod builder;
mod chores;
mod cluster;
mod convert;
mod descriptors;
mod disks;
mod driver;
mod durability;
mod feed;
mod flusher;
#[cfg(test)]
pub(crate) mod fuzzed;
mod inbox;
mod lag;
mod listeners;
mod machine;
mod native;
mod port;
mod requests;
mod running;
mod settings;
mod start;
mod transport;
mod view;
mod waiters;
mod worker;

use crate::clock;
pub use builder::{Builder, Storage};
pub use cluster::{Cluster, ClusterMember};
#[doc(hidden)]
pub use disks::remedy;
pub use durability::Durability;
#[cfg(test)]
pub(crate) use native::understood;
pub use requests::Refusal;
#[cfg(test)]
pub(crate) use requests::Request;
pub use running::{Answer, Server, Stopper};

/// A server cannot start, or had to stop: one line that says what is wrong and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ServerError(String);

impl ServerError {
    pub(crate) fn new(text: impl std::fmt::Display) -> Self {
        Self(text.to_string())
    }
}
