//! JSON, held to the schemas of the document: as much of JSON Schema as they use.

use crate::openapi::document;
use serde_json::{Map, Value};

/// What of this does not fit.
pub(crate) fn fault(schema: &Value, value: &Value) -> Option<String> {
    let fault = broken(schema, value);
    fault.or_else(|| unknown(schema, value))
}

fn resolved<'a>(schema: &'a Value) -> &'a Value
where
    'static: 'a,
{
    match schema["$ref"].as_str() {
        Some(reference) => document().pointer(&reference[1..]).expect("it leads somewhere"),
        None => schema,
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn is(value: &Value, kind: &str) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("the document has {other}"),
    }
}

/// What is wrong with what is there, and what is missing.
fn broken(schema: &Value, value: &Value) -> Option<String> {
    let schema = resolved(schema);
    let kinds: Vec<_> = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        kind => kind.as_str().into_iter().collect(),
    };
    if !kinds.is_empty() && !kinds.iter().any(|kind| is(value, kind)) {
        return Some(format!("{value} is no {kinds:?}"));
    }
    if schema["enum"].is_array() && !list(&schema["enum"]).contains(value) {
        return Some(format!("{value} is none of {}", schema["enum"]));
    }
    if schema.get("const").is_some_and(|only| only != value) {
        return Some(format!("{value} is not {}", schema["const"]));
    }
    if let Some(fault) = list(&schema["allOf"]).iter().find_map(|part| broken(part, value)) {
        return Some(fault);
    }
    for several in ["oneOf", "anyOf"] {
        let all = list(&schema[several]);
        if !all.is_empty() && !all.iter().any(|one| fault(one, value).is_none()) {
            let faults: Vec<_> = all.iter().filter_map(|one| fault(one, value)).collect();
            return Some(format!("none fits: {}", faults.join("; ")));
        }
    }
    if let Some(items) = schema.get("items") {
        return list(value).iter().find_map(|item| fault(items, item));
    }
    let object = value.as_object()?;
    let required = list(&schema["required"]).iter().filter_map(Value::as_str);
    if let Some(name) = required.clone().find(|name| !object.contains_key(*name)) {
        return Some(format!("{name} is missing in {value}"));
    }
    let fields = schema["properties"].as_object().into_iter().flatten();
    let mut given = fields.filter_map(|(name, of)| Some((name, of, object.get(name)?)));
    given.find_map(|(name, of, value)| Some(format!("{name}: {}", fault(of, value)?)))
}

/// The fields that a schema knows; `None`: any.
fn known(schema: &Value) -> Option<Vec<&str>> {
    let schema = resolved(schema);
    let own = schema["properties"].as_object().map(Map::keys).into_iter().flatten().map(String::as_str);
    let mut names: Vec<_> = own.collect();
    for part in list(&schema["allOf"]) {
        names.extend(known(part)?);
    }
    let free = ["oneOf", "anyOf"].iter().any(|several| schema[several].is_array()) || names.is_empty();
    (!free).then_some(names)
}

fn unknown(schema: &Value, value: &Value) -> Option<String> {
    let (known, object) = (known(schema)?, value.as_object()?);
    let name = object.keys().find(|name| !known.contains(&name.as_str()))?;
    Some(format!("{name} is not told of"))
}

#[test]
fn what_does_not_fit_is_found() {
    let schema = |name: &str| serde_json::json!({ "$ref": format!("#/components/schemas/{name}") });
    let fits = |name: &str, value: Value| fault(&schema(name), &value).is_none();
    let ended = |value: Value| fits("Ended", value);
    assert!(ended(serde_json::json!({"session": 1, "index": 2})));
    assert!(!ended(serde_json::json!({"session": 1})), "missing");
    assert!(!ended(serde_json::json!({"session": "1", "index": 2})), "another type");
    assert!(!ended(serde_json::json!({"session": 1, "index": 2, "x": 3})), "unknown");
    let event = serde_json::json!({"type": "lock_lost", "lock": "l", "token": 1});
    assert!(fits("Event", event.clone()));
    let mut odd = event;
    odd["type"] = "lock_found".into();
    assert!(!fits("Event", odd));
}
