//! Changes of the cluster's members, and of its leader.

use super::{ServerBackend, answer, failure, views};
use crate::engine::machine::{Outcome, StateMachine};
use crate::engine::{Change, Configuration, ConfigurationError, MemberType, ServerId, decode};
use crate::server::requests::Request;
use copycat_http::{Answer, ClusterView, Conflict, Failure, MemberChange, MemberKind};
use std::time::Duration;

/// What a refused change is to a client.
pub(super) fn refused(error: ConfigurationError) -> Failure {
    let conflict = match error {
        ConfigurationError::NotMember(id) => return Failure::MemberNotFound { id },
        ConfigurationError::Stale { current } => Conflict::Stale { current },
        ConfigurationError::LosesQuorum { voters, available } => Conflict::LosesQuorum { voters, available },
        ConfigurationError::LastVoter => Conflict::LastVoter,
        ConfigurationError::NotVoter(_) => Conflict::NotVoter,
        ConfigurationError::Unreachable(_) => Conflict::Unreachable,
        ConfigurationError::NotTransferred => Conflict::NotTransferred,
        ConfigurationError::Busy => Conflict::Busy,
        // Servers are told these, not clients.
        ConfigurationError::NumberTaken
        | ConfigurationError::AddressTaken(_)
        | ConfigurationError::Removed
        | ConfigurationError::Full => return Failure::Internal,
    };
    Failure::ConfigurationConflict(conflict)
}

impl<M: StateMachine> ServerBackend<M> {
    pub(super) async fn change(&self, change: MemberChange, timeout: Duration) -> Result<Answer<ClusterView>, Failure> {
        let change = match change {
            MemberChange::Type { id, kind, configuration, force } => {
                let member_type = match kind {
                    MemberKind::Active => MemberType::Active,
                    MemberKind::Passive => MemberType::Passive,
                    MemberKind::Reserve => MemberType::Reserve,
                };
                Change::Type { id, member_type, configuration, force }
            }
            MemberChange::Remove { id, configuration, force } => Change::Remove { id, configuration, force },
        };
        let reply = self.port.ask(Request::Change(change), timeout).await.map_err(failure)?;
        let Outcome::Output(bytes) = &reply.output else { return Err(Failure::Internal) };
        let configuration = decode::<Configuration>(bytes).map_err(|_| Failure::Internal)?;
        // This server may not have heard of it yet; the answer is the configuration that it has become.
        let view = views::cluster_of(&self.port.view(), &configuration);
        Ok(answer(&reply, view))
    }

    pub(super) async fn hand_over(&self, member: u64, timeout: Duration) -> Result<Answer<u64>, Failure> {
        let reply = self.port.ask(Request::Transfer(member), timeout).await.map_err(failure)?;
        let Outcome::Output(bytes) = &reply.output else { return Err(Failure::Internal) };
        let leader = decode::<ServerId>(bytes).map_err(|_| Failure::Internal)?;
        Ok(answer(&reply, leader))
    }
}
