//! Random histories: made by a true register, changed, and judged by trying every order.

use copycat_testkit::Rng;
use copycat_testkit::linearizability::{History, Op, Outcome, Require, Written};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) client: u64,
    pub(crate) key: Vec<u8>,
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) op: Op,
    pub(crate) outcome: Outcome,
}

impl Entry {
    pub(crate) fn ok(client: u64, key: &[u8], from: u64, to: u64, op: Op, answer: Written) -> Self {
        Self { client, key: key.to_vec(), from, to, op, outcome: Outcome::Ok(answer) }
    }
}

pub(crate) fn history(entries: &[Entry]) -> History {
    let mut history = History::new();
    for e in entries {
        let op = history.invoke(e.client, e.from, &e.key, e.op.clone());
        history.complete(op, e.to, e.outcome.clone());
    }
    history
}

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) clients: u64,
    pub(crate) operations: u64,
    pub(crate) keys: u64,
    /// Of 1,000 answers, so many are lost.
    pub(crate) unknown: u64,
    /// How many different values there are.
    pub(crate) values: u64,
}

impl Plan {
    pub(crate) fn random(rng: &mut Rng) -> Self {
        Self {
            clients: rng.range(1, 17),
            operations: rng.range(10, 400),
            keys: rng.range(1, 6),
            unknown: [0, 10, 100, 300][usize::try_from(rng.below(4)).expect("small")],
            values: if rng.chance(1, 4) { 5 } else { u64::MAX },
        }
    }
}

#[derive(Default)]
struct Register {
    index: u64,
    keys: BTreeMap<Vec<u8>, (u64, Vec<u8>)>,
}

fn holds(require: Require, version: Option<u64>) -> bool {
    match require {
        Require::Nothing => true,
        Require::Absent => version.is_none(),
        Require::Exists => version.is_some(),
        Require::Version(v) => version == Some(v),
    }
}

impl Register {
    fn apply(&mut self, key: &[u8], op: &Op) -> Written {
        let version = self.keys.get(key).map(|k| k.0);
        match op {
            Op::Get => Written::Got { item: self.keys.get(key).cloned() },
            Op::Put { require, .. } | Op::Delete { require } if !holds(*require, version) => {
                self.index += 1;
                Written::Failed { version }
            }
            Op::Put { value, .. } => {
                self.index += 1;
                self.keys.insert(key.to_vec(), (self.index, value.clone()));
                Written::Put { version: self.index }
            }
            Op::Delete { .. } => {
                self.index += 1;
                self.keys.remove(key);
                Written::Deleted { version }
            }
        }
    }
}

/// Clients that use a true register: each operation takes effect at one moment between its begin and its answer; one
/// whose answer is lost, at some later moment or never.
pub(crate) fn run(plan: &Plan, rng: &mut Rng) -> Vec<Entry> {
    struct Client {
        free_at: u64,
        versions: BTreeMap<Vec<u8>, u64>,
    }
    let mut register = Register::default();
    let mut clients: Vec<Client> =
        (0..plan.clients).map(|_| Client { free_at: 1 + rng.below(20), versions: BTreeMap::new() }).collect();
    let mut entries: Vec<Entry> = Vec::new();
    // (moment, entry)
    let mut effects: BTreeSet<(u64, usize)> = BTreeSet::new();
    let mut next_value = 0;
    for _ in 0..plan.operations {
        let c = (0..clients.len()).min_by_key(|&c| clients[c].free_at).expect("a client");
        let from = clients[c].free_at;
        while let Some(&(moment, i)) = effects.first().filter(|e| e.0 < from) {
            effects.remove(&(moment, i));
            take_effect(&mut register, &mut entries[i]);
        }
        for entry in entries.iter().rev().take(64).filter(|e| e.to < from && e.client == c as u64) {
            if let Outcome::Ok(Written::Put { version } | Written::Got { item: Some((version, _)) }) = &entry.outcome {
                let known = clients[c].versions.entry(entry.key.clone()).or_insert(0);
                *known = (*known).max(*version);
            }
        }
        let key = format!("key-{}", rng.below(plan.keys)).into_bytes();
        let known = clients[c].versions.get(&key).copied();
        let require = match rng.below(10) {
            0..3 => Require::Nothing,
            3..8 => known.map_or(Require::Absent, Require::Version),
            8 => Require::Absent,
            _ => Require::Exists,
        };
        let op = match rng.below(10) {
            0..5 => {
                next_value += 1;
                Op::Put { value: format!("{}", next_value % plan.values).into_bytes(), require }
            }
            5 => Op::Delete { require },
            _ => Op::Get,
        };
        let length = 1 + rng.below(60);
        let lost = rng.chance(plan.unknown, 1000);
        let moment = from + rng.below(if lost { 1000 } else { length });
        let outcome = if lost { Outcome::Unknown } else { Outcome::NotApplied };
        let to = from + length;
        entries.push(Entry { client: c as u64, key, from, to, op, outcome });
        // Without effect, now or later: a refusal or a loss on the way.
        if !rng.chance(1, if lost { 2 } else { 20 }) {
            effects.insert((moment, entries.len() - 1));
        }
        clients[c].free_at = to + 1 + rng.below(20);
    }
    for (_, i) in effects {
        take_effect(&mut register, &mut entries[i]);
    }
    entries
}

