//! The examples run and do what they say, and their machines come back from any compacted log.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]
// Each example brings the cluster that it runs on.
#![allow(clippy::duplicate_mod)]

#[path = "../examples/counter/main.rs"]
mod counter;
#[path = "../examples/election/main.rs"]
mod election;
#[path = "../examples/map/main.rs"]
mod map;
#[path = "../examples/value/main.rs"]
mod value;

use async_std::task::block_on;
use copycat::engine::machine::replay::{Random, Subject, Trial};
use copycat::{SessionId, StateMachine};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::marker::PhantomData;

#[test]
fn a_register() {
    block_on(value::run()).unwrap();
}

#[test]
fn a_counter() {
    block_on(counter::run()).unwrap();
}

#[test]
fn a_map() {
    block_on(map::run()).unwrap();
}

#[test]
fn an_election() {
    block_on(election::run()).unwrap();
}

/// What the checker must know of a machine.
trait Example: StateMachine<Command: Debug> + Default {
    type State: PartialEq + Debug;
    fn random(random: &mut Random) -> Self::Command;
    fn state(&self) -> Self::State;
}

struct Checked<M>(PhantomData<M>);

impl<M: Example> Subject for Checked<M> {
    type Machine = M;
    type State = M::State;

    fn machine(&self) -> M {
        M::default()
    }

    fn command(&self, random: &mut Random) -> M::Command {
        M::random(random)
    }

    fn state(&self, machine: &M) -> M::State {
        machine.state()
    }
}

/// 10,000 random histories, each whole and compacted.
fn check<M: Example>() {
    let subject = Checked::<M>(PhantomData);
    for seed in 0..10_000 {
        if let Err(difference) = Trial::new(seed).run(&subject) {
            panic!("{difference}");
        }
    }
}

impl Example for value::machine::Register {
    type State = Option<String>;

    fn random(random: &mut Random) -> String {
        random.below(4).to_string()
    }

    fn state(&self) -> Option<String> {
        self.value()
    }
}

impl Example for counter::machine::Counter {
    type State = i64;

    fn random(random: &mut Random) -> i64 {
        i64::try_from(random.below(10)).unwrap() - 5
    }

    fn state(&self) -> i64 {
        self.count
    }
}

impl Example for map::machine::Map {
    type State = BTreeMap<String, map::machine::Value>;

    fn random(random: &mut Random) -> map::machine::Command {
        let key = random.below(3).to_string();
        if random.one_in(3) {
            return map::machine::Command::Remove { key };
        }
        let ttl_ms = if random.one_in(2) { 1 + random.below(500) } else { 0 };
        map::machine::Command::Put { key, value: random.below(4).to_string(), ttl_ms }
    }

    fn state(&self) -> Self::State {
        self.0.clone()
    }
}

impl Example for election::machine::Election {
    type State = Vec<(SessionId, u64)>;

    fn random(random: &mut Random) -> election::machine::Command {
        if random.one_in(3) { election::machine::Command::Resign } else { election::machine::Command::Stand }
    }

    fn state(&self) -> Self::State {
        self.0.iter().map(|(session, held)| (*session, held.index())).collect()
    }
}

#[test]
fn the_register_comes_back_as_it_was() {
    check::<value::machine::Register>();
}

#[test]
fn the_counter_comes_back_as_it_was() {
    check::<counter::machine::Counter>();
}

#[test]
fn the_map_comes_back_as_it_was() {
    check::<map::machine::Map>();
}

#[test]
fn the_election_comes_back_as_it_was() {
    check::<election::machine::Election>();
}
