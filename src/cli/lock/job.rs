//! The command that runs while a lock is held: started, told how long it may run, and asked to stop, all of it by way of its
//! supervisor.

use super::Happening;
use super::control::{Said, Told, send_stdin};
use super::processes::{adopt_orphans, kill_all};
use super::timing::Timing;
use crate::cli::{Failure, guarded, signals};
use rustix::process::getpgrp;
use std::ffi::OsString;
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ExitStatus};
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

/// How long to try to tell a supervisor something that does not read.
const TELLING: Duration = Duration::from_millis(20);

pub(super) struct Job {
    supervisor: Child,
    control: UnixStream,
    /// It leads a group of its own. Not in the foreground of a terminal, which would stop another group that reads from it.
    leads: bool,
}

/// Whether a terminal's Ctrl-C reaches this process, and what it starts, by itself.
fn in_foreground() -> bool {
    File::open("/dev/tty").is_ok_and(|tty| rustix::termios::tcgetpgrp(&tty).is_ok_and(|group| group == getpgrp()))
}

impl Job {
    /// Starts the supervisor, which starts the command. `until`: how long the session lives for sure.
    pub(super) fn start(
        command: &[OsString],
        environment: &[(&str, OsString)],
        (ttl, until): (Duration, Duration),
        teller: Sender<Happening>,
    ) -> Result<Self, Failure> {
        let leads = !in_foreground();
        // The supervisor's own children, if it is killed.
        adopt_orphans().map_err(Failure::new)?;
        let (control, its) = UnixStream::pair().map_err(Failure::new)?;
        control.set_write_timeout(Some(TELLING)).map_err(Failure::new)?;
        let stdin = std::io::stdin();
        send_stdin(&control, stdin.as_fd()).map_err(Failure::new)?;
        let mut supervisor = guarded::own_program().map_err(Failure::new)?;
        supervisor.args(["lock-supervise", "--ttl", &ttl.as_millis().to_string()]);
        supervisor.args(["--until", &until.as_millis().to_string()]);
        if !leads {
            supervisor.args(["--group", &getpgrp().as_raw_nonzero().to_string()]);
        }
        supervisor.arg("--").args(command).envs(environment.iter().map(|(name, value)| (name, value)));
        let supervisor = supervisor.stdin(OwnedFd::from(its)).process_group(0).spawn().map_err(Failure::new)?;
        let listening = control.try_clone().map_err(Failure::new)?;
        thread::spawn(move || Said::listen(listening, |said| drop(teller.send(Happening::Job(said)))));
        Ok(Self { supervisor, control, leads })
    }

    /// The session lives until then.
    pub(super) fn alive(&self, until: Duration) {
        Told::Alive(until).write(&self.control);
    }

    /// Asks it to stop: with SIGTERM, and after a grace with SIGKILL.
    pub(super) fn stop(&self) {
        Told::Stop.write(&self.control);
    }

    /// A signal has come. Ctrl-C at a terminal reaches the command by itself, which may do with it what it likes.
    pub(super) fn pass_on(&self, signal: i32) {
        if signal != signals::SIGINT || self.leads || !in_foreground() {
            self.stop();
        }
    }

    /// Kills it and what it has started, its supervisor too, without asking.
    pub(super) fn kill(&mut self) {
        kill_all(None);
    }

    /// Nothing of it is left, and the supervisor is about to end.
    pub(super) fn end(mut self) {
        let _ = self.supervisor.wait();
    }
}

/// When the supervisor should have killed it by now, and has not.
pub(super) fn is_overdue(timing: Timing, left: Duration) -> bool {
    left <= timing.margin / 2
}

/// As a shell has it: 127 if there is no such command, 126 if it cannot be run.
pub(in crate::cli) fn cannot_run(command: &[OsString], e: &std::io::Error) -> Failure {
    let name = command.first().map(|name| name.display().to_string()).unwrap_or_default();
    Failure::with_code(format!("{name}: {e}"), if e.kind() == ErrorKind::NotFound { 127 } else { 126 })
}

pub(super) fn signal_code(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(u8::MAX)
}

pub(super) fn code(status: ExitStatus) -> u8 {
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
