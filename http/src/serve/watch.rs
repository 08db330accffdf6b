//! All connections and their deadlines. One ticker looks after them all, so that a request costs no timer: arming one is
//! a store of a number, and what has passed is found at the next tick, at most [`LONGEST_TICK`] late.

use crate::config::HttpConfig;
use atomic_waker::AtomicWaker;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const LONGEST_TICK: Duration = Duration::from_millis(500);
const SHORTEST_TICK: Duration = Duration::from_millis(10);

/// How long a connection whose last request was not read to its end is read on before it is closed. Closed at once, the
/// system would throw away the answer together with what still arrives.
const LINGER: Duration = Duration::from_secs(1);

/// Milliseconds since the server's start, as of the last tick.
#[derive(Debug)]
struct Clock(AtomicU64);

/// The connections of a server.
#[derive(Debug)]
pub(super) struct Connections {
    start: Instant,
    clock: Arc<Clock>,
    limits: Limits,
    tick: Duration,
    all: Mutex<All>,
}

#[derive(Debug, Default)]
struct All {
    next: u64,
    open: BTreeMap<u64, Arc<Watched>>,
    /// How many of them each address has; as many entries as connections at most.
    by_address: BTreeMap<IpAddr, usize>,
    finishing: bool,
}

/// In milliseconds, a tick longer than configured: the clock is up to a tick late.
#[derive(Clone, Copy, Debug)]
struct Limits {
    head: u64,
    body: u64,
    write: u64,
    idle: u64,
    linger: u64,
}

impl Connections {
    pub(super) fn new(config: &HttpConfig) -> Self {
        let tick = (config.header_timeout / 4).clamp(SHORTEST_TICK, LONGEST_TICK);
        let ms = |limit: Duration| u64::try_from((limit + tick).as_millis()).unwrap_or(u64::MAX / 2);
        let limits = Limits {
            head: ms(config.header_timeout),
            body: ms(config.body_timeout),
            write: ms(config.write_timeout),
            idle: ms(config.idle_timeout),
            linger: ms(LINGER),
        };
        // Not at zero, which means "no deadline".
        let clock = Arc::new(Clock(AtomicU64::new(1)));
        Self { start: Instant::now(), clock, limits, tick, all: Mutex::default() }
    }

    pub(super) fn tick(&self) -> Duration {
        self.tick
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn len(&self) -> usize {
        self.lock().open.len()
    }

    /// How many there are from this address.
    pub(super) fn from(&self, address: IpAddr) -> usize {
        self.lock().by_address.get(&address.to_canonical()).copied().unwrap_or(0)
    }

    /// A new connection; it leaves when what this returns is dropped.
    pub(super) fn begin(self: &Arc<Self>, address: IpAddr) -> Place {
        let address = address.to_canonical();
        let watched = Arc::new(Watched {
            clock: self.clock.clone(),
            limits: self.limits,
            waker: AtomicWaker::new(),
            order: AtomicU8::new(Order::Serve as u8),
            idle: AtomicBool::new(false),
            fresh: AtomicBool::new(true),
            unread: AtomicBool::new(false),
            head: Deadline::default(),
            body: Deadline::default(),
            write: Deadline::default(),
            linger: Deadline::default(),
        });
        let mut all = self.lock();
        let id = all.next;
        all.next += 1;
        all.open.insert(id, watched.clone());
        *all.by_address.entry(address).or_default() += 1;
        if all.finishing {
            watched.order(Order::Finish);
        }
        Place { id, address, connections: self.clone(), watched }
    }

    /// Moves the clock and wakes the connections that have a deadline behind them.
    pub(super) fn look(&self) {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX / 2).max(1);
        self.clock.0.store(now, Ordering::Relaxed);
        for watched in self.lock().open.values() {
            if [&watched.head, &watched.body, &watched.write, &watched.linger].iter().any(|d| d.passed(now)) {
                watched.waker.wake();
            }
        }
    }

    /// Every connection answers what it has and closes.
    pub(super) fn finish(&self) {
        let mut all = self.lock();
        all.finishing = true;
        all.open.values().for_each(|watched| watched.order(Order::Finish));
    }

    /// Every connection closes now.
    pub(super) fn cut(&self) {
        self.lock().open.values().for_each(|watched| watched.order(Order::Cut));
    }
}

/// A connection's place among the others.
#[derive(Debug)]
pub(super) struct Place {
    id: u64,
    address: IpAddr,
    connections: Arc<Connections>,
    pub(super) watched: Arc<Watched>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.connections.lock();
        all.open.remove(&self.id);
        if let Entry::Occupied(mut count) = all.by_address.entry(self.address) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// What a connection is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Order {
    Serve = 0,
    Finish = 1,
    Cut = 2,
}

/// When something must have happened; zero: nothing is awaited.
#[derive(Debug, Default)]
pub(super) struct Deadline(AtomicU64);

impl Deadline {
    fn set(&self, at: u64) {
        self.0.store(at, Ordering::Relaxed);
    }

    /// Nothing is awaited any longer.
    pub(super) fn clear(&self) {
        self.set(0);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }

    fn passed(&self, now: u64) -> bool {
        let at = self.0.load(Ordering::Relaxed);
        at != 0 && at <= now
    }
}

/// A connection's deadlines. Only its own task sets them; the ticker reads them.
#[derive(Debug)]
pub(super) struct Watched {
    clock: Arc<Clock>,
    limits: Limits,
    pub(super) waker: AtomicWaker,
    order: AtomicU8,
    /// Nothing of the next request has come yet.
    idle: AtomicBool,
    /// No request has come yet.
    fresh: AtomicBool,
    /// The last request was not read to its end.
    pub(super) unread: AtomicBool,
    pub(super) head: Deadline,
    pub(super) body: Deadline,
    pub(super) write: Deadline,
    pub(super) linger: Deadline,
}

impl Watched {
    fn now(&self) -> u64 {
        self.clock.0.load(Ordering::Relaxed)
    }

    fn order(&self, order: Order) {
        self.order.store(order as u8, Ordering::Release);
        self.waker.wake();
    }

    pub(super) fn ordered(&self) -> Order {
        match self.order.load(Ordering::Acquire) {
            0 => Order::Serve,
            1 => Order::Finish,
            _ => Order::Cut,
        }
    }

    pub(super) fn passed(&self, deadline: &Deadline) -> bool {
        deadline.passed(self.now())
    }

    /// A header block is awaited: the first one within its own time, as it is what the client connected for, a further
    /// one within the idle time until its first byte is there.
    pub(super) fn await_head(&self) {
        let fresh = self.fresh.swap(false, Ordering::Relaxed);
        self.idle.store(!fresh, Ordering::Relaxed);
        self.head.set(self.now() + if fresh { self.limits.head } else { self.limits.idle });
    }

    /// Bytes have come.
    pub(super) fn received(&self) {
        if self.idle.load(Ordering::Relaxed) && self.head.is_set() {
            self.idle.store(false, Ordering::Relaxed);
            self.head.set(self.now() + self.limits.head);
        }
    }

    /// More of a body is awaited; the time runs from the first such moment on.
    pub(super) fn await_body(&self) {
        if !self.body.is_set() {
            self.body.set(self.now() + self.limits.body);
        }
    }

    /// The client takes no bytes.
    pub(super) fn await_write(&self) {
        if !self.write.is_set() {
            self.write.set(self.now() + self.limits.write);
        }
    }

    /// The connection is about to close.
    pub(super) fn await_end(&self) {
        if !self.linger.is_set() {
            self.linger.set(self.now() + self.limits.linger);
        }
    }
}
