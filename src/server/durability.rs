//! The durability levels: what is noted on disk about them, and what a power loss under the weaker ones means.

use copycat_storage::Meta;
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

/// Notes the level in `meta`. If the last run was under a weaker level than `always` and ended with its boot of the
/// machine, what it acknowledged may be gone: then the server counts as one that lost its log.
pub(super) fn prepare(meta: &mut Meta, durability: Durability) {
    note(meta, durability, boot());
}

fn note(meta: &mut Meta, durability: Durability, boot: u128) {
    let weak = meta.durability != Durability::Always.number();
    if weak && !meta.clean && meta.boot != boot {
        meta.lost = true;
    }
    meta.durability = durability.number();
    meta.clean = false;
    meta.boot = if durability == Durability::Always { 0 } else { boot };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(before: &Meta, durability: Durability, boot: u128) -> Meta {
        let mut meta = before.clone();
        note(&mut meta, durability, boot);
        meta
    }

    #[test]
    fn only_a_weak_level_and_a_new_boot_without_an_orderly_stop_lose_the_log() {
        let interval = Durability::Interval(Duration::from_millis(100));
        let always = run(&Meta::default(), Durability::Always, 1);
        assert!(!run(&always, interval, 2).lost);
        let weak = run(&Meta::default(), interval, 1);
        assert!(!run(&weak, interval, 1).lost, "killed, but the machine went on");
        assert!(run(&weak, interval, 2).lost, "the power failed");
        assert!(run(&weak, Durability::Always, 2).lost, "whatever it runs under now");
        assert!(!run(&Meta { clean: true, ..weak }, interval, 2).lost, "stopped in order");
    }
}
