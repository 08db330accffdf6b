//! Known bugs, switched on: each must be found. `docs/correctness.md` has a table of them with the seed that found each
//! and the invariant that it breaks; the test replays these. Any change of the engine or of the simulator may move the
//! seeds: `make seeds` searches the first 500 for each bug that its seed no longer finds, and writes the table anew.

use crate::world::{Report, Setup, run};
use copycat::engine::Bug;

/// How long a run is.
const STEPS: u64 = 15_000;
const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/correctness.md");

pub(crate) fn bug(name: &str) -> Option<Bug> {
    Bug::ALL.iter().chain(Bug::UNFOUND).copied().find(|bug| format!("{bug:?}") == name)
}

/// A row of the table, ``| `Bug` | from | seed | `VIOLATION` |``: its cells, if it is one.
fn row(line: &str) -> Option<(Bug, Vec<&str>)> {
    let cells: Vec<&str> = line.strip_prefix('|')?.strip_suffix('|')?.split('|').map(str::trim).collect();
    Some((bug(cells.first()?.trim_matches('`'))?, cells))
}

fn table() -> Vec<(Bug, u64, String)> {
    let text = std::fs::read_to_string(TABLE).expect(TABLE);
    let rows = text.lines().filter_map(row).map(|(bug, cells)| {
        let seed = cells[2].parse().unwrap_or_else(|_| panic!("{bug:?}: seed {}", cells[2]));
        (bug, seed, cells[3].trim_matches('`').to_string())
    });
    rows.collect()
}

/// Enough to tell what was broken.
fn brief(violation: &str) -> String {
    violation.lines().next().unwrap_or_default().chars().take(160).collect()
}

fn run_with(bug: Bug, seed: u64) -> Report {
    run(&Setup { bug: Some(bug), ..Setup::new(seed, STEPS) })
}

#[test]
fn each_planted_bug_is_found_again() {
    let table = table();
    for bug in Bug::ALL {
        assert!(table.iter().any(|(listed, ..)| listed == bug), "{bug:?} is not in the table: make seeds");
    }
    for (bug, seed, expected) in table {
        let violation = run_with(bug, seed)
            .violation
            .unwrap_or_else(|| panic!("{bug:?} is no longer found by seed {seed}: run `make seeds`"));
        println!("{bug:?}, seed {seed}: {}", brief(&violation));
        assert!(violation.starts_with(&expected), "{bug:?}, seed {seed}: {violation}");
        assert!(run(&Setup::new(seed, STEPS)).violation.is_none(), "seed {seed} fails without {bug:?} too");
    }
}

/// The seed of the table, if it still finds the bug; else the first one that does.
fn find(bug: Bug) -> Option<(u64, String)> {
    let known = table().into_iter().find(|(of, ..)| *of == bug).map(|(_, seed, _)| seed)?;
    let sound = || run(&Setup::new(known, STEPS)).violation.is_none();
    match run_with(bug, known).violation.filter(|_| sound()) {
        Some(violation) => Some((known, violation)),
        None => search(bug),
    }
}

/// The first seed that breaks a promise. A cluster that merely stops is a find too, but takes long to replay.
fn search(bug: Bug) -> Option<(u64, String)> {
    let (mut first, mut stuck) = (0, None);
    while first < 500 {
        let setup = |seed| Setup { bug: Some(bug), ..Setup::new(seed, STEPS) };
        let reports = crate::run_seeds(first..500, setup);
        let Some((seed, violation)) = reports.into_iter().find_map(|(seed, r)| Some((seed, r.violation?))) else {
            break;
        };
        if !violation.starts_with("NO PROGRESS") {
            return Some((seed, violation));
        }
        stuck.get_or_insert((seed, violation));
        first = seed + 1;
    }
    stuck
}

#[test]
#[ignore = "a search: make seeds, make campaign"]
fn search_for_planted_bugs() {
    let mut missed = Vec::new();
    let mut text = std::fs::read_to_string(TABLE).expect(TABLE);
    for &bug in Bug::ALL {
        let Some((seed, violation)) = find(bug) else {
            missed.push(bug);
            continue;
        };
        println!("{bug:?}: seed {seed}: {}", brief(&violation));
        let broken = violation.split(':').next().unwrap_or_default();
        let lines = text.lines().map(|line| match row(line) {
            Some((of, cells)) if of == bug => format!("| `{bug:?}` | {} | {seed} | `{broken}` |\n", cells[1]),
            _ => format!("{line}\n"),
        });
        text = lines.collect();
    }
    if std::env::var_os("COPYCAT_UPDATE").is_some() {
        std::fs::write(TABLE, text).expect(TABLE);
    }
    assert!(missed.is_empty(), "not found by 500 seeds: {missed:?}");
}
