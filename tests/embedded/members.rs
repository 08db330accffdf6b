//! Members that come, change and go, by the handles of a running server.

use crate::{PATIENCE, Three, at, block, builder, turn, type_of, until};
use copycat::engine::{ConfigurationError, Setting};
use copycat::{MemberStatus, MemberType, Refusal};
use std::sync::mpsc;
use std::time::Duration;

#[derive(Debug, PartialEq, Eq)]
enum Told {
    Joined(u64, MemberType),
    Type(u64, MemberType),
    Status(u64, MemberStatus),
    Left(u64),
}

#[test]
fn members_join_are_demoted_promoted_lead_and_leave_and_it_is_told() {
    let _turn = turn();
    let mut three = Three::start(None);
    let (told, heard) = mpsc::channel();
    let first = three.server(1);
    let [joined, typed, status, left] = [told.clone(), told.clone(), told.clone(), told];
    first.on_join(move |id, member_type| joined.send(Told::Joined(id, member_type)).unwrap());
    first.on_type_change(move |id, member_type| typed.send(Told::Type(id, member_type)).unwrap());
    first.on_status_change(move |id, now| status.send(Told::Status(id, now)).unwrap());
    first.on_leave(move |id| left.send(Told::Left(id)).unwrap());
    let next = || heard.recv_timeout(PATIENCE).expect("it is told");

    assert_eq!(three.add(1, 4), Ok(4));
    let fourth = builder(&three.network, None, 4).join([at(2), at(1)]).unwrap();
    assert_eq!(next(), Told::Joined(4, MemberType::Passive));
    assert_eq!(next(), Told::Type(4, MemberType::Active), "it has caught up");
    let cluster = three.server(1).cluster();
    assert_eq!(cluster.members().map(|m| m.id()).collect::<Vec<_>>(), [1, 2, 3, 4]);

    let cluster = block(cluster.member(4).unwrap().demote()).unwrap();
    assert_eq!(next(), Told::Type(4, MemberType::Passive));
    assert_eq!(cluster.member(4).unwrap().member_type(), MemberType::Passive);
    let refused = block(cluster.member(4).unwrap().lead()).unwrap_err();
    assert_eq!(refused, Refusal::Configuration(ConfigurationError::NotVoter(4)));
    let before = cluster.clone();
    let cluster = block(cluster.member(4).unwrap().promote()).unwrap();
    assert_eq!(next(), Told::Type(4, MemberType::Active));
    let stale = block(before.member(4).unwrap().remove()).unwrap_err();
    assert!(matches!(stale, Refusal::Configuration(ConfigurationError::Stale { .. })), "{stale:?}");

    assert_eq!(block(cluster.member(4).unwrap().lead()), Ok(4));
    until("it knows it", || fourth.state().leader.filter(|&leader| leader == 4));
    // One that is not heard, and is again.
    for other in 1..=4 {
        three.network.cut(&at(3), &at(other));
    }
    assert_eq!(next(), Told::Status(3, MemberStatus::Unavailable));
    for other in 1..=4 {
        three.network.mend(&at(3), &at(other));
    }
    assert_eq!(next(), Told::Status(3, MemberStatus::Available));
    // The leader itself leaves, and ends.
    block(fourth.leave()).unwrap();
    assert_eq!(next(), Told::Left(4));
    fourth.wait().unwrap();
    assert_eq!(three.add(2, 5), Ok(9));
    let third = three.take(3);
    block(third.leave()).unwrap();
    third.wait().unwrap();
    assert_eq!(next(), Told::Left(3));
    assert_eq!(type_of(three.server(1), 3), None);
    assert_eq!(three.sum(1), Ok(9));
    three.shut_down();
    assert!(heard.recv().is_err(), "nothing else was told, and the listeners are gone with the servers");
}

#[test]
fn a_listener_that_hangs_or_panics_costs_the_server_nothing() {
    let _turn = turn();
    let three = Three::start(None);
    let leader = three.leader();
    let (release, held) = mpsc::channel::<()>();
    let (told, heard) = mpsc::channel();
    let server = three.server(leader);
    let mut calls = 0;
    server.on_state_change(move |_, _| {
        calls += 1;
        assert!(calls > 1, "this listener's first call fails");
        panic!("and there is no second");
    });
    server.on_leader(move |leader, _| {
        let _ = held.recv();
        let _ = told.send(leader);
    });
    let next = (1..=3).find(|&id| id != leader).unwrap();
    assert_eq!(block(server.cluster().member(next).unwrap().lead()), Ok(next));
    for n in 1..=20 {
        assert!(three.add(leader, n).is_ok(), "while its listener hangs");
    }
    assert!(heard.try_recv().is_err());
    drop(release);
    assert_eq!(heard.recv_timeout(Duration::from_secs(10)), Ok(next));
    three.shut_down();
}

#[test]
fn settings_are_changed_by_the_handle_of_any_server() {
    let _turn = turn();
    let three = Three::start(None);
    until("there are settings", || three.server(1).cluster().id());
    let before = three.server(1).cluster();
    assert_eq!(before.settings().election_timeout, Duration::from_millis(500));
    let named = |value| [(Setting::ElectionTimeout, value)].into_iter().collect();
    let after = block(before.set(named(700))).unwrap();
    assert_eq!(after.settings().election_timeout, Duration::from_millis(700));
    assert!(after.index() > before.index());
    for id in 1..=3 {
        until("it knows them", || (three.server(id).cluster().settings() == after.settings()).then_some(()));
    }
    let stale = block(before.set(named(900))).unwrap_err();
    assert!(matches!(stale, Refusal::Configuration(ConfigurationError::Stale { .. })), "{stale:?}");
    let out = block(after.set(named(1))).unwrap_err();
    assert_eq!(out, Refusal::Configuration(ConfigurationError::OutOfRange(Setting::ElectionTimeout)));
}
