//! What an operator sees of an engine.

use super::configuration::{Configuration, MemberStatus, MemberType};
use super::loan::Seen;
use super::progress::Progress;
use super::{Engine, Fatal, RoleState, StateMachine};
use crate::engine::types::{Identity, Index, Role, ServerId, Term};
use copycat_storage::Disk;
use std::time::Duration;

/// Something worth telling an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// This server's role has changed.
    Role {
        /// What it is now,
        role: Role,
        /// in this term,
        term: Term,
        /// and why.
        reason: &'static str,
    },
    /// A leader was heard for the first time in its term.
    Leader {
        /// Who leads,
        leader: ServerId,
        /// in this term.
        term: Term,
    },
    /// The configuration's committed change of one member.
    Member {
        /// Which member.
        member: ServerId,
        /// What has changed.
        change: MemberChange,
        /// The entry that holds the configuration.
        index: Index,
        /// Why it was changed.
        reason: String,
    },
    /// The committed settings have changed.
    Settings {
        /// The entry that holds the configuration.
        index: Index,
        /// What was changed.
        reason: String,
    },
    /// A snapshot of this server's own is durable.
    Snapshot {
        /// The last entry whose effect it holds.
        index: Index,
    },
    /// Files of the log were rewritten without what is needed no longer.
    Compacted,
    /// The state was replaced by that of a snapshot from another server.
    Installed {
        /// Whose index is this.
        index: Index,
    },
    /// A peer sent what cannot be, or what is not believed of it, and it was not taken. Told once for each peer and term.
    NotTaken {
        /// The number it uses.
        peer: ServerId,
        /// Why not.
        why: &'static str,
    },
    /// Something went wrong in the background that costs nothing but time or room.
    Trouble {
        /// What, in one line.
        text: String,
    },
    /// This server was removed from the cluster: it must stop.
    Removed {
        /// The entry that holds the configuration.
        index: Index,
    },
}

/// What a configuration has changed of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberChange {
    /// It is new.
    Joined(MemberType),
    /// It is gone.
    Left,
    /// It is now of this type.
    Type(MemberType),
    /// It is heard, or no longer.
    Status(MemberStatus),
}

impl MemberChange {
    /// What has changed from one configuration to another.
    pub(super) fn between(before: &Configuration, after: &Configuration) -> Vec<(ServerId, Self)> {
        let mut changes = Vec::new();
        for (&id, m) in &before.members {
            if after.members.get(&id).is_none_or(|n| n.identity != m.identity && m.identity.is_some()) {
                changes.push((id, Self::Left));
            }
        }
        for (&id, m) in &after.members {
            match before.members.get(&id).filter(|b| b.identity.is_none() || b.identity == m.identity) {
                None => changes.push((id, Self::Joined(m.member_type))),
                Some(b) => {
                    if b.member_type != m.member_type {
                        changes.push((id, Self::Type(m.member_type)));
                    }
                    if b.status != m.status {
                        changes.push((id, Self::Status(m.status)));
                    }
                }
            }
        }
        changes
    }
}

/// What the leader knows of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberProgress {
    /// Durable at the member, through this index.
    pub match_index: Index,
    /// When it was last heard; the leader itself, and one that was not heard in this term, have none.
    pub heard: Option<Duration>,
}

/// An engine at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Status {
    /// This server.
    pub id: ServerId,
    /// Its data directory.
    pub identity: Identity,
    /// The cluster, 0 while it is not known.
    pub cluster: u128,
    /// What it is.
    pub role: Role,
    /// What its configuration has it be; `None`: it is no member.
    pub member_type: Option<MemberType>,
    /// Its term,
    pub term: Term,
    /// and whom it voted for in it; 0: nobody.
    pub vote: ServerId,
    /// Who leads the term, if it knows.
    pub leader: Option<ServerId>,
    /// Committed through this index.
    pub commit: Index,
    /// Applied through this index.
    pub applied: Index,
    /// In the log, through this index.
    pub last_index: Index,
    /// Durable through this index.
    pub durable_index: Index,
    /// It answers queries: it has applied up to a commit index learned from a live leader.
    pub ready: bool,
    /// It lost its log and has not yet got it back.
    pub lost_log: bool,
    /// See [`Executor::digest`](crate::engine::machine::Executor::digest).
    pub digest: u32,
    /// Through here the state was found to be that of a majority.
    pub compared: Index,
    /// Log time in milliseconds, as of the last applied entry.
    pub time: u64,
    /// The last log time known here, in milliseconds, and when that was; it has gone on since.
    pub clock: (u64, Duration),
    /// Open sessions.
    pub sessions: usize,
}

impl<D: Disk, M: StateMachine> Engine<D, M> {
    /// Compares this server's state with that of a majority.
    ///
    /// # Errors
    /// If it differs: whatever was answered since then may be wrong, and nothing more must be.
    pub(super) fn compare_digest(&mut self) -> Result<(), Fatal> {
        if matches!(self.role, RoleState::Leader(_)) {
            self.agree_on_digest();
        }
        let (index, agreed) = self.agreed;
        if index <= self.compared {
            return Ok(());
        }
        match self.executor().and_then(|executor| executor.digest_at(index)) {
            Some(own) if own != agreed => Err(Fatal::Diverged { index, own, agreed }),
            Some(_) => {
                self.compared = index;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// This engine now.
    pub fn status(&self) -> Status {
        let meta = self.storage.meta();
        let Seen { applied, digest, time, sessions, .. } = self.seen();
        Status {
            id: self.id,
            identity: meta.identity,
            cluster: meta.cluster,
            role: self.role(),
            member_type: self.own_type(),
            term: meta.term,
            vote: meta.vote,
            leader: self.leader,
            commit: self.commit,
            applied,
            last_index: self.storage.last_index(),
            durable_index: self.storage.durable_index(),
            ready: self.leader.is_some()
                && (!self.is_stateful() || self.reads.learned().is_some_and(|index| applied >= index)),
            lost_log: meta.lost,
            digest,
            compared: self.compared,
            time,
            clock: self.clock.last(),
            sessions,
        }
    }

    /// On a leader, the moment of its monotonic clock at which its lease ends; `None`: it has none.
    pub fn lease_until(&self) -> Option<Duration> {
        self.lease_end()
    }

    /// On a leader, what it knows of a member.
    pub fn member_progress(&self, id: ServerId) -> Option<MemberProgress> {
        match &self.role {
            RoleState::Leader(leader) if id != self.id => {
                let of = |p: &Progress| MemberProgress { match_index: p.match_index, heard: p.answered };
                leader.progress.get(&id).map(of)
            }
            RoleState::Leader(_) => Some(MemberProgress { match_index: self.storage.durable_index(), heard: None }),
            _ => None,
        }
    }
}
