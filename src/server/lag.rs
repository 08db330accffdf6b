//! How long a member has lacked what the leader's log has: of an index, when it came.
//!
//! Invariant: samples are in order of time and of index, at most [`KEPT`]; what is older than the oldest counts as that old.

use crate::engine::Index;
use std::collections::VecDeque;
use std::time::Duration;

/// A minute, where a sample is taken every 50 ms.
const KEPT: usize = 1200;

/// When the log ended where.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lags(VecDeque<(Duration, Index)>);

impl Lags {
    /// The log ends at `last` at the time `now`.
    pub(crate) fn sample(&mut self, now: Duration, last: Index) {
        // After a truncation, what is known of the indexes behind it is void.
        while self.0.back().is_some_and(|&(_, index)| index > last) {
            self.0.pop_back();
        }
        if self.0.back().is_none_or(|&(_, index)| index < last) {
            self.0.push_back((now, last));
        }
        if self.0.len() > KEPT {
            self.0.pop_front();
        }
    }

    /// For how long something behind this index has been in the log.
    pub(crate) fn behind(&self, now: Duration, matched: Index) -> Duration {
        let at = self.0.partition_point(|&(_, index)| index <= matched);
        self.0.get(at).map_or(Duration::ZERO, |&(since, _)| now.saturating_sub(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_behind_since_the_first_entry_that_it_lacks_came() {
        let ms = Duration::from_millis;
        let mut lags = Lags::default();
        for (now, last) in [(100, 10), (150, 10), (200, 20), (250, 30)] {
            lags.sample(ms(now), last);
        }
        assert_eq!(lags.behind(ms(300), 30), Duration::ZERO);
        assert_eq!(lags.behind(ms(300), 25), ms(50));
        assert_eq!(lags.behind(ms(300), 20), ms(50));
        assert_eq!(lags.behind(ms(300), 10), ms(100));
        assert_eq!(lags.behind(ms(300), 3), ms(200));
        lags.sample(ms(400), 15);
        assert_eq!(
            (lags.behind(ms(450), 10), lags.behind(ms(450), 15)),
            (ms(50), Duration::ZERO),
            "cut and grown again"
        );
        (0..5000).for_each(|i| lags.sample(ms(500 + i), 100 + i));
        assert_eq!(lags.0.len(), KEPT);
    }
}
