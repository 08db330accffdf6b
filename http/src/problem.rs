//! Errors: `application/problem+json` (RFC 9457) with a stable code and the outcome.

use crate::backend::{Conflict, Failure, Range};
use crate::code::Code;
use crate::duration::long_text;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

/// Whether the request had an effect. An error never says `applied`: what was applied is an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    NotApplied,
    Unknown,
}

/// An error as the client sees it.
#[derive(Debug)]
pub(crate) struct Problem(Box<Parts>);

#[derive(Debug)]
struct Parts {
    code: Code,
    detail: String,
    retryable: bool,
    outcome: Outcome,
    fields: Map<String, Value>,
    headers: HeaderMap,
}

impl Problem {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            code,
            detail: detail.into(),
            retryable: false,
            outcome: Outcome::NotApplied,
            fields: Map::new(),
            headers: HeaderMap::new(),
        }))
    }

    /// 400 for one field of the request.
    pub(crate) fn bad_request(field: &str, detail: impl std::fmt::Display) -> Self {
        Self::new(Code::BadRequest, format!("{field}: {detail}")).with("field", field)
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.fields.insert(name.into(), value.into());
        self
    }

    pub(crate) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.insert(name, value);
        self
    }

    /// The body was not read to its end: there is no next request to be found behind it.
    pub(crate) fn closing(self) -> Self {
        self.with_header(header::CONNECTION, HeaderValue::from_static("close"))
    }

    /// The same request may be sent again without harm, and may then succeed.
    pub(crate) fn retryable(mut self) -> Self {
        self.0.retryable = true;
        self
    }

    /// The same request will get this very answer again.
    pub(crate) fn final_for_a_repeat(mut self) -> Self {
        self.0.retryable = false;
        self.0.headers.remove(header::RETRY_AFTER);
        self
    }

    fn retry_after_a_second(self) -> Self {
        self.retryable().with_header(header::RETRY_AFTER, HeaderValue::from_static("1"))
    }

    fn unknown(mut self) -> Self {
        self.0.outcome = Outcome::Unknown;
        self.0.retryable = false;
        self.0.detail.push_str("; the command may have been, or may yet be, carried out");
        self
    }

    pub(crate) fn overloaded(detail: impl Into<String>) -> Self {
        Self::new(Code::Overloaded, detail).retry_after_a_second()
    }

    pub(crate) fn too_many_requests(detail: &str) -> Self {
        Self::new(Code::TooManyRequests, detail).retry_after_a_second()
    }

    fn timeout(detail: &str) -> Self {
        Self::new(Code::Timeout, detail).retryable()
    }

    pub(crate) fn internal() -> Self {
        Self::new(Code::Internal, "a fault of this server; its log tells more")
    }

    pub(crate) fn no_such_endpoint() -> Self {
        let detail = "there is nothing at this path; the API is below /v1/";
        Self::new(Code::NoSuchEndpoint, detail)
    }

    pub(crate) fn method_not_allowed() -> Self {
        Self::new(Code::MethodNotAllowed, "this path does not take this method")
    }

    /// Why a command has no answer. With `harmless`, the very same request may be sent again even so: it does nothing
    /// twice, or a repeat is known as such.
    pub(crate) fn of_command(failure: Failure, harmless: bool) -> Self {
        let problem = match failure {
            Failure::Timeout { maybe_applied: true } => Self::timeout("no answer in time").unknown(),
            Failure::LeaderLost => Self::timeout("the leader was lost before its answer came").unknown(),
            Failure::Internal => return Self::internal().unknown(),
            other => return Self::of_query(other),
        };
        if harmless { problem.retryable() } else { problem }
    }

    /// The same of a command by which a repeat of it is known: it may itself be the repeat of one that was carried out, of
    /// which nothing is kept any more.
    pub(crate) fn of_known_command(failure: Failure) -> Self {
        match failure {
            Failure::SessionExpired(_) | Failure::SequenceAcknowledged { .. } => {
                let mut problem = Self::of_query(failure);
                problem.0.outcome = Outcome::Unknown;
                problem.0.detail.push_str("; if it was sent before, it may have been carried out then");
                problem
            }
            other => Self::of_command(other, true),
        }
    }

    /// Why a query has no answer. Its outcome is never unknown.
    pub(crate) fn of_query(failure: Failure) -> Self {
        match failure {
            Failure::NoLeader => {
                let detail = "no leader can be reached: a majority of the servers must run and reach each other";
                Self::new(Code::NoLeader, detail).retry_after_a_second()
            }
            Failure::ShuttingDown => {
                let detail = "this server is shutting down: ask another";
                Self::new(Code::NoLeader, detail).retry_after_a_second()
            }
            Failure::Overloaded => Self::overloaded("too many requests are under way"),
            Failure::TooLarge => {
                let detail = "larger than a log entry may be";
                Self::new(Code::ValueTooLarge, detail)
            }
            Failure::StorageFull => {
                let detail = "the leader's disk is full: make room there";
                Self::new(Code::StorageFull, detail).retryable()
            }
            Failure::Timeout { .. } => Self::timeout("no answer in time"),
            Failure::LeaderLost => Self::timeout("the leader was lost before its answer came"),
            Failure::Stateless => {
                let detail = "this server keeps no state now: ask an active or a passive member";
                Self::new(Code::NotReady, detail).retry_after_a_second()
            }
            Failure::Malformed => {
                let detail = "the leader does not know this operation: it runs another version";
                Self::new(Code::BadRequest, detail)
            }
            Failure::SessionNotFound => Self::new(Code::SessionNotFound, "there is no such session, and never was"),
            Failure::SessionExpired(why) => {
                let detail = format!("the session has ended: {}", why.name());
                Self::new(Code::SessionExpired, detail).with("reason", why.name())
            }
            Failure::SequenceGap { expected } => {
                let detail = format!("the session's next command is number {expected}, which has not come");
                Self::new(Code::SequenceGap, detail).with("expected", expected).retryable()
            }
            Failure::SequenceAcknowledged { acknowledged } => {
                let detail = format!(
                    "answers are acknowledged through number {acknowledged}, and forgotten; nothing was done now"
                );
                Self::new(Code::SequenceAcknowledged, detail).with("acknowledged", acknowledged)
            }
            Failure::SequenceMismatch => {
                Self::new(Code::SequenceMismatch, "the session has given this number to another command")
            }
            Failure::IdempotencyMismatch => {
                Self::new(Code::IdempotencyMismatch, "this idempotency key was given to another request")
            }
            Failure::SessionBusy => {
                Self::too_many_requests("the session has too many answers open: acknowledge them by a keep-alive")
            }
            Failure::Superseded => Self::new(Code::Superseded, "a newer poll of the same session took over"),
            Failure::EventsGap { acknowledged } => {
                let detail = format!("events are acknowledged through index {acknowledged}, and forgotten");
                Self::new(Code::EventsGap, detail).with("acknowledged", acknowledged)
            }
            Failure::MemberNotFound { id } => {
                Self::new(Code::MemberNotFound, format!("the cluster has no member {id}"))
            }
            Failure::ConfigurationConflict(conflict) => Self::of_conflict(conflict),
            Failure::OutOfRange(Range { field, least, most, is_time }) => {
                let text = |value: u64| if is_time { long_text(value) } else { value.to_string() };
                Self::bad_request(field, format!("give {} to {}", text(least), text(most)))
            }
            Failure::Internal => Self::internal(),
        }
    }

    fn of_conflict(conflict: Conflict) -> Self {
        let told = |detail: &str| Self::new(Code::ConfigurationConflict, detail);
        match conflict {
            Conflict::Stale { current } => {
                let detail = format!("the configuration is now that of index {current}: look again, and decide anew");
                told(&detail).with("configuration", current)
            }
            Conflict::Busy => told("other changes are under way").retry_after_a_second(),
            Conflict::LosesQuorum { voters, available } => told(&format!(
                "of the {voters} voters that would be left only {available} can be heard, which is no majority: bring \
                 servers back first, or say force=true"
            )),
            Conflict::LastVoter => told("the last voter cannot go: nothing would be left of the cluster"),
            Conflict::NotVoter => told("the member does not vote, so it cannot lead"),
            Conflict::Unreachable => told("the member is not heard, so it cannot lead").retryable(),
            Conflict::NotTransferred => told("the member did not take over in time; the leader stays").retryable(),
        }
    }

    /// The same, where the field that is named lies within another.
    pub(crate) fn within(mut self, outer: &str) -> Self {
        if let Some(Value::String(field)) = self.0.fields.get_mut("field") {
            *field = format!("{outer}.{field}");
            self.0.detail = format!("{outer}.{}", self.0.detail);
        }
        self
    }

    pub(crate) fn code(&self) -> Code {
        self.0.code
    }

    pub(crate) fn headers_mut(&mut self) -> &mut HeaderMap {
        &mut self.0.headers
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.0.code.status()
    }

    /// The JSON text.
    pub(crate) fn body(&self) -> String {
        let mut text = self.json().to_string();
        text.push('\n');
        text
    }

    pub(crate) fn json(&self) -> Value {
        let Parts { code, detail, retryable, outcome, fields, .. } = &*self.0;
        let status = code.status();
        let mut body = json!({
            "type": format!("urn:copycat:problem:{}", code.name()),
            "title": status.canonical_reason().unwrap_or("Error"),
            "status": status.as_u16(),
            "detail": detail,
            "code": code.name(),
            "retryable": retryable,
            "outcome": match outcome {
                Outcome::NotApplied => "not_applied",
                Outcome::Unknown => "unknown",
            },
        });
        if let Value::Object(object) = &mut body {
            object.extend(fields.clone());
        }
        body
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body()));
        *response.status_mut() = self.0.code.status();
        *response.headers_mut() = self.0.headers;
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(problem: &Problem) -> (u16, &'static str, bool, Outcome, bool) {
        let p = &problem.0;
        (p.code.status().as_u16(), p.code.name(), p.retryable, p.outcome, p.headers.contains_key(header::RETRY_AFTER))
    }

    #[test]
    fn what_may_have_happened_is_unknown_and_not_to_be_repeated() {
        use Outcome::{NotApplied, Unknown};
        let maybe = Failure::Timeout { maybe_applied: true };
        let never = Failure::Timeout { maybe_applied: false };
        for (failure, command, query) in [
            (maybe, (504, "timeout", false, Unknown, false), (504, "timeout", true, NotApplied, false)),
            (never, (504, "timeout", true, NotApplied, false), (504, "timeout", true, NotApplied, false)),
            (Failure::LeaderLost, (504, "timeout", false, Unknown, false), (504, "timeout", true, NotApplied, false)),
            (Failure::Internal, (500, "internal", false, Unknown, false), (500, "internal", false, NotApplied, false)),
        ] {
            assert_eq!(told(&Problem::of_command(failure, false)), command, "{failure:?}");
            assert_eq!(told(&Problem::of_query(failure)), query, "{failure:?}");
        }
        for (failure, both) in [
            (Failure::NoLeader, (503, "no_leader", true, NotApplied, true)),
            (Failure::ShuttingDown, (503, "no_leader", true, NotApplied, true)),
            (Failure::Overloaded, (503, "overloaded", true, NotApplied, true)),
            (Failure::TooLarge, (413, "value_too_large", false, NotApplied, false)),
            (Failure::StorageFull, (507, "storage_full", true, NotApplied, false)),
            (Failure::Stateless, (503, "not_ready", true, NotApplied, true)),
            (Failure::Malformed, (400, "bad_request", false, NotApplied, false)),
            (Failure::SessionBusy, (429, "too_many_requests", true, NotApplied, true)),
            (Failure::SequenceGap { expected: 3 }, (409, "sequence_gap", true, NotApplied, false)),
            (Failure::SequenceMismatch, (422, "sequence_mismatch", false, NotApplied, false)),
        ] {
            assert_eq!(told(&Problem::of_command(failure, false)), both, "{failure:?}");
            assert_eq!(told(&Problem::of_command(failure, true)), both, "{failure:?}");
            assert_eq!(told(&Problem::of_query(failure)), both, "{failure:?}");
        }
    }

    #[test]
    fn whether_what_is_forgotten_was_carried_out_is_unknown() {
        for (failure, status, code) in [
            (Failure::SessionExpired(crate::backend::Ended::TimedOut), 410, "session_expired"),
            (Failure::SequenceAcknowledged { acknowledged: 3 }, 409, "sequence_acknowledged"),
        ] {
            let known = (status, code, false, Outcome::Unknown, false);
            assert_eq!(told(&Problem::of_known_command(failure)), known, "{failure:?}");
            let unnamed = (status, code, false, Outcome::NotApplied, false);
            assert_eq!(told(&Problem::of_command(failure, false)), unnamed, "{failure:?}");
        }
        let overloaded = (503, "overloaded", true, Outcome::NotApplied, true);
        assert_eq!(told(&Problem::of_known_command(Failure::Overloaded)), overloaded);
    }

    #[test]
    fn what_does_nothing_twice_may_be_repeated() {
        for (failure, retryable) in
            [(Failure::Timeout { maybe_applied: true }, true), (Failure::LeaderLost, true), (Failure::Internal, false)]
        {
            let problem = Problem::of_command(failure, true);
            assert_eq!((problem.0.retryable, problem.0.outcome), (retryable, Outcome::Unknown), "{failure:?}");
        }
    }
}
