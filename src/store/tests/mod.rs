mod sessions;
mod snapshot;

use super::*;
use crate::engine::Kind;
use crate::engine::machine::{Executor, Outcome, Topic, decode_output, decode_query_output, encode_operation};
use copycat_storage::EntryRef;

/// What is touched when a key changes.
fn key(name: &[u8]) -> Topic {
    Topic::Machine([b"k", name].concat())
}

/// Values so large that they stay in the log.
const LARGE: [&str; 3] = [
    "one, more than sixty-four bytes of it, so that a snapshot refers to its entry",
    "two, more than sixty-four bytes of it, so that a snapshot refers to its entry",
    "three, more than sixty-four bytes of it, so that a snapshot refers to its entry",
];

/// Its log time stands still unless it is moved.
struct Machine(Executor<Store>, u64);

impl Machine {
    fn new() -> Self {
        Self(Executor::new(Store::default()), 1000)
    }

    fn entry(&mut self, kind: Kind, mode: u8, data: &[u8]) -> Option<Outcome> {
        self.entry_of(0, kind, mode, data)
    }

    fn entry_of(&mut self, session: SessionId, kind: Kind, mode: u8, data: &[u8]) -> Option<Outcome> {
        let (index, time) = (self.0.applied() + 1, self.1);
        let entry = EntryRef { index, term: 1, time, session, sequence: 0, kind: kind as u8, mode, data };
        self.0.apply(entry).expect("a known kind").answers.pop().map(|answer| answer.outcome)
    }

    /// Log time goes on by so much, with an entry that does nothing else.
    fn pass(&mut self, ms: u64) {
        self.1 += ms;
        assert_eq!(self.entry(Kind::Tick, 0, &[]), None);
    }

    fn apply(&mut self, command: &Command) -> Output {
        self.apply_of(0, command)
    }

    fn apply_of(&mut self, session: SessionId, command: &Command) -> Output {
        match self.entry_of(session, Kind::Command, Store::mode(command) as u8, &encode_operation(command)) {
            Some(Outcome::Output(bytes)) => decode_output::<Store>(&bytes).expect("an output"),
            other => panic!("no output: {other:?}"),
        }
    }

    fn put(&mut self, key: &str, value: &str, condition: Condition) -> Output {
        self.apply(&Command::Put {
            key: key.into(),
            value: value.into(),
            content_type: "text/plain".into(),
            ttl_ms: 0,
            ephemeral: false,
            condition,
        })
    }

    fn put_for(&mut self, key: &str, ttl_ms: u64) -> Output {
        let content_type = "text/plain".into();
        let (ephemeral, condition) = (false, Condition::Always);
        self.apply(&Command::Put { key: key.into(), value: vec![], content_type, ttl_ms, ephemeral, condition })
    }

    fn delete(&mut self, key: &str, condition: Condition) -> Output {
        self.apply(&Command::Delete { key: key.into(), condition })
    }

    fn ask(&self, query: &Query) -> Answer {
        let bytes = self.0.query(&encode_operation(query)).expect("a query");
        decode_query_output::<Store>(&bytes).expect("an answer")
    }

    fn get(&self, key: &str) -> Option<Item> {
        match self.ask(&Query::Get { key: key.into() }) {
            Answer::Value { item, .. } => item,
            other => panic!("{other:?}"),
        }
    }

    fn page(&self, listing: Listing) -> (Vec<String>, Option<String>) {
        let text = |bytes| String::from_utf8(bytes).expect("text");
        let name = |listed| match listed {
            Listed::Key(item) => text(item.key),
            Listed::Prefix(prefix) => format!("{}…", text(prefix)),
        };
        match self.ask(&Query::List(listing)) {
            Answer::Page { items, next } => (items.into_iter().map(name).collect(), next.map(text)),
            other => panic!("{other:?}"),
        }
    }

    fn list(&self, prefix: &str, start: Option<&str>, limit: u64, max_bytes: u64) -> (Vec<String>, Option<String>) {
        let start = start.map(Into::into);
        self.page(Listing { prefix: prefix.into(), start, limit, max_bytes, separator: None, values: true })
    }

