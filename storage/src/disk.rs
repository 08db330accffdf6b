//! The port to the disk: everything this crate asks of a file system.
//!
//! The shipped log code runs over [`FileDisk`](crate::FileDisk) in a server and over
//! [`MemDisk`](crate::MemDisk) in a simulator, so it may use only what both can promise.

use std::io;
use std::ops::Range;

/// One flat directory of files.
///
/// Clones refer to the same directory. Names are plain file names without a separator.
pub trait Disk: Clone + Send + Sync + 'static {
    /// A file of this disk, mapped into memory.
    type File: DiskFile;

    /// Creates a file of exactly `len` zero bytes that has real blocks, so that writing it later
    /// cannot run out of room. The new name is durable only after [`Disk::sync_dir`].
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`] when there is no room, [`io::ErrorKind::AlreadyExists`] when
    /// the name is taken, or what the system says. After an error the name is not left behind
    /// (unless the disk itself is gone).
    fn create(&self, name: &str, len: u64) -> io::Result<Self::File>;

    /// Maps an existing file, with what is *on the disk*: bytes that an earlier process failed to
    /// flush are not shown as if they were there.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`], or what the system says.
    fn open(&self, name: &str) -> io::Result<Self::File>;

    /// Maps an existing file beside those who have it mapped already, to read what they have written so far.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`], or what the system says.
    fn read(&self, name: &str) -> io::Result<Self::File>;

    /// The names in the directory, sorted.
    ///
    /// # Errors
    /// What the system says.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Removes a name. A file that is still mapped stays readable through its mapping. Durable
    /// only after [`Disk::sync_dir`].
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`], or what the system says.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Gives the file `from` the name `to`, replacing a file of that name. Durable only after
    /// [`Disk::sync_dir`].
    ///
    /// # Errors
    /// What the system says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Makes every create, remove and rename before this call durable.
    ///
    /// # Errors
    /// What the system says; after an error nothing is known about those operations.
    fn sync_dir(&self) -> io::Result<()>;

    /// Bytes that can still be allocated.
    ///
    /// # Errors
    /// What the system says.
    fn available(&self) -> io::Result<u64>;
}

/// One mapped file. Its length never changes.
pub trait DiskFile: Send + Sync + 'static {
    /// What makes a range of this file durable, on any thread.
    type Flush: Flush;

    /// Length in bytes.
    fn len(&self) -> u64;

    /// Whether the file has no bytes at all (a creation that a power cut interrupted).
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All bytes, as written so far.
    fn bytes(&self) -> &[u8];

    /// Copies `data` to `offset`. Memory only: the system may write it to the disk at any time
    /// and in any order, in whole sectors of 512 bytes, and need not before a flush.
    ///
    /// # Panics
    /// When the range is not inside the file, or the disk was opened for reading only.
    fn write(&mut self, offset: u64, data: &[u8]);

    /// Says that this process need not hold the file's pages in its own memory. Changes no byte, and no durability.
    fn release(&self) {}

    /// A job that makes everything written in `range` *before this call* durable.
    fn flusher(&self, range: Range<u64>) -> Self::Flush;
}

/// A flush that can run on another thread.
pub trait Flush: Send + 'static {
    /// Waits until the bytes are durable.
    ///
    /// # Errors
    /// What the system says. A failed flush must never be tried again and called durable: the
    /// system may have dropped the pages.
    fn run(&self) -> io::Result<()>;
}
