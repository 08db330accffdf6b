//! The backend of the HTTP API: requests become commands and queries of the store, views become JSON shapes.

use super::clock;
use super::inbox::{Event, Inbox};
use super::requests::{Refusal, Reply, Request};
use super::view::Views;
use crate::engine::machine::{StateMachine, decode_output, decode_query_output, encode_operation};
use crate::engine::{MemberStatus, MemberType, Role, ServerId};
use crate::store::{self, Store};
use async_trait::async_trait;
use copycat_http::{
    Answer, Backend, Checks, ClusterView, Command, CommandOutput, Condition, Consistency, Failure, Item, LogView,
    MemberView, Query, QueryOutput, Read, ServerView,
};
use std::time::Duration;

pub(super) struct ServerBackend {
    inbox: Inbox,
    views: Views,
    id: ServerId,
    started: Duration,
}

impl ServerBackend {
    pub(super) fn new(inbox: Inbox, views: Views, id: ServerId) -> Self {
        Self { inbox, views, id, started: clock::monotonic() }
    }

    async fn ask(&self, request: Request, timeout: Duration) -> Result<Reply, Failure> {
        let (reply, answer) = async_channel::bounded(1);
        if !self.inbox.offer(Event::Request { request, timeout, reply }) {
            return Err(Failure::Overloaded);
        }
        // The driver answers everything that it takes, in time; a driver that has ended drops what it has.
        match answer.recv().await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(refusal)) => Err(failure(refusal)),
            Err(_) => Err(Failure::LeaderLost),
        }
    }
}

fn failure(refusal: Refusal) -> Failure {
    match refusal {
        Refusal::NoLeader => Failure::NoLeader,
        Refusal::Overloaded => Failure::Overloaded,
        Refusal::TooLarge => Failure::TooLarge,
        Refusal::Malformed => Failure::Malformed,
        Refusal::StorageFull => Failure::StorageFull,
        Refusal::Timeout { maybe_applied } => Failure::Timeout { maybe_applied },
        Refusal::LeaderLost => Failure::LeaderLost,
        Refusal::ShuttingDown => Failure::ShuttingDown,
    }
}

fn condition(condition: Condition) -> store::Condition {
    match condition {
        Condition::Always => store::Condition::Always,
        Condition::Absent => store::Condition::Absent,
        Condition::Exists => store::Condition::Exists,
        Condition::Versions(versions) => store::Condition::Versions(versions),
    }
}

fn command(command: Command) -> store::Command {
    match command {
        Command::Put { key, value, content_type, condition: c } => {
            store::Command::Put { key, value, content_type, condition: condition(c) }
        }
        Command::Delete { key, condition: c } => store::Command::Delete { key, condition: condition(c) },
    }
}

fn item(item: store::Item) -> Item {
    let store::Item { key, value, content_type, version, created_index } = item;
    Item { key, value, content_type, version, created_index }
}

fn engine_consistency(consistency: Consistency) -> crate::engine::Consistency {
    match consistency {
        Consistency::Linearizable => crate::engine::Consistency::Linearizable,
        Consistency::Lease => crate::engine::Consistency::Lease,
        Consistency::Sequential => crate::engine::Consistency::Sequential,
    }
}

fn answer<T>(reply: &Reply, output: T) -> Answer<T> {
    let consistency = reply.consistency.map(|c| match c {
        crate::engine::Consistency::Linearizable => Consistency::Linearizable,
        crate::engine::Consistency::Lease => Consistency::Lease,
        crate::engine::Consistency::Sequential => Consistency::Sequential,
    });
    Answer { output, index: reply.index, term: reply.term, served_by: reply.served_by, consistency }
}

