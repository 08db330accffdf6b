//! Who waits, on this server, for a key, a lock or a session to change.
//!
//! Invariant: whoever registered before an entry that touches its topic is applied here is woken by it. (Whoever registers
//! later asks the state, which has it.)

use crate::engine::machine::Topic;
use async_channel::{Receiver, Sender};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Requests that may wait at once on one server; further ones are refused as overloaded.
const WAITERS: usize = 16 * 1024;

type ByTopic = HashMap<Topic, HashMap<u64, Sender<u64>>>;

/// All that wait. A clone is the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Waiters(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    count: AtomicUsize,
    next: AtomicU64,
    by_topic: Mutex<ByTopic>,
}

/// One that waits, until it is dropped.
#[derive(Debug)]
pub(super) struct Waiter {
    waiters: Waiters,
    id: u64,
    topic: Topic,
    woken: Receiver<u64>,
}

impl Waiters {
    fn lock(&self) -> MutexGuard<'_, ByTopic> {
        self.0.by_topic.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to wait; `None` if too many do.
    pub(super) fn register(&self, topic: Topic) -> Option<Waiter> {
        if self.0.count.fetch_add(1, Ordering::SeqCst) >= WAITERS {
            self.0.count.fetch_sub(1, Ordering::SeqCst);
            return None;
        }
        // One place: several changes wake once, and the waiter looks at the latest state.
        let (sender, woken) = async_channel::bounded(1);
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        self.lock().entry(topic.clone()).or_default().insert(id, sender);
        Some(Waiter { waiters: self.clone(), id, topic, woken })
    }

    /// Whether anybody waits.
    pub(super) fn any(&self) -> bool {
        self.0.count.load(Ordering::SeqCst) > 0
    }

    /// These were changed by entries through this index.
    pub(super) fn wake(&self, topics: &[Topic], index: u64) {
        if topics.is_empty() {
            return;
        }
        let by_topic = self.lock();
        for sender in topics.iter().filter_map(|topic| by_topic.get(topic)).flat_map(HashMap::values) {
            // Full: it has been woken and has not looked yet.
            let _ = sender.try_send(index);
        }
    }
}

impl Waiters {
    /// Whoever waits looks again: the server ends, or is not one where anything changes.
    pub(super) fn wake_all(&self) {
        for sender in self.lock().values().flat_map(HashMap::values) {
            let _ = sender.try_send(0);
        }
    }
}

impl Waiter {
    /// Waits for a change; returns the index that the state must have for it to be seen.
    pub(super) async fn woken(&self) -> u64 {
        // The sender lives as long as this waiter is registered.
        self.woken.recv().await.unwrap_or_default()
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut by_topic = self.waiters.lock();
        if let Some(senders) = by_topic.get_mut(&self.topic) {
            senders.remove(&self.id);
            if senders.is_empty() {
                by_topic.remove(&self.topic);
            }
        }
        self.waiters.0.count.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Topic {
        Topic::Machine(name.into())
    }

    #[test]
    fn a_change_wakes_those_who_wait_for_that_key_until_they_leave() {
        let waiters = Waiters::default();
        assert!(!waiters.any());
        let (a, also_a, b) = (waiters.register(key("a")), waiters.register(key("a")), waiters.register(key("b")));
        let (a, also_a, b) = (a.expect("room"), also_a.expect("room"), b.expect("room"));
        waiters.wake(&[key("a"), key("x")], 7);
        waiters.wake(&[key("a")], 8);
        assert_eq!(async_std::task::block_on(a.woken()), 7, "one wake-up for several changes");
        assert_eq!(async_std::task::block_on(also_a.woken()), 7);
        assert!(b.woken.is_empty());
        drop(a);
        waiters.wake(&[key("a")], 9);
        assert_eq!(async_std::task::block_on(also_a.woken()), 9);
        drop((also_a, b));
        assert!(!waiters.any() && waiters.lock().is_empty());
    }

    #[test]
    fn their_number_is_bounded() {
        let waiters = Waiters::default();
        let all: Vec<_> = (0..WAITERS).filter_map(|_| waiters.register(key("a"))).collect();
        assert_eq!(all.len(), WAITERS);
        assert!(waiters.register(key("b")).is_none());
        drop(all);
        assert!(waiters.register(key("b")).is_some());
    }
}
