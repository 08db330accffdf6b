//! A map that is compacted entry by entry: the log keeps the entries that the map is made of, and drops the others.

use copycat::{Bincode, Commit, CompactionMode, Context, Held, SnapshotError, StateMachine, Timer, TimerId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Command {
    /// Sets a key, for so many milliseconds of log time; 0: for good.
    Put { key: String, value: String, ttl_ms: u64 },
    /// Removes one.
    Remove { key: String },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Query {
    Get { key: String },
    Len,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    Value(Option<String>),
    Len(u64),
}

/// A value, and the entry that it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    value: String,
    timer: Option<TimerId>,
    held: Held,
}

#[derive(Debug, Default)]
pub struct Map(pub BTreeMap<String, Value>);

impl Map {
    /// Takes a key out, and lets its entry go.
    fn take(&mut self, key: &str, context: &mut Context<()>) -> Option<String> {
        let Value { value, timer, held } = self.0.remove(key)?;
        if let Some(timer) = timer {
            context.cancel(timer);
        }
        context.release(held);
        Some(value)
    }
}

impl StateMachine for Map {
    type Command = Command;
    type Query = Query;
    /// The value before.
    type Output = Option<String>;
    type Answer = Answer;
    type Event = ();
    type Codec = Bincode;

    fn mode(command: &Command) -> CompactionMode {
        match command {
            // Dropped when it was overwritten, removed, or its time is over.
            Command::Put { .. } => CompactionMode::Release,
            // It undoes earlier entries: it stays until these are gone, everywhere.
            Command::Remove { .. } => CompactionMode::Tombstone,
        }
    }

    fn apply(&mut self, commit: Commit<Command>, context: &mut Context<()>) -> Option<String> {
        match commit.operation {
            Command::Put { key, value, ttl_ms } => {
                let before = self.take(&key, context);
                let timer = (ttl_ms > 0).then(|| context.schedule(commit.time + ttl_ms, key.clone().into_bytes()));
                let held = context.hold();
                self.0.insert(key, Value { value, timer, held });
                before
            }
            Command::Remove { key } => self.take(&key, context),
        }
    }

    fn query(&self, query: Query) -> Answer {
        match query {
            Query::Get { key } => Answer::Value(self.0.get(&key).map(|found| found.value.clone())),
            Query::Len => Answer::Len(self.0.len() as u64),
        }
    }

    /// A key's timer is cancelled whenever the key is changed, so one that fires is its last.
    fn timer(&mut self, timer: Timer, context: &mut Context<()>) {
        if let Ok(key) = std::str::from_utf8(&timer.data) {
            self.take(key, context);
        }
    }

    fn clear(&mut self) -> Result<(), SnapshotError> {
        self.0.clear();
        Ok(())
    }
}
