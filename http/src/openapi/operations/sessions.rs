//! `/v1/sessions`.

use super::super::errors::{BACKEND, JSON_BODY, KEYED, NUMBERED, POLLED, READ, SESSION, TIMED};
use super::{COMMAND, JSON, OF_COMMAND, OF_READ, Operation, STREAM, shape, text};
use crate::routes::{events, sessions, watches};

const ONE: &str = "/v1/sessions/{session}";

pub(super) fn all() -> Vec<Operation> {
    let mut all = lives();
    all.extend(told());
    all
}

fn lives() -> Vec<Operation> {
    const PATH: &str = "/v1/sessions";
    vec![
        Operation::new("post", PATH, "register", "Begins a session")
            .about(
                "It lives as long as it is kept alive: by its keep-alives and its polls, each time for `timeout`. When it \
                 ends, its locks are released, and its ephemeral keys deleted.",
            )
            .takes(sessions::COMMAND, &["Idempotency-Key"])
            .maybe(JSON, shape("NewSession"))
            .answers(201, "It has begun; `Location` is its own.", vec![(JSON, shape("Begun"))])
            .stamped(&["Copycat-Index", "Copycat-Term", "Location"])
            .fails(&[BACKEND, TIMED, KEYED, JSON_BODY]),
        Operation::new("get", PATH, "list_sessions", "Lists sessions in the order of their ids")
            .takes(sessions::LIST, &["Copycat-Index"])
            .answers(200, "A page.", vec![(JSON, shape("Sessions"))])
            .stamped(&["Copycat-Index", "Copycat-Term", "Copycat-Consistency", "Link"])
            .fails(&[BACKEND, TIMED, READ]),
        Operation::new("get", ONE, "get_session", "Shows a session, and what it holds")
            .takes(sessions::READ, &["Copycat-Index"])
            .answers(200, "The session.", vec![(JSON, shape("Session"))])
            .stamped(OF_READ)
            .fails(&[BACKEND, TIMED, READ, SESSION]),
        Operation::new("delete", ONE, "unregister", "Ends a session")
            .about("Its locks are released, and its ephemeral keys deleted.")
            .takes(sessions::COMMAND, &["Copycat-Session"])
            .answers(200, "It has ended.", vec![(JSON, shape("Ended"))])
            .stamped(OF_COMMAND)
            .fails(&[BACKEND, TIMED, SESSION]),
        Operation::new("post", "/v1/sessions/{session}/keep-alive", "keep_alive", "Keeps a session alive")
            .about("And acknowledges, so that the answers and the events that its client has seen can be forgotten.")
            .takes(sessions::COMMAND, &["Copycat-Session"])
            .maybe(JSON, shape("Acknowledged"))
            .answers(200, "It lives.", vec![(JSON, shape("Alive"))])
            .stamped(OF_COMMAND)
            .fails(&[BACKEND, TIMED, SESSION, JSON_BODY]),
    ]
}

fn told() -> Vec<Operation> {
    vec![
        Operation::new("post", "/v1/sessions/{session}/watches", "watch", "Has a session told of changes")
            .about("Of a key, or of all keys that begin so. It is told of what changes behind the answer's index.")
            .takes(watches::PARAMS, COMMAND)
            .body(JSON, shape("Watch"))
            .answers(200, "The session has had this watch already.", vec![(JSON, shape("Watching"))])
            .answers(201, "It is told from now on.", vec![(JSON, shape("Watching"))])
            .stamped(OF_COMMAND)
            .fails(&[BACKEND, TIMED, NUMBERED, JSON_BODY]),
        Operation::new("delete", "/v1/sessions/{session}/watches/{watch}", "unwatch", "Has it told no more")
            .about("It is no error that the watch does not exist.")
            .takes(watches::PARAMS, COMMAND)
            .answers(200, "It is told no more.", vec![(JSON, shape("Unwatched"))])
            .stamped(OF_COMMAND)
            .fails(&[BACKEND, TIMED, NUMBERED]),
        Operation::new("get", "/v1/sessions/{session}/events", "poll_events", "What a session is told")
            .about(
                "Held until there is something behind `after`, or the wait is over: a batch an index. A poll keeps the \
                 session alive once, when it arrives, and is held for at most half of the session's timeout; the newest \
                 one ends the others. With `Accept: text/event-stream`, Server-Sent Events: a message a batch, `id` its \
                 index, `event: events`; `Last-Event-ID` resumes, and acknowledges, as `after` does; the larger one counts. \
                 What a stream sends is acknowledged by keep-alives, which it needs to live, too. There is a comment every \
                 15 seconds while nothing happens. An error is the last message, `event: session_expired`, `superseded`, \
                 `events_gap` or `error`, with a problem. A stream takes no notice of `wait`.",
            )
            .takes(events::PARAMS, &["Copycat-Session", "Last-Event-ID"])
            .answers(200, "The batches, perhaps none.", vec![(JSON, shape("Events")), (STREAM, text())])
            .stamped(&["Copycat-Index", "Copycat-Term", "Copycat-Consistency", "Copycat-Event-Index", "Copycat-Wait"])
            .fails(&[BACKEND, TIMED, POLLED]),
    ]
}
