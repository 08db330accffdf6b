//! `copycat guarded`, which the supervisor of `copycat lock` runs its command by: the command is killed when the supervisor is
//! suddenly gone, since then nobody would end it. Only a process can ask for that itself, hence this step between.

use super::Failure;
use super::lock::cannot_run;
use clap::Args;
use rustix::process::Pid;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Runs a command that ends when its parent does.
#[derive(Args)]
pub(super) struct Guarded {
    #[arg(long)]
    parent: i32,
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// This very program, also when its file was replaced meanwhile.
pub(super) fn own_program() -> std::io::Result<Command> {
    if cfg!(target_os = "linux") {
        let mut own = Command::new("/proc/self/exe");
        own.arg0("copycat");
        return Ok(own);
    }
    std::env::current_exe().map(Command::new)
}

/// What to start so that `command` runs guarded, where the system can do that.
///
/// To be started by the main thread: it is the end of the starting thread that the system looks at.
pub(super) fn command(command: &[OsString]) -> Command {
    if cfg!(target_os = "linux")
        && let Ok(mut guarded) = own_program()
    {
        guarded.args(["guarded", "--parent", &std::process::id().to_string(), "--"]);
        guarded.args(command);
        return guarded;
    }
    let mut bare = Command::new(command.first().cloned().unwrap_or_default());
    bare.args(command.get(1..).unwrap_or_default());
    bare
}

impl Guarded {
    /// Returns only if the command cannot be run.
    pub(super) fn run(self) -> Failure {
        #[cfg(target_os = "linux")]
        {
            use rustix::process::{Signal, getppid, set_parent_process_death_signal};
            if let Err(e) = set_parent_process_death_signal(Some(Signal::KILL)) {
                return Failure::with_code(format!("its parent's end cannot be watched: {e}"), 126);
            }
            if getppid() != Pid::from_raw(self.parent) {
                return Failure::with_code("its parent has gone", 126);
            }
        }
        let mut command = Command::new(self.command.first().cloned().unwrap_or_default());
        let e = command.args(self.command.get(1..).unwrap_or_default()).exec();
        cannot_run(&self.command, &e)
    }
}
