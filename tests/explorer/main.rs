//! A systematic explorer beside the random simulator: the shipped engine and storage, from hand-picked states on, through
//! *every* order of a few events. Engines and disks are copied at each step, and states are hashed, so that none is
//! explored twice.
//!
//! An exploration is bounded by steps, not by time, so it is the same everywhere. Settings (environment):
//! `COPYCAT_TEST_LONG` (60 times the steps), `COPYCAT_EXPLORE_STEPS` (thousands of steps a start, 350), `COPYCAT_EXPLORE`
//! (only starts whose name contains this), `COPYCAT_EXPLORE_BUG` (a planted bug to run with). A violated invariant is
//! printed with its path and every message.

#![cfg(feature = "planted-bugs")]

mod disk;
mod events;
mod fair;
mod machine;
mod oracle;
mod planted;
mod search;
mod server;
mod starts;
mod world;

use search::{Report, explore, trace};
use starts::{STARTS, Start};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// The factor of steps in the long version, which gets one or two events deeper.
const LONG: u64 = 60;

fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")),
        Err(_) => default,
    }
}

fn steps() -> u64 {
    let long = if std::env::var_os("COPYCAT_TEST_LONG").is_some() { LONG } else { 1 };
    setting("COPYCAT_EXPLORE_STEPS", 350) * 1000 * long
}

/// Runs tasks on all cores. Returns their results in order.
fn on_all_cores<T: Send + Sync, R: Send>(tasks: &[T], run: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let (next, results) = (Mutex::new(0), Mutex::new(BTreeMap::new()));
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let at = {
                        let mut next = next.lock().unwrap_or_else(PoisonError::into_inner);
                        *next += 1;
                        *next - 1
                    };
                    let Some(task) = tasks.get(at) else { break };
                    let result = run(task);
                    results.lock().unwrap_or_else(PoisonError::into_inner).insert(at, result);
                }
            });
        }
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect()
}

fn chosen() -> Vec<Start> {
    let only = std::env::var("COPYCAT_EXPLORE").unwrap_or_default();
    let bug = std::env::var("COPYCAT_EXPLORE_BUG").ok();
    let bug = bug.map(|name| planted::bug(&name).unwrap_or_else(|| panic!("COPYCAT_EXPLORE_BUG={name} is no bug")));
    STARTS.iter().filter(|start| start.name.contains(&only)).map(|start| start.with(bug)).collect()
}

#[test]
fn no_order_of_events_breaks_an_invariant() {
    let starts = chosen();
    let reports = on_all_cores(&starts, |start| explore(start, steps() * start.share));
    let mut totals: BTreeMap<&'static str, u64> = BTreeMap::new();
    for report in &reports {
        println!("{report}");
        for (&kind, &n) in &report.counts {
            *totals.entry(kind).or_default() += n;
        }
    }
    let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
    println!("{} states, {} steps: {totals:?}", sum(|r| r.states as u64), sum(|r| r.steps));
    for (start, report) in starts.iter().zip(&reports) {
        if let Some((what, path)) = &report.violation {
            panic!("{}: {what}\nafter {path:?}:\n{}", start.name, trace(start, path));
        }
    }
    if starts.len() == STARTS.len() {
        assert_eq!(totals.len(), events::KINDS, "some kind of event never happened: {totals:?}");
    }
}

#[test]
fn an_exploration_is_the_same_each_time() {
    for start in STARTS.iter().take(3) {
        let (a, b) = (explore(start, 3000), explore(start, 3000));
        assert_eq!((a.states, a.steps, a.counts), (b.states, b.steps, b.counts), "{}", start.name);
    }
}
