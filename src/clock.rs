//! The clocks of a real machine.

use crate::engine::Now;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The time now. The monotonic part is `CLOCK_BOOTTIME` where there is one: it also runs during suspend, so that a
/// machine that slept does not believe in its old lease.
#[must_use]
pub(crate) fn now() -> Now {
    Now { monotonic: monotonic(), wall: wall_ms() }
}

/// Milliseconds since the Unix epoch.
#[must_use]
pub(crate) fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

/// The monotonic clock.
#[must_use]
pub(crate) fn monotonic() -> Duration {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let id = rustix::time::ClockId::Boottime;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let id = rustix::time::ClockId::Monotonic;
    let t = rustix::time::clock_gettime(id);
    Duration::new(u64::try_from(t.tv_sec).unwrap_or(0), u32::try_from(t.tv_nsec).unwrap_or(0))
}
