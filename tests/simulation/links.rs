//! Links between servers. Each direction is cut or slowed on its own, and heals on its own.

use copycat::engine::ServerId;
use copycat_testkit::Rng;
use std::collections::BTreeMap;

/// The state of the network, by direction.
///
/// Invariant: whatever is cut or slowed has an end, so that a run without further faults heals.
#[derive(Debug, Default)]
pub(crate) struct Links {
    /// Nothing travels until then (simulated microseconds).
    cut: BTreeMap<(ServerId, ServerId), u64>,
    /// Messages take so much longer, until then.
    slow: BTreeMap<(ServerId, ServerId), (u64, u64)>,
}

impl Links {
    /// Cuts one direction.
    pub(crate) fn cut(&mut self, from: ServerId, to: ServerId, until: u64) {
        let end = self.cut.entry((from, to)).or_default();
        *end = until.max(*end);
    }

    /// Delays what travels in one direction.
    pub(crate) fn slow(&mut self, from: ServerId, to: ServerId, delay: u64, until: u64) {
        self.slow.insert((from, to), (delay, until));
    }

    /// Whether a message that is sent now is lost.
    pub(crate) fn is_cut(&self, from: ServerId, to: ServerId, time: u64) -> bool {
        self.cut.get(&(from, to)).is_some_and(|&until| time < until)
    }

    /// The extra delay of a message that is sent now, microseconds.
    pub(crate) fn delay(&self, from: ServerId, to: ServerId, time: u64) -> u64 {
        self.slow.get(&(from, to)).filter(|&&(_, until)| time < until).map_or(0, |&(delay, _)| delay)
    }

    /// Heals one of the directions that are cut, if any is.
    pub(crate) fn heal_one(&mut self, time: u64, rng: &mut Rng) {
        self.cut.retain(|_, until| time < *until);
        let at = rng.below(self.cut.len().max(1) as u64) as usize;
        if let Some(link) = self.cut.keys().nth(at).copied() {
            self.cut.remove(&link);
        }
    }

    /// Heals all of them.
    pub(crate) fn heal(&mut self) {
        *self = Self::default();
    }
}
