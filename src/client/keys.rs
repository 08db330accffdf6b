//! The product's own API: keys, and what is done with them.

use super::locks::{Lock, Locks};
use super::watch::{Watch, Watches};
use super::{Answer, Client, Consistency, Error, LockGuard};
use crate::store::{
    Command, Condition, Item, Listed, Listing, Operation, OperationOutput, Output, Predicate, Query, Store, Target,
};
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// The longest key, in bytes.
const KEY: usize = 4096;
/// The longest value: that of the HTTP API, so that whatever is written by one can be by the other.
const VALUE: usize = 1024 * 1024;
/// Keys of a page, unless the caller says otherwise,
const PAGE: u64 = 100;
/// and its bytes: a page is far below what a frame takes.
const PAGE_BYTES: u64 = 4 * 1024 * 1024;
/// What a transaction may read, in bytes.
const READ_BYTES: u64 = 4 * 1024 * 1024;
/// The media type of a value for which none is given.
const CONTENT_TYPE: &str = "application/octet-stream";

/// What a call is awaited as.
type Call<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// Keys, watches and locks, over a [`Client`]. A clone shares its session.
#[derive(Clone, Debug)]
pub struct Keys {
    pub(super) client: Client<Store>,
    pub(super) watches: Arc<Watches>,
    pub(super) locks: Arc<Locks>,
}

/// A key was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The key's version: the index of its last change.
    pub version: u64,
    /// It did not exist before.
    pub created: bool,
}

/// A part of a list of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The keys in order, and what stands for several.
    pub items: Vec<Listed>,
    /// Where the next page starts; `None`: there is none.
    pub next: Option<Vec<u8>>,
    /// The index of the state that it is from.
    pub index: u64,
}

/// What a transaction did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Its condition held, so that `then` was carried out, not `otherwise`.
    pub succeeded: bool,
    /// What the operations answer, in order.
    pub results: Vec<OperationOutput>,
    /// Its index: the version of what it put.
    pub index: u64,
}

fn checked(key: &[u8]) -> Result<(), Error> {
    if key.is_empty() || key.len() > KEY { Err(Error::BadName) } else { Ok(()) }
}

fn checked_value(value: &[u8]) -> Result<(), Error> {
    if value.len() > VALUE { Err(Error::TooLarge) } else { Ok(()) }
}

/// What no command of this kind answers; or why nothing was done.
fn failed(output: &Output) -> Error {
    match output {
        Output::ConditionFailed { version } => Error::ConditionFailed { version: *version },
        Output::TokenStale { .. } => Error::TokenStale,
        Output::TooManyWatches => Error::TooManyWatches,
        Output::ResultTooLarge => Error::ResultTooLarge,
        Output::Held { .. } => Error::LockHeld,
        _ => Error::Unexpected,
    }
}

impl Keys {
    /// Connects to the cluster that these servers belong to, with a session of its own.
    ///
    /// # Errors
    /// If the machine has no random numbers. It waits for a server as long as it takes; see
    /// [`Builder::connection_strategy`](super::Builder::connection_strategy) for less.
    pub async fn connect(servers: impl IntoIterator<Item = impl Into<String>>) -> Result<Self, Error> {
        Ok(Self::new(Client::builder(servers).connect().await?))
    }

    /// Uses this client. Of several made for one client, each has its own guards and watches: make one, and clone it.
    #[must_use]
    pub fn new(client: Client<Store>) -> Self {
        Self { client, watches: Arc::default(), locks: Arc::default() }
    }

    /// The client underneath.
    #[must_use]
    pub fn client(&self) -> &Client<Store> {
        &self.client
    }

    pub(super) async fn command(&self, command: Command) -> Result<Answer<Output>, Error> {
        self.client.submit(command).await
    }

    /// A key; `None` if it does not exist.
    ///
    /// # Errors
    /// As of [`Client::query`].
    pub async fn get(&self, key: impl AsRef<[u8]>, consistency: Consistency) -> Result<Option<Item>, Error> {
        let key = key.as_ref().to_vec();
        checked(&key)?;
        match self.client.query(Query::Get { key }, consistency).await?.output {
            crate::store::Answer::Value { item, .. } => Ok(item),
            _ => Err(Error::Unexpected),
        }
    }

