//! The product's own machine, over TCP.

use crate::{Directory, turn};
use copycat::engine::{Event, MemberChange, MemberType, Role};
use copycat::store::Store;
use copycat::{Server, Storage};
use copycat_testkit::http::Client;
use std::net::TcpListener;
use std::time::Duration;

fn free() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// The next event that is one of these.
fn next(events: &async_channel::Receiver<Event>, is: impl Fn(&Event) -> bool) -> Event {
    async_std::task::block_on(async_std::future::timeout(Duration::from_secs(30), async {
        loop {
            let event = events.recv().await.expect("the server runs");
            if is(&event) {
                return event;
            }
        }
    }))
    .expect("it happens in time")
}

#[test]
fn a_program_hears_of_elections_and_of_members_that_come_and_go() {
    let _turn = turn();
    let (peer, second, directory) = (free(), free(), Directory::new("hears"));
    let server = |id| {
        Server::<Store>::builder(id)
            .storage(Storage::Mapped(directory.of(id)))
            .segment_size(1 << 20)
            .largest_entry((1 << 20) - 4096)
    };
    let first = server(1).bootstrap([(1, peer.clone())]).unwrap();
    let events = first.events();
    next(&events, |e| matches!(e, Event::Role { role: Role::Leader, .. }));
    let other = server(2).peer_address(second).http_address("127.0.0.1:0").join([peer]).unwrap();
    let joined = next(&events, |e| matches!(e, Event::Member { change: MemberChange::Joined(_), .. }));
    let Event::Member { member: 2, change: MemberChange::Joined(MemberType::Passive), reason, .. } = joined else {
        panic!("{joined:?}")
    };
    assert_eq!(reason, "server 2 asked to join");
    next(&events, |e| matches!(e, Event::Member { member: 2, change: MemberChange::Type(MemberType::Active), .. }));
    let known = first.cluster().member(2).unwrap().http_address().map(str::to_owned);
    assert_eq!(known, other.http().map(|at| at.to_string()), "where others find it");
    assert!(first.http().is_none());
    for server in [other, first] {
        server.shutdown().unwrap();
    }
    while let Ok(event) = async_std::task::block_on(events.recv()) {
        assert!(!matches!(event, Event::Removed { .. }));
    }
}

#[test]
fn who_waits_for_the_feed_of_a_server_that_ends_is_told_so() {
    let _turn = turn();
    for round in 0..5 {
        let address = free();
        let server =
            Server::<Store>::builder(1).storage(Storage::Memory).segment_size(1 << 20).largest_entry((1 << 20) - 4096);
        let server = server.http_address("127.0.0.1:0").keys_and_locks().bootstrap([(1, address)]).unwrap();
        let http = server.http().unwrap();
        let mut client = Client::new(http, Duration::from_secs(30));
        // Waits for a leader.
        let put = client.request("PUT", "/v1/kv/a", &[], b"v").unwrap();
        assert_eq!(put.status, 201, "{}", put.text());
        let all = client.request("GET", "/v1/cluster/events?wait=0s", &[], b"").unwrap();
        let all: serde_json::Value = serde_json::from_slice(&all.body).unwrap();
        let last = all["last"].as_u64().or_else(|| all["events"].as_array()?.last()?["id"].as_u64()).unwrap();
        let waiting = std::thread::spawn(move || {
            client.request("GET", &format!("/v1/cluster/events?after={last}&wait=30s"), &[], b"").unwrap()
        });
        std::thread::sleep(Duration::from_millis(300));
        server.shutdown().unwrap();
        let told = waiting.join().unwrap();
        assert_eq!(told.status, 503, "round {round}: {}", told.text());
        assert!(told.text().contains("shutting down"), "{}", told.text());
    }
}
