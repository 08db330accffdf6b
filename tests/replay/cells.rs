//! A machine that breaks the contract: it cannot be frozen, and what a conditional write does depends on the write before it,
//! which it releases.

use copycat::engine::machine::replay::{self, Random};
use copycat::engine::machine::{Bincode, Commit, Context, Held, SnapshotError, StateMachine};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Set {
    cell: u8,
    value: u8,
    if_version: Option<u64>,
}

#[derive(Default)]
pub(crate) struct Cells(BTreeMap<u8, (u8, Held)>);

impl StateMachine for Cells {
    type Codec = Bincode;
    type Command = Set;
    type Query = u8;
    type Output = bool;
    type Answer = Option<u8>;
    type Event = ();

    fn apply(&mut self, commit: Commit<Set>, context: &mut Context<()>) -> bool {
        let Set { cell, value, if_version } = commit.operation;
        let version = self.0.get(&cell).map_or(0, |(_, held)| held.index());
        if if_version.is_some_and(|wanted| wanted != version) {
            return false;
        }
        let held = context.hold();
        if let Some((_, before)) = self.0.insert(cell, (value, held)) {
            context.release(before);
        }
        true
    }

    fn query(&self, cell: u8) -> Option<u8> {
        self.0.get(&cell).map(|&(value, _)| value)
    }

    fn clear(&mut self) -> Result<(), SnapshotError> {
        self.0.clear();
        Ok(())
    }
}

pub(crate) struct Subject;

impl replay::Subject for Subject {
    type Machine = Cells;
    type State = BTreeMap<u8, (u8, Held)>;

    fn machine(&self) -> Cells {
        Cells::default()
    }

    fn command(&self, random: &mut Random) -> Set {
        let cell = u8::try_from(random.below(3)).unwrap();
        let if_version = random.one_in(2).then(|| random.below(40));
        Set { cell, value: u8::try_from(random.below(4)).unwrap(), if_version }
    }

    fn state(&self, machine: &Cells) -> BTreeMap<u8, (u8, Held)> {
        machine.0.clone()
    }
}
