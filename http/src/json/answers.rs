//! What commands and queries answer.

use super::keys::{Key, ListItem};
use super::text::{self, Encoding};
use crate::backend::{self, Operation, OperationOutput};
use crate::code::Code;
use serde::Serialize;
use utoipa::ToSchema;

/// A key was set.
#[derive(Serialize, ToSchema)]
pub(crate) struct PutDone {
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    key_encoding: Option<Encoding>,
    /// The index of its last change: this one.
    version: u64,
    /// It did not exist before.
    created: bool,
}

/// A key is gone.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeleteDone {
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    key_encoding: Option<Encoding>,
    /// It existed before.
    deleted: bool,
    /// The version it had.
    #[schema(required)]
    version: Option<u64>,
}

/// A key was read.
#[derive(Serialize, ToSchema)]
pub(crate) struct Got<'a> {
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    key_encoding: Option<Encoding>,
    /// The key, if it exists.
    #[schema(required)]
    item: Option<Key<'a>>,
}

impl<'a> Got<'a> {
    fn new(key: &[u8], item: Option<&'a backend::Item>) -> Self {
        let (key, key_encoding) = owned(key);
        Self { key, key_encoding, item: item.map(Key::from) }
    }
}

/// What one step of a transaction answers.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OpOutput<'a> {
    Put(PutDone),
    Delete(DeleteDone),
    Get(Got<'a>),
}

/// How many keys are gone.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeletePrefixDone {
    deleted: u64,
    /// There are more that begin so.
    more: bool,
}

/// One of a transaction's lists was carried out.
#[derive(Serialize, ToSchema)]
pub(crate) struct TransactionDone<'a> {
    /// The condition held.
    succeeded: bool,
    /// What the operations answer, in order.
    results: Vec<OpOutput<'a>>,
}

/// `POST /v1/transactions`
#[derive(Serialize, ToSchema)]
pub(crate) struct TransactionAnswer<'a> {
    /// The condition held: `then` was carried out.
    pub(crate) succeeded: bool,
    /// What the operations answer, in order.
    pub(crate) results: Vec<OpOutput<'a>>,
    pub(crate) index: u64,
}

/// The session is told of changes.
#[derive(Serialize, ToSchema)]
pub(crate) struct WatchDone {
    /// The watch's id: the index at which it was made.
    watch: u64,
    /// It did not exist before.
    created: bool,
}

/// It is told no more.
#[derive(Serialize, ToSchema)]
pub(crate) struct UnwatchDone {
    /// The watch existed.
    deleted: bool,
}

/// The lock was released, or its queue left.
#[derive(Serialize, ToSchema)]
pub(crate) struct UnlockDone {
    /// Always true.
    released: bool,
    /// It was held; else the session waited for it.
    held: bool,
}

/// The lock was taken away.
#[derive(Serialize, ToSchema)]
pub(crate) struct RevokeDone {
    /// Always true.
    revoked: bool,
    /// The token that is void.
    token: u64,
}

/// Nothing was changed by this command.
#[derive(Serialize, ToSchema)]
pub(crate) struct NotDone {
    /// `version_mismatch`, `lock_token_stale`, `lock_not_found`, `too_many_requests` where a session has too many watches,
    /// or `body_too_large` where a transaction would read too much.
    code: &'static str,
    /// The version that the key has.
    #[schema(required)]
    version: Option<u64>,
}

/// What a command answers.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CommandOutput<'a> {
    Put(PutDone),
    Delete(DeleteDone),
    DeletePrefix(DeletePrefixDone),
    Transaction(TransactionDone<'a>),
    Watch(WatchDone),
    Unwatch(UnwatchDone),
    Unlock(UnlockDone),
    Revoke(RevokeDone),
    /// Among several only: alone, it is a problem.
    Error(NotDone),
}

/// `POST /v1/commands`
#[derive(Serialize, ToSchema)]
pub(crate) struct CommandAnswer<'a> {
    pub(crate) index: u64,
    pub(crate) output: CommandOutput<'a>,
}

/// The keys of a command, which its answer repeats.
pub(crate) enum Names {
    None,
    Key(Vec<u8>),
    /// Of both lists.
    Transaction([Vec<Vec<u8>>; 2]),
}

impl Names {
    pub(crate) fn of(command: &backend::Command) -> Self {
        let keys = |operations: &[Operation]| {
            let key = |operation: &Operation| {
                let (Operation::Put { key, .. } | Operation::Delete { key } | Operation::Get { key }) = operation;
                key.clone()
            };
            operations.iter().map(key).collect()
        };
        match command {
            backend::Command::Put { key, .. } | backend::Command::Delete { key, .. } => Self::Key(key.clone()),
            backend::Command::Transaction { then, otherwise, .. } => Self::Transaction([keys(then), keys(otherwise)]),
            backend::Command::Guarded { command, .. } => Self::of(command),
            _ => Self::None,
        }
    }

