//! What a transaction asks before it does anything.

use super::object::object;
use super::text::Encoding;
use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

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

/// The token holds the lock.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LockIs {
    /// 1 to 255 bytes.
    #[schema(min_length = 1, max_length = 255)]
    pub(super) lock: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) lock_encoding: Option<Encoding>,
    pub(super) token: u64,
}

/// What a transaction asks about the keys and the locks.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Cond {
    All(AllOf),
    Any(AnyOf),
    Not(NotOf),
    Version(Box<VersionIs>),
    Exists(Box<ExistsIs>),
    Value(Box<ValueIs>),
    Lock(Box<LockIs>),
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
    lock: Option<String>,
    lock_encoding: Option<Encoding>,
    token: Option<u64>,
}

impl<'de> Deserialize<'de> for Cond {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        object::<CondFields, D>(json)?.try_into().map_err(D::Error::custom)
    }
}

impl CondFields {
    fn of_a_key(&self) -> bool {
        self.key.is_some()
            || self.key_encoding.is_some()
            || self.version.is_some()
            || self.exists.is_some()
            || self.value.is_some()
            || self.encoding.is_some()
    }

    fn of_a_lock(&self) -> bool {
        self.lock.is_some() || self.lock_encoding.is_some() || self.token.is_some()
    }

    fn of_others(&self) -> bool {
        self.all.is_some() || self.any.is_some() || self.not.is_some()
    }
}

impl TryFrom<CondFields> for Cond {
    type Error = &'static str;

    fn try_from(fields: CondFields) -> Result<Self, Self::Error> {
        match (fields.of_others(), fields.of_a_key(), fields.of_a_lock()) {
            (true, false, false) => of_others(fields),
            (false, true, false) => of_a_key(fields),
            (false, false, true) => of_a_lock(fields),
            (true, true, false) if fields.key.is_none() => Err(NO_KEY),
            _ => Err(ONE),
        }
    }
}

const ONE: &str = "a condition is one of {\"all\"}, {\"any\"}, {\"not\"}, {\"key\",\"version\"}, {\"key\",\"exists\"}, \
                   {\"key\",\"value\"}, {\"lock\",\"token\"}";
const NO_KEY: &str = "a condition on a version, an existence or a value needs a key";

fn of_others(CondFields { all, any, not, .. }: CondFields) -> Result<Cond, &'static str> {
    match (all, any, not) {
        (Some(all), None, None) => Ok(Cond::All(AllOf { all })),
        (None, Some(any), None) => Ok(Cond::Any(AnyOf { any })),
        (None, None, Some(not)) => Ok(Cond::Not(NotOf { not })),
        _ => Err(ONE),
    }
}

fn of_a_key(fields: CondFields) -> Result<Cond, &'static str> {
    let CondFields { key, key_encoding, version, exists, value, encoding, .. } = fields;
    if encoding.is_some() && value.is_none() {
        return Err("encoding needs a value beside it");
    }
    let key = key.ok_or(NO_KEY)?;
    match (version, exists, value) {
        (Some(version), None, None) => Ok(Cond::Version(Box::new(VersionIs { key, key_encoding, version }))),
        (None, Some(exists), None) => Ok(Cond::Exists(Box::new(ExistsIs { key, key_encoding, exists }))),
        (None, None, Some(value)) => Ok(Cond::Value(Box::new(ValueIs { key, key_encoding, value, encoding }))),
        _ => Err(ONE),
    }
}

fn of_a_lock(CondFields { lock, lock_encoding, token, .. }: CondFields) -> Result<Cond, &'static str> {
    match (lock, token) {
        (Some(lock), Some(token)) => Ok(Cond::Lock(Box::new(LockIs { lock, lock_encoding, token }))),
        _ => Err("a condition on a lock names the lock and the token"),
    }
}
