//! The Copycat engine: Raft consensus, and the execution of one state machine on its log.
//!
//! The engine is *pure*: it reads no clock, opens no file, starts no thread and draws no randomness of its own. Whoever
//! drives it calls [`Engine::step`] with an input and the time, then [`Engine::poll`], then carries out what
//! [`Engine::take_outputs`] and [`Engine::flush`] hand over. The same inputs give the same outputs, to the byte; the
//! simulator in `tests/simulation` and the server in [`crate::server`] drive this very code.
//!
//! # What the integrator owes
//! - Call `poll` after each batch of inputs and no later than [`Engine::deadline`], with a monotonic clock that also
//!   runs while the machine sleeps.
//! - Run every [`FlushJob`](copycat_storage::FlushJob) to its end, one at a time and in order, anywhere, and feed its
//!   result back as [`Input::Persisted`]. An error of a flush job ends the server: it is never tried again.
//! - Messages may be lost, delayed, doubled or reordered; they must not be altered, and must carry the identity that
//!   their sender proved in its handshake.
//! - An error of `step` or `poll` ([`Fatal`]) ends the server. Nothing that was not yet handed over may leave it.
//!
//! # Caveats
//! A cluster has at most [`MEMBERS`] members. One snapshot or compaction is under way at a time.

pub mod consensus;
mod entry;
mod limited;
pub mod machine;
mod message;
mod options;
pub mod sessions;
mod settings;
mod types;

pub use consensus::{
    AppliedJob, ApplyJob, Change, Configuration, ConfigurationError, Engine, Event, Fatal, Input, MEMBERS, Member,
    MemberChange, MemberProgress, MemberStatus, MemberType, Output, Query, Refusal, Response, Status, Work, Worked,
};
pub use entry::{DecodeError, Kind, decode, encode};
pub use message::{AppendOutcome, Message, SnapshotId, Want, WireEntry};
#[cfg(feature = "planted-bugs")]
pub use options::Bug;
pub use options::Options;
#[allow(unused_imports)] // used where a bug is planted
pub(crate) use options::planted_here;
pub use settings::{LARGEST_ENTRY, NamedSettings, Setting, Settings};
pub use types::{Consistency, Identity, Index, Now, RequestId, Role, ServerId, SessionId, Term};
