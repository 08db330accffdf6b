//! Reading a log directory: what is the log, what is a torn tail, what is damage.
//!
//! Changes nothing; [`super::open`] carries out the [`Plan`].
//!
//! # Which segments are the log
//! The used segment with the highest id, and from it down along `prev`. Why nothing replaced comes
//! back, whichever pages survive:
//!
//! * A header's `(id, first)` with what it leads back to names one state that the log really had:
//!   segments are only appended to, so entry `first - 1` of `prev` is the same in all states that
//!   contain this header.
//! * Let F be the last flush that was reported. Its active segment's header, and all it leads back
//!   to, is on the disk, and no file of it is deleted before a later active segment is equally
//!   durable. So the highest used id whose chain is whole is F's or a later one: a state the log
//!   had at or after F. Whatever was truncated before F is in none of those.
//! * A chain is broken when a segment on it is missing or unused on the disk. If a power cut did
//!   that, no flush was reported since that segment was begun, and the broken chain's top was
//!   begun later still: dropping the top (and looking at the next lower id) loses nothing that
//!   was reported.
//!
//! # Tail or damage
//! At a bad place with index i, the log is cut if nothing recorded that i was flushed, else it is
//! damaged. Records are the marks in the headers and in every valid entry header behind the place:
//! in the same file and in all files with a higher id. A mark speaks of the log of the time when it
//! was written. The file with the bad place was part of that log too (it is part of the present
//! one, and what leaves the log never returns), with at least those of its entries that count now
//! (only a truncation *into* it changes what follows it, and leaves less of it). So a mark at or
//! above i, even in a segment that was replaced since, means that this very entry was flushed.

use crate::bytes::{at, is_zero, narrow};
use crate::disk::{Disk, DiskFile};
use crate::entry::{self, Bad};
use crate::error::{Corrupt, MISSING, OpenError};
use crate::log::header::{self, SegmentHeader};
use crate::log::sparse::Sparse;
use crate::log::table::Table;

/// A segment file with a valid header.
pub(crate) struct File<F> {
    pub(crate) name: String,
    pub(crate) file: F,
    pub(crate) header: SegmentHeader,
}

impl<F: DiskFile> File<F> {
    pub(crate) fn corrupt(&self, offset: u32, index: u64, reason: &'static str) -> OpenError {
        OpenError::Corrupt(Corrupt { file: self.name.clone(), offset: u64::from(offset), index, reason })
    }

    /// The highest mark in this file's header and entries from `from` on.
    pub(crate) fn marks(&self, from: u32) -> u64 {
        let found = entry::highest_mark(self.file.bytes(), from, self.header.salt);
        found.max(self.header.mark)
    }
}

/// What a walk over a segment's entries found.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    /// Where each good entry lies.
    pub(crate) offsets: Vec<u32>,
    /// First index and term of each run of equal terms.
    pub(crate) runs: Vec<(u64, u64)>,
    /// Where the next entry would begin.
    pub(crate) end: u32,
    /// Bytes of data in all entries.
    pub(crate) data: u64,
    /// Why it ended there.
    pub(crate) bad: Option<Bad>,
}

/// Reads and checks the entries of a segment from its first, until index `to` or a bad place.
pub(crate) fn walk(bytes: &[u8], header: &SegmentHeader, to: u64) -> Walk {
    let mut walk = Walk { end: narrow(header::HEADER), ..Walk::default() };
    let mut index = header.first;
    while index <= to {
        let (head, entry) = match entry::read(bytes, walk.end, header.salt) {
            Ok(found) => found,
            Err(bad) => {
                walk.bad = Some(bad);
                break;
            }
        };
        let term = walk.runs.last().map_or(0, |run| run.1);
        if head.index != index || head.term < term {
            walk.bad = Some(Bad::Order);
            break;
        }
        if walk.runs.is_empty() || head.term != term {
            walk.runs.push((index, head.term));
        }
        walk.offsets.push(walk.end);
        walk.data += entry.data.len() as u64;
        walk.end += narrow(entry::footprint(entry.data.len()));
        index += 1;
    }
    walk
}

