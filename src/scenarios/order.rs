//! In which order a program is told, whatever servers do.

use super::caller::Pick;
use super::machines::{Heard, Letter, Post};
use super::stage::{Level, Stage};
use super::{Cell, caller::Told};
use crate::client::Error;
use crate::engine::Consistency;

const TIMEOUT_MS: u64 = 5000;

/// Commands with a query after each, all on their way at once.
fn pipeline(stage: &mut Stage<Post>, client: usize, cell: Cell, done: &mut u64) {
    let mut places = Vec::new();
    for _ in 0..10 {
        let command = stage.submit(client, &Letter::Count);
        places.push((command, stage.query(client, &(), cell.consistency)));
    }
    stage.settle(client);
    for (command, query) in places {
        *done += 1;
        let (at, output) = stage.output(client, command);
        let (seen_at, seen) = stage.answer(client, query).expect("an answer");
        assert_eq!(output, *done, "each once, in order");
        // And perhaps what was submitted after it: nothing waits for a query.
        assert!(seen >= *done && seen_at >= at, "{seen} at {seen_at}, after {done} at {at}");
    }
}

pub(super) fn commands_and_queries_on_one_to_five_servers(cell: Cell) {
    for servers in 1..=5 {
        let (mut stage, mut done) = (Stage::<Post>::new(cell.level, servers), 0);
        for pick in [Pick::Leader, Pick::Followers] {
            let client = stage.client(pick, TIMEOUT_MS);
            pipeline(&mut stage, client, cell, &mut done);
        }
        // The leader is of the minority that goes, and the servers that both clients speak to.
        for _ in 0..(servers - 1) / 2 {
            let leader = stage.leader();
            stage.kill(leader);
        }
        for client in 0..2 {
            pipeline(&mut stage, client, cell, &mut done);
        }
        stage.agree();
    }
}

pub(super) fn back_to_back(cell: Cell) {
    let mut stage = Stage::<Post>::new(cell.level, 3);
    for pick in [Pick::Any, Pick::Leader, Pick::Followers] {
        let client = stage.client(pick, TIMEOUT_MS);
        for _ in 0..10 {
            let told = stage.clients[client].told.len();
            let count = stage.submit(client, &Letter::Count);
            let tell = stage.submit(client, &Letter::TellMe);
            let query = stage.query(client, &(), cell.consistency);
            stage.settle(client);
            let (first, second) = (stage.output(client, count), stage.output(client, tell));
            let seen = stage.answer(client, query).expect("an answer");
            assert!(first.0 < second.0 && second.0 <= seen.0);
            assert_eq!((second.1, seen.1), (first.1 + 1, first.1 + 1));
            let told = &stage.clients[client].told[told..];
            let as_should = matches!(
                told,
                [Told::Output { .. }, Told::Output { index: at, .. }, Told::Event { index, event: Heard::Count(count) },
                    Told::Answer { .. }] if index == at && *count == second.1
            );
            assert!(as_should, "command, command, event, query");
        }
        stage.clients[client].check_order();
    }
}

pub(super) fn one_command_tells_several_sessions(cell: Cell) {
    let mut stage = Stage::<Post>::new(cell.level, 5);
    let clients: Vec<usize> = (1..=3).map(|at| stage.client(Pick::This(at), TIMEOUT_MS)).collect();
    let sessions: Vec<u64> = clients.iter().map(|&client| stage.session(client)).collect();
    let mut expected = Vec::new();
    for _ in 0..10 {
        // One, and then ten in a row.
        for times in [1, 10] {
            let places: Vec<_> = (0..times).map(|_| stage.submit(0, &Letter::Tell(sessions.clone()))).collect();
            stage.settle(0);
            for place in places {
                let (index, count) = stage.output(0, place);
                expected.push((index, Heard::Count(count)));
            }
        }
        stage.ask_one(1, &(), cell.consistency);
    }
    stage.until("all are told", |s| clients.iter().all(|&c| s.clients[c].events().len() == expected.len()));
    for client in clients {
        assert_eq!(stage.clients[client].events(), expected);
        stage.clients[client].check_order();
    }
}

