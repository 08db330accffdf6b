//! The codes of errors. Each has one status.

use axum::http::StatusCode;

/// What a program tells errors apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Code {
    /// A field, which it names, is wrong.
    BadRequest,
    /// None of the three.
    BadConsistency,
    /// No duration, or not in its range.
    BadDuration,
    /// `Host` is no name of this server.
    ForeignHost,
    /// A browser sent it from a page of another site.
    ForeignOrigin,
    /// The key does not exist.
    KeyNotFound,
    /// There is nothing at this path.
    NoSuchEndpoint,
    /// The path does not take the method.
    MethodNotAllowed,
    /// The body did not arrive in time.
    BodyTimeout,
    /// The key's version is not the one that was named.
    VersionMismatch,
    /// A value is too long.
    ValueTooLarge,
    /// The request's body, or what its answer would hold, is.
    BodyTooLarge,
    /// A transaction or a batch has too many parts.
    TooManyOperations,
    /// One address has too many connections.
    TooManyRequests,
    /// The header block is too long.
    HeadersTooLarge,
    /// A fault of the server.
    Internal,
    /// No leader can be reached.
    NoLeader,
    /// The server is not ready.
    NotReady,
    /// A bound is reached.
    Overloaded,
    /// No answer in time.
    Timeout,
    /// The leader's disk is full.
    StorageFull,
}

impl Code {
    pub(crate) fn name(self) -> &'static str {
        self.parts().1
    }

    pub(crate) fn status(self) -> StatusCode {
        self.parts().0
    }

    fn parts(self) -> (StatusCode, &'static str) {
        match self {
            Self::BadRequest => (StatusCode::BAD_REQUEST, "bad_request"),
            Self::BadConsistency => (StatusCode::BAD_REQUEST, "bad_consistency"),
            Self::BadDuration => (StatusCode::BAD_REQUEST, "bad_duration"),
            Self::ForeignHost => (StatusCode::FORBIDDEN, "foreign_host"),
            Self::ForeignOrigin => (StatusCode::FORBIDDEN, "foreign_origin"),
            Self::KeyNotFound => (StatusCode::NOT_FOUND, "key_not_found"),
            Self::NoSuchEndpoint => (StatusCode::NOT_FOUND, "no_such_endpoint"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::BodyTimeout => (StatusCode::REQUEST_TIMEOUT, "body_timeout"),
            Self::VersionMismatch => (StatusCode::PRECONDITION_FAILED, "version_mismatch"),
            Self::ValueTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "value_too_large"),
            Self::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
            Self::TooManyOperations => (StatusCode::PAYLOAD_TOO_LARGE, "too_many_operations"),
            Self::TooManyRequests => (StatusCode::TOO_MANY_REQUESTS, "too_many_requests"),
            Self::HeadersTooLarge => (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
            Self::NoLeader => (StatusCode::SERVICE_UNAVAILABLE, "no_leader"),
            Self::NotReady => (StatusCode::SERVICE_UNAVAILABLE, "not_ready"),
            Self::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, "overloaded"),
            Self::Timeout => (StatusCode::GATEWAY_TIMEOUT, "timeout"),
            Self::StorageFull => (StatusCode::INSUFFICIENT_STORAGE, "storage_full"),
        }
    }
}