    fn key(&self) -> &[u8] {
        if let Self::Key(key) = self { key } else { &[] }
    }
}

fn owned(key: &[u8]) -> (String, Option<Encoding>) {
    let (key, key_encoding) = text::key(key);
    (key.into_owned(), key_encoding)
}

fn put(key: &[u8], created: bool, version: u64) -> PutDone {
    let (key, key_encoding) = owned(key);
    PutDone { key, key_encoding, version, created }
}

fn delete(key: &[u8], version: Option<u64>) -> DeleteDone {
    let (key, key_encoding) = owned(key);
    DeleteDone { key, key_encoding, deleted: version.is_some(), version }
}

/// What a transaction's operations answer.
pub(crate) fn results<'a>(
    succeeded: bool,
    results: &'a [OperationOutput],
    names: &Names,
    index: u64,
) -> Vec<OpOutput<'a>> {
    let Names::Transaction([then, otherwise]) = names else { return Vec::new() };
    let keys = if succeeded { then } else { otherwise };
    let output = |(key, result): (&Vec<u8>, &'a OperationOutput)| match result {
        OperationOutput::Put { created } => OpOutput::Put(put(key, *created, index)),
        OperationOutput::Deleted { version } => OpOutput::Delete(delete(key, *version)),
        OperationOutput::Value(item) => OpOutput::Get(Got::new(key, item.as_ref())),
    };
    keys.iter().zip(results).map(output).collect()
}

impl<'a> CommandOutput<'a> {
    /// `None` for a batch, which none of a batch's commands is.
    pub(crate) fn new(output: &'a backend::CommandOutput, names: &Names, index: u64) -> Option<Self> {
        let not_done = |code: Code, version| Self::Error(NotDone { code: code.name(), version });
        Some(match output {
            backend::CommandOutput::Put { created } => Self::Put(put(names.key(), *created, index)),
            backend::CommandOutput::Deleted { version } => Self::Delete(delete(names.key(), *version)),
            backend::CommandOutput::ConditionFailed { version } => not_done(Code::VersionMismatch, *version),
            backend::CommandOutput::ResultTooLarge => not_done(Code::BodyTooLarge, None),
            backend::CommandOutput::DeletedMany { deleted, more } => {
                Self::DeletePrefix(DeletePrefixDone { deleted: *deleted, more: *more })
            }
            backend::CommandOutput::Transaction { succeeded, results: all } => {
                let results = results(*succeeded, all, names, index);
                Self::Transaction(TransactionDone { succeeded: *succeeded, results })
            }
            backend::CommandOutput::Watching { watch, created } => {
                Self::Watch(WatchDone { watch: *watch, created: *created })
            }
            backend::CommandOutput::Unwatched { existed } => Self::Unwatch(UnwatchDone { deleted: *existed }),
            backend::CommandOutput::Unlocked { held } => Self::Unlock(UnlockDone { released: true, held: *held }),
            backend::CommandOutput::Revoked { token } => Self::Revoke(RevokeDone { revoked: true, token: *token }),
            backend::CommandOutput::TokenStale { .. } => not_done(Code::LockTokenStale, None),
            backend::CommandOutput::LockNotFound => not_done(Code::LockNotFound, None),
            backend::CommandOutput::TooManyWatches => not_done(Code::TooManyRequests, None),
            backend::CommandOutput::Batch(_) => return None,
        })
    }
}

/// Keys in order.
#[derive(Serialize, ToSchema)]
pub(crate) struct Listing<'a> {
    items: Vec<ListItem<'a>>,
    /// The cursor of the next page.
    #[schema(required)]
    next: Option<String>,
}

/// What a query answers.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum QueryOutput<'a> {
    Get(Got<'a>),
    List(Listing<'a>),
}

/// `POST /v1/queries`
#[derive(Serialize, ToSchema)]
pub(crate) struct QueryAnswer<'a> {
    /// The applied index that it saw.
    pub(crate) index: u64,
    pub(crate) output: QueryOutput<'a>,
}

impl<'a> QueryAnswer<'a> {
    pub(crate) fn got(key: &[u8], item: Option<&'a backend::Item>, index: u64) -> Self {
        Self { index, output: QueryOutput::Get(Got::new(key, item)) }
    }

    pub(crate) fn listed(items: Vec<ListItem<'a>>, next: Option<String>, index: u64) -> Self {
        Self { index, output: QueryOutput::List(Listing { items, next }) }
    }
}
