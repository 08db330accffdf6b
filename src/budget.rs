//! Memory for long frames, shared by all connections of a port: it is taken as bytes arrive, never by what is announced.

use async_std::task;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The time that a connection waits for room before it may be closed for the others,
const PATIENCE: Duration = Duration::from_secs(5);
/// but one in so long a time: what it gives back serves others that wait.
const CLOSING: Duration = Duration::from_millis(250);
/// The interval at which a waiting connection looks again.
const LOOK: Duration = Duration::from_millis(20);

/// So many bytes for all. A clone is the same budget.
#[derive(Clone, Debug)]
pub(crate) struct Budget(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    free: usize,
    closed_at: Option<Instant>,
}

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Arc::new(Mutex::new(State { free: bytes, closed_at: None })))
    }

    /// A share of nothing yet.
    pub(crate) fn share(&self) -> Share {
        Share { budget: self.clone(), bytes: 0 }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one frame has of a budget; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Budget,
    bytes: usize,
}

impl Share {
    /// Waits until it has so many bytes.
    ///
    /// # Errors
    /// If there is no room for too long: the connection is to be closed.
    pub(crate) async fn grow(&mut self, bytes: usize) -> io::Result<()> {
        let begun = Instant::now();
        while !self.try_grow(bytes) {
            if begun.elapsed() >= PATIENCE && self.may_close() {
                return Err(io::Error::new(io::ErrorKind::OutOfMemory, "too many long frames are under way"));
            }
            task::sleep(LOOK).await;
        }
        Ok(())
    }

    fn try_grow(&mut self, bytes: usize) -> bool {
        let mut state = self.budget.lock();
        let Some(free) = state.free.checked_sub(bytes.saturating_sub(self.bytes)) else { return false };
        state.free = free;
        self.bytes = self.bytes.max(bytes);
        true
    }

    fn may_close(&self) -> bool {
        let mut state = self.budget.lock();
        let now = Instant::now();
        let may = state.closed_at.is_none_or(|at| now.duration_since(at) >= CLOSING);
        if may {
            state.closed_at = Some(now);
        }
        may
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.lock().free += self.bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_std::future::timeout;

    #[test]
    fn there_is_so_much_and_no_more_until_some_is_given_back() {
        task::block_on(async {
            let budget = Budget::new(100);
            let (mut first, mut second) = (budget.share(), budget.share());
            first.grow(60).await.expect("room");
            first.grow(50).await.expect("it has more");
            second.grow(40).await.expect("room");
            assert!(timeout(LOOK * 3, second.grow(41)).await.is_err(), "it waits");
            drop(first);
            second.grow(100).await.expect("room");
            drop(second);
            assert_eq!(budget.lock().free, 100);
        });
    }

    #[test]
    fn one_that_waits_for_too_long_is_closed_and_the_next_one_served() {
        task::block_on(async {
            let budget = Budget::new(100);
            let shares: Vec<Share> = (0..3).map(|_| budget.share()).collect();
            let waiting = shares.into_iter().map(|mut share| {
                task::spawn(async move {
                    share.grow(30).await.expect("room");
                    share.grow(60).await
                })
            });
            let mut refused = 0;
            for one in waiting.collect::<Vec<_>>() {
                refused += usize::from(one.await.is_err());
            }
            assert!(refused < 3, "all were closed");
            assert_eq!(budget.lock().free, 100);
        });
    }
}
