//! The dashboard's files, as they are in `web-ui/`: `/` for browsers, and what it needs below `/ui/`.
//!
//! A page may load nothing but these files, run nothing that is written into it, and ask nobody but this server. The other
//! members' addresses are there for one question only, when this server is gone: does one of you live (`/livez`)?

use super::{Shared, accept, compress};
use crate::problem::Problem;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use include_dir::{Dir, include_dir};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::LazyLock;

static FILES: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/../web-ui");

pub(super) const PATH: &str = "/ui/";

/// A file as it is sent.
struct Asset {
    kind: &'static str,
    etag: String,
    plain: &'static [u8],
    packed: Vec<u8>,
}

/// By their paths; packed once, when the first is asked for.
static ASSETS: LazyLock<BTreeMap<&'static str, Asset>> = LazyLock::new(|| {
    let mut assets = BTreeMap::new();
    collect(&FILES, &mut assets);
    assets
});

fn collect(directory: &Dir<'static>, assets: &mut BTreeMap<&'static str, Asset>) {
    for file in directory.files() {
        let (Some(path), plain) = (file.path().to_str(), file.contents()) else { continue };
        let Some(kind) = kind(path) else { continue };
        let mut hasher = DefaultHasher::new();
        plain.hash(&mut hasher);
        let etag = format!("\"{:016x}\"", hasher.finish());
        assets.insert(path, Asset { kind, etag, plain, packed: compress::gzip(plain, Compression::best()) });
    }
    directory.dirs().for_each(|directory| collect(directory, assets));
}

/// What is no part of the page is not served.
fn kind(path: &str) -> Option<&'static str> {
    Some(match path.rsplit_once('.')?.1 {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "svg" => "image/svg+xml",
        "txt" => "text/plain; charset=utf-8",
        _ => return None,
    })
}

/// Whether the caller is a browser that wants a page.
pub(super) fn wants_page(headers: &HeaderMap) -> bool {
    accept::names(headers, "text/html")
}

/// The page itself.
pub(super) fn home(app: &Shared, headers: &HeaderMap) -> Response {
    match ASSETS.get("index.html") {
        Some(asset) => send(app, asset, headers),
        None => Problem::internal().into_response(),
    }
}

/// A file below `/ui/`.
pub(super) fn file(app: &Shared, method: &Method, path: &str, headers: &HeaderMap) -> Response {
    match path.strip_prefix(PATH).and_then(|path| ASSETS.get(path)) {
        Some(_) if !method.is_safe() => Problem::method_not_allowed().into_response(),
        Some(asset) => send(app, asset, headers),
        None => Problem::no_such_endpoint().into_response(),
    }
}

fn send(app: &Shared, asset: &'static Asset, headers: &HeaderMap) -> Response {
    let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let known = known.flat_map(|tags| tags.split(',')).any(|tag| tag.trim().trim_start_matches("W/") == asset.etag);
    let packed = compress::is_taken(headers) && asset.packed.len() < asset.plain.len() && !asset.packed.is_empty();
    let mut response = match (known, packed) {
        (true, _) => super::empty(StatusCode::NOT_MODIFIED),
        (false, true) => Response::new(Body::from(asset.packed.as_slice())),
        (false, false) => Response::new(Body::from(asset.plain)),
    };
    let answer = response.headers_mut();
    if !known {
        answer.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.kind));
        if packed {
            answer.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
    }
    if let Ok(etag) = HeaderValue::try_from(&asset.etag) {
        answer.insert(header::ETAG, etag);
    }
    answer.insert(header::VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    answer.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    answer.insert(HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin"));
    answer.insert(HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin"));
    if let Ok(policy) = HeaderValue::try_from(policy(app)) {
        answer.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// `script-src` and `style-src` without `unsafe-inline` and without hashes: there is nothing inline.
fn policy(app: &Shared) -> String {
    let mut others = String::new();
    for http in app.backend.cluster().members.iter().filter_map(|member| member.http.as_deref()) {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b".-:[]".contains(&b);
        if http.bytes().all(plain) {
            others.push_str(&format!(" http://{http}"));
        }
    }
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'{others}; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
         trusted-types 'none'"
    )
}
