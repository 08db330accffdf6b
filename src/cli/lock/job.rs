//! The command that runs while a lock is held: started, passed signals, stopped.

use crate::cli::{Failure, guarded, signals};
use rustix::process::{Pid, Signal, getpgrp, kill_process, kill_process_group, test_kill_process_group};
use std::ffi::OsString;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

/// How long a command may take to stop when it is asked to.
const GRACE: Duration = Duration::from_secs(5);

pub(super) struct Job {
    child: Child,
    pid: Pid,
    /// It leads a group of its own, which what it starts belongs to. Not in the foreground of a terminal, which would
    /// stop another group that reads from it.
    leads: bool,
}

/// Whether a terminal's Ctrl-C reaches this process, and what it starts, by itself.
fn in_foreground() -> bool {
    File::open("/dev/tty").is_ok_and(|tty| rustix::termios::tcgetpgrp(&tty).is_ok_and(|group| group == getpgrp()))
}

impl Job {
    pub(super) fn start(command: &[OsString], environment: &[(&str, OsString)]) -> Result<Self, Failure> {
        let leads = !in_foreground();
        let mut spawned = guarded::command(command);
        spawned.envs(environment.iter().map(|(name, value)| (name, value)));
        if leads {
            spawned.process_group(0);
        }
        match spawned.spawn() {
            Ok(child) => Ok(Self { pid: Pid::from_child(&child), child, leads }),
            Err(e) => Err(cannot_run(command, &e)),
        }
    }

    fn signal(&self, signal: Signal) {
        // One that has ended needs none.
        let _ = if self.leads { kill_process_group(self.pid, signal) } else { kill_process(self.pid, signal) };
    }

    pub(super) fn pass_on(&self, signal: i32) {
        match signal {
            signals::SIGINT if !self.leads && in_foreground() => {}
            signals::SIGINT => self.signal(Signal::INT),
            _ => self.signal(Signal::TERM),
        }
    }

    /// Its exit code, if it has ended.
    pub(super) fn ended(&mut self) -> Result<Option<u8>, Failure> {
        self.child.try_wait().map(|status| status.map(code)).map_err(Failure::new)
    }

    /// Ends it, and what it started: it has nothing more to protect it.
    pub(super) fn stop(&mut self) -> Result<(), Failure> {
        self.signal(Signal::TERM);
        let begun = Instant::now();
        while begun.elapsed() < GRACE {
            let ended = self.ended()?.is_some();
            if ended && !(self.leads && test_kill_process_group(self.pid).is_ok()) {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(20));
        }
        if self.leads || self.ended()?.is_none() {
            self.signal(Signal::KILL);
        }
        self.child.wait().map(|_| ()).map_err(Failure::new)
    }
}

/// As a shell has it: 127 if there is no such command, 126 if it cannot be run.
pub(in crate::cli) fn cannot_run(command: &[OsString], e: &std::io::Error) -> Failure {
    let name = command.first().map(|name| name.display().to_string()).unwrap_or_default();
    Failure::with_code(format!("{name}: {e}"), if e.kind() == ErrorKind::NotFound { 127 } else { 126 })
}

pub(super) fn signal_code(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(u8::MAX)
}

fn code(status: ExitStatus) -> u8 {
    match (status.code(), status.signal()) {
        (Some(code), _) => u8::try_from(code).unwrap_or(1),
        (None, Some(signal)) => signal_code(signal),
        (None, None) => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_of_a_shell() {
        assert_eq!(code(ExitStatus::from_raw(7 << 8)), 7);
        assert_eq!(code(ExitStatus::from_raw(15)), 143);
        assert_eq!(cannot_run(&["x".into()], &ErrorKind::NotFound.into()).code, 127);
        assert_eq!(cannot_run(&["x".into()], &ErrorKind::PermissionDenied.into()).code, 126);
    }
}
