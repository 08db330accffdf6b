//! The command line. One file a subcommand.
#![allow(clippy::print_stdout, clippy::print_stderr)] // this is where printing belongs

mod bench;
mod check;
mod client;
mod cluster;
mod dev;
mod guarded;
mod keys;
mod lease;
mod limits;
mod lock;
mod log;
mod server;
mod sessions;
mod signals;
mod snapshot;
mod watch;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde_json::Value;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

/// A replicated key-value and lock service.
#[derive(Parser)]
#[command(name = "copycat", version, about, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 done, 1 failed without effect, 2 wrong usage, 3 no such key or session, \
4 the condition does not hold, 5 the outcome is unknown, 6 the directory is in use. Those of lock stand in its own help.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs a whole cluster in one process, to try things out
    Dev(dev::Dev),
    /// Runs one server
    Server(server::Server),
    /// Prints a key's value
    Get(keys::Get),
    /// Sets a key
    Put(keys::Put),
    /// Removes a key
    Delete(keys::Delete),
    /// Lists keys
    List(keys::List),
    /// Prints changes of keys as they happen
    Watch(watch::Watch),
    /// Runs a command while holding a lock
    Lock(lock::Lock),
    #[command(hide = true)]
    Guarded(guarded::Guarded),
    #[command(hide = true)]
    LockSupervise(lock::Supervise),
    /// Looks at sessions, begins and ends them
    Session(sessions::Session),
    /// Looks at the cluster and changes its members
    Cluster(cluster::Cluster),
    /// Takes snapshots, saves them to files, makes new clusters of those
    Snapshot(snapshot::Snapshot),
    /// Compacts a server's log
    Log(log::Log),
    /// Puts a load on a running cluster and tells rates and times
    Bench(bench::Bench),
    /// Verifies a data directory that no server is using; changes nothing
    Check(check::Check),
}

/// Which cluster, and how to print.
#[derive(Args)]
struct Target {
    #[command(flatten)]
    cluster: Endpoints,
    /// How to print
    #[arg(long, value_enum, default_value = "text")]
    output: Format,
}

impl Target {
    fn client(&self) -> client::Client {
        client::Client::new(&self.cluster)
    }

    /// Prints what a person reads, or the answer.
    fn print(&self, answer: &Value, text: impl FnOnce(&Value) -> String) {
        match self.output {
            Format::Json => println!("{answer}"),
            Format::Text => println!("{}", text(answer)),
        }
    }
}

#[derive(Args)]
struct Endpoints {
    /// A server's HTTP address; several: the next is tried when one is down
    #[arg(long = "endpoint", env = "COPYCAT_ENDPOINT", value_delimiter = ',', default_value = "http://127.0.0.1:8700")]
    endpoints: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

/// Why a subcommand failed: one line, and the exit code.
#[derive(Debug)]
struct Failure {
    text: String,
    code: u8,
}

impl Failure {
    fn new(text: impl std::fmt::Display) -> Self {
        Self { text: text.to_string(), code: 1 }
    }

    fn with_code(text: impl std::fmt::Display, code: u8) -> Self {
        Self { text: text.to_string(), code }
    }
}

impl From<copycat::server::ServerError> for Failure {
    fn from(e: copycat::server::ServerError) -> Self {
        Self::new(e)
    }
}

pub(crate) fn run() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Dev(c) => c.run(),
        Command::Server(c) => c.run(),
        Command::Get(c) => c.run(),
        Command::Put(c) => c.run(),
        Command::Delete(c) => c.run(),
        Command::List(c) => c.run(),
        Command::Watch(c) => c.run(),
        // Theirs are the exit codes of another command.
        Command::Lock(c) => return c.run().map_or_else(report, ExitCode::from),
        Command::Guarded(c) => return report(c.run()),
        Command::LockSupervise(c) => c.run(),
        Command::Session(c) => c.run(),
        Command::Cluster(c) => c.run(),
        Command::Snapshot(c) => c.run(),
        Command::Log(c) => c.run(),
        Command::Bench(c) => c.run(),
        Command::Check(c) => c.run(),
    };
    result.map_or_else(report, |()| ExitCode::SUCCESS)
}

#[allow(clippy::needless_pass_by_value)] // it is handed over where a failure ends
fn report(failure: Failure) -> ExitCode {
    // One line, whatever an error's text holds.
    eprintln!("error: {}", failure.text.replace('\n', " "));
    ExitCode::from(failure.code)
}

/// `1500ms`, `30s`, `5m`, as in the HTTP API.
fn duration(text: &str) -> Result<Duration, String> {
    copycat_http::parse_duration(text).ok_or_else(|| format!("{text:?} is no duration: write 500ms, 30s or 5m"))
}

/// Log lines go to standard error; `COPYCAT_LOG` (error, warn, info, debug) says how much.
fn start_logging() {
    let level = std::env::var("COPYCAT_LOG").ok().and_then(|l| l.parse().ok()).unwrap_or(tracing::Level::INFO);
    let subscriber = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(level)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal());
    // A second call in one process keeps the first.
    let _ = subscriber.try_init();
}
