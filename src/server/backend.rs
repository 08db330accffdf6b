//! The backend of the HTTP API: requests become commands and queries of the store, views become JSON shapes.

use super::clock;
use super::convert;
use super::driver::Shared;
use super::inbox::{Event, Inbox};
use super::requests::{Refusal, Reply, Request};
use super::view::Views;
use super::waiters::Waiters;
use crate::engine::machine::{StateMachine, decode_output, decode_query_output, encode_operation};
use crate::engine::{MemberStatus, MemberType, Role, ServerId};
use crate::store::{self, Store};
use async_std::future;
use async_trait::async_trait;
use copycat_http::{
    Answer, Backend, Checks, ClusterView, Command, CommandOutput, Consistency, EntryView, Failure, LogView, MemberView,
    Query, QueryOutput, Read, SegmentView, ServerView, Watched,
};
use std::sync::Arc;
use std::time::Duration;

pub(super) struct ServerBackend {
    inbox: Inbox,
    driver: Arc<Shared<Store>>,
    views: Views,
    waiters: Waiters,
    id: ServerId,
    started: Duration,
}

impl ServerBackend {
    pub(super) fn new(inbox: Inbox, driver: Arc<Shared<Store>>, views: Views, waiters: Waiters, id: ServerId) -> Self {
        Self { inbox, driver, views, waiters, id, started: clock::monotonic() }
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

impl ServerBackend {
    async fn ask_query(&self, query: &store::Query, read: Read) -> Result<Reply, Failure> {
        let (consistency, operation) = (engine_consistency(read.consistency), encode_operation(query));
        // Going through the driver's thread and back costs more than all the rest of a query that may be answered at once.
        if read.consistency == Consistency::Sequential
            && let Ok(driver) = self.driver.try_lock()
            && let Some(reply) = driver.as_ref().and_then(|d| d.query_now(read.index, &operation))
        {
            return Ok(reply);
        }
        self.ask(Request::Query { consistency, index: read.index, operation }, read.timeout).await
    }

    async fn look(&self, query: &store::Query, read: Read) -> Result<Answer<QueryOutput>, Failure> {
        let reply = self.ask_query(query, read).await?;
        let output = decode_query_output::<Store>(&reply.output).ok_or(Failure::Internal)?;
        Ok(answer(&reply, convert::answer(output)))
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
        let c = convert::command(c);
        let request = Request::Command { operation: encode_operation(&c), mode: Store::mode(&c) };
        let reply = self.ask(request, timeout).await?;
        let output = decode_output::<Store>(&reply.output).ok_or(Failure::Internal)?;
        Ok(answer(&reply, convert::output(output)))
    }

    async fn query(&self, query: Query, read: Read) -> Result<Answer<QueryOutput>, Failure> {
        self.look(&convert::query(query), read).await
    }

    async fn watch(
        &self,
        key: Vec<u8>,
        after: Option<u64>,
        wait: Duration,
        read: Read,
    ) -> Result<Answer<Watched>, Failure> {
        // Registered before the first look, so that nothing falls between the two.
        let waiter = self.waiters.register(&key).ok_or(Failure::Overloaded)?;
        let end = clock::monotonic() + wait;
        let query = store::Query::Get { key };
        let mut read = read;
        loop {
            let seen = self.ask_query(&query, read).await?;
            let Some(store::Answer::Value { item, changed }) = decode_query_output::<Store>(&seen.output) else {
                return Err(Failure::Internal);
            };
            let changed = after.map_or(item.is_some(), |after| changed > after);
            let left = end.saturating_sub(clock::monotonic());
            if !changed && let Ok(index) = future::timeout(left, waiter.woken()).await {
                read = Read { consistency: Consistency::Sequential, index, ..read };
                continue;
            }
            return Ok(answer(&seen, Watched { item: item.map(convert::item), changed }));
        }
    }

    async fn entries(&self, from: u64, limit: u64, max_bytes: u64) -> Result<Vec<EntryView>, Failure> {
        let (reply, answer) = async_channel::bounded(1);
        let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let event = Event::Entries { from, limit: size(limit), bytes: size(max_bytes), reply };
        if !self.inbox.offer(event) {
            return Err(Failure::Overloaded);
        }
        let entries = answer.recv().await.map_err(|_| Failure::ShuttingDown)?.map_err(|e| {
            tracing::error!("the log cannot be read: {e}");
            Failure::Internal
        })?;
        Ok(entries.iter().map(convert::entry).collect())
    }

    async fn segments(&self) -> Result<Vec<SegmentView>, Failure> {
        let (reply, answer) = async_channel::bounded(1);
        if !self.inbox.offer(Event::Segments { reply }) {
            return Err(Failure::Overloaded);
        }
        let segments = answer.recv().await.map_err(|_| Failure::ShuttingDown)?;
        Ok(segments.into_iter().map(|(segment, live)| convert::segment(&segment, live as u64)).collect())
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
