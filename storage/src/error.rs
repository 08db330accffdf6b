//! What can go wrong, and what to do about it.

use std::fmt;
use std::io;

use rustix::io::Errno;

/// Bytes on the disk that were whole once and are not any more. Never the work of a power cut.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Corrupt {
    /// The file's name in the data directory.
    pub file: String,
    /// Where in the file, in bytes.
    pub offset: u64,
    /// The log index concerned; 0 when it is not about an entry.
    pub index: u64,
    /// What is wrong there.
    pub reason: &'static str,
}

/// The reason when a file of the log is not there at all.
pub(crate) const MISSING: &str = "the segment is missing";
/// The reason when none of its files is.
pub(crate) const LOG_MISSING: &str = "the log is missing";

impl Corrupt {
    /// The log of a directory that has none of its files, though one was begun there. `snapshot`: what a snapshot that is
    /// still there covers, 0 if there is none.
    pub(crate) fn log_missing(snapshot: u64) -> Corrupt {
        Corrupt { file: "*.log".to_owned(), offset: 0, index: snapshot, reason: LOG_MISSING }
    }

    /// Whether it is about files that are not there, rather than about bytes that have changed: whoever moved them away
    /// can bring them back.
    pub fn is_missing(&self) -> bool {
        self.reason == MISSING || self.reason == LOG_MISSING
    }
}

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Corrupt { file, offset, index, reason } = self;
        match *reason {
            MISSING => write!(f, "{file} is missing (the log file that holds entry {index})"),
            LOG_MISSING if *index > 0 => {
                write!(f, "the log is missing: no file {file} is there, though the snapshot at entry {index} needs it")
            }
            LOG_MISSING => write!(f, "the log is missing: no file {file} is there, though this server had one"),
            _ => write!(f, "{file} is damaged at offset {offset} (log index {index}): {reason}"),
        }
    }
}

/// Why a data directory could not be opened. Nothing in it was changed, except after
/// [`OpenError::Io`], which may come in the middle of a repair that the next open goes on with.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Flushed bytes are gone or changed.
    #[error("{0}; nothing was changed")]
    Corrupt(#[from] Corrupt),
    /// A file that this crate never makes.
    #[error("{name} does not belong into a data directory: move it elsewhere and start again")]
    Foreign {
        /// The file's name.
        name: String,
    },
    /// A file of a later version of this crate.
    #[error("{file} has format version {found}, this program knows {known}: start a newer version")]
    FutureFormat {
        /// The file's name.
        file: String,
        /// The version it has.
        found: u16,
        /// The highest version known here.
        known: u16,
    },
    /// Both copies of the meta file are gone or damaged: the server no longer knows for whom it
    /// voted, so it must not vote as the same server again.
    #[error(
        "meta-0 and meta-1 are both lost, nothing was changed: bring one back, or, if other servers have the data, join \
         them as a new server with another, empty directory"
    )]
    MetaLost,
    /// The options make no sense.
    #[error("segment size {size}: choose a multiple of 4096 from 4096 to {most} bytes")]
    SegmentSize {
        /// The size asked for, in bytes.
        size: u32,
        /// The largest allowed.
        most: u32,
    },
    /// The system refused.
    #[error("cannot {action} {file}: {source}; mend that and start again")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file's name, or `the data directory`.
        file: String,
        /// What the system says.
        source: io::Error,
    },
}

impl OpenError {
    pub(crate) fn io(action: &'static str, file: &str, source: io::Error) -> OpenError {
        OpenError::Io { action, file: file.to_owned(), source }
    }

    pub(crate) fn directory(action: &'static str, source: io::Error) -> OpenError {
        OpenError::io(action, "the data directory", source)
    }
}

/// Why an append or a truncation was not done. Nothing changed, and it can be tried again.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The entry does not fit a segment.
    #[error("an entry of {bytes} bytes of data is too large: at most {most}")]
    TooLarge {
        /// Its data, in bytes.
        bytes: usize,
        /// The most that fits, in bytes.
        most: usize,
    },
    /// There is no room for the next segment, or no file descriptor: there may be later.
    #[error("no room for the next log segment: {0}")]
    Full(io::Error),
    /// The next segment could not be created for another reason.
    #[error("cannot create the next log segment: {0}")]
    Disk(io::Error),
    /// A flush failed earlier: what the log holds is no longer known to be on the disk, so nothing
    /// more is written. The process must end.
    #[error("an earlier flush failed: stop this server and check its disk")]
    Failed,
}

impl AppendError {
    pub(crate) fn create(error: io::Error) -> AppendError {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => AppendError::Full(error),
            _ if is_out_of_descriptors(&error) => AppendError::Full(error),
            _ => AppendError::Disk(error),
        }
    }
}

/// The process or the system has as many files open as it may. That passes.
fn is_out_of_descriptors(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::MFILE | Errno::NFILE))
}

/// Why work in the background (a snapshot, a compaction) came to nothing. The log and the snapshot
/// are what they were.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// An entry that it read has changed on the disk.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
    /// An entry that was asked for is not in the log.
    #[error("entry {0} is not in the log")]
    Missing(u64),
    /// The disk refused; it may be full.
    #[error("the disk refused: {0}")]
    Io(#[from] io::Error),
}
