//! The cluster: its members, what happens to it, its log.

use super::commands::Command;
use serde_json::Value;

/// Something that happened to a server or to the cluster, as this server saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterEvent {
    /// Its number at this server: each is one more than the last, but a restarted server goes on at a higher one.
    pub id: u64,
    /// When, milliseconds since the Unix epoch by this server's clock.
    pub time_ms: u64,
    /// `role`, `leader`, `vote_granted`, `vote_refused`, `poll_granted`, `poll_refused`, `join`, `leave`, `type`, `status`,
    /// `removed`, `settings`, `snapshot`, `compaction`, `install`, `trouble`.
    pub kind: &'static str,
    /// The term.
    pub term: u64,
    /// The member that it is about.
    pub member: u64,
    /// Who gave or refused it a vote, of those.
    pub voter: Option<u64>,
    /// This server's role since, of `role`.
    pub role: Option<&'static str>,
    /// The member's type since, of `join` and `type`.
    pub member_type: Option<&'static str>,
    /// The member's status since, of `status`.
    pub status: Option<&'static str>,
    /// Why; of `snapshot` and `install`, of which entry; of `trouble`, what it is.
    pub reason: Option<String>,
}

/// A part of a server's feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Feed {
    /// What follows, perhaps nothing.
    Events {
        /// They.
        events: Vec<ClusterEvent>,
        /// The last number given so far.
        last: u64,
    },
    /// What follows is no longer kept, or was never given by this server.
    Trimmed {
        /// Ask for what follows this.
        resume: u64,
    },
}

/// A command in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Logged {
    /// About keys or locks.
    Keys(Command),
    /// Of another state machine.
    Other(Value),
}

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryView {
    /// Its place.
    pub index: u64,
    /// The term of the leader that appended it.
    pub term: u64,
    /// Log time, milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// `initialize`, `configuration`, `command`, `tick`, `register`, `keep_alive` or `unregister`.
    pub kind: &'static str,
    /// Its compaction mode, such as `release` or `tombstone`.
    pub mode: &'static str,
    /// The bytes it carries.
    pub bytes: u64,
    /// What a command says.
    pub command: Option<Logged>,
}

/// Why the cluster is not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// The change was decided on an older configuration.
    Stale {
        /// The index of the current one.
        current: u64,
    },
    /// Other changes are under way.
    Busy,
    /// Too few voters would be left that can be heard.
    LosesQuorum {
        /// Voters that would be left,
        voters: u32,
        /// and how many of them are heard.
        available: u32,
    },
    /// No voter would be left.
    LastVoter,
    /// The member does not vote, so it cannot lead.
    NotVoter,
    /// The member is not heard, so it cannot lead.
    Unreachable,
    /// The member did not take over in time; the leader stays.
    NotTransferred,
}

/// What a member can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum MemberKind {
    /// It votes.
    Active,
    /// It keeps the state and does not vote.
    Passive,
    /// It knows the configuration only.
    Reserve,
}

/// A change of one member, decided on the configuration of an index; with `force` even if it costs the quorum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberChange {
    /// It becomes something else.
    Type {
        /// Which member.
        id: u64,
        /// What it is to be.
        kind: MemberKind,
        /// The configuration's index.
        configuration: u64,
        /// Even if it costs the quorum.
        force: bool,
    },
    /// It goes.
    Remove {
        /// Which member.
        id: u64,
        /// The configuration's index.
        configuration: u64,
        /// Even if it costs the quorum.
        force: bool,
    },
}
