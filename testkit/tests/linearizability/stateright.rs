//! The checker against one that others wrote: `stateright`'s tester, which tries every order of the operations. Both judge
//! the same histories; the register's rules are written down here once more, in its terms.

use crate::random::{Entry, Plan, history, mutate, run};
use copycat_testkit::Rng;
use copycat_testkit::linearizability::{Kind, Op, Outcome, Require, Written};
use stateright::semantics::{ConsistencyTester, LinearizabilityTester, SequentialSpec};

/// How many histories are judged by both.
const HISTORIES: u64 = 10_000;

/// A version that may not be known yet: that of a put without an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Version {
    Is(u64),
    AtLeast(u64),
}

/// The register of one key. Versions rise over puts and deletions.
#[derive(Clone, Debug)]
struct Register {
    item: Option<(Version, Vec<u8>)>,
    floor: u64,
}

impl Register {
    /// Whether the key may have this version. If so it has it from now on.
    fn bind(&mut self, version: u64) -> bool {
        match &mut self.item {
            Some((Version::Is(known), _)) => *known == version,
            Some((unknown @ Version::AtLeast(_), _)) if version >= self.floor => {
                (*unknown, self.floor) = (Version::Is(version), version);
                true
            }
            _ => false,
        }
    }

    /// Whether the condition may hold. If so it does.
    fn meets(&mut self, require: Require) -> bool {
        match require {
            Require::Nothing => true,
            Require::Absent => self.item.is_none(),
            Require::Exists => self.item.is_some(),
            Require::Version(version) => self.bind(version),
        }
    }

    fn remove(&mut self) {
        self.floor += u64::from(self.item.is_some());
        self.item = None;
    }
}

impl SequentialSpec for Register {
    type Op = Op;
    type Ret = Option<Written>;

    /// An operation that nobody got an answer to takes effect; one whose condition does not hold might as well never.
    fn invoke(&mut self, op: &Op) -> Option<Written> {
        match op {
            Op::Get => {}
            Op::Put { value, require } if self.meets(*require) => {
                self.floor += 1;
                self.item = Some((Version::AtLeast(self.floor), value.clone()));
            }
            Op::Delete { require } if self.meets(*require) => self.remove(),
            Op::Put { .. } | Op::Delete { .. } => {}
        }
        None
    }

    fn is_valid_step(&mut self, op: &Op, ret: &Option<Written>) -> bool {
        let Some(answer) = ret else { return false };
        match (op, answer) {
            (Op::Get, Written::Got { item: None }) => self.item.is_none(),
            (Op::Get, Written::Got { item: Some((version, value)) }) => {
                self.bind(*version) && self.item.as_ref().is_some_and(|(_, held)| held == value)
            }
            (Op::Put { value, require }, Written::Put { version }) => {
                let fits = self.meets(*require) && *version > self.floor;
                (self.item, self.floor) = (Some((Version::Is(*version), value.clone())), *version);
                fits
            }
            (Op::Delete { require }, Written::Deleted { version }) => {
                let fits = match version {
                    Some(version) => self.bind(*version),
                    None => self.item.is_none(),
                };
                let fits = fits && self.meets(*require);
                self.remove();
                fits
            }
            (Op::Put { require, .. } | Op::Delete { require }, Written::Failed { version }) => {
                let seen = match version {
                    Some(version) => self.bind(*version),
                    None => self.item.is_none(),
                };
                // What was seen is bound, so that the condition holds of it or does not.
                seen && !self.meets(*require)
            }
            _ => false,
        }
    }
}

/// The other checker's verdict. Its threads do one thing at a time, so an operation goes to one that is free: not to one
/// that still waits for an answer.
fn other_verdict(entries: &[Entry]) -> bool {
    let mut order: Vec<&Entry> = entries.iter().filter(|e| e.outcome != Outcome::NotApplied).collect();
    order.sort_by_key(|e| e.from);
    let mut free_at: Vec<u64> = Vec::new();
    // (moment, is it an end, thread, entry); at one moment, what begins is before what ends.
    let mut events = Vec::new();
    for entry in order {
        let thread = free_at.iter().position(|&free| free < entry.from).unwrap_or(free_at.len());
        free_at.resize(free_at.len().max(thread + 1), 0);
        events.push((entry.from, false, thread, entry));
        if matches!(entry.outcome, Outcome::Ok(_)) {
            events.push((entry.to, true, thread, entry));
            free_at[thread] = entry.to;
        } else {
            free_at[thread] = u64::MAX;
        }
    }
    events.sort_by_key(|&(at, ends, thread, _)| (at, ends, thread));
    let mut tester = LinearizabilityTester::new(Register { item: None, floor: 0 });
    for (_, ends, thread, entry) in events {
        match &entry.outcome {
            Outcome::Ok(answer) if ends => drop(tester.on_return(thread, Some(answer.clone())).expect("it was asked")),
            _ => drop(tester.on_invoke(thread, entry.op.clone()).expect("the thread is free")),
        }
    }
    tester.is_consistent()
}

