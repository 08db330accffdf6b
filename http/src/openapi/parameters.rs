//! What the parameters and the headers mean.

use serde_json::{Map, Value, json};

fn text() -> Value {
    json!({ "type": "string" })
}

fn number() -> Value {
    json!({ "type": "integer", "format": "uint64", "minimum": 0, "maximum": u64::MAX })
}

/// Sessions, and their commands: 0 is none.
fn from_one() -> Value {
    json!({ "type": "integer", "format": "uint64", "minimum": 1, "maximum": u64::MAX })
}

fn between(least: u64, most: u64) -> Value {
    json!({ "type": "integer", "minimum": least, "maximum": most })
}

fn etags() -> Value {
    json!({ "type": "string", "pattern": r#"^(\*|(W/)?"[^"]*"( *, *(W/)?"[^"]*")*)$"#, "examples": ["\"17\""] })
}

fn flag() -> Value {
    json!({ "type": "string", "enum": ["true", "false", ""] })
}

fn duration() -> Value {
    json!({ "type": "string", "pattern": "^[0-9]+(ms|s|m|h)$", "examples": ["1500ms", "30s"] })
}

/// What a parameter means, and its form.
type Meaning = (&'static str, Value);

/// A query parameter of the operation with this id.
pub(super) fn query(name: &str, operation: &str) -> Value {
    let (description, schema) = of_keys(name, operation)
        .or_else(|| of_pages(name, operation))
        .or_else(|| of_waits(name, operation))
        .or_else(|| of_commands(name, operation))
        .unwrap_or_else(|| of_all(name));
    let required = matches!(
        (operation, name),
        ("put_named_key", "key") | ("verify", "token") | ("remove_member", "configuration")
    );
    json!({ "name": name, "in": "query", "required": required, "description": description, "schema": schema })
}

fn of_keys(name: &str, operation: &str) -> Option<Meaning> {
    Some(match (name, operation) {
        ("key", _) => (
            "The key, for clients that would fold it in a path.",
            json!({ "type": "string", "minLength": 1, "maxLength": 4096 }),
        ),
        ("meta", _) => ("JSON with everything about the key, instead of its value's bytes.", flag()),
        ("prefix", "delete_keys") => ("Which keys to delete; empty or left out, it needs `all`.", text()),
        ("prefix", _) => ("Only keys that begin so.", json!({ "type": "string", "maxLength": 4096 })),
        ("max_bytes", _) => (
            "And, from the second item on, at most this many bytes of keys and values in a page; 1 MiB if left out.",
            between(1, 1_048_576),
        ),
        ("separator", _) => (
            "Keys that hold this behind the prefix are folded into one item, `{\"prefix\": …}`, which ends with it.",
            json!({ "type": "string", "minLength": 1, "maxLength": 4096 }),
        ),
        ("values", _) => ("`none`: items without their values.", json!({ "type": "string", "enum": ["none"] })),
        ("all", _) => ("Every key is meant.", flag()),
        ("ttl", _) => {
            ("How long the key lives if it is not put again, 1ms to 8784h; for ever if left out.", duration())
        }
        ("ephemeral", _) => ("The key goes with the session that puts it; needs a session.", flag()),
        _ => return None,
    })
}

fn of_pages(name: &str, operation: &str) -> Option<Meaning> {
    Some(match (name, operation) {
        ("limit", "delete_keys") => ("At most this many keys; 10,000 if left out.", between(1, 10_000)),
        ("limit", "get_history") => ("At most this many points; all that there are if left out.", between(1, 600)),
        ("limit", "list_entries") => ("At most this many entries; 100 if left out.", between(1, 1000)),
        ("limit", "list_keys") => (
            "At most this many items in a page; 100 if left out. A stream of lines reads pages of this size.",
            between(1, 1000),
        ),
        ("limit", _) => ("At most this many items in a page; 100 if left out.", between(1, 1000)),
        ("cursor", "list_keys") => ("The `next` of the page before; the prefix must be the same.", text()),
        ("cursor", _) => ("The `next` of the page before.", text()),
        ("from", _) => ("The first index to show; the first there is if left out.", number()),
        _ => return None,
    })
}

fn of_waits(name: &str, operation: &str) -> Option<Meaning> {
    Some(match (name, operation) {
        ("wait", "acquire") => (
            "How long to wait in the queue, at most 5m; only a try if left out. It keeps the session alive once, and is cut \
             to half of the session's timeout.",
            duration(),
        ),
        ("wait", "poll_events" | "poll_feed") => (
            "How long to be held until there is something, at most 5m; not at all if left out. The answer's `Copycat-Wait` \
             tells a shorter wait that was used.",
            duration(),
        ),
        ("wait", _) => (
            "How long to be held until the key changes behind the version that `If-None-Match` or `after` names, or, \
             without either, until it exists; at most 5m. The answer's `Copycat-Wait` tells a shorter wait that was used.",
            duration(),
        ),
        ("after", "poll_events") => (
            "Acknowledges everything through this index, and asks for what follows; if left out, from the acknowledged \
             index, acknowledging nothing.",
            number(),
        ),
        ("after", "poll_feed") => ("Asks for what follows this number; for all that is kept if left out.", number()),
        ("after", "get_history") => ("Only points behind this time; all that are kept if left out.", number()),
        ("after", _) => ("With `wait`: the version, or the index of a deletion, that the caller has seen.", number()),
        _ => return None,
    })
}

fn of_commands(name: &str, operation: &str) -> Option<Meaning> {
    Some(match (name, operation) {
        ("session", "acquire" | "release") => {
            ("Whose lock it is; needed, here or as the header `Copycat-Session`.", from_one())
        }
        ("session", _) => ("Whose command it is, as the header `Copycat-Session`.", from_one()),
        ("token", "release") => ("Only if the lock is held with this token.", number()),
        ("token", "verify") => ("The token.", number()),
        ("token", _) => ("With `lock`: the token that must hold it.", number()),
        ("lock", _) => (
            "Carried out only while `token` holds the lock of this name.",
            json!({ "type": "string", "minLength": 1, "maxLength": 255 }),
        ),
        ("mode", _) => (
            "How it is to be held: by one alone, which it is if left out, or together with others that share it.",
            json!({ "type": "string", "enum": ["exclusive", "shared"] }),
        ),
        ("queue", _) => ("Stay in the queue, and be told by an event.", flag()),
        _ => return None,
    })
}

fn of_all(name: &str) -> Meaning {
    match name {
        "consistency" => (
            "How fresh the answer must be; linearizable if left out.",
            json!({ "type": "string", "enum": ["linearizable", "lease", "sequential"] }),
        ),
        "index" => ("The lowest index to answer from, for sequential reads.", number()),
        "timeout" => ("How long the request may take, 1ms to 60s; 10s if left out.", duration()),
        "verbose" => ("Every check by name.", flag()),
        "configuration" => ("The `configuration_index` that this was decided on.", number()),
        "force" => ("Even if the voters that are left can form no majority.", flag()),
        _ => ("", text()),
    }
}

/// A part of the path.
pub(super) fn path(name: &str) -> Value {
    let (description, schema) = match name {
        "key" => (
            "Any bytes, percent-encoded; a `/` may stand as it is. Never normalised.",
            json!({ "type": "string", "minLength": 1, "maxLength": 4096 }),
        ),
        "name" => (
            "The lock: any bytes, percent-encoded, a `/` too. Never normalised.",
            json!({ "type": "string", "minLength": 1, "maxLength": 255 }),
        ),
        "session" => ("The session.", from_one()),
        "watch" => ("The watch.", number()),
        "member" => ("The member's number.", number()),
        _ => ("", text()),
    };
    json!({ "name": name, "in": "path", "required": true, "description": description, "schema": schema })
}

pub(super) fn header(name: &str, operation: &str) -> Value {
    let (description, schema) = match name {
        "If-Match" => ("Only if the key has one of these versions, as `\"17\"`; `*`: only if it exists.", etags()),
        "If-None-Match" if matches!(operation, "get_key" | "list_keys") => {
            ("The versions that the caller has, as `\"17\"`: 304 if the key has one of them.", etags())
        }
        "If-None-Match" => ("`*`: only if the key does not exist.", json!({ "type": "string", "enum": ["*"] })),
        "Copycat-Index" => ("As the parameter `index`: an answer's header of this name, sent back.", number()),
        "Copycat-Session" => {
            ("The session whose request it is; where it is named otherwise, too, the same one.", from_one())
        }
        "Copycat-Sequence" => (
            "The command's number in its session: 1, 2, 3 and so on. One that comes too early is held for a while. A number \
             is used up by an answer with `Copycat-Index`, an error too; an error without it and with the outcome \
             `not_applied` leaves it for the next command.",
            from_one(),
        ),
        "Idempotency-Key" => (
            "A name by which a repeat of this very request is known for 10 minutes (the leader's \
             `--idempotency-window`); not together with a number.",
            json!({ "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]*$" }),
        ),
        "Last-Event-ID" => ("Of a stream: as `after`; the larger one counts.", number()),
        _ => ("", text()),
    };
    json!({ "name": name, "in": "header", "required": false, "description": description, "schema": schema })
}

/// The headers of answers, which operations refer to.
pub(super) fn answer_headers() -> Value {
    json!({
        "Copycat-Index": { "description": "The index of the command, or the applied index that a query saw.", "schema": number() },
        "Copycat-Term": { "description": "The term.", "schema": number() },
        "Copycat-Served-By": { "description": "The server that answered.", "schema": number() },
        "Copycat-Consistency": { "description": "How a read was really served.", "schema": text() },
        "Copycat-Event-Index": {
            "description": "Of a session's command: the index of the session's last event before it.", "schema": number(),
        },
        "Location": { "description": "The path of what was made.", "schema": text() },
        "Copycat-Wait": { "description": "The wait that was used, if shorter than asked.", "schema": duration() },
        "Request-Id": { "description": "The request's own, or one that was made for it.", "schema": text() },
        "ETag": { "description": "The key's version, in quotes.", "schema": text() },
        "Link": { "description": "The next page, as `rel=\"next\"`.", "schema": text() },
        "Retry-After": { "description": "Seconds to wait before the next try.", "schema": number() },
    })
}

/// The headers of an answer that is no error; `stamped` ones further to those of every answer.
pub(super) fn headers_of(status: u16, stamped: &[&str]) -> Value {
    let mut names = vec!["Request-Id", "Copycat-Served-By"];
    names.extend(stamped.iter().filter(|name| status != 304 || **name != "Link"));
    let one = |name: &str| (name.to_string(), json!({ "$ref": format!("#/components/headers/{name}") }));
    names.into_iter().map(one).collect::<Map<_, _>>().into()
}
