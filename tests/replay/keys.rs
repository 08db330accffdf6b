//! The product's store.

use copycat::engine::machine::replay::{Random, Subject};
use copycat::store::{Command, Condition, LockMode, Operation, Predicate, Store, Target};

pub(crate) struct Keys;

fn key(random: &mut Random) -> Vec<u8> {
    let names: [&[u8]; 6] = [b"a", b"a/b", b"a/c", b"b", b"c", b"d"];
    names[usize::try_from(random.below(6)).unwrap()].to_vec()
}

/// Small, just small, just large, large.
fn value(random: &mut Random) -> Vec<u8> {
    let length = [1, 64, 65, 90][usize::try_from(random.below(4)).unwrap()];
    vec![b'0' + u8::try_from(random.below(4)).unwrap(); length]
}

fn ttl(random: &mut Random) -> u64 {
    if random.one_in(3) { 1 + random.below(3000) } else { 0 }
}

fn condition(random: &mut Random) -> Condition {
    match random.below(8) {
        0 => Condition::Absent,
        1 => Condition::Exists,
        2 => Condition::Versions((0..8).map(|_| random.below(60)).collect()),
        _ => Condition::Always,
    }
}

fn predicate(random: &mut Random) -> Predicate {
    match random.below(5) {
        0 => Predicate::Value { key: key(random), value: value(random) },
        1 => Predicate::Version { key: key(random), version: random.below(60) },
        2 => Predicate::Not(Box::new(predicate(random))),
        _ => Predicate::Exists { key: key(random), exists: random.one_in(2) },
    }
}

fn operations(random: &mut Random) -> Vec<Operation> {
    let one = |random: &mut Random| match random.below(6) {
        0 => Operation::Delete { key: key(random) },
        1 => Operation::Get { key: key(random) },
        _ => Operation::Put { key: key(random), value: value(random), content_type: "t".into(), ttl_ms: ttl(random) },
    };
    (0..random.below(4)).map(|_| one(random)).collect()
}

fn lock(random: &mut Random) -> Vec<u8> {
    vec![b'l', b'0' + u8::try_from(random.below(2)).unwrap()]
}

fn command(random: &mut Random, depth: u32) -> Command {
    match random.below(if depth == 0 { 20 } else { 24 }) {
        0..2 => Command::Delete { key: key(random), condition: condition(random) },
        2 => Command::DeletePrefix { prefix: b"a/".to_vec(), limit: random.below(3) },
        3..6 => {
            let (condition, then, otherwise) = (predicate(random), operations(random), operations(random));
            Command::Transaction { condition, then, otherwise, max_bytes: 100 }
        }
        6..8 => {
            let target = if random.one_in(2) { Target::Key(key(random)) } else { Target::Prefix(b"a".to_vec()) };
            Command::Watch { target, values: random.one_in(2), limit: 3 }
        }
        8 => Command::Unwatch { watch: random.below(60) },
        9..12 => {
            let mode = if random.one_in(3) { LockMode::Shared } else { LockMode::Exclusive };
            let wait_ms = if random.one_in(2) { random.below(2000) } else { 0 };
            Command::Lock { lock: lock(random), mode, wait_ms, queue: random.one_in(2) }
        }
        12 => Command::Unlock { lock: lock(random), token: None },
        13 => Command::Revoke { lock: lock(random), session: random.below(20) },
        20..22 => Command::Batch((0..random.below(4)).map(|_| command(random, depth - 1)).collect()),
        22..24 => {
            let (lock, token) = (lock(random), random.below(60));
            Command::Guarded { lock, token, command: Box::new(command(random, depth - 1)) }
        }
        _ => Command::Put {
            key: key(random),
            value: value(random),
            content_type: "t".into(),
            ttl_ms: ttl(random),
            ephemeral: random.one_in(3),
            condition: condition(random),
        },
    }
}

impl Subject for Keys {
    type Machine = Store;
    type State = Store;

    fn machine(&self) -> Store {
        Store::default()
    }

    fn command(&self, random: &mut Random) -> Command {
        command(random, 2)
    }

    fn state(&self, machine: &Store) -> Store {
        machine.clone()
    }
}
