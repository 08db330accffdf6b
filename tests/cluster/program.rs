//! A running program, whose output is looked at while it runs.

use crate::harness::{Directory, Said, get, json, wait_for};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

pub const COPYCAT: &str = env!("CARGO_BIN_EXE_copycat");

/// It leads a process group. Killed when dropped, the whole group.
pub struct Program {
    child: Child,
    files: Directory,
}

impl Program {
    pub fn start<S: AsRef<str>>(program: &str, arguments: &[S], environment: &[(&str, &str)]) -> Self {
        let files = Directory::new();
        let child = Command::new(program)
            .args(arguments.iter().map(AsRef::as_ref))
            .envs(environment.iter().copied())
            // What it leaves behind when it is killed goes with the rest.
            .env("TMPDIR", files.join(""))
            .stdin(Stdio::null())
            .stdout(File::create(files.join("out")).unwrap())
            .stderr(File::create(files.join("err")).unwrap())
            .process_group(0)
            .spawn()
            .unwrap_or_else(|e| panic!("{program}: {e}"));
        Self { child, files }
    }

    pub fn out(&self) -> String {
        text(&self.files.join("out"))
    }

    pub fn err(&self) -> String {
        text(&self.files.join("err"))
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end.
    pub fn said(mut self) -> Said {
        let status = wait_for("a program to end", || self.has_ended());
        Said { status, out: self.out(), err: self.err() }
    }

    /// kill -9 of this process alone, and waits for it.
    pub fn kill(mut self) {
        self.signal(Signal::KILL);
        self.child.wait().unwrap();
    }

    /// kill -9 of it and all that it started.
    pub fn kill_all(&mut self) {
        let _ = kill_process_group(self.pid(), Signal::KILL);
        let _ = self.child.wait();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("--- a program said\n{}{}", self.out(), self.err());
        }
        self.kill_all();
    }
}

/// What is in a file; nothing if there is none.
pub fn text(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// The open sessions, as a server lists them.
pub fn sessions(server: SocketAddr) -> Vec<Value> {
    json(&get(server, "/v1/sessions"))["sessions"].as_array().expect("sessions").clone()
}

/// A command for `sh -c` that would see others like it, if they ran at the same time: it writes its token to `tokens`, and
/// makes `overlap`. `DIR` is where.
pub const ALONE: &str = r#"mkdir "$DIR/busy" || : >"$DIR/overlap"
    echo "$COPYCAT_LOCK_TOKEN" >>"$DIR/tokens"
    sleep 0.5
    rmdir "$DIR/busy""#;

/// What those left in their directory: the tokens, each higher than the one before.
pub fn assert_alone(directory: &Directory, count: usize) {
    assert!(!directory.join("overlap").exists(), "two ran at the same time");
    let tokens: Vec<u64> = text(&directory.join("tokens")).lines().map(|t| t.parse().expect("a token")).collect();
    assert_eq!(tokens.len(), count, "{tokens:?}");
    assert!(tokens.windows(2).all(|pair| pair[0] < pair[1]), "tokens rise: {tokens:?}");
}
