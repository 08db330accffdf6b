//! `GET /v1/cluster/events`: what this server saw happen, as a long poll or as a stream.

use super::sse::{self, Said};
use super::{Shared, accept, wait};
use crate::backend::{ClusterEvent, Failure, Feed};
use crate::code::Code;
use crate::json;
use crate::params::Params;
use crate::problem::Problem;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use std::time::Duration;

pub(crate) const PARAMS: &[&str] = &["after", "wait"];

pub(super) async fn feed(State(app): State<Shared>, request: Request) -> Result<Response, Problem> {
    let headers = request.headers();
    let params = Params::parse(request.uri().query(), PARAMS)?;
    let (after, asked) = (params.number("after")?, params.wait()?.unwrap_or_default());
    let mut response = if accept::names(headers, sse::KIND) {
        let after = sse::begins(after, headers)?;
        let (events, last) = read(app.backend.feed(after, Duration::ZERO).await)?;
        sse::response(said(&events, last, after), request.extensions().get().cloned(), move |after| {
            let app = app.clone();
            async move {
                match read(app.backend.feed(after, app.config.comment).await) {
                    Ok((events, last)) => said(&events, last, after),
                    Err(problem) => (sse::ending(&problem), None),
                }
            }
        })
    } else {
        let used = asked.min(app.config.wait);
        let (events, last) = read(app.backend.feed(after, used).await)?;
        let body = json::FeedPage { events: events.iter().map(json::FeedEvent::from).collect(), last };
        let mut response = json::response(StatusCode::OK, &body);
        wait::tell(&mut response, asked, used);
        response
    };
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    Ok(response)
}

fn read(feed: Result<Feed, Failure>) -> Result<(Vec<ClusterEvent>, u64), Problem> {
    match feed.map_err(Problem::of_query)? {
        Feed::Events { events, last } => Ok((events, last)),
        Feed::Trimmed { resume } => {
            let detail = format!("what follows is not kept here: go on behind {resume}");
            Err(Problem::new(Code::FeedTrimmed, detail).with("resume", resume))
        }
    }
}

/// One message an event; and behind which number the next step asks.
fn said(events: &[ClusterEvent], last: u64, after: Option<u64>) -> Said<Option<u64>> {
    let Some(newest) = events.last() else { return (sse::COMMENT.into(), Some(after.or(Some(last)))) };
    let message = |event: &ClusterEvent| sse::message(event.id, "event", &json::FeedEvent::from(event));
    (events.iter().flat_map(message).collect(), Some(Some(newest.id)))
}
