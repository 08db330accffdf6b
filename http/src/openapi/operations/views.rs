//! What a server knows, and the pages.

use super::super::errors::{BACKEND, BY_PATH, FEED, JSON_BODY, MEMBERS, READY, SETTINGS, TIMED};
use super::{HTML, JSON, Operation, STREAM, TEXT, bytes, shape, text};
use crate::routes::{cluster, feed, health, history, log, snapshots};
use serde_json::{Value, json};

pub(super) fn all() -> Vec<Operation> {
    const TERM: &[&str] = &["Copycat-Term"];
    const OF_CHANGE: &[&str] = &["Copycat-Index", "Copycat-Term"];
    vec![
        Operation::new("get", "/v1/cluster", "get_cluster", "The cluster, as this server knows it")
            .answers(200, "The cluster.", vec![(JSON, shape("ClusterView"))])
            .stamped(TERM),
        Operation::new("post", "/v1/cluster/members/{member}", "change_member", "Promotes or demotes a member")
            .about(
                "Between any two of `active`, `passive` and `reserve`. Who is to vote is caught up first: until then it is \
                 passive, `becoming` active. What would leave too few voters that can be heard is refused, unless forced.",
            )
            .takes(cluster::CHANGE, &[])
            .body(JSON, shape("NewMemberType"))
            .answers(200, "The cluster after it.", vec![(JSON, shape("ClusterView"))])
            .stamped(OF_CHANGE)
            .fails(&[BACKEND, TIMED, JSON_BODY, MEMBERS]),
        Operation::new("delete", "/v1/cluster/members/{member}", "remove_member", "Removes a member")
            .about("A server that is removed stops; of the server itself: it leaves. Its directory is never taken back.")
            .takes(cluster::REMOVE, &[])
            .answers(200, "The cluster after it.", vec![(JSON, shape("ClusterView"))])
            .stamped(OF_CHANGE)
            .fails(&[BACKEND, TIMED, MEMBERS]),
        Operation::new("get", "/v1/cluster/settings", "get_settings", "What all members have alike, as this server knows it")
            .answers(200, "The settings.", vec![(JSON, shape("SettingsView"))])
            .stamped(TERM),
        Operation::new("put", "/v1/cluster/settings", "change_settings", "Changes what all members have alike")
            .about(
                "What is left out stays as it is. It is one change of the configuration, as those of members are, and decided \
                 on the `configuration` that it names. Servers that run go by it from then on; one that is started with a flag \
                 that says something else refuses to start.",
            )
            .takes(cluster::CHANGE, &[])
            .body(JSON, shape("NewSettings"))
            .answers(200, "The settings after it.", vec![(JSON, shape("SettingsView"))])
            .stamped(OF_CHANGE)
            .fails(&[BACKEND, TIMED, JSON_BODY, SETTINGS]),
        Operation::new("post", "/v1/cluster/leader", "transfer_leadership", "Has another member lead")
            .takes(cluster::CHANGE, &[])
            .body(JSON, shape("NewLeader"))
            .answers(200, "Another leads.", vec![(JSON, shape("Leading"))])
            .stamped(OF_CHANGE)
            .fails(&[BACKEND, TIMED, JSON_BODY, MEMBERS]),
        Operation::new("get", "/v1/cluster/events", "poll_feed", "What this server saw happen, to itself and the cluster")
            .about(
                "Held until there is something behind `after`, or the wait is over. Numbers are this server's own, and \
                 hold for it across restarts. With `Accept: text/event-stream`, Server-Sent Events: a message an event, \
                 `id` its number, `event: event`; `Last-Event-ID` resumes; a comment while nothing happens; an error is \
                 the last message, `event: feed_trimmed` or `event: error`, with a problem. A stream takes no notice of \
                 `wait`.",
            )
            .takes(feed::PARAMS, &["Last-Event-ID"])
            .answers(200, "What happened, perhaps nothing.", vec![(JSON, shape("FeedPage")), (STREAM, text())])
            .stamped(&["Copycat-Wait"])
            .fails(&[BACKEND, TIMED, FEED]),
        Operation::new("get", "/v1/server", "get_server", "This server")
            .answers(200, "The server.", vec![(JSON, shape("ServerView"))])
            .stamped(&["Copycat-Index", "Copycat-Term"]),
        Operation::new("get", "/v1/server/history", "get_history", "What this server did, second by second")
            .about(
                "The last ten minutes: how many requests it answered and how fast, by operation and, for reads, by the \
                 consistency that they were served with. Requests that only look at the server are not counted.",
            )
            .takes(history::PARAMS, &[])
            .answers(200, "The points, in order of time.", vec![(JSON, shape("HistoryPage"))]),
        Operation::new("get", "/v1/dashboard", "get_dashboard", "All that a page about this server shows")
            .about(
                "As this server knows it, without asking anybody. With `Accept: text/event-stream`, Server-Sent Events: \
                 first `event: snapshot`, the same as without; then, as soon as something changes and at least once a \
                 second, `event: delta` with at least one of `patch`, a JSON merge patch (RFC 7396) of `state`, in which \
                 arrays are whole; `events` that follow, as of `/v1/cluster/events`; `gap`, true when some of them are \
                 missing; and `points` that follow, as of `/v1/server/history`. The last message is `event: error` with a \
                 problem. A stream that is opened again begins anew.",
            )
            .answers(200, "The snapshot.", vec![(JSON, shape("Dashboard")), (STREAM, messages())])
            .stamped(TERM)
            .fails(&[BACKEND]),
        Operation::new("get", "/v1/log", "get_log", "This server's log, file by file")
            .answers(200, "The log.", vec![(JSON, shape("Log"))])
            .stamped(TERM)
            .fails(&[BACKEND]),
        Operation::new("get", "/v1/log/entries", "list_entries", "Entries of this server's log")
            .about("Also those that are not yet committed. A page has at most 1 MiB, or one entry.")
            .takes(log::ENTRIES, &[])
            .answers(200, "Entries in order.", vec![(JSON, shape("Entries"))])
            .stamped(TERM)
            .fails(&[BACKEND]),
        Operation::new("post", "/v1/log/compactions", "compact_log", "Compacts this server's log")
            .about(
                "Answered when it is done, or there was nothing to do. What is compacted lies at or below the server's \
                 latest snapshot. 503 `overloaded` while a snapshot or another compaction is under way. When the time is \
                 over it goes on.",
            )
            .takes(snapshots::PARAMS, &[])
            .body(JSON, shape("NewCompaction"))
            .answers(200, "What was done.", vec![(JSON, shape("Compaction"))])
            .fails(&[BACKEND, TIMED, JSON_BODY]),
        Operation::new("post", "/v1/snapshots", "take_snapshot", "Takes a snapshot of this server's state")
            .about("When the time is over it goes on. 503 `not_ready` on a reserve member, which keeps no state.")
            .takes(snapshots::PARAMS, &[])
            .answers(201, "It was taken, and is durable.", vec![(JSON, shape("Snapshot"))])
            .answers(200, "There is one as new.", vec![(JSON, shape("Snapshot"))])
            .stamped(OF_CHANGE)
            .fails(&[BACKEND, TIMED, READY]),
        Operation::new("get", "/v1/snapshots/latest", "get_backup", "A backup: this server's latest snapshot, complete")
            .about(
                "With every entry that it refers to, each part with its checksum, and one over everything at the end: \
                 without it, the backup is not whole. `copycat snapshot save` writes it to a file, `restore` makes a new \
                 cluster of it; `docs/file-format.md` has its bytes. 404 `no_such_endpoint` if no snapshot was taken yet.",
            )
            .takes(snapshots::PARAMS, &[])
            .answers(200, "The backup.", vec![(snapshots::KIND, bytes())])
            .stamped(OF_CHANGE)
            .fails(&[BACKEND, TIMED, BY_PATH]),
    ]
}

/// What the messages of the dashboard's stream carry.
fn messages() -> Value {
    let data = json!({ "oneOf": [shape("Dashboard"), shape("DashboardDelta")] });
    json!({ "type": "string", "contentMediaType": "application/json", "contentSchema": data })
}

pub(super) fn pages() -> Vec<Operation> {
    vec![
        Operation::new("get", "/livez", "get_liveness", "Whether this server runs")
            .about("It never depends on the others.")
            .answers(200, "It does.", vec![(TEXT, text())]),
        Operation::new("get", "/readyz", "get_readiness", "Whether this server can serve")
            .takes(health::READY, &[])
            .answers(200, "It can.", vec![(TEXT, text())])
            .fails(&[READY]),
        Operation::new("get", "/openapi.json", "get_openapi", "This document").answers(
            200,
            "The document.",
            vec![(JSON, json!({ "type": "object" }))],
        ),
        Operation::new("get", "/", "get_home", "The dashboard, or the way in")
            .about("With `Accept: text/html`, as browsers send it, the dashboard; else what this is, as text.")
            .answers(200, "What this is.", vec![(TEXT, text()), (HTML, text())])
            .stamped(&["ETag"]),
    ]
}
