//! `copycat log`

use super::client::Call;
use super::{Failure, Target};
use clap::{Args, Subcommand, ValueEnum};

#[derive(Args)]
pub(super) struct Log {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Compacts the log of the server at the endpoint
    Compact(Compact),
}

impl Log {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::Compact(c) => c.run(),
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// The files for which it is most worth while
    Minor,
    /// Everything at or below the snapshot, tombstones too
    Major,
}

#[derive(Args)]
#[command(after_help = "Example:\n  copycat snapshot take && copycat log compact --kind major")]
struct Compact {
    /// How much
    #[arg(long, value_enum, default_value = "minor")]
    kind: Kind,
    #[command(flatten)]
    target: Target,
}

impl Compact {
    fn run(self) -> Result<(), Failure> {
        let kind = match self.kind {
            Kind::Minor => "minor",
            Kind::Major => "major",
        };
        let call = Call {
            query: vec![("timeout", b"60s".to_vec())],
            body: Some(serde_json::json!({ "kind": kind }).to_string().into_bytes()),
            ..Call::new("POST", "/v1/log/compactions")
        };
        let done = self.target.client().call(&call)?.expect(&[200])?.json()?;
        self.target.print(&done, |done| {
            let (before, after, files) = (&done["bytes_before"], &done["bytes_after"], &done["segments"]);
            if done["compacted"] == true {
                format!("{kind}: from {before} to {after} bytes, in {files} files")
            } else {
                format!("{kind}: nothing to compact below the latest snapshot")
            }
        });
        Ok(())
    }
}
