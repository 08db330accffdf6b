//! `GET /v1/sessions/{session}/events`: what a session is told, as a long poll or as a stream.

use super::sse::{self, Said};
use super::{App, InFlight, Shared, accept, sessions, stamped, wait};
use crate::backend::{EventBatch, EventPage, Poll};
use crate::caller::Claims;
use crate::json;
use crate::params::Params;
use crate::problem::Problem;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use std::time::Duration;

pub(crate) const PARAMS: &[&str] = &["after", "wait", "timeout"];

pub(super) async fn events(State(app): State<Shared>, request: Request) -> Result<Response, Problem> {
    let headers = request.headers();
    let params = Params::parse(request.uri().query(), PARAMS)?;
    let session = sessions::in_path(request.uri())?;
    Claims::parse(&params, headers)?.in_path(session)?;
    let (after, wait, timeout) = (params.number("after")?, params.wait()?.unwrap_or_default(), params.timeout()?);
    let mut response = if accept::names(headers, sse::KIND) {
        let after = sse::begins(after, headers)?;
        stream(app, session, after, timeout, request.extensions().get().cloned()).await?
    } else {
        poll(&app, session, after, wait, timeout).await?
    };
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    Ok(response)
}

async fn poll(
    app: &App,
    session: u64,
    after: Option<u64>,
    asked: Duration,
    timeout: Duration,
) -> Result<Response, Problem> {
    let wait = asked.min(app.config.wait);
    let poll = Poll { session, acknowledge: after, after, wait, keep_alive: true, stream: None };
    let answer = app.backend.events(poll, timeout).await.map_err(Problem::of_query)?;
    let EventPage { batches, event_index, wait } = &answer.output;
    let batches = batches.iter().map(json::Batch::from).collect();
    let body = json::Events { batches, event_index: *event_index, session };
    let mut response = json::response(StatusCode::OK, &body);
    wait::tell(&mut response, asked, *wait);
    Ok(stamped(response, &answer))
}

/// Acknowledges what the client has when it comes, and nothing of what it is sent then: that it was taken by the
/// connection does not mean that it arrived.
async fn stream(
    app: Shared,
    session: u64,
    after: Option<u64>,
    timeout: Duration,
    place: Option<InFlight>,
) -> Result<Response, Problem> {
    let stream = Some(app.streams.next());
    let step = move |acknowledge, after, wait| Poll { session, acknowledge, after, wait, keep_alive: false, stream };
    let answer = app.backend.events(step(after, after, Duration::ZERO), timeout).await;
    let answer = answer.map_err(Problem::of_query)?;
    let first = said(&answer.output, after);
    let response = sse::response(first, place, move |after| {
        let app = app.clone();
        async move {
            match app.backend.events(step(None, after, app.config.comment), timeout).await {
                Ok(answer) => said(&answer.output, after),
                Err(failure) => (sse::ending(&Problem::of_query(failure)), None),
            }
        }
    });
    Ok(stamped(response, &answer))
}

/// One message a batch; and behind which index the next step asks.
fn said(page: &EventPage, after: Option<u64>) -> Said<Option<u64>> {
    let Some(last) = page.batches.last() else { return (sse::COMMENT.into(), Some(after)) };
    let message = |batch: &EventBatch| sse::message(batch.index, "events", &json::Batch::from(batch));
    (page.batches.iter().flat_map(message).collect(), Some(Some(last.index)))
}
