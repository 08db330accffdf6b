//! The native client on real processes: each kind of scenario once. (All of them, at every consistency and storage level, on
//! a simulated clock: `src/scenarios`.)

use crate::harness::{ask, turn};
use crate::members::Shape;
use async_std::future::timeout;
use async_std::task::{self, JoinHandle, block_on};
use copycat::client::{Change, Client, Consistency, Error, Keys, ServerSelection, State, Watch};
use copycat::store::Store;
use futures_util::future::try_join_all;
use std::time::Duration;

const ALL: [Consistency; 3] = [Consistency::Linearizable, Consistency::Lease, Consistency::Sequential];

fn within<T>(what: impl Future<Output = T>) -> T {
    block_on(timeout(Duration::from_secs(60), what)).expect("it happens in time")
}

async fn connect(shape: &Shape, selection: ServerSelection, session: Duration) -> Keys {
    let servers = (1..=3).map(|id| shape.peer(id).to_string());
    let builder = Client::<Store>::builder(servers).server_selection(selection).session_timeout(session);
    Keys::new(builder.connect().await.unwrap())
}

const SESSION: Duration = Duration::from_secs(10);

/// Puts on a key, 50 at once, in a task that ends when the number of rounds is done. Returns the versions.
fn pipeline(keys: &Keys, key: &'static str, rounds: u64) -> JoinHandle<Vec<u64>> {
    let keys = keys.clone();
    task::spawn(async move {
        let mut versions = Vec::new();
        for round in 0..rounds {
            let puts = (0..50).map(|n| keys.put(key, (round * 50 + n).to_string()).into_future());
            versions.extend(try_join_all(puts).await.unwrap().into_iter().map(|written| written.version));
            // Rounds take long enough for things to happen meanwhile.
            task::sleep(Duration::from_millis(20)).await;
        }
        versions
    })
}

/// So many changes of a watch: their values and versions.
async fn changes(watch: &mut Watch, count: usize) -> Vec<(String, u64)> {
    let mut seen = Vec::new();
    while seen.len() < count {
        match watch.next().await {
            Some(Ok(Change::Put { value, version, .. })) => seen.push((String::from_utf8(value).unwrap(), version)),
            other => panic!("{other:?}"),
        }
    }
    seen
}

fn each_once_in_order(versions: &[u64], seen: &[(String, u64)]) {
    assert!(versions.is_sorted());
    let expected: Vec<_> = versions.iter().enumerate().map(|(n, version)| (n.to_string(), *version)).collect();
    assert_eq!(seen, expected);
}

#[test]
fn commands_and_queries_on_many_servers_of_which_one_is_killed() {
    let _turn = turn();
    let shape = &mut Shape::start(3, &[]);
    let keys = within(connect(shape, ServerSelection::Followers, SESSION));
    let running = pipeline(&keys, "counter", 40);
    let mut watch = within(async { connect(shape, ServerSelection::Any, SESSION).await.watch("other").await.unwrap() });
    std::thread::sleep(Duration::from_millis(300));
    let leader = shape.leader();
    shape.kill(leader);
    let versions = within(running);
    assert!(versions.len() == 2000 && versions.is_sorted_by(|a, b| a < b), "each once, in order");
    within(async {
        for selection in [ServerSelection::Any, ServerSelection::Leader, ServerSelection::Followers] {
            let keys = connect(shape, selection, SESSION).await;
            for consistency in ALL.into_iter().cycle().take(30) {
                let (written, seen) =
                    futures_util::future::join(keys.put("other", "x").into_future(), keys.get("other", consistency))
                        .await;
                assert_eq!(seen.unwrap().unwrap().version, written.unwrap().version, "{selection:?} {consistency:?}");
            }
        }
        assert_eq!(changes(&mut watch, 90).await.len(), 90);
    });
}

