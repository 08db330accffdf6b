//! `copycat log`

use super::client::{Call, Client};
use super::{Failure, Format, Target};
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
        let client = Client::new(&self.target.cluster);
        let call = Call {
            method: "POST",
            path: "/v1/log/compactions",
            query: vec![("timeout", b"60s".to_vec())],
            headers: Vec::new(),
            body: Some(serde_json::json!({ "kind": kind }).to_string().into_bytes()),
        };
        let answer = client.call(&call)?;
        if answer.status != 200 {
            return Err(answer.failure());
        }
        let done = answer.json()?;
        match self.target.output {
            Format::Json => println!("{done}"),
            Format::Text if done["compacted"] == true => println!(
                "{kind}: from {} to {} bytes, in {} files",
                done["bytes_before"], done["bytes_after"], done["segments"]
            ),
            Format::Text => println!("{kind}: nothing to compact below the latest snapshot"),
        }
        Ok(())
    }
}
