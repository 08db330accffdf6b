//! What a leader knows of one other member's log.

use crate::engine::types::Index;
use std::collections::VecDeque;
use std::time::Duration;

/// How entries are sent to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Where its log agrees with the leader's is not known: one append at a time, until one matches.
    Probe {
        /// An append is on the way.
        waiting: bool,
    },
    /// The logs agree: appends are pipelined, `next` runs ahead of the replies.
    Replicate,
}

/// Invariant: `match_index < next`; in `Replicate`, everything in \[match_index + 1, next) is on the way.
#[derive(Debug)]
#[cfg_attr(feature = "planted-bugs", derive(Clone))]
pub(super) struct Progress {
    pub(super) mode: Mode,
    /// Durable at the member, through this index.
    pub(super) match_index: Index,
    pub(super) next: Index,
    /// The last index of each append with entries on the way, oldest first.
    pub(super) inflight: VecDeque<Index>,
    /// The highest round it has answered.
    pub(super) round: u64,
    pub(super) heard: Duration,
    /// When it last answered in this leader's term.
    pub(super) answered: Option<Duration>,
    /// The entry of the latest configuration that it knows to be committed.
    pub(super) configuration: Index,
    /// The commit index it was last told.
    pub(super) commit_sent: Index,
    /// Something waits there for entries through this index to commit.
    pub(super) wants: Index,
    /// It lost its log, and must hold it through this index before it counts.
    pub(super) lost_until: Option<Index>,
    /// The latest of its starts that was heard, and the leader's round when it was heard first.
    start: Option<(u64, u64)>,
}

impl Progress {
    pub(super) fn new(last: Index, now: Duration) -> Self {
        Self {
            mode: Mode::Probe { waiting: false },
            match_index: 0,
            next: last + 1,
            inflight: VecDeque::new(),
            round: 0,
            heard: now,
            answered: None,
            configuration: 0,
            commit_sent: 0,
            wants: 0,
            lost_until: None,
            start: None,
        }
    }

    /// The match index that a quorum may count.
    pub(super) fn counted(&self) -> Index {
        if self.lost_until.is_some() { 0 } else { self.match_index }
    }

    /// Whether entries may be sent now, of which at most `inflight` messages are on the way.
    pub(super) fn is_free(&self, inflight: usize) -> bool {
        match self.mode {
            Mode::Probe { waiting } => !waiting,
            Mode::Replicate => self.inflight.len() < inflight,
        }
    }

    /// A probe may be lost by now: the next may leave.
    pub(super) fn probe_again(&mut self) {
        if let Mode::Probe { waiting } = &mut self.mode {
            *waiting = false;
        }
    }

    /// Its log agrees through `index`. Returns whether that is news.
    pub(super) fn matched(&mut self, index: Index) -> bool {
        let news = index > self.match_index;
        self.match_index = self.match_index.max(index);
        self.next = self.next.max(index + 1);
        while self.inflight.front().is_some_and(|&last| last <= index) {
            self.inflight.pop_front();
        }
        if matches!(self.mode, Mode::Probe { .. }) && index + 1 >= self.next {
            self.mode = Mode::Replicate;
            // What went out with the probe is on its way.
            self.next = self.inflight.back().map_or(self.next, |&last| self.next.max(last + 1));
        }
        news
    }

    /// Its log does not agree at `previous`; it may at `hint`. Returns false if that is old news.
    pub(super) fn rejected(&mut self, previous: Index, hint: Index) -> bool {
        // Nothing behind `next` was ever sent.
        let stale = match self.mode {
            Mode::Probe { .. } => previous != self.next - 1,
            Mode::Replicate => previous <= self.match_index || previous >= self.next,
        };
        if stale {
            return false;
        }
        self.probe_from(hint.min(previous));
        true
    }

    /// Forgets what is on the way and probes at `next`, but never below what is known to match.
    pub(super) fn probe_from(&mut self, next: Index) {
        self.mode = Mode::Probe { waiting: false };
        self.next = next.max(self.match_index + 1);
        self.inflight.clear();
    }

    /// It lost its log: it counts again once it holds it through `leader_last`.
    pub(super) fn lost(&mut self, leader_last: Index) {
        self.lost_until.get_or_insert(leader_last);
    }

