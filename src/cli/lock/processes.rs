//! All that a process has started, and its end.
//!
//! Where the system can do it (Linux), a process that calls [`adopt_orphans`] becomes the parent of whatever loses its own
//! parent below it, so all that it ever started is below it until it is reaped, whatever sessions and groups were made.
//! Elsewhere only a process group can be found again.

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process, kill_process_group, wait};
use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

/// Between two looks at what is left of what was killed: at first, and at most.
const LOOKS: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(100));

/// From now on orphans below this process become its children.
pub(super) fn adopt_orphans() -> std::io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::process::set_child_subreaper(Some(getpid()))?;
    Ok(())
}

/// A process below this one.
struct Below {
    pid: Pid,
    group: i32,
}

/// The parent and the group in what the system says of a process: the name before them may hold anything, and ends with the
/// last parenthesis.
fn parent_and_group(stat: &str) -> Option<(i32, i32)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(1);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// All processes below this one; none where they cannot be found.
fn below() -> Vec<Below> {
    let mut children: BTreeMap<i32, Vec<(i32, i32)>> = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let stat = std::fs::read(entry.path().join("stat")).unwrap_or_default();
        if let Some((parent, group)) = parent_and_group(&String::from_utf8_lossy(&stat)) {
            children.entry(parent).or_default().push((pid, group));
        }
    }
    let mut found = Vec::new();
    let mut next = vec![getpid().as_raw_nonzero().get()];
    while let Some(parent) = next.pop() {
        // Taken out, so that none is followed twice, whatever the system said while it changed.
        for (pid, group) in children.remove(&parent).into_iter().flatten() {
            found.extend(Pid::from_raw(pid).map(|pid| Below { pid, group }));
            next.push(pid);
        }
    }
    found
}

/// Sends a signal to this group, and to all others below this process.
pub(super) fn signal_all(group: Option<Pid>, signal: Signal) {
    let number = group.map(|group| group.as_raw_nonzero().get());
    // Those that have ended meanwhile need none.
    if let Some(group) = group {
        let _ = kill_process_group(group, signal);
    }
    for process in below().into_iter().filter(|process| Some(process.group) != number) {
        let _ = kill_process(process.pid, signal);
    }
}

/// Takes in those that have ended. Returns whether there are none left, as far as it can be known.
pub(super) fn reap(mut ended: impl FnMut(Pid, WaitStatus)) -> bool {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => ended(pid, status),
            Ok(None) => return false,
            Err(Errno::INTR) => {}
            Err(_) => return true,
        }
    }
}

/// Kills all that is below this process, and this group. Returns when none of it is left.
pub(super) fn kill_all(group: Option<Pid>) {
    let mut pause = LOOKS.0;
    while !reap(|_, _| {}) {
        signal_all(group, Signal::KILL);
        thread::sleep(pause);
        pause = (pause * 2).min(LOOKS.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        assert_eq!(parent_and_group("12 (sh) S 4 5 6 0"), Some((4, 5)));
        assert_eq!(parent_and_group("12 (a) R 1 2 (b) S 4 5 6 0"), Some((4, 5)));
        assert_eq!(parent_and_group("12 (sh"), None);
        assert_eq!(parent_and_group("12 (sh) S x"), None);
    }
}
