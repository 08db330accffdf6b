//! The shapes of answers about keys.

use crate::backend::Item;
use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use std::borrow::Cow;

/// Bytes as text if they are UTF-8, else in base64; and which of the two.
fn text(bytes: &[u8]) -> (Cow<'_, str>, bool) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (text.into(), true),
        Err(_) => (STANDARD.encode(bytes).into(), false),
    }
}

fn key(bytes: &[u8]) -> (Cow<'_, str>, Option<&'static str>) {
    let (text, utf8) = text(bytes);
    (text, (!utf8).then_some("base64"))
}

#[derive(Serialize)]
pub(crate) struct Written<'a> {
    key: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_encoding: Option<&'static str>,
    version: u64,
    created: bool,
    index: u64,
}

impl<'a> Written<'a> {
    pub(crate) fn new(bytes: &'a [u8], created: bool, index: u64) -> Self {
        let (key, key_encoding) = key(bytes);
        Self { key, key_encoding, version: index, created, index }
    }
}

#[derive(Serialize)]
pub(crate) struct Deleted {
    pub(crate) deleted: bool,
    pub(crate) version: Option<u64>,
    pub(crate) index: u64,
}

#[derive(Serialize)]
pub(crate) struct Key<'a> {
    key: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_encoding: Option<&'static str>,
    value: Cow<'a, str>,
    encoding: &'static str,
    content_type: &'a str,
    version: u64,
    created_index: u64,
    /// A key lives until it is deleted, and belongs to no session.
    ttl_ms: (),
    session: (),
}

impl<'a> From<&'a Item> for Key<'a> {
    fn from(item: &'a Item) -> Self {
        let (key, key_encoding) = key(&item.key);
        let (value, utf8) = text(&item.value);
        Self {
            key,
            key_encoding,
            value,
            encoding: if utf8 { "utf-8" } else { "base64" },
            content_type: &item.content_type,
            version: item.version,
            created_index: item.created_index,
            ttl_ms: (),
            session: (),
        }
    }
}

#[derive(Serialize)]
pub(crate) struct Page<'a> {
    pub(crate) items: Vec<Key<'a>>,
    pub(crate) next: Option<&'a str>,
    pub(crate) index: u64,
}

/// A JSON answer, with a newline at its end for whoever reads it in a terminal.
pub(crate) fn response(status: StatusCode, body: &impl Serialize) -> Response {
    let mut text = serde_json::to_vec(body).unwrap_or_default();
    text.push(b'\n');
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