    /// Sets a key. Await what this returns, after saying more if more is to be said.
    pub fn put(&self, key: impl AsRef<[u8]>, value: impl Into<Vec<u8>>) -> Put<'_> {
        Put {
            keys: self,
            key: key.as_ref().to_vec(),
            value: value.into(),
            content_type: CONTENT_TYPE.into(),
            ttl: Duration::ZERO,
            ephemeral: false,
            condition: Condition::Always,
            guard: None,
        }
    }

    /// Deletes a key. Await what this returns, after saying more if more is to be said.
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Delete<'_> {
        Delete { keys: self, key: key.as_ref().to_vec(), condition: Condition::Always, guard: None }
    }

    /// Deletes the first `limit` keys that begin so (empty: all keys do), at once. Returns how many it deleted, and
    /// whether there are more.
    ///
    /// # Errors
    /// As of [`Client::submit`].
    pub async fn delete_prefix(&self, prefix: impl AsRef<[u8]>, limit: u64) -> Result<(u64, bool), Error> {
        let prefix = prefix.as_ref().to_vec();
        match self.command(Command::DeletePrefix { prefix, limit }).await?.output {
            Output::DeletedMany { deleted, more } => Ok((deleted, more)),
            other => Err(failed(&other)),
        }
    }

    /// Lists the keys that begin so (empty: all keys do). Await what this returns, after saying more if more is to be said.
    pub fn list(&self, prefix: impl AsRef<[u8]>) -> List<'_> {
        let listing = Listing {
            prefix: prefix.as_ref().to_vec(),
            start: None,
            limit: PAGE,
            max_bytes: PAGE_BYTES,
            separator: None,
            values: true,
        };
        List { keys: self, listing, consistency: Consistency::Linearizable }
    }

    /// Carries one list of operations out or the other, atomically.
    ///
    /// # Errors
    /// As of [`Client::submit`]; [`Error::ResultTooLarge`] if it would read more than 4 MiB.
    pub async fn transaction(
        &self,
        condition: Predicate,
        then: Vec<Operation>,
        otherwise: Vec<Operation>,
    ) -> Result<Transaction, Error> {
        for operation in then.iter().chain(&otherwise) {
            let (Operation::Put { key, .. } | Operation::Delete { key } | Operation::Get { key }) = operation;
            checked(key)?;
            if let Operation::Put { value, .. } = operation {
                checked_value(value)?;
            }
        }
        let command = Command::Transaction { condition, then, otherwise, max_bytes: READ_BYTES };
        let answer = self.command(command).await?;
        match answer.output {
            Output::Transaction { succeeded, results } => Ok(Transaction { succeeded, results, index: answer.index }),
            other => Err(failed(&other)),
        }
    }

    /// Watches one key: what changes it from now on.
    ///
    /// # Errors
    /// As of [`Client::submit`]; [`Error::TooManyWatches`].
    pub async fn watch(&self, key: impl AsRef<[u8]>) -> Result<Watch, Error> {
        checked(key.as_ref())?;
        Watch::begin(self, Target::Key(key.as_ref().to_vec())).await
    }

    /// Watches all keys that begin so (empty: all keys do).
    ///
    /// # Errors
    /// As of [`watch`](Self::watch).
    pub async fn watch_prefix(&self, prefix: impl AsRef<[u8]>) -> Result<Watch, Error> {
        Watch::begin(self, Target::Prefix(prefix.as_ref().to_vec())).await
    }

    /// Takes a lock, waiting for it. Await what this returns, after saying more if more is to be said.
    pub fn lock(&self, name: impl AsRef<[u8]>) -> Lock<'_> {
        Lock::new(self, name.as_ref().to_vec())
    }
}

/// Puts a command behind a lock.
fn guarded(command: Command, guard: Option<(Vec<u8>, u64)>) -> Command {
    match guard {
        Some((lock, token)) => Command::Guarded { lock, token, command: Box::new(command) },
        None => command,
    }
}

/// A key is to be set.
#[derive(Debug)]
#[must_use = "nothing is done before this is awaited"]
pub struct Put<'a> {
    keys: &'a Keys,
    key: Vec<u8>,
    value: Vec<u8>,
    content_type: String,
    ttl: Duration,
    ephemeral: bool,
    condition: Condition,
    guard: Option<(Vec<u8>, u64)>,
}

