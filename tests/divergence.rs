//! Servers compare what they have become: one whose state differs from that of a majority stops, and the others go on.

#![allow(clippy::unwrap_used, missing_docs)]

use copycat::engine::machine::{Bincode, Commit, Context, StateMachine, encode_operation};
use copycat::engine::sessions::Submit;
use copycat::engine::{Configuration, Engine, Fatal, Input, Message, Now, Options, Output, Role};
use copycat_storage::{MemDisk, Seed, Storage};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Counts, and miscounts from some number on, as a server with a broken memory would.
struct Counter {
    count: u64,
    wrong_from: u64,
}

impl StateMachine for Counter {
    type Codec = Bincode;
    type Command = ();
    type Query = ();
    type Output = u64;
    type Answer = u64;
    type Event = ();

    fn apply(&mut self, _: Commit<()>, _: &mut Context<()>) -> u64 {
        self.count += if self.count >= self.wrong_from { 2 } else { 1 };
        self.count
    }

    fn query(&self, (): ()) -> u64 {
        self.count
    }
}

struct Lab {
    engines: BTreeMap<u64, Engine<MemDisk, Counter>>,
    wire: VecDeque<(u64, u64, Message)>,
    time: Duration,
    stopped: BTreeMap<u64, Fatal>,
}

impl Lab {
    fn new(wrong: impl Fn(u64) -> u64) -> Self {
        let initial = Configuration::bootstrap((1..=3).map(|id| (id, format!("s{id}:1"))));
        let engines = (1..=3).map(|id| {
            let seed = Seed { identity: id * 11, salt: 7, now_ms: 1000 };
            let storage =
                Storage::open(MemDisk::new(), copycat_storage::Options { segment_size: 65536 }, seed).unwrap();
            let now = Now { monotonic: Duration::ZERO, wall: 1000 };
            let wrong_from = wrong(id);
            let machine = move || Counter { count: 0, wrong_from };
            (id, Engine::new(id, Options::default(), id, now, storage, machine, initial.clone()).unwrap())
        });
        Self { engines: engines.collect(), wire: VecDeque::new(), time: Duration::ZERO, stopped: BTreeMap::new() }
    }

    fn step(&mut self, id: u64, input: Option<Input<MemDisk>>) {
        let now = Now { monotonic: self.time, wall: 1000 };
        let Some(engine) = self.engines.get_mut(&id) else { return };
        let turn = || -> Result<(), Fatal> {
            input.map_or(Ok(()), |input| engine.step(now, input))?;
            while engine.poll(now)? {}
            while let Some(job) = engine.flush(now) {
                engine.step(now, Input::Persisted(job.run().unwrap()))?;
                while engine.poll(now)? {}
            }
            Ok(())
        };
        let ended = turn();
        let sent = engine.take_outputs().into_iter();
        self.wire.extend(
            sent.filter_map(|o| if let Output::Send { to, message } = o { Some((id, to, message)) } else { None }),
        );
        if let Err(fatal) = ended {
            self.engines.remove(&id);
            self.stopped.insert(id, fatal);
        }
    }

    fn pass(&mut self, ms: u64) {
        for _ in 0..ms / 10 {
            self.time += Duration::from_millis(10);
            for id in 1..=3 {
                self.step(id, None);
            }
            while let Some((from, to, message)) = self.wire.pop_front() {
                self.step(to, Some(Input::Message { from, identity: from * 11, cluster: 0, message }));
            }
        }
    }

    fn leader(&self) -> Option<u64> {
        self.engines.iter().find(|(_, e)| e.status().role == Role::Leader).map(|(&id, _)| id)
    }

    /// Applies commands until somebody stops, or there were so many.
    fn work(&mut self, commands: u64) {
        for id in 0..commands {
            if let Some(leader) = self.leader() {
                let submit = Submit::command(encode_operation(&()), Counter::mode(&()));
                self.step(leader, Some(Input::Submit { id, submit }));
            }
            self.pass(10);
            if !self.stopped.is_empty() {
                break;
            }
        }
    }
}

#[test]
fn who_differs_from_a_majority_stops() {
    for wrong in 1..=3 {
        let mut lab = Lab::new(|id| if id == wrong { 40 } else { u64::MAX });
        lab.pass(2000);
        lab.work(300);
        let (&stopped, fatal) = lab.stopped.first_key_value().expect("it is found");
        assert_eq!(stopped, wrong, "{fatal}");
        assert!(matches!(fatal, Fatal::Diverged { .. }), "{fatal}");
        lab.stopped.clear();
        lab.pass(3000);
        lab.work(200);
        assert!(lab.stopped.is_empty() && lab.leader().is_some(), "the others go on");
        let compared: Vec<u64> = lab.engines.values().map(|e| e.status().compared).collect();
        assert!(compared.iter().all(|&index| index >= 128), "and compare each other: {compared:?}");
    }
}

#[test]
fn equals_never_stop() {
    let mut lab = Lab::new(|_| u64::MAX);
    lab.pass(2000);
    lab.work(300);
    assert!(lab.stopped.is_empty());
    assert!(lab.engines.values().all(|e| e.status().compared >= 192));
}
