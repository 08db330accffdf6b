//! The client's core against a model of a hostile cluster; and what a program would notice.

mod world;

use super::*;
use crate::engine::machine::Outcome;
use crate::engine::sessions::{EndReason, SessionError};
use crate::wire::{Refusal, Response};
use proptest::prelude::*;
use std::collections::BTreeMap;
use world::{GAP, Program, Step, Told, World, at, step};

/// What the program was told holds together, and with what has happened.
fn judge(world: &World, program: &Program, session: u64) {
    let mut applied = BTreeMap::new();
    for (command, index) in &world.applied {
        assert!(applied.insert(command.clone(), *index).is_none(), "a command was applied twice");
    }
    let done = |told: &Told| if let Told::Done(place, result) = told { Some((*place, result.clone())) } else { None };
    let results: Vec<_> = program.told.iter().filter_map(done).collect();
    let places: Vec<u64> = results.iter().map(|(place, _)| *place).collect();
    assert_eq!(places, (0..program.submitted.len() as u64).collect::<Vec<_>>(), "in order, once each, all");
    // By place, the index of a command that was applied.
    let index_of = |operation: &Operation| match operation {
        Operation::Command { bytes, .. } => applied.get(bytes).copied(),
        Operation::Query { .. } => None,
    };
    let indexes: Vec<Option<u64>> = program.submitted.iter().map(index_of).collect();
    for (place, result) in &results {
        let index = indexes[at(*place)];
        match result {
            Ok(answered) if matches!(program.submitted[at(*place)], Operation::Command { .. }) => {
                assert_eq!(index, Some(answered.index), "what is said to be done is done");
            }
            Err(error) if error.outcome() == crate::client::Fate::NotApplied => assert_eq!(index, None, "{error}"),
            _ => {}
        }
    }
    // Whose outcome is unknown is owed no order.
    let told = |(place, result): &(Place, Result<Answered, Error>)| indexes[at(*place)].filter(|_| result.is_ok());
    judge_order(world, program, session, &results.iter().map(told).collect::<Vec<_>>());
    let delivered: Vec<u64> = program
        .told
        .iter()
        .filter_map(|told| if let Told::Events(batch) = told { Some(batch.index) } else { None })
        .collect();
    let all: Vec<u64> = world.sessions[&session].events.iter().map(|batch| batch.index).collect();
    let of_last: Vec<u64> = delivered.into_iter().filter(|&index| index > session).collect();
    assert_eq!(of_last, all, "all events of the session, in order, once each");
}

/// `last`: the session that is open in the end. A lost one's events may be lost with it.
fn judge_order(world: &World, program: &Program, last: u64, indexes: &[Option<u64>]) {
    let (mut highest, mut next) = (0, 0);
    let mut delivered: Vec<u64> = Vec::new();
    let owner = |index: u64| world.sessions.range(..=index).next_back().map_or(0, |(&session, _)| session);
    for told in &program.told {
        match told {
            Told::Events(batch) => {
                let before = delivered.last().copied().filter(|&last| owner(last) == owner(batch.index));
                assert!(batch.previous == 0 || before == Some(batch.previous), "nothing is left out");
                for index in indexes[next..].iter().flatten() {
                    assert!(*index > batch.index, "the answer of a command comes before its events");
                }
                delivered.push(batch.index);
                highest = highest.max(batch.index);
            }
            Told::Done(place, Ok(answered)) => {
                let query = matches!(program.submitted[at(*place)], Operation::Query { .. });
                assert!(!query || answered.index >= highest, "a query sees what came before");
                let own = indexes[at(*place) + 1..].iter().flatten().min().copied().unwrap_or(u64::MAX);
                let all = &world.sessions[&last].events;
                let due = if query { answered.index.min(own - 1) } else { answered.index - 1 };
                for batch in all.iter().filter(|batch| batch.index <= due) {
                    assert!(delivered.contains(&batch.index), "events at {} come before {told:?}", batch.index);
                }
                highest = highest.max(answered.index);
                next = at(*place) + 1;
            }
            Told::Done(place, Err(_)) => next = at(*place) + 1,
        }
    }
}

fn settings(recover: bool) -> Settings {
    Settings { timeout: Duration::from_secs(20), name: "test".into(), recover, nonce: 7 }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_program_sees_one_order_whatever_connections_and_sessions_do(steps in prop::collection::vec(step(), 0..250)) {
        let (mut world, mut core, mut program) = (World::default(), Core::new(settings(true)), Program::default());
        for step in steps {
            world.step(step, &mut core, &mut program);
        }
        world.heal(&mut core, &mut program);
        // Shows what was passed over.
        world.publish();
        world.heal(&mut core, &mut program);
        prop_assert_eq!(core.outstanding(), 0);
        prop_assert_eq!(core.state(), State::Connected);
        let session = core.session().expect("a session");
        judge(&world, &program, session);
        prop_assert!(world.sessions[&session].acknowledged == world.sessions[&session].done.len() as u64);
    }
}

fn connected() -> (World, Core, Program) {
    let (mut world, mut core, mut program) = (World::default(), Core::new(settings(true)), Program::default());
    world.heal(&mut core, &mut program);
    assert_eq!(core.state(), State::Connected);
    (world, core, program)
}

const COMMAND: Step = Step::Command { publishes: false, large: false };

fn commands(frames: &[ToServer]) -> usize {
    let is_command = |frame: &&ToServer| matches!(frame, ToServer::Request { request: Request::Command { .. }, .. });
    frames.iter().filter(is_command).count()
}

