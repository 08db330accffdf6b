//! Verifying a directory offline.

use std::fmt;

use crate::configuration;
use crate::disk::Disk;
use crate::error::OpenError;
use crate::log::Part;
use crate::log::{self, Floor};
use crate::meta::{self, Found, Meta, Record};
use crate::snapshot::{Incoming, SnapshotFile, SnapshotInfo, corrupt};
use crate::storage::{choose_meta, floor, is_kept, is_leftover, is_set_aside, look, missing_log, names, read_snapshot};

/// What [`check`] found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Everything wrong, one line each, with file, offset and index where there are any. Empty: a
    /// server can open this directory and every entry in it can be read.
    pub problems: Vec<String>,
    /// What the next open will mend, and other things worth knowing; not wrong.
    pub notes: Vec<String>,
    /// The segments of the log, oldest first.
    pub segments: Vec<SegmentReport>,
    /// Entries whose checksums were verified.
    pub entries: u64,
    /// Bytes of data in them.
    pub bytes: u64,
    /// The first index of the log; 0 when it is empty.
    pub first: u64,
    /// The last index of the log; 0 when it is empty.
    pub last: u64,
    /// The meta record, if one can be read.
    pub meta: Option<Meta>,
    /// The configuration, if it can be read; empty if there is none.
    pub configuration: Option<Vec<u8>>,
    /// Why [`Storage::open`](crate::Storage::open) would refuse the directory; `None`: it would open it.
    pub refusal: Option<String>,
    /// The snapshot, if there is one whose header and tables are whole.
    pub snapshot: Option<SnapshotInfo>,
}

/// One segment in a [`Report`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentReport {
    /// Its file.
    pub name: String,
    /// Its first index.
    pub first: u64,
    /// Its last index in the log.
    pub last: u64,
    /// Entries verified.
    pub entries: u64,
    /// Bytes of data in them.
    pub bytes: u64,
    /// Whether it is sealed.
    pub sealed: bool,
    /// Indexes of it that have no entry.
    pub holes: u64,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.segments {
            writeln!(
                f,
                "{}: {} entries ({} to {}), {} bytes{}{}",
                segment.name,
                segment.entries,
                segment.first,
                segment.last,
                segment.bytes,
                if segment.sealed { ", sealed" } else { "" },
                if segment.holes > 0 { format!(", {} holes", segment.holes) } else { String::new() }
            )?;
        }
        if let Some(snapshot) = &self.snapshot {
            writeln!(
                f,
                "snapshot: at {} (term {}), {} bytes, refers to {} entries",
                snapshot.index, snapshot.term, snapshot.size, snapshot.references
            )?;
        }
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        for problem in &self.problems {
            writeln!(f, "PROBLEM: {problem}")?;
        }
        write!(
            f,
            "{} entries, {} bytes, {}",
            self.entries,
            self.bytes,
            if self.is_sound() { "sound" } else { "NOT sound" }
        )
    }
}

/// Verifies everything in a directory: meta, configuration, and every checksum of the log. Reads
/// only, so it may be run on a disk opened for reading only. While a server uses the directory, it
/// may report what is merely half written.
pub fn check<D: Disk>(disk: &D) -> Report {
    let mut report = Report::default();
    let names = match names(disk) {
        Ok(names) => names,
        Err(error) => {
            report.problems.push(error.to_string());
            // A foreign file does not keep the others from being checked.
            match disk.list() {
                Ok(names) => names,
                Err(_) => return report,
            }
        }
    };
    let record = check_meta(disk, &names, &mut report);
    check_log(disk, &names, record.as_ref(), &mut report);
    check_configuration(disk, &names, &mut report);
    // By the code of an open: whatever is wrong otherwise, this is what a start says.
    report.refusal = match look(disk, 1) {
        Ok(found) => missing_log(&found.record, found.snapshot.as_ref(), &found.plan).map(OpenError::from),
        Err(error) => Some(error),
    }
    .map(|error| error.to_string());
    report
}

/// The configuration repeats what log and snapshot say: damage there is mended, but for members that have no log.
fn check_configuration<D: Disk>(disk: &D, names: &[String], report: &mut Report) {
    match configuration::read_cache(disk, names) {
        Ok((data, None)) => report.configuration = Some(data),
        Ok((_, Some(damage))) if report.last > 0 || report.snapshot.is_some() => {
            report.notes.push(format!("{damage}; the next start makes it anew from the log"));
        }
        Ok((_, Some(damage))) => report.problems.push(format!("{damage}; without a log, only other members know it")),
        Err(error) => report.problems.push(error.to_string()),
    }
}

fn problem(error: &OpenError) -> String {
    match error {
        OpenError::Corrupt(damage) => damage.to_string(),
        error => error.to_string(),
    }
}

