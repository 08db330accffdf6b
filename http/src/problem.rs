//! Errors: `application/problem+json` (RFC 9457) with a stable code and the outcome.

use crate::backend::Failure;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

/// Whether the request had an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    NotApplied,
    Unknown,
}

#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    retryable: bool,
    outcome: Outcome,
    fields: Map<String, Value>,
    headers: HeaderMap,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            retryable: false,
            outcome: Outcome::NotApplied,
            fields: Map::new(),
            headers: HeaderMap::new(),
        }
    }

    /// 400 for one field of the request.
    pub(crate) fn bad_request(field: &str, detail: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", format!("{field}: {detail}")).with("field", field)
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(name.into(), value.into());
        self
    }

    pub(crate) fn with_header(mut self, name: header::HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// The same request may succeed later.
    fn retryable(mut self, after_seconds: u32) -> Self {
        self.retryable = true;
        if after_seconds > 0 {
            self.headers.insert(header::RETRY_AFTER, HeaderValue::from(after_seconds));
        }
        self
    }

    pub(crate) fn overloaded(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail).retryable(1)
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        let unavailable = StatusCode::SERVICE_UNAVAILABLE;
        match failure {
            Failure::NoLeader => {
                let detail = "no leader can be reached: a majority of the servers must run and reach each other";
                Self::new(unavailable, "no_leader", detail).retryable(1)
            }
            Failure::ShuttingDown => {
                Self::new(unavailable, "no_leader", "this server is shutting down: ask another").retryable(1)
            }
            Failure::Overloaded => Self::overloaded("too many requests are under way"),
            Failure::TooLarge => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "value_too_large", "larger than a log entry may be")
            }
            Failure::StorageFull => {
                let detail = "the leader's disk is full: make room there";
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "storage_full", detail).retryable(0)
            }
            Failure::Timeout { maybe_applied } => {
                let mut problem =
                    Self::new(StatusCode::GATEWAY_TIMEOUT, "timeout", "no answer within ?timeout").retryable(0);
                if maybe_applied {
                    problem.outcome = Outcome::Unknown;
                    problem.detail.push_str("; the command may have been, or may yet be, carried out");
                }
                problem
            }
            Failure::LeaderLost => {
                let detail = "the leader was lost before its answer came; the command may have been, or may yet be, \
                              carried out";
                let mut problem = Self::new(StatusCode::GATEWAY_TIMEOUT, "timeout", detail).retryable(0);
                problem.outcome = Outcome::Unknown;
                problem
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = json!({
            "type": format!("urn:copycat:problem:{}", self.code),
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "detail": self.detail,
            "code": self.code,
            "retryable": self.retryable,
            "outcome": match self.outcome {
                Outcome::NotApplied => "not_applied",
                Outcome::Unknown => "unknown",
            },
        });
        if let Value::Object(object) = &mut body {
            object.extend(self.fields);
        }
        let mut response = Response::new(Body::from(body.to_string()));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}

pub(crate) async fn no_such_endpoint() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "no_such_endpoint", "there is nothing at this path; the API is below /v1/")
}

pub(crate) async fn method_not_allowed() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this path does not take this method")
}
