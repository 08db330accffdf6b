//! Answers about locks.

use super::text::{self, Encoding};
use crate::backend::{LockHolder, LockMode, LockView};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use utoipa::ToSchema;

/// How a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mode {
    /// By one alone.
    Exclusive,
    /// Together with others that share it.
    Shared,
}

impl From<LockMode> for Mode {
    fn from(mode: LockMode) -> Self {
        match mode {
            LockMode::Exclusive => Self::Exclusive,
            LockMode::Shared => Self::Shared,
        }
    }
}

/// Who has a lock.
#[derive(Serialize, ToSchema)]
pub(crate) struct Holder {
    session: u64,
    /// Higher than any given before, over all locks.
    token: u64,
    mode: Mode,
    /// Since when, milliseconds of log time since the Unix epoch.
    since_ms: u64,
}

impl From<&LockHolder> for Holder {
    fn from(holder: &LockHolder) -> Self {
        let LockHolder { session, token, mode, since_ms } = *holder;
        Self { session, token, mode: mode.into(), since_ms }
    }
}

pub(crate) fn holders(holders: &[LockHolder]) -> Vec<Holder> {
    holders.iter().map(Holder::from).collect()
}

/// Who waits for a lock.
#[derive(Serialize, ToSchema)]
pub(crate) struct Waiter {
    session: u64,
    mode: Mode,
    /// Since when, milliseconds of log time since the Unix epoch.
    since_ms: u64,
    /// Its place, from 1.
    position: u64,
}

pub(crate) fn queue(view: &LockView) -> Vec<Waiter> {
    let numbered = (1..).zip(&view.queue);
    let waiter = |(position, waiter): (u64, &crate::backend::LockWaiter)| Waiter {
        session: waiter.session,
        mode: waiter.mode.into(),
        since_ms: waiter.since_ms,
        position,
    };
    numbered.map(waiter).collect()
}

/// `GET /v1/locks/{name}`
#[derive(Serialize, ToSchema)]
pub(crate) struct Lock<'a> {
    lock: Cow<'a, str>,
    /// Left out where the name is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    lock_encoding: Option<Encoding>,
    /// Who has it, in the order of their tokens.
    holders: Vec<Holder>,
    /// Who waits, first come first.
    queue: Vec<Waiter>,
    /// Left out in a list, which has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    index: Option<u64>,
}

impl<'a> Lock<'a> {
    pub(crate) fn new(view: &'a LockView, index: Option<u64>) -> Self {
        let (lock, lock_encoding) = text::key(&view.lock);
        Self { lock, lock_encoding, holders: holders(&view.holders), queue: queue(view), index }
    }
}

/// Locks in order of their names.
#[derive(Serialize, ToSchema)]
pub(crate) struct Locks<'a> {
    pub(crate) locks: Vec<Lock<'a>>,
    /// The cursor of the next page.
    #[schema(required)]
    pub(crate) next: Option<String>,
    pub(crate) index: u64,
}

/// A lock is held.
#[derive(Serialize, ToSchema)]
pub(crate) struct Held<'a> {
    lock: Cow<'a, str>,
    /// Left out where the name is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    lock_encoding: Option<Encoding>,
    /// By whom.
    session: u64,
    /// Higher than any given before, over all locks.
    token: u64,
    mode: Mode,
    index: u64,
}

impl<'a> Held<'a> {
    pub(crate) fn new(name: &'a [u8], session: u64, token: u64, mode: LockMode, index: u64) -> Self {
        let (lock, lock_encoding) = text::key(name);
        Self { lock, lock_encoding, session, token, mode: mode.into(), index }
    }
}

/// A place in a lock's queue.
#[derive(Serialize, ToSchema)]
pub(crate) struct Queued<'a> {
    lock: Cow<'a, str>,
    /// Left out where the name is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    lock_encoding: Option<Encoding>,
    session: u64,
    /// Its place, from 1.
    position: u64,
    /// Who has it, in the order of their tokens.
    holders: Vec<Holder>,
    /// Who waits, first come first.
    queue: Vec<Waiter>,
    index: u64,
}

impl<'a> Queued<'a> {
    pub(crate) fn new(view: &'a LockView, session: u64, position: u64, index: u64) -> Self {
        let (lock, lock_encoding) = text::key(&view.lock);
        Self { lock, lock_encoding, session, position, holders: holders(&view.holders), queue: queue(view), index }
    }
}

/// A lock was released, or its queue left.
#[derive(Serialize, ToSchema)]
pub(crate) struct Released {
    /// Always true.
    pub(crate) released: bool,
    /// It was held; else the session waited for it.
    pub(crate) held: bool,
    pub(crate) index: u64,
}

/// A lock was taken away from its holder.
#[derive(Serialize, ToSchema)]
pub(crate) struct Revoked {
    /// Always true.
    pub(crate) revoked: bool,
    /// The token that is void.
    pub(crate) token: u64,
    pub(crate) index: u64,
}
