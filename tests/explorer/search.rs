//! Depth-first search through every order of events from one state.

use crate::events::Event;
use crate::starts::Start;
use crate::world::World;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A hasher for keys that are hashes.
#[derive(Default)]
struct Plain(u64);

impl Hasher for Plain {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0 << 8 | u64::from(byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

/// The result of an exploration.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub name: &'static str,
    /// Distinct states that were seen.
    pub states: usize,
    /// Steps from one state to another.
    pub steps: u64,
    /// The number of events of which every order was tried.
    pub depth: u8,
    /// The number of events of which orders were tried in part.
    pub begun: u8,
    /// States from which progress was checked.
    pub continued: u64,
    pub counts: BTreeMap<&'static str, u64>,
    pub violation: Option<(String, Vec<Event>)>,
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, states, steps, depth, begun, continued, counts, violation } = self;
        write!(f, "{name}: {states} states, {steps} steps, depth {depth}")?;
        if begun > depth {
            write!(f, " ({begun} in part)")?;
        }
        let counts: Vec<String> = counts.iter().map(|(kind, n)| format!("{n} {kind}")).collect();
        write!(f, ", {continued} continued; {}", counts.join(", "))?;
        if let Some((what, path)) = violation {
            write!(f, "; {what}, after {path:?}")?;
        }
        Ok(())
    }
}

enum Stop {
    /// The limit of steps is reached.
    Enough,
    Found(String),
}

struct Search<'a> {
    start: &'a Start,
    limit: u64,
    /// By state: one more than the number of events that were tried from there.
    visited: HashMap<u64, u8, BuildHasherDefault<Plain>>,
    report: Report,
    path: Vec<Event>,
    buffer: String,
}

/// Explores with increasing depth until every order of `start.depth` events was tried, or `limit` steps were made.
pub(crate) fn explore(start: &Start, limit: u64) -> Report {
    let mut search = Search {
        start,
        limit,
        visited: HashMap::default(),
        report: Report { name: start.name, ..Report::default() },
        path: Vec::new(),
        buffer: String::new(),
    };
    let found = catch_unwind(AssertUnwindSafe(|| search.run()));
    let violation = match found {
        Ok(violation) => violation,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            Some(format!("PANIC: {}", text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("?")))
        }
    };
    search.report.states = search.visited.len();
    search.report.violation = violation.map(|what| (what, search.path.clone()));
    search.report
}

impl Search<'_> {
    fn run(&mut self) -> Option<String> {
        let world = match self.start.world() {
            Ok(world) => world,
            Err(violation) => return Some(violation),
        };
        for depth in 1..=self.start.depth {
            self.report.begun = depth;
            match self.visit(&world, depth) {
                Ok(()) => self.report.depth = depth,
                Err(Stop::Enough) => break,
                Err(Stop::Found(violation)) => return Some(violation),
            }
        }
        None
    }

    /// Tries every order of `left` events from this state.
    fn visit(&mut self, world: &World, left: u8) -> Result<(), Stop> {
        let tried = self.visited.entry(world.print()).or_default();
        let (first, known) = (*tried == 0, *tried > left);
        *tried = (*tried).max(left + 1);
        if known {
            return Ok(());
        }
        if first && self.path.len() <= usize::from(self.start.continued) {
            self.report.continued += 1;
            world.check_progress().map_err(Stop::Found)?;
        }
        if left == 0 {
            return Ok(());
        }
        for event in world.events() {
            if self.report.steps >= self.limit {
                return Err(Stop::Enough);
            }
            self.report.steps += 1;
            *self.report.counts.entry(event.kind()).or_default() += 1;
            self.path.push(event);
            let mut next = world.clone();
            next.apply(event, &mut self.buffer).map_err(Stop::Found)?;
            self.visit(&next, left - 1)?;
            self.path.pop();
        }
        Ok(())
    }
}

/// Replays a path. Returns its events and messages.
pub(crate) fn trace(start: &Start, path: &[Event]) -> String {
    let mut buffer = String::new();
    let Ok(mut world) = start.world() else { return "the start fails".into() };
    world.trace = Some(String::new());
    for &event in path {
        let outcome = catch_unwind(AssertUnwindSafe(|| world.apply(event, &mut buffer)));
        if !matches!(outcome, Ok(Ok(()))) {
            break;
        }
    }
    world.trace.unwrap_or_default()
}
