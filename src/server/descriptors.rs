//! File descriptors: clients get what the log, the peers and snapshots leave.

use rustix::process::{Resource, getrlimit};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use tracing::{info, warn};

/// A quarter of what the process may open is kept from clients, and no more than this. Each segment of the log is an open
/// file.
const RESERVE: u64 = 4096;

/// The share of the process's descriptors that clients may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Descriptors {
    clients: u64,
}

impl Descriptors {
    /// As the process is limited now.
    pub(crate) fn of_process() -> Self {
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        Self { clients: limit - RESERVE.min(limit / 4) }
    }

    /// The first descriptor that no client may have.
    pub(crate) fn clients(self) -> u64 {
        self.clients
    }

    /// Whether one more client may have one. The lowest that is free tells how many are in use, whoever uses them.
    pub(crate) fn has_room(self) -> bool {
        match io::stderr().as_fd().try_clone_to_owned() {
            Ok(next) => u64::try_from(next.as_raw_fd()).is_ok_and(|next| next < self.clients),
            Err(e) => !is_scarce(&e),
        }
    }
}

/// Whether the process, or the system, has no descriptor left.
fn is_scarce(error: &io::Error) -> bool {
    error
        .raw_os_error()
        .map(rustix::io::Errno::from_raw_os_error)
        .is_some_and(|errno| matches!(errno, rustix::io::Errno::MFILE | rustix::io::Errno::NFILE))
}

/// Tells once of connections that cannot be accepted, and once that they can again.
#[derive(Debug, Default)]
pub(crate) struct Accepting {
    failing: bool,
}

impl Accepting {
    pub(crate) fn failed(&mut self, at: &str, error: &io::Error) {
        if !self.failing {
            let hint = if is_scarce(error) { "; raise the limit of open files (ulimit -n)" } else { "" };
            warn!("cannot accept connections at {at}: {error}{hint}; trying again");
            self.failing = true;
        }
    }

    pub(crate) fn went_well(&mut self, at: &str) {
        if self.failing {
            info!("connections are accepted again at {at}");
            self.failing = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_have_room_until_the_reserve_begins() {
        assert!(Descriptors::of_process().has_room());
        assert!(!Descriptors { clients: 3 }.has_room());
        assert!(is_scarce(&rustix::io::Errno::MFILE.into()) && !is_scarce(&rustix::io::Errno::BADF.into()));
    }
}
