//! Planted bugs: each must fall to the exploration that the table names, by the invariant that it names.

use crate::search::{explore, trace};
use crate::starts::STARTS;
use copycat::engine::Bug;

/// The limit of steps for a bug of the table.
const STEPS: u64 = 400_000;

/// The bug, the start that finds it, and the invariant that breaks.
const FOUND: &[(Bug, &str, &str)] = &[
    (Bug::AloneByNumber, "two, the leader gives its vote up, and an answer is late", "STALE READ"),
    (Bug::AloneUncommitted, "two, the leader gives its vote up, and the other is started anew", "STANDS TOO EARLY"),
    (Bug::QuorumOfTheRemembered, "three, the leader died and another was elected", "NO LEADER"),
    (Bug::TermBehindLog, "two, the leader gives its vote up", "TERM BELOW THE LOG'S"),
    (Bug::LeaseAfterTransfer, "three, a lease is held, and the office handed over", "LEASE OVERLAP"),
    (Bug::ChangeBeforeInitialize, "five, a change before an entry of the term", "LEADER INCOMPLETE"),
    (Bug::InstallSaysNotApplied, "three, a snapshot comes instead of an answer", "REFUSED AND DONE"),
    (Bug::LeaderCountsMemory, "two, flushes apart", "COMMITTED BEFORE DURABLE"),
    (Bug::LeaseFromReceipt, "three, just elected, from afar", "LEASE OVERLAP"),
    (Bug::PersistedByIndex, "three, just elected, from afar", "PROMISE NOT DURABLE"),
    (Bug::ReadWithoutRound, "three, all were started again", "STALE READ"),
];

/// Returns the bug of this name.
pub(crate) fn bug(name: &str) -> Option<Bug> {
    Bug::ALL.iter().chain(Bug::UNFOUND).copied().find(|bug| format!("{bug:?}") == name)
}

fn brief(violation: &str) -> String {
    violation.lines().next().unwrap_or_default().chars().take(100).collect()
}

#[test]
fn planted_bugs_are_found() {
    let results = crate::on_all_cores(FOUND, |&(bug, name, expected)| {
        let start = STARTS.iter().find(|start| start.name == name).unwrap_or_else(|| panic!("no start {name:?}"));
        let start = start.with(Some(bug));
        let report = explore(&start, STEPS);
        let Some((what, path)) = &report.violation else {
            return Err(format!("{bug:?} is not found from {name:?}: {report}"));
        };
        println!("{bug:?}, {name}: {} steps, {} events: {}", report.steps, path.len(), brief(what));
        if what.starts_with(expected) { Ok(()) } else { Err(format!("{bug:?}: {what}\n{}", trace(&start, path))) }
    });
    let errors: Vec<String> = results.into_iter().filter_map(Result::err).collect();
    assert!(errors.is_empty(), "{}", errors.join("\n"));
}

/// Prints which starts find a bug, for the table above.
#[test]
#[ignore = "a long search: COPYCAT_EXPLORE_BUG and COPYCAT_EXPLORE narrow it"]
fn search_for_planted_bugs() {
    let only = std::env::var("COPYCAT_EXPLORE_BUG").ok().map(|name| bug(&name).expect("a bug's name"));
    let all = Bug::ALL.iter().chain(Bug::UNFOUND).copied();
    let bugs: Vec<Bug> = all.filter(|&bug| only.is_none_or(|only| only == bug)).collect();
    let name = std::env::var("COPYCAT_EXPLORE").unwrap_or_default();
    let steps = crate::steps();
    crate::on_all_cores(&bugs, |&bug| {
        let mut found = false;
        for start in STARTS.iter().filter(|start| start.name.contains(&name)) {
            let report = explore(&start.with(Some(bug)), steps);
            if let Some((what, path)) = report.violation {
                println!("{bug:?}, {}: {} steps, {} events: {}", start.name, report.steps, path.len(), brief(&what));
                found = true;
            }
        }
        if !found {
            println!("{bug:?}: not found");
        }
    });
}
