//! State machines: the trait that user code implements, and the executor that applies committed entries to it.

mod codec;
mod commit;
mod executor;
mod frozen;
mod live;
pub mod replay;
mod snapshot;

pub use codec::{
    Bincode, Codec, Json, decode_operation, decode_output, decode_query_output, encode_operation, is_command, is_query,
    unreadable,
};
pub use commit::{Commit, CompactionMode, Context, Held, Timer, TimerId, Topic};
pub use executor::{Applied, ApplyError, Ask, Executor};
pub use frozen::FrozenExecutor;
pub(in crate::engine) use live::Live;
pub use snapshot::{Frozen, Resolve, SnapshotError, SnapshotReader, SnapshotWriter, operation};

pub use super::sessions::Outcome;
pub use super::types::SessionId;
use serde::{Serialize, de::DeserializeOwned};

/// A replicated state machine.
///
/// Every server applies the same commands in the same order, so everything that changes state or answers a command
/// must be *deterministic*: a function of the state and the [`Commit`], never of a clock, a random number, a hash map's
/// order or a local setting. An operation that fails is an [`Output`](Self::Output) like any other.
///
/// # The log and the state
/// The log drops entries once a snapshot is durable, except those that the machine *holds* ([`Context::hold`]): those stay
/// until it releases them. A machine with [`freeze`](Self::freeze) writes its state into the snapshot, and may write a
/// reference to a held entry where the state is just what that entry carries.
///
/// A machine without `freeze` is its held entries: it is rebuilt by applying them again, in order, each at its own log time,
/// to a machine as it was at first. Their answers, events and timers were settled the first time, and have no effect. So it
/// owes more than determinism, namely that **its state is a function of the entries that it holds, in their order**:
/// - What an entry does must not depend on an entry that was released, nor on one that was never held. (A counter that holds only the
///   latest increment breaks this; a conditional write breaks it unless what it does, once done, is done without the condition.)
/// - It holds in `apply` only. What a timer or the end of a session changes, it changes by releasing entries, and by
///   what is undone when those entries are gone.
/// - `apply` must not ask whether a session is open.
///
/// [`replay`] finds machines that break these rules.
///
/// # Changing it
/// Commands are in the log, and outputs and events in snapshots, for as long as they are needed; and while a cluster is
/// upgraded, servers and clients of both versions work together. So:
/// - **What a logged command does never changes**, nor what it answers: all servers must come to the same state, whatever
///   version they run and whether they apply the log or install a snapshot. What is to be done otherwise is a new command;
///   the old one goes on as it was.
/// - **Types only grow.** With [`Bincode`]: new variants of enums, behind the others; a struct, and the fields of a variant,
///   stay as they are. With [`Json`]: new variants anywhere, and new fields with `#[serde(default)]`; nothing is renamed
///   without an alias, and `deny_unknown_fields` forbids even that.
/// - **Servers before clients.** A command that a server cannot read has no effect there: one that is applied by others
///   meanwhile makes its state another, and it stops. So upgrade the servers, one by one, and send a new command when all
///   that keep the state know it.
/// - New outputs answer new commands, and new events go to sessions that asked for them by a new command: then no old client
///   meets what it cannot read.
/// - Queries and their answers are never kept, so they may change more freely; but servers of both versions answer.
/// - A snapshot says which version of the state it holds: write a number first, and let [`install`](Self::install) read
///   every version there ever was. (An old server that is sent a new one's snapshot stops with
///   [`SnapshotError::Version`] until it is upgraded.)
/// - What is written must be the same on every server: no hash maps in outputs and events, whose order differs.
///
/// # Panics
/// A panic in any of these methods stops the server; it does not leave a half-applied state behind, since state is
/// rebuilt from snapshot and log.
pub trait StateMachine: Send + 'static {
    /// How all of the following are written: [`Bincode`], if there is no reason for another. It never changes.
    type Codec: Codec;
    /// What changes the state.
    type Command: Serialize + DeserializeOwned + Send;
    /// What only reads it.
    type Query: Serialize + DeserializeOwned + Send;
    /// What a command answers.
    type Output: Serialize + DeserializeOwned + Send;
    /// What a query answers.
    type Answer: Serialize + DeserializeOwned + Send;
    /// What is pushed to sessions.
    type Event: Serialize + DeserializeOwned + Send;

    /// When the log may drop this command's entry. The leader asks when it logs the command, and records it in the entry.
    fn mode(_command: &Self::Command) -> CompactionMode {
        CompactionMode::Default
    }

    /// Applies one command. A commit that is not held here counts as released.
    fn apply(&mut self, commit: Commit<Self::Command>, context: &mut Context<Self::Event>) -> Self::Output;

    /// Answers a query from the state as it is.
    fn query(&self, query: Self::Query) -> Self::Answer;

    /// A timer that [`Context::schedule`] set is due.
    fn timer(&mut self, _timer: Timer, _context: &mut Context<Self::Event>) {}

    /// A session was registered. Before these callbacks, as before [`apply`](Self::apply), the table of sessions is as the
    /// entry leaves it: of several that end by one entry, none is open any more when the first is announced.
    fn register(&mut self, _session: SessionId, _context: &mut Context<Self::Event>) {}
    /// A session was closed by its client. [`close`](Self::close) follows.
    fn unregister(&mut self, _session: SessionId, _context: &mut Context<Self::Event>) {}
    /// A session was expired by the leader. [`close`](Self::close) follows.
    fn expire(&mut self, _session: SessionId, _context: &mut Context<Self::Event>) {}
    /// A session ended, in whatever way.
    fn close(&mut self, _session: SessionId, _context: &mut Context<Self::Event>) {}

    /// A frozen copy of the whole state, to be written in the background. It is asked for between two entries, which wait
    /// for it: it must be cheap (persistent maps are). `None`, and then always: this machine is rebuilt from the entries that
    /// it holds.
    fn freeze(&self) -> Option<Box<dyn Frozen>> {
        None
    }

    /// Back to the state in which it was first: asked of a machine without [`freeze`](Self::freeze) when a snapshot takes the
    /// place of what it has applied.
    ///
    /// # Errors
    /// If it cannot do that: the server stops, and is rebuilt at its next start.
    fn clear(&mut self) -> Result<(), SnapshotError> {
        Err(SnapshotError::NotSupported)
    }

    /// Replaces the state by that of a snapshot.
    ///
    /// # Errors
    /// If the snapshot is not one of this machine's. The state may be anything then: the server stops.
    fn install(&mut self, _reader: &mut SnapshotReader<'_>) -> Result<(), SnapshotError> {
        Err(SnapshotError::NotSupported)
    }
}
