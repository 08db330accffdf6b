//! Log time: what entries are stamped with, and what TTLs and session timeouts will run against.
//!
//! It never goes back. A leader advances it by its monotonic clock from the last logged time; its wall clock is used
//! where a log begins, and then only slewed in, so that a leader whose wall clock is an hour off neither expires the
//! world nor stops it.

use crate::engine::types::Now;
use std::time::Duration;

/// Wall time moves log time by at most one part in this many.
const SLEW: u64 = 200;
/// Slewing is done in steps no shorter than this, so that the division above does not round it away.
const SLEW_STEP: Duration = Duration::from_millis(100);

#[derive(Debug)]
#[cfg_attr(feature = "planted-bugs", derive(Clone))]
pub(super) struct LogClock {
    micros: u64,
    at: Duration,
    slewed: Duration,
    /// The highest time of an entry that is in the log, or was, in milliseconds.
    logged: u64,
}

impl LogClock {
    pub(super) fn new(now: Now) -> Self {
        Self { micros: 0, at: now.monotonic, slewed: now.monotonic, logged: 0 }
    }

    /// The last time known, in milliseconds, and when that was.
    pub(super) fn last(&self) -> (u64, Duration) {
        (self.micros / 1000, self.at)
    }

    /// The highest time (milliseconds) of an entry that is in the log, or was.
    pub(super) fn logged(&self) -> u64 {
        self.logged
    }

    /// An entry with this time (milliseconds) of this leader's is in the log.
    pub(super) fn note_own(&mut self, time: u64) {
        self.logged = self.logged.max(time);
    }

    /// An entry with this time (milliseconds) is in the log.
    pub(super) fn note(&mut self, time: u64, now: Now) {
        self.logged = self.logged.max(time);
        self.begin(time, now);
    }

    fn begin(&mut self, time: u64, now: Now) {
        if time.saturating_mul(1000) > self.micros {
            self.micros = time.saturating_mul(1000);
            self.at = now.monotonic;
            self.slewed = now.monotonic;
        }
    }

    /// The time (milliseconds) for an entry that the leader appends now.
    pub(super) fn leader_time(&mut self, now: Now) -> u64 {
        if self.micros == 0 {
            self.begin(now.wall.max(1), now);
        }
        let elapsed = now.monotonic.saturating_sub(self.at);
        self.micros = self.micros.saturating_add(micros(elapsed));
        self.at = self.at.max(now.monotonic);
        let since = now.monotonic.saturating_sub(self.slewed);
        if since >= SLEW_STEP {
            self.slewed = now.monotonic;
            let most = micros(since) / SLEW;
            let wall = now.wall.saturating_mul(1000);
            // Ahead of the wall clock it only slows down: at most what has just been added is taken off again.
            self.micros = if wall > self.micros {
                self.micros + most.min(wall - self.micros)
            } else {
                self.micros - most.min(self.micros - wall).min(micros(elapsed))
            };
        }
        self.micros / 1000
    }
}

fn micros(d: Duration) -> u64 {
    u64::try_from(d.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64, wall: u64) -> Now {
        Now { monotonic: Duration::from_millis(ms), wall }
    }

    #[test]
    fn it_begins_at_the_wall_clock_and_runs_with_the_monotonic_one() {
        let mut c = LogClock::new(at(5, 1_000_000));
        assert_eq!(c.leader_time(at(5, 1_000_000)), 1_000_000);
        assert_eq!(c.leader_time(at(55, 1_000_050)), 1_000_050);
    }

    #[test]
    fn an_hour_on_the_wall_clock_is_no_hour_in_the_log() {
        let hour = 3_600_000;
        let mut c = LogClock::new(at(0, 10 * hour));
        let start = c.leader_time(at(0, 10 * hour));
        let ahead = c.leader_time(at(1000, 11 * hour)) - start;
        assert!((1000..=1005).contains(&ahead), "{ahead}");
        let behind = c.leader_time(at(2000, 2 * hour)) - start - ahead;
        assert!((995..=1000).contains(&behind), "{behind}");
    }

    #[test]
    fn it_never_goes_back() {
        let mut c = LogClock::new(at(0, 1000));
        c.note(9_000, at(10, 1000));
        let mut last = 0;
        for ms in 10..2000 {
            let t = c.leader_time(at(ms, 1000));
            assert!(t >= last.max(9_000), "{t} after {last}");
            last = t;
        }
        assert!(last > 9_000 + 1900, "it goes on: {last}");
    }

    #[test]
    fn many_short_steps_lose_nothing() {
        let mut c = LogClock::new(at(0, 1000));
        let start = c.leader_time(at(0, 1000));
        let mut t = 0;
        for i in 1..=1000 {
            t = c.leader_time(Now { monotonic: Duration::from_micros(1900 * i), wall: 1000 + 1900 * i / 1000 });
        }
        assert!((1895..=1905).contains(&(t - start)), "{}", t - start);
    }
}
