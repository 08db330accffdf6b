use super::*;
use crate::engine::Kind;
use crate::engine::machine::{Executor, Outcome, decode_output, decode_query_output, encode_operation};
use copycat_storage::EntryRef;

struct Machine(Executor<Store>);

impl Machine {
    fn new() -> Self {
        Self(Executor::new(Store::default()))
    }

    fn apply(&mut self, command: &Command) -> Output {
        let data = encode_operation(command);
        let entry = EntryRef {
            index: self.0.applied() + 1,
            term: 1,
            time: 1000,
            session: 0,
            sequence: 0,
            kind: Kind::Command as u8,
            mode: Store::mode(command) as u8,
            data: &data,
        };
        match self.0.apply(entry).expect("a known kind").outcome {
            Some(Outcome::Output(bytes)) => decode_output::<Store>(&bytes).expect("an output"),
            other => panic!("no output: {other:?}"),
        }
    }

    fn put(&mut self, key: &str, value: &str, condition: Condition) -> Output {
        self.apply(&Command::Put { key: key.into(), value: value.into(), content_type: "text/plain".into(), condition })
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
            Answer::Value(item) => item,
            Answer::Page { .. } => panic!("a page"),
        }
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: u64, max_bytes: u64) -> (Vec<String>, bool) {
        let query = Query::List { prefix: prefix.into(), after: after.map(Into::into), limit, max_bytes };
        match self.ask(&query) {
            Answer::Page { items, more } => {
                (items.into_iter().map(|i| String::from_utf8(i.key).expect("text")).collect(), more)
            }
            Answer::Value(_) => panic!("a value"),
        }
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
    assert_eq!(m.list("a/", None, 100, 1000), (vec!["a/1".into(), "a/10".into(), "a/2".into()], false));
    assert_eq!(m.list("a/", None, 2, 1000), (vec!["a/1".into(), "a/10".into()], true));
    assert_eq!(m.list("a/", Some("a/10"), 2, 1000), (vec!["a/2".into()], false));
    assert_eq!(m.list("a/", Some("a/2"), 2, 1000), (vec![], false));
    assert!(!m.list("a/", None, 3, 1000).1, "exactly full is not more");
    assert_eq!(m.list("a/", None, 9, 1), (vec!["a/1".into()], true), "one item always fits");
    assert_eq!(m.list("a/", Some("A"), 9, 1000).0.len(), 3, "a cursor before the prefix changes nothing");
}

#[test]
fn each_key_holds_its_last_put_and_nothing_else() {
    let mut m = Machine::new();
    m.put("a", "1", Condition::Always);
    m.put("b", "1", Condition::Always);
    m.put("a", "2", Condition::Always);
    m.put("a", "3", Condition::Absent);
    assert_eq!(m.0.live(), 2);
    m.delete("a", Condition::Always);
    assert_eq!(m.0.live(), 1);
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
    assert_eq!(applied.outcome, Some(Outcome::Malformed));
    assert_eq!((m.0.applied(), m.0.machine().len()), (1, 0));
}
