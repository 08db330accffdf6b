//! Servers inside another program: started, listened to, stopped.

#![allow(clippy::unwrap_used, missing_docs)]

use copycat::engine::{Event, MemberChange, MemberType, Role};
use copycat::server::{Options, Server};
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

fn free() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

fn directory(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("copycat-embedded-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    path
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
    let (peer, second) = (free(), free());
    let mut options = Options::new(1, directory("1"), "127.0.0.1:0".into(), peer.clone(), vec![(1, peer.clone())]);
    options.segment_size = 1 << 20;
    let first = Server::start(&options).unwrap();
    let events = first.events();
    next(&events, |e| matches!(e, Event::Role { role: Role::Leader, .. }));
    let mut options = Options::new(2, directory("2"), "127.0.0.1:0".into(), second, Vec::new());
    (options.segment_size, options.join) = (1 << 20, vec![peer]);
    let other = Server::start(&options).unwrap();
    let joined = next(&events, |e| matches!(e, Event::Member { change: MemberChange::Joined(_), .. }));
    let Event::Member { member: 2, change: MemberChange::Joined(MemberType::Passive), reason, .. } = joined else {
        panic!("{joined:?}")
    };
    assert_eq!(reason, "server 2 asked to join");
    next(&events, |e| matches!(e, Event::Member { member: 2, change: MemberChange::Type(MemberType::Active), .. }));
    for server in [other, first] {
        server.stopper().stop();
        server.wait().unwrap();
    }
    while let Ok(event) = async_std::task::block_on(events.recv()) {
        assert!(!matches!(event, Event::Removed { .. }));
    }
    for name in ["1", "2"] {
        let _ = std::fs::remove_dir_all(directory(name));
    }
}
