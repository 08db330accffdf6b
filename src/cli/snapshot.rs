//! `copycat snapshot`

use super::client::Call;
use super::{Failure, Format, Target, server};
use clap::{Args, Subcommand};
use copycat::backup::{Header, Reader, Restore as Job};
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub(super) struct Snapshot {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Has the server at the endpoint take a snapshot of its state
    Take(Take),
    /// Writes the latest snapshot of the server at the endpoint to a file, complete and verified
    Save(Save),
    /// Makes the data directory of one server of a new cluster from such a file
    Restore(Restore),
}

impl Snapshot {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::Take(c) => c.run(),
            Command::Save(c) => c.run(),
            Command::Restore(c) => c.run(),
        }
    }
}

#[derive(Args)]
struct Take {
    #[command(flatten)]
    target: Target,
}

impl Take {
    fn run(self) -> Result<(), Failure> {
        let call = Call { query: vec![("timeout", b"60s".to_vec())], ..Call::new("POST", "/v1/snapshots") };
        let answer = self.target.client().call(&call)?.expect(&[200, 201])?;
        let what = if answer.status == 201 { "snapshot taken" } else { "there is one as new" };
        self.target.print(&answer.json()?, |taken| {
            format!("{what}: index {}, {} bytes, {} entries", taken["index"], taken["bytes"], taken["references"])
        });
        Ok(())
    }
}

#[derive(Args)]
#[command(after_help = "Example:\n  copycat snapshot take && copycat snapshot save ./copycat.backup")]
struct Save {
    /// The file; written beside it first, as FILE.part
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Replace the file if it is there
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    target: Target,
}

/// Hands on what it reads, and writes it to a file.
struct Copying<R> {
    from: R,
    to: File,
    bytes: u64,
    /// Why the file could not be written: to whoever reads, that looks like any other end.
    failed: Option<io::Error>,
}

impl<R: Read> Read for Copying<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        if let Err(e) = self.to.write_all(&buffer[..read]) {
            let kind = e.kind();
            self.failed = Some(e);
            return Err(kind.into());
        }
        self.bytes += read as u64;
        Ok(read)
    }
}

/// A new file, for its owner alone: all keys and values will be in there. What is left of an earlier try, or was put there by
/// somebody else, is taken away, and never written to or through.
fn create(part: &Path) -> io::Result<File> {
    match fs::symlink_metadata(part).map(|found| found.file_type()) {
        Ok(kind) if kind.is_file() || kind.is_symlink() => fs::remove_file(part)?,
        Ok(_) => return Err(io::Error::new(io::ErrorKind::AlreadyExists, "it is no regular file, and is left alone")),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    File::options().write(true).create_new(true).mode(0o600).open(part)
}

/// Writes a backup to a file, and verifies it on its way.
fn copy(from: impl Read, to: File, part: &Path) -> Result<(Header, u64), Failure> {
    let failed = |e: io::Error| Failure::new(format!("{}: {e}", part.display()));
    let mut copy = Copying { from, to, bytes: 0, failed: None };
    let reader = Reader::new(BufReader::with_capacity(1 << 20, &mut copy));
    let verified = reader.and_then(Reader::verify);
    if let Some(e) = copy.failed {
        return Err(failed(e));
    }
    let header = verified.map_err(Failure::new)?;
    copy.to.sync_all().map_err(failed)?;
    Ok((header, copy.bytes))
}

impl Save {
    fn run(self) -> Result<(), Failure> {
        let place = self.file.display();
        if !self.force && self.file.exists() {
            return Err(Failure::new(format!("{place} is there already: choose another name, or say --force")));
        }
        let mut part = self.file.clone().into_os_string();
        part.push(".part");
        let part = PathBuf::from(part);
        let done = self.download(&part);
        if done.is_err() {
            let _ = fs::remove_file(&part);
        }
        let (header, bytes) = done?;
        match self.target.output {
            Format::Json => println!(
                "{}",
                serde_json::json!({
                    "file": self.file,
                    "index": header.index,
                    "term": header.term,
                    "entries": header.entries,
                    "bytes": bytes,
                })
            ),
            Format::Text => println!("{place}: index {}, {} entries, {bytes} bytes", header.index, header.entries),
        }
        Ok(())
    }

    fn download(&self, part: &Path) -> Result<(Header, u64), Failure> {
        let failed = |e: io::Error| Failure::new(format!("{}: {e}", part.display()));
        let body = self.target.client().download("/v1/snapshots/latest")?;
        let to = create(part).map_err(|e| Failure::new(format!("{}: {e}", part.display())))?;
        let copied = copy(body, to, part)?;
        if self.force {
            fs::rename(part, &self.file).map_err(failed)?;
        } else {
            // Unlike a rename, it never replaces a file that came meanwhile.
            fs::hard_link(part, &self.file).and_then(|()| fs::remove_file(part)).map_err(failed)?;
        }
        let parent = self.file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(parent).and_then(|directory| directory.sync_all()).map_err(failed)?;
        Ok(copied)
    }
}

#[derive(Args)]
#[command(
    after_help = "Once for each server of the new cluster, with the same list, before any is started:\n  copycat snapshot \
restore ./copycat.backup --data ./new-1 --id 1 \\\n    --bootstrap 1=127.0.0.1:9700,2=127.0.0.1:9701,3=127.0.0.1:9702\n\
Then each is started with that directory, number and list."
)]
struct Restore {
    /// The file that `snapshot save` wrote
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The server's data directory: empty, or not there
    #[arg(long)]
    data: PathBuf,
    /// The server's number in the new cluster
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    id: u64,
    /// All members of the new cluster and their peer addresses, the same list for each
    #[arg(long, value_name = "1=ADDR,2=ADDR,…", value_parser = server::bootstrap)]
    bootstrap: server::Members,
    /// How to print
    #[arg(long, value_enum, default_value = "text")]
    output: Format,
}

impl Restore {
    fn run(self) -> Result<(), Failure> {
        let job = Job { backup: self.file, data: self.data, id: self.id, bootstrap: self.bootstrap.0 };
        let restored = job.run()?;
        match self.output {
            Format::Json => println!(
                "{}",
                serde_json::json!({
                    "data": job.data,
                    "index": restored.index,
                    "term": restored.term,
                    "entries": restored.entries,
                    "identity": format!("{:016x}", restored.identity),
                })
            ),
            Format::Text => println!(
                "{}: index {}, {} entries; start the server when all of its cluster are restored",
                job.data.display(),
                restored.index,
                restored.entries
            ),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_is_told_with_the_file() {
        let to = |device: &str| File::options().write(true).open(device).expect("the device opens");
        let from = &[7; 2_000_000][..];
        let failure = copy(from, to("/dev/full"), Path::new("/dev/full")).expect_err("it takes nothing");
        assert!(failure.text.starts_with("/dev/full: No space left"), "{}", failure.text);
        let failure = copy(from, to("/dev/null"), Path::new("/dev/null")).expect_err("it is no backup");
        assert!(!failure.text.contains("/dev/null"), "{}", failure.text);
    }

    #[test]
    fn only_a_regular_file_or_a_link_is_replaced() {
        let directory = std::env::temp_dir().join(format!("copycat-part-{}", std::process::id()));
        fs::create_dir_all(directory.join("part")).expect("a directory is made");
        let refused = create(&directory.join("part")).expect_err("a directory is left alone");
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        let part = directory.join("file");
        fs::write(&part, "an earlier try").expect("a file is written");
        drop(create(&part).expect("it is replaced"));
        assert_eq!(fs::read(&part).expect("it is read"), b"");
        fs::remove_dir_all(&directory).expect("the directory goes");
    }
}
