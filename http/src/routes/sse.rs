//! Server-Sent Events (HTML Standard, 9.2): an answer that goes on, message by message.

use super::InFlight;
use crate::code::Code;
use crate::params;
use crate::problem::Problem;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use futures_lite::stream;
use serde::Serialize;
use std::convert::Infallible;

pub(super) const KIND: &str = "text/event-stream";

/// What keeps a connection that has nothing to say from being taken for a dead one.
pub(super) const COMMENT: &[u8] = b":\n\n";

/// A message. JSON has no end of a line within.
pub(super) fn message(id: u64, event: &str, data: &impl Serialize) -> Vec<u8> {
    let data = serde_json::to_string(data).unwrap_or_default();
    format!("id: {id}\nevent: {event}\ndata: {data}\n\n").into_bytes()
}

/// The last message, as the status is sent already. It has no id: a client that comes back goes on from the last it has.
pub(super) fn ending(problem: &Problem) -> Vec<u8> {
    let event = match problem.code() {
        code @ (Code::SessionExpired | Code::Superseded | Code::EventsGap | Code::FeedTrimmed) => code.name(),
        _ => "error",
    };
    format!("event: {event}\ndata: {}\n\n", problem.json()).into_bytes()
}

/// Where a stream begins: a client that comes back says `Last-Event-ID`, and still asks the URL that it began with.
pub(super) fn begins(after: Option<u64>, headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    Ok(after.max(params::number_in(headers, "Last-Event-ID")?))
}

/// What a step of a stream says, and from where the next one goes on; `None`: it is the last.
pub(super) type Said<S> = (Vec<u8>, Option<S>);

/// The first step's words, and those of the steps behind it. A step is taken when the connection asks for more of the
/// body, which it does when the client has taken what was there. The request's place among those under way is given back
/// with the body.
pub(super) fn response<S, F>(
    first: Said<S>,
    place: Option<InFlight>,
    next: impl Fn(S) -> F + Send + 'static,
) -> Response
where
    S: Send + 'static,
    F: Future<Output = Said<S>> + Send + 'static,
{
    enum Step<S> {
        First(Said<S>),
        Next(S),
        Over,
    }
    let steps = stream::unfold((Step::First(first), next, place), |(step, next, place)| async move {
        let (text, then) = match step {
            Step::First(said) => said,
            Step::Next(state) => next(state).await,
            Step::Over => return None,
        };
        let then = then.map_or(Step::Over, Step::Next);
        Some((Ok::<_, Infallible>(Bytes::from(text)), (then, next, place)))
    });
    let mut response = Response::new(Body::from_stream(steps));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(KIND));
    response
}
