//! `copycat check`

use super::{Failure, Format};
use clap::Args;
use copycat::engine::machine::unreadable;
use copycat::engine::{Configuration, Index, decode};
use copycat::store::Store;
use copycat_storage::{DirectoryError, FileDisk, Report, each_entry};
use std::path::PathBuf;

/// Most entries that are named one by one.
const SHOWN: usize = 100;
/// The exit code when a server uses the directory.
const IN_USE: u8 = 6;

#[derive(Args)]
#[command(
    after_help = "Exit codes: 0 sound, 1 not sound or not to be read, 2 wrong usage, 6 in use by a server: stop it, or \
check a copy of the directory.\n\nExample:\n  copycat check ./copycat-data/server-1"
)]
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
        let disk = FileDisk::open_read_only(&self.directory).map_err(|e| match e {
            DirectoryError::InUse { path } => Failure::with_code(
                format!(
                    "{} is in use by a server, which changes it while it would be read: stop the server, or check a copy \
                     of the directory",
                    path.display()
                ),
                IN_USE,
            ),
            e => Failure::new(e),
        })?;
        let report = copycat_storage::check(&disk);
        let warnings = skipped(&disk);
        let start = (!report.is_sound()).then(|| start(&report));
        match self.output {
            Format::Text => {
                warnings.iter().for_each(|warning| println!("warning: {warning}"));
                println!("{report}");
                start.iter().for_each(|start| println!("A start: {start}"));
            }
            Format::Json => println!(
                "{}",
                serde_json::json!({
                    "sound": report.is_sound(),
                    "problems": report.problems,
                    "notes": report.notes,
                    "warnings": warnings,
                    "start": start,
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

/// What a start on a directory that is not sound does, and what helps.
fn start(report: &Report) -> String {
    let does = match &report.refusal {
        Some(refusal) => format!("refused ({refusal})"),
        None => "it serves until it reads what is damaged".to_owned(),
    };
    let stored = report.configuration.as_deref().filter(|bytes| !bytes.is_empty());
    let stored = stored.and_then(|bytes| decode::<(Index, Configuration)>(bytes).ok());
    let own = report.meta.as_ref().map_or(0, |meta| meta.server);
    let others = stored.map(|(_, configuration)| configuration.members.keys().any(|&id| id != own));
    format!("{does}. What helps: {}", copycat::server::remedy(others))
}
