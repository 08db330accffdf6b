//! Histories known good and known bad, each written by hand.

use super::{Entry, Kind, Op, Outcome, Require, Written, history};

fn put(value: &str, require: Require) -> Op {
    Op::Put { value: value.into(), require }
}

fn set(value: &str) -> Op {
    put(value, Require::Nothing)
}

fn ok(version: u64) -> Outcome {
    Outcome::Ok(Written::Put { version })
}

fn got(version: u64, value: &str) -> Outcome {
    Outcome::Ok(Written::Got { item: Some((version, value.into())) })
}

fn absent() -> Outcome {
    Outcome::Ok(Written::Got { item: None })
}

fn failed(version: Option<u64>) -> Outcome {
    Outcome::Ok(Written::Failed { version })
}

fn deleted(version: Option<u64>) -> Outcome {
    Outcome::Ok(Written::Deleted { version })
}

const REMOVE: Op = Op::Delete { require: Require::Nothing };

type Row = (u64, u64, Op, Outcome);

/// Each operation is of a client of its own.
fn judge(rows: &[Row]) -> Result<(), Kind> {
    let entry = |(client, row): (u64, &Row)| {
        let (from, to, op, outcome) = row.clone();
        Entry { client, key: b"k".to_vec(), from, to, op, outcome }
    };
    let entries: Vec<Entry> = (0..).zip(rows).map(entry).collect();
    history(&entries).check().map(|_| ()).map_err(|v| v.kind)
}

#[test]
fn known_good() {
    use Outcome::{NotApplied, Unknown};
    let version = Require::Version;
    let cases: Vec<(&str, Vec<Row>)> = vec![
        ("nothing", vec![]),
        ("a read of nothing", vec![(1, 2, Op::Get, absent())]),
        ("write, read", vec![(1, 2, set("a"), ok(3)), (3, 4, Op::Get, got(3, "a"))]),
        (
            "two at once, in the order of versions",
            vec![(1, 9, set("a"), ok(5)), (1, 9, set("b"), ok(4)), (10, 11, Op::Get, got(5, "a"))],
        ),
        (
            "reads during a write see old, then new",
            vec![
                (1, 2, set("a"), ok(1)),
                (3, 20, set("b"), ok(2)),
                (4, 5, Op::Get, got(1, "a")),
                (6, 7, Op::Get, got(2, "b")),
            ],
        ),
        (
            "an unknown put is seen much later",
            vec![
                (1, 2, set("a"), ok(1)),
                (3, 4, set("b"), Unknown),
                (5, 6, Op::Get, got(1, "a")),
                (50, 60, Op::Get, got(7, "b")),
            ],
        ),
        ("an unknown put is never seen", vec![(1, 2, set("a"), Unknown), (3, 4, Op::Get, absent())]),
        (
            "an unknown put is seen, and overwritten",
            vec![
                (1, 2, set("a"), Unknown),
                (3, 4, Op::Get, got(4, "a")),
                (5, 6, put("b", version(4)), ok(8)),
                (7, 8, Op::Get, got(8, "b")),
            ],
        ),
        (
            "an unknown put nobody read makes a condition fail, then hold",
            vec![
                (1, 2, set("a"), ok(1)),
                (3, 4, set("b"), Unknown),
                (5, 6, put("c", version(1)), failed(Some(2))),
                (7, 8, put("c", version(2)), ok(3)),
            ],
        ),
        (
            "an unknown put makes a key exist for one condition",
            vec![(1, 2, set("a"), Unknown), (3, 4, put("b", Require::Exists), ok(9)), (5, 6, Op::Get, got(9, "b"))],
        ),
        (
            "an unknown delete",
            vec![
                (1, 2, set("a"), ok(1)),
                (3, 4, REMOVE, Unknown),
                (5, 6, Op::Get, got(1, "a")),
                (7, 8, Op::Get, absent()),
            ],
        ),
        (
            "an unknown conditional put on what an unknown put wrote",
            vec![(1, 2, set("a"), Unknown), (3, 4, put("b", version(5)), Unknown), (5, 6, Op::Get, got(6, "b"))],
        ),
        (
            "one of two conditional puts on one version holds",
            vec![
                (1, 2, set("a"), ok(1)),
                (3, 9, put("b", version(1)), ok(2)),
                (3, 9, put("c", version(1)), failed(Some(2))),
            ],
        ),
        (
            "create, delete, create",
            vec![
                (1, 2, put("a", Require::Absent), ok(1)),
                (3, 4, put("b", Require::Absent), failed(Some(1))),
                (5, 6, REMOVE, deleted(Some(1))),
                (7, 8, REMOVE, deleted(None)),
                (9, 10, put("a", Require::Absent), ok(6)),
                (11, 12, Op::Get, got(6, "a")),
            ],
        ),
        ("what was not applied is not there", vec![(1, 2, set("a"), NotApplied), (3, 4, Op::Get, absent())]),
        (
            "the same value twice, once unknown",
            vec![
                (1, 2, set("a"), ok(1)),
                (3, 4, set("a"), Unknown),
                (5, 6, Op::Get, got(1, "a")),
                (7, 8, Op::Get, got(2, "a")),
            ],
        ),
        (
            "two unknown puts of one value, both seen",
            vec![
                (1, 2, set("a"), Unknown),
                (1, 2, set("a"), Unknown),
                (5, 6, Op::Get, got(1, "a")),
                (7, 8, Op::Get, got(2, "a")),
            ],
        ),
        ("begin and end at one time are concurrent", vec![(1, 5, set("a"), ok(1)), (5, 6, Op::Get, absent())]),
    ];
    for (name, rows) in cases {
        assert_eq!(judge(&rows), Ok(()), "{name}");
    }
}

