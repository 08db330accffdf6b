//! One segment in use: its mapped file and where its entries lie.

use std::ops::Range;

use crate::bytes::{at, narrow, put};
use crate::disk::{Disk, DiskFile};
use crate::entry::{self, Bad, Entry, EntryRef};
use crate::error::Corrupt;
use crate::log::header::{self, SegmentHeader};
use crate::log::marks::Marks;
use crate::log::sparse::Sparse;
use crate::log::table::{self, Table};

/// What is known about a segment; for metrics and for compaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its number; later segments have higher ones.
    pub id: u32,
    /// Its version: 1 as appended to, and 1 more for each time that compaction has rewritten it.
    pub version: u32,
    /// Its first index.
    pub first: u64,
    /// Its last index that is in the log; `first - 1` when it has none.
    pub last: u64,
    /// Entries that are in the log.
    pub entries: u64,
    /// Indexes from `first` to `last` whose entries compaction has dropped.
    pub holes: u64,
    /// Entries that were released and not dropped yet.
    pub released: u64,
    /// Of those, the ones that the last compaction of this segment came upon and had to leave:
    /// what they undo may still be elsewhere. 0 for a segment never compacted.
    pub tombstones: u64,
    /// Bytes its entries take, header included.
    pub bytes: u32,
    /// Size of its file in bytes.
    pub size: u32,
    /// Whether it is complete and carries its index table.
    pub sealed: bool,
    /// When it was made: milliseconds, from the newest time the log had been given.
    pub created: u64,
}

impl SegmentInfo {
    /// The name of its file in the data directory.
    pub fn file_name(&self) -> String {
        super::header::name(self.id, self.version)
    }
}

/// Where the entries of a segment lie.
#[derive(Debug)]
#[cfg_attr(feature = "planted-bugs", derive(Clone))]
pub(crate) enum Places {
    /// In memory, one offset an entry.
    Offsets(Vec<u32>),
    /// In the table at the end of the file.
    Table(Table),
    /// In the table of a segment with holes.
    Sparse(Sparse),
}

impl Places {
    /// The runs of equal terms that the segment's table has; none while it has no table.
    fn runs(&self) -> &[(u64, u64)] {
        match self {
            Places::Offsets(_) => &[],
            Places::Table(table) => &table.runs,
            Places::Sparse(table) => &table.runs,
        }
    }
}

#[derive(Debug)]
#[cfg_attr(feature = "planted-bugs", derive(Clone))]
pub(crate) struct Segment<F> {
    pub(crate) file: F,
    /// As last written to the file.
    pub(crate) header: SegmentHeader,
    /// The last index that is in the log; `first - 1` when there is none.
    pub(crate) last: u64,
    /// Where the next entry would go. Never moves back, not even by a truncation.
    pub(crate) end: u32,
    /// Runs of equal terms among everything ever written here; at least one more than the table
    /// will have.
    pub(crate) runs: usize,
    pub(crate) places: Places,
    /// The table that was written after the segment was full, until it is known durable.
    pub(crate) tabled: Option<Table>,
    /// What was written since the last capture.
    dirty: Option<Range<u32>>,
    /// The header was sealed; nothing depends on that becoming durable.
    lazy: bool,
    /// Which entries were released, by position.
    pub(crate) marks: Marks,
    /// See [`SegmentInfo::tombstones`].
    pub(crate) tombstones: u32,
    /// Entries that no snapshot referred to and that the last compaction had to leave.
    pub(crate) stuck: u32,
}

impl<F: DiskFile> Segment<F> {
    /// A segment without entries. Writes its header.
    pub(crate) fn blank(file: F, header: SegmentHeader) -> Segment<F> {
        let (last, end) = (header.first - 1, narrow(header::HEADER));
        let mut segment = Segment::found(file, header, last, end, Places::Offsets(Vec::new()), 0);
        segment.write_header();
        segment
    }

    /// A segment as found at open, all of it durable.
    pub(crate) fn found(
        file: F,
        header: SegmentHeader,
        last: u64,
        end: u32,
        places: Places,
        runs: usize,
    ) -> Segment<F> {
        Segment {
            file,
            header,
            last,
            end,
            runs,
            places,
            tabled: None,
            dirty: None,
            lazy: false,
            marks: Marks::default(),
            tombstones: 0,
            stuck: 0,
        }
    }

    pub(crate) fn name(&self) -> String {
        header::name(self.header.id, self.header.version)
    }

    pub(crate) fn first(&self) -> u64 {
        self.header.first
    }

    /// Whether no entry was ever written here.
    pub(crate) fn untouched(&self) -> bool {
        at(self.end) == header::HEADER
    }

