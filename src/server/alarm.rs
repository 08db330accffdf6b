//! A timer for those who wait often, and seldom until it rings.

use super::clock;
use async_std::task;
use futures_lite::FutureExt;
use std::future::pending;
use std::pin::Pin;
use std::time::Duration;

/// It is set anew only when it would ring too late: setting one wakes the thread that waits for sockets. So it may ring too
/// early for its latest moment, and whoever waits looks at the clock.
pub(super) struct Alarm {
    at: Duration,
    timer: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Default for Alarm {
    fn default() -> Self {
        Self { at: Duration::MAX, timer: Box::pin(pending()) }
    }
}

impl Alarm {
    /// What comes, or nothing: by that moment of the monotonic clock at the latest. What is there already comes first,
    /// however late it is.
    pub(super) async fn until<T>(&mut self, until: Duration, what: impl Future<Output = T>) -> Option<T> {
        let now = clock::monotonic();
        if until < self.at || self.at <= now {
            (self.at, self.timer) = (until, Box::pin(task::sleep(until.saturating_sub(now))));
        }
        let rings = async {
            self.timer.as_mut().await;
            *self = Self::default();
            None
        };
        async { Some(what.await) }.or(rings).await
    }
}

impl Alarm {
    /// The same, and nothing only when that moment has come. What is waited for is not begun anew.
    pub(super) async fn next<T>(&mut self, until: Duration, what: impl Future<Output = T>) -> Option<T> {
        let mut what = std::pin::pin!(what);
        loop {
            match self.until(until, &mut what).await {
                None if clock::monotonic() < until => {}
                found => return found,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_std::future;

    #[test]
    fn the_earlier_of_two_moments_counts_and_what_is_there_comes_first() {
        let (soon, late) = (Duration::from_millis(5), Duration::from_secs(3600));
        let mut alarm = Alarm::default();
        let waits = async {
            assert_eq!(alarm.until(clock::monotonic() + late, async { 1 }).await, Some(1));
            for _ in 0..3 {
                let at = clock::monotonic() + soon;
                assert_eq!(alarm.until(at, pending::<()>()).await, None);
                assert!(clock::monotonic() >= at, "not before");
                assert_eq!(alarm.until(at, async { 2 }).await, Some(2), "though it is late");
            }
        };
        task::block_on(future::timeout(Duration::from_secs(60), waits)).expect("a ring");
    }

    #[test]
    fn an_early_ring_ends_nothing_that_has_time_left() {
        let mut alarm = Alarm::default();
        let waits = async {
            let begun = clock::monotonic();
            let (soon, late) = (begun + Duration::from_millis(20), begun + Duration::from_secs(3600));
            assert_eq!(alarm.next(soon, async { 1 }).await, Some(1), "the alarm is left behind");
            let slow = async {
                task::sleep(Duration::from_millis(60)).await;
                2
            };
            assert_eq!(alarm.next(late, slow).await, Some(2));
            assert_eq!(alarm.next(clock::monotonic() + Duration::from_millis(5), pending::<()>()).await, None);
        };
        task::block_on(future::timeout(Duration::from_secs(60), waits)).expect("a ring");
    }
}
