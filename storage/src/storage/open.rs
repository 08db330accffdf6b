//! Opening a directory: what was judged is carried out.

use crate::configuration;
use crate::disk::Disk;
use crate::error::OpenError;
use crate::log::{self, Make};
use crate::meta::MetaFiles;
use crate::snapshot::{self, Snapshots};
use crate::storage::{Opened, Options, Seed, Storage, files, is_kept, is_leftover, look, missing_log, repair};

/// What an open does without a log where one was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// It refuses.
    Refuse,
    /// It begins another: what was there is set aside, and noted as lost.
    Begin,
    /// It begins another and deletes the snapshot.
    #[cfg(feature = "planted-bugs")]
    Discard,
}

impl<D: Disk> Storage<D> {
    /// Opens a directory, making its files when it is empty, repairing what a power cut leaves, and
    /// refusing what only damage explains, a log that is missing included. On return everything found is durable.
    ///
    /// # Errors
    /// See [`OpenError`]. Everything is judged before anything is changed.
    pub fn open(disk: D, options: Options, seed: Seed) -> Result<Storage<D>, OpenError> {
        Storage::open_with(disk, options, seed, Missing::Refuse)
    }

    /// As [`Storage::open`], but where the log is missing it deletes the snapshot and begins another, as version 0.1.0 did.
    ///
    /// # Errors
    /// As [`Storage::open`].
    #[cfg(feature = "planted-bugs")]
    pub fn open_discarding_snapshot(disk: D, options: Options, seed: Seed) -> Result<Storage<D>, OpenError> {
        Storage::open_with(disk, options, seed, Missing::Discard)
    }

    pub(super) fn open_with(disk: D, options: Options, seed: Seed, missing: Missing) -> Result<Storage<D>, OpenError> {
        options.check()?;
        let found = look(&disk, seed.identity)?;
        let lost = missing_log(&found.record, found.snapshot.as_ref(), &found.plan);
        let log_lost = lost.is_some();
        if let Some(lost) = lost.filter(|_| missing == Missing::Refuse) {
            return Err(lost.into());
        }
        let files::Found { names, survey, mut record, fresh, configuration, cache, mut snapshot, mut plan } = found;
        let mut opened = Opened { fresh, torn: plan.torn, log_lost, configuration_lost: cache, ..Opened::default() };
        if log_lost {
            // Noted before a new log is begun, which would hide it.
            record.counter += 1;
            record.meta.lost = true;
            plan.next_id = plan.next_id.max(record.ids_before().saturating_add(1));
        }
        let io = |source| OpenError::io("write", "the meta files", source);
        let mut files = MetaFiles::settle(&disk, &names, &survey, &record).map_err(io)?;
        if names.iter().any(|name| name == configuration::TEMPORARY) {
            disk.remove(configuration::TEMPORARY)
                .map_err(|source| OpenError::io("delete", configuration::TEMPORARY, source))?;
        }
        for name in names.iter().filter(|name| is_leftover(name)) {
            disk.remove(name).map_err(|source| OpenError::io("delete", name, source))?;
        }
        if log_lost && snapshot.take().is_some() {
            // Only the planted open comes here: a repair has set it aside.
            let delete = |source| OpenError::io("delete", snapshot::NAME, source);
            disk.remove(snapshot::NAME).map_err(delete)?;
        }
        let mut kept = Vec::new();
        if record.meta.lost {
            repair::keep_returned(&disk, &mut plan.dead, record.ids_before())?;
            kept = files::names(&disk)?.into_iter().filter(|name| is_kept(name)).collect();
        } else {
            // Of a repair that was completed. What stays is no harm, and deleted by a later open.
            names.iter().filter(|name| is_kept(name)).for_each(|name| drop(disk.remove(name)));
        }
        (opened.beyond, opened.dead) = (plan.beyond.clone(), plan.dead.clone());
        let make = Make { size: options.segment_size, salt: seed.salt, now: seed.now_ms };
        let mut log =
            if plan.parts.is_empty() { log::fresh(&disk, make, &plan)? } else { log::found(&disk, make, plan)? };
        if let Some(snapshot) = &snapshot {
            log.release_unreferred(snapshot);
        }
        if !record.born {
            record.counter += 1;
            record.born = true;
            files.save(&record).map_err(io)?;
        }
        Ok(Storage {
            failed: log.failed(),
            disk,
            options,
            log,
            snapshots: Snapshots::new(snapshot),
            record,
            meta_files: Some(files),
            meta_dirty: false,
            configuration,
            configuration_dirty: false,
            configuration_out: false,
            unsaved: None,
            kept,
            sequence: 0,
            durable: 0,
            flushed: 0,
            flushing: false,
            opened,
        })
    }
}
