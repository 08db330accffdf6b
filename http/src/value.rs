//! A request's body on its way in: its bytes within the limits, and a value's media type.

use crate::code::Code;
use crate::config::{HttpConfig, TooSlow};
use crate::problem::Problem;
use axum::body::Body;
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt;
use std::error::Error;

/// The longest media type, bytes.
pub(crate) const CONTENT_TYPE_BYTES: usize = 255;

/// A value: all of a request's body.
pub(crate) async fn read_value(config: &HttpConfig, headers: &HeaderMap, body: Body) -> Result<Vec<u8>, Problem> {
    let limit = config.value_bytes;
    let too_large = || Problem::new(Code::ValueTooLarge, format!("a value has at most {limit} bytes"));
    read(limit, too_large, headers, body).await
}

/// JSON: all of a request's body.
pub(crate) async fn read_json(config: &HttpConfig, headers: &HeaderMap, body: Body) -> Result<Vec<u8>, Problem> {
    let limit = config.json_bytes;
    let too_large = || Problem::new(Code::BodyTooLarge, format!("JSON has at most {limit} bytes here"));
    read(limit, too_large, headers, body).await
}

/// One whose length is told and too long is refused before a byte of it is read (and, with `Expect: 100-continue`,
/// before a byte of it is sent).
async fn read(
    limit: usize,
    too_large: impl Fn() -> Problem,
    headers: &HeaderMap,
    mut body: Body,
) -> Result<Vec<u8>, Problem> {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok()).unwrap_or(0);
    let Some(length) = usize::try_from(length).ok().filter(|n| *n <= limit) else { return Err(too_large().closing()) };
    refuse_encodings(headers)?;
    let mut bytes = Vec::with_capacity(length);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|e| broken(&e))?.into_data() else { continue };
        if bytes.len() + data.len() > limit {
            return Err(too_large().closing());
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

/// These would change what the bytes mean, and are not kept.
fn refuse_encodings(headers: &HeaderMap) -> Result<(), Problem> {
    if headers.contains_key(header::CONTENT_RANGE) {
        return Err(Problem::bad_request("Content-Range", "a body is sent as a whole").closing());
    }
    match headers.get(header::CONTENT_ENCODING) {
        Some(coding) if coding != "identity" => {
            let detail = "not supported: send the body as it is; a value, under a Content-Type that says what it is";
            Err(Problem::bad_request("Content-Encoding", detail).closing())
        }
        _ => Ok(()),
    }
}

fn broken(e: &axum::Error) -> Problem {
    let mut cause: Option<&(dyn Error + 'static)> = Some(e);
    while let Some(e) = cause {
        if e.is::<TooSlow>() {
            let detail = "the body did not arrive in time";
            return Problem::new(Code::BodyTimeout, detail).retryable().closing();
        }
        cause = e.source();
    }
    Problem::bad_request("body", "it broke off, or is no valid chunked body").closing()
}

/// The media type to store. curl's form type says nothing about the value.
pub(crate) fn content_type(headers: &HeaderMap, value: &[u8]) -> Result<String, Problem> {
    const FIELD: &str = "Content-Type";
    let mut given = headers.get_all(header::CONTENT_TYPE).iter();
    let (first, second) = (given.next(), given.next());
    if second.is_some() {
        return Err(Problem::bad_request(FIELD, "given twice"));
    }
    let given = match first {
        None => "",
        Some(value) => value.to_str().map_err(|_| Problem::bad_request(FIELD, "not ASCII"))?.trim(),
    };
    if given.len() > CONTENT_TYPE_BYTES {
        return Err(Problem::bad_request(FIELD, format!("longer than {CONTENT_TYPE_BYTES} bytes")));
    }
    let bare = given.split(';').next().unwrap_or_default().trim();
    if !bare.is_empty() && !bare.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Ok(given.to_string());
    }
    Ok(default_type(value).into())
}

/// The media type of a value that came without.
pub(crate) fn default_type(value: &[u8]) -> &'static str {
    match std::str::from_utf8(value) {
        Ok(_) => "text/plain; charset=utf-8",
        Err(_) => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn a_form_type_is_no_type() {
        let of = |given: &str, value: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_str(given).expect("a value"));
            content_type(&headers, value)
        };
        let kept = |given: &str, value: &[u8]| of(given, value).expect("a type");
        assert_eq!(kept("application/x-www-form-urlencoded", b"x"), "text/plain; charset=utf-8");
        assert_eq!(kept("Application/X-WWW-Form-urlencoded; charset=x", b"x"), "text/plain; charset=utf-8");
        assert_eq!(kept("application/x-www-form-urlencoded", b"\xff"), "application/octet-stream");
        assert_eq!(kept(" ", b"\xff"), "application/octet-stream");
        assert_eq!(kept("image/png; a=b", b"x"), "image/png; a=b");
        assert!(of(&"x".repeat(256), b"x").is_err());
        assert_eq!(content_type(&HeaderMap::new(), b"").expect("a type"), "text/plain; charset=utf-8");
    }
}
