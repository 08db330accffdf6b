//! `docs/api.md` is the document, rendered. `COPYCAT_UPDATE=1 cargo test -p copycat-http --test api docs` writes it.

use crate::openapi::document;
use serde_json::Value;
use std::fmt::Write;
use std::path::Path;

const START: &str = "\
# The HTTP API

This page is made from `/openapi.json`, which every server sends; a test keeps it so. To change it, change the code, then
`COPYCAT_UPDATE=1 cargo test -p copycat-http --test api docs`.

";

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or("")
}

fn object(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// One line, fit for a table.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

/// A type in a word or two.
fn kind(schema: &Value) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().expect("a name");
        return format!("[{name}](#{})", name.to_ascii_lowercase());
    }
    for several in ["oneOf", "anyOf", "allOf"] {
        if let Some(all) = schema[several].as_array() {
            let between = if several == "allOf" { " and " } else { " or " };
            return all.iter().map(kind).collect::<Vec<_>>().join(between);
        }
    }
    if let Some(values) = schema["enum"].as_array() {
        return values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(" or ");
    }
    let range = match (schema["minimum"].as_u64(), schema["maximum"].as_u64()) {
        (Some(least), Some(most)) if most < u64::MAX => format!(", {least} to {most}"),
        _ => String::new(),
    };
    match &schema["type"] {
        Value::String(name) if name == "array" => format!("list of {}", kind(&schema["items"])),
        Value::String(name) if name == "object" && schema["properties"].is_object() => {
            let fields = object(&schema["properties"]).map(|(name, field)| format!("`{name}`: {}", kind(field)));
            format!("{{ {} }}", fields.collect::<Vec<_>>().join(", "))
        }
        Value::String(name) if text(schema, "format") == "binary" => format!("{name} of any bytes"),
        Value::String(name) => format!("{name}{range}"),
        Value::Array(names) => {
            let names = names.iter().filter_map(Value::as_str).collect::<Vec<_>>();
            format!("{}{range}", names.join(" or "))
        }
        _ => "anything".into(),
    }
}

fn operation(page: &mut String, method: &str, path: &str, operation: &Value) -> std::fmt::Result {
    writeln!(page, "## `{} {path}`\n\n{}.", method.to_ascii_uppercase(), text(operation, "summary"))?;
    if !text(operation, "description").is_empty() {
        writeln!(page, "\n{}", text(operation, "description"))?;
    }
    let parameters = list(&operation["parameters"]);
    if !parameters.is_empty() {
        writeln!(page, "\n| parameter | in | type | |\n|---|---|---|---|")?;
    }
    for parameter in parameters {
        let (name, place) = (text(parameter, "name"), text(parameter, "in"));
        let (kind, about) = (kind(&parameter["schema"]), text(parameter, "description"));
        writeln!(page, "| `{name}` | {place} | {} | {} |", cell(&kind), cell(about))?;
    }
    for (media, body) in object(&operation["requestBody"]["content"]) {
        let optional = if operation["requestBody"]["required"] == true { "" } else { ", optional" };
        writeln!(page, "\nBody{optional}: `{media}`: {}", kind(&body["schema"]))?;
    }
    writeln!(page, "\n| status | answer | |\n|---|---|---|")?;
    for (status, answer) in object(&operation["responses"]) {
        let content = object(&answer["content"]).map(|(media, body)| match media.as_str() {
            "application/problem+json" => "[Problem](#problem)".into(),
            media => format!("`{media}`: {}", kind(&body["schema"])),
        });
        let content = content.collect::<Vec<_>>().join("; ");
        writeln!(page, "| {status} | {} | {} |", cell(&content), cell(text(answer, "description")))?;
    }
    let told = object(&operation["responses"]).filter(|(status, _)| status.as_str() < "300");
    let headers: Vec<_> = told.take(1).flat_map(|(_, answer)| object(&answer["headers"])).collect();
    let headers: Vec<_> = headers.iter().map(|(name, _)| format!("`{name}`")).collect();
    writeln!(page, "\nHeaders: {}.\n", headers.join(", "))
}

fn schema(page: &mut String, name: &str, schema: &Value) -> std::fmt::Result {
    writeln!(page, "### {name}\n")?;
    if !text(schema, "description").is_empty() {
        writeln!(page, "{}\n", cell(text(schema, "description")).replace("\\|", "|"))?;
    }
    for several in ["oneOf", "anyOf"] {
        for one in list(&schema[several]) {
            writeln!(page, "- {}{}", kind(one), about(one))?;
        }
        if schema[several].is_array() {
            writeln!(page)?;
        }
    }
    if schema["enum"].is_array() {
        writeln!(page, "{}\n", kind(schema))?;
    }
    if schema["properties"].is_object() {
        writeln!(page, "| field | type | |\n|---|---|---|")?;
        for (field, of) in object(&schema["properties"]) {
            let optional = if list(&schema["required"]).iter().any(|r| r == field) { "" } else { ", optional" };
            writeln!(page, "| `{field}` | {}{optional} | {} |", cell(&kind(of)), cell(text(of, "description")))?;
        }
        writeln!(page)?;
    }
    Ok(())
}

fn about(schema: &Value) -> String {
    match text(schema, "description") {
        "" => String::new(),
        about => format!(": {}", cell(about).replace("\\|", "|")),
    }
}

fn render(document: &Value) -> Result<String, std::fmt::Error> {
    let mut page = START.to_string();
    writeln!(page, "{}\n", text(&document["info"], "description"))?;
    for (path, methods) in object(&document["paths"]) {
        for (method, of) in object(methods) {
            operation(&mut page, method, path, of)?;
        }
    }
    writeln!(page, "# Headers of answers\n\n| header | |\n|---|---|")?;
    for (name, header) in object(&document["components"]["headers"]) {
        writeln!(page, "| `{name}` | {} |", cell(text(header, "description")))?;
    }
    writeln!(page, "\n# Shapes\n")?;
    for (name, of) in object(&document["components"]["schemas"]) {
        schema(&mut page, name, of)?;
    }
    Ok(page.trim_end().to_string() + "\n")
}

#[test]
fn docs_are_the_document_rendered() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/api.md");
    let page = render(document()).expect("a text");
    if std::env::var_os("COPYCAT_UPDATE").is_some() {
        std::fs::write(&path, &page).expect("it can be written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page, "docs/api.md is stale: COPYCAT_UPDATE=1 cargo test -p copycat-http --test api docs");
}