#[test]
fn no_more_numbers_are_given_than_a_session_may_leave_unacknowledged() {
    let (mut world, mut core, mut program) = connected();
    (0..WINDOW + 100).for_each(|_| world.step(COMMAND, &mut core, &mut program));
    assert_eq!(commands(&world.on_the_way), at(WINDOW));
    world.heal(&mut core, &mut program);
    assert_eq!(world.applied.len(), at(WINDOW) + 100);
    assert_eq!(program.told.len(), at(WINDOW) + 100);
}

#[test]
fn nothing_new_is_sent_into_a_session_that_may_be_over() {
    let (mut world, mut core, mut program) = connected();
    let first = core.session().expect("a session");
    world.step(Step::Disconnect, &mut core, &mut program);
    world.step(Step::Wait(18_001), &mut core, &mut program);
    world.step(Step::Expire, &mut core, &mut program);
    world.step(COMMAND, &mut core, &mut program);
    world.step(Step::Connect, &mut core, &mut program);
    assert_eq!(commands(&world.on_the_way), 0, "only a sign of life");
    world.heal(&mut core, &mut program);
    assert!(core.session().expect("a session") > first);
    assert!(matches!(program.told.as_slice(), [Told::Done(0, Ok(_))]), "{:?}", program.told);
}

#[test]
fn a_session_surely_lives_from_when_its_sign_of_life_was_sent_not_from_when_that_was_answered() {
    let (mut world, mut core, mut program) = connected();
    let sign = |frame: &ToServer| match frame {
        ToServer::Request { id, request: Request::KeepAlive { .. } } => Some(*id),
        _ => None,
    };
    let id = loop {
        if let Some(id) = world.on_the_way.iter().find_map(sign) {
            break id;
        }
        world.now = core.deadline().expect("a sign of life is due");
        world.turn(&mut core, &mut program);
    };
    let (sent, timeout) = (world.now, settings(true).timeout);
    let output = Outcome::KeptAlive { timeout_ms: 20_000, event_index: 0 };
    let response = Response { index: 9, term: 1, event_index: None, output, consistency: None };
    core.told(sent + Duration::from_secs(3), ToClient::Reply { id, result: Ok(response) });
    assert_eq!(core.valid_until(), Some(sent + timeout - timeout / DRIFT));
}

#[test]
fn a_client_that_does_not_recover_fails_what_it_has_and_says_what_became_of_it() {
    let (mut world, mut core, mut program) = (World::default(), Core::new(settings(false)), Program::default());
    world.heal(&mut core, &mut program);
    world.step(COMMAND, &mut core, &mut program);
    world.step(Step::Disconnect, &mut core, &mut program);
    world.step(Step::Wait(18_001), &mut core, &mut program);
    world.step(Step::Expire, &mut core, &mut program);
    world.step(COMMAND, &mut core, &mut program);
    world.step(Step::Query, &mut core, &mut program);
    world.heal(&mut core, &mut program);
    let lost = Lost::Ended(EndReason::TimedOut);
    let errors: Vec<_> =
        program.told.iter().filter_map(|t| if let Told::Done(_, Err(e)) = t { Some(e) } else { None }).collect();
    assert_eq!(errors, [&Error::Unknown, &Error::SessionLost(lost), &Error::SessionLost(lost)]);
    assert_eq!(core.state(), State::Closed);
    core.recover();
    world.step(COMMAND, &mut core, &mut program);
    world.heal(&mut core, &mut program);
    assert!(matches!(program.told.last(), Some(Told::Done(3, Ok(_)))));
}

#[test]
fn a_server_through_which_no_sign_of_life_goes_is_left() {
    let (mut world, mut core, mut program) = connected();
    let begun = world.now;
    // It is connected, and answers nothing.
    while world.is_connected {
        world.now = core.deadline().expect("something to do");
        world.turn(&mut core, &mut program);
        assert!(world.now - begun < Duration::from_secs(20), "the session would be over");
    }
    assert_eq!(core.state(), State::Suspended);
}

#[test]
fn a_query_is_sent_when_the_commands_before_it_are_answered() {
    let (mut world, mut core, mut program) = connected();
    let is_query = |frame: &ToServer| matches!(frame, ToServer::Request { request: Request::Query { .. }, .. });
    world.step(COMMAND, &mut core, &mut program);
    world.step(Step::Query, &mut core, &mut program);
    assert!(!world.on_the_way.iter().any(is_query));
    while !world.on_the_way.is_empty() {
        world.step(Step::Arrive, &mut core, &mut program);
    }
    world.step(Step::Carry(0), &mut core, &mut program);
    world.step(Step::Answer(0), &mut core, &mut program);
    assert!(world.on_the_way.iter().any(is_query));
}

#[test]
fn a_number_that_somebody_may_hold_is_not_given_anew() {
    for held in [true, false] {
        let (mut world, mut core, mut program) = connected();
        let first = core.session();
        world.step(Step::Command { publishes: false, large: true }, &mut core, &mut program);
        world.step(COMMAND, &mut core, &mut program);
        world.step(Step::Arrive, &mut core, &mut program);
        world.step(Step::Arrive, &mut core, &mut program);
        // A server has the second one, or none has.
        world.step(Step::Refuse(1, if held { 5 } else { GAP }), &mut core, &mut program);
        world.step(Step::Answer(0), &mut core, &mut program);
        world.step(Step::Carry(0), &mut core, &mut program);
        world.step(Step::Answer(0), &mut core, &mut program);
        world.heal(&mut core, &mut program);
        let told: Vec<_> =
            program.told.iter().filter_map(|t| if let Told::Done(_, r) = t { Some(r) } else { None }).collect();
        assert!(matches!(told[0], Err(Error::TooLarge)));
        assert!(matches!((told[1], held), (Err(Error::Unknown), true) | (Ok(_), false)), "{told:?}");
        assert_eq!((world.applied.len(), core.session() == first), if held { (0, false) } else { (1, true) });
    }
}
