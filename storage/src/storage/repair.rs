//! Opening a directory with damage, so that its server can be brought back from its peers.

use crate::configuration;
use crate::disk::Disk;
use crate::error::{Corrupt, OpenError};
use crate::log;
use crate::meta::{self, MetaFiles};
use crate::snapshot;
use crate::storage::{Missing, Options, Seed, Storage, choose_meta, is_leftover, names};

/// What is appended to the name of a damaged file that is kept for inspection.
const DAMAGED: &str = ".damaged";
/// What is appended to the name of a file that a repair has taken out of use, until the repair is complete.
const KEPT: &str = ".kept";

/// The name that a file had before a repair has set it aside; `None` for one that none has.
pub(crate) fn stem_of_set_aside(name: &str) -> Option<&str> {
    let stem = name.strip_suffix(DAMAGED).or_else(|| name.strip_suffix(KEPT))?;
    let known = log::parse(stem).is_some() || stem == snapshot::NAME || stem == configuration::NAME;
    known.then_some(stem)
}

/// Whether a file is one that a repair has set aside.
pub(crate) fn is_set_aside(name: &str) -> bool {
    stem_of_set_aside(name).is_some()
}

/// Whether a file is one that a repair has set aside until it is complete.
pub(crate) fn is_kept(name: &str) -> bool {
    name.ends_with(KEPT) && is_set_aside(name)
}

impl<D: Disk> Storage<D> {
    /// As [`Storage::open`], but of a directory with damage it keeps the identity, the term, the vote and the
    /// configuration, and gives up log and snapshot: the server is then one that lost its log, and `meta().lost` is durable
    /// *before* anything is taken away. Nothing is deleted: the damaged file becomes `NAME.damaged` (a newer one takes its
    /// place, nothing else ever deletes it), the others `NAME.kept`, which are deleted when `meta().lost` is taken back,
    /// that is, when what takes their place is durable.
    ///
    /// `known` is damage that a read has found while the server ran, which an open does not look for: the log is given
    /// up then, whatever this open finds. Returns what was wrong, if something was.
    ///
    /// It may be cut at any point: the next call, with or without `known`, ends in a log that is lost; [`Storage::open`]
    /// may also find the lower part of the log, with `meta().lost` set.
    ///
    /// # Errors
    /// As [`Storage::open`], but for [`OpenError::Corrupt`].
    pub fn open_damaged(
        disk: D,
        options: Options,
        seed: Seed,
        known: Option<Corrupt>,
    ) -> Result<(Storage<D>, Option<Corrupt>), OpenError> {
        options.check()?;
        let damage = match known {
            Some(damage) => damage,
            None => match Storage::open(disk.clone(), options, seed) {
                Ok(storage) => return Ok((storage, None)),
                Err(OpenError::Corrupt(damage)) => damage,
                Err(error) => return Err(error),
            },
        };
        set_aside(&disk, seed, &damage)?;
        Ok((Storage::open_with(disk, options, seed, Missing::Begin)?, Some(damage)))
    }
}

fn sync<D: Disk>(disk: &D) -> Result<(), OpenError> {
    disk.sync_dir().map_err(|source| OpenError::directory("sync", source))
}

fn remove<D: Disk>(disk: &D, name: &str) -> Result<(), OpenError> {
    disk.remove(name).map_err(|source| OpenError::io("delete", name, source))
}

fn rename<D: Disk>(disk: &D, name: &str, to: &str) -> Result<(), OpenError> {
    disk.rename(name, to).map_err(|source| OpenError::io("rename", name, source))
}

fn set_aside<D: Disk>(disk: &D, seed: Seed, damage: &Corrupt) -> Result<(), OpenError> {
    let names = names(disk)?;
    let survey = meta::survey(disk, &names)?;
    let (mut record, _) = choose_meta(&survey, &names, seed.identity)?;
    if !record.meta.lost && names.iter().any(|name| is_kept(name)) {
        // Of a repair that was completed.
        for name in names.iter().filter(|name| is_kept(name)) {
            remove(disk, name)?;
        }
        sync(disk)?;
    }
    record.counter += 1;
    record.born = true;
    record.meta.lost = true;
    record.next_era();
    MetaFiles::settle(disk, &names, &survey, &record)
        .map_err(|source| OpenError::io("write", "the meta files", source))?;
    if names.contains(&damage.file) {
        rename(disk, &damage.file, &format!("{}{DAMAGED}", damage.file))?;
        sync(disk)?;
    }
    let given_up = |name: &&String| log::parse(name).is_some() || is_leftover(name) || **name == snapshot::NAME;
    let mut gone: Vec<&String> = names.iter().filter(given_up).filter(|name| **name != damage.file).collect();
    // Highest first, each durably: what a cut leaves is a log with its top cut off, never one with a gap.
    gone.sort();
    for name in gone.into_iter().rev() {
        if is_leftover(name) {
            remove(disk, name)?;
        } else {
            keep(disk, name)?;
        }
        sync(disk)?;
    }
    Ok(())
}

/// Takes a file out of use. What an earlier repair, which was not completed, has taken out of use under this name is what
/// the server had; then this one is only what that repair has brought so far.
fn keep<D: Disk>(disk: &D, name: &str) -> Result<(), OpenError> {
    let aside = format!("{name}{KEPT}");
    if names(disk)?.contains(&aside) { remove(disk, name) } else { rename(disk, name, &aside) }
}

/// Files of the log that was given up, put back while its repair is not complete: they are kept as the others are. Takes
/// them out of `dead`, which is what the open deletes.
pub(crate) fn keep_returned<D: Disk>(disk: &D, dead: &mut Vec<String>, ids_before: u32) -> Result<(), OpenError> {
    let (returned, rest) =
        std::mem::take(dead).into_iter().partition(|name| log::parse(name).is_some_and(|(id, _)| id <= ids_before));
    *dead = rest;
    let returned: Vec<String> = returned;
    for name in &returned {
        keep(disk, name)?;
    }
    if returned.is_empty() { Ok(()) } else { sync(disk) }
}
