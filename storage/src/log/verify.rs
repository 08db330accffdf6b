//! Reading everything, for the offline check.

use crate::disk::{Disk, DiskFile};
use crate::entry::{self, Bad, EntryRef};
use crate::error::{Corrupt, OpenError};
use crate::log::header::SegmentHeader;
use crate::log::scan::{Content, File, Part, Walk, walk};
use crate::log::sparse::Sparse;
use crate::log::table::Table;

/// Checks every entry of a segment, for the offline check.
pub(crate) fn verify<F: DiskFile>(part: &Part<F>) -> (Walk, Option<Corrupt>) {
    if let Content::Sparse(table) = &part.content {
        return verify_sparse(part, table);
    }
    let walk = walk(part.file.file.bytes(), &part.file.header, part.last);
    let index = part.file.header.first + walk.offsets.len() as u64;
    let problem = walk.bad.filter(|_| index <= part.last).map(|bad| Corrupt {
        file: part.file.name.clone(),
        offset: u64::from(walk.end),
        index,
        reason: bad.text(),
    });
    (walk, problem)
}

/// Checks every entry of a segment with holes.
fn verify_sparse<F: DiskFile>(part: &Part<F>, table: &Sparse) -> (Walk, Option<Corrupt>) {
    let (bytes, salt) = (part.file.file.bytes(), part.file.header.salt);
    let mut walk = Walk { end: table.end, runs: table.runs.clone(), ..Walk::default() };
    for position in 0..table.count {
        let (index, offset) = (table.index(bytes, position), table.offset(bytes, position));
        let bad = match entry::read(bytes, offset, salt) {
            Ok((_, entry)) if entry.index == index => {
                walk.offsets.push(offset);
                walk.data += entry.data.len() as u64;
                continue;
            }
            Ok(_) => Bad::Order,
            Err(bad) => bad,
        };
        let (file, offset) = (part.file.name.clone(), u64::from(offset));
        return (walk, Some(Corrupt { file, offset, index, reason: bad.text() }));
    }
    (walk, None)
}

/// Where the entry at `index` lies in a segment of the log; `None` when it has none there.
fn place<F: DiskFile>(part: &Part<F>, index: u64) -> Option<u32> {
    let first = part.file.header.first;
    if index < first || index > part.last {
        return None;
    }
    let (bytes, position) = (part.file.file.bytes(), index - first);
    match &part.content {
        Content::Sealed(table) => u32::try_from(position).ok().map(|position| table.offset(bytes, position)),
        Content::Sparse(table) => table.position(bytes, index).map(|position| table.offset(bytes, position)),
        Content::Walked(walk) => usize::try_from(position).ok().and_then(|i| walk.offsets.get(i)).copied(),
    }
}

/// The entry at `index` of a log, for the offline check: `None` when it is not there or not whole.
pub(crate) fn entry_at<F: DiskFile>(parts: &[Part<F>], index: u64) -> Option<EntryRef<'_>> {
    let i = parts.partition_point(|part| part.file.header.first <= index).checked_sub(1)?;
    let (part, offset) = (&parts[i], place(&parts[i], index)?);
    let (_, entry) = entry::read(part.file.file.bytes(), offset, part.file.header.salt).ok()?;
    (entry.index == index).then_some(entry)
}

/// What one file says by itself, for the offline check of a log that makes no sense as a whole.
pub(crate) struct Alone {
    pub(crate) first: u64,
    pub(crate) sealed: bool,
    pub(crate) walk: Walk,
    pub(crate) problem: Option<OpenError>,
}

/// Checks one file by itself; `None` when it is unused.
pub(crate) fn inspect_alone<D: Disk>(disk: &D, name: &str) -> Result<Option<Alone>, OpenError> {
    let file = disk.open(name).map_err(|source| OpenError::io("open", name, source))?;
    let header = match SegmentHeader::decode(name, file.bytes())? {
        Some(header) if header.first > 0 => header,
        _ => return Ok(None),
    };
    let file = File { name: name.to_owned(), file, header };
    let header = &file.header;
    if header.sparse {
        let read = Sparse::read(file.file.bytes(), header.first, header.mark, header.salt);
        let (first, last) = (header.first, header.mark);
        let table = match read {
            Ok(table) => table,
            Err(reason) => {
                let problem = Some(file.corrupt(header.size, first, reason));
                return Ok(Some(Alone { first, sealed: true, walk: Walk::default(), problem }));
            }
        };
        let part = Part { file, last, content: Content::Sparse(table) };
        let (walk, problem) = verify(&part);
        return Ok(Some(Alone { first, sealed: true, walk, problem: problem.map(OpenError::Corrupt) }));
    }
    let to = if header.sealed { header.mark } else { u64::MAX };
    let walk = walk(file.file.bytes(), header, to);
    let index = header.first + walk.offsets.len() as u64;
    let mut problem = None;
    if let Some(bad) = walk.bad
        && index <= file.marks(walk.end)
    {
        problem = Some(file.corrupt(walk.end, index, bad.text()));
    } else if header.sealed
        && let Err(reason) = Table::read(file.file.bytes(), header.first, header.salt)
    {
        problem = Some(file.corrupt(header.size, header.first, reason));
    }
    Ok(Some(Alone { first: header.first, sealed: header.sealed, walk, problem }))
}