    fn folded(&self, prefix: &str, start: Option<&str>, limit: u64) -> (Vec<String>, Option<String>) {
        let (start, separator) = (start.map(Into::into), Some(b"/".to_vec()));
        self.page(Listing { prefix: prefix.into(), start, limit, max_bytes: 1000, separator, values: false })
    }

    fn changed(&self, key: &str) -> u64 {
        match self.ask(&Query::Get { key: key.into() }) {
            Answer::Value { changed, .. } => changed,
            other => panic!("{other:?}"),
        }
    }

    fn transaction(&mut self, condition: Predicate, then: Vec<Operation>, otherwise: Vec<Operation>) -> Output {
        self.apply(&Command::Transaction { condition, then, otherwise, max_bytes: 100 })
    }
}

#[test]
fn the_version_is_the_index_of_the_last_change_and_never_comes_back() {
    let mut m = Machine::new();
    assert_eq!(m.put("a", "1", Condition::Always), Output::Put { created: true });
    assert_eq!(m.put("a", "2", Condition::Always), Output::Put { created: false });
    let item = m.get("a").expect("there");
    assert_eq!((item.version, item.created_index, item.value.as_slice()), (2, 1, b"2".as_slice()));
    assert_eq!(m.delete("a", Condition::Always), Output::Deleted { version: Some(2) });
    assert_eq!(m.get("a"), None);
    assert_eq!(m.delete("a", Condition::Always), Output::Deleted { version: None });
    m.put("a", "3", Condition::Always);
    let item = m.get("a").expect("there");
    assert_eq!((item.version, item.created_index), (5, 5));
}

#[test]
fn a_condition_that_does_not_hold_changes_nothing() {
    let mut m = Machine::new();
    assert_eq!(m.put("a", "1", Condition::Exists), Output::ConditionFailed { version: None });
    assert_eq!(m.put("a", "1", Condition::Versions(vec![0, 1])), Output::ConditionFailed { version: None });
    assert_eq!(m.put("a", "1", Condition::Absent), Output::Put { created: true });
    assert_eq!(m.put("a", "2", Condition::Absent), Output::ConditionFailed { version: Some(3) });
    assert_eq!(m.put("a", "2", Condition::Versions(vec![9])), Output::ConditionFailed { version: Some(3) });
    assert_eq!(m.delete("a", Condition::Versions(vec![9])), Output::ConditionFailed { version: Some(3) });
    assert_eq!(m.get("a").map(|i| i.value), Some(b"1".to_vec()));
    assert_eq!(m.put("a", "2", Condition::Versions(vec![9, 3])), Output::Put { created: false });
    assert_eq!(m.delete("a", Condition::Versions(vec![7])), Output::Deleted { version: Some(7) });
}

#[test]
fn lists_are_in_key_order_and_bounded_in_number_and_bytes() {
    let mut m = Machine::new();
    for key in ["b", "a/2", "a/1", "a", "a/10", "a0"] {
        m.put(key, "0123456789", Condition::Always);
    }
    assert_eq!(m.list("", None, 100, 1000).0, ["a", "a/1", "a/10", "a/2", "a0", "b"]);
    assert_eq!(m.list("a/", None, 100, 1000), (vec!["a/1".into(), "a/10".into(), "a/2".into()], None));
    assert_eq!(m.list("a/", None, 2, 1000), (vec!["a/1".into(), "a/10".into()], Some("a/2".into())));
    assert_eq!(m.list("a/", Some("a/2"), 2, 1000), (vec!["a/2".into()], None));
    assert_eq!(m.list("a/", Some("a/3"), 2, 1000), (vec![], None));
    assert_eq!(m.list("a/", None, 3, 1000).1, None, "exactly full is not more");
    assert_eq!(m.list("a/", None, 9, 1), (vec!["a/1".into()], Some("a/10".into())), "one item always fits");
    assert_eq!(m.list("a/", Some("A"), 9, 1000).0.len(), 3, "a start before the prefix changes nothing");
}