    /// Indexes of the log that are its, holes included.
    pub(crate) fn count(&self) -> usize {
        narrow64(self.last + 1 - self.first())
    }

    /// Entries that are in the log.
    pub(crate) fn entries(&self) -> usize {
        match &self.places {
            // Whole while it lasts: what is settled is never cut.
            Places::Sparse(table) => at(table.count),
            _ => self.count(),
        }
    }

    /// The highest index without an entry.
    pub(crate) fn hole(&self) -> Option<u64> {
        match &self.places {
            Places::Sparse(table) => Some(table.hole),
            _ => None,
        }
    }

    /// The number, among its entries, of the one at `index`.
    pub(crate) fn position(&self, index: u64) -> Option<usize> {
        if index < self.first() || index > self.last {
            return None;
        }
        match &self.places {
            Places::Sparse(table) => table.position(self.file.bytes(), index).map(at),
            _ => Some(narrow64(index - self.first())),
        }
    }

    /// How many of its entries have an index below this one.
    pub(crate) fn below(&self, index: u64) -> usize {
        match &self.places {
            Places::Sparse(table) => at(table.below(self.file.bytes(), index)),
            _ => narrow64(index.clamp(self.first(), self.last + 1) - self.first()),
        }
    }

    /// The index of entry number `position`, which must be one of its entries.
    pub(crate) fn index_at(&self, position: usize) -> u64 {
        match &self.places {
            Places::Sparse(table) => table.index(self.file.bytes(), narrow(position)),
            _ => self.first() + position as u64,
        }
    }

    /// Whether an entry of so many bytes fits, with room kept for the index table.
    pub(crate) fn fits(&self, data: usize) -> bool {
        let written = match &self.places {
            Places::Offsets(offsets) => offsets.len(),
            Places::Table(_) | Places::Sparse(_) => return false,
        };
        at(self.end) + entry::footprint(data) + table::footprint(written + 1, self.runs + 1) <= at(self.header.size)
    }

    /// Writes an entry for which [`Segment::fits`] holds.
    pub(crate) fn append(&mut self, entry: &Entry, mark: u64, new_term: bool) {
        let offset = self.end;
        let head = entry::encode(entry.borrow(), mark, self.header.salt, offset);
        self.write(offset, &head);
        if !entry.data.is_empty() {
            self.write(offset + narrow(entry::HEADER), &entry.data);
        }
        if let Places::Offsets(offsets) = &mut self.places {
            offsets.push(offset);
        }
        self.end = offset + narrow(entry::footprint(entry.data.len()));
        self.last = entry.index;
        if new_term || self.runs == 0 {
            self.runs += 1;
        }
    }

    /// Forgets the entries above `last`, which is at least the first index. Their bytes stay: what
    /// ends this segment on the disk is the header of the next one.
    pub(crate) fn cut(&mut self, last: u64) {
        self.last = last;
        let count = self.count();
        if let Places::Offsets(offsets) = &mut self.places {
            offsets.truncate(count);
        }
        self.marks.truncate(count);
    }

    pub(crate) fn write_header(&mut self) {
        let bytes = self.header.encode();
        self.write(0, &bytes);
    }

    /// Writes the index table, once: the segment is not appended to any more.
    pub(crate) fn write_table(&mut self, runs: &[(u64, u64)]) {
        let Places::Offsets(offsets) = &self.places else {
            return;
        };
        if self.tabled.is_some() {
            return;
        }
        let bytes = table::encode(offsets, runs, self.end, self.header.salt);
        let start = self.header.size - narrow(bytes.len());
        debug_assert!(start >= self.end, "room for the table was kept");
        self.tabled = Some(Table { start, count: narrow(offsets.len()), end: self.end, runs: runs.to_vec() });
        self.write(start, &bytes);
    }

    /// The table is durable: says so in the header. That may become durable at any time or never.
    pub(crate) fn seal(&mut self) {
        let Some(table) = self.tabled.take() else {
            return;
        };
        self.header.sealed = true;
        self.header.mark = self.first() + u64::from(table.count) - 1;
        self.places = Places::Table(table);
        let bytes = self.header.encode();
        self.file.write(0, &bytes);
        self.lazy = true;
    }

    fn write(&mut self, offset: u32, data: &[u8]) {
        self.file.write(u64::from(offset), data);
        let end = offset + narrow(data.len());
        self.dirty = Some(match self.dirty.take() {
            Some(range) => range.start.min(offset)..range.end.max(end),
            None => offset..end,
        });
    }