fn take_effect(register: &mut Register, entry: &mut Entry) {
    let answer = register.apply(&entry.key, &entry.op);
    if entry.outcome != Outcome::Unknown {
        entry.outcome = Outcome::Ok(answer);
    }
}

/// Changes one answer to another that the question could have. False: there was none to change.
pub(crate) fn mutate(entries: &mut [Entry], rng: &mut Rng) -> bool {
    let versions: Vec<u64> = entries
        .iter()
        .filter_map(|e| match e.outcome {
            Outcome::Ok(Written::Put { version }) => Some(version),
            _ => None,
        })
        .collect();
    if versions.is_empty() {
        return false;
    }
    let other = |rng: &mut Rng, not: u64| {
        let found = (0..20).map(|_| versions[usize::try_from(rng.below(versions.len() as u64)).expect("small")]);
        found.filter(|&v| v != not).last().unwrap_or(not + 1)
    };
    for _ in 0..100 {
        let i = usize::try_from(rng.below(entries.len() as u64)).expect("small");
        let entry = &mut entries[i];
        let Outcome::Ok(answer) = &mut entry.outcome else { continue };
        let changed = match (answer.clone(), rng.below(4)) {
            (Written::Got { item: Some((version, value)) }, 0) => {
                Written::Got { item: Some((other(rng, version), value)) }
            }
            (Written::Got { item: Some(_) }, 1) => Written::Got { item: None },
            (Written::Got { item: Some((version, _)) }, _) => {
                Written::Got { item: Some((version, b"never written".to_vec())) }
            }
            (Written::Got { item: None }, _) => Written::Got { item: Some((other(rng, 0), b"1".to_vec())) },
            (Written::Put { version }, _) => Written::Put { version: other(rng, version) },
            (Written::Deleted { version: Some(version) }, 0..2) => {
                Written::Deleted { version: Some(other(rng, version)) }
            }
            (Written::Deleted { version: Some(_) }, _) => match entry.op {
                Op::Delete { require: Require::Nothing } => Written::Deleted { version: None },
                _ => continue,
            },
            (Written::Deleted { version: None }, _) => Written::Deleted { version: Some(other(rng, 0)) },
            (Written::Failed { version: Some(version) }, _) => Written::Failed { version: Some(other(rng, version)) },
            (Written::Failed { version: None }, _) => continue,
        };
        *answer = changed;
        return true;
    }
    false
}

/// Whether some order explains the history of one key: tries every one. For a handful of operations.
pub(crate) fn brute_force(entries: &[Entry]) -> bool {
    let ops: Vec<&Entry> = entries
        .iter()
        .filter(|e| !(e.outcome == Outcome::NotApplied || e.outcome == Outcome::Unknown && e.op == Op::Get))
        .collect();
    let mut versions = BTreeSet::new();
    for e in &ops {
        if let Op::Put { require: Require::Version(v), .. } | Op::Delete { require: Require::Version(v) } = e.op {
            versions.insert(v);
        }
        match &e.outcome {
            Outcome::Ok(Written::Put { version }) => versions.extend([*version]),
            Outcome::Ok(Written::Deleted { version } | Written::Failed { version }) => versions.extend(*version),
            Outcome::Ok(Written::Got { item: Some((version, _)) }) => versions.extend([*version]),
            _ => {}
        }
    }
    place(&ops, &versions, 0, 0, &None)
}

type Item = Option<(u64, Vec<u8>)>;

fn place(ops: &[&Entry], versions: &BTreeSet<u64>, done: u32, floor: u64, state: &Item) -> bool {
    let open = |i: usize| done & (1 << i) == 0;
    let answered = |i: usize| matches!(ops[i].outcome, Outcome::Ok(_));
    if (0..ops.len()).all(|i| !open(i) || !answered(i)) {
        return true;
    }
    // Whoever goes next must have begun before every answer that is still to be placed.
    let horizon = (0..ops.len()).filter(|&i| open(i) && answered(i)).map(|i| ops[i].to).min().unwrap_or(u64::MAX);
    let version = state.as_ref().map(|s| s.0);
    for i in (0..ops.len()).filter(|&i| open(i) && ops[i].from <= horizon) {
        let done = done | (1 << i);
        let go = |floor: u64, state: &Item| place(ops, versions, done, floor, state);
        let found = match (&ops[i].op, &ops[i].outcome) {
            (Op::Get, Outcome::Ok(Written::Got { item })) => item == state && go(floor, state),
            (Op::Put { require, .. } | Op::Delete { require }, Outcome::Ok(Written::Failed { version: v })) => {
                *v == version && !holds(*require, version) && go(floor, state)
            }
            (Op::Put { value, require }, Outcome::Ok(Written::Put { version: v })) => {
                holds(*require, version) && *v > floor && go(*v, &Some((*v, value.clone())))
            }
            (Op::Delete { require }, Outcome::Ok(Written::Deleted { version: v })) => {
                holds(*require, version) && *v == version && go(floor + u64::from(v.is_some()), &None)
            }
            (Op::Put { value, require }, Outcome::Unknown) => {
                holds(*require, version)
                    && versions
                        .iter()
                        .copied()
                        .filter(|&v| v > floor)
                        .chain([floor + 1])
                        .any(|v| go(v, &Some((v, value.clone()))))
            }
            (Op::Delete { require }, Outcome::Unknown) => {
                holds(*require, version) && go(floor + u64::from(version.is_some()), &None)
            }
            _ => false,
        };
        if found {
            return true;
        }
    }
    false
}
