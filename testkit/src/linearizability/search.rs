//! The search of one key's operations for an order.

use super::Limits;
use super::Require;
use super::prepare::{Effect, Event, Maybe, Prepared, UNSEEN, Value};
use std::collections::{BTreeMap, BTreeSet};

/// The register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    Absent,
    Present {
        version: u64,
        value: Value,
    },
    /// Written by an unanswered put. Its version is at least the configuration's floor; the first who sees it tells.
    Unbound {
        value: Value,
    },
}

/// An explanation of what was answered so far.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Configuration {
    state: State,
    /// The highest log index that surely is used up.
    floor: u64,
    /// The rank of the put that must come next among the known ones.
    next_put: usize,
    /// Known operations that took effect and are not over, by slot.
    done: u128,
    /// How many of each class took effect; classes with none are left out.
    used: Vec<(usize, u32)>,
}

/// Where the search ended without an order.
pub(super) struct Failure {
    pub(super) time: u64,
    /// Which known operation cannot be explained; `None`: the search got too large.
    pub(super) known: Option<usize>,
    /// Known operations that were running.
    pub(super) running: Vec<usize>,
    /// What the register could have held before.
    pub(super) states: Vec<State>,
}

#[derive(Default)]
pub(super) struct Found {
    pub(super) failure: Option<Failure>,
    pub(super) widest: usize,
    pub(super) steps: u64,
}

struct Search<'a> {
    p: &'a Prepared,
    limits: Limits,
    /// By rank.
    put_versions: Vec<u64>,
    /// By slot: the known operation that runs there.
    slots: [Option<usize>; 128],
    classes: BTreeMap<Maybe, usize>,
    /// What unanswered puts may write.
    values: BTreeSet<Value>,
    /// By class: how many may take effect.
    opened: Vec<u32>,
    frontier: Vec<Configuration>,
    steps: u64,
}

/// Too large to tell.
struct TooLarge;

pub(super) fn search(p: &Prepared, limits: Limits) -> Found {
    let mut put_versions: Vec<u64> = p.known.iter().filter_map(|k| version_written(&k.effect)).collect();
    put_versions.sort_unstable();
    let start = Configuration { state: State::Absent, floor: 0, next_put: 0, done: 0, used: Vec::new() };
    let mut search = Search {
        p,
        limits,
        put_versions,
        slots: [None; 128],
        classes: p.classes.iter().enumerate().map(|(class, &maybe)| (maybe, class)).collect(),
        values: p.classes.iter().filter_map(value_written).collect(),
        opened: vec![0; p.classes.len()],
        frontier: vec![start],
        steps: 0,
    };
    let mut widest = 1;
    let mut failure = None;
    for &(time, event) in &p.events {
        let result = match event {
            Event::Begin(known) => search.begin(known),
            Event::Open(class) => {
                search.opened[class] += 1;
                Ok(())
            }
            Event::End(known) => search.end(known).map(|states| {
                if search.frontier.is_empty() {
                    failure = Some(search.failure(time, Some(known), states));
                }
            }),
        };
        widest = widest.max(search.frontier.len());
        if result.is_err() {
            let states = search.frontier.iter().map(|c| c.state).take(8).collect();
            failure = Some(search.failure(time, None, states));
        }
        if failure.is_some() {
            break;
        }
    }
    Found { failure, widest, steps: search.steps }
}

fn version_written(effect: &Effect) -> Option<u64> {
    match effect {
        Effect::Put { version, .. } => Some(*version),
        _ => None,
    }
}

fn value_written(maybe: &Maybe) -> Option<Value> {
    match *maybe {
        Maybe::Put { value, .. } => Some(value),
        Maybe::Delete { .. } => None,
    }
}