fn check_meta<D: Disk>(disk: &D, names: &[String], report: &mut Report) -> Option<Record> {
    let survey = match meta::survey(disk, names) {
        Ok(survey) => survey,
        Err(error) => {
            report.problems.push(error.to_string());
            return None;
        }
    };
    let record = match choose_meta(&survey, names, 0) {
        Err(error) => {
            report.problems.push(error.to_string());
            None
        }
        Ok((record, fresh)) => {
            if fresh {
                report.notes.push("an empty directory".to_owned());
            } else {
                report.meta = Some(record.meta.clone());
            }
            Some(record)
        }
    };
    for (copy, name) in survey.copies.iter().zip(meta::NAMES) {
        if matches!(copy, Found::Blank | Found::Damaged) && survey.best.is_some() {
            report.notes.push(format!("{name} is missing or damaged; the next open mends it from the other copy"));
        }
    }
    record
}

fn check_log<D: Disk>(disk: &D, names: &[String], record: Option<&Record>, report: &mut Report) {
    let snapshot = match read_snapshot(disk, names) {
        Ok(snapshot) => snapshot,
        Err(error) => {
            report.problems.push(problem(&error));
            None
        }
    };
    let floor: Floor = floor(snapshot.as_ref());
    let plan = match log::inspect(disk, names, floor) {
        Ok(plan) => plan,
        Err(error) => {
            report.problems.push(problem(&error));
            log_piecemeal(disk, names, report);
            return;
        }
    };
    if let Some(missing) = record.and_then(|record| missing_log(record, snapshot.as_ref(), &plan)) {
        report.problems.push(missing.to_string());
        report.snapshot = snapshot.as_ref().map(SnapshotFile::info);
        return;
    }
    if plan.torn {
        report.notes.push("the log has a torn tail; the next open cuts it".to_owned());
    }
    for name in names.iter().filter(|name| is_leftover(name)) {
        report.notes.push(format!("{name} was never finished; the next open deletes it"));
    }
    for name in names.iter().filter(|name| is_set_aside(name)) {
        report.notes.push(if is_kept(name) {
            format!("{name} is kept until the log is back from the other servers, and then deleted")
        } else {
            format!("{name} was set aside by a repair; nothing uses it, and it may be deleted")
        });
    }
    for name in plan.beyond.iter().chain(&plan.dead) {
        report.notes.push(format!("{name} is unused or replaced; the next open deletes it"));
    }
    for part in &plan.parts {
        let (walk, problem) = log::verify(part);
        if let Some(problem) = problem {
            report.problems.push(problem.to_string());
        }
        let entries = walk.offsets.len() as u64;
        report.entries += entries;
        report.bytes += walk.data;
        report.segments.push(SegmentReport {
            name: part.file.name.clone(),
            first: part.file.header.first,
            last: part.last,
            entries,
            bytes: walk.data,
            sealed: part.file.header.sealed,
            holes: part.holes(),
        });
    }
    if let Some(snapshot) = &snapshot {
        check_snapshot::<D>(snapshot, &plan.parts, report);
    }
    if report.segments.last().is_some_and(|s| s.last > 0) {
        report.first = report.segments[0].first;
        report.last = report.segments.last().map_or(0, |s| s.last);
    }
}

/// Verifies the payload, and that everything it refers to is in the log.
fn check_snapshot<D: Disk>(snapshot: &SnapshotFile<D::File>, parts: &[Part<D::File>], report: &mut Report) {
    report.snapshot = Some(snapshot.info());
    for block in 0..snapshot.head.blocks() {
        if let Err(problem) = snapshot.block(block) {
            report.problems.push(problem.to_string());
        }
    }
    for i in 0..snapshot.references() {
        let reference = snapshot.reference(i);
        let found = log::entry_at(parts, reference.index);
        if !found.is_some_and(|entry| Incoming::<D>::matches(&reference, entry)) {
            let reason = "the snapshot refers to an entry that is not in the log";
            let problem = corrupt(snapshot.name, snapshot.reference_at(i), reference.index, reason);
            report.problems.push(problem.to_string());
        }
    }
}

/// When the log as a whole makes no sense: what each file by itself still tells.
fn log_piecemeal<D: Disk>(disk: &D, names: &[String], report: &mut Report) {
    let mut problems = Vec::new();
    for name in names.iter().filter(|name| log::parse(name).is_some()) {
        match log::inspect_alone(disk, name) {
            Err(problem) => problems.push(problem),
            Ok(None) => {}
            Ok(Some(alone)) => {
                let entries = alone.walk.offsets.len() as u64;
                report.entries += entries;
                report.bytes += alone.walk.data;
                problems.extend(alone.problem);
                report.segments.push(SegmentReport {
                    name: name.clone(),
                    first: alone.first,
                    last: alone.first + entries - 1,
                    entries,
                    bytes: alone.walk.data,
                    sealed: alone.sealed,
                    holes: 0,
                });
            }
        }
    }
    for problem in problems {
        let line = self::problem(&problem);
        if !report.problems.contains(&line) {
            report.problems.push(line);
        }
    }
}