fn any(rng: &mut Rng, entries: &[Entry], fits: impl Fn(&Entry) -> bool) -> Option<usize> {
    let found: Vec<usize> = (0..entries.len()).filter(|&i| fits(&entries[i])).collect();
    let place = usize::try_from(rng.below(found.len().max(1) as u64)).expect("small");
    found.get(place).copied()
}

fn read(entry: &Entry) -> bool {
    matches!(entry.outcome, Outcome::Ok(Written::Got { .. }))
}

fn put(entry: &Entry) -> bool {
    matches!(entry.outcome, Outcome::Ok(Written::Put { .. }))
}

/// A read answers what a put wrote that may be long overwritten, or that there is nothing yet.
fn stale_read(entries: &mut [Entry], rng: &mut Rng) {
    let Some(reader) = any(rng, entries, read) else { return };
    let writer = any(rng, entries, put).filter(|_| !rng.chance(1, 4));
    let item = writer.and_then(|i| match (&entries[i].op, &entries[i].outcome) {
        (Op::Put { value, .. }, Outcome::Ok(Written::Put { version })) => Some((*version, value.clone())),
        _ => None,
    });
    entries[reader].outcome = Outcome::Ok(Written::Got { item });
}

/// Whoever saw what this put wrote sees what another one wrote, or nothing.
fn lost_write(entries: &mut [Entry], rng: &mut Rng) {
    let Some(lost) = any(rng, entries, put) else { return };
    let Outcome::Ok(Written::Put { version: lost }) = entries[lost].outcome else { return };
    let before = entries.iter().filter_map(|e| match (&e.op, &e.outcome) {
        (Op::Put { value, .. }, Outcome::Ok(Written::Put { version })) if *version < lost => {
            Some((*version, value.clone()))
        }
        _ => None,
    });
    let before = before.max();
    for entry in entries {
        match &mut entry.outcome {
            Outcome::Ok(Written::Got { item }) if item.as_ref().is_some_and(|(version, _)| *version == lost) => {
                item.clone_from(&before);
            }
            _ => {}
        }
    }
}

/// Two operations happen at each other's time, or one later than it did.
fn reordered(entries: &mut [Entry], rng: &mut Rng) {
    let (Some(a), Some(b)) = (any(rng, entries, |_| true), any(rng, entries, |_| true)) else { return };
    if rng.chance(1, 2) {
        let times = |e: &Entry| (e.from, e.to);
        let (first, second) = (times(&entries[a]), times(&entries[b]));
        (entries[a].from, entries[a].to) = second;
        (entries[b].from, entries[b].to) = first;
    } else {
        let later = rng.range(20, 200);
        (entries[a].from, entries[a].to) = (entries[a].from + later, entries[a].to + later);
    }
}

/// An answer is not known after all, or one that got lost is made up.
fn unknown_outcome(entries: &mut [Entry], rng: &mut Rng) {
    if rng.chance(1, 2)
        && let Some(i) = any(rng, entries, |e| matches!(e.outcome, Outcome::Ok(_)))
    {
        entries[i].outcome = Outcome::Unknown;
    } else if let Some(i) = any(rng, entries, |e| e.outcome == Outcome::Unknown && matches!(e.op, Op::Put { .. })) {
        entries[i].outcome = Outcome::Ok(Written::Put { version: rng.range(1, 12) });
    }
}

#[test]
fn agrees_with_the_tester_of_stateright() {
    let (mut good, mut bad, mut open) = (0, 0, 0);
    let mut differing = Vec::new();
    for seed in 0..HISTORIES {
        let mut rng = Rng::new(seed);
        let (clients, operations) = (rng.range(2, 5), rng.range(4, 11));
        let values = if rng.chance(1, 3) { 3 } else { u64::MAX };
        let plan = Plan { clients, operations, keys: 1, unknown: rng.below(4) * 100, values };
        let mut entries = run(&plan, &mut rng);
        for _ in 0..rng.below(4) {
            match rng.below(5) {
                0 => stale_read(&mut entries, &mut rng),
                1 => lost_write(&mut entries, &mut rng),
                2 => reordered(&mut entries, &mut rng),
                3 => unknown_outcome(&mut entries, &mut rng),
                _ => drop(mutate(&mut entries, &mut rng)),
            }
        }
        open += u64::from(entries.iter().any(|e| e.outcome == Outcome::Unknown));
        let ours = history(&entries).check();
        assert!(ours.as_ref().err().is_none_or(|v| v.kind != Kind::Undecided), "seed {seed}: {ours:?}");
        let other = other_verdict(&entries);
        if ours.is_ok() != other {
            differing.push(format!("seed {seed}: ours {ours:?}, theirs {other}: {entries:#?}"));
        }
        if other { good += 1 } else { bad += 1 }
    }
    println!("{good} good, {bad} bad, {open} with unknown outcomes");
    assert!(differing.is_empty(), "{} differ, such as {}", differing.len(), differing[0]);
    assert!(good * 3 >= HISTORIES && bad * 3 >= HISTORIES, "{good} good, {bad} bad");
    assert!(open * 5 >= HISTORIES, "only {open} have an unknown outcome");
}
