//! Answers about keys.

use super::text::{self, Encoding};
use crate::backend::{Item, Listed};
use serde::Serialize;
use std::borrow::Cow;
use utoipa::ToSchema;

/// A key was written.
#[derive(Serialize, ToSchema)]
pub(crate) struct Written<'a> {
    key: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    key_encoding: Option<Encoding>,
    /// The index of its last change: this one.
    version: u64,
    /// It did not exist before.
    created: bool,
    index: u64,
}

impl<'a> Written<'a> {
    pub(crate) fn new(bytes: &'a [u8], created: bool, index: u64) -> Self {
        let (key, key_encoding) = text::key(bytes);
        Self { key, key_encoding, version: index, created, index }
    }
}

/// A key is gone.
#[derive(Serialize, ToSchema)]
pub(crate) struct Deleted {
    /// It existed before.
    pub(crate) deleted: bool,
    /// The version it had.
    #[schema(required)]
    pub(crate) version: Option<u64>,
    pub(crate) index: u64,
}

/// Keys are gone.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeletedMany {
    /// How many.
    pub(crate) deleted: u64,
    /// There are more that begin so.
    pub(crate) more: bool,
    pub(crate) index: u64,
}

/// A key.
#[derive(Serialize, ToSchema)]
pub(crate) struct Key<'a> {
    key: Cow<'a, str>,
    /// Left out where the key is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    key_encoding: Option<Encoding>,
    /// Left out where values were not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    value: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    encoding: Option<Encoding>,
    content_type: &'a str,
    /// The index of its last change.
    version: u64,
    /// The index of the change that created it.
    created_index: u64,
    /// How long it lives from its last change on; null: until it is deleted.
    #[schema(required)]
    ttl_ms: Option<u64>,
    /// The session that it goes with.
    #[schema(required)]
    session: Option<u64>,
}

impl<'a> From<&'a Item> for Key<'a> {
    fn from(item: &'a Item) -> Self {
        let (key, key_encoding) = text::key(&item.key);
        let (value, encoding) = text::text(&item.value);
        Self {
            key,
            key_encoding,
            value: Some(value),
            encoding: Some(encoding),
            content_type: &item.content_type,
            version: item.version,
            created_index: item.created_index,
            ttl_ms: Some(item.ttl_ms).filter(|&ms| ms > 0),
            session: item.session,
        }
    }
}

/// All keys that begin so.
#[derive(Serialize, ToSchema)]
pub(crate) struct Folded<'a> {
    prefix: Cow<'a, str>,
    /// Left out where the prefix is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    prefix_encoding: Option<Encoding>,
}

/// What stands in a list: a key, or what stands for several.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum ListItem<'a> {
    Key(Key<'a>),
    Prefix(Folded<'a>),
}

impl<'a> ListItem<'a> {
    /// With `values`, also a key's value.
    pub(crate) fn new(listed: &'a Listed, values: bool) -> Self {
        match listed {
            Listed::Key(item) if values => Self::Key(item.into()),
            Listed::Key(item) => Self::Key(Key { value: None, encoding: None, ..item.into() }),
            Listed::Prefix(prefix) => {
                let (prefix, prefix_encoding) = text::key(prefix);
                Self::Prefix(Folded { prefix, prefix_encoding })
            }
        }
    }
}

/// Keys in order.
#[derive(Serialize, ToSchema)]
pub(crate) struct Page<'a> {
    pub(crate) items: Vec<ListItem<'a>>,
    /// The cursor of the next page.
    #[schema(required)]
    pub(crate) next: Option<String>,
    pub(crate) index: u64,
}
