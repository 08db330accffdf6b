//! The codes of errors. Each has one status.

use axum::http::StatusCode;

/// What a program tells errors apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Code {
    BadRequest,
    BadConsistency,
    BadDuration,
    ForeignHost,
    ForeignOrigin,
    KeyNotFound,
    NoSuchEndpoint,
    MethodNotAllowed,
    BodyTimeout,
    VersionMismatch,
    ValueTooLarge,
    BodyTooLarge,
    TooManyOperations,
    TooManyRequests,
    HeadersTooLarge,
    Internal,
    NoLeader,
    NotReady,
    Overloaded,
    Timeout,
    StorageFull,
}

impl Code {
    pub(crate) fn name(self) -> &'static str {
        self.parts().1
    }

    pub(crate) fn status(self) -> StatusCode {
        self.parts().0
    }

    /// For people.
    pub(crate) fn meaning(self) -> &'static str {
        self.parts().2
    }

    /// Its status, its name, and what it means.
    fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::BadRequest => (StatusCode::BAD_REQUEST, "bad_request", "A field, which it names, is wrong."),
            Self::BadConsistency => (
                StatusCode::BAD_REQUEST,
                "bad_consistency",
                "`consistency` is none of linearizable, lease, sequential.",
            ),
            Self::BadDuration => (StatusCode::BAD_REQUEST, "bad_duration", "No duration, or not in its range."),
            Self::ForeignHost => (StatusCode::FORBIDDEN, "foreign_host", "`Host` is no name of this server."),
            Self::ForeignOrigin => {
                (StatusCode::FORBIDDEN, "foreign_origin", "A browser sent it from a page of another site.")
            }
            Self::KeyNotFound => (StatusCode::NOT_FOUND, "key_not_found", "The key does not exist."),
            Self::NoSuchEndpoint => (StatusCode::NOT_FOUND, "no_such_endpoint", "There is nothing at this path."),
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "The path does not take the method.")
            }
            Self::BodyTimeout => (StatusCode::REQUEST_TIMEOUT, "body_timeout", "The body did not arrive in time."),
            Self::VersionMismatch => (
                StatusCode::PRECONDITION_FAILED,
                "version_mismatch",
                "The key's version is not the one that was named.",
            ),
            Self::ValueTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "value_too_large", "A value is too long."),
            Self::BodyTooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "body_too_large",
                "The request's body, or what its answer would hold, is.",
            ),
            Self::TooManyOperations => {
                (StatusCode::PAYLOAD_TOO_LARGE, "too_many_operations", "A transaction or a batch has too many parts.")
            }
            Self::TooManyRequests => {
                (StatusCode::TOO_MANY_REQUESTS, "too_many_requests", "One address has too many connections.")
            }
            Self::HeadersTooLarge => {
                (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large", "The header block is too long.")
            }
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "A fault of the server."),
            Self::NoLeader => (StatusCode::SERVICE_UNAVAILABLE, "no_leader", "No leader can be reached."),
            Self::NotReady => (StatusCode::SERVICE_UNAVAILABLE, "not_ready", "The server is not ready."),
            Self::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, "overloaded", "A bound is reached."),
            Self::Timeout => (StatusCode::GATEWAY_TIMEOUT, "timeout", "No answer in time."),
            Self::StorageFull => (StatusCode::INSUFFICIENT_STORAGE, "storage_full", "The leader's disk is full."),
        }
    }
}