/// How a segment of the log was read.
pub(crate) enum Content {
    /// From its table; entries are checked when they are read.
    Sealed(Table),
    /// The same, of a segment with holes.
    Sparse(Sparse),
    /// By walking over all its entries.
    Walked(Walk),
}

/// A segment of the log.
pub(crate) struct Part<F> {
    pub(crate) file: File<F>,
    /// The last index that is in the log; `first - 1` when there is none.
    pub(crate) last: u64,
    pub(crate) content: Content,
}

impl<F> Part<F> {
    /// Indexes of it that have no entry.
    pub(crate) fn holes(&self) -> u64 {
        match &self.content {
            Content::Sparse(table) => self.last + 1 - self.file.header.first - u64::from(table.count),
            Content::Sealed(_) | Content::Walked(_) => 0,
        }
    }
}

/// What an open has to do.
pub(crate) struct Plan<F> {
    /// The log, oldest first. Empty when no segment was ever used (or all are gone).
    pub(crate) parts: Vec<Part<F>>,
    /// Segments above the log's end, to be deleted one by one in this order.
    pub(crate) beyond: Vec<String>,
    /// Where the last part has bytes that are not zero behind its last entry.
    pub(crate) cut: Option<u32>,
    /// Why the log was cut there rather than ended there; for the record.
    pub(crate) torn: bool,
    /// Segments that a later one replaced, and unused ones: to be deleted when the log is durable.
    pub(crate) dead: Vec<String>,
    /// An id no file has or had.
    pub(crate) next_id: u32,
    /// First and last id of the segments that the snapshot says were installed.
    pub(crate) base: (u32, u32),
}

/// What the snapshot says about the log; zeros when there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Floor {
    /// Everything up to this index was flushed, and no hole is above it.
    pub(crate) index: u64,
    /// The term of the entry there.
    pub(crate) term: u64,
    /// First and last id of the segments that were installed with a snapshot.
    pub(crate) base: (u32, u32),
}

/// Reads the headers of all segments and decides. Reads the entries of sealed segments only when
/// it has to look for marks.
pub(crate) fn inspect<D: Disk>(disk: &D, names: &[String], snapshot: Floor) -> Result<Plan<D::File>, OpenError> {
    let mut used: Vec<File<D::File>> = Vec::new();
    let mut unused: Vec<File<D::File>> = Vec::new();
    let mut dead = Vec::new();
    let mut next_id = 1;
    for name in names {
        let Some((id, _)) = header::parse(name) else {
            continue;
        };
        next_id = next_id.max(id.saturating_add(1));
        let file = disk.open(name).map_err(|source| OpenError::io("open", name, source))?;
        match SegmentHeader::decode(name, file.bytes())? {
            None => dead.push(name.clone()),
            Some(header) => {
                let list = if header.first == 0 {
                    dead.push(name.clone());
                    &mut unused
                } else {
                    &mut used
                };
                list.push(File { name: name.clone(), file, header });
            }
        }
    }
    dead.extend(superseded(&mut used, snapshot.base));
    let base = snapshot.base;
    let mut plan = Plan { parts: Vec::new(), beyond: Vec::new(), cut: None, torn: false, dead, next_id, base };
    // Marks of what was dropped from the top.
    let mut floor = 0;
    let chain = loop {
        let Some(top) = used.last() else {
            return Ok(plan);
        };
        match chain_of(&used, top) {
            Ok(chain) => break chain,
            Err((missing, first)) => {
                // The marks of this one only: another with a higher id than the missing one need not stand on it (a
                // log goes on while an install beside it has its ids already). If it does, its turn comes.
                floor = floor.max(top.marks(0));
                if floor >= first {
                    let file = missing_name(names, missing);
                    return Err(OpenError::Corrupt(Corrupt { file, offset: 0, index: first, reason: MISSING }));
                }
                plan.torn = true;
                plan.beyond.extend(used.pop().map(|file| file.name));
            }
        }
    };
    // What the snapshot covers was flushed before the snapshot was.
    read_chain(used, &unused, &chain, floor.max(snapshot.index), &mut plan)?;
    check_floor(&plan, snapshot)?;
    Ok(plan)
}

