//! Ctrl-C and SIGTERM.

use super::Failure;
use copycat::server::Stopper;
pub(super) use signal_hook::consts::{SIGCHLD, SIGINT, SIGTERM};
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
