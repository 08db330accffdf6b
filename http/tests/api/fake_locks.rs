//! The locks of the backend in memory.

use crate::fake_sessions::{Reply, Request};
use crate::state::State;
use copycat_http::{
    Answer, Caller, Command, CommandOutput, Failure, LockHolder, LockMode, LockOutput, LockRequest, LockView,
    LockWaiter, Query, QueryOutput, SessionEvent,
};
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Default)]
pub(crate) struct Locks {
    all: BTreeMap<Vec<u8>, LockView>,
    /// Who waits with a request, and not for an event.
    waiting: Vec<(Vec<u8>, u64)>,
}

impl Locks {
    pub(crate) fn holders(&self, lock: &[u8]) -> Vec<LockHolder> {
        self.all.get(lock).map(|view| view.holders.clone()).unwrap_or_default()
    }

    pub(crate) fn holds(&self, lock: &[u8], token: u64) -> bool {
        self.holders(lock).iter().any(|holder| holder.token == token)
    }

    pub(crate) fn of(&self, session: u64) -> Vec<Vec<u8>> {
        let held = self.all.values().filter(|view| view.holders.iter().any(|holder| holder.session == session));
        held.map(|view| view.lock.clone()).collect()
    }

    pub(crate) fn ask(&self, query: Query) -> QueryOutput {
        match query {
            Query::Lock { lock } => QueryOutput::Lock(self.all.get(&lock).cloned()),
            Query::Locks { after, limit } => {
                let behind = self.all.values().filter(|view| after.as_ref().is_none_or(|after| view.lock > *after));
                let mut locks: Vec<_> = behind.cloned().collect();
                let limit = usize::try_from(limit).expect("a small number");
                let next = (locks.len() > limit).then(|| locks[limit - 1].lock.clone());
                locks.truncate(limit);
                QueryOutput::Locks { locks, next }
            }
            _ => unreachable!("of keys"),
        }
    }

    fn is_free_for(&self, lock: &[u8], mode: LockMode) -> bool {
        let shared = |holder: &LockHolder| mode == LockMode::Shared && holder.mode == LockMode::Shared;
        self.holders(lock).iter().all(shared)
    }
}

impl State {
    fn since_ms(&self) -> u64 {
        1_700_000_000_000 + self.index
    }

    /// The token that a session has, and how it holds the lock.
    fn held(&self, lock: &[u8], session: u64) -> Option<LockOutput> {
        let holders = self.locks.holders(lock);
        let own = holders.iter().find(|holder| holder.session == session)?;
        Some(LockOutput::Granted { token: own.token, mode: own.mode })
    }

    fn place(&self, lock: &[u8], session: u64) -> Option<u64> {
        let at = self.locks.all.get(lock)?.queue.iter().position(|waiter| waiter.session == session)?;
        Some(at as u64 + 1)
    }

    /// Grants the lock, queues the session, or leaves it alone.
    fn try_lock(&mut self, request: &LockRequest, session: u64) -> LockOutput {
        let LockRequest { lock, mode, wait, queue } = request;
        if let Some(held) = self.held(lock, session) {
            return held;
        }
        let since_ms = self.since_ms();
        let free = self.locks.is_free_for(lock, *mode);
        let empty = LockView { lock: lock.clone(), holders: Vec::new(), queue: Vec::new() };
        let view = self.locks.all.entry(lock.clone()).or_insert(empty);
        if free && view.queue.is_empty() {
            let token = self.index;
            view.holders.push(LockHolder { session, token, mode: *mode, since_ms });
            return LockOutput::Granted { token, mode: *mode };
        }
        if !view.queue.iter().any(|waiter| waiter.session == session) {
            if wait.is_none() && !queue {
                return LockOutput::Held {
                    position: view.queue.len() as u64 + 1,
                    view: view.clone(),
                    wait: Duration::ZERO,
                };
            }
            view.queue.push(LockWaiter { session, mode: *mode, since_ms });
            if !queue {
                self.locks.waiting.push((lock.clone(), session));
            }
        }
        let view = self.locks.all[lock].clone();
        LockOutput::Queued { position: self.place(lock, session).expect("it waits"), view, wait: Duration::ZERO }
    }

