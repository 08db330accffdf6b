//! Random histories of the store and of two small machines, whole and compacted.

#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs)]

mod cells;
mod keys;
mod measure;
mod tags;

use copycat::engine::machine::replay::{Coverage, Difference, Rule, Subject, Trial};
use proptest::prelude::*;

/// How many of them make a campaign.
const HISTORIES: u64 = 10_000;

fn check<S: Subject>(subject: &S) -> Coverage {
    let mut total = Coverage::default();
    for seed in 0..HISTORIES {
        total += Trial::new(seed).run(subject).unwrap_or_else(|difference| panic!("{difference}"));
    }
    println!("{total:?}");
    let Coverage { snapshots, dropped, starts, installs, referred, events, repeats, fired } = total;
    let counts = [snapshots, dropped, starts, installs, referred, events, repeats, fired];
    assert!(counts.iter().all(|&count| count > HISTORIES / 10), "a campaign in which nothing happens shows nothing");
    total
}

/// The first history that tells.
fn find<S: Subject>(subject: &S, trial: impl Fn(Trial) -> Trial) -> Box<Difference> {
    find_in(subject, trial, |_| true)
}

fn find_in<S: Subject>(
    subject: &S,
    trial: impl Fn(Trial) -> Trial,
    wanted: impl Fn(&Difference) -> bool,
) -> Box<Difference> {
    let mut differences = (0..1000).filter_map(|seed| trial(Trial::new(seed)).run(subject).err());
    let found = differences.find(|found| wanted(found)).expect("it is found within 1000 histories");
    println!("{found}");
    found
}

#[test]
fn the_store_comes_back_as_it_was() {
    check(&keys::Keys);
}

#[test]
fn a_machine_that_is_its_held_entries_comes_back_as_it_was() {
    check(&tags::Subject);
}

#[test]
fn a_machine_whose_entries_depend_on_released_ones_is_found() {
    let found = find(&cells::Subject, |trial| trial);
    assert!(found.entries.len() <= 3, "cut down to what matters: {found}");
    assert!(found.entries.iter().any(|entry| entry.contains("if_version: Some")), "a conditional write: {found}");
}

#[test]
fn dropping_released_entries_at_once_is_found() {
    let found = find(&tags::Subject, |trial| Trial { rule: Rule::Holes, ..trial });
    assert!(found.entries.len() <= 6, "cut down: {found}");
    find(&keys::Keys, |trial| Trial { rule: Rule::Holes, ..trial });
    find(&cells::Subject, |trial| Trial { rule: Rule::Holes, ..trial });
}

#[test]
fn conditional_commands_that_are_replayed_over_a_hole_are_found_though_nobody_looks_before_the_end() {
    let conditional = |found: &Difference| {
        let depends = found.entries.iter().any(|entry| entry.contains("if_version: Some"));
        found.what == "state" && depends
    };
    let found = find_in(&cells::Subject, |trial| Trial { rule: Rule::HolesUnseen, ..trial }, conditional);
    assert_eq!(found.entries.len(), 2, "a write, and one that depends on it: {found}");
    find(&keys::Keys, |trial| Trial { rule: Rule::HolesUnseen, ..trial });
}

proptest! {
    #[test]
    fn a_history_of_any_length_comes_back(seed: u64, entries in 1usize..400) {
        let trial = Trial { entries, ..Trial::new(seed) };
        prop_assert!(trial.run(&keys::Keys).is_ok(), "{}", trial.run(&keys::Keys).unwrap_err());
        prop_assert!(trial.run(&tags::Subject).is_ok(), "{}", trial.run(&tags::Subject).unwrap_err());
    }
}

#[cfg(feature = "planted-bugs")]
mod planted {
    use super::*;
    use copycat::engine::Bug;

    #[test]
    fn whatever_a_snapshot_leaves_out_is_missed() {
        for bug in [
            Bug::SnapshotWithoutAnswers,
            Bug::SnapshotWithoutKeys,
            Bug::SnapshotWithoutEvents,
            Bug::SnapshotForgetsBackPointer,
            Bug::SnapshotWithoutTimers,
            Bug::SnapshotForgetsNextTimer,
            Bug::SnapshotForgetsTime,
        ] {
            println!("{bug:?}:");
            find(&keys::Keys, |trial| Trial { bug: Some(bug), ..trial });
        }
    }
}