/// What a segment that is not there was called: which version of it there was last, only a name that it was given instead
/// tells.
fn missing_name(names: &[String], id: u32) -> String {
    let called = |name: &String| {
        let stem = crate::storage::stem_of_set_aside(name)?;
        header::parse(stem).filter(|(other, _)| *other == id).map(|_| stem.to_owned())
    };
    names.iter().filter_map(called).max().unwrap_or_else(|| format!("{id:010}-*.log"))
}

/// Takes out of `used` what does not count whatever the chain is, and returns its names: an install that the snapshot
/// does not know was never finished; of two versions of a segment the
/// higher is complete, or it would not have its name. (What a merge has taken up, and the log before an install, is not led to.)
fn superseded<F>(used: &mut Vec<File<F>>, base: (u32, u32)) -> Vec<String> {
    let mut highest = std::collections::BTreeMap::new();
    for file in used.iter() {
        let version = highest.entry(file.header.id).or_insert(0);
        *version = file.header.version.max(*version);
    }
    let mut dead = Vec::new();
    used.retain(|File { name, header, .. }| {
        let known = !header.installed || (base.0..=base.1).contains(&header.id);
        let counts = known && highest.get(&header.id) == Some(&header.version);
        if !counts {
            dead.push(name.clone());
        }
        counts
    });
    dead
}

/// Refuses a log that does not go with the snapshot: neither alone says what the state was.
fn check_floor<F>(plan: &Plan<F>, snapshot: Floor) -> Result<(), OpenError> {
    let wrong = |file: &str, index, reason| {
        Err(OpenError::Corrupt(Corrupt { file: file.to_owned(), offset: 0, index, reason }))
    };
    let mut term = 0;
    for part in &plan.parts {
        let runs = match &part.content {
            Content::Sealed(table) => &table.runs,
            Content::Sparse(table) => &table.runs,
            Content::Walked(walk) => &walk.runs,
        };
        term = runs.iter().rev().find(|run| run.0 <= snapshot.index).map_or(term, |run| run.1);
        if let Content::Sparse(table) = &part.content
            && table.hole > snapshot.index
        {
            return wrong(&part.file.name, table.hole, "an entry is missing that no snapshot covers");
        }
    }
    let last = plan.parts.last().map_or(0, |part| part.last);
    if last < snapshot.index {
        return wrong(crate::snapshot::NAME, snapshot.index, "the log ends before the snapshot");
    }
    if term != snapshot.term {
        return wrong(crate::snapshot::NAME, snapshot.index, "the log has another term at the snapshot's index");
    }
    Ok(())
}

/// The places in `used` of the segments that `top` leads back to, oldest first; or id and first
/// index of one that is not there.
fn chain_of<F>(used: &[File<F>], top: &File<F>) -> Result<Vec<u32>, (u32, u64)> {
    let mut chain = vec![top.header.id];
    let mut above = &top.header;
    while above.prev != 0 {
        let found = used
            .binary_search_by_key(&above.prev, |file| file.header.id)
            .ok()
            .map(|i| &used[i].header)
            .filter(|header| above.follows(header));
        match found {
            Some(header) => above = header,
            None => return Err((above.prev, above.prev_first())),
        }
        chain.push(above.id);
    }
    chain.reverse();
    Ok(chain)
}

