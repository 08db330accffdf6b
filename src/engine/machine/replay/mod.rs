//! The replay checker: does a state machine come back from a compacted log as what it was?
//!
//! A [`Trial`] makes a random history from a seed: operations of the machine with and without sessions, numbers and keys,
//! repeats of them, sessions that begin, live and end, time that goes on. It applies the history twice: once whole, and once
//! on a server whose log is compacted at random, with snapshots taken at random, and which starts again at random from
//! its snapshot and what is left of its log. State, answers, events, timers, held entries and digests must be equal at each index.
//! The first difference is cut down to the entries that matter, and told.
//!
//! ```
//! use copycat::engine::machine::replay::{Random, Subject, Trial};
//! use copycat::store::{Command, Condition, Store};
//!
//! struct Keys;
//!
//! impl Subject for Keys {
//!     type Machine = Store;
//!     type State = Store;
//!
//!     fn machine(&self) -> Store {
//!         Store::default()
//!     }
//!
//!     fn command(&self, random: &mut Random) -> Command {
//!         Command::Delete { key: vec![b'a' + random.below(3) as u8], condition: Condition::Always }
//!     }
//!
//!     fn state(&self, machine: &Store) -> Store {
//!         machine.clone()
//!     }
//! }
//!
//! for seed in 0..10 {
//!     Trial::new(seed).run(&Keys).unwrap_or_else(|difference| panic!("{difference}"));
//! }
//! ```

mod history;
mod run;

use super::StateMachine;
use crate::engine::types::Index;
use copycat_storage::Entry;
use run::Run;
use std::fmt::{self, Debug};

/// Random numbers, the same for the same seed: Vigna's SplitMix64.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// From a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    ///
    /// # Panics
    /// If the bound is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// True once in so many times.
    ///
    /// # Panics
    /// If it is 0.
    pub fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

/// A state machine to check.
pub trait Subject {
    /// The machine.
    type Machine: StateMachine<Command: Debug>;
    /// All of its state that matters to anybody.
    type State: PartialEq + Debug;

    /// A machine as it is at first.
    fn machine(&self) -> Self::Machine;

    /// A random operation. The same random numbers give the same one. Let them meet often: few keys, few values.
    fn command(&self, random: &mut Random) -> <Self::Machine as StateMachine>::Command;

    /// The state as it is.
    fn state(&self, machine: &Self::Machine) -> Self::State;
}

/// How the log is compacted, and a server starts again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rule {
    /// Entries are dropped at or below a snapshot, if they are not held; a start installs the snapshot.
    #[default]
    Snapshot,
    /// Copycat 1.x: entries are dropped once they are released, and a start applies what is left. This is unsound: the state
    /// in between is one that never was.
    Holes,
    /// The same, if nobody looks before the last entry was applied. This is unsound too, if what an entry does
    /// depends on one that was released.
    HolesUnseen,
}

/// One random history, checked.
#[derive(Clone, Copy, Debug)]
pub struct Trial {
    /// What all of it follows from.
    pub seed: u64,
    /// How many entries.
    pub entries: usize,
    /// How the log is compacted.
    pub rule: Rule,
    /// A bug to run the compacted server with.
    #[cfg(feature = "planted-bugs")]
    pub bug: Option<crate::engine::Bug>,
}

/// What a trial did. One that dropped nothing and never started again showed nothing: add them up, and look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Snapshots that became durable.
    pub snapshots: u64,
    /// Entries that were dropped from the log.
    pub dropped: u64,
    /// Starts from what was left.
    pub starts: u64,
    /// Snapshots installed over an older state.
    pub installs: u64,
    /// Entries that snapshots referred to, added up over all starts.
    pub referred: u64,
    /// Events that waited in snapshots, added up over all starts.
    pub events: u64,
    /// Repeats of commands that were answered as the first time.
    pub repeats: u64,
    /// Entries after which a timer had fired.
    pub fired: u64,
}

impl std::ops::AddAssign for Coverage {
    fn add_assign(&mut self, other: Self) {
        self.snapshots += other.snapshots;
        self.dropped += other.dropped;
        self.starts += other.starts;
        self.installs += other.installs;
        self.referred += other.referred;
        self.events += other.events;
        self.repeats += other.repeats;
        self.fired += other.fired;
    }
}

/// The whole run and the compacted one differ.
#[derive(Clone, Debug)]
pub struct Difference {
    /// The trial's seed.
    pub seed: u64,
    /// At this index,
    pub index: Index,
    /// in this respect:
    pub what: &'static str,
    /// so it is without compaction,
    pub whole: String,
    /// and so with.
    pub compacted: String,
    /// The entries without which there is no difference.
    pub entries: Vec<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, index, what, whole, compacted, entries } = self;
        writeln!(f, "seed {seed}: {what} at index {index}\n  whole:     {whole}\n  compacted: {compacted}\n  after:")?;
        entries.iter().try_for_each(|entry| writeln!(f, "    {entry}"))
    }
}

impl std::error::Error for Difference {}

impl Trial {
    /// One of 60 entries, by the sound rule.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            entries: 60,
            rule: Rule::Snapshot,
            #[cfg(feature = "planted-bugs")]
            bug: None,
        }
    }

    /// Runs it.
    ///
    /// # Errors
    /// The first difference, cut down.
    pub fn run<S: Subject>(self, subject: &S) -> Result<Coverage, Box<Difference>> {
        let entries = history::generate(subject, self.seed, self.entries);
        match self.apply(subject, &entries) {
            Ok(coverage) => Ok(coverage),
            Err(first) => Err(self.cut_down(subject, entries, first)),
        }
    }

    fn apply<S: Subject>(self, subject: &S, entries: &[Entry]) -> Result<Coverage, Box<Difference>> {
        Run::new(self, subject, entries).go()
    }

    /// Takes out one entry after the other, or else the session that it came by, as long as there is a difference, and again
    /// until nothing more can go. Time goes on where they were.
    fn cut_down<S: Subject>(self, subject: &S, mut all: Vec<Entry>, first: Box<Difference>) -> Box<Difference> {
        let mut difference = first;
        let mut smaller = true;
        while smaller {
            smaller = false;
            for at in (0..all.len()).rev() {
                all.truncate(usize::try_from(difference.index).unwrap_or(usize::MAX));
                let Some(entry) = all.get(at).cloned() else { continue };
                for less in history::less(&entry) {
                    all[at] = less;
                    if let Err(still) = self.apply(subject, &all) {
                        (difference, smaller) = (still, true);
                        break;
                    }
                    all[at].clone_from(&entry);
                }
            }
        }
        difference.entries = all.iter().filter(|e| !history::is_tick(e)).map(history::describe::<S>).collect();
        difference
    }
}
