//! The state machine of these tests: a sum, which tells a session when it passes a bound.

use copycat::{Commit, Context, Frozen, SnapshotError, SnapshotReader, SnapshotWriter, StateMachine};
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    sum: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Command {
    Add(u64),
    /// Bytes that only fill the log.
    Fill(Vec<u8>),
}

impl Frozen for Tally {
    fn write(&self, writer: &mut SnapshotWriter) {
        writer.write(&self.sum);
    }
}

impl StateMachine for Tally {
    type Command = Command;
    type Query = ();
    type Output = u64;
    type Answer = u64;
    type Event = u64;

    fn apply(&mut self, commit: Commit<Command>, context: &mut Context<u64>) -> u64 {
        if let Command::Add(n) = commit.operation {
            self.sum += n;
            context.publish(commit.session, self.sum);
        }
        self.sum
    }

    fn query(&self, (): ()) -> u64 {
        self.sum
    }

    fn freeze(&self) -> Option<Box<dyn Frozen>> {
        Some(Box::new(*self))
    }

    fn install(&mut self, reader: &mut SnapshotReader<'_>) -> Result<(), SnapshotError> {
        self.sum = reader.read()?;
        Ok(())
    }
}
