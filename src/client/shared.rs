//! What a client's handles, its listeners and its task have in common.

use super::{Lost, State};
use crate::engine::SessionId;
use crate::engine::sessions::Batch;
use crate::wire::Cluster;
use async_channel::{Receiver, Sender, TrySendError};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Batches of events that a listener may leave untaken; then it hears no more. (The cluster ends the session earlier, unless
/// its limit was raised above this.)
const UNTAKEN: usize = 64 * 1024;
/// Changes of the state that a listener may leave untaken; then it hears no more.
const STATES: usize = 1024;

/// What an event listener hears.
#[derive(Clone, Debug)]
pub(super) enum Notice {
    Events(Arc<Batch>),
    /// This session is lost: of its events nothing more is to be heard, nor of what it watched.
    Lost(SessionId, Lost),
    /// A session was opened.
    Open(SessionId),
}

/// One that listens to events.
#[derive(Debug)]
struct Listener {
    notices: Sender<Notice>,
    /// It has taken all through this index.
    taken: Arc<AtomicU64>,
}

/// Its receiving side.
#[derive(Debug)]
pub(super) struct Ear {
    pub(super) notices: Receiver<Notice>,
    taken: Arc<AtomicU64>,
    nudge: Sender<()>,
}

impl Ear {
    /// Everything through this index is taken: it may be acknowledged.
    pub(super) fn taken(&self, through: u64) {
        self.taken.store(through, Ordering::Release);
        // Full: the client's task has been woken.
        let _ = self.nudge.try_send(());
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.notices.close();
        let _ = self.nudge.try_send(());
    }
}

#[derive(Debug)]
struct Standing {
    state: State,
    session: SessionId,
    /// On the monotonic clock.
    valid_until: Duration,
    cluster: Cluster,
    states: Vec<Sender<State>>,
    listeners: Vec<Listener>,
    delivered: u64,
}

#[derive(Debug)]
pub(super) struct Shared {
    standing: Mutex<Standing>,
    nudge: Sender<()>,
}

impl Shared {
    /// `nudge`: wakes the client's task when something was taken.
    pub(super) fn new(nudge: Sender<()>) -> Self {
        let standing = Standing {
            state: State::Suspended,
            session: 0,
            valid_until: Duration::ZERO,
            cluster: Cluster::default(),
            states: Vec::new(),
            listeners: Vec::new(),
            delivered: 0,
        };
        Self { standing: Mutex::new(standing), nudge }
    }

    fn lock(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn state(&self) -> State {
        self.lock().state
    }

    /// The open session; 0: none.
    pub(super) fn session(&self) -> SessionId {
        self.lock().session
    }

    /// Until when this session lives whatever happens, on the monotonic clock; `None`: it is open no more.
    pub(super) fn valid_until(&self, session: SessionId) -> Option<Duration> {
        let standing = self.lock();
        (standing.session == session).then_some(standing.valid_until)
    }

    pub(super) fn cluster(&self) -> Cluster {
        self.lock().cluster.clone()
    }

    pub(super) fn learn(&self, cluster: Cluster) {
        self.lock().cluster = cluster;
    }

    pub(super) fn stand(&self, session: SessionId, valid_until: Duration) {
        let mut standing = self.lock();
        standing.valid_until = valid_until;
        if standing.session != session {
            standing.session = session;
            if session != 0 {
                standing.tell(&Notice::Open(session));
            }
        }
    }

    pub(super) fn turn_to(&self, state: State) {
        let mut standing = self.lock();
        standing.state = state;
        standing.states.retain(|listener| listener.try_send(state).is_ok());
        if state == State::Closed {
            standing.session = 0;
        }
    }

    pub(super) fn lost(&self, session: SessionId, how: Lost) {
        self.lock().tell(&Notice::Lost(session, how));
    }

    pub(super) fn deliver(&self, batch: Batch) {
        let mut standing = self.lock();
        standing.delivered = batch.index;
        standing.tell(&Notice::Events(Arc::new(batch)));
    }

    /// All listeners have taken what was delivered through this index.
    pub(super) fn taken(&self) -> u64 {
        let mut standing = self.lock();
        standing.listeners.retain(|listener| !listener.notices.is_closed());
        let delivered = standing.delivered;
        let taken = standing.listeners.iter().map(|listener| listener.taken.load(Ordering::Acquire)).min();
        taken.unwrap_or(delivered)
    }

    /// The state now, and what it turns to.
    pub(super) fn states(&self) -> (State, Receiver<State>) {
        let (sender, states) = async_channel::bounded(STATES);
        let mut standing = self.lock();
        standing.states.push(sender);
        (standing.state, states)
    }

    /// Begins to listen to what is delivered from now on.
    pub(super) fn listen(&self) -> Ear {
        // Bounded by `tell`: whoever leaves `UNTAKEN` hears no more.
        let (sender, notices) = async_channel::unbounded();
        let mut standing = self.lock();
        let taken = Arc::new(AtomicU64::new(standing.delivered));
        standing.listeners.push(Listener { notices: sender, taken: taken.clone() });
        Ear { notices, taken, nudge: self.nudge.clone() }
    }

    /// The client's task has ended: nobody hears anything more.
    pub(super) fn end(&self) {
        let mut standing = self.lock();
        standing.state = State::Closed;
        standing.session = 0;
        standing.states.clear();
        standing.listeners.clear();
    }
}

impl Standing {
    fn tell(&mut self, notice: &Notice) {
        self.listeners.retain(|listener| {
            let full = listener.notices.len() >= UNTAKEN;
            if full {
                tracing::warn!("a listener that left {UNTAKEN} batches of events untaken hears no more");
            }
            !full && !matches!(listener.notices.try_send(notice.clone()), Err(TrySendError::Closed(_)))
        });
    }
}
