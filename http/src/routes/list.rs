//! `GET /v1/kv?prefix=…`: keys in order, page by page, or all of them line by line.

use super::paging::{LARGEST_PAGE, PAGE, read_again};
use super::{App, accept, split, stamped, stream};
use crate::backend::{Answer, Listed, Query, QueryOutput, Read};
use crate::cursor;
use crate::json;
use crate::key::KEY_BYTES;
use crate::params::Params;
use crate::problem::Problem;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};

/// Bytes of keys and values in a page, at most and by default; a page has one key at least. Both the answer in memory
/// and what travels between servers are of this size.
const PAGE_BYTES: u64 = 1024 * 1024;

/// What is to be listed.
#[derive(Clone, Debug, Default)]
pub(super) struct Listing {
    pub(super) prefix: Vec<u8>,
    pub(super) start: Option<Vec<u8>>,
    pub(super) limit: Option<u64>,
    pub(super) max_bytes: Option<u64>,
    pub(super) separator: Option<Vec<u8>>,
    pub(super) no_values: bool,
}

impl Listing {
    fn parse(params: &Params) -> Result<Self, Problem> {
        let no_values = match params.bytes("values") {
            None => false,
            Some(b"none") => true,
            Some(_) => return Err(Problem::bad_request("values", "give none, or leave it out")),
        };
        let prefix = params.bytes("prefix").unwrap_or_default().to_vec();
        let listing = Self {
            start: params.bytes("cursor").map(|cursor| cursor::decode(cursor, &prefix)).transpose()?,
            prefix,
            limit: params.number("limit")?,
            max_bytes: params.number("max_bytes")?,
            separator: params.bytes("separator").map(<[u8]>::to_vec),
            no_values,
        };
        listing.checked()
    }

    pub(super) fn checked(self) -> Result<Self, Problem> {
        let long = |name: &str| Err(Problem::bad_request(name, format!("at most {KEY_BYTES} bytes")));
        if self.limit.is_some_and(|n| !(1..=LARGEST_PAGE).contains(&n)) {
            return Err(Problem::bad_request("limit", format!("give 1 to {LARGEST_PAGE}")));
        }
        if self.max_bytes.is_some_and(|n| !(1..=PAGE_BYTES).contains(&n)) {
            return Err(Problem::bad_request("max_bytes", format!("give 1 to {PAGE_BYTES}")));
        }
        match &self.separator {
            Some(separator) if separator.is_empty() => {
                return Err(Problem::bad_request("separator", "give at least one byte"));
            }
            Some(separator) if separator.len() > KEY_BYTES => return long("separator"),
            _ => {}
        }
        if self.prefix.len() > KEY_BYTES { long("prefix") } else { Ok(self) }
    }

    fn query(&self) -> Query {
        Query::List {
            prefix: self.prefix.clone(),
            start: self.start.clone(),
            limit: self.limit.unwrap_or(PAGE),
            max_bytes: self.max_bytes.unwrap_or(PAGE_BYTES),
            separator: self.separator.clone(),
            values: !self.no_values,
        }
    }

    /// One page.
    pub(super) async fn read(&self, app: &App, read: Read) -> Result<Found, Problem> {
        let answer = app.keys()?.query(self.query(), read).await.map_err(Problem::of_query)?;
        let (output, from) = split(answer);
        let QueryOutput::Page { items, next } = output else { return Err(Problem::internal()) };
        Ok(Found { items, next, from })
    }

    pub(super) fn items<'a>(&self, items: &'a [Listed]) -> Vec<json::ListItem<'a>> {
        items.iter().map(|listed| json::ListItem::new(listed, !self.no_values)).collect()
    }

    /// The next page, read as this one was; a sequential one from no earlier state than this one.
    fn link(&self, params: &Params, next: &str, read: Read, index: u64) -> Result<String, Problem> {
        let mut url = format!("/v1/kv?prefix={}", percent_encode(&self.prefix, NON_ALPHANUMERIC));
        let mut add = |name: &str, value: String| url.push_str(&format!("&{name}={value}"));
        add("limit", self.limit.unwrap_or(PAGE).to_string());
        if let Some(max_bytes) = self.max_bytes {
            add("max_bytes", max_bytes.to_string());
        }
        if let Some(separator) = &self.separator {
            add("separator", percent_encode(separator, NON_ALPHANUMERIC).to_string());
        }
        if self.no_values {
            add("values", "none".into());
        }
        url.push_str(&read_again(params, read, index)?);
        Ok(format!("<{url}&cursor={next}>; rel=\"next\""))
    }
}

/// A page.
pub(super) struct Found {
    pub(super) items: Vec<Listed>,
    pub(super) next: Option<Vec<u8>>,
    pub(super) from: Answer<()>,
}

impl Found {
    pub(super) fn cursor(&self) -> Option<String> {
        self.next.as_ref().map(|next| cursor::encode(next))
    }
}

pub(super) async fn list(app: &super::Shared, params: &Params, request: &Asked<'_>) -> Result<Response, Problem> {
    let read = params.read(request.headers)?;
    let listing = Listing::parse(params)?;
    let found = listing.read(app, read).await?;
    let mut response = if accept::names(request.headers, stream::KIND) {
        let from = found.from.clone();
        stamped(stream::lines(app.clone(), listing, read, found, request.place.clone()), &from)
    } else {
        let next = found.cursor();
        let link = next.as_ref().map(|next| listing.link(params, next, read, found.from.index)).transpose()?;
        let page = json::Page { items: listing.items(&found.items), next, index: found.from.index };
        let mut response = json::response(StatusCode::OK, &page);
        if let Some(link) = link.and_then(|link| HeaderValue::try_from(link).ok()) {
            response.headers_mut().insert(header::LINK, link);
        }
        stamped(response, &found.from)
    };
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    Ok(response)
}

/// What a list needs of its request.
pub(super) struct Asked<'a> {
    pub(super) headers: &'a HeaderMap,
    /// Held as long as an answer goes on.
    pub(super) place: Option<super::InFlight>,
}
