//! A linearizability checker for keys with versions and conditional writes.
//!
//! Each key is a register of its own: it is absent, or has a value and a version, the log index of the put that wrote
//! it. Versions rise along the order in which writes took effect, over deletions too. A [`History`] is what clients
//! saw; [`History::check`] looks for one order of all operations that explains every answer and keeps to real time: an
//! operation that was answered before another began is before it.
//!
//! An operation without an answer stays open: it may take effect at any time after it began, or never. A search that
//! gets too large is an error of its own, never a pass.
//!
//! The method is Wing and Gong's search in Lowe's just-in-time form: events in the order of time, and a set of
//! configurations that explain what was answered so far. Versions make it small: puts can only take effect in the order
//! of their versions, and an unanswered put whose value was read under a version is that version's put.

mod prepare;
mod report;
mod search;

use std::collections::BTreeMap;
use std::fmt;

/// What a write requires of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Require {
    /// Nothing.
    Nothing,
    /// The key must not exist.
    Absent,
    /// The key must exist.
    Exists,
    /// The key must exist in this version.
    Version(u64),
}

/// What a client asks of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Sets the key.
    Put {
        /// To this.
        value: Vec<u8>,
        /// If this holds.
        require: Require,
    },
    /// Removes the key.
    Delete {
        /// If this holds.
        require: Require,
    },
    /// Reads the key.
    Get,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// The put took effect.
    Put {
        /// The key's new version.
        version: u64,
    },
    /// The delete took effect.
    Deleted {
        /// The version that was removed; `None` if there was no such key.
        version: Option<u64>,
    },
    /// The condition did not hold; nothing was changed.
    Failed {
        /// The version that the key has; `None` if it does not exist.
        version: Option<u64>,
    },
    /// The key was read.
    Got {
        /// Its version and value; `None` if it does not exist.
        item: Option<(u64, Vec<u8>)>,
    },
}

/// How an operation ended for its client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With an answer.
    Ok(Written),
    /// It surely had no effect, now or later: it is left out.
    NotApplied,
    /// Nobody knows: it may take effect at any time after it began, or never.
    Unknown,
}

/// An operation of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(usize);

#[derive(Clone, Debug)]
struct Record {
    client: u64,
    key: Vec<u8>,
    op: Op,
    invoked: u64,
    /// `None`: still running, which counts as unknown.
    completed: Option<(u64, Outcome)>,
}

/// How large a search may get.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Configurations held at a time, for one key.
    pub configurations: usize,
    /// Configurations looked at, for one key.
    pub steps: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { configurations: 50_000, steps: 20_000_000 }
    }
}

/// What a check went through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Keys.
    pub keys: usize,
    /// Operations with an answer.
    pub answered: usize,
    /// Operations whose outcome is unknown, reads left out.
    pub unknown: usize,
    /// Unknown puts that some answer proves to have taken effect.
    pub unknown_but_seen: usize,
    /// Operations that were not applied.
    pub not_applied: usize,
    /// The most configurations held at a time.
    pub widest: usize,
    /// Configurations looked at.
    pub steps: u64,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No order explains the answers.
    NotLinearizable,
    /// An answer that its question cannot have, such as a failed write that had no condition.
    Impossible,
    /// The search got too large. It is not known whether an order exists: not a pass.
    Undecided,
}

/// Why a history does not pass. Printed, it shows the key, the operation that cannot be explained, and those around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What is wrong.
    pub kind: Kind,
    /// On which key.
    pub key: Vec<u8>,
    /// The operation that could not be explained.
    pub op: Option<OpId>,
    text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Violation {}

/// What clients asked and were answered, in times of one clock.
#[derive(Clone, Debug, Default)]
pub struct History {
    records: Vec<Record>,
}

impl History {
    /// An empty history.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many operations it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether it has no operations.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// A client asks something of a key. Take the time *before* sending.
    pub fn invoke(&mut self, client: u64, time: u64, key: &[u8], op: Op) -> OpId {
        self.records.push(Record { client, key: key.to_vec(), op, invoked: time, completed: None });
        OpId(self.records.len() - 1)
    }

    /// The client knows how it ended. Take the time *after* the answer. An operation never completed counts as unknown.
    /// Operations that end and begin at one and the same time count as concurrent.
    ///
    /// # Panics
    /// If the operation is not of this history, was completed before, or ends before it began: the test is wrong.
    pub fn complete(&mut self, op: OpId, time: u64, outcome: Outcome) {
        let record = &mut self.records[op.0];
        assert!(record.completed.is_none(), "operation {} was completed twice", op.0);
        assert!(time >= record.invoked, "operation {} ends before it began", op.0);
        record.completed = Some((time, outcome));
    }

    /// Takes in the operations of another history, recorded with the same clock.
    pub fn merge(&mut self, other: Self) {
        self.records.extend(other.records);
    }

    /// Looks for an order that explains every answer, with the default limits.
    ///
    /// # Errors
    /// If there is none, or if the search got too large to tell.
    pub fn check(&self) -> Result<Stats, Violation> {
        self.check_within(Limits::default())
    }

    /// As [`Self::check`], with other limits.
    ///
    /// # Errors
    /// If there is none, or if the search got too large to tell.
    pub fn check_within(&self, limits: Limits) -> Result<Stats, Violation> {
        let mut keys: BTreeMap<&[u8], Vec<usize>> = BTreeMap::new();
        let mut stats = Stats::default();
        for (i, record) in self.records.iter().enumerate() {
            match (&record.completed, &record.op) {
                (Some((_, Outcome::NotApplied)), _) => stats.not_applied += 1,
                (Some((_, Outcome::Ok(_))), _) => stats.answered += 1,
                (_, Op::Get) => continue,
                _ => stats.unknown += 1,
            }
            if !matches!(record.completed, Some((_, Outcome::NotApplied))) {
                keys.entry(&record.key).or_default().push(i);
            }
        }
        stats.keys = keys.len();
        for (key, ops) in keys {
            let prepared = prepare::prepare(&self.records, &ops).map_err(|op| self.impossible(key, op))?;
            stats.unknown_but_seen += prepared.unknown_but_seen;
            let found = search::search(&prepared, limits);
            stats.steps += found.steps;
            stats.widest = stats.widest.max(found.widest);
            if let Some(failure) = found.failure {
                return Err(self.explain(key, &ops, &prepared, &failure));
            }
        }
        Ok(stats)
    }
}
