//! One key's operations, made ready for the search.

use super::{Op, Outcome, Record, Require, Written};
use std::collections::{BTreeMap, BTreeSet};

/// A value, as a number. Equal numbers are equal values.
pub(super) type Value = u32;

/// The value of an unanswered put that no answer shows: all such values are alike.
pub(super) const UNSEEN: Value = Value::MAX;

/// What an operation that surely took effect did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Wrote this value as this version. `rank` counts such puts in the order of their versions.
    Put { require: Require, version: u64, value: Value, rank: usize },
    /// Removed this version.
    Delete { require: Require, version: u64 },
    /// Saw this version, and this value if the answer showed one, and changed nothing.
    See { version: u64, value: Option<Value> },
    /// Saw that the key does not exist, and changed nothing.
    SeeAbsent,
}

/// An operation that surely took effect between two events.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// Its number in the history.
    pub(super) op: usize,
    pub(super) effect: Effect,
}

/// What an operation that may have taken effect would do. Equal ones are as good as each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Maybe {
    Put { require: Require, value: Value },
    Delete { require: Require },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The known operation begins.
    Begin(usize),
    /// One more operation of this class may take effect from now on.
    Open(usize),
    /// The known operation must have taken effect by now.
    End(usize),
}

#[derive(Debug, Default)]
pub(super) struct Prepared {
    pub(super) known: Vec<Known>,
    pub(super) classes: Vec<Maybe>,
    /// In the order of time.
    pub(super) events: Vec<(u64, Event)>,
    /// Versions that were seen, and were written by no put whose outcome is known.
    pub(super) orphans: BTreeMap<u64, Option<Value>>,
    pub(super) unknown_but_seen: usize,
    pub(super) values: BTreeMap<Vec<u8>, Value>,
}

/// What is known of a version that somebody saw.
#[derive(Default)]
struct Sighting {
    value: Option<Value>,
    /// When its put must have taken effect at the latest.
    by: Option<u64>,
}

impl Prepared {
    fn value(&mut self, bytes: &[u8]) -> Value {
        let next = Value::try_from(self.values.len()).unwrap_or(UNSEEN - 1);
        match self.values.get(bytes) {
            Some(&value) => value,
            None => *self.values.entry(bytes.to_vec()).or_insert(next),
        }
    }
}

fn holds(require: Require, version: Option<u64>) -> bool {
    match require {
        Require::Nothing => true,
        Require::Absent => version.is_none(),
        Require::Exists => version.is_some(),
        Require::Version(v) => version == Some(v),
    }
}

/// Fails with the operation whose answer is none for its question.
pub(super) fn prepare(records: &[Record], ops: &[usize]) -> Result<Prepared, usize> {
    let mut p = Prepared::default();
    let mut seen: BTreeMap<u64, Sighting> = BTreeMap::new();
    let mut written: BTreeSet<u64> = BTreeSet::new();
    let mut unknown: Vec<usize> = Vec::new();
    let mut exists_matters = false;
    for &op in ops {
        let record = &records[op];
        let require = match record.op {
            Op::Put { require, .. } | Op::Delete { require } => require,
            Op::Get => Require::Nothing,
        };
        exists_matters |= require == Require::Exists;
        let Some((end, Outcome::Ok(answer))) = &record.completed else {
            unknown.push(op);
            if let Require::Version(v) = require {
                seen.entry(v).or_default();
            }
            continue;
        };
        let end = *end;
        let mut sight = |version: u64, value: Option<Value>| {
            let sighting = seen.entry(version).or_default();
            sighting.value = sighting.value.or(value);
            sighting.by = Some(sighting.by.map_or(end, |by| by.min(end)));
        };
        let failed = |version: &Option<u64>| !matches!(require, Require::Nothing) && !holds(require, *version);
        let effect = match (&record.op, answer) {
            (Op::Put { value, .. }, Written::Put { version }) => {
                // Two puts of one version: the second finds no place in the order, and the search says so.
                written.insert(*version);
                let value = p.value(value);
                Effect::Put { require, version: *version, value, rank: 0 }
            }
            (Op::Delete { .. }, Written::Deleted { version: Some(version) }) if holds(require, Some(*version)) => {
                sight(*version, None);
                Effect::Delete { require, version: *version }
            }
            (Op::Delete { .. }, Written::Deleted { version: None }) if holds(require, None) => Effect::SeeAbsent,
            (Op::Put { .. } | Op::Delete { .. }, Written::Failed { version }) if failed(version) => match *version {
                Some(version) => {
                    sight(version, None);
                    Effect::See { version, value: None }
                }
                None => Effect::SeeAbsent,
            },
            (Op::Get, Written::Got { item: None }) => Effect::SeeAbsent,
            (Op::Get, Written::Got { item: Some((version, value)) }) => {
                let value = p.value(value);
                sight(*version, Some(value));
                Effect::See { version: *version, value: Some(value) }
            }
            _ => return Err(op),
        };
        if let (Op::Put { .. }, Require::Version(v)) = (&record.op, require)
            && matches!(effect, Effect::Put { .. })
        {
            sight(v, None);
        }
        p.known.push(Known { op, effect });
        p.events.push((record.invoked, Event::Begin(p.known.len() - 1)));
        p.events.push((end, Event::End(p.known.len() - 1)));
    }
    seen.retain(|version, _| !written.contains(version));
    attribute(&mut p, records, &mut seen, &mut unknown);
    p.orphans = seen.iter().map(|(&version, sighting)| (version, sighting.value)).collect();
    open(&mut p, records, &unknown, exists_matters);
    rank(&mut p);
    // At one time: what begins may still precede what ends.
    p.events.sort_by_key(|&(time, event)| (time, matches!(event, Event::End(_))));
    Ok(p)
}

