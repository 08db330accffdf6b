//! The connections to all other servers: those of the configuration, and those that have come from elsewhere in the
//! cluster.

use super::finding::{self, find};
use super::frame::Frame;
use super::{Door, Peer};
use crate::engine::{Configuration, MEMBERS, ServerId};
use crate::server::inbox::Inbox;
use crate::transport::Transport;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How long a member that is gone is kept in touch with: one that led has to commit that, and to answer for it.
const PARTING: Duration = Duration::from_secs(5);

/// Invariant: the members of the configuration in force and of the committed one, this server excepted, are dialed; those
/// that left a moment ago; and those servers of the cluster that have come by though the configuration, being old, does
/// not know them: a leader that was elected while this server was down must be answered.
pub(crate) struct Links {
    door: Door,
    inbox: Inbox,
    transport: Arc<dyn Transport>,
    silence: Duration,
    peers: BTreeMap<ServerId, Peer>,
    strangers: BTreeMap<ServerId, String>,
    /// Until when those that left are kept.
    parting: BTreeMap<ServerId, Duration>,
    /// When the members were last asked for a stranger.
    asked_at: Option<Duration>,
}

impl Links {
    /// `silence`: how long a peer may leave a ping unanswered before it is dialed anew.
    pub(crate) fn new(door: Door, inbox: Inbox, transport: Arc<dyn Transport>, silence: Duration) -> Self {
        let (peers, strangers, parting) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { door, inbox, transport, silence, peers, strangers, parting, asked_at: None }
    }

    /// The configuration, or what is committed of it, has changed.
    pub(crate) fn follow(&mut self, now: Duration, configuration: &Configuration, committed: &Configuration) {
        // One whose number or address it knows by now is no stranger.
        let members = &configuration.members;
        self.strangers.retain(|id, at| members.get(id).is_none_or(|m| m.peer != *at));
        let mut wanted: BTreeMap<ServerId, &String> = committed.members.iter().map(|(&id, m)| (id, &m.peer)).collect();
        wanted.extend(members.iter().map(|(&id, m)| (id, &m.peer)));
        wanted.extend(self.strangers.iter().map(|(&id, at)| (id, at)));
        wanted.remove(&self.door.me.id);
        self.parting.retain(|id, _| !wanted.contains_key(id));
        for &id in self.peers.keys().filter(|id| !wanted.contains_key(id)) {
            self.parting.entry(id).or_insert(now + PARTING);
        }
        self.peers.retain(|id, peer| wanted.get(id).is_none_or(|at| at.as_str() == peer.address()));
        for (id, at) in wanted {
            let with = (&self.door, &self.inbox, &self.transport);
            self.peers.entry(id).or_insert_with(|| Peer::connect(id, at.clone(), with, self.silence));
        }
    }

    /// A server of this cluster has come that the configuration does not know: the members are asked where it is.
    pub(crate) fn find(&mut self, now: Duration, id: ServerId, claimed: String, configuration: &Configuration) {
        if self.peers.contains_key(&id) || self.asked_at.is_some_and(|at| now < at + finding::PAUSE) {
            return;
        }
        self.asked_at = Some(now);
        let others = configuration.members.iter().filter(|&(&id, _)| id != self.door.me.id);
        let members = others.map(|(_, member)| member.peer.clone()).collect();
        let with = (self.door.clone(), self.inbox.clone(), self.transport.clone());
        async_std::task::spawn(find(with, members, id, claimed));
    }

    /// A server of this cluster that the configuration does not know is at this address.
    pub(crate) fn meet(&mut self, id: ServerId, address: String) {
        if self.strangers.len() < MEMBERS || self.strangers.contains_key(&id) {
            self.strangers.insert(id, address);
        }
    }

    /// When the next one that left is forgotten.
    pub(crate) fn next_parting(&self) -> Option<Duration> {
        self.parting.values().min().copied()
    }

    /// Forgets those that left long enough ago.
    pub(crate) fn part(&mut self, now: Duration) {
        let peers = &mut self.peers;
        self.parting.retain(|id, until| {
            let stays = now < *until;
            if !stays {
                peers.remove(id);
            }
            stays
        });
    }

    /// Whether a frame to this one would be queued now.
    pub(crate) fn takes(&self, to: ServerId) -> bool {
        self.peers.get(&to).is_some_and(Peer::takes)
    }

    /// Queues a frame. Returns false, and forgets it, if there is no connection or no room.
    pub(crate) fn send(&self, to: ServerId, frame: Frame) -> bool {
        self.peers.get(&to).is_some_and(|peer| peer.send(frame))
    }

    /// Whether there is no other server.
    pub(crate) fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }
}
