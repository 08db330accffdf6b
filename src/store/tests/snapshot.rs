//! The store in snapshots. That it comes back whole is shown by `tests/replay`.

use super::*;
use crate::engine::machine::{SnapshotError, operation};
use crate::engine::sessions::Keyed;
use copycat_storage::Entry;
use proptest::prelude::*;

/// A store in which there is something of everything, and its log.
fn furnished() -> (Machine, Vec<Entry>) {
    let mut m = Machine::new();
    let mut log = Vec::new();
    let session = m.session();
    log.resize(1, None);
    let large = |key: &str, text: &str| put(key, text);
    let transaction = Command::Transaction {
        condition: Predicate::Exists { key: b"none".to_vec(), exists: true },
        then: vec![large("a", "never"), large("b", LARGE[2])],
        otherwise: vec![large("a", LARGE[0]), put("small", "s"), large("a", LARGE[1]), large("b", LARGE[0])],
        max_bytes: 1000,
    };
    let always = Condition::Always;
    let single = |key: &str, condition| Command::Put {
        key: key.into(),
        value: LARGE[0].into(),
        content_type: "t".into(),
        ttl_ms: 5000,
        ephemeral: true,
        condition,
    };
    let batch = Command::Batch(vec![single("c", Condition::Exists), transaction.clone(), single("c", always)]);
    let watch = |target| Command::Watch { target, values: false, limit: 9 };
    let commands = [
        watch(Target::Prefix(b"a".to_vec())),
        Command::Lock { lock: b"l".to_vec(), mode: LockMode::Exclusive, wait_ms: 0, queue: true },
        transaction,
        batch.clone(),
        Command::Delete { key: b"small".to_vec(), condition: Condition::Always },
    ];
    for command in commands {
        m.apply_of(session, &command);
        log.push(Some((Kind::Command, encode_operation(&command))));
    }
    let operation = encode_operation(&single("d", Condition::Always));
    let keyed = Keyed { key: "k".into(), operation, window_ms: 1000 };
    m.entry_of(session, Kind::KeyedCommand, 0, &keyed.encode());
    log.push(Some((Kind::KeyedCommand, keyed.encode())));
    let entry = |(at, carried): (usize, Option<(Kind, Vec<u8>)>)| {
        let (kind, data) = carried.unwrap_or((Kind::Tick, Vec::new()));
        let index = at as u64 + 1;
        Entry { index, term: 1, time: 1000, session, sequence: 0, kind: kind as u8, mode: 0, data }
    };
    (m, log.into_iter().enumerate().map(entry).collect())
}

fn at(log: &[Entry], index: u64) -> Option<&Entry> {
    log.iter().find(|entry| entry.index == index)
}

fn install(bytes: &[u8], log: &[Entry]) -> Result<Executor<Store>, SnapshotError> {
    let mut executor = Executor::new(Store::default());
    let resolve = |index: u64| {
        let Entry { index, term, time, session, sequence, kind, mode, ref data } = *at(log, index)?;
        operation(&EntryRef { index, term, time, session, sequence, kind, mode, data })
    };
    executor.install(bytes, &resolve)?;
    Ok(executor)
}

#[test]
fn values_are_found_in_the_operation_of_their_entry_that_put_them() {
    let (m, log) = furnished();
    let (bytes, references) = m.0.freeze().write();
    assert_eq!(references, [5, 7], "the batch, and the keyed command");
    let text = String::from_utf8_lossy(&bytes);
    assert!(!text.contains("more than sixty-four"), "large values are not in the snapshot");
    let again = install(&bytes, &log).expect("all is there");
    assert!(again.machine() == m.0.machine());
    assert_eq!(m.get("a").map(|item| item.value), Some(LARGE[1].into()), "its last put in that entry");
}

#[test]
fn an_entry_that_is_missing_or_another_is_an_error() {
    let (m, mut log) = furnished();
    let (bytes, _) = m.0.freeze().write();
    let removed = log.pop();
    assert_eq!(install(&bytes, &log).err(), Some(SnapshotError::Missing(7)));
    log.extend(removed);
    log[4].data = log[5].data.clone();
    assert!(matches!(install(&bytes, &log), Err(SnapshotError::Malformed(_))), "it puts none of these keys");
    let mut newer = bytes;
    newer[0] += 1;
    assert_eq!(install(&newer, &log).err(), Some(SnapshotError::Version(2)));
}

#[test]
#[should_panic(expected = "over a state at")]
fn an_older_snapshot_never_comes_over_a_newer_state() {
    let (mut m, log) = furnished();
    let (bytes, _) = m.0.freeze().write();
    m.pass(1);
    let resolve = |index: u64| at(&log, index).map(|entry| entry.data.clone());
    let _ = m.0.install(&bytes, &resolve);
}

proptest! {
    #[test]
    fn bytes_that_were_damaged_are_an_error_or_another_state_but_no_panic(
        at: prop::sample::Index,
        to: u8,
        cut in any::<Option<prop::sample::Index>>(),
    ) {
        let (m, log) = furnished();
        let (mut bytes, _) = m.0.freeze().write();
        let at = at.index(bytes.len());
        bytes[at] = to;
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
            prop_assert!(install(&bytes, &log).is_err());
        } else {
            let _ = install(&bytes, &log);
        }
    }
}
