//! `copycat check`

use super::{Failure, Format};
use clap::Args;
use copycat_storage::FileDisk;
use std::path::PathBuf;

#[derive(Args)]
#[command(after_help = "Example:\n  copycat check ./copycat-data/server-1")]
pub(super) struct Check {
    /// The data directory of one server
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// How to print
    #[arg(long, value_enum, default_value = "text")]
    output: Format,
}

impl Check {
    pub(super) fn run(self) -> Result<(), Failure> {
        let disk = FileDisk::open_read_only(&self.directory)
            .map_err(|e| Failure::new(format!("{}: {e}", self.directory.display())))?;
        let report = copycat_storage::check(&disk);
        match self.output {
            Format::Text => println!("{report}"),
            Format::Json => println!(
                "{}",
                serde_json::json!({
                    "sound": report.is_sound(),
                    "problems": report.problems,
                    "notes": report.notes,
                    "entries": report.entries,
                    "first_index": report.first,
                    "last_index": report.last,
                    "segments": report.segments.len(),
                    "holes": report.segments.iter().map(|segment| segment.holes).sum::<u64>(),
                    "snapshot": report.snapshot.map(|snapshot| serde_json::json!({
                        "index": snapshot.index,
                        "term": snapshot.term,
                        "bytes": snapshot.size,
                        "references": snapshot.references,
                    })),
                })
            ),
        }
        if report.is_sound() {
            return Ok(());
        }
        let first = report.problems.first().map_or("?", String::as_str);
        Err(Failure::new(format!("{}: {} found, the first: {first}", self.directory.display(), report.problems.len())))
    }
}
