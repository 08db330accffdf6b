//! A backup becomes the beginning of a new cluster.

use super::{BackupError, Part, Reader};
use crate::clock::wall_ms;
use crate::engine::{Configuration, ServerId, encode};
use crate::server::ServerError;
use copycat_storage::{Disk, FileDisk, Incoming, InstallError, Meta, Seed, Storage};
use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

/// What is restored, and where to.
#[derive(Clone, Debug)]
pub struct Restore {
    /// The backup.
    pub backup: PathBuf,
    /// The data directory of one server of the new cluster: empty, or not there.
    pub data: PathBuf,
    /// The server's number.
    pub id: ServerId,
    /// The new cluster's members and their peer addresses, the same for each of them.
    pub bootstrap: Vec<(ServerId, String)>,
}

/// What was restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The last entry whose effect is there: the new cluster's indexes, versions and tokens are above it.
    pub index: u64,
    /// The term of that entry.
    pub term: u64,
    /// How many entries of the log came with the snapshot.
    pub entries: u64,
    /// The directory's new identity.
    pub identity: u64,
}

impl Restore {
    /// Makes the directory. The backup is read twice: nothing is written before all of it was found whole.
    ///
    /// The first leader draws a new cluster id, so that no server of the old cluster is let in. To be done for each server of
    /// the new cluster, with the same backup and list, before any is started. A directory in which it failed must be
    /// emptied.
    ///
    /// # Errors
    /// If the backup is damaged, the directory is not empty, or the disk fails: one line that says what to do.
    pub fn run(&self) -> Result<Restored, ServerError> {
        let place = self.data.display();
        let configuration = Configuration::bootstrap(self.bootstrap.iter().cloned());
        if !configuration.members.contains_key(&self.id) {
            return Err(ServerError::new(format!("--bootstrap does not list server {} itself: add it", self.id)));
        }
        let header = self.reader()?.verify().map_err(|e| self.unreadable(&e))?;
        self.is_empty()?;
        let failed = |e: &dyn std::fmt::Display| ServerError::new(format!("{place}: {e}; empty it before another try"));
        let disk = FileDisk::open(&self.data).map_err(|e| failed(&e))?;
        let random = |e| ServerError::new(format!("no random numbers: {e}"));
        let identity = getrandom::u64().map_err(random)? | 1;
        let seed = Seed { identity, salt: getrandom::u32().map_err(random)?, now_ms: wall_ms() };
        let mut storage = Storage::open(disk, copycat_storage::Options::default(), seed).map_err(|e| failed(&e))?;
        self.fill(&mut storage)?;
        let info = storage.snapshot().ok_or_else(|| failed(&"nothing was restored, which is a bug"))?;
        if (info.index, info.term, info.references) != (header.index, header.term, header.entries) {
            return Err(failed(&"the backup's header tells of another snapshot than it holds"));
        }
        storage.set_meta(Meta { server: self.id, cluster: 0, term: info.term, vote: 0, ..storage.meta().clone() });
        storage.set_configuration(encode(&(info.index, configuration)));
        // One job: the snapshot and its log before the configuration, without which the server would not start on them.
        while let Some(job) = storage.flush() {
            let persisted = job.run().map_err(|e| failed(&e))?;
            storage.persisted(persisted);
        }
        if let Some(why) = storage.unsaved() {
            return Err(failed(&format!("the configuration cannot be written: {why}")));
        }
        Ok(Restored { index: info.index, term: info.term, entries: info.references, identity })
    }

    fn reader(&self) -> Result<Reader<BufReader<File>>, ServerError> {
        let file = File::open(&self.backup).map_err(|e| self.unreadable(&BackupError::Io(e)))?;
        Reader::new(BufReader::with_capacity(1 << 20, file)).map_err(|e| self.unreadable(&e))
    }

    fn unreadable(&self, error: &BackupError) -> ServerError {
        ServerError::new(format!("{}: {error}", self.backup.display()))
    }

    fn is_empty(&self) -> Result<(), ServerError> {
        let place = self.data.display();
        let names = match std::fs::read_dir(&self.data) {
            Ok(names) => names.count(),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => 0,
            Err(e) => return Err(ServerError::new(format!("{place}: {e}"))),
        };
        if names > 0 {
            return Err(ServerError::new(format!(
                "{place} is not empty: a backup is restored into an empty directory"
            )));
        }
        Ok(())
    }

