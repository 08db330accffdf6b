//! The members of a cluster, and what can be done about them.

use super::inbox::Inbox;
use super::requests::{Refusal, Request};
use super::view::View;
use crate::engine::machine::Outcome;
use crate::engine::{
    Change, Configuration, Index, Member, MemberStatus, MemberType, NamedSettings, ServerId, Settings, Term, decode,
};
use std::time::Duration;

/// How long a change of the members may take: one that becomes active is caught up first.
const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster as one server knew it at one moment. What is decided on it is refused, and changes nothing, if its members have
/// changed meanwhile: then look again.
#[derive(Clone, Debug)]
pub struct Cluster {
    inbox: Inbox,
    term: Term,
    leader: Option<ServerId>,
    configuration: Configuration,
    settings: Settings,
}

/// A member of a [`Cluster`].
#[derive(Clone, Debug)]
pub struct ClusterMember {
    cluster: Cluster,
    id: ServerId,
    member: Member,
    force: bool,
}

impl Cluster {
    pub(super) fn new(inbox: Inbox, view: View) -> Self {
        let View { status, configuration, settings, .. } = view;
        Self { inbox, term: status.term, leader: status.leader, configuration, settings }
    }

    /// The cluster's own id, made by its first leader; `None`: not known yet.
    #[must_use]
    pub fn id(&self) -> Option<u128> {
        Some(self.configuration.cluster).filter(|&id| id != 0)
    }

    /// The term.
    #[must_use]
    pub fn term(&self) -> Term {
        self.term
    }

    /// Who leads, if that is known.
    #[must_use]
    pub fn leader(&self) -> Option<ServerId> {
        self.leader
    }

    /// The index of the configuration that the members are of.
    #[must_use]
    pub fn index(&self) -> Index {
        self.configuration.index
    }

    /// The members, by their numbers.
    pub fn members(&self) -> impl Iterator<Item = ClusterMember> + '_ {
        self.configuration.members.iter().map(|(&id, member)| self.handle(id, member))
    }

    /// One member; `None`: there is none with this number.
    #[must_use]
    pub fn member(&self, id: ServerId) -> Option<ClusterMember> {
        self.configuration.members.get(&id).map(|member| self.handle(id, member))
    }

    /// What all members have alike.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Changes what is named of the settings; returns the cluster as it is then.
    ///
    /// # Errors
    /// If a value is out of its range, the configuration has changed since this one was looked at, or there is no answer within
    /// a minute: then it may happen yet.
    pub async fn set(&self, named: NamedSettings) -> Result<Self, Refusal> {
        self.change(Change::Settings { named, configuration: self.index() }).await
    }

    async fn change(&self, change: Change) -> Result<Self, Refusal> {
        let reply = self.inbox.ask(Request::Change(change), PATIENCE).await?;
        let Outcome::Output(bytes) = &reply.output else { return Err(Refusal::Internal) };
        let configuration = decode::<Configuration>(bytes).map_err(|_| Refusal::Internal)?;
        let settings = configuration.settings.unwrap_or(self.settings);
        Ok(Self { configuration, settings, term: reply.term, ..self.clone() })
    }

    fn handle(&self, id: ServerId, member: &Member) -> ClusterMember {
        ClusterMember { cluster: self.clone(), id, member: member.clone(), force: false }
    }
}

impl ClusterMember {
    /// Its number.
    #[must_use]
    pub fn id(&self) -> ServerId {
        self.id
    }

    /// What it is.
    #[must_use]
    pub fn member_type(&self) -> MemberType {
        self.member.member_type
    }

    /// What it is about to become, when it has caught up.
    #[must_use]
    pub fn becoming(&self) -> Option<MemberType> {
        self.member.becoming
    }

    /// Whether the leader hears it.
    #[must_use]
    pub fn status(&self) -> MemberStatus {
        self.member.status
    }

    /// Where its peers reach it.
    #[must_use]
    pub fn peer_address(&self) -> &str {
        &self.member.peer
    }

    /// Where it serves HTTP, if that is known.
    #[must_use]
    pub fn http_address(&self) -> Option<&str> {
        Some(self.member.http.as_str()).filter(|at| !at.is_empty())
    }

    /// What is asked of it is done even if that costs the quorum: for when those who are not heard are gone for good.
    #[must_use]
    pub fn by_force(self) -> Self {
        Self { force: true, ..self }
    }

    async fn change(&self, change: Change) -> Result<Cluster, Refusal> {
        self.cluster.change(change).await
    }

    /// Makes it something else; returns the cluster as it is then. One that is to vote is caught up first.
    ///
    /// # Errors
    /// If the members have changed since this one was looked at, too few voters would be left, or there is no answer within a
    /// minute: then it may happen yet.
    pub async fn turn_into(&self, member_type: MemberType) -> Result<Cluster, Refusal> {
        let (id, configuration, force) = (self.id, self.cluster.index(), self.force);
        self.change(Change::Type { id, member_type, configuration, force }).await
    }

    /// Makes it a voter: [`turn_into`](Self::turn_into) [`Active`](MemberType::Active).
    ///
    /// # Errors
    /// As [`turn_into`](Self::turn_into).
    pub async fn promote(&self) -> Result<Cluster, Refusal> {
        self.turn_into(MemberType::Active).await
    }

    /// Takes its vote away: [`turn_into`](Self::turn_into) [`Passive`](MemberType::Passive).
    ///
    /// # Errors
    /// As [`turn_into`](Self::turn_into).
    pub async fn demote(&self) -> Result<Cluster, Refusal> {
        self.turn_into(MemberType::Passive).await
    }

    /// Takes it out of the cluster for good; returns the cluster as it is then. If it runs, it ends.
    ///
    /// # Errors
    /// As [`turn_into`](Self::turn_into).
    pub async fn remove(&self) -> Result<Cluster, Refusal> {
        let (id, configuration, force) = (self.id, self.cluster.index(), self.force);
        self.change(Change::Remove { id, configuration, force }).await
    }

    /// Has it lead; returns who leads then.
    ///
    /// # Errors
    /// If it does not vote, is not heard, or does not take over in time: then the leader stays.
    pub async fn lead(&self) -> Result<ServerId, Refusal> {
        let reply = self.cluster.inbox.ask(Request::Transfer(self.id), PATIENCE).await?;
        let Outcome::Output(bytes) = &reply.output else { return Err(Refusal::Internal) };
        decode(bytes).map_err(|_| Refusal::Internal)
    }
}
