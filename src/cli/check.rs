//! `copycat check`

use super::{Failure, Format};
use clap::Args;
use copycat::engine::machine::unreadable;
use copycat::store::Store;
use copycat_storage::{FileDisk, each_entry};
use std::path::PathBuf;

/// Most entries that are named one by one.
const SHOWN: usize = 100;

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
        let warnings = skipped(&disk);
        match self.output {
            Format::Text => {
                warnings.iter().for_each(|warning| println!("warning: {warning}"));
                println!("{report}");
            }
            Format::Json => println!(
                "{}",
                serde_json::json!({
                    "sound": report.is_sound(),
                    "problems": report.problems,
                    "notes": report.notes,
                    "warnings": warnings,
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

/// The entries that no server can read: not damage, but nobody meant them.
fn skipped(disk: &FileDisk) -> Vec<String> {
    let (mut first, mut more) = (Vec::new(), 0_u64);
    each_entry(disk, |entry| {
        let Some(reason) = unreadable::<Store>(&entry) else { return };
        if first.len() < SHOWN {
            first.push(format!("entry {} cannot be read, and has no effect on any server: {reason}", entry.index));
        } else {
            more += 1;
        }
    });
    if more > 0 {
        first.push(format!("{more} more entries cannot be read"));
    }
    first
}
