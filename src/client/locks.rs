//! Locks: guards with a fencing token, that are told when the lock is lost.

use super::events::{Events, Heard};
use super::{Error, Keys};
use crate::clock;
use crate::engine::{Index, SessionId};
use crate::store::{self, Command, LockMode, Output, Store};
use async_lock::{Mutex, MutexGuardArc};
use async_std::future;
use async_std::task::{self, JoinHandle};
use std::collections::HashMap;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

/// The longest name of a lock, in bytes.
const NAME: usize = 255;
/// Names are remembered while somebody waits for their lock or has it; the others are forgotten when there are more than this.
const NAMES: usize = 1024;

/// Who of this client has a lock. To the cluster all of them are one session, to which it grants a lock once.
#[derive(Debug, Default)]
pub(super) struct Locks(std::sync::Mutex<HashMap<Vec<u8>, Weak<Mutex<()>>>>);

impl Locks {
    fn of(&self, name: &[u8]) -> Arc<Mutex<()>> {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mutex) = names.get(name).and_then(Weak::upgrade) {
            return mutex;
        }
        if names.len() >= NAMES {
            names.retain(|_, mutex| mutex.strong_count() > 0);
        }
        let mutex = Arc::default();
        names.insert(name.to_vec(), Arc::downgrade(&mutex));
        mutex
    }
}

/// A lock is to be taken.
#[derive(Debug)]
#[must_use = "nothing is done before this is awaited"]
pub struct Lock<'a> {
    keys: &'a Keys,
    name: Vec<u8>,
    mode: LockMode,
    wait: Option<Duration>,
}

impl<'a> Lock<'a> {
    pub(super) fn new(keys: &'a Keys, name: Vec<u8>) -> Self {
        Self { keys, name, mode: LockMode::Exclusive, wait: None }
    }

    /// Together with other clients that share it. (Within one client, a lock is one guard's at a time, shared or not.)
    pub fn shared(mut self) -> Self {
        self.mode = LockMode::Shared;
        self
    }

    /// Waits no longer than this: [`Error::LockHeld`].
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = Some(wait);
        self
    }

    /// Does not wait: [`Error::LockHeld`].
    pub fn try_once(self) -> Self {
        self.wait(Duration::ZERO)
    }

    async fn take(self) -> Result<LockGuard, Error> {
        let Self { keys, name, mode, wait } = self;
        if name.is_empty() || name.len() > NAME {
            return Err(Error::BadName);
        }
        let begun = clock::monotonic();
        let left = || wait.map(|wait| (begun + wait).saturating_sub(clock::monotonic()));
        let mutex = keys.locks.of(&name);
        let here = match left() {
            Some(Duration::ZERO) => mutex.try_lock_arc().ok_or(Error::LockHeld)?,
            Some(left) => future::timeout(left, mutex.lock_arc()).await.map_err(|_| Error::LockHeld)?,
            None => mutex.lock_arc().await,
        };
        // Before it is asked for, so that nothing falls between the two.
        let mut events = keys.client.events();
        let queue = wait.is_none_or(|wait| !wait.is_zero());
        let mut place = Place { keys: keys.clone(), name: name.clone(), token: None, here: Some(here) };
        let answer = keys.command(Command::Lock { lock: name.clone(), mode, wait_ms: 0, queue }).await?;
        let session = answer.session;
        let token = match answer.output {
            Output::Granted { token, .. } => token,
            Output::Queued { .. } => {
                let granted = granted(&mut events, &name, session, answer.index);
                match left() {
                    Some(left) => future::timeout(left, granted).await.map_err(|_| Error::LockHeld)??,
                    None => granted.await?,
                }
            }
            output => {
                place.here = None;
                return Err(match output {
                    Output::Held { .. } => Error::LockHeld,
                    _ => Error::Unexpected,
                });
            }
        };
        place.token = Some(token);
        Ok(LockGuard::new(place, session, token, events))
    }
}

impl<'a> IntoFuture for Lock<'a> {
    type Output = Result<LockGuard, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.take())
    }
}

/// Waits for the grant of what was queued at this index.
async fn granted(events: &mut Events<Store>, name: &[u8], session: SessionId, queued: Index) -> Result<u64, Error> {
    loop {
        match events.hear().await.ok_or(Error::Closed)? {
            Heard::Event(event) if event.index > queued => match event.event {
                store::Event::LockAcquired { lock, token, .. } if lock == name => return Ok(token),
                _ => {}
            },
            Heard::Lost(lost, how) if lost == session => return Err(Error::SessionLost(how)),
            Heard::Event(_) | Heard::Lost(..) | Heard::Open(_) => {}
        }
    }
}

