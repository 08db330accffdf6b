//! What this server saw happen to itself and to the cluster, for those who look or wait.
//!
//! Invariant: numbers rise by one; the latest [`KEPT`] events are kept. A restarted server begins with a higher number
//! than it ever gave, so whoever asks for what follows an old one is told that something is missing.

use super::backend::{status_name, type_name};
use super::ballots::Ballot;
use super::clock;
use super::waiters::{Waiter, Waiters};
use crate::engine::machine::Topic;
use crate::engine::{Event, MemberChange, Role, ServerId, Term};
use async_channel::{Receiver, Sender};
use copycat_http::{ClusterEvent, Feed};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const KEPT: usize = 1024;
/// Among how many of the latest events the same vote is looked for.
const REPEATS: usize = 16;

#[derive(Clone, Debug)]
pub(super) struct Feeds {
    shared: Arc<Mutex<Recent>>,
    waiters: Waiters,
    listeners: Arc<Mutex<Heard>>,
}

/// Who listens, until the end.
#[derive(Debug, Default)]
struct Heard {
    by: Vec<Sender<Event>>,
    ended: bool,
}

#[derive(Debug)]
struct Recent {
    events: VecDeque<ClusterEvent>,
    last: u64,
}

fn topic() -> Topic {
    Topic::Machine(b"f".to_vec())
}

impl Feeds {
    pub(super) fn new(waiters: Waiters) -> Self {
        // More than a thousand events in each second of an earlier life would be needed to reach this.
        let recent = Recent { events: VecDeque::new(), last: clock::wall_ms() };
        Self { shared: Arc::new(Mutex::new(recent)), waiters, listeners: Arc::default() }
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What happens from now on. A listener that leaves [`KEPT`] events unread hears nothing more.
    pub(super) fn listen(&self) -> Receiver<Event> {
        let (sender, events) = async_channel::bounded(KEPT);
        let mut heard = self.heard();
        if !heard.ended {
            heard.by.push(sender);
        }
        events
    }

    /// Whether nothing more will happen.
    pub(super) fn has_ended(&self) -> bool {
        self.heard().ended
    }

    fn lock(&self) -> MutexGuard<'_, Recent> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing more will happen.
    pub(super) fn end(&self) {
        *self.heard() = Heard { by: Vec::new(), ended: true };
    }

    /// An engine tells something, in its term `at`.
    pub(super) fn note(&self, server: ServerId, at: Term, event: &Event) {
        self.heard().by.retain(|listener| listener.try_send(event.clone()).is_ok());
        let (mut member_type, mut status) = (None, None);
        let (kind, term, member, role, reason) = match event {
            Event::Role { role, term, reason } => {
                let name = match role {
                    Role::Follower => "follower",
                    Role::Candidate => "candidate",
                    Role::Leader => "leader",
                };
                ("role", *term, server, Some(name), Some((*reason).to_string()))
            }
            Event::Leader { leader, term } => ("leader", *term, *leader, None, None),
            Event::Member { member, change, reason, .. } => {
                let kind = match change {
                    MemberChange::Joined(joined) => {
                        member_type = Some(type_name(*joined));
                        "join"
                    }
                    MemberChange::Left => "leave",
                    MemberChange::Type(turned) => {
                        member_type = Some(type_name(*turned));
                        "type"
                    }
                    MemberChange::Status(now) => {
                        status = Some(status_name(*now));
                        "status"
                    }
                };
                (kind, at, *member, None, Some(reason.clone()).filter(|r| !r.is_empty()))
            }
            Event::Removed { .. } => ("removed", at, server, None, None),
            Event::Snapshot { index } => ("snapshot", at, server, None, Some(format!("of entry {index}"))),
            Event::Compacted => ("compaction", at, server, None, None),
            Event::Installed { index } => ("install", at, server, None, Some(format!("a snapshot of entry {index}"))),
            Event::Settings { reason, .. } => ("settings", at, server, None, Some(reason.clone())),
            Event::NotTaken { peer, why } => ("trouble", at, *peer, None, Some(format!("not taken: {why}"))),
            Event::Trouble { text } => ("trouble", at, server, None, Some(text.clone())),
        };
        let (id, time_ms, voter) = (0, clock::wall_ms(), None);
        self.add(ClusterEvent { id, time_ms, kind, term, member, voter, role, member_type, status, reason });
    }

    /// A vote has passed. Whoever asks again and again, and is answered alike, is told of once.
    pub(super) fn ballot(&self, ballot: Ballot) {
        let Ballot { kind, term, candidate: member, voter } = ballot;
        let same = |e: &ClusterEvent| (e.kind, e.term, e.member, e.voter) == (kind, term, member, Some(voter));
        if self.lock().events.iter().rev().take(REPEATS).any(same) {
            return;
        }
        let (id, time_ms, voter) = (0, clock::wall_ms(), Some(voter));
        let (role, member_type, status, reason) = (None, None, None, None);
        self.add(ClusterEvent { id, time_ms, kind, term, member, voter, role, member_type, status, reason });
    }

    fn add(&self, event: ClusterEvent) {
        let mut recent = self.lock();
        recent.last += 1;
        let event = ClusterEvent { id: recent.last, ..event };
        recent.events.push_back(event);
        if recent.events.len() > KEPT {
            recent.events.pop_front();
        }
        let last = recent.last;
        drop(recent);
        self.waiters.wake(&[topic()], last);
    }

    /// To be woken when something is added.
    pub(super) fn wait(&self) -> Option<Waiter> {
        self.waiters.register(topic())
    }

    /// What follows this number (`None`: all that is kept).
    pub(super) fn behind(&self, after: Option<u64>) -> Feed {
        let recent = self.lock();
        let first = recent.events.front().map_or(recent.last + 1, |event| event.id);
        let Some(after) = after else {
            return Feed::Events { events: recent.events.iter().cloned().collect(), last: recent.last };
        };
        if after + 1 < first || after > recent.last {
            return Feed::Trimmed { resume: first - 1 };
        }
        let events = recent.events.iter().filter(|event| event.id > after).cloned().collect();
        Feed::Events { events, last: recent.last }
    }
}
