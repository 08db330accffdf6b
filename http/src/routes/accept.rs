//! What kind of answer a caller names.

use axum::http::{HeaderMap, header};

/// Whether the caller names this type; whoever takes anything gets the usual one.
pub(super) fn names(headers: &HeaderMap, kind: &str) -> bool {
    let ranges = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    ranges.flat_map(|ranges| ranges.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(kind));
        let refused = |q: &str| q.trim_start_matches(['0', '.']).is_empty();
        named && !parts.any(|part| part.strip_prefix("q=").is_some_and(refused))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn only_who_names_it_gets_it() {
        const KIND: &str = "application/x-ndjson";
        let wants = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_str(accept).expect("a value"));
            names(&headers, KIND)
        };
        for yes in [KIND, "application/json;q=0.5, Application/X-NDJSON; q=0.9", "application/x-ndjson;q=0.1"] {
            assert!(wants(yes), "{yes}");
        }
        for no in ["*/*", "application/*", "application/json", "application/x-ndjson;q=0", "application/x-ndjson;q=0.0"]
        {
            assert!(!wants(no), "{no}");
        }
        assert!(!names(&HeaderMap::new(), KIND));
    }
}
