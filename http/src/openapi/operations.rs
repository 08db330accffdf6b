//! The operations: what each takes, and what it answers.

use super::errors::{
    API, BACKEND, BY_PATH, CONDITIONAL, JSON_BODY, MISSING, OPERATIONS, PLAIN, RAW_BODY, READ, READY, TIMED,
};
use crate::code::Code;
use crate::routes::{commands, health, kv, log, queries};
use serde_json::{Value, json};

const JSON: &str = "application/json";
const TEXT: &str = "text/plain";
const ANY: &str = "*/*";
const LINES: &str = "application/x-ndjson";

const OF_COMMAND: &[&str] = &["Copycat-Index", "Copycat-Term"];
const OF_READ: &[&str] = &["Copycat-Index", "Copycat-Term", "Copycat-Consistency", "ETag", "Copycat-Wait"];

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
    let mut all = one_key();
    all.extend(keys());
    all.extend(posted());
    all.extend(views());
    all.extend(pages());
    all
}

const PUT: &str = "The body is the value, at most 1 MiB, and its `Content-Type` is kept. The type that curl sends for \
                   forms counts as none: `text/plain; charset=utf-8` if the value is UTF-8, else \
                   `application/octet-stream`.";
const GET: &str = "The value's bytes with their type, or, with `meta`, JSON. With `wait`, held until the key changes: 404 \
                   is a deletion, with `Copycat-Index` to go on from; 304 the end of the wait, or, where the key does \
                   not exist, 404.";

fn put(path: &'static str, id: &'static str) -> Operation {
    Operation::new("put", path, id, "Sets a key")
        .about(PUT)
        .body(ANY, bytes())
        .answers(200, "The key was changed.", vec![(JSON, shape("Written"))])
        .answers(201, "The key was created.", vec![(JSON, shape("Written"))])
        .stamped(&["Copycat-Index", "Copycat-Term", "ETag"])
        .fails(&[BACKEND, TIMED, CONDITIONAL, RAW_BODY])
}

fn one_key() -> Vec<Operation> {
    const PATH: &str = "/v1/kv/{key}";
    const CONDITIONS: &[&str] = &["If-Match", "If-None-Match"];
    vec![
        Operation::new("get", PATH, "get_key", "Reads a key, or waits for a change of it")
            .about(GET)
            .takes(kv::READ, &["If-Match", "If-None-Match", "Copycat-Index"])
            .answers(200, "The value, or all about it.", vec![(ANY, bytes()), (JSON, or_any(vec![shape("Key")]))])
            .answers(304, "The caller has this version already.", vec![])
            .stamped(OF_READ)
            .fails(&[BACKEND, TIMED, READ, MISSING, CONDITIONAL, BY_PATH]),
        put(PATH, "put_key").takes(kv::PUT, CONDITIONS).fails(&[BY_PATH]),
        Operation::new("delete", PATH, "delete_key", "Deletes a key")
            .about("It is no error that the key does not exist.")
            .takes(kv::DELETE, CONDITIONS)
            .answers(200, "The key is gone.", vec![(JSON, shape("Deleted"))])
            .stamped(OF_COMMAND)
            .fails(&[BACKEND, TIMED, CONDITIONAL, BY_PATH]),
    ]
}

fn keys() -> Vec<Operation> {
    const PATH: &str = "/v1/kv";
    let page = or_any(vec![shape("Page"), shape("Key")]);
    vec![
        Operation::new("get", PATH, "list_keys", "Lists keys in order; with `key`, reads that one")
            .about(
                "A page, and `next`, the cursor of the one behind it, which `Link` holds as a whole. Each page is one \
                 consistent read at its index. With `Accept: application/x-ndjson`, all items, one a line, over as many \
                 pages as it takes, those after the first read sequentially and none older than the one before; the last \
                 line is `{\"end\": true, \"index\": N}`, or `{\"error\": …}` with a problem. `Copycat-Index` is then the \
                 first page's index. With `key`, the parameters and answers are those of `/v1/kv/{key}`.",
            )
            .takes(kv::READ_NAMED, &["If-Match", "If-None-Match", "Copycat-Index"])
            .answers(200, "A page; with `key`, the value.", vec![(JSON, page), (LINES, text()), (ANY, bytes())])
            .answers(304, "The caller has this version already.", vec![])
            .stamped(&["Copycat-Index", "Copycat-Term", "Copycat-Consistency", "ETag", "Copycat-Wait", "Link"])
            .fails(&[BACKEND, TIMED, READ, MISSING, CONDITIONAL]),
        put(PATH, "put_named_key").takes(kv::PUT_NAMED, &["If-Match", "If-None-Match"]),
        Operation::new("delete", PATH, "delete_keys", "Deletes the keys that begin so; with `key`, that one")
            .about("All at one index. `more` says that there are further ones: repeat it.")
            .takes(kv::DELETE_NAMED, &["If-Match", "If-None-Match"])
            .answers(200, "They are gone.", vec![(JSON, json!({ "anyOf": [shape("DeletedMany"), shape("Deleted")] }))])
            .stamped(OF_COMMAND)
            .fails(&[BACKEND, TIMED, CONDITIONAL]),
    ]
}

