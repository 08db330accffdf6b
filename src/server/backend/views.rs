//! A server as others see it.

use crate::clock;
use crate::engine::{Configuration, MemberStatus, MemberType, Role, Settings};
use crate::server::view::View;
use copycat_http::{Checks, ClusterView, LogView, MemberView, ServerView, SettingsView, SnapshotView};
use std::time::Duration;

/// A type of members as users see it.
pub(in crate::server) fn type_name(member_type: MemberType) -> &'static str {
    match member_type {
        MemberType::Active => "active",
        MemberType::Passive => "passive",
        MemberType::Reserve => "reserve",
    }
}

/// A status of members as users see it.
pub(in crate::server) fn status_name(status: MemberStatus) -> &'static str {
    match status {
        MemberStatus::Available => "available",
        MemberStatus::Unavailable => "unavailable",
    }
}

pub(super) fn cluster(view: &View) -> ClusterView {
    cluster_of(view, &view.configuration)
}

/// A configuration, with what this server knows of its members.
pub(super) fn cluster_of(view: &View, configuration: &Configuration) -> ClusterView {
    let (last, now) = (view.matched_of, clock::monotonic());
    let members = configuration.members.iter().map(|(&id, m)| {
        let match_index = view.matched.get(&id).copied();
        let contact = view.contact.get(&id).copied();
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        MemberView {
            id,
            member_type: type_name(m.member_type),
            becoming: m.becoming.map(type_name),
            status: status_name(m.status),
            identity: m.identity.map(|identity| format!("{identity:016x}")),
            http: Some(m.http.clone()).filter(|h| !h.is_empty()),
            peer: m.peer.clone(),
            match_index,
            lag: match_index.map(|m| last.saturating_sub(m)),
            lag_ms: contact.map(|(_, behind)| ms(behind)),
            heard_ms: contact.and_then(|(heard, _)| match heard {
                Some(at) => Some(ms(now.saturating_sub(at))),
                None => (id == view.status.id).then_some(0),
            }),
        }
    });
    ClusterView {
        cluster_id: Some(view.status.cluster).filter(|&c| c != 0).map(|c| format!("{c:032x}")),
        term: view.status.term,
        leader: view.status.leader,
        configuration_index: configuration.index,
        members: members.collect(),
    }
}

/// The settings of the configuration of an index.
pub(super) fn settings(settings: &Settings, configuration: u64) -> SettingsView {
    SettingsView {
        election_timeout: settings.election_timeout,
        clock_drift_permille: u64::from(settings.clock_drift_permille),
        largest_entry: settings.largest_entry,
        sessions: settings.sessions,
        session_answers: settings.session_answers,
        session_answer_bytes: settings.session_answer_bytes,
        session_events: settings.session_limits.events,
        session_event_bytes: settings.session_limits.event_bytes,
        idempotency_keys: settings.keys,
        idempotency_key_bytes: settings.key_bytes,
        idempotency_window: settings.idempotency_window,
        configuration,
    }
}

pub(super) fn server(view: &View, started: Duration) -> ServerView {
    let s = &view.status;
    ServerView {
        id: s.id,
        identity: format!("{:016x}", s.identity),
        member_type: s.member_type.map(type_name),
        role: match s.role {
            Role::Follower if s.member_type == Some(MemberType::Passive) => "passive",
            Role::Follower if s.member_type == Some(MemberType::Reserve) => "reserve",
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
        global_index: view.global_index,
        snapshot: view.snapshot.map(|info| SnapshotView { index: info.index, bytes: info.size }),
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

/// Not ready for want of its log.
const LOST: &str = "this server lost its log, or counts as one that did (a power failure under a durability below always), \
                    and has not yet got from its leader what it may lack";

pub(super) fn checks(view: &View) -> Checks {
    let s = &view.status;
    let check = |ok: bool, why: &str| if ok { Ok(()) } else { Err(why.to_string()) };
    Checks(vec![
        ("leader", check(s.leader.is_some(), "no leader is known: a majority of the servers must run")),
        ("log", check(!s.lost_log, LOST)),
        ("caught_up", check(s.ready, "what is committed is not yet applied here")),
    ])
}

/// Resident memory in bytes.
fn memory() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}
