//! Before any request is looked at: is it meant for this server, and does it come from a page of ours?
//!
//! A browser runs any page's requests. `Host` must be a name this server goes by (or a page could have its own name
//! resolve to us: DNS rebinding, etcd CVE-2018-1099), and a request that says it comes from another site is refused
//! (a plain form can write, etcd CVE-2018-1098).

use crate::problem::Problem;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use std::net::{IpAddr, SocketAddr};

/// Most bytes of a header block.
const HEADER_BYTES: usize = 16 * 1024;

#[derive(Debug)]
pub(crate) struct Guard {
    local: SocketAddr,
    allowed: Vec<String>,
}

impl Guard {
    pub(crate) fn new(local: SocketAddr, allowed: &[String]) -> Self {
        Self { local, allowed: allowed.iter().map(|h| h.to_ascii_lowercase()).collect() }
    }

    pub(crate) fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
        let size: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        if size > HEADER_BYTES {
            let detail = format!("the header block has more than {HEADER_BYTES} bytes");
            return Err(Problem::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large", detail));
        }
        let host = match (uri.authority(), headers.get(header::HOST)) {
            (Some(authority), _) => authority.as_str(),
            (None, Some(host)) => host.to_str().unwrap_or_default(),
            // HTTP/1.0, and no browser.
            (None, None) => return self.same_site("", headers),
        };
        if !self.is_ours(host) {
            let detail = format!("{host:?} is no name of this server; --allow-host adds one");
            return Err(Problem::new(StatusCode::FORBIDDEN, "foreign_host", detail));
        }
        self.same_site(host, headers)
    }

    fn same_site(&self, host: &str, headers: &HeaderMap) -> Result<(), Problem> {
        let site = headers.get("sec-fetch-site").map(|v| v.to_str().unwrap_or("?"));
        let foreign_site = site.is_some_and(|s| !matches!(s, "same-origin" | "none"));
        let foreign_origin = headers.get(header::ORIGIN).is_some_and(|origin| {
            let origin = origin.to_str().unwrap_or_default();
            origin.split_once("://").is_none_or(|(_, authority)| !authority.eq_ignore_ascii_case(host))
        });
        if foreign_site || foreign_origin {
            let detail = "the request comes from a page of another site";
            return Err(Problem::new(StatusCode::FORBIDDEN, "foreign_origin", detail));
        }
        Ok(())
    }

    fn is_ours(&self, host: &str) -> bool {
        let name = match host.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => host.rsplit_once(':').map_or(host, |(name, _)| name),
        };
        let name = name.to_ascii_lowercase();
        let address = name.parse::<IpAddr>().ok();
        name == "localhost"
            || address.is_some_and(|a| a.is_loopback() || a == self.local.ip())
            // Bound to every address, any address may be ours; names still have to be allowed.
            || address.is_some() && self.local.ip().is_unspecified()
            || self.allowed.contains(&name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn verdict(pairs: &[(&'static str, &'static str)]) -> bool {
        let guard = Guard::new("10.0.0.7:8700".parse().expect("an address"), &["kv.example".into()]);
        let headers = pairs.iter().map(|&(n, v)| (header::HeaderName::from_static(n), HeaderValue::from_static(v)));
        guard.check(&Uri::from_static("/v1/kv/a"), &headers.collect()).is_ok()
    }

    #[test]
    fn names_of_ours_and_no_others() {
        for ours in ["localhost", "localhost:8700", "127.0.0.1:8700", "[::1]:8700", "10.0.0.7:8700", "KV.example:80"] {
            assert!(verdict(&[("host", ours)]), "{ours}");
        }
        for foreign in ["evil.example", "10.0.0.8:8700", "localhost.evil.example", "127.0.0.1.evil.example", ""] {
            assert!(!verdict(&[("host", foreign)]), "{foreign}");
        }
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        let ours = ("host", "127.0.0.1:8700");
        assert!(verdict(&[ours, ("origin", "http://127.0.0.1:8700"), ("sec-fetch-site", "same-origin")]));
        assert!(!verdict(&[ours, ("origin", "http://evil.example")]));
        assert!(!verdict(&[ours, ("origin", "null")]));
        assert!(!verdict(&[ours, ("origin", "http://127.0.0.1:9999")]), "another port is another origin");
        assert!(!verdict(&[ours, ("sec-fetch-site", "cross-site")]));
        assert!(!verdict(&[ours, ("sec-fetch-site", "same-site")]));
        assert!(verdict(&[ours, ("sec-fetch-site", "none")]), "typed into the address bar");
    }
}
