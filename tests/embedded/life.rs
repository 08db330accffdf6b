//! A machine of the program's own on three servers: their life and death.

use crate::tally::{Command, Tally};
use crate::{Directory, TIMEOUT, Three, at, block, builder, list, turn, until};
use copycat::{Consistency, LocalNetwork, Refusal, Role, Server, ServerError, Storage, Transport};
use std::sync::mpsc;
use std::time::Duration;

#[test]
fn a_machine_of_ones_own_is_the_same_on_three_servers() {
    let _turn = turn();
    let three = Three::start(None);
    for (n, through) in (1..=30).zip([1, 2, 3].into_iter().cycle()) {
        assert_eq!(three.add(through, n), Ok(n * (n + 1) / 2), "through server {through}");
    }
    for id in 1..=3 {
        assert_eq!(three.sum(id), Ok(465));
        let server = three.server(id);
        let index = server.state().commit;
        let local = block(server.query(&(), Consistency::Sequential, index, TIMEOUT)).unwrap();
        assert_eq!((local.output, local.served_by), (465, id));
    }
    three.shut_down();
}

#[test]
fn when_the_leader_is_shut_down_another_leads_and_whoever_listens_is_told() {
    let _turn = turn();
    let mut three = Three::start(None);
    let old = three.leader();
    let (told, heard) = mpsc::channel();
    for server in three.running().filter(|s| s.id() != old) {
        let (id, leaders, roles) = (server.id(), told.clone(), told.clone());
        server.on_leader(move |leader, term| leaders.send((id, Some(leader), Role::Follower, term)).unwrap());
        server.on_state_change(move |role, term| roles.send((id, None, role, term)).unwrap());
    }
    drop(told);
    let term = three.server(old).state().term;
    assert_eq!(three.add(old, 5), Ok(5));
    three.take(old).shutdown().unwrap();
    let new = three.leader();
    assert_ne!(new, old);
    assert_eq!(three.add(new, 6), Ok(11));
    three.shut_down();
    let all: Vec<_> = heard.iter().collect();
    let leads = |&(id, _, role, at): &(u64, Option<u64>, Role, u64)| id == new && role == Role::Leader && at > term;
    assert!(all.iter().any(leads), "it says of itself that it leads: {all:?}");
    let told_by = |server: u64| {
        all.iter().any(|&(id, leader, _, at)| (id == new) == (server == new) && leader == Some(new) && at > term)
    };
    assert!(told_by(new) && told_by(old), "both say who leads: {all:?}");
}

#[test]
fn what_is_in_mapped_files_is_there_when_all_start_again() {
    let _turn = turn();
    let mut three = Three::start(Some(Directory::new("again")));
    for n in 1..=100 {
        three.add(n % 3 + 1, n).unwrap();
    }
    for round in 1..=3 {
        // Each server's directory and address are free as soon as it has ended.
        for id in 1..=3 {
            three.take(id).shutdown().unwrap();
            let again = three.builder(id).bootstrap(list()).unwrap();
            three.servers[Three::place(id)] = Some(again);
        }
        assert_eq!(three.sum(round), Ok(5050), "round {round}");
    }
    three.shut_down();
}

#[test]
fn a_server_in_memory_that_starts_again_is_another_one() {
    let _turn = turn();
    let mut three = Three::start(None);
    assert_eq!(three.add(1, 7), Ok(7));
    let leader = three.leader();
    let gone = (1..=3).find(|&id| id != leader).unwrap();
    three.take(gone).shutdown().unwrap();
    let stranger = three.builder(gone).bootstrap(list()).unwrap();
    let refused = stranger.wait().unwrap_err().to_string();
    assert!(refused.contains("another data directory"), "{refused}");
    block(three.server(leader).cluster().member(gone).unwrap().by_force().remove()).unwrap();
    let back = three.builder(gone).join([at(leader)]).unwrap();
    three.servers[Three::place(gone)] = Some(back);
    assert_eq!(three.sum(gone), Ok(7));
    let found = until("it has the state", || {
        let own = block(three.server(gone).query(&(), Consistency::Sequential, 0, TIMEOUT)).ok()?;
        (own.served_by == gone && own.output == 7).then_some(own.output)
    });
    assert_eq!(found, 7);
    three.shut_down();
}