    /// What makes everything written since the last capture durable.
    pub(crate) fn capture(&mut self) -> Option<F::Flush> {
        let head = 0..narrow(header::HEADER);
        let lazy = std::mem::take(&mut self.lazy).then_some(head);
        let range = match (self.dirty.take(), lazy) {
            (Some(a), Some(b)) => a.start.min(b.start)..a.end.max(b.end),
            (Some(range), None) | (None, Some(range)) => range,
            (None, None) => return None,
        };
        Some(self.file.flusher(u64::from(range.start)..u64::from(range.end)))
    }

    fn offset(&self, index: u64) -> Option<u32> {
        if index < self.first() || index > self.last {
            return None;
        }
        let position = narrow64(index - self.first());
        match &self.places {
            Places::Offsets(offsets) => offsets.get(position).copied(),
            Places::Table(table) => {
                (position < at(table.count)).then(|| table.offset(self.file.bytes(), narrow(position)))
            }
            Places::Sparse(table) => {
                let bytes = self.file.bytes();
                table.position(bytes, index).map(|place| table.offset(bytes, place))
            }
        }
    }

    /// The checked header of the entry at `index`: its data is not looked at.
    pub(crate) fn peek(&self, index: u64) -> Result<Option<entry::Header>, Corrupt> {
        let Some(offset) = self.offset(index) else {
            return Ok(None);
        };
        let header = entry::header(self.file.bytes(), offset, self.header.salt);
        match header {
            Ok(header) if header.index == index => Ok(Some(header)),
            Ok(_) => Err(self.corrupt(offset, index, Bad::Order)),
            Err(bad) => Err(self.corrupt(offset, index, bad)),
        }
    }

    fn corrupt(&self, offset: u32, index: u64, bad: Bad) -> Corrupt {
        Corrupt { file: self.name(), offset: u64::from(offset), index, reason: bad.text() }
    }

    /// What another thread needs to read entries up to `last` of this segment.
    pub(crate) fn source(&self, last: u64) -> Source {
        let places = match &self.places {
            Places::Offsets(offsets) => {
                let count = narrow64((last.min(self.last) + 1).saturating_sub(self.first()));
                Places::Offsets(offsets[..count.min(offsets.len())].to_vec())
            }
            Places::Table(table) => Places::Table(table.clone()),
            Places::Sparse(table) => Places::Sparse(table.clone()),
        };
        Source {
            header: self.header.clone(),
            last: last.min(self.last),
            end: self.end,
            places,
            marks: self.marks.clone(),
        }
    }

    /// The entry at `index`, checked.
    pub(crate) fn get(&self, index: u64) -> Result<Option<EntryRef<'_>>, Corrupt> {
        let Some(offset) = self.offset(index) else {
            return Ok(None);
        };
        let corrupt = |bad: Bad| self.corrupt(offset, index, bad);
        let (_, entry) = entry::read(self.file.bytes(), offset, self.header.salt).map_err(corrupt)?;
        if entry.index != index {
            return Err(corrupt(Bad::Order));
        }
        Ok(Some(entry))
    }

    pub(crate) fn info(&self) -> SegmentInfo {
        SegmentInfo {
            id: self.header.id,
            version: self.header.version,
            first: self.first(),
            last: self.last,
            entries: self.entries() as u64,
            holes: (self.count() - self.entries()) as u64,
            released: self.marks.count() as u64,
            tombstones: u64::from(self.tombstones),
            bytes: self.end,
            size: self.header.size,
            sealed: self.header.sealed,
            created: self.header.created,
        }
    }
}

/// A segment as another thread opens it.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) header: SegmentHeader,
    pub(crate) last: u64,
    end: u32,
    places: Places,
    /// As they were when this was made.
    pub(crate) marks: Marks,
}

impl Source {
    /// Maps the file. What was appended since is not seen.
    pub(crate) fn open<D: Disk>(&self, disk: &D) -> std::io::Result<Segment<D::File>> {
        let file = disk.read(&header::name(self.header.id, self.header.version))?;
        let places = match &self.places {
            Places::Offsets(offsets) => Places::Offsets(offsets.clone()),
            Places::Table(table) => Places::Table(table.clone()),
            Places::Sparse(table) => Places::Sparse(table.clone()),
        };
        let runs = self.places.runs().len();
        Ok(Segment::found(file, self.header.clone(), self.last, self.end, places, runs))
    }
}

/// A number of entries in one segment.
fn narrow64(count: u64) -> usize {
    usize::try_from(count).expect("a 64-bit machine")
}

/// The bytes of a new segment's header, for a file not yet mapped here.
pub(crate) fn write_new_header<F: DiskFile>(file: &mut F, header: &SegmentHeader) {
    let mut sector = [0; header::HEADER];
    put(&mut sector, 0, &header.encode());
    file.write(0, &sector);
}
