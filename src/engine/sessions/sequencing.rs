//! What a leader keeps of numbered and keyed commands that are in its log but not applied yet, and of those that came too
//! early: so that a repeat is known before it is logged, and a session's commands are logged in their order.
//!
//! # Invariants
//! - `logged` and `keys` name just the entries above the applied index, all of this leader's term: it takes in no number and
//!   no key before it has applied what earlier leaders have logged.
//! - A held command is not in the log; its number is above the expected one.

use super::entries::Submit;
use crate::engine::types::{Index, RequestId, SessionId};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Commands that may be held at once, of all sessions; an earlier one is refused as a gap instead.
const HELD: usize = 4096;
/// And of one session.
const HELD_OF_ONE: usize = 256;

/// Where a repeat finds what it repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Logged {
    pub(crate) index: Index,
    pub(crate) hash: u64,
    /// When it is forgotten, in log time; a number never is.
    pub(crate) end: u64,
}

#[derive(Debug)]
#[cfg_attr(feature = "planted-bugs", derive(Clone))]
struct Held {
    requests: Vec<RequestId>,
    hash: u64,
    submit: Submit,
    until: Duration,
}

#[derive(Debug)]
#[cfg_attr(feature = "planted-bugs", derive(Clone))]
enum Name {
    Number(SessionId, u64),
    Key(String),
}

#[derive(Debug, Default)]
#[cfg_attr(feature = "planted-bugs", derive(Clone))]
pub(crate) struct Sequencing {
    logged: BTreeMap<(SessionId, u64), Logged>,
    keys: BTreeMap<String, Logged>,
    by_index: BTreeMap<Index, Name>,
    held: BTreeMap<(SessionId, u64), Held>,
    /// In the order in which their time ends.
    ends: VecDeque<(Duration, (SessionId, u64))>,
}

impl Sequencing {
    /// A numbered command is in the log.
    pub(crate) fn log_number(&mut self, session: SessionId, sequence: u64, logged: Logged) {
        self.logged.insert((session, sequence), logged);
        self.by_index.insert(logged.index, Name::Number(session, sequence));
    }

    /// A command with a key is in the log.
    pub(crate) fn log_key(&mut self, key: String, logged: Logged) {
        self.by_index.insert(logged.index, Name::Key(key.clone()));
        self.keys.insert(key, logged);
    }

    /// All through this index is applied.
    pub(crate) fn applied(&mut self, index: Index) {
        while let Some(entry) = self.by_index.first_entry()
            && *entry.key() <= index
        {
            let at = *entry.key();
            match entry.remove() {
                Name::Number(session, sequence) => {
                    if self.logged.get(&(session, sequence)).is_some_and(|logged| logged.index == at) {
                        self.logged.remove(&(session, sequence));
                    }
                }
                Name::Key(key) => {
                    if self.keys.get(&key).is_some_and(|logged| logged.index == at) {
                        self.keys.remove(&key);
                    }
                }
            }
        }
    }

    pub(crate) fn number(&self, session: SessionId, sequence: u64) -> Option<Logged> {
        self.logged.get(&(session, sequence)).copied()
    }

    pub(crate) fn key(&self, key: &str) -> Option<Logged> {
        self.keys.get(key).copied()
    }

    /// The highest number of a session that is in the log and not applied, and how many there are.
    pub(crate) fn last_number(&self, session: SessionId) -> Option<(u64, usize)> {
        let mut numbers = self.logged.range((session, 0)..=(session, u64::MAX));
        let (&(_, last), _) = numbers.next_back()?;
        Some((last, numbers.count() + 1))
    }

    /// How many keys are in the log and not applied.
    pub(crate) fn key_count(&self) -> usize {
        self.keys.len()
    }

    /// Holds a command that came too early, or joins one that is held. Returns `None` if it is held, `Some(true)` if
    /// another command of this number is, and `Some(false)` if there is no room.
    pub(crate) fn hold(
        &mut self,
        (session, sequence): (SessionId, u64),
        id: RequestId,
        hash: u64,
        submit: Submit,
        until: Duration,
    ) -> Option<bool> {
        if let Some(held) = self.held.get_mut(&(session, sequence)) {
            if held.hash != hash {
                return Some(true);
            }
            held.requests.push(id);
            return if held.requests.len() > HELD_OF_ONE { held.requests.pop().map(|_| false) } else { None };
        }
        let of_one = self.held.range((session, 0)..=(session, u64::MAX)).count();
        if self.held.len() >= HELD || of_one >= HELD_OF_ONE {
            return Some(false);
        }
        self.ends.push_back((until, (session, sequence)));
        self.held.insert((session, sequence), Held { requests: vec![id], hash, submit, until });
        None
    }

    /// The held command of this number, whose turn it is, and who waits for it.
    pub(crate) fn take(&mut self, session: SessionId, sequence: u64) -> Option<(Vec<RequestId>, Submit)> {
        self.held.remove(&(session, sequence)).map(|held| (held.requests, held.submit))
    }

    /// The held commands whose time is over.
    pub(crate) fn overdue(&mut self, now: Duration) -> Vec<(SessionId, RequestId)> {
        let mut overdue = Vec::new();
        while let Some(&(until, number)) = self.ends.front()
            && until <= now
        {
            self.ends.pop_front();
            // One of this number may have been taken, and another held since.
            if self.held.get(&number).is_some_and(|held| held.until == until)
                && let Some(held) = self.held.remove(&number)
            {
                overdue.extend(held.requests.into_iter().map(|id| (number.0, id)));
            }
        }
        overdue
    }

    /// When the next held command's time is over.
    pub(crate) fn next_end(&self) -> Option<Duration> {
        self.ends.front().map(|&(until, _)| until)
    }

    /// All who wait for held commands: the office is over.
    pub(crate) fn leave_office(&mut self) -> Vec<RequestId> {
        std::mem::take(&mut self.held).into_values().flat_map(|held| held.requests).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_command_whose_time_is_over_is_refused_and_never_carried_out() {
        let mut sequencing = Sequencing::default();
        let submit = Submit::Command { operation: Vec::new(), mode: 0, session: 7, sequence: 3, key: None };
        let until = Duration::from_millis(100);
        assert_eq!(sequencing.hold((7, 3), 1, 5, submit.clone(), until), None);
        assert_eq!(sequencing.hold((7, 3), 2, 5, submit.clone(), until), None, "a repeat joins it");
        assert_eq!(sequencing.hold((7, 3), 3, 6, submit, until), Some(true), "another command does not");
        assert!(sequencing.overdue(Duration::from_millis(99)).is_empty());
        assert_eq!(sequencing.overdue(until), [(7, 1), (7, 2)]);
        assert!(sequencing.take(7, 3).is_none(), "its turn comes too late");
    }
}