#[async_trait]
impl Backend for ServerBackend {
    async fn command(&self, c: Command, timeout: Duration) -> Result<Answer<CommandOutput>, Failure> {
        let c = command(c);
        let request = Request::Command { operation: encode_operation(&c), mode: Store::mode(&c) };
        let reply = self.ask(request, timeout).await?;
        let output = decode_output::<Store>(&reply.output).ok_or(Failure::Internal)?;
        let output = match output {
            store::Output::Put { created } => CommandOutput::Put { created },
            store::Output::Deleted { version } => CommandOutput::Deleted { version },
            store::Output::ConditionFailed { version } => CommandOutput::ConditionFailed { version },
        };
        Ok(answer(&reply, output))
    }

    async fn query(&self, query: Query, read: Read) -> Result<Answer<QueryOutput>, Failure> {
        let query = match query {
            Query::Get { key } => store::Query::Get { key },
            Query::List { prefix, after, limit, max_bytes } => store::Query::List { prefix, after, limit, max_bytes },
        };
        let request = Request::Query {
            consistency: engine_consistency(read.consistency),
            index: read.index,
            operation: encode_operation(&query),
        };
        let reply = self.ask(request, read.timeout).await?;
        let output = decode_query_output::<Store>(&reply.output).ok_or(Failure::Internal)?;
        let output = match output {
            store::Answer::Value(found) => QueryOutput::Value(found.map(item)),
            store::Answer::Page { items, more } => {
                QueryOutput::Page { items: items.into_iter().map(item).collect(), more }
            }
        };
        Ok(answer(&reply, output))
    }

    fn id(&self) -> u64 {
        self.id
    }

    fn cluster(&self) -> ClusterView {
        let view = self.views.get();
        let last = view.matched_of;
        let members = view.configuration.members.iter().map(|(&id, m)| {
            let match_index = view.matched.get(&id).copied();
            MemberView {
                id,
                member_type: match m.member_type {
                    MemberType::Active => "active",
                    MemberType::Passive => "passive",
                    MemberType::Reserve => "reserve",
                },
                status: match m.status {
                    MemberStatus::Available => "available",
                    MemberStatus::Unavailable => "unavailable",
                },
                http: Some(m.http.clone()).filter(|h| !h.is_empty()),
                peer: m.peer.clone(),
                match_index,
                lag: match_index.map(|m| last.saturating_sub(m)),
            }
        });
        ClusterView {
            cluster_id: Some(view.status.cluster).filter(|&c| c != 0).map(|c| format!("{c:032x}")),
            term: view.status.term,
            leader: view.status.leader,
            configuration_index: view.configuration.index,
            members: members.collect(),
        }
    }

    fn server(&self) -> ServerView {
        let view = self.views.get();
        let s = &view.status;
        ServerView {
            id: s.id,
            identity: format!("{:016x}", s.identity),
            role: match s.role {
                Role::Follower => "follower",
                Role::Candidate => "candidate",
                Role::Leader => "leader",
            },
            version: env!("CARGO_PKG_VERSION"),
            uptime_ms: u64::try_from((clock::monotonic() - self.started).as_millis()).unwrap_or(u64::MAX),
            term: s.term,
            vote: Some(s.vote).filter(|&v| v != 0),
            leader: s.leader,
            commit_index: s.commit,
            applied_index: s.applied,
            time_ms: s.time,
            digest: format!("{:08x}", s.digest),
            log_lost: s.lost_log,
            log: LogView {
                first_index: view.first_index,
                last_index: s.last_index,
                durable_index: s.durable_index,
                segments: view.segments.len(),
                bytes: view.segments.iter().map(|segment| u64::from(segment.bytes)).sum(),
                live: view.live,
            },
            memory_bytes: memory(),
        }
    }

    fn checks(&self) -> Checks {
        let view = self.views.get();
        let s = &view.status;
        let check = |ok: bool, why: &str| if ok { Ok(()) } else { Err(why.to_string()) };
        Checks(vec![
            ("leader", check(s.leader.is_some(), "no leader is known: a majority of the servers must run")),
            ("log", check(!s.lost_log, "this server lost its log and is getting it back")),
            ("caught_up", check(s.ready, "what is committed is not yet applied here")),
        ])
    }
}

/// Resident memory in bytes.
fn memory() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}
