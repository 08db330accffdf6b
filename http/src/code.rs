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
    SessionNotFound,
    LockNotFound,
    MemberNotFound,
    NoSuchEndpoint,
    MethodNotAllowed,
    BodyTimeout,
    LockHeld,
    ConfigurationConflict,
    SequenceGap,
    SequenceAcknowledged,
    Superseded,
    EventsGap,
    SessionExpired,
    FeedTrimmed,
    VersionMismatch,
    LockTokenStale,
    ValueTooLarge,
    BodyTooLarge,
    TooManyOperations,
    SequenceMismatch,
    IdempotencyMismatch,
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
        StatusCode::from_u16(self.parts().0).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// For people.
    pub(crate) fn meaning(self) -> &'static str {
        self.parts().2
    }

    /// Its status, its name, and what it means.
    fn parts(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::BadRequest => (400, "bad_request", "A field, which it names, is wrong."),
            Self::BadConsistency => {
                (400, "bad_consistency", "`consistency` is none of linearizable, lease, sequential.")
            }
            Self::BadDuration => (400, "bad_duration", "No duration, or not in its range."),
            Self::ForeignHost => (403, "foreign_host", "`Host` is no name of this server."),
            Self::ForeignOrigin => (403, "foreign_origin", "A browser sent it from a page of another site."),
            Self::KeyNotFound => (404, "key_not_found", "The key does not exist."),
            Self::SessionNotFound => (404, "session_not_found", "There is no such session, and never was."),
            Self::LockNotFound => (404, "lock_not_found", "Nobody, or not this session, has the lock or waits for it."),
            Self::MemberNotFound => (404, "member_not_found", "The cluster has no member with this number."),
            Self::NoSuchEndpoint => (404, "no_such_endpoint", "There is nothing at this path."),
            Self::MethodNotAllowed => (405, "method_not_allowed", "The path does not take the method."),
            Self::BodyTimeout => (408, "body_timeout", "The body did not arrive in time."),
            Self::LockHeld => (409, "lock_held", "Others have the lock; it was not granted."),
            Self::ConfigurationConflict => (
                409,
                "configuration_conflict",
                "The configuration has changed meanwhile, or the change would cost the quorum.",
            ),
            Self::SequenceGap => (409, "sequence_gap", "Commands with lower numbers have not come."),
            Self::SequenceAcknowledged => {
                (409, "sequence_acknowledged", "The answer to this number was acknowledged, and is forgotten.")
            }
            Self::Superseded => (409, "superseded", "A newer poll of the same session took over."),
            Self::EventsGap => (409, "events_gap", "What is asked for was acknowledged, and is forgotten."),
            Self::SessionExpired => (410, "session_expired", "The session has ended."),
            Self::FeedTrimmed => (410, "feed_trimmed", "What follows is no longer kept, or was never this server's."),
            Self::VersionMismatch => (412, "version_mismatch", "The key's version is not the one that was named."),
            Self::LockTokenStale => (412, "lock_token_stale", "The token does not hold the lock."),
            Self::ValueTooLarge => (413, "value_too_large", "A value is too long."),
            Self::BodyTooLarge => (413, "body_too_large", "The request's body, or what its answer would hold, is."),
            Self::TooManyOperations => (413, "too_many_operations", "A transaction or a batch has too many parts."),
            Self::SequenceMismatch => (422, "sequence_mismatch", "Another command has this number."),
            Self::IdempotencyMismatch => (422, "idempotency_mismatch", "Another request has this idempotency key."),
            Self::TooManyRequests => (
                429,
                "too_many_requests",
                "One address has too many connections, or one session too much that is open.",
            ),
            Self::HeadersTooLarge => (431, "headers_too_large", "The header block is too long."),
            Self::Internal => (500, "internal", "A fault of the server."),
            Self::NoLeader => (503, "no_leader", "No leader can be reached."),
            Self::NotReady => (503, "not_ready", "The server is not ready, or keeps no state to do this with."),
            Self::Overloaded => (503, "overloaded", "A bound is reached."),
            Self::Timeout => (504, "timeout", "No answer in time."),
            Self::StorageFull => (507, "storage_full", "The leader's disk is full."),
        }
    }
}
