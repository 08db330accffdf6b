//! Headers of keys: ETags, conditions, media types.

use crate::backend::Condition;
use crate::problem::Problem;
use axum::http::{HeaderMap, HeaderValue, header};

/// The ETag of a version.
pub(crate) fn etag(version: u64) -> HeaderValue {
    HeaderValue::try_from(format!("\"{version}\"")).unwrap_or_else(|_| HeaderValue::from_static("\"0\""))
}

/// All values of a header as one list, as RFC 9110 (5.3) has it.
fn joined(headers: &HeaderMap, name: header::HeaderName) -> Result<Option<String>, Problem> {
    let mut values = Vec::new();
    for value in headers.get_all(&name) {
        values.push(value.to_str().map_err(|_| Problem::bad_request(name.as_str(), "not ASCII"))?);
    }
    Ok((!values.is_empty()).then(|| values.join(",")))
}

/// The versions in a list of ETags; weak ones and those that are not ours never match a version.
fn versions(field: &str, list: &str, weak: bool) -> Result<Vec<u64>, Problem> {
    let mut versions = Vec::new();
    for tag in list.split(',').map(str::trim).filter(|t| !t.is_empty()) {
        let (is_weak, opaque) = tag.strip_prefix("W/").map_or((false, tag), |rest| (true, rest));
        let quoted = opaque.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        let Some(text) = quoted else {
            return Err(Problem::bad_request(field, format!("{tag} is no ETag: write it in double quotes, as \"17\"")));
        };
        if let Ok(version) = text.parse()
            && (weak || !is_weak)
        {
            versions.push(version);
        }
    }
    Ok(versions)
}

/// What a write requires: `If-Match` and `If-None-Match: *`.
pub(crate) fn write_condition(headers: &HeaderMap) -> Result<Condition, Problem> {
    let must = joined(headers, header::IF_MATCH)?;
    let must_not = joined(headers, header::IF_NONE_MATCH)?;
    match (must.as_deref().map(str::trim), must_not.as_deref().map(str::trim)) {
        (None, None) => Ok(Condition::Always),
        (Some("*"), None) => Ok(Condition::Exists),
        (Some(list), None) => Ok(Condition::Versions(versions("If-Match", list, false)?)),
        (None, Some("*")) => Ok(Condition::Absent),
        (None, Some(_)) => Err(Problem::bad_request("If-None-Match", "a write takes only *")),
        (Some(_), Some(_)) => Err(Problem::bad_request("If-Match", "not together with If-None-Match")),
    }
}

/// Whether a read's `If-None-Match` says that the caller has this version.
pub(crate) fn not_modified(headers: &HeaderMap, version: u64) -> Result<bool, Problem> {
    match joined(headers, header::IF_NONE_MATCH)? {
        None => Ok(false),
        Some(list) if list.trim() == "*" => Ok(true),
        Some(list) => Ok(versions("If-None-Match", &list, true)?.contains(&version)),
    }
}

/// The media type to store. curl's form type says nothing about the value.
pub(crate) fn content_type(headers: &HeaderMap, value: &[u8]) -> Result<String, Problem> {
    let given = match headers.get(header::CONTENT_TYPE) {
        None => "",
        Some(value) => value.to_str().map_err(|_| Problem::bad_request("Content-Type", "not ASCII"))?.trim(),
    };
    if given.len() > 255 {
        return Err(Problem::bad_request("Content-Type", "longer than 255 bytes"));
    }
    let bare = given.split(';').next().unwrap_or_default().trim();
    if !bare.is_empty() && !bare.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Ok(given.to_string());
    }
    Ok(match std::str::from_utf8(value) {
        Ok(_) => "text/plain; charset=utf-8".into(),
        Err(_) => "application/octet-stream".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(header::HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (n.clone(), HeaderValue::from_str(v).expect("a value"))).collect()
    }

    #[test]
    fn conditions_follow_the_rfc() {
        let of = |pairs: &[(header::HeaderName, &str)]| write_condition(&headers(pairs)).ok();
        assert_eq!(of(&[]), Some(Condition::Always));
        assert_eq!(of(&[(header::IF_MATCH, "*")]), Some(Condition::Exists));
        assert_eq!(of(&[(header::IF_NONE_MATCH, "*")]), Some(Condition::Absent));
        assert_eq!(of(&[(header::IF_MATCH, "\"17\", \"18\"")]), Some(Condition::Versions(vec![17, 18])));
        assert_eq!(of(&[(header::IF_MATCH, "W/\"17\"")]), Some(Condition::Versions(vec![])), "weak never matches");
        assert_eq!(of(&[(header::IF_MATCH, "\"abc\"")]), Some(Condition::Versions(vec![])), "not one of ours");
        assert_eq!(of(&[(header::IF_MATCH, "17")]), None);
        assert_eq!(of(&[(header::IF_NONE_MATCH, "\"17\"")]), None);
        assert_eq!(of(&[(header::IF_MATCH, "*"), (header::IF_NONE_MATCH, "*")]), None);
    }

    #[test]
    fn a_form_type_is_no_type() {
        let of = |given: &str, value: &[u8]| {
            content_type(&headers(&[(header::CONTENT_TYPE, given)]), value).expect("a type")
        };
        assert_eq!(of("application/x-www-form-urlencoded", b"x"), "text/plain; charset=utf-8");
        assert_eq!(of("application/x-www-form-urlencoded", b"\xff"), "application/octet-stream");
        assert_eq!(of("image/png", b"x"), "image/png");
        assert_eq!(content_type(&HeaderMap::new(), b"").expect("a type"), "text/plain; charset=utf-8");
    }
}
