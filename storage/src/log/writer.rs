//! Writing a whole settled segment: the work of compaction and of installing.

use std::io;

use crate::bytes::narrow;
use crate::disk::{Disk, DiskFile};
use crate::entry::{self, EntryRef};
use crate::log::header::{self, SegmentHeader};
use crate::log::segment::{Places, Segment};
use crate::log::sparse::{self, Sparse};
use crate::log::table::{self, Table};

/// Files are this or a multiple of it, as all segments are.
const PAGE: usize = 4096;

/// What a settled segment will hold; known before it is created, so that it takes no more room than it needs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Contents {
    /// Entries.
    pub(crate) entries: usize,
    /// Bytes that they take.
    pub(crate) bytes: usize,
}

impl Contents {
    pub(crate) fn add(&mut self, data: usize) {
        self.entries += 1;
        self.bytes += entry::footprint(data);
    }

    /// Bytes of a file with this in it.
    pub(crate) fn size(&self, runs: usize) -> usize {
        let table = sparse::footprint(self.entries, runs);
        (header::HEADER + self.bytes + table).next_multiple_of(PAGE)
    }
}

/// A settled segment that is being written. Nothing in it counts before all of it is durable.
#[cfg_attr(feature = "planted-bugs", derive(Clone))]
pub(crate) struct Writer<F> {
    file: F,
    header: SegmentHeader,
    runs: Vec<(u64, u64)>,
    taken: Vec<(u64, u32)>,
    end: u32,
}

impl<F: DiskFile> Writer<F> {
    /// Creates `name` for `contents`. `header` says which indexes it covers (`first` to `mark`) and what comes before;
    /// `runs` has their terms.
    pub(crate) fn create<D: Disk<File = F>>(
        disk: &D,
        name: &str,
        mut header: SegmentHeader,
        contents: Contents,
        runs: Vec<(u64, u64)>,
    ) -> io::Result<Writer<F>> {
        header.size = u32::try_from(contents.size(runs.len()))
            .map_err(|_| io::Error::new(io::ErrorKind::FileTooLarge, "a segment of more than 4 GiB"))?;
        header.sealed = true;
        header.sparse = contents.entries as u64 != header.mark + 1 - header.first;
        let file = disk.create(name, u64::from(header.size))?;
        Ok(Writer { file, header, runs, taken: Vec::with_capacity(contents.entries), end: narrow(header::HEADER) })
    }

    /// Writes the next entry.
    pub(crate) fn push(&mut self, entry: EntryRef<'_>) {
        debug_assert!(self.taken.last().is_none_or(|last| last.0 < entry.index), "entries in order");
        let offset = self.end;
        // Everything a settled segment covers was durable before it was begun.
        let head = entry::encode(entry, self.header.mark, self.header.salt, offset);
        self.file.write(u64::from(offset), &head);
        if !entry.data.is_empty() {
            self.file.write(u64::from(offset) + entry::HEADER as u64, entry.data);
        }
        self.taken.push((entry.index, offset));
        self.end = offset + narrow(entry::footprint(entry.data.len()));
    }

    /// Writes table and header; nothing is flushed.
    pub(crate) fn finish(mut self) -> Segment<F> {
        let (header, runs) = (self.header, self.runs);
        if header.sparse {
            let hole = highest_hole(&self.taken, header.first, header.mark);
            let table = sparse::encode(&self.taken, &runs, self.end, hole, header.salt);
            let start = header.size - narrow(table.len());
            self.file.write(u64::from(start), &table);
            let (count, end, len) = (narrow(self.taken.len()), self.end, runs.len());
            let places = Places::Sparse(Sparse { start, count, end, runs, hole });
            return Self::done(self.file, header, end, places, len);
        }
        assert_eq!(self.taken.len() as u64, header.mark + 1 - header.first, "a segment without holes has every index");
        let offsets: Vec<u32> = self.taken.iter().map(|taken| taken.1).collect();
        let table = table::encode(&offsets, &runs, self.end, header.salt);
        let start = header.size - narrow(table.len());
        self.file.write(u64::from(start), &table);
        let count = runs.len();
        let places = Places::Table(Table { start, count: narrow(offsets.len()), end: self.end, runs });
        Self::done(self.file, header, self.end, places, count)
    }

    fn done(mut file: F, header: SegmentHeader, end: u32, places: Places, runs: usize) -> Segment<F> {
        file.write(0, &header.encode());
        let last = header.mark;
        Segment::found(file, header, last, end, places, runs)
    }
}

/// The highest index from `first` to `last` that is not among the sorted `taken`, which lacks at least one.
fn highest_hole(taken: &[(u64, u32)], first: u64, last: u64) -> u64 {
    let mut expected = last;
    for (index, _) in taken.iter().rev() {
        if *index != expected {
            break;
        }
        expected -= 1;
    }
    assert!(expected >= first, "there is a hole");
    expected
}
