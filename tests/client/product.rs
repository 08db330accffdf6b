//! Keys, watches and locks, as a program uses them.

use crate::{ALL, Cluster, HERE, at, within};
use async_std::task::{self, block_on};
use copycat::client::{Change, Client, Consistency, Error, Fate, Keys, ServerSelection, State, blocking};
use copycat::store::{Command, Operation, OperationOutput, Predicate, Store};
use std::time::{Duration, Instant};

#[test]
fn commands_and_queries_on_any_server_at_each_consistency() {
    let cluster = Cluster::start("all");
    block_on(within(60, async {
        for selection in [ServerSelection::Any, ServerSelection::Leader, ServerSelection::Followers] {
            // One address is enough: the others are learned.
            let builder = Client::<Store>::builder([at(1)]).server_selection(selection).name("test");
            let builder = builder.transport(cluster.network.host(HERE));
            let keys = Keys::new(builder.connect().await.unwrap());
            assert_eq!(keys.client().members(), [1, 2, 3].map(|id| (id, at(id))));
            let written = keys.put("a", "1").content_type("text/plain").await.unwrap();
            for consistency in ALL {
                let item = keys.get("a", consistency).await.unwrap().unwrap();
                assert_eq!((item.value.as_slice(), item.version), (&b"1"[..], written.version), "{consistency:?}");
            }
            let stale = keys.put("a", "2").if_version(written.version + 1).await;
            assert_eq!(stale, Err(Error::ConditionFailed { version: Some(written.version) }));
            assert_eq!(
                keys.put("a", "2").if_absent().await,
                Err(Error::ConditionFailed { version: Some(written.version) })
            );
            let newer = keys.put("a", "2").if_version(written.version).await.unwrap();
            assert!(!newer.created && newer.version > written.version);
            let get = |key: &str| Operation::Get { key: key.into() };
            let condition = Predicate::Version { key: b"a".to_vec(), version: newer.version };
            let done = keys.transaction(condition, vec![get("a"), get("none")], Vec::new()).await.unwrap();
            assert!(done.succeeded);
            assert!(matches!(done.results.as_slice(), [OperationOutput::Value(Some(_)), OperationOutput::Value(None)]));
            keys.put("b/1", "x").await.unwrap();
            keys.put("b/2", "x").await.unwrap();
            let page = keys.list("b/").limit(1).await.unwrap();
            assert_eq!((page.items.len(), page.next), (1, Some(b"b/2".to_vec())));
            assert_eq!(keys.delete("a").await, Ok(Some(newer.version)));
            assert_eq!(keys.delete("a").await, Ok(None));
            assert_eq!(keys.delete_prefix("b/", 10).await, Ok((2, false)));
            assert_eq!(keys.put("", "x").await, Err(Error::BadName));
            assert_eq!(keys.put("big", vec![0; (1 << 20) + 1]).await, Err(Error::TooLarge));
            keys.put("session's", "x").ephemeral().await.unwrap();
            keys.client().close().await;
            assert_eq!(keys.client().state(), State::Closed);
            assert_eq!(keys.put("a", "x").await, Err(Error::Closed));
            let other = cluster.keys().await;
            assert_eq!(
                other.get("session's", Consistency::Linearizable).await,
                Ok(None),
                "closed, not left to time out"
            );
        }
    }));
}

#[test]
fn watches_of_one_target_are_one_in_the_session_and_end_each_by_itself() {
    let cluster = Cluster::start("watches");
    block_on(within(60, async {
        let keys = cluster.keys().await;
        let mut first = keys.watch_prefix("a/").await.unwrap();
        keys.put("a/1", "x").await.unwrap();
        let mut second = keys.watch_prefix("a/").await.unwrap();
        let put = keys.put("a/2", "y").ttl(Duration::from_millis(50)).await.unwrap();
        let key = |change: Option<Result<Change, Error>>| match change.unwrap().unwrap() {
            Change::Put { key, .. } | Change::Delete { key, .. } | Change::Expire { key, .. } => key,
            other => panic!("{other:?}"),
        };
        assert_eq!(key(second.next().await), b"a/2", "the first change after it began");
        assert_eq!((key(first.next().await), key(first.next().await)), (b"a/1".to_vec(), b"a/2".to_vec()));
        let expired = Change::Expire { key: b"a/2".to_vec(), version: put.version };
        assert_eq!(second.next().await, Some(Ok(expired.clone())));
        drop(second);
        task::sleep(Duration::from_millis(300)).await;
        keys.delete("a/1").await.unwrap();
        assert_eq!(first.next().await, Some(Ok(expired)));
        assert_eq!(key(first.next().await), b"a/1", "it goes on");
    }));
}

#[test]
fn a_lock_is_one_guards_and_is_told_when_it_is_lost() {
    let cluster = Cluster::start("locks");
    block_on(within(60, async {
        let (a, b) = (cluster.keys().await, cluster.keys().await);
        let guard = a.lock("l").await.unwrap();
        assert_eq!(b.lock("l").try_once().await.unwrap_err(), Error::LockHeld);
        assert_eq!(a.lock("l").try_once().await.unwrap_err(), Error::LockHeld, "also within the client");
        let begun = Instant::now();
        assert_eq!(b.lock("l").wait(Duration::from_millis(300)).await.unwrap_err(), Error::LockHeld);
        assert!(begun.elapsed() >= Duration::from_millis(300));
        let token = guard.token();
        drop(guard);
        let guard = b.lock("l").await.unwrap();
        assert!(guard.token() > token);
        assert!(async_std::future::timeout(Duration::from_millis(200), guard.lost()).await.is_err());
        let session = b.client().session().unwrap();
        a.client().submit(Command::Revoke { lock: b"l".to_vec(), session }).await.unwrap();
        guard.lost().await;
        assert!(guard.is_lost());
        assert_eq!(a.put("x", "y").guarded_by(&guard).await, Err(Error::TokenStale));
        // A place in the queue that is given up is no grant.
        let held = a.lock("l").await.unwrap();
        drop(guard);
        let waits = {
            let b = b.clone();
            task::spawn(async move { b.lock("l").await })
        };
        task::sleep(Duration::from_millis(200)).await;
        waits.cancel().await;
        assert_eq!(held.unlock().await, Ok(true));
        let again = a.lock("l").wait(Duration::from_secs(5)).await.expect("nobody waits any more");
        let shared = a.lock("s").shared().await.unwrap();
        let also = b.lock("s").shared().await.unwrap();
        assert_ne!(shared.token(), also.token());
        drop((again, shared, also));
    }));
}

#[test]
fn a_program_without_a_runtime_blocks() {
    let cluster = Cluster::start("blocking");
    let client = blocking::connect(cluster.client()).unwrap();
    let hurried = blocking::Keys::new(client.clone().timeout(Duration::from_secs(1)));
    let keys = blocking::Keys::new(client.timeout(Duration::from_secs(20)));
    assert!(keys.call(|keys| keys.put("a", "1")).unwrap().created);
    let guard = keys.call(|keys| keys.lock("l")).unwrap();
    assert!(keys.call(|keys| keys.get("a", Consistency::Lease)).unwrap().is_some());
    assert_eq!(blocking::wait(guard.unlock()), Ok(true));
    drop(cluster);
    assert_eq!(hurried.call(|keys| keys.put("a", "2")).unwrap_err().outcome(), Fate::Unknown);
}
