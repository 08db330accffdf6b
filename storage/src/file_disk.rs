//! A directory of a real file system.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Advice, FallocateFlags, OFlags, fadvise, fallocate, fstatvfs};
use rustix::io::Errno;

use crate::disk::{Disk, DiskFile, Flush};
use crate::mapping::Mapping;

/// Who may read what is made: its owner, and nobody else. Keys and values are in there.
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;
/// The lock file's name. It holds nothing; the lock on it says that a server uses the directory.
const LOCK: &str = "LOCK";
/// What may lie beside the files of a server: its lock, and what some file systems have in their root.
const BESIDE: [&str; 2] = [LOCK, "lost+found"];

/// Why a directory could not be taken into use.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Another process holds the directory's lock.
    #[error(
        "{} is already in use by another server (or is being checked): stop that server or choose another directory",
        path.display()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot use {} as a data directory: {source}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    /// Open on the directory itself, for syncing it.
    directory: File,
    /// Held, never read: closing it gives the lock up. `None` where there is no lock file to hold.
    _lock: Option<File>,
    writable: bool,
}

/// A [`Disk`] in a directory of a file system. The directory is locked for the life of its clones
/// and of nothing else (mapped files may outlive them).
///
/// The file system must give `fallocate` real blocks that later writes use (ext4, XFS): on one that
/// copies on write, a full disk can still surprise a mapped write.
#[derive(Debug, Clone)]
pub struct FileDisk {
    shared: Arc<Shared>,
}

impl FileDisk {
    /// Takes `dir` into use, creating it (and its parents) if missing, and locks it.
    ///
    /// # Errors
    /// [`DirectoryError::InUse`] when another process (or another `FileDisk` of this one) has it.
    pub fn open(dir: impl AsRef<Path>) -> Result<FileDisk, DirectoryError> {
        let path = dir.as_ref();
        let io = |source| DirectoryError::Io { path: path.to_owned(), source };
        create_directory(path).map_err(io)?;
        let lock = new_file().create(true).truncate(false).open(path.join(LOCK)).map_err(io)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(DirectoryError::InUse { path: path.to_owned() });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        let directory = File::open(path).map_err(io)?;
        Ok(FileDisk {
            shared: Arc::new(Shared { path: path.to_owned(), directory, _lock: Some(lock), writable: true }),
        })
    }

    /// Opens `dir` for reading only: writes nothing, and every operation that would change something fails. For an
    /// offline check. As long as it lives no server takes the directory into use; others may read it beside this one.
    ///
    /// # Errors
    /// [`DirectoryError::InUse`] when a server has it: what it holds would change while it is read.
    /// [`DirectoryError::Io`] when the directory is missing or cannot be read.
    pub fn open_read_only(dir: impl AsRef<Path>) -> Result<FileDisk, DirectoryError> {
        let path = dir.as_ref();
        let directory = File::open(path)
            .and_then(|file| {
                if file.metadata()?.is_dir() { Ok(file) } else { Err(io::Error::from(io::ErrorKind::NotADirectory)) }
            })
            .map_err(|source| DirectoryError::Io { path: path.to_owned(), source })?;
        // A copy need not have the file, and no server uses one without it.
        let lock = File::open(path.join(LOCK)).ok();
        if lock.as_ref().is_some_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock))) {
            return Err(DirectoryError::InUse { path: path.to_owned() });
        }
        Ok(FileDisk { shared: Arc::new(Shared { path: path.to_owned(), directory, _lock: lock, writable: false }) })
    }

    /// The directory's permissions, if others than its owner have any: it was made so, and is left so.
    pub fn others_may(&self) -> Option<u32> {
        let mode = self.shared.directory.metadata().ok()?.permissions().mode() & 0o777;
        (mode & !DIRECTORY_MODE != 0).then_some(mode)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    fn writable(&self) -> io::Result<()> {
        if self.shared.writable {
            Ok(())
        } else {
            Err(io::Error::new(io::ErrorKind::PermissionDenied, "the directory was opened for reading only"))
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.shared.path.join(name)
    }
}

/// Opens what is made for this server alone, and through no link that somebody else has put there.
fn new_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(FILE_MODE).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    options
}

