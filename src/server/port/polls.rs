//! Which poll of a session is its newest: on one server by their arrival, over all servers by the log.
//!
//! Invariant: of the polls of one session on one server, at most one is not superseded.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Sessions that are remembered; the rest is forgotten when there are more, and then known by the log alone.
const REMEMBERED: usize = 64 * 1024;

/// A poll, or a stream, which is many polls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    Poll(u64),
    Stream(u64),
}

#[derive(Clone, Copy, Debug)]
struct Newest {
    which: Which,
    /// The highest stream of this session so far: one that is not above it and not the newest has been superseded.
    stream: u64,
    /// The entry that announced it; 0 while it is not known.
    entry: u64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Polls(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    next: u64,
    by_session: HashMap<u64, Newest>,
}

/// One's place among the polls of a session, until it is dropped.
#[derive(Debug)]
pub(super) struct Ticket {
    polls: Polls,
    session: u64,
    which: Which,
    /// It has taken over just now: others must be told, and the log.
    pub(super) new: bool,
}

impl Polls {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A poll begins, or a stream goes on; `None` if it is a stream that was superseded.
    pub(super) fn begin(&self, session: u64, stream: Option<u64>) -> Option<Ticket> {
        let mut state = self.lock();
        let known = state.by_session.get(&session).copied();
        let highest = known.map_or(0, |newest| newest.stream);
        let which = match stream {
            Some(stream) => Which::Stream(stream),
            None => {
                state.next += 1;
                Which::Poll(state.next)
            }
        };
        let goes_on = known.is_some_and(|newest| newest.which == which);
        if !goes_on {
            if stream.is_some_and(|stream| stream <= highest) {
                return None;
            }
            if state.by_session.len() >= REMEMBERED {
                state.by_session.clear();
            }
            let stream = stream.map_or(highest, |stream| stream.max(highest));
            state.by_session.insert(session, Newest { which, stream, entry: 0 });
        }
        Some(Ticket { polls: self.clone(), session, which, new: !goes_on })
    }
}

impl Ticket {
    /// This entry has announced it.
    pub(super) fn announced(&self, entry: u64) {
        if let Some(newest) = self.polls.lock().by_session.get_mut(&self.session)
            && newest.which == self.which
        {
            newest.entry = entry;
        }
    }

    /// Whether another has taken over: on this server, or by an entry (`announced` is the session's latest).
    pub(super) fn is_superseded(&self, announced: u64) -> bool {
        match self.polls.lock().by_session.get(&self.session) {
            Some(newest) if newest.which == self.which => newest.entry != 0 && announced > newest.entry,
            Some(_) => true,
            None => false,
        }
    }
}

impl Drop for Ticket {
    /// A poll has ended; a stream goes on with its next step, or never.
    fn drop(&mut self) {
        let mut state = self.polls.lock();
        if let Which::Poll(_) = self.which
            && state.by_session.get(&self.session).is_some_and(|n| n.which == self.which && n.stream == 0)
        {
            state.by_session.remove(&self.session);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_wins() {
        let polls = Polls::default();
        let first = polls.begin(7, None).expect("a poll");
        assert!(!first.is_superseded(0));
        let second = polls.begin(7, None).expect("a poll");
        assert!(first.is_superseded(0) && !second.is_superseded(0));
        second.announced(20);
        first.announced(10);
        assert!(!second.is_superseded(20) && second.is_superseded(21), "one at another server");
        drop(second);
        assert!(polls.lock().by_session.is_empty());
    }

    #[test]
    fn the_steps_of_a_stream_do_not_supersede_each_other() {
        let polls = Polls::default();
        let step = polls.begin(7, Some(3)).expect("a stream");
        assert!(step.new);
        let step = polls.begin(7, Some(3)).expect("it goes on");
        assert!(!step.new && !step.is_superseded(0));
        let other = polls.begin(7, Some(4)).expect("another stream");
        assert!(polls.begin(7, Some(3)).is_none() && !other.is_superseded(0));
        let poll = polls.begin(7, None).expect("a poll");
        assert!(polls.begin(7, Some(4)).is_none());
        drop(poll);
        assert!(polls.begin(7, Some(4)).is_none(), "it stays superseded");
    }
}
