//! The checker proves itself: on histories known good and known bad, against a checker that tries every order, and on
//! random histories of a true register with and without a changed answer.

mod random;
mod stateright;
mod table;

use copycat_testkit::Rng;
use copycat_testkit::linearizability::{History, Kind, Limits, Op, Outcome, Require, Written};
use random::{Entry, Plan, brute_force, history, mutate, run};

#[test]
fn histories_of_a_true_register_pass() {
    for seed in 0..400 {
        let mut rng = Rng::new(seed);
        let plan = Plan::random(&mut rng);
        let entries = run(&plan, &mut rng);
        let stats = history(&entries).check().unwrap_or_else(|v| panic!("seed {seed} {plan:?}: {v}"));
        assert!(stats.answered > 0, "seed {seed} did nothing");
    }
}

#[test]
fn changed_answers_are_found() {
    let (mut tried, mut found) = (0, 0);
    for seed in 0..1000 {
        let mut rng = Rng::new(seed);
        let plan = Plan { operations: 120, keys: 2, ..Plan::random(&mut rng) };
        let mut entries = run(&plan, &mut rng);
        if !mutate(&mut entries, &mut rng) {
            continue;
        }
        tried += 1;
        match history(&entries).check() {
            Ok(_) => {}
            Err(v) => {
                assert_ne!(v.kind, Kind::Undecided, "seed {seed}: {v}");
                found += 1;
            }
        }
    }
    println!("{found} of {tried} changed answers found");
    assert!(tried > 900, "only {tried} histories could be changed");
    // Some changes stay explicable: the rest of the history decides.
    assert!(found * 100 > tried * 85, "{found} of {tried}");
}

/// Both ways: what has an order passes, what has none does not.
#[test]
fn agrees_with_trying_every_order() {
    let (mut good, mut bad) = (0, 0);
    for seed in 0..6000 {
        let mut rng = Rng::new(seed);
        let plan = Plan { clients: 2 + rng.below(3), operations: 6, keys: 1, unknown: rng.below(5) * 15, values: 3 };
        let mut entries = run(&plan, &mut rng);
        for _ in 0..rng.below(3) {
            mutate(&mut entries, &mut rng);
        }
        let expected = brute_force(&entries);
        match history(&entries).check() {
            Ok(_) => assert!(expected, "seed {seed}: passed, but no order explains {entries:#?}"),
            Err(v) => {
                assert!(
                    v.kind == Kind::Impossible || !expected,
                    "seed {seed}: an order explains it, but: {v}\n{entries:#?}"
                );
            }
        }
        if expected { good += 1 } else { bad += 1 }
    }
    println!("{good} good, {bad} bad");
    assert!(good > 1000 && bad > 1000, "{good} good, {bad} bad");
}

#[test]
fn large_histories_take_little_time() {
    let mut rng = Rng::new(1);
    for (clients, keys, unknown) in [(16, 20, 0), (8, 20, 5), (16, 20, 20), (16, 1, 10)] {
        let plan = Plan { clients, operations: 50_000, keys, unknown, values: u64::MAX };
        let entries = run(&plan, &mut rng);
        let history = history(&entries);
        let begin = std::time::Instant::now();
        let stats = history.check().unwrap_or_else(|v| panic!("{plan:?}: {v}"));
        println!("{plan:?}: {:?} {stats:?}", begin.elapsed());
        assert!(stats.widest < 50_000);
    }
}

/// Too large is an error, not a pass.
#[test]
fn a_search_that_gets_too_large_says_so() {
    let mut h = History::new();
    let put = |value: &str| Op::Put { value: value.into(), require: Require::Nothing };
    for i in 0..30 {
        let op = h.invoke(i, i, b"k", put(if i % 2 == 0 { "a" } else { "b" }));
        h.complete(op, 100 + i, Outcome::Unknown);
    }
    for i in 0..10 {
        let op = h.invoke(100 + i, 1000 + i * 10, b"k", Op::Get);
        let item = Some((50 + i * 10, if i % 2 == 0 { b"a".to_vec() } else { b"b".to_vec() }));
        h.complete(op, 1005 + i * 10, Outcome::Ok(Written::Got { item }));
    }
    h.check().unwrap_or_else(|v| panic!("{v}"));
    let v = h.check_within(Limits { configurations: 50_000, steps: 5 }).expect_err("it cannot be done in 5 steps");
    assert_eq!(v.kind, Kind::Undecided);
    assert!(v.to_string().contains("UNDECIDED"), "{v}");
}

#[test]
fn more_running_at_once_than_can_be_held_is_undecided() {
    let mut h = History::new();
    let ops: Vec<_> = (0..200).map(|c| h.invoke(c, 1, b"k", Op::Get)).collect();
    for op in ops {
        h.complete(op, 2, Outcome::Ok(Written::Got { item: None }));
    }
    assert_eq!(h.check().map_err(|v| v.kind), Err(Kind::Undecided));
}

#[test]
fn a_violation_shows_the_key_the_operation_and_what_was_before() {
    let entries = [
        Entry::ok(
            1,
            b"color",
            10,
            20,
            Op::Put { value: b"red".to_vec(), require: Require::Nothing },
            Written::Put { version: 5 },
        ),
        Entry::ok(
            2,
            b"color",
            30,
            40,
            Op::Put { value: b"blue".to_vec(), require: Require::Version(5) },
            Written::Put { version: 9 },
        ),
        Entry::ok(3, b"color", 50, 60, Op::Get, Written::Got { item: Some((5, b"red".to_vec())) }),
    ];
    let text = history(&entries).check().expect_err("a stale read").to_string();
    for part in
        ["\"color\"", "#2 client 3 from 50 to 60: get -> \"red\", version 5", "\"blue\", version 9", "if version 5"]
    {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
}
