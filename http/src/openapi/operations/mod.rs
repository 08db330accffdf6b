//! The operations: what each takes, and what it answers.

mod keys;
mod locks;
mod posted;
mod sessions;
mod views;

use super::errors::{API, PLAIN};
use crate::code::Code;
use serde_json::{Value, json};

const JSON: &str = "application/json";
const TEXT: &str = "text/plain";
const HTML: &str = "text/html";
const ANY: &str = "*/*";
const LINES: &str = "application/x-ndjson";

const STREAM: &str = "text/event-stream";

/// The headers of a command, and of its answer; those of a read's.
const COMMAND: &[&str] = &["Copycat-Session", "Copycat-Sequence", "Idempotency-Key"];
const OF_COMMAND: &[&str] = &["Copycat-Index", "Copycat-Term", "Copycat-Event-Index"];
const OF_READ: &[&str] = &["Copycat-Index", "Copycat-Term", "Copycat-Consistency"];

/// Schemas by media type.
type Content = Vec<(&'static str, Value)>;

/// One method of one path.
pub(super) struct Operation {
    pub(super) path: &'static str,
    pub(super) method: &'static str,
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    pub(super) description: &'static str,
    /// The very list that the route checks against.
    pub(super) query: &'static [&'static str],
    pub(super) headers: &'static [&'static str],
    pub(super) body: Option<(&'static str, Value)>,
    /// It may be left out.
    pub(super) bare: bool,
    /// The answers that are no errors: status, meaning, and what they hold.
    pub(super) answers: Vec<(u16, &'static str, Content)>,
    /// The headers of those.
    pub(super) stamped: &'static [&'static str],
    pub(super) codes: Vec<&'static [Code]>,
}

impl Operation {
    fn new(method: &'static str, path: &'static str, id: &'static str, summary: &'static str) -> Self {
        let mut codes = vec![PLAIN];
        if path.starts_with("/v1") {
            codes.push(API);
        }
        Self {
            path,
            method,
            id,
            summary,
            description: "",
            query: &[],
            headers: &[],
            body: None,
            bare: false,
            answers: Vec::new(),
            stamped: &[],
            codes,
        }
    }

    fn about(mut self, description: &'static str) -> Self {
        self.description = description;
        self
    }

    fn takes(mut self, query: &'static [&'static str], headers: &'static [&'static str]) -> Self {
        (self.query, self.headers) = (query, headers);
        self
    }

    fn body(mut self, media: &'static str, schema: Value) -> Self {
        self.body = Some((media, schema));
        self
    }

    fn maybe(mut self, media: &'static str, schema: Value) -> Self {
        (self.body, self.bare) = (Some((media, schema)), true);
        self
    }

    fn answers(mut self, status: u16, description: &'static str, content: Content) -> Self {
        self.answers.push((status, description, content));
        self
    }

    fn stamped(mut self, headers: &'static [&'static str]) -> Self {
        self.stamped = headers;
        self
    }

    fn fails(mut self, codes: &[&'static [Code]]) -> Self {
        self.codes.extend_from_slice(codes);
        self
    }
}

fn shape(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn bytes() -> Value {
    json!({ "type": "string", "format": "binary" })
}

fn text() -> Value {
    json!({ "type": "string" })
}

/// A stored value may be JSON itself.
fn or_any(mut shapes: Vec<Value>) -> Value {
    shapes.push(json!({ "description": "A value that was stored as JSON." }));
    json!({ "anyOf": shapes })
}

pub(super) fn all() -> Vec<Operation> {
    let mut all = keys::one_key();
    all.extend(keys::keys());
    all.extend(posted::all());
    all.extend(sessions::all());
    all.extend(locks::all());
    all.extend(views::all());
    all.extend(views::pages());
    all
}