pub(super) fn a_handler_asks(cell: Cell) {
    let mut stage = Stage::<Post>::new(cell.level, 3);
    let (teller, client) = (stage.client(Pick::Any, TIMEOUT_MS), stage.client(Pick::Followers, TIMEOUT_MS));
    let session = stage.session(client);
    for round in 0..10 {
        stage.submit(teller, &Letter::Tell(vec![session]));
        stage.turn(teller);
        stage.until("the event", |s| s.clients[client].events().len() == round + 1);
        let (index, Heard::Count(count)) = stage.clients[client].events()[round] else { panic!("another event") };
        let (seen_at, seen) = stage.ask_one(client, &(), cell.consistency);
        assert!(seen_at >= index && seen >= count, "the state has what the event tells of");
    }
    stage.clients[client].check_order();
}

pub(super) fn servers_are_lost(cell: Cell) {
    for (gracefully, the_leader) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut stage = Stage::<Post>::new(cell.level, 5);
        let pick = if the_leader { Pick::Leader } else { Pick::Followers };
        let client = stage.client(pick, TIMEOUT_MS);
        let session = stage.session(client);
        let mut expected = Vec::new();
        for _ in 0..2 {
            // One that is under way when the server goes, and one after it.
            let before = stage.submit(client, &Letter::TellMe);
            stage.turn(client);
            stage.wait(1);
            let gone = stage.clients[client].connection.expect("a connection");
            if gracefully {
                stage.stop(gone);
            } else {
                stage.kill(gone);
            }
            let after = stage.submit(client, &Letter::TellMe);
            let query = stage.query(client, &(), cell.consistency);
            stage.settle(client);
            for place in [before, after] {
                let (index, count) = stage.output(client, place);
                expected.push((index, Heard::Count(count)));
            }
            let seen = stage.answer(client, query).expect("an answer");
            assert_eq!(seen.1, expected.len() as u64, "each command once");
            // What was on a disk is there again; what was in memory is gone, and with it the server.
            if cell.level == Level::Mapped {
                stage.start(gone);
            }
        }
        stage.until("all events", |s| s.clients[client].events().len() == expected.len());
        assert_eq!(stage.clients[client].events(), expected, "each once, in order");
        assert_eq!(stage.session(client), session);
        stage.clients[client].check_order();
        stage.agree();
    }
}

pub(super) fn a_command_outlives_its_leader(cell: Cell) {
    let mut stage = Stage::<Post>::new(cell.level, 5);
    let client = stage.client(Pick::Followers, TIMEOUT_MS);
    let mut done = 0;
    // Where the commands are when the leader goes: on their way, in its log, replicated, answered.
    for ms in [0, 1, 2, 3] {
        let places: Vec<_> = (0..50).map(|_| stage.submit(client, &Letter::Count)).collect();
        let leader = stage.leader();
        stage.turn(client);
        stage.wait(ms);
        stage.kill(leader);
        stage.settle(client);
        for place in places {
            done += 1;
            assert_eq!(stage.output(client, place).1, done, "each once");
        }
        if cell.level == Level::Mapped {
            stage.start(leader);
        } else if ms > 0 {
            // Two of five may be lost for good.
            break;
        }
    }
    let other = stage.client(Pick::Any, TIMEOUT_MS);
    let seen = stage.ask_one(other, &(), cell.consistency).1;
    assert!(seen == done || cell.consistency == Consistency::Sequential && seen <= done);
    stage.agree();
    assert_eq!(stage.ask_one(other, &(), cell.consistency).1, done);
}

pub(super) fn a_failed_query_blocks_nothing(cell: Cell) {
    let mut stage = Stage::<Post>::new(cell.level, 3);
    for pick in [Pick::Leader, Pick::Followers] {
        let client = stage.client(pick, TIMEOUT_MS);
        let before = stage.do_one(client, &Letter::Count).1;
        let bad = stage.ask(client, b"no query".to_vec(), cell.consistency);
        let good = stage.query(client, &(), cell.consistency);
        let command = stage.submit(client, &Letter::Count);
        stage.settle(client);
        assert_eq!(stage.answer(client, bad).unwrap_err(), Error::Malformed);
        assert!(stage.answer(client, good).expect("an answer").1 >= before);
        assert_eq!(stage.output(client, command).1, before + 1);
    }
}
