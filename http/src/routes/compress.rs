//! gzip, for the few answers that are long and alike.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;

/// What is shorter is sent as it is.
const WORTH: usize = 1024;

/// Whether the caller can read it.
pub(super) fn is_taken(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let refused = weight.trim().strip_prefix("q=").is_some_and(|q| q.trim_start_matches(['0', '.']).is_empty());
        name.trim().eq_ignore_ascii_case("gzip") && !refused
    })
}

pub(super) fn gzip(bytes: &[u8], level: Compression) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), level);
    // Into memory: it cannot fail, and if it did, nothing is sent compressed.
    encoder.write_all(bytes).and_then(|()| encoder.finish()).unwrap_or_default()
}

/// An answer, compressed for whoever can read it.
pub(super) fn response(status: StatusCode, kind: &'static str, body: Vec<u8>, headers: &HeaderMap) -> Response {
    let worth = body.len() >= WORTH && is_taken(headers);
    let packed = if worth { gzip(&body, Compression::fast()) } else { Vec::new() };
    let is_packed = !packed.is_empty();
    let mut response = Response::new(Body::from(if is_packed { packed } else { body }));
    *response.status_mut() = status;
    let answer = response.headers_mut();
    answer.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    if is_packed {
        answer.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}
