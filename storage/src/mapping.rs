//! The one file with `unsafe`: mapping a file into memory.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;

use memmap2::{Mmap, MmapMut, UncheckedAdvice};

/// A file's bytes in memory.
#[derive(Debug)]
pub(crate) enum Mapping {
    /// Shared and writable: writes reach the file.
    Write(MmapMut),
    /// For reading only.
    Read(Mmap),
    /// A file of no bytes cannot be mapped.
    Empty,
}

impl Mapping {
    /// Maps all of `file`, which must be open for reading and, if `writable`, for writing.
    pub(crate) fn new(file: &File, writable: bool) -> io::Result<Mapping> {
        if file.metadata()?.len() == 0 {
            return Ok(Mapping::Empty);
        }
        if writable {
            // SAFETY: the memory is valid as long as nobody shortens the file and nobody changes
            // it behind our back. This crate never changes a file's length after creating it, its
            // blocks are allocated before it is mapped (so no access can fail for want of room),
            // and the directory's lock keeps other servers out (a file in memory has no name by which
            // anybody could open it). Inside this process a file is
            // written only through the `&mut` of its one mapping.
            let map = unsafe { MmapMut::map_mut(file)? };
            Ok(Mapping::Write(map))
        } else {
            // SAFETY: as above, except that there is no lock: a reader of a directory in use may
            // see bytes change under it. It copies nothing by reference across that: all decoding
            // reads plain integers, and every length is checked against the slice's bounds, so
            // changed bytes give a wrong checksum, not an access out of bounds. Files are never
            // shortened by a server either. The same holds for a second mapping of a file that this
            // process writes through another one: bytes that were written before are not written
            // again, and those behind them are not looked at.
            let map = unsafe { Mmap::map(file)? };
            Ok(Mapping::Read(map))
        }
    }

    /// All bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Mapping::Write(map) => map,
            Mapping::Read(map) => map,
            Mapping::Empty => &[],
        }
    }

    /// The system may take back the memory; the bytes come back from its cache or the file when they are looked at.
    pub(crate) fn release(&self) {
        // SAFETY: for a shared mapping of a file this discards no data: dirty pages stay in the system's cache, which is
        // what every later access, and every flush, sees.
        let advised = unsafe {
            match self {
                Mapping::Write(map) => map.unchecked_advise(UncheckedAdvice::DontNeed),
                Mapping::Read(map) => map.unchecked_advise(UncheckedAdvice::DontNeed),
                Mapping::Empty => Ok(()),
            }
        };
        // Advice: a system that does not take it is no worse off than before.
        drop(advised);
    }

    /// All bytes, for writing; `None` when mapped for reading only.
    pub(crate) fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        match self {
            Mapping::Write(map) => Some(map),
            Mapping::Read(_) => None,
            Mapping::Empty => Some(&mut []),
        }
    }
}
