//! The durable state of one Copycat server: its log, its meta record (term, vote, identity) and its
//! configuration, in one directory.
//!
//! * [`Storage`] is all of it. Writes go to memory; a [`FlushJob`] makes them durable on another
//!   thread, and [`Storage::persisted`] is told.
//! * [`Disk`] is the port to the file system: [`FileDisk`] in a server, [`RamDisk`] in one that keeps
//!   nothing over a restart, [`MemDisk`] in tests and simulations, where power cuts, torn pages, failing flushes and full disks can be had at will.
//! * [`check()`] verifies a directory offline.
//!
//! No async, no threads, no clock, no randomness, no Raft: terms and indexes are numbers here. The
//! bytes on the disk are described in `docs/file-format.md`.

mod bytes;
mod check;
mod configuration;
mod disk;
mod entries;
mod entry;
mod error;
mod file_disk;
mod job;
mod log;
mod mapping;
mod mem_disk;
mod meta;
mod ram_disk;
mod snapshot;
mod storage;

pub use check::{Report, SegmentReport, check};
pub use disk::{Disk, DiskFile, Flush};
pub use entries::each_entry;
pub use entry::{Entry, EntryRef};
pub use error::{AppendError, Corrupt, OpenError, WorkError};
pub use file_disk::{DirectoryError, FileDisk, FileFlush, MappedFile};
pub use job::{FlushJob, Persisted, PrepareJob, Prepared};
pub use log::{Bounds, Compacted, CompactionJob, Lookup, SegmentInfo};
pub use mem_disk::{MemDisk, MemFile, MemFlush};
pub use meta::Meta;
pub use ram_disk::{AnyDisk, RamDisk};
pub use snapshot::{
    Incoming, InstallError, Reference, Refused, Snapshot, SnapshotInfo, SnapshotJob, SnapshotStream, StageJob, Staged,
    Written,
};
pub use storage::{DEFAULT_SEGMENT, MAX_SEGMENT, MIN_SEGMENT, Opened, Options, Seed, Storage, stored_configuration};
