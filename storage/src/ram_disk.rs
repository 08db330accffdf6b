//! Disks that keep nothing, and disks that are the one or the other.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{FallocateFlags, fallocate};

use crate::disk::Disk;
use crate::file_disk::{FileDisk, MappedFile};
use crate::mapping::Mapping;

/// By name: a file's length, and the file.
type Names = BTreeMap<String, (u64, Arc<File>)>;

/// A [`Disk`] in this machine's memory: what is on it is gone with its last clone. Clones are the same disk.
///
/// Its files have no names in any file system, and are mapped as those of a directory are, so that the same code runs over
/// both. Unlike [`MemDisk`](crate::MemDisk) it simulates nothing: it is for servers.
#[derive(Clone, Debug)]
pub struct RamDisk {
    names: Arc<Mutex<Names>>,
    capacity: u64,
}

impl RamDisk {
    /// An empty disk. Its files may have `capacity` bytes together; then it is full.
    pub fn new(capacity: u64) -> RamDisk {
        RamDisk { names: Arc::default(), capacity }
    }

    fn lock(&self) -> MutexGuard<'_, Names> {
        // Each operation is one change of the map: a panic leaves none half done.
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, name: &str) -> io::Result<Arc<File>> {
        let found = self.lock().get(name).map(|(_, file)| file.clone());
        found.ok_or_else(|| missing(name))
    }
}

/// An empty file that is in memory only.
#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
fn nameless() -> io::Result<File> {
    use rustix::fs::{MemfdFlags, memfd_create};
    Ok(File::from(memfd_create("copycat", MemfdFlags::CLOEXEC)?))
}

/// Where the system has no such thing: one that lost its name at once, so that it goes with its last user.
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
fn nameless() -> io::Result<File> {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("copycat-{}-{number}", std::process::id()));
    let file = std::fs::OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

fn missing(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("no file {name}"))
}

fn used(names: &Names) -> u64 {
    names.values().map(|(len, _)| len).sum()
}

impl Disk for RamDisk {
    type File = MappedFile;

    fn create(&self, name: &str, len: u64) -> io::Result<MappedFile> {
        let mut names = self.lock();
        if names.contains_key(name) {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists));
        }
        if used(&names).saturating_add(len) > self.capacity {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        let file = Arc::new(nameless()?);
        if len > 0 {
            // Real pages, so that no later write runs out of memory.
            fallocate(&*file, FallocateFlags::empty(), 0, len)?;
        }
        let mapping = Mapping::new(&file, true)?;
        names.insert(name.to_owned(), (len, file.clone()));
        Ok(MappedFile::new(file, mapping))
    }

    fn open(&self, name: &str) -> io::Result<MappedFile> {
        let file = self.find(name)?;
        let mapping = Mapping::new(&file, true)?;
        Ok(MappedFile::new(file, mapping))
    }

    fn read(&self, name: &str) -> io::Result<MappedFile> {
        let file = self.find(name)?;
        let mapping = Mapping::new(&file, false)?;
        Ok(MappedFile::new(file, mapping))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.lock().keys().cloned().collect())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.lock().remove(name).map(drop).ok_or_else(|| missing(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut names = self.lock();
        let file = names.remove(from).ok_or_else(|| missing(from))?;
        names.insert(to.to_owned(), file);
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        Ok(())
    }

    fn available(&self) -> io::Result<u64> {
        Ok(self.capacity.saturating_sub(used(&self.lock())))
    }
}

/// The disk of a server, which is told at start where it keeps its data.
#[derive(Clone, Debug)]
pub enum AnyDisk {
    /// In a directory.
    File(FileDisk),
    /// In memory.
    Ram(RamDisk),
}

/// The same of whichever disk it is.
macro_rules! either {
    ($disk:expr, $name:ident $(, $argument:expr)*) => {
        match $disk {
            AnyDisk::File(disk) => disk.$name($($argument),*),
            AnyDisk::Ram(disk) => disk.$name($($argument),*),
        }
    };
}

impl Disk for AnyDisk {
    type File = MappedFile;

    fn create(&self, name: &str, len: u64) -> io::Result<MappedFile> {
        either!(self, create, name, len)
    }

    fn open(&self, name: &str) -> io::Result<MappedFile> {
        either!(self, open, name)
    }

    fn read(&self, name: &str) -> io::Result<MappedFile> {
        either!(self, read, name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        either!(self, list)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        either!(self, remove, name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        either!(self, rename, from, to)
    }

    fn sync_dir(&self) -> io::Result<()> {
        either!(self, sync_dir)
    }

    fn available(&self) -> io::Result<u64> {
        either!(self, available)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{DiskFile, Flush};

    #[test]
    fn a_file_is_read_beside_its_writer_and_outlives_its_name() {
        let disk = RamDisk::new(1 << 20);
        let mut file = disk.create("a", 8192).expect("room");
        file.write(5000, b"seen");
        let beside = disk.read("a").expect("there");
        file.write(6000, b"too");
        assert_eq!((&beside.bytes()[5000..5004], &beside.bytes()[6000..6003]), (&b"seen"[..], &b"too"[..]));
        file.flusher(0..8192).run().expect("nothing to do");
        disk.rename("a", "b").expect("there");
        disk.remove("b").expect("there");
        drop(file);
        assert_eq!(&beside.bytes()[5000..5004], b"seen");
        assert_eq!(disk.open("b").err().map(|e| e.kind()), Some(io::ErrorKind::NotFound));
    }

    #[test]
    fn it_is_full_at_its_capacity() {
        let disk = RamDisk::new(10_000);
        let kept = disk.create("a", 8192).expect("room");
        assert_eq!(disk.create("b", 4096).err().map(|e| e.kind()), Some(io::ErrorKind::StorageFull));
        assert_eq!((disk.available().ok(), disk.list().ok()), (Some(1808), Some(vec!["a".to_owned()])));
        drop(kept);
        disk.remove("a").expect("there");
        assert!(disk.create("b", 8192).is_ok());
    }
}
