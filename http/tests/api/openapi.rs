//! The document, held to what the server does.

use crate::client::{Client, Response, request};
use crate::fake::server;
use crate::schema::fault;
use serde_json::Value;
use std::sync::OnceLock;

/// The document, as any server sends it.
pub(crate) fn document() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(|| {
        let server = server();
        let mut client = Client::connect(&server);
        client.send(&request("GET", "/openapi.json", &[], b""));
        client.answer("GET").json()
    })
}

/// What the document says of a request.
fn operation(method: &str, path: &str) -> Option<&'static Value> {
    let path = path.split('?').next().expect("a path");
    let method = if method == "HEAD" { "get".into() } else { method.to_ascii_lowercase() };
    let paths = document()["paths"].as_object().expect("paths");
    let found = match path.starts_with("/v1/kv/") {
        true => paths.get("/v1/kv/{key}"),
        // What is written out comes before what stands for anything.
        false => paths.get(path).or_else(|| Some(paths.iter().find(|(template, _)| fits(template, path))?.1)),
    };
    found?.get(method)
}

/// Whether a path is one of a template's, segment by segment.
fn fits(template: &str, path: &str) -> bool {
    let (mut template, mut path) = (template.split('/'), path.split('/'));
    loop {
        match (template.next(), path.next()) {
            (None, None) => return true,
            (Some(part), Some(given)) if part == given || part.starts_with('{') => {}
            _ => return false,
        }
    }
}

/// A path of a template's.
fn example(template: &str) -> String {
    template.replace("{key}", "a").replace("{name}", "a").replace("{session}", "1").replace("{watch}", "1")
}

/// Every answer that any test of this crate gets is one that the document tells of.
pub(crate) fn is_documented(method: &str, path: &str, response: &Response) {
    // The files of the dashboard's page are no part of the API.
    if path.starts_with("/ui/") && response.status < 400 {
        return;
    }
    let Some(operation) = operation(method, path) else {
        let refused = response.status == 404 || response.status == 405 || response.status == 403;
        assert!(refused, "{method} {path} answers {} and is not in the document", response.status);
        return;
    };
    let status = response.status.to_string();
    let answer = operation["responses"].get(&status);
    let answer = answer.unwrap_or_else(|| panic!("{method} {path}: {status} is not in the document"));
    let Some(kind) = response.header("content-type") else {
        assert_eq!(response.body, b"", "{method} {path}: {status} without a type");
        return;
    };
    let bare = kind.split(';').next().expect("a type");
    let content = &answer["content"];
    // An error that hyper answers by itself has no body; every other one is a problem.
    let told = content.get(bare).or_else(|| content.get("*/*").filter(|_| response.status < 300));
    let told = told.unwrap_or_else(|| panic!("{method} {path}: {status} with {kind} is not in the document"));
    for name in [
        "etag",
        "link",
        "location",
        "copycat-wait",
        "copycat-consistency",
        "copycat-event-index",
        "copycat-index",
        "copycat-term",
    ] {
        let headers = answer["headers"].as_object().expect("headers");
        let is_told = headers.keys().any(|told| told.eq_ignore_ascii_case(name));
        let given = response.header(name).is_some();
        assert!(
            !given || is_told || response.status >= 400,
            "{method} {path}: {status} with {name} is not in the document"
        );
    }
    // A stored value may be any JSON.
    let stored = path.starts_with("/v1/kv/") || path.starts_with("/v1/kv?key=");
    if ["application/json", "application/problem+json"].contains(&bare)
        && !response.body.is_empty()
        && (!stored || response.status >= 400)
    {
        let fault = fault(&told["schema"], &response.json());
        assert_eq!(fault, None, "{method} {path}: {status}");
    }
    if bare == "application/problem+json" && !response.body.is_empty() {
        let codes = &told["schema"]["allOf"][1]["properties"]["code"]["enum"];
        let code = &response.json()["code"];
        assert!(
            codes.as_array().expect("codes").contains(code),
            "{method} {path}: {status} {code} is not in the document"
        );
    }
}

#[test]
fn its_methods_are_taken_and_no_others() {
    let server = server();
    for (path, methods) in document()["paths"].as_object().expect("paths") {
        let path = example(path);
        for method in ["GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "TRACE"] {
            let answer = server.call(method, &path, &[], b"");
            let told = methods.get(method.to_ascii_lowercase()).is_some();
            assert_eq!(answer.status != 405, told, "{method} {path}: {}", answer.status);
            assert_ne!(answer.json_code(), Some("no_such_endpoint".into()), "{path}");
        }
    }
}

#[test]
fn its_parameters_are_taken_and_no_others() {
    let server = server();
    for (path, methods) in document()["paths"].as_object().expect("paths") {
        let path = example(path);
        for (method, operation) in methods.as_object().expect("operations") {
            let method = method.to_ascii_uppercase();
            let told = operation["parameters"].as_array().cloned().unwrap_or_default();
            let told: Vec<_> = told.iter().filter(|p| p["in"] == "query").collect();
            for parameter in &told {
                let name = parameter["name"].as_str().expect("a name");
                assert_ne!(parameter["description"], "", "{name} of {method} {path} is not explained");
                let answer = server.call(&method, &format!("{path}?{name}=%01"), &[], b"");
                let text = String::from_utf8_lossy(&answer.body).into_owned();
                assert!(!text.contains("no such parameter"), "{method} {path}?{name}: {text}");
            }
            // The pages for people and probes ignore what they do not know.
            if path.starts_with("/v1") {
                server.call(&method, &format!("{path}?nonsense=1"), &[], b"").bad("nonsense");
            }
        }
    }
}

/// Every `$ref` leads somewhere, and every shape is used.
#[test]
fn its_references_hold() {
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(map) => {
                found.extend(map.get("$ref").and_then(Value::as_str));
                map.values().for_each(|value| references(value, found));
            }
            Value::Array(list) => list.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    references(document(), &mut found);
    for reference in &found {
        let pointer = reference.strip_prefix('#').expect("within the document");
        assert!(document().pointer(pointer).is_some(), "{reference}");
    }
    for kind in ["schemas", "headers"] {
        for name in document()["components"][kind].as_object().expect("named").keys() {
            assert!(found.contains(&format!("#/components/{kind}/{name}").as_str()), "nothing uses {name}");
        }
    }
}

impl Response {
    fn json_code(&self) -> Option<String> {
        let json: Value = serde_json::from_slice(&self.body).ok()?;
        Some(json["code"].as_str()?.to_string())
    }
}

#[test]
fn it_is_json_for_any_tool() {
    let answer = server().get("/openapi.json");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    assert_eq!(answer.json()["openapi"], "3.1.0");
    let ids = document()["paths"].as_object().expect("paths").values().flat_map(|methods| {
        methods.as_object().expect("operations").values().map(|o| o["operationId"].as_str().expect("an id"))
    });
    let ids: Vec<_> = ids.collect();
    let mut unique = ids.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), ids.len(), "{ids:?}");
}
