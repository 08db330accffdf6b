//! What a data directory holds, before anything is made of it.

use crate::configuration;
use crate::disk::{Disk, DiskFile};
use crate::error::OpenError;
use crate::log::{self, Floor};
use crate::meta::{self, Meta, Record};
use crate::snapshot::{self, SnapshotFile};
use crate::storage::repair;

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

/// Whether a file is kept for inspection only; see [`Storage::open_damaged`].
pub(crate) fn is_set_aside(name: &str) -> bool {
    repair::is_set_aside(name)
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
    let record = Record { counter: 1, born: false, meta: Meta { identity, ..Meta::default() } };
    Ok((record, true))
}
