//! When a job must stop, so that it is dead before others get its lock.
//!
//! A session lives for its ttl from when the last keep-alive that was answered was *sent*: its servers count from when it
//! arrived, which is later. From the end of that time a margin is taken off, for clocks that run at different speeds and
//! for what the system takes to schedule, and before that, the grace: the job gets SIGTERM a grace and a margin before the
//! end, and SIGKILL a margin before it.

use std::time::Duration;

/// The longest time that a job gets to stop when it is asked to.
const LONGEST_GRACE: Duration = Duration::from_secs(5);
/// What the system may take to run a process that is due, and to end one.
const SCHEDULING: Duration = Duration::from_millis(200);
/// The part of a ttl by which clocks may differ over the ttl. (Log time is slewed by one part in 200 at most.)
const DRIFT: u32 = 40;
/// How many keep-alives fit between one and the moment at which the job is asked to stop.
const KEEP_ALIVES: u32 = 4;

/// The parts of a ttl.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timing {
    ttl: Duration,
    /// How long a job gets to stop when it is asked to.
    pub(super) grace: Duration,
    /// Taken off the end.
    pub(super) margin: Duration,
}

impl Timing {
    pub(super) fn of(ttl: Duration) -> Self {
        Self { ttl, grace: LONGEST_GRACE.min(ttl / 4), margin: SCHEDULING + ttl / DRIFT }
    }

    /// How often the session is kept alive.
    pub(super) fn interval(self) -> Duration {
        self.ttl.saturating_sub(self.grace + self.margin) / KEEP_ALIVES
    }

    /// When a job is asked to stop whose session lives until then.
    pub(super) fn asked_at(self, until: Duration) -> Duration {
        until.saturating_sub(self.grace + self.margin)
    }

    /// When it is killed.
    pub(super) fn killed_at(self, until: Duration) -> Duration {
        until.saturating_sub(self.margin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_asked_and_killed_before_the_end_at_any_ttl() {
        let ms = Duration::from_millis;
        for (ttl, grace, margin) in [(1000, 250, 225), (2000, 500, 250), (15_000, 3750, 575), (60_000, 5000, 1700)] {
            let timing = Timing::of(ms(ttl));
            assert_eq!((timing.grace, timing.margin), (ms(grace), ms(margin)), "{ttl}");
        }
        for ttl in [1, 2, 4, 15, 60, 24 * 3600].map(Duration::from_secs) {
            let timing = Timing::of(ttl);
            let (asked, killed) = (timing.asked_at(ttl), timing.killed_at(ttl));
            assert_eq!(asked + timing.grace, killed);
            assert!(killed + ttl / 100 < ttl, "clocks may differ");
            assert_eq!(timing.interval() * KEEP_ALIVES, asked, "there are keep-alives before it");
        }
    }
}
