//! Commands and queries as callers write them, and as the log's entries are shown.

use super::cond::Cond;
use super::object::object;
use super::text::Encoding;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a put or a delete requires of its key.
#[derive(Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum KeyCondition {
    /// It has this version; 0: it does not exist.
    Version(u64),
    /// It has one of these versions.
    Versions(Vec<u64>),
    /// It exists, or does not.
    Exists(bool),
}

/// Sets a key.
#[derive(Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Put {
    /// 1 to 4096 bytes.
    #[schema(min_length = 1, max_length = 4096)]
    pub(super) key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) key_encoding: Option<Encoding>,
    pub(super) value: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) encoding: Option<Encoding>,
    /// Left out: `text/plain; charset=utf-8` if the value is UTF-8, else `application/octet-stream`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 255, pattern = "^[ -~]*$")]
    pub(super) content_type: Option<String>,
    /// How long the key lives if it is not put again, such as `30s`; for ever if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[0-9]+(ms|s|m|h)$")]
    pub(super) ttl: Option<String>,
}

/// Sets a key, perhaps on a condition.
#[derive(Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PutCommand {
    /// 1 to 4096 bytes.
    #[schema(min_length = 1, max_length = 4096)]
    pub(super) key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) key_encoding: Option<Encoding>,
    pub(super) value: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) encoding: Option<Encoding>,
    /// Left out: `text/plain; charset=utf-8` if the value is UTF-8, else `application/octet-stream`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 255, pattern = "^[ -~]*$")]
    pub(super) content_type: Option<String>,
    /// How long the key lives if it is not put again, such as `30s`; for ever if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[0-9]+(ms|s|m|h)$")]
    pub(super) ttl: Option<String>,
    /// The key goes with the session that puts it; needs a session.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) ephemeral: bool,
    #[serde(rename = "if", default, skip_serializing_if = "Option::is_none")]
    pub(super) condition: Option<KeyCondition>,
}

/// Names a key.
#[derive(Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyName {
    /// 1 to 4096 bytes.
    #[schema(min_length = 1, max_length = 4096)]
    pub(super) key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) key_encoding: Option<Encoding>,
}

/// Removes a key, perhaps on a condition.
#[derive(Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeleteCommand {
    /// 1 to 4096 bytes.
    #[schema(min_length = 1, max_length = 4096)]
    pub(super) key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) key_encoding: Option<Encoding>,
    #[serde(rename = "if", default, skip_serializing_if = "Option::is_none")]
    pub(super) condition: Option<KeyCondition>,
}

/// Removes the first keys that begin so, all at once.
#[derive(Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeletePrefix {
    /// An empty or a missing one needs `"all": true`.
    #[serde(default)]
    #[schema(max_length = 4096)]
    pub(super) prefix: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) prefix_encoding: Option<Encoding>,
    /// At most this many; 10,000 if left out. Over all commands of a batch, no more than that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 10_000)]
    pub(super) limit: Option<u64>,
    /// Every key is meant.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) all: bool,
}

/// One step of a transaction. A later one sees what the earlier ones did.
#[derive(Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Op {
    Put(#[serde(deserialize_with = "object")] Put),
    Delete(#[serde(deserialize_with = "object")] KeyName),
    Get(#[serde(deserialize_with = "object")] KeyName),
}

/// One list of operations or the other, atomically.
#[derive(Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Transaction {
    /// Left out: it holds.
    #[serde(rename = "if", default, skip_serializing_if = "Option::is_none")]
    pub(super) condition: Option<Cond>,
    /// Carried out if the condition holds; with `else`, at most 128.
    #[serde(default)]
    #[schema(max_items = 128)]
    pub(super) then: Vec<Op>,
    /// Carried out if it does not.
    #[serde(rename = "else", default)]
    #[schema(max_items = 128)]
    pub(super) otherwise: Vec<Op>,
}

/// Carries a command out only if the token holds the lock.
#[derive(Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(no_recursion)]
pub(crate) struct Guarded {
    /// 1 to 255 bytes.
    #[schema(min_length = 1, max_length = 255)]
    pub(super) lock: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) lock_encoding: Option<Encoding>,
    pub(super) token: u64,
    /// Not guarded itself.
    pub(super) command: Box<Command>,
}

