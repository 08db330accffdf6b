//! `/openapi.json`: the API as programs read it.
//!
//! The schemas are derived from the shapes themselves, the parameters are the lists that the routes check against, and
//! the errors are those of [`Code`]: what can drift is little, and tests hold it to what the server does.

mod errors;
mod operations;
mod parameters;
mod shapes;

use crate::code::Code;
use operations::Operation;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// The document, as it is sent.
pub(crate) fn text() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| format!("{:#}\n", document()));
    &TEXT
}

const ABOUT: &str = "\
Any server takes any request. A key is 1 to 4096 bytes; its version is the index of its last change and is never used \
twice. Durations are text: `1500ms`, `30s`, `5m`. Bytes in JSON are text, or base64 with `\"encoding\": \"base64\"` (of a \
key, `key_encoding`) beside them. A JSON body is read as JSON whatever its `Content-Type`; unknown and repeated fields \
are refused. Unknown and repeated query parameters are refused too. Names of locks, 1 to 255 bytes, are written as keys \
are. A command may be one of a session: it then has `Copycat-Event-Index`, the session's last event before it, in its \
answer. One that is sent again with the same `Copycat-Sequence`, or the same `Idempotency-Key`, is carried out once, and \
gets the first answer again. A request with the header `Request-Id` gets it back. \
A HEAD request is answered as a GET without its body.";

fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for operation in operations::all() {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method] = described(&operation);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Copycat",
            "description": ABOUT,
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "components": { "schemas": shapes::all(), "headers": parameters::answer_headers() },
    })
}

fn described(operation: &Operation) -> Value {
    let id = operation.id;
    let mut parameters: Vec<Value> = operation.query.iter().map(|name| parameters::query(name, id)).collect();
    parameters.extend(operation.headers.iter().map(|name| parameters::header(name, id)));
    let segments = operation.path.split('/').rev();
    for name in segments.filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}')) {
        parameters.insert(0, parameters::path(name));
    }
    let mut described =
        json!({ "operationId": id, "summary": operation.summary, "description": operation.description });
    if !parameters.is_empty() {
        described["parameters"] = parameters.into();
    }
    if let Some((media, schema)) = &operation.body {
        described["requestBody"] = json!({ "required": !operation.bare, "content": { *media: { "schema": schema } } });
    }
    described["responses"] = answers(operation);
    described
}

fn answers(operation: &Operation) -> Value {
    let mut answers = BTreeMap::new();
    for (status, description, content) in &operation.answers {
        let content: Map<String, Value> =
            content.iter().map(|(media, schema)| (media.to_string(), json!({ "schema": schema }))).collect();
        let headers = parameters::headers_of(*status, operation.stamped);
        let mut answer = json!({ "description": description, "headers": headers });
        if !content.is_empty() {
            answer["content"] = content.into();
        }
        answers.insert(*status, answer);
    }
    let mut codes: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in operation.codes.iter().copied().flatten() {
        let of_status = codes.entry(code.status().as_u16()).or_default();
        if !of_status.contains(code) {
            of_status.push(*code);
        }
    }
    answers.extend(codes.iter().map(|(status, codes)| (*status, errors::answer(*status, codes))));
    answers.into_iter().map(|(status, answer)| (status.to_string(), answer)).collect::<Map<_, _>>().into()
}

#[cfg(test)]
pub(crate) fn paths() -> Vec<String> {
    document()["paths"].as_object().expect("paths").keys().cloned().collect()
}