    /// What it held is gone.
    pub(super) fn forget(&mut self) {
        self.match_index = 0;
        self.lost_until = None;
        self.probe_from(0);
    }

    /// Whether what was said at this start, in answer to `round`, still holds; `latest` is the leader's round now. A new
    /// start voids what was known: the log may have been lost, and may be lost again while it is got back. Starts are
    /// random numbers, so none is later than another by itself: but one that had ended when the last one was first heard
    /// cannot have answered a round that began after that.
    pub(super) fn is_of_last_start(&mut self, start: u64, round: u64, latest: u64) -> bool {
        match self.start {
            Some((last, _)) if last == start => true,
            Some((_, since)) if round <= since => false,
            _ => {
                let kept = Self::new(self.next - 1, self.heard);
                *self = Self { start: Some((start, latest)), commit_sent: self.commit_sent, ..kept };
                true
            }
        }
    }

    /// What is known stays, whichever start it is: a planted bug.
    pub(super) fn start_anyway(&mut self, start: u64) {
        self.start = Some((start, 0));
    }

    pub(super) fn sent_entries(&mut self, last: Index) {
        match &mut self.mode {
            Mode::Probe { waiting } => {
                *waiting = true;
                self.inflight.clear();
            }
            Mode::Replicate => self.next = last + 1,
        }
        self.inflight.push_back(last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_that_matches_starts_the_pipeline() {
        let mut p = Progress::new(10, Duration::ZERO);
        assert!(p.rejected(10, 5));
        assert_eq!((p.next, p.mode), (5, Mode::Probe { waiting: false }));
        p.sent_entries(10);
        assert!(!p.rejected(10, 5), "the repeated answer to the first probe is old");
        assert!(p.matched(4));
        assert_eq!((p.next, p.mode), (11, Mode::Replicate), "5 to 10 are on their way");
        assert!(p.matched(10));
        assert_eq!((p.next, p.inflight.len()), (11, 0));
    }

    #[test]
    fn one_lost_append_costs_one_probe_not_a_storm() {
        let mut p = Progress::new(0, Duration::ZERO);
        p.matched(0);
        for last in [5, 9, 12] {
            p.sent_entries(last);
        }
        assert_eq!((p.next, p.inflight.len()), (13, 3));
        p.matched(5);
        assert!(p.rejected(9, 6), "6 to 9 did not arrive");
        assert_eq!((p.next, p.mode), (6, Mode::Probe { waiting: false }));
        assert!(!p.rejected(12, 6), "the answer to the append behind it is old news");
    }

    #[test]
    fn what_matched_is_never_probed_again() {
        let mut p = Progress::new(10, Duration::ZERO);
        p.matched(10);
        assert!(!p.rejected(9, 1));
        assert!(!p.rejected(u64::MAX, 1), "that was never sent");
        p.sent_entries(14);
        assert!(p.rejected(10 + 3, 1));
        assert_eq!(p.next, 11);
    }

    #[test]
    fn a_lost_log_counts_for_nothing() {
        let mut p = Progress::new(10, Duration::ZERO);
        assert!(p.is_of_last_start(77, 1, 1));
        p.matched(10);
        assert!(!p.is_of_last_start(22, 1, 5), "it may have come late, from before that start");
        assert!(p.is_of_last_start(22, 5, 6));
        p.lost(14);
        assert_eq!((p.counted(), p.match_index), (0, 0));
        assert!(!p.is_of_last_start(77, 6, 7), "it comes late, from before the loss");
        p.matched(12);
        p.lost(99);
        assert_eq!((p.counted(), p.match_index, p.lost_until), (0, 12, Some(14)));
        assert!(p.is_of_last_start(33, 8, 8));
        p.lost(20);
        assert!(p.rejected(12, 1), "it lost it again: begin anew");
        assert_eq!((p.counted(), p.match_index, p.next, p.lost_until), (0, 0, 1, Some(20)));
        p.matched(20);
        assert!(
            p.is_of_last_start(11, 9, 9),
            "another directory under the same number, for one that did not see it go"
        );
        assert_eq!((p.match_index, p.answered, p.round), (0, None, 0));
    }
}
