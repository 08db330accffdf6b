//! Changes of the cluster's members, and of its leader.

use super::{ServerBackend, answer, failure, views};
use crate::engine::machine::{Outcome, StateMachine};
use crate::engine::{Change, Configuration, ConfigurationError, MemberType, NamedSettings, ServerId, Setting, decode};
use crate::server::requests::Request;
use copycat_http::{
    Answer, ClusterView, Conflict, Failure, MemberChange, MemberKind, Range, SettingsChange, SettingsView,
};
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
        ConfigurationError::OutOfRange(setting) => return Failure::OutOfRange(range_of(setting)),
        // Servers are told these, not clients.
        ConfigurationError::NumberTaken
        | ConfigurationError::AddressTaken(_)
        | ConfigurationError::Removed
        | ConfigurationError::Full => return Failure::Internal,
    };
    Failure::ConfigurationConflict(conflict)
}

fn range_of(setting: Setting) -> Range {
    let (range, is_time) = (setting.range(), setting.is_time());
    Range { field: setting.name(), least: *range.start(), most: *range.end(), is_time }
}

fn named(change: &SettingsChange) -> NamedSettings {
    let ms = |time: Option<Duration>| time.map(|t| u64::try_from(t.as_millis()).unwrap_or(u64::MAX));
    Setting::ALL
        .into_iter()
        .filter_map(|setting| {
            let value = match setting {
                Setting::ElectionTimeout => ms(change.election_timeout),
                Setting::ClockDrift => change.clock_drift_permille,
                Setting::LargestEntry => change.largest_entry,
                Setting::Sessions => change.sessions,
                Setting::SessionAnswers => change.session_answers,
                Setting::SessionAnswerBytes => change.session_answer_bytes,
                Setting::SessionEvents => change.session_events,
                Setting::SessionEventBytes => change.session_event_bytes,
                Setting::Keys => change.idempotency_keys,
                Setting::KeyBytes => change.idempotency_key_bytes,
                Setting::IdempotencyWindow => ms(change.idempotency_window),
            };
            Some((setting, value?))
        })
        .collect()
}

impl<M: StateMachine> ServerBackend<M> {
    pub(super) async fn set(&self, change: SettingsChange, timeout: Duration) -> Result<Answer<SettingsView>, Failure> {
        let named = named(&change);
        // Also where no leader is to be had.
        if let Some(setting) = named.out_of_range() {
            return Err(Failure::OutOfRange(range_of(setting)));
        }
        let change = Change::Settings { named, configuration: change.configuration };
        let reply = self.port.ask(Request::Change(change), timeout).await.map_err(failure)?;
        let Outcome::Output(bytes) = &reply.output else { return Err(Failure::Internal) };
        let configuration = decode::<Configuration>(bytes).map_err(|_| Failure::Internal)?;
        let settings = configuration.settings.ok_or(Failure::Internal)?;
        Ok(answer(&reply, views::settings(&settings, configuration.index)))
    }

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