#[test]
fn a_leader_that_is_cut_off_answers_nothing_and_comes_back() {
    let _turn = turn();
    let three = Three::start(None);
    assert_eq!(three.add(2, 1), Ok(1));
    let old = three.leader();
    let others: Vec<u64> = (1..=3).filter(|&id| id != old).collect();
    others.iter().for_each(|&other| three.network.cut(&at(old), &at(other)));
    let short = Duration::from_millis(300);
    let lost = block(three.server(old).submit(&Command::Add(1000), short)).unwrap_err();
    assert!(matches!(lost, Refusal::Timeout { maybe_applied: true } | Refusal::LeaderLost), "{lost:?}");
    let new =
        until("another leader", || others.iter().copied().find(|&id| three.server(id).state().role == Role::Leader));
    assert_eq!(three.add(new, 2), Ok(3), "what nobody else has was never done");
    let blind = block(three.server(old).query(&(), Consistency::Linearizable, 0, short));
    assert!(blind.is_err(), "{blind:?}");
    others.iter().for_each(|&other| three.network.mend(&at(old), &at(other)));
    assert_eq!(three.sum(old), Ok(3));
    three.shut_down();
}

#[test]
fn a_log_in_memory_is_compacted_and_full_in_its_time() {
    let _turn = turn();
    let network = LocalNetwork::new();
    let server = builder(&network, None, 1).memory_limit(8 << 20).bootstrap([(1, at(1))]).unwrap();
    // Eight times what fits: what is in a snapshot goes. Whoever is faster than that is refused, and may try again.
    let mut refused = 0;
    for _ in 0..256 {
        until("there is room again", || match block(server.submit(&Command::Fill(vec![7; 256 << 10]), TIMEOUT)) {
            Ok(_) => Some(()),
            Err(Refusal::StorageFull) => {
                refused += 1;
                None
            }
            Err(other) => panic!("{other}"),
        });
    }
    until("there is room again", || block(server.submit(&Command::Add(1), TIMEOUT)).ok());
    eprintln!("{refused} times it was full");
    server.shutdown().unwrap();
    // And where not even a segment fits, it is said.
    let small = builder(&network, None, 1).memory_limit(1 << 10).bootstrap([(1, at(1))]);
    assert!(small.unwrap_err().to_string().starts_with("memory: "));
}

#[test]
fn a_second_address_is_served_as_long_as_the_server_runs() {
    let network = LocalNetwork::new();
    let server = builder(&network, None, 1).client_address("clients").bootstrap([(1, at(1))]).unwrap();
    let client = network.host("client");
    assert!(block(client.dial("clients")).is_ok() && block(client.dial(&at(1))).is_ok());
    let taken = builder(&network, None, 2).client_address("clients").bootstrap([(2, at(2))]).unwrap_err().to_string();
    assert!(taken.contains("the client address clients"), "{taken}");
    server.shutdown().unwrap();
    assert!(block(client.dial("clients")).is_err() && block(client.dial(&at(1))).is_err());
}

#[test]
fn mistakes_are_told_in_one_line() {
    let network = LocalNetwork::new();
    let told = |result: Result<Server<Tally>, ServerError>| result.unwrap_err().to_string();
    let nowhere = Server::<Tally>::builder(1).transport(network.host("a")).bootstrap([(1, "a")]);
    assert!(told(nowhere).contains("no storage"));
    assert!(told(builder(&network, None, 4).bootstrap(list())).contains("server 4"));
    assert!(told(builder(&network, None, 4).join(Vec::<String>::new())).contains("join"));
    let homeless = Server::<Tally>::builder(1).storage(Storage::Memory).transport(network.host("a"));
    assert!(told(homeless.join(["b"])).contains("peer address"));
    let first = builder(&network, None, 1).bootstrap([(1, at(1))]).unwrap();
    let twice = told(builder(&network, None, 1).bootstrap([(1, at(1))]));
    assert!(twice.contains("the peer address host-1") && twice.contains("listens"), "{twice}");
    first.shutdown().unwrap();
}
