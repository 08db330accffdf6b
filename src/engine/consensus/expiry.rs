//! The end of sessions that were not kept alive: only a leader's entry ends one.
//!
//! A leader judges by log time, which it advances by its monotonic clock. It ends a session only after a majority has
//! confirmed its office in a round that began when the session was overdue already, and after everything that had
//! arrived by then was taken in: a sign of life that was on its way counts. The entry names the sign of life it judged
//! by, and is void if a later one is applied before it.

#[allow(unused_imports)] // without planted bugs the macro expands to `false`
use super::planted;
use super::{CompactionMode, Engine, Kind, StateMachine, encode};
use crate::engine::types::{Index, Now};
use copycat_storage::Disk;
use std::time::Duration;

/// Most sessions ended by one entry.
const ENDED: usize = 1024;

/// What a leader has done so far to end sessions.
#[derive(Debug, Default)]
#[cfg_attr(feature = "planted-bugs", derive(Clone))]
pub(super) struct Expiry {
    /// The round that must be confirmed, the log time at its beginning, the moment, and what was applied then.
    round: Option<(u64, u64, Duration, Index)>,
    /// The last entry that ended sessions.
    logged: Index,
    /// When to look again.
    pub(super) at: Option<Duration>,
}

impl<D: Disk, M: StateMachine> Engine<D, M> {
    /// Ends what is overdue, or sees to it that it can be.
    pub(super) fn expire_sessions(&mut self, now: Now) {
        // What clients sent meanwhile has not been taken in.
        if !self.is_home() {
            return;
        }
        let serves = self.serves_reads();
        let (deadline, full) = (self.state().sessions().next_deadline(), self.state().sessions().has_full());
        let applied = self.applied();
        let drained = self.drained;
        let unproved = planted!(self.options, ExpireWithoutRound);
        let planted = planted!(self.options, TimeOnCommandsOnly);
        let time = if planted { self.state().time() } else { self.leader_time(now) };
        let Some(leader) = self.leading() else { return };
        leader.expiry.at = None;
        // Until that entry is applied, those it ends still look overdue.
        if !serves || leader.expiry.logged > applied {
            return;
        }
        match deadline {
            Some(deadline) if !full && deadline > time => {
                leader.expiry.round = None;
                leader.expiry.at = Some(now.monotonic + Duration::from_millis(deadline - time));
                return;
            }
            None if !full => {
                leader.expiry.round = None;
                return;
            }
            _ => {}
        }
        let begun = leader.expiry.round;
        let begin = |engine: &mut Self| (engine.start_round(now), time, now.monotonic, applied);
        let (round, judged_at, began, known) = begun.unwrap_or_else(|| begin(self));
        let Some(leader) = self.leading() else { return };
        leader.expiry.round = Some((round, judged_at, began, known));
        let unconfirmed = leader.confirmed_round() < round && !unproved;
        if unconfirmed || drained < began || !leader.keep_alives.is_empty() {
            return;
        }
        leader.expiry.round = None;
        let mut items = self.state().sessions().to_end(judged_at, ENDED);
        // Of a session whose registration, or sign of life, was applied since the round began, the round says nothing: its
        // client may not even know yet that there is one.
        items.retain(|item| item.judged_by <= known);
        if items.is_empty() {
            return;
        }
        self.end_what_is_over(now);
        // Without room for it, it is tried again.
        if let Ok(index) = self.append_own(now, Kind::Unregister, CompactionMode::Release, encode(&items))
            && let Some(leader) = self.leading()
        {
            leader.expiry.logged = index;
        }
    }
}