    /// Installs the snapshot, in memory.
    fn fill<D: Disk>(&self, storage: &mut Storage<D>) -> Result<(), ServerError> {
        let wrong = |e: InstallError| {
            let (backup, place) = (self.backup.display(), self.data.display());
            ServerError::new(format!("{backup} cannot be restored into {place}: {e}; empty it before another try"))
        };
        let mut reader = self.reader()?;
        let mut incoming: Option<Incoming<D>> = None;
        while let Some(part) = reader.next_part().map_err(|e| self.unreadable(&e))? {
            match (part, &mut incoming) {
                (Part::Snapshot(bytes), None) => incoming = Some(storage.receive(&bytes).map_err(wrong)?),
                (Part::Snapshot(bytes), Some(incoming)) => {
                    incoming.write(incoming.received(), &bytes).map_err(wrong)?;
                }
                (Part::Entry(entry), Some(incoming)) => storage.stage(incoming, &entry).map_err(wrong)?,
                (Part::Entry(_), None) => return Err(wrong(InstallError::Unusable("it has no snapshot".to_owned()))),
            }
        }
        let incoming = incoming.ok_or_else(|| wrong(InstallError::Unusable("it has no snapshot".to_owned())))?;
        let staged = storage.received(incoming).and_then(copycat_storage::StageJob::run).map_err(wrong)?;
        storage.install(staged).map_err(|refused| wrong(refused.reason))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Encoder;
    use super::*;
    use copycat_storage::{Entry, MemDisk, Snapshot};
    use std::path::Path;

    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("copycat-backup-{}-{name}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            std::fs::create_dir_all(&path).expect("a directory");
            Self(path)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn entry(index: u64) -> Entry {
        Entry { index, term: 4, time: index, session: 0, sequence: 0, kind: 3, mode: 1, data: vec![7; 300] }
    }

    fn flush(storage: &mut Storage<MemDisk>) {
        while let Some(job) = storage.flush() {
            let persisted = job.run().expect("a flush");
            storage.persisted(persisted);
        }
    }

    /// The backup of a log whose snapshot at 30 refers to every third entry.
    fn backup() -> Vec<u8> {
        let seed = Seed { identity: 1, salt: 2, now_ms: 3 };
        let options = copycat_storage::Options { segment_size: 4096 };
        let mut storage = Storage::open(MemDisk::new(), options, seed).expect("it opens");
        for index in 1..=40 {
            storage.append(&entry(index)).expect("room");
        }
        flush(&mut storage);
        let references: Vec<u64> = (1..=30).step_by(3).collect();
        let payload = vec![9; 100_000];
        let job = storage.take_snapshot(Snapshot { index: 30, time: 30, references, payload }).expect("a job");
        storage.snapshotted(job.run()).expect("a snapshot");
        flush(&mut storage);
        let stream = storage.stream().expect("a snapshot");
        let (mut encoder, mut bytes) = Encoder::begin(&stream.info());
        let mut at = 0;
        loop {
            let chunk = stream.chunk(at, 10_000).expect("whole");
            if chunk.is_empty() {
                break;
            }
            at += chunk.len() as u64;
            bytes.extend(encoder.snapshot(chunk));
        }
        for place in 0.. {
            let Some(reference) = stream.reference(place) else { break };
            let entry = storage.get(reference.index).expect("whole").expect("there");
            bytes.extend(encoder.entry(entry));
        }
        bytes.extend(encoder.end());
        bytes
    }

    fn restore(directory: &Path, bytes: &[u8], id: u64) -> Result<Restored, ServerError> {
        let backup = directory.join("backup");
        std::fs::write(&backup, bytes).expect("a file");
        let bootstrap = vec![(1, "127.0.0.1:1".to_string()), (2, "127.0.0.1:2".to_string())];
        Restore { backup, data: directory.join(format!("server-{id}")), id, bootstrap }.run()
    }

    #[test]
    fn a_backup_is_restored_into_a_directory_that_opens() {
        let directory = Directory::new("opens");
        let restored = restore(&directory.0, &backup(), 2).expect("it is restored");
        assert_eq!((restored.index, restored.term, restored.entries), (30, 4, 10));
        let disk = FileDisk::open(directory.0.join("server-2")).expect("a directory");
        let seed = Seed { identity: 1, salt: 2, now_ms: 3 };
        let mut storage = Storage::open(disk, copycat_storage::Options::default(), seed).expect("it opens");
        let meta = storage.meta();
        assert_eq!((meta.server, meta.cluster, meta.term, meta.identity), (2, 0, 4, restored.identity));
        assert!(!meta.lost && restored.identity != 1);
        assert_eq!((storage.last_index(), storage.last_term()), (30, 4));
        assert_eq!(storage.snapshot_payload().expect("whole"), vec![9; 100_000]);
        for index in 1..=30 {
            let there = storage.get(index).expect("whole").map(|e| e.to_owned());
            assert_eq!(there, (index % 3 == 1).then(|| entry(index)), "{index}");
        }
        let (index, configuration): (u64, Configuration) =
            crate::engine::decode(storage.configuration()).expect("a configuration");
        assert_eq!((index, configuration.members.len(), configuration.cluster), (30, 2, 0));
        storage.append(&entry(31)).expect("it goes on");
        drop(storage);
        let again = restore(&directory.0, &backup(), 2).expect_err("it is not empty").to_string();
        assert!(again.contains("not empty"), "{again}");
        assert!(restore(&directory.0, &backup(), 3).expect_err("it is not listed").to_string().contains("--bootstrap"));
    }

    #[test]
    fn any_change_of_a_backup_is_found_before_anything_is_written() {
        let directory = Directory::new("damage");
        let good = backup();
        assert!(Reader::new(good.as_slice()).expect("a backup").verify().is_ok());
        let read = |bytes: &[u8]| Reader::new(bytes).and_then(Reader::verify);
        for at in (0..good.len()).step_by(97).chain(good.len() - 32..good.len()) {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            assert!(read(&bad).is_err(), "byte {at} changed");
            assert!(read(&good[..at]).is_err(), "cut at {at}");
        }
        let mut longer = good.clone();
        longer.push(0);
        assert!(read(&longer).is_err());
        let mut bad = good.clone();
        bad[50_000] ^= 1;
        let error = restore(&directory.0, &bad, 1).expect_err("it is damaged").to_string();
        assert!(error.contains("damaged at byte 4"), "the part that the byte is in: {error}");
        assert!(!directory.0.join("server-1").exists());
    }
}
