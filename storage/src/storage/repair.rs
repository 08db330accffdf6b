//! Opening a directory with damage, so that its server can be brought back from its peers.

use crate::configuration;
use crate::disk::Disk;
use crate::error::{Corrupt, OpenError};
use crate::log;
use crate::meta::{self, MetaFiles};
use crate::snapshot;
use crate::storage::{Options, Seed, Storage, choose_meta, is_leftover, names};

/// What is appended to the name of a damaged file that is kept for inspection.
const DAMAGED: &str = ".damaged";

/// Whether a file is one that a repair has set aside.
pub(crate) fn is_set_aside(name: &str) -> bool {
    name.strip_suffix(DAMAGED)
        .is_some_and(|stem| log::parse(stem).is_some() || stem == snapshot::NAME || stem == configuration::NAME)
}

impl<D: Disk> Storage<D> {
    /// As [`Storage::open`], but of a directory with damage it keeps the identity, the term and the vote, and gives up
    /// log, snapshot and configuration: the server is then one that lost its log, and `meta().lost` is durable *before*
    /// anything is taken away. The damaged file is kept as `NAME.damaged` (a newer one takes its place, nothing else
    /// ever deletes it); the others are deleted.
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
        Ok((Storage::open(disk, options, seed)?, Some(damage)))
    }
}

fn set_aside<D: Disk>(disk: &D, seed: Seed, damage: &Corrupt) -> Result<(), OpenError> {
    let sync = || disk.sync_dir().map_err(|source| OpenError::directory("sync", source));
    let names = names(disk)?;
    let survey = meta::survey(disk, &names)?;
    let (mut record, _) = choose_meta(&survey, &names, seed.identity)?;
    record.counter += 1;
    record.born = true;
    record.meta.lost = true;
    MetaFiles::settle(disk, &names, &survey, &record)
        .map_err(|source| OpenError::io("write", "the meta files", source))?;
    let given_up = |name: &&String| {
        log::parse(name).is_some() || is_leftover(name) || **name == snapshot::NAME || **name == configuration::NAME
    };
    let mut gone: Vec<&String> = names.iter().filter(given_up).collect();
    if gone.contains(&&damage.file) {
        let aside = format!("{}{DAMAGED}", damage.file);
        disk.rename(&damage.file, &aside).map_err(|source| OpenError::io("rename", &damage.file, source))?;
        sync()?;
        gone.retain(|name| **name != damage.file);
    }
    // Highest first, each durably: what a cut leaves is a log with its top cut off, never one with a gap.
    gone.sort();
    for name in gone.into_iter().rev() {
        disk.remove(name).map_err(|source| OpenError::io("delete", name, source))?;
        sync()?;
    }
    Ok(())
}