#[test]
fn deeper_levels_are_folded_into_one_item_each() {
    let mut m = Machine::new();
    for key in ["a/x", "b/1", "b/2/y", "b/2/z", "b/3", "b/4/", "b/5//", "c"] {
        m.put(key, "0123456789", Condition::Always);
    }
    assert_eq!(m.folded("", None, 100), (vec!["a/…".into(), "b/…".into(), "c".into()], None));
    let level = ["b/1", "b/2/…", "b/3", "b/4/…", "b/5/…"].map(String::from);
    assert_eq!(m.folded("b/", None, 100), (level.to_vec(), None));
    let (mut all, mut start) = (Vec::new(), None);
    loop {
        let (page, next) = m.folded("b/", start.as_deref(), 1);
        all.extend(page);
        start = next;
        if start.is_none() {
            break;
        }
    }
    assert_eq!(all, level, "page by page it is the same");
    let names = Listing { prefix: b"b/".to_vec(), start: None, limit: 1, max_bytes: 0, separator: None, values: false };
    match m.ask(&Query::List(names)) {
        Answer::Page { items, .. } => assert!(matches!(&items[..], [Listed::Key(i)] if i.value.is_empty())),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_prefix_is_removed_at_once_and_in_bounds() {
    let mut m = Machine::new();
    for key in ["a/1", "a/2", "a/3", "b"] {
        m.put(key, LARGE[0], Condition::Always);
    }
    let remove =
        |m: &mut Machine, prefix: &str, limit| m.apply(&Command::DeletePrefix { prefix: prefix.into(), limit });
    assert_eq!(remove(&mut m, "a/", 2), Output::DeletedMany { deleted: 2, more: true });
    assert_eq!(remove(&mut m, "a/", 2), Output::DeletedMany { deleted: 1, more: false });
    assert_eq!(remove(&mut m, "a/", 2), Output::DeletedMany { deleted: 0, more: false });
    assert_eq!((m.0.machine().len(), m.0.live()), (1, 1));
    assert_eq!((m.changed("a/1"), m.changed("a/3"), m.changed("b")), (5, 6, 4));
    assert_eq!(remove(&mut m, "", 9), Output::DeletedMany { deleted: 1, more: false });
}

fn put(key: &str, value: &str) -> Operation {
    Operation::Put { key: key.into(), value: value.into(), content_type: String::new(), ttl_ms: 0 }
}

fn get(key: &str) -> Operation {
    Operation::Get { key: key.into() }
}

#[test]
fn a_transaction_does_one_list_or_the_other_and_sees_its_own_writes() {
    use Predicate as P;
    let mut m = Machine::new();
    m.put("a", LARGE[0], Condition::Always);
    let key = || b"a".to_vec();
    let swap = || P::Value { key: key(), value: LARGE[0].into() };
    let then = vec![put("a", LARGE[1]), get("a"), put("b", LARGE[1]), Operation::Delete { key: b"zz".to_vec() }];
    let Output::Transaction { succeeded: true, results } = m.transaction(swap(), then, vec![]) else {
        panic!("the value is the first");
    };
    assert_eq!(results[0], OperationOutput::Put { created: false });
    assert!(matches!(&results[1], OperationOutput::Value(Some(i)) if i.value == LARGE[1].as_bytes() && i.version == 2));
    assert_eq!(results[2..], [OperationOutput::Put { created: true }, OperationOutput::Deleted { version: None }]);
    assert_eq!(m.0.live(), 1, "one entry holds both keys");
    m.put("a", LARGE[2], Condition::Always);
    assert_eq!(m.0.live(), 2, "and is held as long as one of them needs it");
    let otherwise = vec![Operation::Delete { key: b"b".to_vec() }];
    assert_eq!(
        m.transaction(swap(), vec![], otherwise),
        Output::Transaction { succeeded: false, results: vec![OperationOutput::Deleted { version: Some(2) }] }
    );
    assert_eq!(m.0.live(), 1);

    let version = |version| P::Version { key: key(), version };
    let exists = |key: &str, exists| P::Exists { key: key.into(), exists };
    for (predicate, holds) in [
        (P::All(vec![]), true),
        (P::Any(vec![]), false),
        (version(3), true),
        (version(0), false),
        (P::Version { key: b"none".to_vec(), version: 0 }, true),
        (P::Not(Box::new(version(2))), true),
        (P::All(vec![version(3), exists("b", true)]), false),
        (P::Any(vec![version(9), exists("b", false)]), true),
    ] {
        let output = m.transaction(predicate.clone(), vec![], vec![]);
        assert_eq!(output, Output::Transaction { succeeded: holds, results: vec![] }, "{predicate:?}");
    }
}

#[test]
fn a_transaction_that_reads_too_much_does_nothing() {
    let mut m = Machine::new();
    m.put("a", &"x".repeat(60), Condition::Always);
    let always = || Predicate::All(vec![]);
    assert_eq!(m.transaction(always(), vec![put("c", "1"), get("a"), get("a")], vec![]), Output::ResultTooLarge);
    assert_eq!(m.get("c"), None);
    let small = vec![put("a", "x"), get("a"), get("a")];
    assert!(matches!(m.transaction(always(), small, vec![]), Output::Transaction { .. }));
    let large = vec![put("b", &"x".repeat(99)), get("b"), get("a"), get("a")];
    assert_eq!(m.transaction(always(), large, vec![]), Output::ResultTooLarge, "its own writes count");
}

#[test]
fn a_batch_goes_on_after_a_condition_that_does_not_hold() {
    let mut m = Machine::new();
    let put = |key: &str, condition| Command::Put {
        key: key.into(),
        value: LARGE[0].into(),
        content_type: String::new(),
        ttl_ms: 0,
        ephemeral: false,
        condition,
    };
    let batch = vec![put("a", Condition::Always), put("a", Condition::Absent), put("b", Condition::Always)];
    let outputs = vec![
        Output::Put { created: true },
        Output::ConditionFailed { version: Some(1) },
        Output::Put { created: true },
    ];
    assert_eq!(m.apply(&Command::Batch(batch)), Output::Batch(outputs));
    assert_eq!((m.0.machine().len(), m.0.live()), (2, 1));
}

#[test]
fn touched_topics_are_told_to_those_who_listen() {
    let mut m = Machine::new();
    m.put("a", "1", Condition::Always);
    assert!(m.0.take_touched().is_empty(), "nobody listened");
    m.0.listen(true);
    m.put("a", "1", Condition::Absent);
    m.delete("none", Condition::Always);
    assert!(m.0.take_touched().is_empty(), "nothing changed");
    m.delete("a", Condition::Always);
    m.put("b", "1", Condition::Always);
    assert_eq!(m.0.take_touched(), [key(b"a"), key(b"b")]);
}

#[test]
fn each_key_holds_its_last_put_if_that_is_large_and_nothing_else() {
    let mut m = Machine::new();
    m.put("a", LARGE[0], Condition::Always);
    m.put("b", LARGE[0], Condition::Always);
    m.put("a", LARGE[1], Condition::Always);
    m.put("a", LARGE[2], Condition::Absent);
    assert_eq!((m.0.live(), m.0.is_live(1), m.0.is_live(2), m.0.is_live(3)), (2, false, true, true));
    assert_eq!((m.0.live_between(1, 2), m.0.live_between(2, 4), m.0.live_between(3, 2)), (1, 2, 0));
    assert!(m.0.live_indexes().eq([2, 3]));
    m.delete("a", Condition::Always);
    assert_eq!(m.0.live(), 1);
    m.put("b", &"x".repeat(INLINE), Condition::Always);
    assert_eq!(m.0.live(), 0, "a small one is in the snapshot itself");
    m.put("b", &"x".repeat(INLINE + 1), Condition::Always);
    assert_eq!(m.0.live(), 1);
}

#[test]
fn what_is_held_and_what_released_is_told_by_each_entry() {
    let mut m = Machine::new();
    let mut apply = |command: &Command| {
        let (index, data) = (m.0.applied() + 1, encode_operation(command));
        let (kind, mode) = (Kind::Command as u8, Store::mode(command) as u8);
        let entry = EntryRef { index, term: 1, time: 1000, session: 0, sequence: 0, kind, mode, data: &data };
        let applied = m.0.apply(entry).expect("a known kind");
        (applied.held, applied.released)
    };
    let always = || Predicate::All(vec![]);
    let transaction = |then| Command::Transaction { condition: always(), then, otherwise: vec![], max_bytes: 1000 };
    assert_eq!(apply(&transaction(vec![put("a", LARGE[0]), put("b", LARGE[1])])), (true, vec![]));
    assert_eq!(apply(&transaction(vec![put("a", LARGE[0])])), (true, vec![]), "b still needs the first");
    assert_eq!(
        apply(&transaction(vec![put("b", LARGE[0]), put("b", "small")])),
        (false, vec![1]),
        "itself it is not told of"
    );
    let all = Command::DeletePrefix { prefix: vec![], limit: 9 };
    assert_eq!(apply(&all), (false, vec![2]));
}

#[test]
fn bytes_that_are_no_command_change_nothing() {
    let mut m = Machine::new();
    let entry = EntryRef {
        index: 1,
        term: 1,
        time: 5,
        session: 0,
        sequence: 0,
        kind: Kind::Command as u8,
        mode: 0,
        data: b"\xff\xff\xff",
    };
    let applied = m.0.apply(entry).expect("a known kind");
    assert_eq!(applied.answers[0].outcome, Outcome::Malformed);
    assert_eq!((m.0.applied(), m.0.machine().len()), (1, 0));
}

/// Entries that were logged by a version that did not look, or forged: they do nothing, on every server alike, and the
/// number, the key and the time of each count all the same.
#[test]
fn entries_that_cannot_be_read_are_answers_and_not_the_end() {
    use crate::engine::sessions::{Keyed, Limits, Register};
    let poison = [
        [b"\x01\xfd\0\0\0\0\0\0\0\x40".as_slice(), b"k"].concat(),
        b"\x05\0\0".repeat(1_000_000),
        b"\x04\x01".repeat(1_000_000),
        [b"\x03".to_vec(), b"\x02".repeat(1_000_000)].concat(),
        Vec::new(),
    ];
    let (mut m, mut other) = (Machine::new(), Machine::new());
    let limits = Limits { events: 10, event_bytes: 1000 };
    let register = Register { timeout_ms: 10_000, name: String::new(), key: None, limits, window_ms: 0 }.encode();
    for m in [&mut m, &mut other] {
        m.entry(Kind::Register, 0, &register).expect("an answer");
        for (number, operation) in (1..).zip(&poison) {
            let (index, time) = (m.0.applied() + 1, m.1 + number);
            let kind = Kind::Command as u8;
            let entry = EntryRef { index, term: 1, time, session: 1, sequence: number, kind, mode: 8, data: operation };
            let answers = m.0.apply(entry).expect("it goes on").answers;
            assert_eq!((answers.len(), &answers[0].outcome), (1, &Outcome::Malformed));
            let session = m.0.sessions().get(1).expect("it is open");
            assert_eq!((session.sequence(), m.0.time()), (number, time));
            let keyed =
                Keyed { key: format!("name-{number}"), operation: operation.clone(), window_ms: 600_000 }.encode();
            assert_eq!(m.entry(Kind::KeyedCommand, 8, &keyed), Some(Outcome::Malformed));
            assert!(m.0.sessions().keys.has(&format!("name-{number}"), m.0.time()));
            for kind in [Kind::KeyedCommand, Kind::Register, Kind::KeepAlive, Kind::Unregister] {
                let garbage = if operation.is_empty() { b"\xfd\xff\xff" } else { operation.as_slice() };
                assert_eq!(m.entry(kind, 8, garbage), Some(Outcome::Malformed), "{kind:?}");
            }
        }
        m.put("a", "x", Condition::Always);
        m.pass(1);
    }
    assert_eq!((m.0.digest(), m.0.machine()), (other.0.digest(), other.0.machine()));
    assert!(m.0.sessions().is_open(1) && m.0.live() == 0);
}

#[test]
fn a_key_with_a_ttl_is_gone_when_its_time_is_over() {
    let mut m = Machine::new();
    m.put_for("a", 500);
    m.put_for("b", 300);
    assert_eq!(m.0.next_due(), Some(1300));
    assert_eq!(m.get("a").map(|i| i.ttl_ms), Some(500));
    m.pass(299);
    assert!(m.get("b").is_some());
    m.pass(1);
    assert!(m.get("b").is_none() && m.get("a").is_some());
    assert_eq!(m.changed("b"), 4, "removed by the entry that moved time there");
    assert_eq!(m.0.next_due(), Some(1500));
    m.0.listen(true);
    m.pass(10_000);
    assert_eq!((m.0.machine().len(), m.0.next_due()), (0, None));
    assert_eq!(m.0.take_touched(), [key(b"a")], "who waits for it is told");
}

#[test]
fn a_new_put_begins_a_new_life_and_one_without_a_ttl_an_endless_one() {
    let mut m = Machine::new();
    m.put_for("a", 500);
    m.pass(400);
    m.put_for("a", 500);
    m.pass(400);
    assert!(m.get("a").is_some(), "the first life's end is not the second's");
    m.put_for("a", 0);
    assert_eq!(m.0.next_due(), None);
    m.pass(100_000);
    assert_eq!(m.get("a").map(|i| i.ttl_ms), Some(0));
    m.put_for("a", 500);
    m.delete("a", Condition::Always);
    m.put("a", "again", Condition::Absent);
    m.pass(100_000);
    assert!(m.get("a").is_some(), "the timer went with the key that was deleted");
    m.put_for("a", 500);
    m.1 += 500;
    m.put_for("a", 500);
    assert!(m.get("a").is_some(), "an entry first does what it says, then moves time");
}

#[test]
fn a_ttl_within_a_transaction_counts_too() {
    let mut m = Machine::new();
    let put = |ttl_ms| Operation::Put { key: b"a".to_vec(), value: vec![], content_type: String::new(), ttl_ms };
    m.transaction(Predicate::All(vec![]), vec![put(100), put(300)], vec![]);
    m.pass(200);
    assert!(m.get("a").is_some());
    m.pass(100);
    assert!(m.get("a").is_none());
}

#[test]
fn a_command_of_several_parts_is_dropped_as_late_as_the_last_of_them() {
    use CompactionMode as M;
    let put = |ttl_ms| Operation::Put { key: b"a".to_vec(), value: vec![], content_type: String::new(), ttl_ms };
    let delete = || Operation::Delete { key: b"a".to_vec() };
    let transaction =
        |then, otherwise| Command::Transaction { condition: Predicate::All(vec![]), then, otherwise, max_bytes: 0 };
    assert_eq!(Store::mode(&transaction(vec![put(0), put(5)], vec![])), M::Expiring);
    assert_eq!(Store::mode(&transaction(vec![put(5)], vec![delete()])), M::Tombstone);
    assert_eq!(Store::mode(&transaction(vec![], vec![])), M::Release);
    let batch = Command::Batch(vec![Command::Unwatch { watch: 1 }, transaction(vec![put(5)], vec![])]);
    assert_eq!(Store::mode(&batch), M::Expiring);
    assert_eq!(Store::mode(&Command::Batch(vec![Command::Unwatch { watch: 1 }])), M::Snapshot);
    assert_eq!(Store::mode(&Command::Guarded { lock: vec![], token: 1, command: Box::new(batch) }), M::Expiring);
}
