//! The state machine of some of these tests: it counts, and tells those who are to be told.

use copycat::{Commit, Context, Frozen, Json, SessionId, SnapshotError, SnapshotReader, SnapshotWriter, StateMachine};
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bell {
    rings: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Command {
    /// Counts.
    Count,
    /// Counts, and tells its own session the count `times` times.
    Ring { times: u64 },
    /// Counts, and tells these sessions the count.
    Call(Vec<SessionId>),
}

impl Frozen for Bell {
    fn write(&self, writer: &mut SnapshotWriter) {
        writer.write(&self.rings);
    }
}

impl StateMachine for Bell {
    // The store's is bincode.
    type Codec = Json;
    type Command = Command;
    type Query = ();
    type Output = u64;
    type Answer = u64;
    type Event = u64;

    fn apply(&mut self, commit: Commit<Command>, context: &mut Context<u64>) -> u64 {
        self.rings += 1;
        match commit.operation {
            Command::Count => {}
            Command::Ring { times } => (0..times).for_each(|_| context.publish(commit.session, self.rings)),
            Command::Call(sessions) => sessions.into_iter().for_each(|to| context.publish(to, self.rings)),
        }
        self.rings
    }

    fn query(&self, (): ()) -> u64 {
        self.rings
    }

    fn freeze(&self) -> Option<Box<dyn Frozen>> {
        Some(Box::new(*self))
    }

    fn install(&mut self, reader: &mut SnapshotReader<'_>) -> Result<(), SnapshotError> {
        self.rings = reader.read()?;
        Ok(())
    }
}
