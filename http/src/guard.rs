//! Before any request is looked at: is it meant for this server, and does it come from a page of ours?
//!
//! A browser runs any page's requests. `Host` must be a name this server goes by (or a page could have its own name
//! resolve to us: DNS rebinding, etcd CVE-2018-1099), and a request that says it comes from another site is refused
//! (a plain form can write, etcd CVE-2018-1098).

use crate::code::Code;
use crate::problem::Problem;
use axum::http::{HeaderMap, Method, Uri, Version, header};
use std::net::IpAddr;

#[derive(Debug)]
pub(crate) struct Guard {
    /// Where the server listens.
    local: IpAddr,
    /// Further names.
    allowed: Vec<String>,
    /// Most bytes of a header block.
    header_bytes: usize,
}

impl Guard {
    /// A port in an allowed name says nothing: names are compared without.
    pub(crate) fn new(local: IpAddr, allowed: &[String], header_bytes: usize) -> Self {
        Self { local, allowed: allowed.iter().map(|h| bare(h).to_ascii_lowercase()).collect(), header_bytes }
    }

    pub(crate) fn check(
        &self,
        method: &Method,
        uri: &Uri,
        version: Version,
        headers: &HeaderMap,
    ) -> Result<(), Problem> {
        let size: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        if size > self.header_bytes {
            let detail = format!("the header block has more than {} bytes", self.header_bytes);
            return Err(Problem::new(Code::HeadersTooLarge, detail).closing());
        }
        let host = named(uri, version, headers)?;
        if !host.is_none_or(|host| self.is_ours(host)) {
            let detail = format!("{:?} is no name of this server; --allow-host adds one", host.unwrap_or_default());
            return Err(Problem::new(Code::ForeignHost, detail));
        }
        // The pages and the probes hold no secrets, and other sites may link to them.
        let api = uri.path().starts_with("/v1");
        if (api || !method.is_safe()) && is_foreign(host.unwrap_or_default(), headers) {
            let detail = "the request comes from a page of another site";
            return Err(Problem::new(Code::ForeignOrigin, detail));
        }
        Ok(())
    }

    fn is_ours(&self, host: &str) -> bool {
        let name = bare(host);
        let address = name.trim_matches(['[', ']']).parse::<IpAddr>().ok().map(|a| a.to_canonical());
        match address {
            // Bound to every address, any address may be ours. A number is no name that could be rebound.
            Some(address) if address.is_loopback() || address == self.local || self.local.is_unspecified() => true,
            _ => name.eq_ignore_ascii_case("localhost") || self.allowed.iter().any(|a| name.eq_ignore_ascii_case(a)),
        }
    }
}

/// Which host a request names. `None`: HTTP/1.0, where it need not; no browser speaks that.
fn named<'a>(uri: &'a Uri, version: Version, headers: &'a HeaderMap) -> Result<Option<&'a str>, Problem> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (_, Some(_)) => return Err(Problem::bad_request("Host", "given twice")),
        (None, None) if version >= Version::HTTP_11 => return Err(Problem::bad_request("Host", "missing")),
        (host, None) => host.map(|host| host.to_str().unwrap_or_default()),
    };
    // A URL in the request line outranks the header (RFC 9112, 3.2.2).
    Ok(uri.authority().map(axum::http::uri::Authority::as_str).or(host))
}

/// A host without its port, an IPv6 address with its brackets.
fn bare(host: &str) -> &str {
    match host.find(']') {
        Some(end) => {
            let (address, rest) = host.split_at(end + 1);
            if rest.is_empty() || rest.starts_with(':') { address } else { host }
        }
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    }
}

fn is_foreign(host: &str, headers: &HeaderMap) -> bool {
    // `same-site` is another port or subdomain: foreign. `none` is the address bar.
    let site = headers.get("sec-fetch-site").map(|v| v.to_str().unwrap_or("?"));
    if site.is_some_and(|site| !matches!(site, "same-origin" | "none")) {
        return true;
    }
    headers.get_all(header::ORIGIN).iter().any(|origin| {
        let (scheme, authority) = origin.to_str().ok().and_then(|o| o.split_once("://")).unwrap_or_default();
        let port = match scheme {
            "http" => ":80",
            "https" => ":443",
            _ => return true,
        };
        let short = |authority: &'_ str| authority.strip_suffix(port).unwrap_or(authority).to_ascii_lowercase();
        short(authority) != short(host)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn on(uri: &'static str, pairs: &[(&'static str, &str)]) -> Result<(), Problem> {
        let guard = Guard::new("10.0.0.7".parse().expect("an address"), &["kv.example:8700".into()], 1000);
        let mut headers = HeaderMap::new();
        for &(name, value) in pairs {
            headers.append(name, HeaderValue::from_str(value).expect("a value"));
        }
        guard.check(&Method::GET, &Uri::from_static(uri), Version::HTTP_11, &headers)
    }

    fn passes(pairs: &[(&'static str, &str)]) -> bool {
        on("/v1/kv/a", pairs).is_ok()
    }

    #[test]
    fn names_of_ours_and_no_others() {
        for ours in [
            "localhost",
            "LocalHost:8700",
            "127.0.0.1:8700",
            "127.9.9.9",
            "[::1]:8700",
            "[::1]",
            "[::ffff:127.0.0.1]:1",
            "10.0.0.7:8700",
            "KV.example:80",
        ] {
            assert!(passes(&[("host", ours)]), "{ours}");
        }
        for foreign in [
            "evil.example",
            "10.0.0.8:8700",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "[::1]evil.example",
            "localhost@evil.example",
            "evil.example:localhost",
            "",
        ] {
            assert!(!passes(&[("host", foreign)]), "{foreign}");
        }
        assert!(!passes(&[]), "HTTP/1.1 names a host");
        assert!(!passes(&[("host", "localhost"), ("host", "localhost")]));
        assert!(on("http://evil.example/v1/kv/a", &[("host", "localhost")]).is_err(), "the URL outranks the header");
        let everywhere = Guard::new("0.0.0.0".parse().expect("an address"), &[], 1000);
        assert!(everywhere.is_ours("192.168.1.5:8700") && !everywhere.is_ours("evil.example"));
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        let ours = ("host", "127.0.0.1:8700");
        assert!(passes(&[ours, ("origin", "http://127.0.0.1:8700"), ("sec-fetch-site", "same-origin")]));
        assert!(passes(&[("host", "kv.example"), ("origin", "https://KV.example:443")]), "behind a proxy");
        assert!(!passes(&[ours, ("origin", "http://evil.example")]));
        assert!(!passes(&[ours, ("origin", "null")]));
        assert!(!passes(&[ours, ("origin", "")]));
        assert!(!passes(&[ours, ("origin", "http://127.0.0.1:9999")]), "another port is another origin");
        assert!(!passes(&[ours, ("sec-fetch-site", "cross-site")]));
        assert!(!passes(&[ours, ("sec-fetch-site", "same-site")]));
        assert!(passes(&[ours, ("sec-fetch-site", "none")]), "typed into the address bar");
        assert!(on("/", &[ours, ("sec-fetch-site", "cross-site")]).is_ok(), "a link to the page");
    }

    #[test]
    fn long_headers_are_refused() {
        let long = "x".repeat(1000);
        assert!(!passes(&[("host", "localhost"), ("x", &long)]));
    }
}
