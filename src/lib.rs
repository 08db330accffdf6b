//! Copycat: a replicated key-value and lock service, and the engine it is built on.
//!
//! [`engine`] is Raft and the execution of a state machine, without any I/O; [`store`] is the product's state machine;
//! [`server`] puts them on disks and sockets, [`transport`] is what its connections are made of; [`backup`] is its state in
//! a file.
//!
//! # A state machine of your own
//! A program replicates a state of its own by a [`StateMachine`]; each of its [`Server`]s runs inside it:
//!
//! ```no_run
//! use copycat::{Bincode, Commit, Context, Server, StateMachine, Storage};
//! use std::time::Duration;
//!
//! /// A sum.
//! #[derive(Default)]
//! struct Sum(u64);
//!
//! impl StateMachine for Sum {
//!     type Codec = Bincode;
//!     type Command = u64;
//!     type Query = ();
//!     type Output = u64;
//!     type Answer = u64;
//!     type Event = ();
//!
//!     fn apply(&mut self, commit: Commit<u64>, context: &mut Context<()>) -> u64 {
//!         // The state is all the entries that were ever applied, so they are kept.
//!         let _held = context.hold();
//!         self.0 += commit.operation;
//!         self.0
//!     }
//!
//!     fn query(&self, (): ()) -> u64 {
//!         self.0
//!     }
//! }
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let members = [(1, "10.0.0.1:9700"), (2, "10.0.0.2:9700"), (3, "10.0.0.3:9700")];
//! let server = Server::<Sum>::builder(1).storage(Storage::Mapped("data".into())).bootstrap(members)?;
//! server.on_leader(|leader, term| println!("server {leader} leads term {term}"));
//! println!("{}", server.submit(&7, Duration::from_secs(10)).await?.output);
//! # Ok(())
//! # }
//! ```

pub mod backup;
mod budget;
pub mod client;
mod clock;
pub mod engine;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod scenarios;
pub mod server;
pub mod store;
pub mod transport;
mod wire;

pub use client::{Client, Keys};
pub use engine::machine::{
    Bincode, Codec, Commit, CompactionMode, Context, Frozen, Held, Json, SnapshotError, SnapshotReader, SnapshotWriter,
    StateMachine, Timer, TimerId,
};
pub use engine::{Consistency, Index, MemberStatus, MemberType, Role, ServerId, SessionId, Status, Term};
pub use server::{Answer, Builder, Cluster, ClusterMember, Durability, Refusal, Server, ServerError, Stopper, Storage};
pub use transport::{Local, LocalNetwork, Tcp, Transport};

/// The guide's code is compiled and run.
#[cfg(doctest)]
mod guide {
    #[doc = include_str!("../docs/guide/getting-started.md")]
    mod getting_started {}
    #[doc = include_str!("../docs/guide/servers.md")]
    mod servers {}
    #[doc = include_str!("../docs/guide/clients.md")]
    mod clients {}
    #[doc = include_str!("../docs/guide/cluster.md")]
    mod cluster {}
    #[doc = include_str!("../docs/guide/compaction.md")]
    mod compaction {}
    #[doc = include_str!("../docs/guide/state-machines.md")]
    mod state_machines {}
}