#[test]
fn known_bad() {
    use Outcome::{NotApplied, Unknown};
    let version = Require::Version;
    let cases: Vec<(&str, Vec<Row>)> = vec![
        ("a stale read", vec![(1, 2, set("a"), ok(1)), (3, 4, set("b"), ok(2)), (5, 6, Op::Get, got(1, "a"))]),
        ("a lost write", vec![(1, 2, set("a"), ok(1)), (3, 4, Op::Get, absent())]),
        (
            "a lost update: both conditional puts held on one version",
            vec![(1, 2, set("a"), ok(1)), (3, 9, put("b", version(1)), ok(2)), (3, 9, put("c", version(1)), ok(3))],
        ),
        (
            "a dirty read of a refused put",
            vec![(1, 2, set("a"), ok(1)), (3, 6, put("b", version(9)), failed(Some(1))), (4, 5, Op::Get, got(2, "b"))],
        ),
        ("a read of what was not applied", vec![(1, 2, set("a"), NotApplied), (3, 4, Op::Get, got(1, "a"))]),
        ("one put applied twice", vec![(1, 2, set("a"), ok(1)), (3, 4, set("b"), ok(2)), (5, 6, Op::Get, got(3, "a"))]),
        (
            "one unknown put applied twice",
            vec![(1, 2, set("a"), Unknown), (3, 4, Op::Get, got(1, "a")), (5, 6, Op::Get, got(2, "a"))],
        ),
        ("a value that nobody wrote", vec![(1, 2, set("a"), ok(1)), (3, 4, Op::Get, got(1, "x"))]),
        ("a version that nobody wrote", vec![(1, 2, set("a"), ok(1)), (3, 4, Op::Get, got(2, "a"))]),
        (
            "an unknown put seen, then vanished",
            vec![
                (1, 2, set("a"), ok(1)),
                (3, 4, set("b"), Unknown),
                (5, 6, Op::Get, got(2, "b")),
                (7, 8, Op::Get, got(1, "a")),
            ],
        ),
        ("a version that went back", vec![(1, 2, set("a"), ok(5)), (3, 4, set("b"), ok(4))]),
        (
            "a version that went back over a delete",
            vec![(1, 2, set("a"), ok(5)), (3, 4, REMOVE, deleted(Some(5))), (5, 6, set("b"), ok(6))],
        ),
        ("one version for two puts", vec![(1, 9, set("a"), ok(5)), (1, 9, set("b"), ok(5))]),
        ("a read from the future", vec![(1, 2, Op::Get, got(3, "a")), (5, 6, set("a"), ok(3))]),
        ("a read of an unknown put from the future", vec![(1, 2, Op::Get, got(3, "a")), (5, 6, set("a"), Unknown)]),
        ("created twice", vec![(1, 2, put("a", Require::Absent), ok(1)), (3, 4, put("b", Require::Absent), ok(2))]),
        ("refused because of a version that never was", vec![(1, 2, put("a", Require::Absent), failed(Some(4)))]),
        (
            "a deleted value comes back",
            vec![
                (1, 2, set("a"), ok(1)),
                (3, 4, REMOVE, deleted(Some(1))),
                (5, 6, Op::Get, absent()),
                (7, 8, Op::Get, got(1, "a")),
            ],
        ),
        (
            "deleted twice",
            vec![(1, 2, set("a"), ok(1)), (3, 9, REMOVE, deleted(Some(1))), (3, 9, REMOVE, deleted(Some(1)))],
        ),
        (
            "a delete that did nothing",
            vec![(1, 2, set("a"), ok(1)), (3, 4, REMOVE, deleted(Some(1))), (5, 6, Op::Get, got(1, "a"))],
        ),
        ("an existing key was not found to be deleted", vec![(1, 2, set("a"), ok(1)), (3, 4, REMOVE, deleted(None))]),
        (
            "two readers see two orders",
            vec![
                (1, 20, set("a"), ok(1)),
                (1, 20, set("b"), ok(2)),
                (3, 4, Op::Get, got(2, "b")),
                (5, 6, Op::Get, got(1, "a")),
            ],
        ),
        (
            "an unknown put cannot come between two versions without room",
            vec![
                (1, 2, set("a"), ok(1)),
                (3, 4, set("b"), Unknown),
                (5, 30, set("c"), ok(2)),
                (6, 7, put("d", version(1)), failed(Some(3))),
                (8, 9, Op::Get, got(2, "c")),
            ],
        ),
        (
            "what made the key exist was not there",
            vec![(1, 2, put("b", Require::Exists), ok(9)), (5, 6, set("a"), Unknown)],
        ),
        (
            "a value under two versions",
            vec![
                (1, 2, set("a"), Unknown),
                (3, 4, set("b"), ok(5)),
                (6, 7, Op::Get, got(6, "a")),
                (8, 9, Op::Get, got(5, "b")),
            ],
        ),
    ];
    for (name, rows) in cases {
        assert_eq!(judge(&rows), Err(Kind::NotLinearizable), "{name}");
    }
}

#[test]
fn impossible_answers() {
    for (op, outcome) in [
        (set("a"), failed(None)),
        (Op::Get, ok(1)),
        (REMOVE, ok(1)),
        (put("a", Require::Absent), failed(None)),
        (put("a", Require::Version(3)), failed(Some(3))),
        (Op::Delete { require: Require::Version(3) }, deleted(Some(4))),
        (Op::Delete { require: Require::Exists }, deleted(None)),
    ] {
        assert_eq!(judge(&[(1, 2, op.clone(), outcome.clone())]), Err(Kind::Impossible), "{op:?} {outcome:?}");
    }
}
