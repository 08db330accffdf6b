//! Locks: fair, fenced, and released when their session ends.
//!
//! # Invariants
//! - The holders of a lock are one exclusive one, or shared ones. A lock that nobody holds or waits for is not there.
//! - Who comes later never overtakes: a lock is given to the first in the queue, and to who asks anew only if none waits.
//! - Tokens rise strictly, over all locks: a token is the index of its grant, or one above the last if that is higher
//!   (several grants at one index).
//! - Holders and waiters are open sessions.
//! - `part` of a session names just the locks that it holds or waits for.

use super::types::{Event, LockHolder, LockMode, LockView, LockWaiter, Output};
use super::{Store, TimerData};
use crate::engine::SessionId;
use crate::engine::machine::{Context, TimerId, encode_operation};
#[allow(unused_imports)] // without planted bugs the macro expands to `false`
use crate::engine::planted_here;
use imbl::OrdSet;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Most holders, and most waiters, that the answer to a command tells of. Part of the replicated state.
const TOLD: usize = 100;

/// How a lock is asked for.
pub(super) struct Wish {
    pub(super) mode: LockMode,
    pub(super) wait_ms: u64,
    pub(super) queue: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Holder {
    session: SessionId,
    mode: LockMode,
    since: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Waiter {
    session: SessionId,
    mode: LockMode,
    since: u64,
    /// It stays until it is granted, and is told by an event.
    stays: bool,
    /// When this fires, the place is given up, unless it stays.
    timer: Option<TimerId>,
}

/// It is in snapshots as it is here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lock {
    /// By token.
    holders: BTreeMap<u64, Holder>,
    queue: VecDeque<Waiter>,
    #[cfg(feature = "planted-bugs")]
    #[serde(skip)]
    grants: u64,
}

impl Lock {
    fn admits(&self, mode: LockMode) -> bool {
        self.holders.is_empty() || mode == LockMode::Shared && self.holders.values().all(|h| h.mode == LockMode::Shared)
    }

    fn token(&self, session: SessionId) -> Option<(u64, LockMode)> {
        self.holders.iter().find(|(_, h)| h.session == session).map(|(&token, h)| (token, h.mode))
    }

    fn position(&self, session: SessionId) -> Option<usize> {
        self.queue.iter().position(|w| w.session == session)
    }

    pub(super) fn holds(&self, token: u64) -> bool {
        self.holders.contains_key(&token)
    }

    /// Who has it or waits for it.
    pub(super) fn sessions(&self) -> impl Iterator<Item = SessionId> + '_ {
        self.holders.values().map(|holder| holder.session).chain(self.queue.iter().map(|waiter| waiter.session))
    }

    /// Some who have it: as many as an answer tells.
    pub(super) fn holders(&self) -> Vec<LockHolder> {
        self.some(&[], TOLD).holders
    }

    fn some(&self, name: &[u8], most: usize) -> LockView {
        let holder =
            |(&token, h): (&u64, &Holder)| LockHolder { session: h.session, token, mode: h.mode, since: h.since };
        let waiter = |w: &Waiter| LockWaiter { session: w.session, mode: w.mode, since: w.since };
        LockView {
            lock: name.to_vec(),
            holders: self.holders.iter().map(holder).take(most).collect(),
            queue: self.queue.iter().map(waiter).take(most).collect(),
        }
    }

    /// All of it.
    pub(super) fn view(&self, name: &[u8]) -> LockView {
        self.some(name, usize::MAX)
    }

    /// As much as an answer tells, which is kept for repeats.
    fn brief(&self, name: &[u8]) -> LockView {
        self.some(name, TOLD)
    }
}

impl Store {
    /// Whether this token holds this lock.
    pub(super) fn token_holds(&self, name: &[u8], token: u64) -> bool {
        self.locks.get(name).is_some_and(|lock| lock.holds(token))
    }

    fn touch_lock(name: &[u8], context: &mut Context<Event>) {
        context.touch(&[b"l", name]);
    }

    pub(super) fn lock(
        &mut self,
        name: Vec<u8>,
        session: SessionId,
        wish: &Wish,
        context: &mut Context<Event>,
    ) -> Output {
        if session == 0 {
            return Output::NoSession;
        }
        let lock = self.locks.entry(name.clone()).or_default();
        if let Some((token, mode)) = lock.token(session) {
            if mode == wish.mode || mode == LockMode::Exclusive {
                return Output::Granted { token, mode };
            }
            // One that shares a lock cannot wait for the others to leave: two would wait for each other for ever.
            return Output::Held { position: lock.queue.len() as u64 + 1, view: lock.brief(&name) };
        }
        let place = lock.position(session);
        if place.is_none() && lock.queue.is_empty() && lock.admits(wish.mode) {
            let token = self.grant(&name, session, wish.mode, context);
            return Output::Granted { token, mode: wish.mode };
        }
        if planted_here!(context, LockOvertakes) && place.is_none() && lock.admits(wish.mode) {
            let token = self.grant(&name, session, wish.mode, context);
            return Output::Granted { token, mode: wish.mode };
        }
        if place.is_none() && wish.wait_ms == 0 && !wish.queue {
            return Output::Held { position: lock.queue.len() as u64 + 1, view: lock.brief(&name) };
        }
        let place = place.unwrap_or_else(|| {
            let since = context.time();
            lock.queue.push_back(Waiter { session, mode: wish.mode, since, stays: false, timer: None });
            lock.queue.len() - 1
        });
        let waiter = &mut lock.queue[place];
        waiter.stays |= wish.queue;
        // One that has asked to share it and now wants it alone must not get less than it asks for.
        if wish.mode == LockMode::Exclusive {
            waiter.mode = LockMode::Exclusive;
        }
        if wish.wait_ms > 0 {
            if let Some(timer) = waiter.timer.take() {
                context.cancel(timer);
            }
            let due = context.time().saturating_add(wish.wait_ms);
            let data = TimerData::GiveUp { lock: name.clone(), session };
            waiter.timer = Some(context.schedule(due, encode_operation(&data)));
        }
        let view = lock.brief(&name);
        Self::touch_lock(&name, context);
        self.part(session).locks.insert(name.into());
        Output::Queued { position: place as u64 + 1, view }
    }