/// Reads the segments of a whole chain and finds where the log ends.
fn read_chain<F: DiskFile>(
    used: Vec<File<F>>,
    unused: &[File<F>],
    chain: &[u32],
    floor: u64,
    plan: &mut Plan<F>,
) -> Result<(), OpenError> {
    let mut contents = Vec::new();
    let mut term = 0;
    for (i, id) in chain.iter().enumerate() {
        let file = find(&used, *id);
        let bound = chain.get(i + 1).map(|next| find(&used, *next).header.first);
        let (content, last) = read_segment(file, bound)?;
        let runs = match &content {
            Content::Sealed(table) => &table.runs,
            Content::Sparse(table) => &table.runs,
            Content::Walked(walk) => &walk.runs,
        };
        // Both checked by themselves: only a wrong program writes terms that fall.
        if runs.first().is_some_and(|run| run.1 < term) {
            return Err(file.corrupt(0, file.header.first, "terms fall from one segment to the next"));
        }
        let within = runs.iter().rev().find(|run| run.0 <= last);
        term = within.map_or(term, |run| run.1);
        let Content::Walked(walk) = &content else {
            contents.push((content, last));
            continue;
        };
        let reached = bound.is_some_and(|bound| last + 1 == bound);
        let rest = &file.file.bytes()[at(walk.end)..];
        let above = unused.iter().filter(|other| other.header.id > *id);
        let silent = above.map(|other| &other.file.bytes()[header::HEADER..]).all(is_zero);
        let recorded = file.header.mark.max(floor);
        let clean = bound.is_none() && is_zero(rest) && silent && last >= recorded;
        let (bad, end) = (walk.bad.unwrap_or(Bad::Nothing), walk.end);
        if !reached && !clean {
            let marks = marks_above(&used, unused, file, end, floor);
            if last < marks {
                return Err(file.corrupt(end, last + 1, bad.text()));
            }
            plan.torn |= bound.is_some() || !is_zero(rest);
            plan.cut = (!is_zero(rest)).then_some(end);
        }
        contents.push((content, last));
        if !reached {
            break;
        }
    }
    let kept = &chain[..contents.len()];
    let end = kept.last().copied().unwrap_or(0);
    let mut parts = contents.into_iter();
    for file in used.into_iter().rev() {
        if file.header.id > end {
            plan.beyond.push(file.name);
        } else if !kept.contains(&file.header.id) {
            plan.dead.push(file.name);
        } else if let Some((content, last)) = parts.next_back() {
            plan.parts.push(Part { file, last, content });
        }
    }
    plan.parts.reverse();
    Ok(())
}

fn find<F>(used: &[File<F>], id: u32) -> &File<F> {
    let i = used.partition_point(|file| file.header.id < id);
    &used[i]
}

/// Reads one segment of the log, of which entries below `bound` count, and its last index.
fn read_segment<F: DiskFile>(file: &File<F>, bound: Option<u64>) -> Result<(Content, u64), OpenError> {
    let (bytes, header) = (file.file.bytes(), &file.header);
    if !header.sealed {
        let walk = walk(bytes, header, bound.map_or(u64::MAX, |bound| bound - 1));
        let last = header.first + walk.offsets.len() as u64 - 1;
        return Ok((Content::Walked(walk), last));
    }
    let wrong = |reason| file.corrupt(header.size, header.first, reason);
    let (content, last) = if header.sparse {
        let table = Sparse::read(bytes, header.first, header.mark, header.salt).map_err(wrong)?;
        (Content::Sparse(table), header.mark)
    } else {
        let table = Table::read(bytes, header.first, header.salt).map_err(wrong)?;
        let last = header.first + u64::from(table.count) - 1;
        (Content::Sealed(table), last)
    };
    if last != header.mark {
        return Err(file.corrupt(0, header.first, "header and index table differ"));
    }
    // It was sealed after the next segment was durable.
    let Some(bound) = bound else {
        return Err(file.corrupt(0, last + 1, "the segment after this one is missing"));
    };
    if last + 1 < bound {
        return Err(file.corrupt(0, last + 1, "the segment ends before the next one begins"));
    }
    Ok((content, bound - 1))
}

/// Through which index of `file`'s entries something behind `offset` says the log was flushed.
fn marks_above<F: DiskFile>(used: &[File<F>], unused: &[File<F>], file: &File<F>, offset: u32, floor: u64) -> u64 {
    let mut highest = floor.max(file.marks(offset));
    for other in used.iter().filter(|o| o.header.id > file.header.id) {
        highest = highest.max(other.marks(0));
    }
    // A segment whose use did not reach the disk says nothing about its chain. If that was a power
    // cut, its marks are from before it was used, and true of every state since.
    for other in unused.iter().filter(|o| o.header.id > file.header.id) {
        highest = highest.max(other.marks(0));
    }
    highest
}
