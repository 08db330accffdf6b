//! Which errors an operation can answer with.

use crate::code::Code;
use serde_json::{Value, json};

/// Every request,
pub(super) const PLAIN: &[Code] = &[
    Code::BadRequest,
    Code::ForeignHost,
    Code::TooManyRequests,
    Code::HeadersTooLarge,
    Code::Internal,
    Code::Overloaded,
];
/// and those of the API itself.
pub(super) const API: &[Code] = &[Code::ForeignOrigin];
/// What the backend fails with.
pub(super) const BACKEND: &[Code] = &[
    Code::BadRequest,
    Code::ValueTooLarge,
    Code::Internal,
    Code::NoLeader,
    Code::Overloaded,
    Code::Timeout,
    Code::StorageFull,
];
/// And with what only sessions are concerned,
pub(super) const SESSION: &[Code] = &[Code::SessionNotFound, Code::SessionExpired];
/// commands that may have a session, a number or an idempotency key,
pub(super) const NUMBERED: &[Code] = &[
    Code::SessionNotFound,
    Code::SessionExpired,
    Code::SequenceGap,
    Code::SequenceAcknowledged,
    Code::SequenceMismatch,
    Code::IdempotencyMismatch,
    Code::TooManyRequests,
];
/// sessions to be,
pub(super) const KEYED: &[Code] = &[Code::IdempotencyMismatch];
/// and polls.
pub(super) const POLLED: &[Code] = &[Code::SessionNotFound, Code::SessionExpired, Code::Superseded, Code::EventsGap];
pub(super) const FENCED: &[Code] = &[Code::LockTokenStale];
pub(super) const HELD: &[Code] = &[Code::LockHeld];
pub(super) const NO_LOCK: &[Code] = &[Code::LockNotFound];
pub(super) const FEED: &[Code] = &[Code::FeedTrimmed];
pub(super) const TIMED: &[Code] = &[Code::BadDuration];
pub(super) const READ: &[Code] = &[Code::BadConsistency];
/// A client that folds `..` asks for another path than was meant.
pub(super) const BY_PATH: &[Code] = &[Code::NoSuchEndpoint];
pub(super) const MISSING: &[Code] = &[Code::KeyNotFound];
pub(super) const CONDITIONAL: &[Code] = &[Code::VersionMismatch];
pub(super) const RAW_BODY: &[Code] = &[Code::BodyTimeout, Code::ValueTooLarge];
pub(super) const JSON_BODY: &[Code] = &[Code::BodyTimeout, Code::BodyTooLarge];
pub(super) const OPERATIONS: &[Code] = &[Code::TooManyOperations, Code::ValueTooLarge];
/// Changes of the cluster.
pub(super) const MEMBERS: &[Code] = &[Code::MemberNotFound, Code::ConfigurationConflict];
pub(super) const SETTINGS: &[Code] = &[Code::ConfigurationConflict];
pub(super) const READY: &[Code] = &[Code::NotReady];

/// Errors with a status, each with its code.
pub(super) fn answer(status: u16, codes: &[Code]) -> Value {
    let names: Vec<_> = codes.iter().map(|code| code.name()).collect();
    let told: Vec<_> = codes.iter().map(|code| format!("`{}`: {}", code.name(), code.meaning())).collect();
    let mut headers = json!({});
    if matches!(status, 429 | 503) {
        headers["Retry-After"] = json!({ "$ref": "#/components/headers/Retry-After" });
    }
    if codes.contains(&Code::VersionMismatch) {
        headers["ETag"] = json!({ "$ref": "#/components/headers/ETag" });
    }
    json!({
        "description": told.join(" "),
        "headers": headers,
        "content": { "application/problem+json": { "schema": { "allOf": [
            { "$ref": "#/components/schemas/Problem" },
            { "type": "object", "properties": { "code": { "enum": names }, "status": { "const": status } } },
        ] } } },
    })
}

