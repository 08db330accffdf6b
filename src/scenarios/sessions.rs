//! Sessions that are closed, expire, are recovered, and last.

use super::Cell;
use super::caller::{Pick, Told};
use super::machines::{Heard, Letter, Post};
use super::stage::{Level, Stage};
use crate::client::State;

pub(super) fn closed_and_expired(cell: Cell) {
    let mut stage = Stage::<Post>::new(cell.level, 3);
    let watching = stage.client(Pick::Any, 5000);
    let (closing, dying) = (stage.client(Pick::Leader, 2000), stage.client(Pick::Followers, 2000));
    let (closed, expired) = (stage.session(closing), stage.session(dying));
    stage.clients[closing].core.close();
    stage.turn(closing);
    stage.until("it is closed", |s| !s.clients[watching].events().is_empty());
    let begun = stage.time;
    stage.cut_off(dying);
    stage.until("it is expired", |s| s.clients[watching].events().len() == 2);
    let took = (stage.time - begun) / 1000;
    assert!((1000..10_000).contains(&took), "{took} ms");
    let events: Vec<Heard> = stage.clients[watching].events().into_iter().map(|(_, event)| event).collect();
    assert_eq!(events, [Heard::Closed(closed), Heard::Expired(expired)]);
    // Whoever looks now sees a state in which both are gone.
    let (index, _) = stage.ask_one(watching, &(), cell.consistency);
    assert!(index >= stage.clients[watching].events()[1].0);
    stage.agree();
}

pub(super) fn recovered(cell: Cell) {
    let mut stage = Stage::<Post>::new(cell.level, 3);
    let client = stage.client(Pick::Any, 2000);
    let session = stage.session(client);
    let told = stage.clients[client].told.len();
    stage.do_one(client, &Letter::Count);
    stage.cut_off(client);
    // Never sent on the lost session, so it goes out on the next.
    let unsent = stage.submit(client, &Letter::TellMe);
    stage.wait(10_000);
    stage.cut.remove(&client);
    stage.settle(client);
    assert!(stage.session(client) > session);
    let (index, count) = stage.output(client, unsent);
    assert_eq!(count, 2, "once");
    stage.until("its event", |s| !s.clients[client].events().is_empty());
    assert_eq!(stage.clients[client].events(), [(index, Heard::Count(2))]);
    assert_eq!(stage.ask_one(client, &(), cell.consistency).1, 2);
    let states: Vec<Option<State>> = stage.clients[client].told[told..]
        .iter()
        .filter_map(|told| match told {
            Told::State(state) => Some(Some(*state)),
            Told::Lost(lost) => {
                assert_eq!(*lost, session);
                Some(None)
            }
            _ => None,
        })
        .collect();
    assert_eq!(states, [Some(State::Suspended), None, Some(State::Connected)]);
}

/// A client that does nothing keeps its session for as long as there are servers, whoever leads.
pub(super) fn idle(cell: Cell) {
    let mut stage = Stage::<Post>::new(cell.level, 5);
    let client = stage.client(Pick::Followers, 2000);
    let session = stage.session(client);
    stage.wait(60_000);
    for round in 0..2 {
        let leader = stage.leader();
        stage.kill(leader);
        stage.wait(20_000);
        if cell.level == Level::Mapped {
            stage.start(leader);
        }
        assert_eq!(stage.session(client), session, "round {round}");
    }
    let (_, count) = stage.do_one(client, &Letter::TellMe);
    assert_eq!(stage.ask_one(client, &(), cell.consistency).1, count);
    assert_eq!(stage.session(client), session);
    assert!(!stage.clients[client].told.iter().any(|told| matches!(told, Told::Lost(_))));
}
