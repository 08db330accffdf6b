//! `/v1/kv`.

use super::super::errors::{BACKEND, BY_PATH, CONDITIONAL, FENCED, MISSING, NUMBERED, RAW_BODY, READ, TIMED};
use super::{ANY, JSON, LINES, OF_COMMAND, Operation, bytes, or_any, shape, text};
use crate::routes::kv;
use serde_json::json;

const WRITE: &[&str] = &["If-Match", "If-None-Match", "Copycat-Session", "Copycat-Sequence", "Idempotency-Key"];

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
        .stamped(&["Copycat-Index", "Copycat-Term", "Copycat-Event-Index", "ETag"])
        .fails(&[BACKEND, TIMED, NUMBERED, FENCED, CONDITIONAL, RAW_BODY])
}

pub(super) fn one_key() -> Vec<Operation> {
    const PATH: &str = "/v1/kv/{key}";
    vec![
        Operation::new("get", PATH, "get_key", "Reads a key, or waits for a change of it")
            .about(GET)
            .takes(kv::READ, &["If-Match", "If-None-Match", "Copycat-Index"])
            .answers(200, "The value, or all about it.", vec![(ANY, bytes()), (JSON, or_any(vec![shape("Key")]))])
            .answers(304, "The caller has this version already.", vec![])
            .stamped(&["Copycat-Index", "Copycat-Term", "Copycat-Consistency", "ETag", "Copycat-Wait"])
            .fails(&[BACKEND, TIMED, READ, MISSING, CONDITIONAL, BY_PATH]),
        put(PATH, "put_key").takes(kv::PUT, WRITE).fails(&[BY_PATH]),
        Operation::new("delete", PATH, "delete_key", "Deletes a key")
            .about("It is no error that the key does not exist.")
            .takes(kv::DELETE, WRITE)
            .answers(200, "The key is gone.", vec![(JSON, shape("Deleted"))])
            .stamped(OF_COMMAND)
            .fails(&[BACKEND, TIMED, NUMBERED, FENCED, CONDITIONAL, BY_PATH]),
    ]
}

pub(super) fn keys() -> Vec<Operation> {
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
        put(PATH, "put_named_key").takes(kv::PUT_NAMED, WRITE),
        Operation::new("delete", PATH, "delete_keys", "Deletes the keys that begin so; with `key`, that one")
            .about("All at one index. `more` says that there are further ones: repeat it.")
            .takes(kv::DELETE_NAMED, WRITE)
            .answers(200, "They are gone.", vec![(JSON, json!({ "anyOf": [shape("DeletedMany"), shape("Deleted")] }))])
            .stamped(OF_COMMAND)
            .fails(&[BACKEND, TIMED, NUMBERED, FENCED, CONDITIONAL]),
    ]
}
