//! What a data directory holds, before anything is made of it.

use crate::configuration;
use crate::disk::{Disk, DiskFile};
use crate::error::{Corrupt, OpenError};
use crate::log::{self, Floor, Plan};
use crate::meta::{self, Meta, Record};
use crate::snapshot::{self, SnapshotFile};
use crate::storage::repair::is_set_aside;

/// A directory, judged: what an open and the offline check have in common. Nothing is changed by finding it.
pub(crate) struct Found<F> {
    pub(crate) names: Vec<String>,
    pub(crate) survey: meta::Survey,
    /// What both meta files are to hold.
    pub(crate) record: Record,
    /// The directory is new.
    pub(crate) fresh: bool,
    pub(crate) configuration: Vec<u8>,
    /// Why there is none, though there is a file.
    pub(crate) cache: Option<String>,
    pub(crate) snapshot: Option<SnapshotFile<F>>,
    pub(crate) plan: Plan<F>,
}

/// Judges a directory. `identity` is for one that is new.
pub(crate) fn look<D: Disk>(disk: &D, identity: u64) -> Result<Found<D::File>, OpenError> {
    let names = names(disk)?;
    let survey = meta::survey(disk, &names)?;
    let (record, fresh) = choose_meta(&survey, &names, identity)?;
    let (configuration, cache) = configuration::read_cache(disk, &names)?;
    let snapshot = read_snapshot(disk, &names)?;
    let plan = log::inspect(disk, &names, floor(snapshot.as_ref()))?;
    Ok(Found { names, survey, record, fresh, configuration, cache, snapshot, plan })
}

/// The configuration in a directory, without opening it: who the other members are, for a server whose log is damaged.
/// `None` where there is none that can be read.
pub fn stored_configuration<D: Disk>(disk: &D) -> Option<Vec<u8>> {
    let names = disk.list().ok()?;
    configuration::read(disk, &names).ok().filter(|data| !data.is_empty())
}

/// The log that was begun in a directory and is not there, whatever else is. A power cut never takes all of it: its first
/// segment is durable before the meta record says that there is one, and a later one before an earlier is deleted.
pub(crate) fn missing_log<F: DiskFile>(
    record: &Record,
    snapshot: Option<&SnapshotFile<F>>,
    plan: &Plan<F>,
) -> Option<Corrupt> {
    let missing = plan.parts.is_empty() && record.born;
    missing.then(|| Corrupt::log_missing(floor(snapshot).index))
}

/// Which files are there, after refusing those that do not belong.
pub(crate) fn names<D: Disk>(disk: &D) -> Result<Vec<String>, OpenError> {
    let names = disk.list().map_err(|source| OpenError::directory("list", source))?;
    for name in &names {
        let known = log::parse(name).is_some()
            || meta::NAMES.contains(&name.as_str())
            || name == configuration::NAME
            || name == configuration::TEMPORARY
            || is_leftover(name)
            || is_set_aside(name)
            || name == snapshot::NAME;
        if !known {
            return Err(OpenError::Foreign { name: name.clone() });
        }
    }
    Ok(names)
}

/// Whether a file is work that was never finished: without meaning, and deleted at open.
pub(crate) fn is_leftover(name: &str) -> bool {
    log::is_temporary(name) || name == snapshot::WRITING || name == snapshot::RECEIVING
}

/// The snapshot, its header and tables checked.
pub(crate) fn read_snapshot<D: Disk>(disk: &D, names: &[String]) -> Result<Option<SnapshotFile<D::File>>, OpenError> {
    if !names.iter().any(|name| name == snapshot::NAME) {
        return Ok(None);
    }
    let file = disk.open(snapshot::NAME).map_err(|source| OpenError::io("open", snapshot::NAME, source))?;
    SnapshotFile::new(snapshot::NAME, file).map(Some)
}

/// What a snapshot says about the log.
pub(crate) fn floor<F: DiskFile>(snapshot: Option<&SnapshotFile<F>>) -> Floor {
    snapshot.map_or_else(Floor::default, |snapshot| {
        let info = snapshot.info();
        Floor { index: info.index, term: info.term, base: snapshot.head.base }
    })
}

/// The record that both meta files are to hold, and whether the directory is new.
pub(crate) fn choose_meta(survey: &meta::Survey, names: &[String], identity: u64) -> Result<(Record, bool), OpenError> {
    if let Some(record) = &survey.best {
        return Ok((record.clone(), false));
    }
    // Meta is made, durably, before anything else is.
    let made = |name: &String| log::parse(name).is_some() || name == configuration::NAME || name == snapshot::NAME;
    let others = names.iter().any(made);
    if others || survey.damaged() {
        return Err(OpenError::MetaLost);
    }
    let record = Record { counter: 1, born: false, era: 0, meta: Meta { identity, ..Meta::default() } };
    Ok((record, true))
}
