//! In which order a program gets answers and events, whatever servers and connections do.

use crate::bell::{Bell, Command};
use crate::{ALL, Boxed, Cluster, HERE, at, join_all, within};
use async_std::task::{self, block_on};
use copycat::client::{Change, Client, Event, Keys, ServerSelection, State};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

#[test]
fn a_pipeline_is_answered_in_order_and_each_command_applied_once_though_servers_and_leaders_go() {
    let mut cluster = Cluster::start("pipeline");
    let (keys, mut watch) = block_on(async {
        let keys = Keys::new(cluster.client().connect().await.unwrap());
        let watch = keys.watch("counter").await.unwrap();
        (keys, watch)
    });
    // Taken as they come: who leaves too many untaken loses the session.
    let reader = task::spawn(async move {
        let mut changes = Vec::new();
        loop {
            match watch.next().await {
                Some(Ok(Change::Put { value, .. })) if value == b"end" => return changes,
                Some(Ok(Change::Put { value, version, .. })) => {
                    changes.push((String::from_utf8(value).unwrap(), version));
                }
                other => panic!("{other:?}"),
            }
        }
    });
    let submitted = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let (keys, submitted, stop) = (keys.clone(), submitted.clone(), stop.clone());
        task::spawn(async move {
            let mut versions = Vec::new();
            while !stop.load(Ordering::SeqCst) {
                let first = submitted.fetch_add(256, Ordering::SeqCst);
                let put = |n: u64| -> Boxed<'_, _> { Box::pin(keys.put("counter", n.to_string()).into_future()) };
                let batch = (first..first + 256).map(put).collect();
                // Polled in order, so submitted in order, all at once.
                versions.extend(join_all(batch).await.into_iter().map(|written| written.unwrap().version));
            }
            versions
        })
    };
    std::thread::sleep(Duration::from_millis(300));
    // Each server once: the leader, and the one that the client talks to, among them. First gently, then for the client only.
    for id in 1..=3 {
        cluster.stop_server(id);
        std::thread::sleep(Duration::from_millis(700));
        cluster.start_server(id);
        std::thread::sleep(Duration::from_millis(1300));
        cluster.network.cut(HERE, &at(id));
        std::thread::sleep(Duration::from_millis(300));
        cluster.network.mend(HERE, &at(id));
    }
    stop.store(true, Ordering::SeqCst);
    block_on(within(60, async {
        let versions = writer.await;
        assert_eq!(versions.len() as u64, submitted.load(Ordering::SeqCst));
        assert!(versions.is_sorted(), "answers in the order of submission");
        keys.put("counter", "end").await.unwrap();
        let changes = reader.await;
        let expected: Vec<_> = versions.iter().enumerate().map(|(n, version)| (n.to_string(), *version)).collect();
        assert_eq!(changes, expected, "each once, in order, none missing");
        assert_eq!(keys.client().state(), State::Connected);
        assert!(versions.len() > 256, "something was done: {}", versions.len());
    }));
}

#[test]
fn back_to_back_a_command_is_followed_by_its_events_and_then_by_what_queries_see() {
    let cluster = Cluster::<Bell>::start("back-to-back");
    block_on(within(60, async {
        for selection in [ServerSelection::Leader, ServerSelection::Followers] {
            let client = cluster.client().server_selection(selection).connect().await.unwrap();
            let mut events = client.events();
            for consistency in ALL.into_iter().cycle().take(30) {
                let done: Vec<Boxed<'_, (u64, u64)>> = vec![
                    Box::pin(async { client.submit(Command::Count).await.map(|a| (a.index, a.output)).unwrap() }),
                    Box::pin(async {
                        client.submit(Command::Ring { times: 2 }).await.map(|a| (a.index, a.output)).unwrap()
                    }),
                    Box::pin(async { client.query((), consistency).await.map(|a| (a.index, a.output)).unwrap() }),
                ];
                let done = join_all(done).await;
                let (count, ring, seen) = (done[0], done[1], done[2]);
                assert!(count.0 < ring.0 && ring.0 <= seen.0, "{done:?}");
                assert_eq!((ring.1, seen.1), (count.1 + 1, ring.1), "a query sees what was submitted before it");
                let told = Event { index: ring.0, event: ring.1 };
                assert_eq!([events.next().await, events.next().await], [Some(told.clone()), Some(told)]);
            }
            client.close().await;
            assert_eq!(events.next().await, None, "no event twice");
        }
    }));
}

#[test]
fn one_command_tells_several_sessions_and_a_handler_may_ask() {
    let cluster = Cluster::<Bell>::start("several");
    block_on(within(60, async {
        let mut clients = Vec::new();
        for _ in 0..3 {
            clients.push(cluster.client().connect().await.unwrap());
        }
        let sessions: Vec<u64> = clients.iter().filter_map(Client::session).collect();
        assert_eq!(sessions.len(), 3);
        let (told, heard) = async_channel::unbounded();
        let mut listening = Vec::new();
        for client in &clients {
            let (asking, told) = (client.clone(), told.clone());
            listening.push(client.on_event(move |event| {
                let (asking, told) = (asking.clone(), told.clone());
                task::spawn(async move {
                    let seen = asking.query((), ALL[0]).await.unwrap();
                    told.send((event, seen.index, seen.output)).await.unwrap();
                });
            }));
        }
        for round in 1..=10 {
            let called = clients[0].submit(Command::Call(sessions.clone())).await.unwrap();
            assert_eq!(called.output, round);
            for _ in 0..3 {
                let (event, index, seen) = heard.recv().await.unwrap();
                assert_eq!(event, Event { index: called.index, event: round });
                assert!(index >= called.index && seen >= round);
            }
        }
        drop(listening);
        clients[0].submit(Command::Call(sessions)).await.unwrap();
        task::sleep(Duration::from_millis(300)).await;
        assert!(heard.is_empty(), "nobody listens any more");
    }));
}

#[test]
fn events_survive_the_loss_of_the_leader_and_of_the_server_one_is_connected_to() {
    let mut cluster = Cluster::<Bell>::start("loss");
    let client = block_on(cluster.client().server_selection(ServerSelection::Leader).connect()).unwrap();
    let mut events = client.events();
    let mut expected = Vec::new();
    for round in 0..3_u64 {
        let leader = cluster.leader();
        let mut ring = |times| {
            let answer = block_on(within(30, client.submit(Command::Ring { times }))).unwrap();
            expected.extend((0..times).map(|_| Event { index: answer.index, event: answer.output }));
        };
        ring(1);
        if round % 2 == 0 {
            cluster.stop_server(leader);
        } else {
            cluster.network.cut(HERE, &at(leader));
        }
        ring(2);
        ring(1);
        if round % 2 == 0 {
            cluster.start_server(leader);
        } else {
            cluster.network.mend(HERE, &at(leader));
        }
    }
    let count = expected.len();
    let got = block_on(within(30, async {
        let mut got = Vec::new();
        while got.len() < count {
            got.push(events.next().await.unwrap());
        }
        client.close().await;
        assert_eq!(events.next().await, None);
        got
    }));
    assert_eq!(got, expected);
}