/// A version that was read with a value, which exactly one unanswered put can have written, is that put's.
fn attribute(p: &mut Prepared, records: &[Record], seen: &mut BTreeMap<u64, Sighting>, unknown: &mut Vec<usize>) {
    let mut by_value: BTreeMap<Value, Vec<usize>> = BTreeMap::new();
    for &op in unknown.iter() {
        if let Op::Put { value, .. } = &records[op].op
            && let Some(&value) = p.values.get(value)
        {
            by_value.entry(value).or_default().push(op);
        }
    }
    let mut taken: BTreeSet<usize> = BTreeSet::new();
    seen.retain(|&version, sighting| {
        let (Some(value), Some(by)) = (sighting.value, sighting.by) else { return true };
        let candidates = by_value.get(&value).map_or(&[][..], Vec::as_slice);
        let &[op] = candidates else { return true };
        let Op::Put { require, .. } = records[op].op else { return true };
        if records[op].invoked > by || !taken.insert(op) {
            return true;
        }
        p.known.push(Known { op, effect: Effect::Put { require, version, value, rank: 0 } });
        p.events.push((records[op].invoked, Event::Begin(p.known.len() - 1)));
        p.events.push((by, Event::End(p.known.len() - 1)));
        false
    });
    p.unknown_but_seen = taken.len();
    unknown.retain(|op| !taken.contains(op));
}

/// The rest of the unanswered operations, as classes. A put that nobody can have noticed is left out.
fn open(p: &mut Prepared, records: &[Record], unknown: &[usize], exists_matters: bool) {
    let shown: BTreeSet<Value> = p.orphans.values().filter_map(|&v| v).collect();
    let mut classes: BTreeMap<Maybe, Vec<u64>> = BTreeMap::new();
    for &op in unknown {
        let maybe = match &records[op].op {
            Op::Get => continue,
            Op::Delete { require: Require::Absent } => continue,
            &Op::Delete { require } => Maybe::Delete { require },
            Op::Put { value, require } => {
                if p.orphans.is_empty() && !exists_matters {
                    continue;
                }
                let value = p.values.get(value).copied().filter(|v| shown.contains(v)).unwrap_or(UNSEEN);
                Maybe::Put { require: *require, value }
            }
        };
        classes.entry(maybe).or_default().push(records[op].invoked);
    }
    for (class, (maybe, times)) in classes.into_iter().enumerate() {
        p.classes.push(maybe);
        p.events.extend(times.into_iter().map(|time| (time, Event::Open(class))));
    }
}

fn rank(p: &mut Prepared) {
    let version = |known: &Known| match known.effect {
        Effect::Put { version, .. } => Some(version),
        _ => None,
    };
    let mut puts: Vec<(u64, usize)> = p.known.iter().enumerate().filter_map(|(i, k)| Some((version(k)?, i))).collect();
    puts.sort_unstable();
    for (place, (_, i)) in puts.into_iter().enumerate() {
        if let Effect::Put { rank, .. } = &mut p.known[i].effect {
            *rank = place;
        }
    }
}