/// Tells the session of changes, of a key or of all keys that begin so.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Watch {
    /// 1 to 4096 bytes; not together with a prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 4096)]
    pub(super) key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) key_encoding: Option<Encoding>,
    /// An empty one needs `"all": true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 4096)]
    pub(super) prefix: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) prefix_encoding: Option<Encoding>,
    /// Every key is meant.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) all: bool,
    /// Events of puts carry the value.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) values: bool,
}

/// Tells it no more.
#[derive(Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Unwatch {
    pub(super) watch: u64,
}

/// Releases the session's lock, or leaves its queue.
#[derive(Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Unlock {
    /// 1 to 255 bytes.
    #[schema(min_length = 1, max_length = 255)]
    pub(super) lock: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) lock_encoding: Option<Encoding>,
    /// Only if it is held with this token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) token: Option<u64>,
}

/// Takes a lock away from a holder.
#[derive(Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Revoke {
    /// 1 to 255 bytes.
    #[schema(min_length = 1, max_length = 255)]
    pub(super) lock: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) lock_encoding: Option<Encoding>,
    /// The holder.
    #[schema(minimum = 1)]
    pub(super) session: u64,
}

/// A change. `watch`, `unwatch` and `unlock` need a session; a batch has at most one `watch`.
#[derive(Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Command {
    Put(#[serde(deserialize_with = "object")] PutCommand),
    Delete(#[serde(deserialize_with = "object")] DeleteCommand),
    DeletePrefix(#[serde(deserialize_with = "object")] DeletePrefix),
    Transaction(#[serde(deserialize_with = "object")] Transaction),
    Guarded(#[serde(deserialize_with = "object")] Guarded),
    Watch(#[serde(deserialize_with = "object")] Watch),
    Unwatch(#[serde(deserialize_with = "object")] Unwatch),
    Unlock(#[serde(deserialize_with = "object")] Unlock),
    Revoke(#[serde(deserialize_with = "object")] Revoke),
}

/// A command as it is sent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CommandRequest {
    pub(crate) command: Command,
    /// Whose command it is. All of a batch are of one session, or none.
    #[schema(minimum = 1)]
    pub(crate) session: Option<u64>,
    /// Its number in its session. A batch has one number, which its first object bears.
    #[schema(minimum = 1)]
    pub(crate) sequence: Option<u64>,
}

/// What a list leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Values {
    None,
}

/// Keys in order.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    /// Only those that begin so.
    #[serde(default)]
    #[schema(max_length = 4096)]
    pub(crate) prefix: String,
    pub(crate) prefix_encoding: Option<Encoding>,
    /// At most this many; 100 if left out.
    #[schema(minimum = 1, maximum = 1000)]
    pub(crate) limit: Option<u64>,
    /// And, from the second on, at most this many bytes of keys and values; 1 MiB if left out.
    #[schema(minimum = 1, maximum = 1_048_576)]
    pub(crate) max_bytes: Option<u64>,
    /// The `next` of the page before.
    pub(crate) cursor: Option<String>,
    /// Keys that hold this behind the prefix are folded into one item.
    #[schema(min_length = 1, max_length = 4096)]
    pub(crate) separator: Option<String>,
    /// `none`: keys without their values.
    pub(crate) values: Option<Values>,
}

/// A question.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Query {
    Get(#[serde(deserialize_with = "object")] KeyName),
    List(#[serde(deserialize_with = "object")] ListQuery),
}

/// How fresh an answer must be.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Freshness {
    Linearizable,
    Lease,
    Sequential,
}

/// A query as it is sent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct QueryRequest {
    pub(crate) query: Query,
    /// Left out: `linearizable`.
    #[schema(value_type = Option<Freshness>)]
    pub(crate) consistency: Option<String>,
    /// The lowest index to answer from.
    pub(crate) index: Option<u64>,
}