/// Creates a directory and its missing parents, each durable in its parent.
fn create_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    create_directory(parent)?;
    match fs::DirBuilder::new().mode(DIRECTORY_MODE).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    File::open(parent)?.sync_all()
}

impl Disk for FileDisk {
    type File = MappedFile;

    fn create(&self, name: &str, len: u64) -> io::Result<MappedFile> {
        self.writable()?;
        let path = self.file(name);
        let file = new_file().create_new(true).open(&path)?;
        // Never by writing zeros: that leaves large folios in the page cache, and flushing one
        // page then writes a mebibyte.
        let made = fallocate(&file, FallocateFlags::empty(), 0, len)
            .map_err(|error| match error {
                Errno::OPNOTSUPP => io::Error::new(
                    io::ErrorKind::Unsupported,
                    "this file system cannot allocate blocks ahead of use (fallocate): choose ext4 or XFS",
                ),
                error => io::Error::from(error),
            })
            .and_then(|()| Mapping::new(&file, true));
        match made {
            Ok(mapping) => Ok(MappedFile { file: Arc::new(file), mapping }),
            Err(error) => {
                // The first error is the one that matters; a file left behind is deleted at open.
                let _ = fs::remove_file(&path);
                Err(error)
            }
        }
    }

    fn open(&self, name: &str) -> io::Result<MappedFile> {
        let writable = self.shared.writable;
        let file = OpenOptions::new().read(true).write(writable).open(self.file(name))?;
        // After a failed flush the page cache shows bytes that are not on the disk, marked clean.
        // Write out what is dirty, then forget the cache, so that the disk itself is read.
        if writable {
            file.sync_data()?;
        }
        fadvise(&file, 0, None, Advice::DontNeed).map_err(io::Error::from)?;
        let mapping = Mapping::new(&file, writable)?;
        Ok(MappedFile { file: Arc::new(file), mapping })
    }

    fn read(&self, name: &str) -> io::Result<MappedFile> {
        let file = File::open(self.file(name))?;
        let mapping = Mapping::new(&file, false)?;
        Ok(MappedFile { file: Arc::new(file), mapping })
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.shared.path)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if !BESIDE.contains(&name.as_str()) {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.writable()?;
        fs::remove_file(self.file(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.writable()?;
        fs::rename(self.file(from), self.file(to))
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.writable()?;
        self.shared.directory.sync_all()
    }

    fn available(&self) -> io::Result<u64> {
        let stat = fstatvfs(&self.shared.directory).map_err(io::Error::from)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// A file of a [`FileDisk`], or of a [`RamDisk`](crate::RamDisk).
#[derive(Debug)]
pub struct MappedFile {
    file: Arc<File>,
    mapping: Mapping,
}

impl MappedFile {
    pub(crate) fn new(file: Arc<File>, mapping: Mapping) -> MappedFile {
        MappedFile { file, mapping }
    }
}

impl DiskFile for MappedFile {
    type Flush = FileFlush;

    fn len(&self) -> u64 {
        self.mapping.bytes().len() as u64
    }

    fn bytes(&self) -> &[u8] {
        self.mapping.bytes()
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        let bytes = self.mapping.bytes_mut().expect("a file opened for reading only is not written");
        let start = usize::try_from(offset).expect("an offset inside a mapping fits memory");
        bytes[start..start + data.len()].copy_from_slice(data);
    }

    fn release(&self) {
        self.mapping.release();
    }

    fn flusher(&self, _range: Range<u64>) -> FileFlush {
        // One fdatasync writes every dirty page of the file, those dirtied through the mapping
        // included; it costs what one msync costs, however many ranges are dirty.
        FileFlush { file: Arc::clone(&self.file) }
    }
}

/// Makes a [`MappedFile`] durable.
#[derive(Debug)]
pub struct FileFlush {
    file: Arc<File>,
}

impl Flush for FileFlush {
    fn run(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}