impl Put<'_> {
    /// The key goes by itself after this time, of the cluster's. At least 1 ms; a fraction counts as one.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl.max(Duration::from_millis(1));
        self
    }

    /// The key goes with this client's session.
    pub fn ephemeral(mut self) -> Self {
        self.ephemeral = true;
        self
    }

    /// What the value is; `application/octet-stream` if not said.
    pub fn content_type(mut self, content_type: impl Into<String>) -> Self {
        self.content_type = content_type.into();
        self
    }

    /// Only if the key does not exist.
    pub fn if_absent(mut self) -> Self {
        self.condition = Condition::Absent;
        self
    }

    /// Only if the key exists in this version.
    pub fn if_version(mut self, version: u64) -> Self {
        self.condition = Condition::Versions(vec![version]);
        self
    }

    /// Only if the guard's lock is still held with its token.
    pub fn guarded_by(mut self, guard: &LockGuard) -> Self {
        self.guard = Some((guard.name().to_vec(), guard.token()));
        self
    }
}

impl<'a> IntoFuture for Put<'a> {
    type Output = Result<Written, Error>;
    type IntoFuture = Call<'a, Written>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self { keys, key, value, content_type, ttl, ephemeral, condition, guard } = self;
            checked(&key)?;
            checked_value(&value)?;
            let ttl_ms = u64::try_from(ttl.as_micros().div_ceil(1000)).unwrap_or(u64::MAX);
            let put = Command::Put { key, value, content_type, ttl_ms, ephemeral, condition };
            let answer = keys.command(guarded(put, guard)).await?;
            match answer.output {
                Output::Put { created } => Ok(Written { version: answer.index, created }),
                other => Err(failed(&other)),
            }
        })
    }
}

/// A key is to be deleted.
#[derive(Debug)]
#[must_use = "nothing is done before this is awaited"]
pub struct Delete<'a> {
    keys: &'a Keys,
    key: Vec<u8>,
    condition: Condition,
    guard: Option<(Vec<u8>, u64)>,
}

impl Delete<'_> {
    /// Only if the key exists in this version.
    pub fn if_version(mut self, version: u64) -> Self {
        self.condition = Condition::Versions(vec![version]);
        self
    }

    /// Only if the guard's lock is still held with its token.
    pub fn guarded_by(mut self, guard: &LockGuard) -> Self {
        self.guard = Some((guard.name().to_vec(), guard.token()));
        self
    }
}

impl<'a> IntoFuture for Delete<'a> {
    /// The version that the key had; `None`: it did not exist.
    type Output = Result<Option<u64>, Error>;
    type IntoFuture = Call<'a, Option<u64>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self { keys, key, condition, guard } = self;
            checked(&key)?;
            match keys.command(guarded(Command::Delete { key, condition }, guard)).await?.output {
                Output::Deleted { version } => Ok(version),
                other => Err(failed(&other)),
            }
        })
    }
}

/// Keys are to be listed.
#[derive(Debug)]
#[must_use = "nothing is done before this is awaited"]
pub struct List<'a> {
    keys: &'a Keys,
    listing: Listing,
    consistency: Consistency,
}

impl List<'_> {
    /// From this key on: a page's `next`.
    pub fn start(mut self, key: impl AsRef<[u8]>) -> Self {
        self.listing.start = Some(key.as_ref().to_vec());
        self
    }

    /// At most so many: 100 if not said. A page has 4 MiB at most, or one key.
    pub fn limit(mut self, limit: u64) -> Self {
        self.listing.limit = limit;
        self
    }

    /// Folds keys that hold this behind the prefix into one item.
    pub fn separator(mut self, separator: impl AsRef<[u8]>) -> Self {
        self.listing.separator = Some(separator.as_ref().to_vec());
        self
    }

    /// Leaves the values out.
    pub fn without_values(mut self) -> Self {
        self.listing.values = false;
        self
    }

    /// How fresh; linearizable if not said.
    pub fn consistency(mut self, consistency: Consistency) -> Self {
        self.consistency = consistency;
        self
    }
}

impl<'a> IntoFuture for List<'a> {
    type Output = Result<Page, Error>;
    type IntoFuture = Call<'a, Page>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let answer = self.keys.client.query(Query::List(self.listing), self.consistency).await?;
            match answer.output {
                crate::store::Answer::Page { items, next } => Ok(Page { items, next, index: answer.index }),
                _ => Err(Error::Unexpected),
            }
        })
    }
}
