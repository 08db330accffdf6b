//! A server as others see it.

use crate::engine::{MemberStatus, MemberType, Role};
use crate::server::clock;
use crate::server::view::View;
use copycat_http::{Checks, ClusterView, LogView, MemberView, ServerView};
use std::time::Duration;

pub(super) fn cluster(view: &View) -> ClusterView {
    let (last, now) = (view.matched_of, clock::monotonic());
    let members = view.configuration.members.iter().map(|(&id, m)| {
        let match_index = view.matched.get(&id).copied();
        let contact = view.contact.get(&id).copied();
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
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
            lag_ms: contact.map(|(_, behind)| ms(behind)),
            heard_ms: contact.map(|(heard, _)| heard.map_or(0, |heard| ms(now.saturating_sub(heard)))),
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

pub(super) fn server(view: &View, started: Duration) -> ServerView {
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
        uptime_ms: u64::try_from((clock::monotonic() - started).as_millis()).unwrap_or(u64::MAX),
        term: s.term,
        vote: Some(s.vote).filter(|&v| v != 0),
        leader: s.leader,
        commit_index: s.commit,
        applied_index: s.applied,
        time_ms: s.time,
        digest: format!("{:08x}", s.digest),
        compared_index: s.compared,
        sessions: s.sessions,
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

pub(super) fn checks(view: &View) -> Checks {
    let s = &view.status;
    let check = |ok: bool, why: &str| if ok { Ok(()) } else { Err(why.to_string()) };
    Checks(vec![
        ("leader", check(s.leader.is_some(), "no leader is known: a majority of the servers must run")),
        ("log", check(!s.lost_log, "this server lost its log and is getting it back")),
        ("caught_up", check(s.ready, "what is committed is not yet applied here")),
    ])
}

/// Resident memory in bytes.
fn memory() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}
