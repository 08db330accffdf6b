//! The state machine of these tests: a sum, which tells a session when it passes a bound.

use copycat::{Bincode, Codec, Commit, Context, Frozen, SnapshotError, SnapshotReader, SnapshotWriter, StateMachine};
use serde::{Deserialize, Serialize};
use std::marker::PhantomData;

#[derive(Debug)]
pub(crate) struct Tally<C = Bincode> {
    sum: u64,
    codec: PhantomData<fn() -> C>,
}

impl<C> Default for Tally<C> {
    fn default() -> Self {
        Self { sum: 0, codec: PhantomData }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Command {
    Add(u64),
    /// Bytes that only fill the log.
    Fill(Vec<u8>),
}

struct Sum(u64);

impl Frozen for Sum {
    fn write(&self, writer: &mut SnapshotWriter) {
        writer.write(&self.0);
    }
}

impl<C: Codec> StateMachine for Tally<C> {
    type Codec = C;
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
        Some(Box::new(Sum(self.sum)))
    }

    fn install(&mut self, reader: &mut SnapshotReader<'_>) -> Result<(), SnapshotError> {
        self.sum = reader.read()?;
        Ok(())
    }
}
