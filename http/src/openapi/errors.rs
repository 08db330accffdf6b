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
pub(super) const TIMED: &[Code] = &[Code::BadDuration];
pub(super) const READ: &[Code] = &[Code::BadConsistency];
/// A client that folds `..` asks for another path than was meant.
pub(super) const BY_PATH: &[Code] = &[Code::NoSuchEndpoint];
pub(super) const MISSING: &[Code] = &[Code::KeyNotFound];
pub(super) const CONDITIONAL: &[Code] = &[Code::VersionMismatch];
pub(super) const RAW_BODY: &[Code] = &[Code::BodyTimeout, Code::ValueTooLarge];
pub(super) const JSON_BODY: &[Code] = &[Code::BodyTimeout, Code::BodyTooLarge];
pub(super) const OPERATIONS: &[Code] = &[Code::TooManyOperations, Code::ValueTooLarge];
pub(super) const READY: &[Code] = &[Code::NotReady];

/// Errors with a status, each with its code.
pub(super) fn answer(status: u16, codes: &[Code]) -> Value {
    let names: Vec<_> = codes.iter().map(|code| code.name()).collect();
    let told: Vec<_> = codes.iter().map(|code| format!("`{}`: {}", code.name(), code.meaning())).collect();
    let mut headers = json!({});
    if matches!(status, 429 | 503) {
        headers["Retry-After"] = json!({ "$ref": "#/components/headers/Retry-After" });
    }
    if status == 412 {
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
            "checks": { "type": "object", "description": "What a server lacks to be ready." },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Failure;
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
            Failure::ShuttingDown => Failure::Malformed,
            Failure::Malformed => Failure::Internal,
            Failure::Internal => return None,
        })
    }

    #[test]
    fn what_the_backend_fails_with_is_all_there() {
        let (mut failure, mut told) = (next(None), Vec::new());
        while let Some(one) = failure {
            for problem in [Problem::of_command(one), Problem::of_query(one)] {
                assert!(BACKEND.contains(&problem.code()), "{one:?}");
                told.push(problem.code());
            }
            failure = next(failure);
        }
        assert!(BACKEND.iter().all(|code| told.contains(code)), "and nothing else");
    }
}
