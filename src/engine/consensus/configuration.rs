//! Who belongs to the cluster, and the stack of configurations that the log holds.

use crate::engine::settings::Settings;
use crate::engine::types::{Identity, Index, ServerId};
use bincode::de::read::Reader;
use bincode::de::{BorrowDecoder, Decoder};
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{BorrowDecode, Decode, Encode};
use copycat_storage::{Disk, Meta, Storage};
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

impl std::fmt::Display for MemberType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Active => "active",
            Self::Passive => "passive",
            Self::Reserve => "reserve",
        })
    }
}

impl std::fmt::Display for MemberStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Available => "available",
            Self::Unavailable => "unavailable",
        })
    }
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
    /// What it is to become as soon as it can: the leader of that moment, whoever it is, finishes what was begun.
    pub becoming: Option<MemberType>,
}

/// Most members of any type.
pub const MEMBERS: usize = 64;
/// How many removed identities a configuration remembers.
const REMOVED: usize = 64;

/// The cluster's configuration: replicated whole in one entry.
///
/// Its bytes are those of version 0.1.0 (all fields but the settings, in order), or a mark that no such configuration begins
/// with, the number of the form, and the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    /// How many active and how many passive members operators asked for: what automatic replacement restores.
    pub wanted: (u32, u32),
    /// The latest data directories that were removed, oldest first: such a server is told so, and never taken back.
    pub removed: Vec<Identity>,
    /// Why this configuration was written.
    pub reason: String,
    /// What all members have alike; `None` before a first leader has said it, and in what version 0.1.0 wrote.
    pub settings: Option<Settings>,
}

/// What a configuration of version 0.1.0 never begins with: no number does in this encoding.
const MARK: u8 = 0xff;
/// The form that is written. Form 0 is that of version 0.1.0, which has no mark.
const FORM: u8 = 1;

impl Encode for Configuration {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        let Self { index, cluster, feature_level, members, wanted, removed, reason, settings } = self;
        (MARK, FORM, index, cluster, feature_level).encode(encoder)?;
        (members, wanted, removed, reason, settings).encode(encoder)
    }
}

impl<C> Decode<C> for Configuration {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let form = if decoder.reader().peek_read(1) == Some(&[MARK]) { <(u8, u8)>::decode(decoder)?.1 } else { 0 };
        if form > FORM {
            return Err(DecodeError::Other("a configuration in a form that a later release writes"));
        }
        Ok(Self {
            index: Decode::decode(decoder)?,
            cluster: Decode::decode(decoder)?,
            feature_level: Decode::decode(decoder)?,
            members: Decode::decode(decoder)?,
            wanted: Decode::decode(decoder)?,
            removed: Decode::decode(decoder)?,
            reason: Decode::decode(decoder)?,
            settings: if form == 0 { None } else { Decode::decode(decoder)? },
        })
    }
}

