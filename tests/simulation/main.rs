//! The simulator: the shipped engine, storage and state machine, on a network, disks and clocks that lie, from one seed.
//!
//! A run is a pure function of its seed: no wall clock, no hash map, no thread. What it finds is replayed with
//! `COPYCAT_SIM_SEED=<seed> make simulate`. Settings (environment): `COPYCAT_SIM_SEEDS` (how many, 500),
//! `COPYCAT_SIM_FIRST` (the first one, 0), `COPYCAT_SIM_STEPS` (steps of servers that take something in, 15,000 a run),
//! `COPYCAT_SIM_VOTERS` (how many there are at first; drawn), `COPYCAT_SIM_ALL` (goes on after a violation, lists them all), `COPYCAT_SIM_TRACE` (prints every message), and, with the feature `planted-bugs`, `COPYCAT_SIM_BUG` (a bug to run with).

#![allow(clippy::cast_possible_truncation)] // simulated times and sizes are small

mod actors;
mod clients;
mod driver;
mod faults;
mod invariants;
mod links;
mod members;
mod model;
mod oracles;
#[cfg(feature = "planted-bugs")]
mod planted;
mod server;
mod workload;
mod world;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use world::{Report, Setup, run};

fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")),
        Err(_) => default,
    }
}

fn steps() -> u64 {
    setting("COPYCAT_SIM_STEPS", 15_000)
}

/// Runs seeds on all cores; returns the reports by seed. Stops at the first violation, unless `COPYCAT_SIM_ALL` is set.
fn run_seeds(seeds: impl Iterator<Item = u64> + Send, setup: impl Fn(u64) -> Setup + Sync) -> BTreeMap<u64, Report> {
    let seeds = Mutex::new(seeds);
    let reports = Mutex::new(BTreeMap::new());
    let failed = AtomicU64::new(0);
    let goes_on = std::env::var_os("COPYCAT_SIM_ALL").is_some();
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while failed.load(Ordering::Relaxed) == 0 {
                    let Some(seed) = seeds.lock().unwrap_or_else(PoisonError::into_inner).next() else { break };
                    let report = run(&setup(seed));
                    if report.violation.is_some() && !goes_on {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                    reports.lock().unwrap_or_else(PoisonError::into_inner).insert(seed, report);
                }
            });
        }
    });
    reports.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// All events, and those of them that were wakes.
fn spent(totals: &BTreeMap<&'static str, u64>) -> (u64, u64) {
    let all = totals.iter().filter(|(what, _)| what.starts_with("event: ")).map(|(_, n)| n).sum();
    (all, totals.get(world::WAKE).copied().unwrap_or(0))
}

#[test]
fn random_faults_break_no_invariant() {
    let one = std::env::var("COPYCAT_SIM_SEED").ok().map(|s| s.parse::<u64>().expect("a seed"));
    let first = one.unwrap_or_else(|| setting("COPYCAT_SIM_FIRST", 0));
    let count = if one.is_some() { 1 } else { setting("COPYCAT_SIM_SEEDS", 500) };
    let reports = run_seeds(first..first + count, |seed| Setup::from_environment(seed, steps()));
    let mut totals: BTreeMap<&'static str, u64> = BTreeMap::new();
    for report in reports.values() {
        for (&what, &n) in &report.counts {
            *totals.entry(what).or_default() += n;
        }
    }
    println!("{} seeds of {} steps of work: {totals:#?}", reports.len(), steps());
    for (seed, violation) in reports.iter().filter_map(|(seed, r)| Some((seed, r.violation.as_ref()?))) {
        let brief: String = violation.lines().next().unwrap_or_default().chars().take(200).collect();
        println!("seed {seed}: {brief}");
    }
    if let Some((seed, violation)) = reports.iter().find_map(|(s, r)| Some((s, r.violation.as_ref()?))) {
        panic!("seed {seed}: {violation}\nreplay: COPYCAT_SIM_SEED={seed} make simulate");
    }
    let (spent, wakes) = spent(&totals);
    println!("{spent} events, of which wakes {:.1} %", 100.0 * wakes as f64 / spent as f64);
    assert!(wakes * 5 < spent, "more than a fifth of all events are wakes");
    for (seed, report) in &reports {
        assert!(report.counts.get("commands committed").copied().unwrap_or(0) > 0, "seed {seed} did nothing");
        let faults: u64 = faults::KINDS.iter().filter_map(|kind| report.counts.get(kind)).sum();
        assert!(faults > 0 || steps() < 15_000, "seed {seed} injected nothing");
    }
    if count >= 100 && steps() >= 5000 {
        for kind in faults::KINDS {
            assert!(totals.get(kind).copied().unwrap_or(0) > 0, "no run injected: {kind}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..4 {
        let setup = Setup::new(seed, steps().min(3000));
        let (a, b) = (run(&setup), run(&setup));
        assert_eq!(a.trace, b.trace, "seed {seed}");
        assert_eq!(a.counts, b.counts, "seed {seed}");
        assert_ne!(a.trace, run(&Setup::new(seed + 1000, steps().min(3000))).trace);
    }
}
