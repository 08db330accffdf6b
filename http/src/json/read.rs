//! A request's JSON, strictly: each field known and given once, nested no deeper than a bound.

use super::object::Object;
use crate::problem::Problem;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

/// Reads a body, whatever its `Content-Type` says.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8], depth: usize) -> Result<T, Problem> {
    if body.trim_ascii().is_empty() {
        return Err(Problem::bad_request("body", "there is none; write JSON"));
    }
    if is_deeper(body, depth) {
        return Err(Problem::bad_request("body", format!("nested deeper than {depth}")));
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let shape = serde_path_to_error::deserialize(&mut json).map_err(|e| {
        let path = e.path().to_string();
        let e = e.into_inner();
        // Where the text is no JSON, no field is to blame.
        let field = if e.is_data() { at(&path, &e.to_string()) } else { "body".into() };
        told(&e, &field)
    })?;
    json.end().map_err(|e| told(&e, "body"))?;
    Ok(shape)
}

/// The same of a body that may be left out.
pub(crate) fn parse_or_default<T: DeserializeOwned + Default>(body: &[u8], depth: usize) -> Result<T, Problem> {
    if body.trim_ascii().is_empty() { Ok(T::default()) } else { parse(body, depth).map(|Object(shape)| shape) }
}

/// The path of what is wrong. Of a field that is missing, or there twice, serde's path names the object alone.
fn at(path: &str, message: &str) -> String {
    let inside = ["missing field `", "duplicate field `"].iter().find_map(|start| message.strip_prefix(start));
    match inside.and_then(|rest| rest.split('`').next()) {
        Some(name) if path == "." => name.into(),
        Some(name) => format!("{path}.{name}"),
        None if path == "." => "body".into(),
        None => path.into(),
    }
}

fn told(e: &serde_json::Error, field: &str) -> Problem {
    let problem = match e.classify() {
        Category::Data => Problem::bad_request(field, e),
        Category::Io | Category::Syntax | Category::Eof => Problem::bad_request(field, format!("no JSON: {e}")),
    };
    problem.with("line", e.line()).with("column", e.column())
}

/// Whether it is an array, as far as its first character tells.
pub(crate) fn is_array(body: &[u8]) -> bool {
    body.trim_ascii_start().first() == Some(&b'[')
}

/// Looked at before anything is built, so that no nesting of a stranger's reaches the parser's stack.
fn is_deeper(body: &[u8], bound: usize) -> bool {
    let (mut depth, mut text, mut escaped) = (0_usize, false, false);
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if text => escaped = true,
            b'"' => text = !text,
            b'[' | b'{' if !text => depth += 1,
            b']' | b'}' if !text => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > bound {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::is_deeper;

    #[test]
    fn depth_is_that_of_brackets_outside_of_texts() {
        let nested = |n: usize| ("[".repeat(n) + &"]".repeat(n)).into_bytes();
        assert!(!is_deeper(&nested(32), 32) && is_deeper(&nested(33), 32));
        assert!(!is_deeper(&b"{}".repeat(50), 32), "beside each other");
        assert!(!is_deeper(format!("\"{}\"", "[".repeat(50)).as_bytes(), 32), "in a text");
        assert!(!is_deeper(format!("\"\\\"{}\"", "{".repeat(50)).as_bytes(), 32), "behind an escaped quote");
        assert!(is_deeper(format!("\"\\\\\"{}", "{".repeat(50)).as_bytes(), 32), "behind an escaped backslash");
    }
}
