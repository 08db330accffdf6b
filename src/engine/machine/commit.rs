//! What a state machine gets with each operation, and what it may do.

use crate::engine::sessions::Sessions;
use crate::engine::types::{Index, SessionId};
use serde::{Deserialize, Serialize};

/// The id of a timer: unique and rising in one state machine.
pub type TimerId = u64;

/// When compaction may drop an entry. The numbers are part of the file format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub enum CompactionMode {
    /// [`Snapshot`](Self::Snapshot) if the machine can be frozen, else [`Sequential`](Self::Sequential).
    #[default]
    Default = 0,
    /// Not known to whoever wrote it: treated as a tombstone.
    Unknown = 1,
    /// Once a snapshot covers it.
    Snapshot = 2,
    /// Once released.
    Release = 3,
    /// Once released and on a majority.
    Quorum = 4,
    /// Once released and on all servers.
    Full = 5,
    /// Once released, on all servers, and after every earlier entry that is due.
    Sequential = 6,
    /// As sequential; for what ends by time.
    Expiring = 7,
    /// As sequential; for what undoes earlier entries, such as a deletion.
    Tombstone = 8,
}

impl CompactionMode {
    /// The mode with this number; one of a newer version counts as unknown.
    #[must_use]
    pub fn from_byte(byte: u8) -> Self {
        match byte {
            0 => Self::Default,
            2 => Self::Snapshot,
            3 => Self::Release,
            4 => Self::Quorum,
            5 => Self::Full,
            6 => Self::Sequential,
            7 => Self::Expiring,
            8 => Self::Tombstone,
            _ => Self::Unknown,
        }
    }
}

/// A committed operation.
#[derive(Debug)]
pub struct Commit<C> {
    /// The index of its entry.
    pub index: Index,
    /// Log time, in milliseconds since the Unix epoch: the same on every server.
    pub time: u64,
    /// The session it came by; 0: none.
    pub session: SessionId,
    /// The operation.
    pub operation: C,
}

/// The right to a live log entry: as long as a state machine keeps it, the entry stays in the log. Losing it (at
/// shutdown, say) releases nothing; only [`Context::release`] does.
#[derive(Debug, PartialEq, Eq, Clone)]
#[must_use = "a commit stays held until it is given to `Context::release`"]
pub struct Held {
    pub(super) index: Index,
}

impl Held {
    /// The index of the entry.
    #[must_use]
    pub fn index(&self) -> Index {
        self.index
    }
}

/// A timer that is due. Timers are data, so that they survive in snapshots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timer {
    /// Its id, as [`Context::schedule`] gave it.
    pub id: TimerId,
    /// When it was due, in log time (milliseconds).
    pub due: u64,
    /// What was scheduled.
    pub data: Vec<u8>,
}

/// What somebody on this server may wait for a change of. No part of the replicated state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// Something of the machine's own, by the name it has for it.
    Machine(Vec<u8>),
    /// A session: its events, its polls, its end.
    Session(SessionId),
}

/// What a state machine may do while it applies an operation. It reaches nothing outside the replicated state.
#[derive(Debug)]
#[cfg_attr(feature = "planted-bugs", derive(Clone))]
pub struct Context<E> {
    index: Index,
    time: u64,
    pub(super) next_timer: TimerId,
    pub(super) held: Vec<Index>,
    pub(super) released: Vec<Index>,
    pub(super) scheduled: Vec<Timer>,
    pub(super) cancelled: Vec<TimerId>,
    pub(super) events: Vec<(SessionId, E)>,
    pub(super) sessions: Sessions,
    listening: bool,
    touched: Vec<Topic>,
    #[cfg(feature = "planted-bugs")]
    pub(super) bug: Option<crate::engine::options::Bug>,
}

impl<E> Context<E> {
    pub(super) fn new() -> Self {
        Self {
            index: 0,
            time: 0,
            next_timer: 1,
            held: Vec::new(),
            released: Vec::new(),
            scheduled: Vec::new(),
            cancelled: Vec::new(),
            events: Vec::new(),
            sessions: Sessions::default(),
            listening: false,
            touched: Vec::new(),
            #[cfg(feature = "planted-bugs")]
            bug: None,
        }
    }

    /// Turns to the next entry. One context serves all entries, since its lists would be made anew for each.
    pub(super) fn turn_to(&mut self, index: Index, time: u64) {
        (self.index, self.time) = (index, time);
    }

    /// What the machine did has no effect.
    pub(super) fn forget(&mut self) {
        self.held.clear();
        self.released.clear();
        self.scheduled.clear();
        self.cancelled.clear();
        self.events.clear();
    }

    pub(super) fn listen(&mut self, listening: bool) {
        self.listening = listening;
        if !listening {
            self.touched = Vec::new();
        }
    }

    pub(super) fn is_listening(&self) -> bool {
        self.listening
    }

    /// The index being applied.
    #[must_use]
    pub fn index(&self) -> Index {
        self.index
    }

    /// Log time in milliseconds since the Unix epoch.
    #[must_use]
    pub fn time(&self) -> u64 {
        self.time
    }

    /// Keeps the entry being applied in the log until it is released.
    pub fn hold(&mut self) -> Held {
        self.held.push(self.index);
        Held { index: self.index }
    }

    /// The held entry no longer matters.
    #[allow(clippy::needless_pass_by_value)] // taking it is the point: a commit cannot be released twice
    pub fn release(&mut self, held: Held) {
        self.released.push(held.index);
    }

    /// Calls [`StateMachine::timer`](super::StateMachine::timer) with `data` when log time reaches `due` (milliseconds),
    /// after the entry that moved time there.
    pub fn schedule(&mut self, due: u64, data: Vec<u8>) -> TimerId {
        let id = self.next_timer;
        self.next_timer += 1;
        self.scheduled.push(Timer { id, due, data });
        id
    }

    /// Forgets a timer; one that has fired, or never was, is no error.
    pub fn cancel(&mut self, timer: TimerId) {
        self.cancelled.push(timer);
    }

    /// What this topic is about has changed: whoever waits for it on *this* server looks again. No part of the state.
    /// The topic's name is given in parts.
    pub fn touch(&mut self, topic: &[&[u8]]) {
        if self.listening {
            self.touched.push(Topic::Machine(topic.concat()));
        }
    }

    pub(super) fn touch_session(&mut self, session: SessionId) {
        if self.listening {
            self.touched.push(Topic::Session(session));
        }
    }

    pub(super) fn take_touched(&mut self) -> Vec<Topic> {
        std::mem::take(&mut self.touched)
    }

    /// Whether a session is open.
    #[must_use]
    pub fn is_open(&self, session: SessionId) -> bool {
        self.sessions.is_open(session)
    }

    /// Whether a bug is switched on that the simulator must find.
    #[cfg(feature = "planted-bugs")]
    #[must_use]
    pub fn planted(&self, bug: crate::engine::options::Bug) -> bool {
        self.bug == Some(bug)
    }

    /// Sends an event to a session; to one that is not open it does nothing.
    pub fn publish(&mut self, session: SessionId, event: E) {
        self.events.push((session, event));
    }
}