impl Search<'_> {
    fn failure(&self, time: u64, known: Option<usize>, states: Vec<State>) -> Failure {
        Failure { time, known, running: self.slots.iter().flatten().copied().collect(), states }
    }

    fn begin(&mut self, known: usize) -> Result<(), TooLarge> {
        let free = self.slots.iter_mut().find(|slot| slot.is_none()).ok_or(TooLarge)?;
        *free = Some(known);
        Ok(())
    }

    /// Keeps the configurations in which this operation took effect, or can do so now. On failure, the frontier is empty
    /// and the states before are returned.
    fn end(&mut self, known: usize) -> Result<Vec<State>, TooLarge> {
        let slot = self.slots.iter().position(|&s| s == Some(known)).ok_or(TooLarge)?;
        let bit = 1_u128 << slot;
        let before = std::mem::take(&mut self.frontier);
        let mut states: Vec<State> = before.iter().map(|c| c.state).take(64).collect();
        let mut after = Vec::with_capacity(before.len());
        let mut seen = BTreeSet::new();
        let mut stack = Vec::new();
        for c in before {
            if c.done & bit == 0 { stack.push((c, false)) } else { after.push(c) }
        }
        while let Some((mut c, mut fresh)) = stack.pop() {
            self.steps += 1;
            if self.steps > self.limits.steps || seen.len() > 4 * self.limits.configurations {
                self.frontier = after;
                return Err(TooLarge);
            }
            self.look(&mut c, &mut fresh);
            if c.done & bit != 0 {
                after.push(c);
                continue;
            }
            if seen.insert((c.clone(), fresh)) {
                self.successors(&c, fresh, &mut stack);
            }
        }
        for c in &mut after {
            c.done &= !bit;
        }
        self.frontier = smallest(after);
        if self.frontier.is_empty() {
            states.sort_unstable();
            states.dedup();
            return Ok(states);
        }
        self.slots[slot] = None;
        if self.frontier.len() > self.limits.configurations { Err(TooLarge) } else { Ok(Vec::new()) }
    }

    fn pending(&self, c: &Configuration) -> impl Iterator<Item = (u128, &Effect)> {
        let done = c.done;
        self.slots.iter().enumerate().filter_map(move |(slot, known)| {
            let bit = 1_u128 << slot;
            (done & bit == 0).then_some((bit, &self.p.known[(*known)?].effect))
        })
    }

    /// Whoever only looks and sees what there is, does so at once: that hinders nobody.
    fn look(&self, c: &mut Configuration, fresh: &mut bool) {
        let mut looked = 0;
        for (bit, effect) in self.pending(c) {
            let sees = match (*effect, c.state) {
                (Effect::SeeAbsent, State::Absent) => true,
                (Effect::See { version: v, value }, State::Present { version, value: there }) => {
                    v == version && value.is_none_or(|value| value == there)
                }
                _ => false,
            };
            if sees {
                looked |= bit;
            }
        }
        c.done |= looked;
        *fresh &= looked == 0;
    }

    /// The configuration in which the key has this version, if it may have it.
    fn with_version(&self, c: &Configuration, version: u64) -> Option<Configuration> {
        match c.state {
            State::Present { version: v, .. } if v == version => Some(c.clone()),
            State::Unbound { value } if version >= c.floor => {
                let shown = *self.p.orphans.get(&version)?;
                let fits = shown.is_none_or(|shown| shown == value);
                let state = State::Present { version, value };
                fits.then(|| Configuration { state, floor: version, ..c.clone() })
            }
            _ => None,
        }
    }

    fn required(&self, c: &Configuration, require: Require) -> Option<Configuration> {
        match require {
            Require::Nothing => Some(c.clone()),
            Require::Absent => (c.state == State::Absent).then(|| c.clone()),
            Require::Exists => (c.state != State::Absent).then(|| c.clone()),
            Require::Version(version) => self.with_version(c, version),
        }
    }

    /// What may happen next. `fresh`: the last thing that happened was an unanswered write, and nobody has looked since:
    /// to overwrite it blindly would be as if it had never been.
    fn successors(&self, c: &Configuration, fresh: bool, to: &mut Vec<(Configuration, bool)>) {
        let mut push = |c: Configuration, fresh: bool| {
            // The next known put must still fit in.
            if self.put_versions.get(c.next_put).is_none_or(|&version| version > c.floor) {
                to.push((c, fresh));
            }
        };
        for (bit, effect) in self.pending(c) {
            let next = match *effect {
                Effect::SeeAbsent => None,
                // The value was compared when the version was bound.
                Effect::See { version, value } if matches!(c.state, State::Unbound { .. }) => {
                    self.with_version(c, version).filter(|c| match c.state {
                        State::Present { value: there, .. } => value.is_none_or(|v| v == there && v != UNSEEN),
                        _ => false,
                    })
                }
                Effect::See { .. } => None,
                Effect::Delete { require, version } => self
                    .with_version(c, version)
                    .filter(|c| self.required(c, require).is_some())
                    .map(|c| Configuration { state: State::Absent, floor: c.floor.max(version) + 1, ..c }),
                Effect::Put { require, version, value, rank } => {
                    let blind = fresh && require == Require::Nothing;
                    let c = if blind || rank != c.next_put { None } else { self.required(c, require) };
                    c.filter(|c| version > c.floor).map(|c| Configuration {
                        state: State::Present { version, value },
                        floor: version,
                        next_put: rank + 1,
                        ..c
                    })
                }
            };
            if let Some(mut next) = next {
                next.done |= bit;
                next.used.retain(|&(class, _)| !self.is_over(class, next.floor));
                push(next, false);
            }
        }
        for (require, state) in self.candidates(c) {
            let maybe = match state {
                State::Unbound { value } => Maybe::Put { require, value },
                _ => Maybe::Delete { require },
            };
            let nothing = state == State::Absent && c.state == State::Absent;
            if nothing || (fresh && require == Require::Nothing) {
                continue;
            }
            let Some(&class) = self.classes.get(&maybe) else { continue };
            let Some(mut next) = self.required(c, require) else { continue };
            next.state = state;
            next.floor += 1;
            match next.used.binary_search_by_key(&class, |u| u.0) {
                Ok(i) => next.used[i].1 += 1,
                Err(i) => next.used.insert(i, (class, 1)),
            }
            next.used.retain(|&(class, _)| !self.is_over(class, next.floor));
            push(next, true);
        }
    }

    fn is_left(&self, c: &Configuration, maybe: Maybe) -> bool {
        let Some(&class) = self.classes.get(&maybe) else { return false };
        let used = c.used.binary_search_by_key(&class, |u| u.0).map_or(0, |i| c.used[i].1);
        used < self.opened[class]
    }

    /// Whether an operation of this class can no longer do anything: its version is past.
    fn is_over(&self, class: usize, floor: u64) -> bool {
        let (Maybe::Put { require, .. } | Maybe::Delete { require }) = self.p.classes[class];
        matches!(require, Require::Version(version) if version < floor)
    }

    /// The unanswered writes that may take effect now: for each result the choosiest one, since a less choosy one can
    /// stand in for it later, but not the other way round.
    fn candidates(&self, c: &Configuration) -> Vec<(Require, State)> {
        let mut found = Vec::new();
        let results = self.values.iter().map(|&value| State::Unbound { value }).chain([State::Absent]);
        for result in results {
            let left = |require: Require| {
                self.is_left(
                    c,
                    match result {
                        State::Unbound { value } => Maybe::Put { require, value },
                        _ => Maybe::Delete { require },
                    },
                )
            };
            let choosy = match c.state {
                State::Absent => vec![Require::Absent, Require::Nothing],
                State::Present { version, .. } => vec![Require::Version(version), Require::Exists, Require::Nothing],
                State::Unbound { .. } => {
                    // These also tell which version it is: another matter.
                    let bound = self.p.orphans.range(c.floor..).map(|(&version, _)| Require::Version(version));
                    found.extend(bound.filter(|&r| left(r)).map(|r| (r, result)));
                    vec![Require::Exists, Require::Nothing]
                }
            };
            found.extend(choosy.into_iter().find(|&r| left(r)).map(|r| (r, result)));
        }
        found
    }
}

/// Without doubles, and without those that needed more unanswered operations than another one for the same.
fn smallest(mut all: Vec<Configuration>) -> Vec<Configuration> {
    if all.len() < 2 {
        return all;
    }
    all.sort_unstable();
    all.dedup();
    let same = |a: &Configuration, b: &Configuration| {
        (a.state, a.floor, a.next_put, a.done) == (b.state, b.floor, b.next_put, b.done)
    };
    let within = |a: &Configuration, b: &Configuration| {
        a.used.iter().all(|&(class, n)| b.used.iter().any(|&(other, m)| other == class && m >= n))
    };
    let mut kept = Vec::with_capacity(all.len());
    for group in all.chunk_by(same) {
        for c in group {
            if !group.iter().any(|other| other != c && within(other, c)) {
                kept.push(c.clone());
            }
        }
    }
    kept
}
