//! Who waits, on this server, for a key to change.
//!
//! Invariant: whoever registered before an entry that touches its key is applied here is woken by it. (Whoever registers
//! later asks the state, which has it.)

use async_channel::{Receiver, Sender};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Requests that may wait at once on one server; further ones are refused as overloaded.
const WAITERS: usize = 16 * 1024;

type ByKey = HashMap<Vec<u8>, HashMap<u64, Sender<u64>>>;

/// All that wait. A clone is the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Waiters(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    count: AtomicUsize,
    next: AtomicU64,
    by_key: Mutex<ByKey>,
}

/// One that waits, until it is dropped.
#[derive(Debug)]
pub(super) struct Waiter {
    waiters: Waiters,
    id: u64,
    key: Vec<u8>,
    woken: Receiver<u64>,
}

impl Waiters {
    fn lock(&self) -> MutexGuard<'_, ByKey> {
        self.0.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to wait; `None` if too many do.
    pub(super) fn register(&self, key: &[u8]) -> Option<Waiter> {
        if self.0.count.fetch_add(1, Ordering::SeqCst) >= WAITERS {
            self.0.count.fetch_sub(1, Ordering::SeqCst);
            return None;
        }
        // One place: several changes wake once, and the waiter looks at the latest state.
        let (sender, woken) = async_channel::bounded(1);
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        self.lock().entry(key.to_vec()).or_default().insert(id, sender);
        Some(Waiter { waiters: self.clone(), id, key: key.to_vec(), woken })
    }

    /// Whether anybody waits.
    pub(super) fn any(&self) -> bool {
        self.0.count.load(Ordering::SeqCst) > 0
    }

    /// These keys were changed by entries through this index.
    pub(super) fn wake(&self, keys: &[Vec<u8>], index: u64) {
        if keys.is_empty() {
            return;
        }
        let by_key = self.lock();
        for sender in keys.iter().filter_map(|key| by_key.get(key)).flat_map(HashMap::values) {
            // Full: it has been woken and has not looked yet.
            let _ = sender.try_send(index);
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
        let mut by_key = self.waiters.lock();
        if let Some(senders) = by_key.get_mut(&self.key) {
            senders.remove(&self.id);
            if senders.is_empty() {
                by_key.remove(&self.key);
            }
        }
        self.waiters.0.count.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_wakes_those_who_wait_for_that_key_until_they_leave() {
        let waiters = Waiters::default();
        assert!(!waiters.any());
        let (a, also_a, b) = (waiters.register(b"a"), waiters.register(b"a"), waiters.register(b"b"));
        let (a, also_a, b) = (a.expect("room"), also_a.expect("room"), b.expect("room"));
        waiters.wake(&[b"a".to_vec(), b"x".to_vec()], 7);
        waiters.wake(&[b"a".to_vec()], 8);
        assert_eq!(async_std::task::block_on(a.woken()), 7, "one wake-up for several changes");
        assert_eq!(async_std::task::block_on(also_a.woken()), 7);
        assert!(b.woken.is_empty());
        drop(a);
        waiters.wake(&[b"a".to_vec()], 9);
        assert_eq!(async_std::task::block_on(also_a.woken()), 9);
        drop((also_a, b));
        assert!(!waiters.any() && waiters.lock().is_empty());
    }

    #[test]
    fn their_number_is_bounded() {
        let waiters = Waiters::default();
        let all: Vec<_> = (0..WAITERS).filter_map(|_| waiters.register(b"a")).collect();
        assert_eq!(all.len(), WAITERS);
        assert!(waiters.register(b"b").is_none());
        drop(all);
        assert!(waiters.register(b"b").is_some());
    }
}
