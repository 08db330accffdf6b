//! `copycat lock-supervise`: the process between `copycat lock` and its job. It survives what ends `copycat lock`, and ends
//! the job when that is gone, or when the session may be over.
//!
//! It leads a process group of its own, so that no terminal's signal reaches it, and adopts what the job leaves behind.
//! Invariant: it has told of the job's end, or has ended itself, only when nothing is left of what the job has started.

use super::control::{Said, Told, receive_stdin};
use super::job::code;
use super::processes::{adopt_orphans, reap, signal_all};
use super::timing::Timing;
use crate::cli::{Failure, guarded, lease, signals};
use clap::Args;
use rustix::process::{Pid, Signal, WaitStatus};
use std::ffi::OsString;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::ExitStatus;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// How often to look at the clock without being told: it runs on while the machine sleeps, and timeouts do not.
const LOOK: Duration = Duration::from_millis(100);
/// How often to kill what is left of what was killed, at first.
const AGAIN: Duration = Duration::from_millis(2);

/// Runs a job as long as its lock is held.
#[derive(Args)]
pub(in crate::cli) struct Supervise {
    /// The session's timeout, in milliseconds
    #[arg(long)]
    ttl: u64,
    /// Until when the session lives, in milliseconds of a clock that runs on while the machine sleeps
    #[arg(long)]
    until: u64,
    /// The process group that the job joins; without, it leads one of its own
    #[arg(long)]
    group: Option<i32>,
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

enum Heard {
    /// One of the job's processes may have ended.
    Child,
    Told(Told),
}

/// How far the job's end is.
enum Phase {
    Running,
    /// Asked to stop, and killed at that time at the latest.
    Asked(Duration),
    /// Killed, and again after a while.
    Killed(Duration),
}

struct Supervisor {
    control: UnixStream,
    timing: Timing,
    job: Pid,
    /// The job leads a group.
    leads: bool,
    until: Duration,
    /// Nobody keeps the session alive any more, or too late.
    lost: bool,
    phase: Phase,
    /// How the job itself has ended.
    ended: Option<u8>,
}

impl Supervise {
    /// Its exit code says nothing: what there is to say goes over the control.
    pub(in crate::cli) fn run(self) -> Result<(), Failure> {
        let control = std::io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from).map_err(Failure::new)?;
        let stdin = receive_stdin(&control).map_err(Failure::new)?;
        let (teller, heard) = channel();
        let to_main = teller.clone();
        // What is meant for `copycat lock`, which says what is to be done, may be sent to all its processes.
        let meant_for_it = [signals::SIGTERM, signals::SIGINT, signals::SIGHUP];
        signals::on_each(&[&meant_for_it[..], &[signals::SIGCHLD]].concat(), move |signal| {
            if signal == signals::SIGCHLD {
                let _ = to_main.send(Heard::Child);
            }
        })?;
        adopt_orphans().map_err(Failure::new)?;
        let (timing, until) = (Timing::of(Duration::from_millis(self.ttl)), Duration::from_millis(self.until));
        if lease::now() >= timing.asked_at(until) {
            Said::Stopping.write(&control);
            Said::Ended(0).write(&control);
            return Ok(());
        }
        let mut command = guarded::command(&self.command);
        command.stdin(stdin).process_group(self.group.unwrap_or(0));
        let job = match command.spawn() {
            Ok(child) => Pid::from_child(&child),
            Err(e) => {
                let Failure { text, code } = super::cannot_run(&self.command, &e);
                eprintln!("error: {text}");
                Said::Ended(code).write(&control);
                return Ok(());
            }
        };
        // It holds the job's standard input no longer.
        drop(command);
        let listening = control.try_clone().map_err(Failure::new)?;
        thread::spawn(move || Told::listen(listening, |told| drop(teller.send(Heard::Told(told)))));
        let (leads, phase) = (self.group.is_none(), Phase::Running);
        let supervisor = Supervisor { control, timing, job, leads, until, lost: false, phase, ended: None };
        supervisor.supervise(&heard);
        Ok(())
    }
}

impl Supervisor {
    fn supervise(mut self, heard: &Receiver<Heard>) {
        while !self.look() {
            match heard.recv_timeout(self.next_look()) {
                Ok(Heard::Told(Told::Alive(until))) if !self.lost => self.until = self.until.max(until),
                Ok(Heard::Told(Told::Stop)) => self.ask(),
                Ok(Heard::Told(Told::Gone)) => {
                    self.lost = true;
                    self.ask();
                }
                Ok(Heard::Child | Heard::Told(Told::Alive(_))) | Err(RecvTimeoutError::Timeout) => {}
                // Its threads end with it.
                Err(RecvTimeoutError::Disconnected) => thread::sleep(LOOK),
            }
        }
        Said::Ended(self.ended.unwrap_or(0)).write(&self.control);
    }

    fn next_look(&self) -> Duration {
        let next = match self.phase {
            Phase::Running => self.timing.asked_at(self.until),
            Phase::Asked(kill_at) => kill_at.min(self.timing.killed_at(self.until)),
            Phase::Killed(again) => return again,
        };
        next.saturating_sub(lease::now()).min(LOOK)
    }

    /// Does what is due. Returns whether nothing is left of the job.
    fn look(&mut self) -> bool {
        let (job, mut ended) = (self.job, None);
        let none_left = reap(|pid, status| {
            if pid == job {
                ended = Some(of(status));
            }
        });
        self.ended = self.ended.or(ended);
        if none_left && !self.has_group() {
            return true;
        }
        // What it leaves behind is not protected any more, and would still run when others have the lock.
        if self.ended.is_some() {
            self.ask();
        }
        let now = lease::now();
        match self.phase {
            Phase::Running if now >= self.timing.asked_at(self.until) => {
                self.lost = true;
                Said::Stopping.write(&self.control);
                self.ask();
            }
            Phase::Asked(kill_at) if now >= kill_at.min(self.timing.killed_at(self.until)) => {
                self.signal(Signal::KILL);
                self.phase = Phase::Killed(AGAIN);
            }
            // What was started while the others were looked for, is found now.
            Phase::Killed(again) => {
                self.signal(Signal::KILL);
                self.phase = Phase::Killed((again * 2).min(LOOK));
            }
            Phase::Running | Phase::Asked(_) => {}
        }
        false
    }

    /// Asks it to stop, unless it was asked before.
    fn ask(&mut self) {
        if matches!(self.phase, Phase::Running) {
            self.phase = Phase::Asked(lease::now() + self.timing.grace);
            self.signal(Signal::TERM);
            // So that those hear of it that are stopped.
            self.signal(Signal::CONT);
        }
    }

    /// The job's group, as long as its number cannot have become another's.
    fn group(&self) -> Option<Pid> {
        Some(self.job).filter(|_| self.leads && (self.ended.is_none() || cfg!(not(target_os = "linux"))))
    }

    /// Where orphans cannot be adopted, a group is all that is known of them.
    fn has_group(&self) -> bool {
        let group = self.group().filter(|_| cfg!(not(target_os = "linux")));
        group.is_some_and(|group| rustix::process::test_kill_process_group(group).is_ok())
    }

    fn signal(&self, signal: Signal) {
        if cfg!(not(target_os = "linux")) && !self.leads && self.ended.is_none() {
            let _ = rustix::process::kill_process(self.job, signal);
        }
        signal_all(self.group(), signal);
    }
}

/// The exit code of a process that has ended.
fn of(status: WaitStatus) -> u8 {
    code(ExitStatus::from_raw(status.as_raw()))
}
