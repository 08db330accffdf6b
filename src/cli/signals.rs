//! Ctrl-C and SIGTERM.

use super::Failure;
use copycat::server::Stopper;
pub(super) use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// The first signal stops the servers in an orderly way, the second ends the process.
pub(super) fn stop_on_signal(stoppers: Vec<Stopper>) -> Result<(), Failure> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(Failure::new)?;
    std::thread::spawn(move || {
        let mut signals = signals.forever();
        if signals.next().is_some() {
            stoppers.iter().for_each(Stopper::stop);
        }
        if signals.next().is_some() {
            std::process::exit(130);
        }
    });
    Ok(())
}

/// Tells of each of these signals, from a thread of its own.
pub(super) fn on_each(which: &[i32], mut tell: impl FnMut(i32) + Send + 'static) -> Result<(), Failure> {
    let mut signals = Signals::new(which).map_err(Failure::new)?;
    std::thread::spawn(move || signals.forever().for_each(&mut tell));
    Ok(())
}

/// Whether this process was started so that it ignores a hangup, as `nohup` does it; where that can be learned.
pub(super) fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 << (SIGHUP - 1) != 0)
}
