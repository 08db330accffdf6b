//! The durability levels: what is noted on disk about them, and what a power loss under the weaker ones means.

use copycat_storage::{Disk, Meta, Storage};
use std::time::Duration;

/// When a write counts as durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// When it is on the disks of a majority.
    Always,
    /// When it is in the memory of a majority; each flushes this often. A power loss may take that long back.
    Interval(Duration),
    /// When it is in the memory of a majority; the operating system flushes when it likes.
    Never,
}

impl Durability {
    fn number(self) -> u8 {
        match self {
            Self::Always => 0,
            Self::Interval(_) => 1,
            Self::Never => 2,
        }
    }
}

/// Which boot of the machine this is; 0 where it does not tell.
fn boot() -> u128 {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    u128::from_str_radix(&id.trim().replace('-', ""), 16).unwrap_or(0)
}

/// Notes the level in `meta`. Returns whether what was acknowledged may be gone: the last run was under a weaker level than
/// `always`, ended with its boot of the machine, and was neither stopped in order nor at rest with all of it flushed.
pub(super) fn prepare(meta: &mut Meta, durability: Durability) -> bool {
    note(meta, durability, boot())
}

fn note(meta: &mut Meta, durability: Durability, boot: u128) -> bool {
    let weak = meta.durability != Durability::Always.number();
    let unflushed = weak && !meta.clean && meta.boot != boot;
    meta.durability = durability.number();
    meta.clean = false;
    meta.boot = if durability == Durability::Always { 0 } else { boot };
    unflushed
}

/// What follows when what was acknowledged may be gone, and what to say of it: with others, the server counts as one that
/// lost its log, until it has what its leader has. One that is alone has nobody to ask, and nobody who knows better.
pub(super) fn after_power_loss(meta: &mut Meta, alone: bool, last_index: u64) -> String {
    let why = "the power failed while it ran with a durability below always and was not at rest, so that the last writes \
               that it acknowledged may be gone";
    if alone {
        return format!(
            "{why}; there is no other server to ask: it goes on with what it has, through entry {last_index}"
        );
    }
    meta.lost = true;
    format!("{why}: it counts as one that lost its log, and is not ready, until it has caught up with a leader")
}

/// The log at rest, below `always`: that all of it is flushed is noted on the disk, as for an orderly stop, and taken back
/// durably before anything is acknowledged again. So a power failure at rest costs nothing.
#[derive(Debug, Default)]
pub(super) struct Rest {
    /// The write by which it was noted.
    noted: Option<u64>,
}

impl Rest {
    /// To be called after the engine's turn and before what it wrote is flushed. `idle`: nothing was appended for a while.
    pub(super) fn look<D: Disk>(&mut self, durability: Durability, idle: bool, storage: &mut Storage<D>) {
        if durability == Durability::Always {
            return;
        }
        let meta = storage.meta();
        if meta.clean && self.noted != Some(storage.write_sequence()) {
            storage.set_meta(Meta { clean: false, ..meta.clone() });
        } else if !meta.clean && idle && storage.is_flushed() {
            let clean = Meta { clean: true, ..meta.clone() };
            storage.mark_idle();
            storage.set_meta(clean);
            self.noted = Some(storage.write_sequence());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use copycat_storage::{Entry, MemDisk, Options, Seed};

    fn run(before: &Meta, durability: Durability, boot: u128) -> (Meta, bool) {
        let mut meta = before.clone();
        let unflushed = note(&mut meta, durability, boot);
        (meta, unflushed)
    }

    const INTERVAL: Durability = Durability::Interval(Duration::from_millis(100));

    #[test]
    fn only_a_weak_level_and_a_new_boot_without_rest_or_an_orderly_stop_lose_writes() {
        let (always, _) = run(&Meta::default(), Durability::Always, 1);
        assert!(!run(&always, INTERVAL, 2).1);
        let (weak, _) = run(&Meta::default(), INTERVAL, 1);
        assert!(!run(&weak, INTERVAL, 1).1, "killed, but the machine went on");
        assert!(run(&weak, INTERVAL, 2).1, "the power failed");
        assert!(run(&weak, Durability::Always, 2).1, "whatever it runs under now");
        assert!(!run(&Meta { clean: true, ..weak }, INTERVAL, 2).1, "at rest, or stopped in order");
    }

    #[test]
    fn who_is_alone_goes_on_and_who_is_not_counts_for_nothing() {
        for alone in [true, false] {
            let mut meta = Meta::default();
            let said = after_power_loss(&mut meta, alone, 7);
            assert_eq!(meta.lost, !alone, "{said}");
            assert!(said.contains("may be gone") && !said.contains('\n'), "{said}");
        }
    }

    fn append(storage: &mut Storage<MemDisk>) {
        let index = storage.last_index() + 1;
        let entry = Entry { index, term: 1, time: 1, session: 0, sequence: 0, kind: 3, mode: 1, data: vec![1; 100] };
        storage.append(&entry).expect("room");
    }

    /// As the driver does below `always`: answers count from memory, and at rest all is flushed.
    fn turn(rest: &mut Rest, idle: bool, storage: &mut Storage<MemDisk>) {
        rest.look(INTERVAL, idle, storage);
        while let Some(job) = if idle { storage.flush() } else { storage.flush_promises() } {
            let persisted = job.run().expect("a flush");
            storage.persisted(persisted);
            rest.look(INTERVAL, idle, storage);
        }
    }

    /// What is acknowledged at any moment is there after the worst power cut, or the record does not say that all is.
    #[test]
    fn a_log_that_is_noted_as_flushed_lacks_nothing_that_was_acknowledged() {
        let disk = MemDisk::new();
        let open = |disk: &MemDisk| {
            let seed = Seed { identity: 1, salt: 2, now_ms: 3 };
            Storage::open(disk.clone(), Options { segment_size: 8192 }, seed).expect("it opens")
        };
        let (mut storage, mut rest, mut clean) = (open(&disk), Rest::default(), 0);
        for step in 0_u32..200 {
            let idle = step % 10 > 6;
            if !idle {
                append(&mut storage);
            }
            if step % 50 == 9 {
                storage.set_meta(Meta { term: u64::from(step), ..storage.meta().clone() });
            }
            turn(&mut rest, idle, &mut storage);
            let acknowledged = storage.durable_index();
            assert_eq!(acknowledged, storage.last_index());
            let image = disk.fork();
            image.crash(&mut || 0);
            let after = open(&image);
            clean += u32::from(after.meta().clean);
            assert!(!after.meta().clean || after.last_index() == acknowledged, "step {step}");
            assert_eq!(after.meta().clean, idle, "step {step}");
        }
        assert!(clean > 50, "{clean}");
    }
}
