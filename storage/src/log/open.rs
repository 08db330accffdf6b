//! Carrying out what [`super::scan`] decided, and making the first segment.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::bytes::{at, not_zero, zeros};
use crate::disk::{Disk, DiskFile, Flush};
use crate::error::OpenError;
use crate::log::header;
use crate::log::scan::{Content, Plan};
use crate::log::segment::{Places, Segment};
use crate::log::{Anew, Log, Make, create_segment};

/// Opens the log that `plan` describes. On return all of it is durable.
///
/// Cut at any point, the next open decides the same again: each step leaves a directory that leads
/// to the same log, and takes away none of the records that would make it damage.
pub(crate) fn found<D: Disk>(disk: &D, make: Make, plan: Plan<D::File>) -> Result<Log<D>, OpenError> {
    // Highest first and synced one by one: at every moment the rest is a chain with its top cut
    // off, never one with a hole.
    for name in &plan.beyond {
        disk.remove(name).map_err(|source| OpenError::io("delete", name, source))?;
        disk.sync_dir().map_err(|source| OpenError::directory("sync", source))?;
    }
    let mut segments = Vec::new();
    let mut runs: Vec<(u64, u64)> = Vec::new();
    let count = plan.parts.len();
    for (i, part) in plan.parts.into_iter().enumerate() {
        let name = part.file.name;
        let mut file = part.file.file;
        if let Some(offset) = plan.cut.filter(|_| i + 1 == count) {
            // Before anything is appended behind it, or it would come back when the appended
            // entries end where an old one begins.
            let from = at(offset);
            for (place, len) in not_zero(&file.bytes()[from..]) {
                file.write((from + place) as u64, zeros(len));
            }
        }
        let (places, end, own) = match part.content {
            Content::Sealed(table) => {
                let (end, runs) = (table.end, table.runs.clone());
                (Places::Table(table), end, runs)
            }
            Content::Sparse(table) => {
                let (end, runs) = (table.end, table.runs.clone());
                (Places::Sparse(table), end, runs)
            }
            Content::Walked(walk) => {
                // A killed process leaves pages that only the system's memory has.
                file.flusher(0..file.len()).run().map_err(|source| OpenError::io("flush", &name, source))?;
                (Places::Offsets(walk.offsets), walk.end, walk.runs)
            }
        };
        let inside = own.partition_point(|run| run.0 <= part.last);
        for run in &own[..inside] {
            if runs.last().is_none_or(|last| last.1 != run.1) {
                runs.push(*run);
            }
        }
        segments.push(Segment::found(file, part.file.header, part.last, end, places, own.len()));
    }
    disk.sync_dir().map_err(|source| OpenError::directory("sync", source))?;
    remove(disk, &plan.dead)?;
    Ok(log(disk, make, segments, runs, plan.next_id, plan.base))
}

/// Starts a log at index 1, durably.
pub(crate) fn fresh<D: Disk>(disk: &D, make: Make, plan: &Plan<D::File>) -> Result<Log<D>, OpenError> {
    remove(disk, &plan.beyond)?;
    remove(disk, &plan.dead)?;
    let mut header = make.header(plan.next_id);
    header.first = 1;
    let name = header::name(header.id, header.version);
    let file = create_segment(disk, &name, &header)
        .and_then(|file| file.flusher(0..file.len()).run().map(|()| file))
        .map_err(|source| OpenError::io("create", &name, source))?;
    disk.sync_dir().map_err(|source| OpenError::directory("sync", source))?;
    let places = Places::Offsets(Vec::new());
    let end = crate::bytes::narrow(header::HEADER);
    let segment = Segment::found(file, header, 0, end, places, 0);
    let next_id = plan.next_id.saturating_add(1);
    Ok(log(disk, make, vec![segment], Vec::new(), next_id, (0, 0)))
}

fn remove<D: Disk>(disk: &D, names: &[String]) -> Result<(), OpenError> {
    if names.is_empty() {
        return Ok(());
    }
    for name in names {
        disk.remove(name).map_err(|source| OpenError::io("delete", name, source))?;
    }
    disk.sync_dir().map_err(|source| OpenError::directory("sync", source))
}

fn log<D: Disk>(
    disk: &D,
    make: Make,
    segments: Vec<Segment<D::File>>,
    runs: Vec<(u64, u64)>,
    next_id: u32,
    base: (u32, u32),
) -> Log<D> {
    let hole = segments.iter().filter_map(Segment::hole).max().unwrap_or(0);
    let active = segments.last().expect("a log has a segment");
    let (durable, prepare_at) = (active.last, active.header.size / 2);
    Log {
        disk: disk.clone(),
        make,
        segments,
        runs,
        next_id,
        spare: None,
        preparing: false,
        prepare_at,
        dead: Vec::new(),
        unsynced: false,
        durable,
        in_flight: None,
        acknowledged: 0,
        failed: Arc::new(AtomicBool::new(false)),
        base,
        hole,
        epoch: 0,
        anew: Anew::No,
    }
}
