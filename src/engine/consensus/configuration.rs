//! Who belongs to the cluster, and the stack of configurations that the log holds.

use crate::engine::types::{Identity, Index, ServerId};
use bincode::{Decode, Encode};
use std::collections::BTreeMap;

/// What a member is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum MemberType {
    /// Votes.
    Active,
    /// Keeps the state, does not vote.
    Passive,
    /// Knows the configuration only.
    Reserve,
}

/// Whether the leader hears a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum MemberStatus {
    /// It answers.
    Available,
    /// It has missed several rounds.
    Unavailable,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Member {
    /// What it is for.
    pub member_type: MemberType,
    /// Whether it is heard.
    pub status: MemberStatus,
    /// Where its peers reach it.
    pub peer: String,
    /// Where HTTP clients reach it; empty until it is learned.
    pub http: String,
    /// Which data directory is meant; `None` until it is learned.
    pub identity: Option<Identity>,
}

/// The cluster's configuration: replicated whole in one entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Configuration {
    /// The index of the last change of a member's type or address: what a change is decided on. Learning an identity or
    /// an HTTP address does not move it.
    pub index: Index,
    /// The cluster's id, made by its first leader; 0 before.
    pub cluster: u128,
    /// The log features that all members support.
    pub feature_level: u32,
    /// The members by id.
    pub members: BTreeMap<ServerId, Member>,
}

impl Configuration {
    /// The first configuration: these members, all voting, at these peer addresses.
    pub fn bootstrap(members: impl IntoIterator<Item = (ServerId, String)>) -> Self {
        let member = |peer| Member {
            member_type: MemberType::Active,
            status: MemberStatus::Available,
            peer,
            http: String::new(),
            identity: None,
        };
        Self { members: members.into_iter().map(|(id, peer)| (id, member(peer))).collect(), ..Self::default() }
    }

    /// Whether a member votes.
    #[must_use]
    pub fn is_voter(&self, id: ServerId) -> bool {
        self.members.get(&id).is_some_and(|m| m.member_type == MemberType::Active)
    }

    /// The members that vote, in order.
    pub fn voters(&self) -> impl Iterator<Item = ServerId> + '_ {
        self.members.iter().filter(|(_, m)| m.member_type == MemberType::Active).map(|(&id, _)| id)
    }

    /// Whether this sender is the member that the configuration means: one whose identity is not yet known is.
    #[must_use]
    pub fn admits(&self, id: ServerId, identity: Identity) -> bool {
        self.members.get(&id).is_some_and(|m| m.identity.is_none_or(|known| known == identity))
    }

    /// Whether both name the same members at the same peer addresses.
    #[must_use]
    pub fn same_members(&self, other: &Self) -> bool {
        let addresses = |c: &Self| c.members.iter().map(|(&id, m)| (id, m.peer.clone())).collect::<Vec<_>>();
        addresses(self) == addresses(other)
    }

    /// A checksum of the initial list, which peers compare before the cluster has an id.
    #[must_use]
    pub fn digest(&self) -> u32 {
        self.members.iter().fold(0, |crc, (id, m)| {
            let crc = crc32c::crc32c_append(crc, &id.to_le_bytes());
            crc32c::crc32c_append(crc32c::crc32c_append(crc, m.peer.as_bytes()), &[0])
        })
    }
}

/// The configurations in the log that are not known to be superseded, oldest first. The last one is in force from the
/// moment it is in the log, and is rolled back when its entry is (Raft dissertation, 4.1).
#[derive(Debug)]
pub(super) struct Configurations {
    stack: Vec<(Index, Configuration)>,
}

impl Configurations {
    pub(super) fn new(initial: Configuration) -> Self {
        Self { stack: vec![(0, initial)] }
    }

    pub(super) fn current(&self) -> &Configuration {
        &self.stack[self.stack.len() - 1].1
    }

    /// The index of the entry that holds the current configuration.
    pub(super) fn entry(&self) -> Index {
        self.stack[self.stack.len() - 1].0
    }

    pub(super) fn push(&mut self, index: Index, configuration: Configuration) {
        assert!(index > self.entry(), "configuration at {index} behind the one at {}", self.entry());
        self.stack.push((index, configuration));
    }

    /// The entries above `last` are gone. Returns whether the configuration in force has changed.
    pub(super) fn roll_back(&mut self, last: Index) -> bool {
        let before = self.stack.len();
        while self.stack.len() > 1 && self.entry() > last {
            self.stack.pop();
        }
        self.stack.len() != before
    }

    /// Everything through `commit` is committed: what it superseded can be forgotten.
    pub(super) fn commit(&mut self, commit: Index) {
        let keep = self.stack.iter().rposition(|&(index, _)| index <= commit).unwrap_or(0);
        self.stack.drain(..keep);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(ids: &[ServerId]) -> Configuration {
        Configuration::bootstrap(ids.iter().map(|&id| (id, format!("host-{id}:1"))))
    }

    #[test]
    fn the_configuration_in_force_is_rolled_back_with_its_entry() {
        let mut c = Configurations::new(of(&[1]));
        c.push(3, of(&[1, 2]));
        c.push(7, of(&[1, 2, 3]));
        assert_eq!(c.current(), &of(&[1, 2, 3]));
        assert!(c.roll_back(6));
        assert_eq!((c.entry(), c.current()), (3, &of(&[1, 2])));
        assert!(!c.roll_back(3));
        assert!(c.roll_back(0));
        assert_eq!(c.current(), &of(&[1]));
    }

    #[test]
    fn what_is_committed_cannot_be_rolled_back() {
        let mut c = Configurations::new(of(&[1]));
        c.push(3, of(&[1, 2]));
        c.push(7, of(&[1, 2, 3]));
        c.commit(5);
        assert!(c.roll_back(5));
        assert!(!c.roll_back(0));
        assert_eq!(c.entry(), 3);
    }

    #[test]
    fn another_identity_is_not_the_member() {
        let mut c = of(&[1, 2]);
        assert!(c.admits(1, 77), "not yet learned");
        assert!(!c.admits(3, 77), "no member");
        c.members.get_mut(&1).expect("member").identity = Some(5);
        assert!(c.admits(1, 5) && !c.admits(1, 77));
    }

    #[test]
    fn the_digest_depends_on_ids_and_addresses() {
        assert_eq!(of(&[1, 2]).digest(), of(&[1, 2]).digest());
        assert_ne!(of(&[1, 2]).digest(), of(&[1, 3]).digest());
        let moved = Configuration::bootstrap([(1, "a".into()), (2, "b".into())]);
        assert_ne!(moved.digest(), of(&[1, 2]).digest());
    }
}
