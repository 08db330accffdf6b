//! `Accept: application/x-ndjson`: a whole list, line by line, over as many pages as it takes.

use super::list::{Found, Listing};
use super::{InFlight, Shared};
use crate::backend::{Consistency, Read};
use crate::json;
use crate::problem::Problem;
use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use futures_lite::stream;
use serde_json::json;
use std::convert::Infallible;

pub(super) const KIND: &str = "application/x-ndjson";

/// What comes next.
enum Step {
    Items(Found),
    Read { start: Vec<u8>, index: u64 },
    End(u64),
    Over,
}

/// The pages from this one on. The next page is read when the connection asks for more of the body, which it does when
/// the client has taken what was there: a slow client costs no more than a page. The request's place among those under
/// way is given back with the body.
pub(super) fn lines(app: Shared, listing: Listing, read: Read, first: Found, place: Option<InFlight>) -> Response {
    let pages = stream::unfold((Step::Items(first), listing, place), move |(step, mut listing, place)| {
        let app = app.clone();
        async move {
            let (text, next) = match step {
                Step::Items(found) => page(&listing, found),
                Step::Read { start, index } => {
                    listing.start = Some(start);
                    // No page is older than the one before it.
                    let read = Read { consistency: Consistency::Sequential, index, timeout: read.timeout };
                    match listing.read(&app, read).await {
                        Ok(found) => page(&listing, found),
                        Err(problem) => (failed(&problem), Step::Over),
                    }
                }
                Step::End(index) => (json::line(&json!({ "end": true, "index": index })), Step::Over),
                Step::Over => return None,
            };
            Some((Ok::<_, Infallible>(Bytes::from(text)), (next, listing, place)))
        }
    });
    let mut response = Response::new(Body::from_stream(pages));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(KIND));
    response
}

fn page(listing: &Listing, found: Found) -> (Vec<u8>, Step) {
    let text = listing.items(&found.items).iter().flat_map(json::line).collect();
    let index = found.from.index;
    let next = match found.next {
        Some(start) => Step::Read { start, index },
        None => Step::End(index),
    };
    (text, next)
}

/// The status is sent already: the last line is all there is to say it in.
fn failed(problem: &Problem) -> Vec<u8> {
    json::line(&json!({ "error": problem.json() }))
}
