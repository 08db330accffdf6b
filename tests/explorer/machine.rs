//! The explorer's state machine: one register. Its version is the index of the entry that wrote it.

use copycat::engine::machine::Outcome;
use copycat::engine::machine::{
    Ask, Bincode, Commit, CompactionMode, Context, Frozen, SnapshotError, SnapshotReader, SnapshotWriter, StateMachine,
    decode_query_output, encode_operation,
};
use copycat::engine::sessions::Submit;

/// The value, and padding to lengthen the entry.
pub(crate) type Put = (u64, Vec<u8>);

/// The version and the value, both 0 before the first put.
pub(crate) type Item = (u64, u64);

#[derive(Clone, Debug, Default)]
pub(crate) struct Register {
    item: Item,
}

impl Frozen for Register {
    fn write(&self, writer: &mut SnapshotWriter) {
        writer.write(&self.item);
    }
}

impl StateMachine for Register {
    type Codec = Bincode;
    type Command = Put;
    type Query = ();
    type Output = u64;
    type Answer = Item;
    type Event = ();

    fn apply(&mut self, commit: Commit<Put>, _context: &mut Context<()>) -> u64 {
        self.item = (commit.index, commit.operation.0);
        commit.index
    }

    fn query(&self, (): ()) -> Item {
        self.item
    }

    fn freeze(&self) -> Option<Box<dyn Frozen>> {
        Some(Box::new(self.clone()))
    }

    fn install(&mut self, reader: &mut SnapshotReader<'_>) -> Result<(), SnapshotError> {
        self.item = reader.read()?;
        Ok(())
    }
}

/// Returns a put of this value.
pub(crate) fn put(value: u64, padding: usize) -> Submit {
    Submit::command(encode_operation(&(value, vec![7_u8; padding])), CompactionMode::Release)
}

pub(crate) fn read() -> Ask {
    Ask::Machine(encode_operation(&()))
}

pub(crate) fn item(output: &Outcome) -> Option<Item> {
    match output {
        Outcome::Output(bytes) => decode_query_output::<Register>(bytes),
        _ => None,
    }
}
