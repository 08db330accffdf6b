//! A register: one value, which is set and read.

use copycat::{Bincode, Commit, Context, Held, SnapshotError, StateMachine};

/// The register. Its state is the last entry that set it, and that is the only one which the log keeps.
#[derive(Default)]
pub struct Register(Option<(String, Held)>);

impl Register {
    /// The value, if it was ever set.
    pub fn value(&self) -> Option<String> {
        self.0.as_ref().map(|(value, _)| value.clone())
    }
}

impl StateMachine for Register {
    /// The new value.
    type Command = String;
    type Query = ();
    /// The value before.
    type Output = Option<String>;
    type Answer = Option<String>;
    type Event = ();
    type Codec = Bincode;

    fn apply(&mut self, commit: Commit<String>, context: &mut Context<()>) -> Option<String> {
        let held = context.hold();
        let (value, before) = self.0.replace((commit.operation, held))?;
        // From here on the log may drop it.
        context.release(before);
        Some(value)
    }

    fn query(&self, (): ()) -> Option<String> {
        self.value()
    }

    fn clear(&mut self) -> Result<(), SnapshotError> {
        self.0 = None;
        Ok(())
    }
}
