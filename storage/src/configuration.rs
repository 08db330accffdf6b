//! The configuration file: bytes of the engine's, checked and replaced as a whole.
//!
//! | at | size | field |
//! |---|---|---|
//! | 0 | 8 | magic `CCATCONF` |
//! | 8 | 2 | format version |
//! | 10 | 2 | 0 |
//! | 12 | 4 | CRC32C of the whole file, with this field 0 |
//! | 16 | 8 | bytes of data |
//! | 24 | n | data |

use std::io;

use crate::bytes::{put, u16_at, u32_at, u64_at};
use crate::disk::{Disk, DiskFile, Flush};
use crate::error::{Corrupt, OpenError};

/// The file.
pub(crate) const NAME: &str = "configuration";
/// Its successor while it is being written; without meaning after a crash.
pub(crate) const TEMPORARY: &str = "configuration.tmp";

const HEADER: usize = 24;
const MAGIC: &[u8; 8] = b"CCATCONF";
const FORMAT: u16 = 1;

/// Replaces the file durably: write aside, flush, rename, sync the directory. Inside: whether that was done; if not, the
/// old file is there, and it may be tried again, since each try writes another file from its beginning.
///
/// # Errors
/// If the directory could not be synced: that may have been about the names of other files too.
pub(crate) fn save<D: Disk>(disk: &D, data: &[u8]) -> io::Result<io::Result<()>> {
    match replace(disk, data) {
        Ok(()) => disk.sync_dir().map(Ok),
        Err(error) => Ok(Err(error)),
    }
}

fn replace<D: Disk>(disk: &D, data: &[u8]) -> io::Result<()> {
    match disk.remove(TEMPORARY) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut bytes = vec![0; HEADER + data.len()];
    put(&mut bytes, 0, MAGIC);
    put(&mut bytes, 8, &FORMAT.to_le_bytes());
    put(&mut bytes, 16, &(data.len() as u64).to_le_bytes());
    put(&mut bytes, HEADER, data);
    let crc = crc32c::crc32c(&bytes);
    put(&mut bytes, 12, &crc.to_le_bytes());
    let mut file = disk.create(TEMPORARY, bytes.len() as u64)?;
    file.write(0, &bytes);
    file.flusher(0..bytes.len() as u64).run()?;
    disk.rename(TEMPORARY, NAME)
}

/// The data of the file, and why there is none though there is a file: it is a cache of what log and snapshot say.
///
/// # Errors
/// If the file is of a later version.
pub(crate) fn read_cache<D: Disk>(disk: &D, names: &[String]) -> Result<(Vec<u8>, Option<String>), OpenError> {
    match read(disk, names) {
        Ok(data) => Ok((data, None)),
        Err(OpenError::Corrupt(damage)) => Ok((Vec::new(), Some(damage.to_string()))),
        Err(OpenError::Io { source, .. }) => Ok((Vec::new(), Some(format!("{NAME} cannot be read: {source}")))),
        Err(error) => Err(error),
    }
}

/// The data of the file, empty when there is none.
pub(crate) fn read<D: Disk>(disk: &D, names: &[String]) -> Result<Vec<u8>, OpenError> {
    if !names.iter().any(|name| name == NAME) {
        return Ok(Vec::new());
    }
    let file = disk.open(NAME).map_err(|source| OpenError::io("open", NAME, source))?;
    decode(file.bytes())
}

fn decode(bytes: &[u8]) -> Result<Vec<u8>, OpenError> {
    let corrupt = |reason| OpenError::Corrupt(Corrupt { file: NAME.to_owned(), offset: 0, index: 0, reason });
    if bytes.len() < HEADER || bytes[..8] != MAGIC[..] {
        return Err(corrupt("not a configuration"));
    }
    let mut copy = bytes.to_vec();
    put(&mut copy, 12, &[0; 4]);
    if u32_at(bytes, 12) != crc32c::crc32c(&copy) {
        return Err(corrupt("wrong checksum"));
    }
    let format = u16_at(bytes, 8);
    if format > FORMAT {
        return Err(OpenError::FutureFormat { file: NAME.to_owned(), found: format, known: FORMAT });
    }
    if u64_at(bytes, 16) != (bytes.len() - HEADER) as u64 {
        return Err(corrupt("wrong length"));
    }
    Ok(bytes[HEADER..].to_vec())
}