#[test]
fn sessions_are_closed_expire_and_are_recovered() {
    let _turn = turn();
    let shape = &Shape::start(3, &[]);
    within(async {
        let watching = connect(shape, ServerSelection::Any, SESSION).await;
        for closed in [true, false] {
            let keys = connect(shape, ServerSelection::Any, Duration::from_secs(2)).await;
            let mut watch = watching.watch("mine").await.unwrap();
            keys.put("mine", "x").ephemeral().await.unwrap();
            assert!(matches!(watch.next().await, Some(Ok(Change::Put { .. }))));
            if closed {
                keys.client().close().await;
            }
            drop(keys);
            let gone = timeout(Duration::from_secs(10), watch.next()).await.expect("in time");
            assert!(matches!(gone, Some(Ok(Change::Delete { .. } | Change::Expire { .. }))), "{gone:?}");
        }
        // Ended by somebody else.
        let keys = connect(shape, ServerSelection::Any, SESSION).await;
        let mut watch = keys.watch("k").await.unwrap();
        let (_, states) = keys.client().states();
        let first = keys.client().session().unwrap();
        let answer = ask(shape.http(1), "DELETE", &format!("/v1/sessions/{first}"), &[], b"");
        assert!(matches!(answer.status, 200 | 204), "{} {}", answer.status, answer.text());
        assert!(matches!(watch.next().await, Some(Err(Error::SessionLost(_)))));
        keys.put("k", "x").await.unwrap();
        assert!(keys.client().session().unwrap() > first);
        while states.recv().await.unwrap() != State::Connected {}
    });
}

#[test]
fn events_for_many_sessions_while_servers_are_killed() {
    let _turn = turn();
    let shape = &mut Shape::start(3, &[]);
    let list = shape.bootstrap(3);
    let selections = [ServerSelection::Leader, ServerSelection::Followers, ServerSelection::Any];
    let (keys, watching) = within(async {
        let mut watching = Vec::new();
        for selection in selections {
            let watch = connect(shape, selection, SESSION).await.watch("counter").await.unwrap();
            watching.push(task::spawn(async move {
                let mut watch = watch;
                changes(&mut watch, 5000).await
            }));
        }
        (connect(shape, ServerSelection::Followers, SESSION).await, watching)
    });
    let running = pipeline(&keys, "counter", 100);
    for id in 1..=3 {
        std::thread::sleep(Duration::from_millis(200));
        shape.kill(id);
        std::thread::sleep(Duration::from_millis(800));
        shape.run(id, &["--bootstrap", &list]);
        shape.wait_until_ready(id);
    }
    within(async {
        let versions = running.await;
        for seen in watching {
            each_once_in_order(&versions, &seen.await);
        }
    });
}

#[test]
fn a_client_goes_on_while_members_come_and_go() {
    let _turn = turn();
    let shape = &mut Shape::start(3, &[]);
    let (keys, mut watch) = within(async {
        let keys = connect(shape, ServerSelection::Any, SESSION).await;
        let watch = keys.watch("counter").await.unwrap();
        (keys, watch)
    });
    let running = pipeline(&keys, "counter", 100);
    let seen = task::spawn(async move { changes(&mut watch, 5000).await });
    // All that it was told of go.
    for (gone, comes) in [(1, 4), (2, 5), (3, 6)] {
        shape.join(comes, &[2, 3, 4], "active");
        shape.wait_until_ready(comes);
        shape.wait_for_member(3, comes, Some("active available"));
        shape.change(comes, &["transfer", &comes.to_string()]);
        shape.change(comes, &["remove", &gone.to_string()]);
        assert!(shape.ended(gone).0);
    }
    within(async {
        each_once_in_order(&running.await, &seen.await);
        assert_eq!(keys.client().members().into_iter().map(|(id, _)| id).collect::<Vec<_>>(), [4, 5, 6]);
    });
}

#[test]
fn a_session_and_its_watch_outlive_all_servers() {
    let _turn = turn();
    let shape =
        &mut Shape::start(3, &["--segment-size", "2097152", "--largest-entry", "1500000", "--snapshot-bytes", "65536"]);
    let list = shape.bootstrap(3);
    let (keys, mut watch) = within(async {
        let keys = connect(shape, ServerSelection::Any, Duration::from_secs(30)).await;
        let watch = keys.watch("counter").await.unwrap();
        (keys, watch)
    });
    let session = keys.client().session();
    let mut versions = within(pipeline(&keys, "counter", 40));
    (1..=3).for_each(|id| shape.kill(id));
    (1..=3).for_each(|id| shape.run(id, &["--bootstrap", &list]));
    versions.extend(within(pipeline(&keys, "after", 1)));
    within(async {
        each_once_in_order(&versions[..2000], &changes(&mut watch, 2000).await);
        for consistency in ALL {
            let found = keys.get("counter", consistency).await.unwrap().unwrap();
            assert_eq!((found.value.as_slice(), found.version), (b"1999".as_slice(), versions[1999]));
        }
    });
    assert_eq!(keys.client().session(), session);
}