/// A lock, or a place in its queue, that is given up when this is dropped.
#[derive(Debug)]
struct Place {
    keys: Keys,
    name: Vec<u8>,
    /// `None`: what there is of it.
    token: Option<u64>,
    /// Nobody else of this client has it. `None`: there is nothing to give up.
    here: Option<MutexGuardArc<()>>,
}

impl Place {
    async fn give_up(&mut self) -> Result<bool, Error> {
        let here = self.here.take();
        let command = Command::Unlock { lock: self.name.clone(), token: self.token };
        let answer = self.keys.command(command).await;
        drop(here);
        Ok(matches!(answer?.output, Output::Unlocked { held: true }))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.here.is_some() {
            let (keys, name, token) = (self.keys.clone(), std::mem::take(&mut self.name), self.token);
            let mut place = Self { keys, name, token, here: self.here.take() };
            // A session that is lost has no locks: nothing is left to do then.
            task::spawn(async move { place.give_up().await });
        }
    }
}

#[derive(Debug, Default)]
struct Told {
    lost: AtomicBool,
}

/// A lock that is held. It is released when this is dropped, in the background; [`unlock`](Self::unlock) waits for it.
///
/// Holding this is no proof: a program that is paused for long finds out late that the lock is another's. What must not be
/// done by two is done with the [`token`](Self::token), which rises with each grant: by
/// [`Put::guarded_by`](super::Put::guarded_by), or by whoever checks it.
#[derive(Debug)]
pub struct LockGuard {
    place: Place,
    session: SessionId,
    token: u64,
    told: Arc<Told>,
    gone: async_channel::Receiver<()>,
    watcher: Option<JoinHandle<()>>,
}

impl LockGuard {
    fn new(place: Place, session: SessionId, token: u64, events: Events<Store>) -> Self {
        let told = Arc::new(Told::default());
        let (going, gone) = async_channel::bounded(1);
        let (keys, name, tell) = (place.keys.clone(), place.name.clone(), told.clone());
        let watcher = task::spawn(async move {
            until_lost(&keys, &name, session, token, events).await;
            tell.lost.store(true, Ordering::Release);
            going.close();
        });
        Self { place, session, token, told, gone, watcher: Some(watcher) }
    }

    /// The lock's name.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        &self.place.name
    }

    /// The fencing token: higher than that of every earlier grant of any lock.
    #[must_use]
    pub fn token(&self) -> u64 {
        self.token
    }

    /// Whether the lock is known to be lost, or may be: it was taken away, its session is lost, or no server has confirmed the
    /// session for its whole timeout. Once true, it stays true.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        if outlived(&self.place.keys, self.session).is_none() {
            self.told.lost.store(true, Ordering::Release);
        }
        self.told.lost.load(Ordering::Acquire)
    }

    /// Returns when the lock is lost, or may be.
    pub async fn lost(&self) {
        if !self.is_lost() {
            // Closed then; nothing is ever sent.
            let _ = self.gone.recv().await;
        }
    }

    /// Releases the lock. Returns whether it was still held.
    ///
    /// # Errors
    /// If it is not known: the client is closed, or lost its session. Then the lock is released with the session.
    pub async fn unlock(mut self) -> Result<bool, Error> {
        self.place.give_up().await
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        if let Some(watcher) = self.watcher.take() {
            task::spawn(watcher.cancel());
        }
    }
}

/// How much longer this session surely lives; `None`: it may be over.
fn outlived(keys: &Keys, session: SessionId) -> Option<Duration> {
    let shared = &keys.client.inner.shared;
    let left = shared.valid_until(session)?.checked_sub(clock::monotonic())?;
    Some(left).filter(|left| !left.is_zero())
}

async fn until_lost(keys: &Keys, name: &[u8], session: SessionId, token: u64, mut events: Events<Store>) {
    while let Some(left) = outlived(keys, session) {
        match future::timeout(left, events.hear()).await {
            Ok(Some(Heard::Event(event))) => match event.event {
                store::Event::LockLost { lock, token: lost } if lock == name && lost == token => return,
                _ => {}
            },
            Ok(Some(Heard::Lost(lost, _))) if lost == session => return,
            Ok(Some(Heard::Lost(..) | Heard::Open(_))) => {}
            Ok(None) => return,
            // Signs of life may have gone through meanwhile.
            Err(_) => {}
        }
    }
}
