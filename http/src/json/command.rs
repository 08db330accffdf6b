//! Commands and queries as callers write them, and as the log's entries are shown.

use super::object::object;
use super::text::Encoding;
use serde::de::{Deserializer, Error};
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

/// All of these hold.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(no_recursion)]
pub(crate) struct AllOf {
    pub(super) all: Vec<Cond>,
}

/// At least one of these holds.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(no_recursion)]
pub(crate) struct AnyOf {
    pub(super) any: Vec<Cond>,
}

/// This does not hold.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(no_recursion)]
pub(crate) struct NotOf {
    pub(super) not: Box<Cond>,
}

/// The key has this version; 0: it does not exist.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct VersionIs {
    /// 1 to 4096 bytes.
    #[schema(min_length = 1, max_length = 4096)]
    pub(super) key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key_encoding: Option<Encoding>,
    pub(super) version: u64,
}

/// The key exists, or does not.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExistsIs {
    /// 1 to 4096 bytes.
    #[schema(min_length = 1, max_length = 4096)]
    pub(super) key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key_encoding: Option<Encoding>,
    pub(super) exists: bool,
}

/// The key exists and has this value.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ValueIs {
    /// 1 to 4096 bytes.
    #[schema(min_length = 1, max_length = 4096)]
    pub(super) key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key_encoding: Option<Encoding>,
    pub(super) value: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) encoding: Option<Encoding>,
}

/// What a transaction asks about the keys.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Cond {
    All(AllOf),
    Any(AnyOf),
    Not(NotOf),
    Version(Box<VersionIs>),
    Exists(Box<ExistsIs>),
    Value(Box<ValueIs>),
}

/// Every field that a condition may have: read so, an error says which one is wrong, and not only that nothing fits.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CondFields {
    all: Option<Vec<Cond>>,
    any: Option<Vec<Cond>>,
    not: Option<Box<Cond>>,
    key: Option<String>,
    key_encoding: Option<Encoding>,
    version: Option<u64>,
    exists: Option<bool>,
    value: Option<String>,
    encoding: Option<Encoding>,
    #[serde(default, deserialize_with = "no_locks")]
    lock: (),
    #[serde(default, deserialize_with = "no_locks")]
    token: (),
}

impl<'de> Deserialize<'de> for Cond {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        object::<CondFields, D>(json)?.try_into().map_err(D::Error::custom)
    }
}

impl TryFrom<CondFields> for Cond {
    type Error = &'static str;

    fn try_from(fields: CondFields) -> Result<Self, Self::Error> {
        const ONE: &str = "a condition is one of {\"all\"}, {\"any\"}, {\"not\"}, {\"key\",\"version\"}, \
                           {\"key\",\"exists\"}, {\"key\",\"value\"}";
        let CondFields { all, any, not, key, key_encoding, version, exists, value, encoding, lock: (), token: () } =
            fields;
        if encoding.is_some() && value.is_none() {
            return Err("encoding needs a value beside it");
        }
        let Some(key) = key else {
            let of_a_key = version.is_some() || exists.is_some() || value.is_some() || key_encoding.is_some();
            return match (all, any, not) {
                _ if of_a_key => Err("a condition on a version, an existence or a value needs a key"),
                (Some(all), None, None) => Ok(Self::All(AllOf { all })),
                (None, Some(any), None) => Ok(Self::Any(AnyOf { any })),
                (None, None, Some(not)) => Ok(Self::Not(NotOf { not })),
                _ => Err(ONE),
            };
        };
        match (version, exists, value) {
            _ if all.is_some() || any.is_some() || not.is_some() => Err(ONE),
            (Some(version), None, None) => Ok(Self::Version(Box::new(VersionIs { key, key_encoding, version }))),
            (None, Some(exists), None) => Ok(Self::Exists(Box::new(ExistsIs { key, key_encoding, exists }))),
            (None, None, Some(value)) => Ok(Self::Value(Box::new(ValueIs { key, key_encoding, value, encoding }))),
            _ => Err(ONE),
        }
    }
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

/// A change.
#[derive(Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Command {
    Put(#[serde(deserialize_with = "object")] PutCommand),
    Delete(#[serde(deserialize_with = "object")] DeleteCommand),
    DeletePrefix(#[serde(deserialize_with = "object")] DeletePrefix),
    Transaction(#[serde(deserialize_with = "object")] Transaction),
}

/// A command as it is sent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CommandRequest {
    pub(crate) command: Command,
    #[serde(default, deserialize_with = "no_sessions")]
    #[schema(ignore)]
    #[expect(dead_code, reason = "it is known only to be refused by its name")]
    session: (),
    #[serde(default, deserialize_with = "no_sessions")]
    #[schema(ignore)]
    #[expect(dead_code, reason = "it is known only to be refused by its name")]
    sequence: (),
}

fn no_sessions<'de, D: Deserializer<'de>>(_: D) -> Result<(), D::Error> {
    Err(D::Error::custom("sessions are not built yet"))
}

fn no_locks<'de, D: Deserializer<'de>>(_: D) -> Result<(), D::Error> {
    Err(D::Error::custom("locks are not built yet"))
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
