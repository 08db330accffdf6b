//! A counter. What it counted is in no single entry of the log, so it writes itself into snapshots.

use copycat::{
    Bincode, Commit, CompactionMode, Context, Frozen, SnapshotError, SnapshotReader, SnapshotWriter, StateMachine,
};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    pub count: i64,
}

impl StateMachine for Counter {
    /// What is added.
    type Command = i64;
    type Query = ();
    /// The count after it.
    type Output = i64;
    type Answer = i64;
    type Event = ();
    type Codec = Bincode;

    /// An entry may go as soon as a snapshot has its effect.
    fn mode(_: &i64) -> CompactionMode {
        CompactionMode::Snapshot
    }

    fn apply(&mut self, commit: Commit<i64>, _: &mut Context<()>) -> i64 {
        // The same on every server, whatever the build: overflow must not depend on checks that are compiled in.
        self.count = self.count.wrapping_add(commit.operation);
        self.count
    }

    fn query(&self, (): ()) -> i64 {
        self.count
    }

    fn freeze(&self) -> Option<Box<dyn Frozen>> {
        Some(Box::new(FrozenCounter(self.count)))
    }

    fn install(&mut self, reader: &mut SnapshotReader<'_>) -> Result<(), SnapshotError> {
        self.count = reader.read()?;
        Ok(())
    }
}

/// The count at one moment; it is written on another thread while the counter counts on.
struct FrozenCounter(i64);

impl Frozen for FrozenCounter {
    fn write(&self, writer: &mut SnapshotWriter) {
        writer.write(&self.0);
    }
}
