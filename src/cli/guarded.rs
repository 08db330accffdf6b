//! `copycat guarded`, which `copycat lock` runs its command by: it gets SIGTERM when `copycat lock` is suddenly gone, since
//! then nobody keeps the lock. Only a process can ask for that itself, hence this step between.

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

/// What to start so that `command` runs guarded, where the system can do that.
///
/// To be started by the main thread: it is the end of the starting thread that the system looks at.
pub(super) fn command(command: &[OsString]) -> Command {
    let (program, arguments) = (command.first().cloned().unwrap_or_default(), command.get(1..).unwrap_or_default());
    if cfg!(target_os = "linux") {
        // This very program, also when its file was replaced meanwhile.
        let mut guarded = Command::new("/proc/self/exe");
        guarded.arg0("copycat").args(["guarded", "--parent", &std::process::id().to_string(), "--"]);
        guarded.args(command);
        return guarded;
    }
    let mut bare = Command::new(program);
    bare.args(arguments);
    bare
}

impl Guarded {
    /// Returns only if the command cannot be run.
    pub(super) fn run(self) -> Failure {
        #[cfg(target_os = "linux")]
        {
            use rustix::process::{Signal, getppid, set_parent_process_death_signal};
            if let Err(e) = set_parent_process_death_signal(Some(Signal::TERM)) {
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
