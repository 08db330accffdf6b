//! What is posted as JSON.

use super::super::errors::{BACKEND, CONDITIONAL, FENCED, JSON_BODY, NO_LOCK, NUMBERED, OPERATIONS, READ, TIMED};
use super::{COMMAND, JSON, OF_COMMAND, OF_READ, Operation, shape};
use crate::routes::{commands, queries};
use serde_json::{Value, json};

fn one_or_several(name: &str, least: u64) -> Value {
    let several = json!({ "type": "array", "items": shape(name), "minItems": least, "maxItems": 1000 });
    json!({ "oneOf": [shape(name), several] })
}

pub(super) fn all() -> Vec<Operation> {
    vec![
        Operation::new("post", "/v1/transactions", "transact", "Carries out one list of operations or the other")
            .about(
                "Atomically, at one index. A later operation sees what the earlier ones did. At most 128 operations, as \
                 many parts of the condition, and 4 MiB of values read.",
            )
            .takes(commands::PARAMS, COMMAND)
            .body(JSON, shape("Transaction"))
            .answers(200, "One of the lists was carried out.", vec![(JSON, shape("TransactionAnswer"))])
            .stamped(OF_COMMAND)
            .fails(&[BACKEND, TIMED, NUMBERED, FENCED, JSON_BODY, OPERATIONS]),
        Operation::new("post", "/v1/commands", "command", "Carries out a command, or several as a batch")
            .about(
                "A batch is applied in order at one index; a condition that fails stops its own command only, and stands \
                 in the answer as `{\"error\": …}`. Alone, it is a 412. An error in the form of one command names its \
                 position, and nothing is applied. The limits of a batch's `delete_prefix` add up to at most 10,000. A batch \
                 is one command of one session: all of its objects name the same one or none, and the first bears the \
                 number. Its `lock` and `token` hold for each of its commands; where they stop all of them, it is a 412.\n\nA server \
                 that runs another state machine takes that machine's commands here, one at a time, as `{\"command\": …, \
                 \"session\", \"sequence\"}`, and answers `{\"index\", \"output\"}`; it has no keys, transactions, watches and \
                 locks: 404 `no_such_endpoint`.",
            )
            .takes(commands::PARAMS, COMMAND)
            .body(JSON, one_or_several("CommandRequest", 1))
            .answers(200, "What it answers; for several, a list.", vec![(JSON, one_or_several("CommandAnswer", 1))])
            .stamped(OF_COMMAND)
            .fails(&[BACKEND, TIMED, NUMBERED, FENCED, JSON_BODY, OPERATIONS, CONDITIONAL, NO_LOCK]),
        Operation::new("post", queries::PATH, "query", "Answers a query")
            .about(
                "It changes nothing, and may be repeated as a GET may. A server that runs another state machine takes that \
                 machine's queries here, and answers `{\"index\", \"output\"}`.",
            )
            .takes(queries::PARAMS, &["Copycat-Index"])
            .body(JSON, shape("QueryRequest"))
            .answers(200, "The answer.", vec![(JSON, shape("QueryAnswer"))])
            .stamped(OF_READ)
            .fails(&[BACKEND, TIMED, READ, JSON_BODY]),
    ]
}
