//! Known bugs, switched on: each must be found. The test replays the seed that found each; `search` (run by
//! `make campaign`, ignored otherwise) looks for such seeds among the first 500.

use crate::world::{Report, Setup, run};
use copycat::engine::Bug;

/// The bug, the first seed that finds it, and how the violation begins.
const FOUND: &[(Bug, u64, &str)] = &[
    (Bug::VoteBeforeDurable, 0, "PROMISE NOT DURABLE"),
    (Bug::AcknowledgeBeforeDurable, 0, "PROMISE NOT DURABLE"),
    (Bug::LeaderCountsMemory, 1, "COMMITTED BEFORE DURABLE"),
    (Bug::CommitNotClamped, 184, "COMMITTED ENTRY CHANGED"),
    (Bug::TruncateWithoutConflict, 3, "COMMITTED BEFORE DURABLE"),
    (Bug::StepDownClearsVote, 1, "VOTE CHANGED"),
    (Bug::ReadWithoutRound, 1, "NOT LINEARIZABLE"),
    (Bug::ReadBeforeInitialize, 1, "NOT LINEARIZABLE"),
    (Bug::LeaseFromReceipt, 1, "NOT LINEARIZABLE"),
    (Bug::PersistedByIndex, 57, "COMMITTED BEFORE DURABLE"),
    (Bug::LostLogVotes, 26, "LEADER INCOMPLETE"),
];

fn run_with(bug: Bug, seed: u64) -> Report {
    run(&Setup { bug: Some(bug), ..Setup::new(seed, 10_000) })
}

#[test]
fn each_planted_bug_is_found_again() {
    for &(bug, seed, expected) in FOUND {
        let violation =
            run_with(bug, seed).violation.unwrap_or_else(|| panic!("{bug:?} is no longer found by seed {seed}"));
        println!("{bug:?}, seed {seed}: {}", violation.lines().next().unwrap_or_default());
        assert!(violation.starts_with(expected), "{bug:?}, seed {seed}: {violation}");
        assert!(run(&Setup::new(seed, 10_000)).violation.is_none(), "seed {seed} fails without {bug:?} too");
    }
}

#[test]
#[ignore = "a search: make campaign"]
fn search_for_planted_bugs() {
    let mut missed = Vec::new();
    for &bug in Bug::ALL {
        let reports = crate::run_seeds(0..crate::setting("COPYCAT_SIM_SEEDS", 500), |seed| Setup {
            bug: Some(bug),
            ..Setup::new(seed, 10_000)
        });
        match reports.iter().find_map(|(seed, r)| Some((seed, r.violation.as_ref()?))) {
            Some((seed, violation)) => {
                println!("{bug:?}: seed {seed}: {}", violation.lines().next().unwrap_or_default());
            }
            None => missed.push(bug),
        }
    }
    assert!(missed.is_empty(), "not found by 500 seeds: {missed:?}");
}