impl<'de, C> BorrowDecode<'de, C> for Configuration {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Self::decode(decoder)
    }
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
            becoming: None,
        };
        let members = members.into_iter().map(|(id, peer)| (id, member(peer))).collect();
        let mut configuration = Self { members, ..Self::default() };
        configuration.count_wanted();
        configuration
    }

    /// The members of a type, in order.
    pub fn of_type(&self, member_type: MemberType) -> impl Iterator<Item = ServerId> + '_ {
        self.members.iter().filter(move |(_, m)| m.member_type == member_type).map(|(&id, _)| id)
    }

    /// A member's type; `None`: it is no member.
    #[must_use]
    pub fn type_of(&self, id: ServerId) -> Option<MemberType> {
        self.members.get(&id).map(|m| m.member_type)
    }

    /// Whether a member is marked as heard.
    #[must_use]
    pub fn is_available(&self, id: ServerId) -> bool {
        self.members.get(&id).is_some_and(|m| m.status == MemberStatus::Available)
    }

    /// What operators have now is what they want.
    pub(super) fn count_wanted(&mut self) {
        let goals = || self.members.values().map(|m| m.becoming.unwrap_or(m.member_type));
        let count = |of| u32::try_from(goals().filter(|&t| t == of).count()).unwrap_or(u32::MAX);
        self.wanted = (count(MemberType::Active), count(MemberType::Passive));
    }

    /// Takes a member out and remembers its directory.
    pub(super) fn remove(&mut self, id: ServerId) {
        if let Some(identity) = self.members.remove(&id).and_then(|m| m.identity) {
            self.removed.push(identity);
            let surplus = self.removed.len().saturating_sub(REMOVED);
            self.removed.drain(..surplus);
        }
    }

    /// Whether this directory was removed from the cluster.
    #[must_use]
    pub fn has_removed(&self, identity: Identity) -> bool {
        self.removed.contains(&identity)
    }

    /// Who may feed a passive member, the one that is assigned to it first: the available followers, spread over the
    /// passive members by their order, and the leader at last.
    #[must_use]
    pub fn feeders_of(&self, passive: ServerId, leader: ServerId) -> Vec<ServerId> {
        let mut feeders: Vec<ServerId> =
            self.voters().filter(|&v| v != leader && v != passive && self.is_available(v)).collect();
        if !feeders.is_empty() {
            let place = self.of_type(MemberType::Passive).take_while(|&p| p != passive).count();
            let first = place % feeders.len();
            feeders.rotate_left(first);
        }
        feeders.push(leader);
        feeders
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

/// The configurations in the log that are not known to be superseded, oldest first, on top of one that is known to be
/// committed (or that the server was started with). The last one is in force from the moment it is in the log, and is
/// rolled back when its entry is (Raft dissertation, 4.1).
///
/// Invariant: indexes rise; all but the first are above the commit index.
#[derive(Debug)]
#[cfg_attr(feature = "planted-bugs", derive(Clone))]
pub(super) struct Configurations {
    stack: Vec<(Index, Configuration)>,
}

impl Configurations {
    /// `index`: of the entry that holds `known`; 0 for one that no entry holds yet.
    pub(super) fn new(index: Index, known: Configuration) -> Self {
        Self { stack: vec![(index, known)] }
    }

    /// The committed one and all above it, oldest first.
    pub(super) fn all(&self) -> impl Iterator<Item = &Configuration> {
        self.stack.iter().map(|(_, configuration)| configuration)
    }

    pub(super) fn current(&self) -> &Configuration {
        &self.stack[self.stack.len() - 1].1
    }

    /// The index of the entry that holds the current configuration.
    pub(super) fn entry(&self) -> Index {
        self.stack[self.stack.len() - 1].0
    }

    /// The latest one that is known to be committed, and its entry.
    pub(super) fn committed(&self) -> (Index, &Configuration) {
        (self.stack[0].0, &self.stack[0].1)
    }

    /// Whether one of them, committed or not, has this sender vote.
    pub(super) fn have_voter(&self, id: ServerId, identity: Identity) -> bool {
        self.stack.iter().any(|(_, c)| c.is_voter(id) && c.admits(id, identity))
    }

    /// Whether this sender is a member of one of them.
    pub(super) fn have_member(&self, id: ServerId, identity: Identity) -> bool {
        self.stack.iter().any(|(_, c)| c.admits(id, identity))
    }

    /// Whether one of them names anybody who votes.
    pub(super) fn have_voters(&self) -> bool {
        self.stack.iter().any(|(_, c)| c.voters().next().is_some())
    }

    /// Whether this server is the only voter of the committed configuration, and of those that may follow it.
    pub(super) fn are_alone(&self, id: ServerId) -> bool {
        self.stack.iter().all(|(_, c)| c.voters().eq([id]))
    }

    /// Whether this server, which starts, certainly led the last term itself, so that nobody it followed can have a lease:
    /// the last entry is of the term in which it voted for itself, and when that term began nobody could be elected
    /// without its vote. (Its vote alone would not do: who stood in a term may have followed another in it.)
    pub(super) fn led_alone<D: Disk>(&self, id: ServerId, storage: &Storage<D>, meta: &Meta) -> bool {
        let began = storage.term_start(storage.last_index());
        let led = meta.vote == id && meta.term == storage.last_term() && !meta.lost;
        led && self.are_alone(id) && self.committed().0 < began
    }

    /// The log holds this one. One at or below what is known is old: a server that joined is told the newest
    /// configuration first, and reads the earlier ones in its log later.
    pub(super) fn push(&mut self, index: Index, configuration: Configuration) {
        if index > self.entry() {
            self.stack.push((index, configuration));
        }
    }

    /// The entries above `last` are gone. Returns whether the configuration in force has changed.
    pub(super) fn roll_back(&mut self, last: Index) -> bool {
        let before = self.stack.len();
        while self.stack.len() > 1 && self.entry() > last {
            self.stack.pop();
        }
        self.stack.len() != before
    }

    /// Everything through `commit` is committed: what it superseded is handed back, oldest first, and forgotten.
    pub(super) fn commit(&mut self, commit: Index) -> Vec<(Index, Configuration)> {
        let keep = self.stack.iter().rposition(|&(index, _)| index <= commit).unwrap_or(0);
        self.stack.drain(..keep).collect()
    }

    /// A leader tells a committed one to a member without a log. Returns the committed one before, if it is news.
    pub(super) fn learn(&mut self, index: Index, configuration: Configuration) -> Option<Configuration> {
        if index <= self.stack[0].0 {
            return None;
        }
        let keep = self.stack.iter().position(|&(i, _)| i > index).unwrap_or(self.stack.len());
        let before = self.stack.drain(..keep).next();
        self.stack.insert(0, (index, configuration));
        before.map(|(_, before)| before)
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
        let mut c = Configurations::new(0, of(&[1]));
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
        let mut c = Configurations::new(0, of(&[1]));
        c.push(3, of(&[1, 2]));
        c.push(7, of(&[1, 2, 3]));
        assert_eq!(c.commit(5), [(0, of(&[1]))]);
        assert!(c.roll_back(5));
        assert!(!c.roll_back(0));
        assert_eq!((c.entry(), c.committed()), (3, (3, &of(&[1, 2]))));
    }

    #[test]
    fn what_is_older_than_what_is_known_changes_nothing() {
        let mut c = Configurations::new(9, of(&[1, 2, 3]));
        c.push(3, of(&[1]));
        assert_eq!((c.entry(), c.current()), (9, &of(&[1, 2, 3])));
        assert_eq!(c.learn(9, of(&[1])), None);
        assert_eq!(c.learn(12, of(&[2, 3])), Some(of(&[1, 2, 3])));
        assert_eq!(c.committed(), (12, &of(&[2, 3])));
    }

    #[test]
    fn what_is_told_follows_the_last_committed_one_not_one_that_was_only_in_the_log() {
        let mut c = Configurations::new(2, of(&[1]));
        c.push(3, of(&[1, 2]));
        c.push(9, of(&[1, 2, 3]));
        assert_eq!(c.learn(5, of(&[1, 2])), Some(of(&[1])));
        assert_eq!((c.committed(), c.current()), ((5, &of(&[1, 2])), &of(&[1, 2, 3])));
    }

    #[test]
    fn another_identity_is_not_the_member() {
        let mut c = of(&[1, 2]);
        assert!(c.admits(1, 77), "not yet learned");
        assert!(!c.admits(3, 77), "no member");
        c.members.get_mut(&1).expect("member").identity = Some(5);
        assert!(c.admits(1, 5) && !c.admits(1, 77));
        c.remove(1);
        assert!(c.has_removed(5) && !c.admits(1, 5));
    }

    #[test]
    fn passive_members_are_spread_over_the_available_followers() {
        let mut c = of(&[1, 2, 3, 4, 5, 6]);
        for passive in 4..=6 {
            c.members.get_mut(&passive).expect("member").member_type = MemberType::Passive;
        }
        assert_eq!([4, 5, 6].map(|p| c.feeders_of(p, 1)[0]), [2, 3, 2]);
        assert_eq!(c.feeders_of(5, 1), [3, 2, 1]);
        c.members.get_mut(&3).expect("member").status = MemberStatus::Unavailable;
        assert_eq!([4, 5].map(|p| c.feeders_of(p, 1)[0]), [2, 2]);
        c.members.get_mut(&2).expect("member").status = MemberStatus::Unavailable;
        assert_eq!(c.feeders_of(4, 1), [1], "the leader feeds when no follower can");
    }

    #[test]
    fn the_digest_depends_on_ids_and_addresses() {
        assert_eq!(of(&[1, 2]).digest(), of(&[1, 2]).digest());
        assert_ne!(of(&[1, 2]).digest(), of(&[1, 3]).digest());
        let moved = Configuration::bootstrap([(1, "a".into()), (2, "b".into())]);
        assert_ne!(moved.digest(), of(&[1, 2]).digest());
    }

    /// As version 0.1.0 wrote it, in an entry; in its file and in snapshots the index of that stands before it.
    const OF_0_1_0: &str = "11fe7766554433221100efcdab8967452301000301000008686f73742d313a3100000002000008686f73742d323a3108\
                            686f73742d323a3201160003010108686f73742d333a31000001000300012c1673657276657220332061736b65642074\
                            6f206a6f696e";

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).expect("hex")).collect()
    }

    #[test]
    fn a_configuration_of_version_0_1_0_is_one_without_settings() {
        use crate::engine::{DecodeError, decode, encode};
        let mut c = of(&[1, 2, 3]);
        (c.index, c.cluster) = (17, 0x0123_4567_89ab_cdef_0011_2233_4455_6677);
        let member = c.members.get_mut(&2).expect("member");
        (member.identity, member.http) = (Some(22), "host-2:2".into());
        let member = c.members.get_mut(&3).expect("member");
        member.member_type = MemberType::Passive;
        (member.status, member.becoming) = (MemberStatus::Unavailable, Some(MemberType::Active));
        c.removed.push(44);
        c.reason = "server 3 asked to join".into();
        let old = bytes(OF_0_1_0);
        assert_eq!(decode(&old), Ok(c.clone()));
        let in_file: Vec<u8> = [19].into_iter().chain(old.iter().copied()).collect();
        assert_eq!(decode(&in_file), Ok((19_u64, c.clone())));
        // An index takes more bytes as it grows; none begins with the mark.
        for index in [0, 250, 251, 255, 65_535, 65_536, u64::from(u32::MAX), u64::MAX] {
            let later: Vec<u8> = encode(&index).into_iter().chain(old[1..].iter().copied()).collect();
            assert_eq!(decode::<Configuration>(&later).map(|c| c.index), Ok(index));
        }
        for settings in [None, Some(Settings::default())] {
            c.settings = settings;
            let new = encode(&(19_u64, c.clone()));
            assert_eq!(&new[1..3], [MARK, FORM]);
            assert_eq!(decode(&new), Ok((19_u64, c.clone())));
            for end in 0..new.len() {
                assert!(decode::<(u64, Configuration)>(&new[..end]).is_err(), "{end}");
            }
        }
        let later: Result<Configuration, DecodeError> = decode(&[MARK, FORM + 1, 0]);
        assert!(later.is_err_and(|e| e.to_string().contains("later release")));
    }
}