    /// Frees what the lock's queue has waited for.
    fn grant(&mut self, lock: &[u8]) {
        while let Some(next) = self.locks.all.get(lock).and_then(|view| view.queue.first().cloned()) {
            if !self.locks.is_free_for(lock, next.mode) {
                break;
            }
            let (token, since_ms) = (self.index, self.since_ms());
            let LockWaiter { session, mode, .. } = next;
            let view = self.locks.all.get_mut(lock).expect("it is there");
            view.queue.remove(0);
            let tokens = view.holders.iter().map(|holder| holder.token + 1);
            let token = tokens.max().unwrap_or(token).max(token);
            view.holders.push(LockHolder { session, token, mode, since_ms });
            let place = (lock.to_vec(), session);
            match self.locks.waiting.iter().position(|waiting| *waiting == place) {
                Some(at) => drop(self.locks.waiting.remove(at)),
                None => self.tell_session(session, SessionEvent::LockAcquired { lock: lock.to_vec(), token, mode }),
            }
        }
        self.locks.all.retain(|_, view| !view.holders.is_empty() || !view.queue.is_empty());
    }

    pub(crate) fn ask_for_lock(
        &mut self,
        request: &LockRequest,
        caller: &Caller,
    ) -> Result<Answer<LockOutput>, Failure> {
        let session = caller.session.expect("a session");
        self.alive(session)?;
        let known = Request::Lock(request.clone());
        if let Some(Reply::Lock(first)) = self.known(caller, &known)? {
            return Ok(first);
        }
        let wait_ms = request.wait.map_or(0, |wait| u64::try_from(wait.as_millis()).expect("a short time"));
        let (lock, mode, queue) = (request.lock.clone(), request.mode, request.queue);
        let event_index = self.event_index(caller);
        self.log(&Command::Lock { lock, mode, wait_ms, queue });
        let output = self.try_lock(request, session);
        let answer = Answer { event_index, ..self.answer(output) };
        if request.wait.is_none() || !matches!(answer.output, LockOutput::Queued { .. }) {
            self.keep(caller, known, Reply::Lock(answer.clone()));
        }
        Ok(answer)
    }

    /// Whether a wait is over, and how it ends.
    pub(crate) fn look_for_lock(
        &mut self,
        request: &LockRequest,
        caller: &Caller,
        over: bool,
    ) -> Result<Option<Answer<LockOutput>>, Failure> {
        let session = caller.session.expect("a session");
        self.alive(session)?;
        let output = match self.held(&request.lock, session) {
            Some(granted) => granted,
            None if !over => return Ok(None),
            None => {
                let wait = request.wait.unwrap_or_default();
                let position = self.place(&request.lock, session).expect("it waits");
                let view = self.locks.all[&request.lock].clone();
                if request.queue {
                    LockOutput::Queued { position, view, wait }
                } else {
                    self.leave(&request.lock, session);
                    let view = self.locks.all[&request.lock].clone();
                    LockOutput::Held { position, view, wait }
                }
            }
        };
        let answer = Answer { event_index: self.event_index(caller), ..self.answer(output) };
        self.keep(caller, Request::Lock(request.clone()), Reply::Lock(answer.clone()));
        Ok(Some(answer))
    }

    /// Out of the queue.
    fn leave(&mut self, lock: &[u8], session: u64) {
        self.index += 1;
        let view = self.locks.all.get_mut(lock).expect("it waits");
        view.queue.retain(|waiter| waiter.session != session);
        self.locks.waiting.retain(|(name, waiter)| name != lock || *waiter != session);
        self.grant(lock);
    }

    pub(crate) fn unlock(&mut self, session: u64, lock: &[u8], token: Option<u64>) -> CommandOutput {
        let holders = self.locks.holders(lock);
        let own = holders.iter().find(|holder| holder.session == session);
        if self.place(lock, session).is_none() && own.is_none() {
            return CommandOutput::LockNotFound;
        }
        if token.is_some() && own.map(|own| own.token) != token {
            return CommandOutput::TokenStale { holders };
        }
        let held = own.is_some();
        let view = self.locks.all.get_mut(lock).expect("it is there");
        view.holders.retain(|holder| holder.session != session);
        view.queue.retain(|waiter| waiter.session != session);
        self.grant(lock);
        CommandOutput::Unlocked { held }
    }

    pub(crate) fn revoke(&mut self, session: u64, lock: &[u8]) -> CommandOutput {
        let Some(own) = self.locks.holders(lock).into_iter().find(|holder| holder.session == session) else {
            return CommandOutput::LockNotFound;
        };
        let view = self.locks.all.get_mut(lock).expect("it is held");
        view.holders.retain(|holder| holder.session != session);
        self.tell_session(session, SessionEvent::LockLost { lock: lock.to_vec(), token: own.token });
        self.grant(lock);
        CommandOutput::Revoked { token: own.token }
    }

    /// All that a session has or waits for.
    pub(crate) fn leave_locks(&mut self, session: u64) {
        let names: Vec<_> = self.locks.all.keys().cloned().collect();
        for lock in names {
            self.unlock(session, &lock, None);
        }
    }
}