fn one_or_several(name: &str, least: u64) -> Value {
    let several = json!({ "type": "array", "items": shape(name), "minItems": least, "maxItems": 1000 });
    json!({ "oneOf": [shape(name), several] })
}

fn posted() -> Vec<Operation> {
    vec![
        Operation::new("post", "/v1/transactions", "transact", "Carries out one list of operations or the other")
            .about(
                "Atomically, at one index. A later operation sees what the earlier ones did. At most 128 operations, as \
                 many parts of the condition, and 4 MiB of values read.",
            )
            .takes(commands::PARAMS, &[])
            .body(JSON, shape("Transaction"))
            .answers(200, "One of the lists was carried out.", vec![(JSON, shape("TransactionAnswer"))])
            .stamped(OF_COMMAND)
            .fails(&[BACKEND, TIMED, JSON_BODY, OPERATIONS]),
        Operation::new("post", "/v1/commands", "command", "Carries out a command, or several as a batch")
            .about(
                "A batch is applied in order at one index; a condition that fails stops its own command only, and stands \
                 in the answer as `{\"error\": …}`. Alone, it is a 412. An error in the form of one command names its \
                 position, and nothing is applied. The limits of a batch's `delete_prefix` add up to at most 10,000.",
            )
            .takes(commands::PARAMS, &[])
            .body(JSON, one_or_several("CommandRequest", 1))
            .answers(200, "What it answers; for several, a list.", vec![(JSON, one_or_several("CommandAnswer", 1))])
            .stamped(OF_COMMAND)
            .fails(&[BACKEND, TIMED, JSON_BODY, OPERATIONS, CONDITIONAL]),
        Operation::new("post", queries::PATH, "query", "Answers a query")
            .about("It changes nothing, and may be repeated as a GET may.")
            .takes(queries::PARAMS, &["Copycat-Index"])
            .body(JSON, shape("QueryRequest"))
            .answers(200, "The answer.", vec![(JSON, shape("QueryAnswer"))])
            .stamped(&["Copycat-Index", "Copycat-Term", "Copycat-Consistency"])
            .fails(&[BACKEND, TIMED, READ, JSON_BODY]),
    ]
}

fn views() -> Vec<Operation> {
    const TERM: &[&str] = &["Copycat-Term"];
    vec![
        Operation::new("get", "/v1/cluster", "get_cluster", "The cluster, as this server knows it")
            .answers(200, "The cluster.", vec![(JSON, shape("ClusterView"))])
            .stamped(TERM),
        Operation::new("get", "/v1/server", "get_server", "This server")
            .answers(200, "The server.", vec![(JSON, shape("ServerView"))])
            .stamped(OF_COMMAND),
        Operation::new("get", "/v1/log", "get_log", "This server's log, file by file")
            .answers(200, "The log.", vec![(JSON, shape("Log"))])
            .stamped(TERM)
            .fails(&[BACKEND]),
        Operation::new("get", "/v1/log/entries", "list_entries", "Entries of this server's log")
            .about("Also those that are not yet committed. A page has at most 1 MiB, or one entry.")
            .takes(log::ENTRIES, &[])
            .answers(200, "Entries in order.", vec![(JSON, shape("Entries"))])
            .stamped(TERM)
            .fails(&[BACKEND]),
    ]
}

fn pages() -> Vec<Operation> {
    vec![
        Operation::new("get", "/livez", "get_liveness", "Whether this server runs")
            .about("It never depends on the others.")
            .answers(200, "It does.", vec![(TEXT, text())]),
        Operation::new("get", "/readyz", "get_readiness", "Whether this server can serve")
            .takes(health::READY, &[])
            .answers(200, "It can.", vec![(TEXT, text())])
            .fails(&[READY]),
        Operation::new("get", "/openapi.json", "get_openapi", "This document").answers(
            200,
            "The document.",
            vec![(JSON, json!({ "type": "object" }))],
        ),
        Operation::new("get", "/", "get_home", "The way in").answers(200, "What this is.", vec![(TEXT, text())]),
    ]
}