    /// Returns the token.
    fn grant(&mut self, name: &[u8], session: SessionId, mode: LockMode, context: &mut Context<Event>) -> u64 {
        let token = context.index().max(self.last_token + 1);
        self.last_token = token;
        let since = context.time();
        let lock = self.locks.entry(name.to_vec()).or_default();
        #[cfg(feature = "planted-bugs")]
        let token = if planted_here!(context, TokenPerLock) {
            lock.grants += 1;
            lock.grants
        } else {
            token
        };
        lock.holders.insert(token, Holder { session, mode, since });
        Self::touch_lock(name, context);
        self.part(session).locks.insert(name.into());
        token
    }

    /// Gives a lock to those in the queue whose turn it is, and forgets one that nobody wants.
    fn promote(&mut self, name: &[u8], context: &mut Context<Event>) {
        while let Some(lock) = self.locks.get_mut(name)
            && let Some(first) = lock.queue.front()
            && lock.admits(first.mode)
            && let Some(Waiter { session, mode, stays, timer, .. }) = lock.queue.pop_front()
        {
            if let Some(timer) = timer {
                context.cancel(timer);
            }
            // It ends by the same entry as the one that leaves: it is about to be told so.
            if !context.is_open(session) && !planted_here!(context, LockToEnded) {
                continue;
            }
            let token = self.grant(name, session, mode, context);
            if stays {
                context.publish(session, Event::LockAcquired { lock: name.to_vec(), token, mode });
            }
            if planted_here!(context, PromotesOnlyOne) {
                break;
            }
        }
        if self.locks.get(name).is_some_and(|lock| lock.holders.is_empty() && lock.queue.is_empty()) {
            self.locks.remove(name);
        }
        Self::touch_lock(name, context);
    }

    /// A session has no longer to do with a lock. Returns whether it had, and whether it held it.
    fn leave(&mut self, name: &[u8], session: SessionId, context: &mut Context<Event>) -> Option<bool> {
        let lock = self.locks.get_mut(name)?;
        let held = lock.token(session);
        if let Some((token, _)) = held {
            lock.holders.remove(&token);
        } else {
            let waiter = lock.queue.remove(lock.position(session)?)?;
            if let Some(timer) = waiter.timer {
                context.cancel(timer);
            }
        }
        if let Some(part) = self.parts.get_mut(&session) {
            part.locks.remove(name);
        }
        self.forget_empty_part(session);
        Some(held.is_some())
    }

    pub(super) fn unlock(
        &mut self,
        name: &[u8],
        session: SessionId,
        token: Option<u64>,
        context: &mut Context<Event>,
    ) -> Output {
        let lock = self.locks.get(name);
        if let Some(token) = token
            && lock.and_then(|lock| lock.token(session)).is_none_or(|(own, _)| own != token)
        {
            return Output::TokenStale { holders: lock.map_or_else(Vec::new, Lock::holders) };
        }
        let Some(held) = self.leave(name, session, context) else { return Output::LockNotFound };
        self.promote(name, context);
        Output::Unlocked { held }
    }

    /// Takes a lock away from a holder.
    pub(super) fn revoke(&mut self, name: &[u8], session: SessionId, context: &mut Context<Event>) -> Output {
        let Some((token, _)) = self.locks.get(name).and_then(|lock| lock.token(session)) else {
            return Output::LockNotFound;
        };
        self.leave(name, session, context);
        context.publish(session, Event::LockLost { lock: name.to_vec(), token });
        self.promote(name, context);
        Output::Revoked { token }
    }

    /// A wait is over.
    pub(super) fn give_up(&mut self, name: &[u8], session: SessionId, timer: TimerId, context: &mut Context<Event>) {
        let Some(lock) = self.locks.get_mut(name) else { return };
        let Some(waiter) = lock.queue.iter_mut().find(|w| w.session == session && w.timer == Some(timer)) else {
            return;
        };
        waiter.timer = None;
        if !waiter.stays && !planted_here!(context, WaitsForEver) {
            self.leave(name, session, context);
            if !planted_here!(context, GiveUpPromotesNobody) {
                self.promote(name, context);
            }
        }
    }

    /// The session has ended: what it held goes to others, and it waits for nothing.
    pub(super) fn release_all(&mut self, session: SessionId, names: &OrdSet<Arc<[u8]>>, context: &mut Context<Event>) {
        for name in names {
            let waits = self.locks.get(&**name).is_some_and(|lock| lock.token(session).is_none());
            if planted_here!(context, LockToEnded) && waits {
                continue;
            }
            self.leave(name, session, context);
            self.promote(name, context);
        }
    }
}
