//! Sessions that expire, are closed, are recovered; and clients that reach nobody.

use crate::{Cluster, HERE, within};
use async_std::task::{self, block_on};
use copycat::LocalNetwork;
use copycat::client::{Client, ConnectionStrategy, Error, Fate, Keys, RecoveryStrategy, State};
use copycat::store::Store;
use std::time::Duration;

#[test]
fn an_expired_session_is_followed_by_a_new_one_which_gets_what_was_never_sent() {
    let cluster = Cluster::start("expiry");
    block_on(within(60, async {
        let builder = cluster.client().session_timeout(Duration::from_secs(1));
        let keys = Keys::new(builder.connect().await.unwrap());
        let mut watch = keys.watch("k").await.unwrap();
        let guard = keys.lock("lock").await.unwrap();
        let (state, states) = keys.client().states();
        assert_eq!(state, State::Connected);
        let first = keys.client().session().unwrap();
        let other = cluster.keys().await;
        let waiting = {
            let other = other.clone();
            task::spawn(async move { other.lock("lock").await.unwrap() })
        };
        cluster.cut();
        assert_eq!(states.recv().await, Ok(State::Suspended));
        // Lost before another can have it, as far as the guard is concerned.
        guard.lost().await;
        assert!(guard.is_lost());
        let unsent = {
            let keys = keys.clone();
            task::spawn(async move { keys.put("k", "unsent").await })
        };
        let second = waiting.await;
        assert!(second.token() > guard.token() && !second.is_lost());
        cluster.mend();
        while states.recv().await.unwrap() != State::Connected {}
        assert!(keys.client().session().unwrap() > first);
        unsent.await.expect("it moved to the new session");
        assert!(matches!(watch.next().await, Some(Err(Error::SessionLost(_)))) && watch.next().await.is_none());
        assert_eq!(keys.put("k", "x").guarded_by(&guard).await, Err(Error::TokenStale));
        assert!(keys.put("k", "x").guarded_by(&second).await.is_ok());
        assert_eq!(second.unlock().await, Ok(true));
    }));
}

#[test]
fn a_client_that_is_to_close_does_and_recovers_when_asked() {
    let cluster = Cluster::start("close");
    block_on(within(60, async {
        let builder = cluster.client().session_timeout(Duration::from_secs(1));
        let builder = builder.recovery_strategy(RecoveryStrategy::Close);
        let keys = Keys::new(builder.connect().await.unwrap());
        let (_, states) = keys.client().states();
        cluster.cut();
        task::sleep(Duration::from_secs(4)).await;
        cluster.mend();
        while states.recv().await.unwrap() != State::Closed {}
        let lost = keys.put("k", "x").await.unwrap_err();
        assert!(matches!(lost, Error::SessionLost(_)) && lost.outcome() == Fate::NotApplied);
        let session = keys.client().recover().await.unwrap();
        assert_eq!(keys.client().session(), Some(session));
        keys.put("k", "x").await.unwrap();
        // Also one that is not lost.
        assert!(keys.client().recover().await.unwrap() > session);
        keys.put("k", "y").await.unwrap();
    }));
}

#[test]
fn a_client_that_reaches_nobody_says_so_if_it_is_to_try_once() {
    block_on(within(30, async {
        let builder = Client::<Store>::builder(["nowhere", "elsewhere"]).transport(LocalNetwork::new().host(HERE));
        let builder = builder.connection_strategy(ConnectionStrategy::Once);
        let error = builder.connect().await.unwrap_err();
        assert!(matches!(error, Error::Unreachable(_)), "{error}");
    }));
}

#[test]
fn a_client_that_is_dropped_leaves_its_session_to_time_out_and_one_that_is_closed_does_not() {
    let cluster = Cluster::start("dropped");
    block_on(within(60, async {
        let other = cluster.keys().await;
        for closed in [true, false] {
            let builder = cluster.client().session_timeout(Duration::from_secs(2));
            let keys = Keys::new(builder.connect().await.unwrap());
            keys.put("mine", "x").ephemeral().await.unwrap();
            let mut watch = other.watch("mine").await.unwrap();
            let begun = std::time::Instant::now();
            if closed {
                keys.client().close().await;
            }
            drop(keys);
            watch.next().await.unwrap().unwrap();
            let took = begun.elapsed();
            assert_eq!(took < Duration::from_millis(1200), closed, "{took:?}");
        }
    }));
}

#[test]
fn an_idle_client_stays_connected() {
    let cluster = Cluster::start("idle");
    block_on(within(60, async {
        let keys = Keys::new(cluster.client().session_timeout(Duration::from_secs(3)).connect().await.unwrap());
        let guard = keys.lock("l").await.unwrap();
        let (session, (_, states)) = (keys.client().session(), keys.client().states());
        task::sleep(Duration::from_secs(9)).await;
        assert!(keys.client().session() == session && !guard.is_lost() && states.is_empty());
    }));
}
