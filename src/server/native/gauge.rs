//! How much of one client is under way.
//!
//! Requests are counted under a number of our own: a client may give one number to several.

use crate::budget::Share;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
pub(super) struct Gauge {
    state: Mutex<State>,
    left: Signal,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    bytes: usize,
    /// By our number: the client's, the request's bytes, and what it has of the memory for long ones.
    requests: HashMap<u64, (u64, usize, Share)>,
}

#[derive(Debug)]
struct Signal(async_channel::Sender<()>, async_channel::Receiver<()>);

impl Default for Signal {
    fn default() -> Self {
        let (sender, receiver) = async_channel::bounded(1);
        Self(sender, receiver)
    }
}

impl Gauge {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request of this many bytes is under way, under the number that is returned.
    pub(super) fn enter(&self, id: u64, bytes: usize, share: Share) -> u64 {
        let mut state = self.lock();
        state.next += 1;
        state.bytes += bytes;
        let number = state.next;
        state.requests.insert(number, (id, bytes, share));
        number
    }

    /// It is answered. Returns the client's number.
    pub(super) fn leave(&self, number: u64) -> u64 {
        let mut state = self.lock();
        let Some((id, bytes, _)) = state.requests.remove(&number) else { return 0 };
        state.bytes -= bytes;
        drop(state);
        // Full: whoever waits has been woken.
        let _ = self.left.0.try_send(());
        id
    }

    /// Waits until there is less than this under way.
    pub(super) async fn room(&self, requests: usize, bytes: usize) {
        let is_full = || {
            let state = self.lock();
            state.requests.len() >= requests || state.bytes >= bytes
        };
        while is_full() {
            let _ = self.left.1.recv().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Budget;
    use async_std::future::timeout;
    use async_std::task::block_on;
    use std::time::Duration;

    #[test]
    fn there_is_room_until_either_bound_and_again_when_one_has_left() {
        block_on(async {
            let gauge = Gauge::default();
            let soon = Duration::from_millis(20);
            let share = || Budget::new(0).share();
            let (first, second) = (gauge.enter(7, 10, share()), gauge.enter(7, 90, share()));
            assert!(timeout(soon, gauge.room(3, 101)).await.is_ok());
            assert!(timeout(soon, gauge.room(2, 101)).await.is_err(), "two requests");
            assert!(timeout(soon, gauge.room(3, 100)).await.is_err(), "a hundred bytes");
            let waiting = gauge.room(2, 100);
            assert_eq!(gauge.leave(first), 7);
            assert!(timeout(Duration::from_secs(10), waiting).await.is_ok());
            assert_eq!((gauge.leave(second), gauge.lock().bytes), (7, 0));
        });
    }
}