/// RFC 9457, with what a program needs beside it.
pub(super) fn schema() -> Value {
    json!({
        "type": "object",
        "description": "An error.",
        "required": ["type", "title", "status", "detail", "code", "retryable", "outcome"],
        "properties": {
            "type": { "type": "string", "description": "`urn:copycat:problem:` and the code." },
            "title": { "type": "string" },
            "status": { "type": "integer" },
            "detail": { "type": "string", "description": "What is wrong, for people." },
            "code": { "type": "string", "description": "What is wrong, for programs." },
            "retryable": {
                "type": "boolean",
                "description": "The very same request may be sent again without harm, and may then succeed.",
            },
            "outcome": {
                "type": "string",
                "enum": ["not_applied", "applied", "unknown"],
                "description": "What became of the command. That of a read is never `unknown`.",
            },
            "field": { "type": "string", "description": "Which field is wrong." },
            "line": { "type": "integer", "description": "Where in the JSON." },
            "column": { "type": "integer", "description": "Where in the line." },
            "version": { "type": ["integer", "null"], "description": "The version that the key has." },
            "reason": {
                "type": "string",
                "enum": ["closed", "timeout", "queue_full", "unknown"],
                "description": "Why the session ended; `unknown`: long ago.",
            },
            "expected": { "type": "integer", "description": "The number of the session's next command." },
            "acknowledged": {
                "type": "integer",
                "description": "Through which number answers, or through which index events, are acknowledged.",
            },
            "configuration": { "type": "integer", "description": "The index of the configuration as it is now." },
            "resume": { "type": "integer", "description": "Behind which number to go on." },
            "holders": {
                "type": "array",
                "items": { "$ref": "#/components/schemas/Holder" },
                "description": "Who has the lock.",
            },
            "queue": {
                "type": "array",
                "items": { "$ref": "#/components/schemas/Waiter" },
                "description": "Who waits for it, first come first.",
            },
            "position": { "type": "integer", "description": "Which place in the queue would have been, or was, its own." },
            "checks": { "type": "object", "description": "What a server lacks to be ready." },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{Conflict, Ended, Failure, Range};
    use crate::problem::Problem;

    /// Every failure there is: the next one named by hand.
    fn next(failure: Option<Failure>) -> Option<Failure> {
        let Some(failure) = failure else { return Some(Failure::NoLeader) };
        Some(match failure {
            Failure::NoLeader => Failure::Overloaded,
            Failure::Overloaded => Failure::TooLarge,
            Failure::TooLarge => Failure::StorageFull,
            Failure::StorageFull => Failure::Timeout { maybe_applied: true },
            Failure::Timeout { maybe_applied: true } => Failure::Timeout { maybe_applied: false },
            Failure::Timeout { maybe_applied: false } => Failure::LeaderLost,
            Failure::LeaderLost => Failure::ShuttingDown,
            Failure::ShuttingDown => Failure::SessionNotFound,
            Failure::SessionNotFound => Failure::SessionExpired(Ended::Closed),
            Failure::SessionExpired(_) => Failure::SequenceGap { expected: 1 },
            Failure::SequenceGap { .. } => Failure::SequenceAcknowledged { acknowledged: 1 },
            Failure::SequenceAcknowledged { .. } => Failure::SequenceMismatch,
            Failure::SequenceMismatch => Failure::IdempotencyMismatch,
            Failure::IdempotencyMismatch => Failure::SessionBusy,
            Failure::SessionBusy => Failure::Superseded,
            Failure::Superseded => Failure::EventsGap { acknowledged: 1 },
            Failure::EventsGap { .. } => Failure::MemberNotFound { id: 1 },
            Failure::MemberNotFound { .. } => Failure::ConfigurationConflict(Conflict::Stale { current: 1 }),
            Failure::ConfigurationConflict(conflict) => match conflict {
                Conflict::Stale { .. } => Failure::ConfigurationConflict(Conflict::Busy),
                Conflict::Busy => Failure::ConfigurationConflict(Conflict::LosesQuorum { voters: 2, available: 1 }),
                Conflict::LosesQuorum { .. } => Failure::ConfigurationConflict(Conflict::LastVoter),
                Conflict::LastVoter => Failure::ConfigurationConflict(Conflict::NotVoter),
                Conflict::NotVoter => Failure::ConfigurationConflict(Conflict::Unreachable),
                Conflict::Unreachable => Failure::ConfigurationConflict(Conflict::NotTransferred),
                Conflict::NotTransferred => {
                    let (field, least, most, is_time) = ("election_timeout", 50, 60_000, true);
                    Failure::OutOfRange(Range { field, least, most, is_time })
                }
            },
            Failure::OutOfRange(_) => Failure::Stateless,
            Failure::Stateless => Failure::Malformed,
            Failure::Malformed => Failure::Internal,
            Failure::Internal => return None,
        })
    }

    #[test]
    fn what_the_backend_fails_with_is_all_there() {
        let (mut failure, mut told) = (next(None), Vec::new());
        let known = [BACKEND, SESSION, NUMBERED, KEYED, POLLED, MEMBERS, READY].concat();
        while let Some(one) = failure {
            for problem in [Problem::of_command(one, false), Problem::of_query(one)] {
                assert!(known.contains(&problem.code()), "{one:?}");
                told.push(problem.code());
            }
            failure = next(failure);
        }
        assert!(known.iter().all(|code| told.contains(code)), "and nothing else");
    }
}
