//! Whoever wants to be called when something happens: on one thread, apart from the driver's.

use super::feed::Feeds;
use crate::engine::{Event, MemberChange, ServerId};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::thread;

type Listener = Box<dyn FnMut(&Event) + Send>;

/// All of one server. The thread begins with the first of them, and ends with the server.
pub(super) struct Listeners {
    server: ServerId,
    feeds: Feeds,
    added: Arc<Mutex<Vec<Listener>>>,
    begun: Once,
}

fn lock(added: &Mutex<Vec<Listener>>) -> MutexGuard<'_, Vec<Listener>> {
    added.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Listeners {
    pub(super) fn new(server: ServerId, feeds: Feeds) -> Self {
        Self { server, feeds, added: Arc::default(), begun: Once::new() }
    }

    pub(super) fn add(&self, listener: impl FnMut(&Event) + Send + 'static) {
        lock(&self.added).push(Box::new(listener));
        self.begun.call_once(|| {
            let (server, feeds, added, events) =
                (self.server, self.feeds.clone(), self.added.clone(), self.feeds.listen());
            let named = thread::Builder::new().name(format!("copycat-{server}-tell"));
            if let Err(e) = named.spawn(move || run(server, &feeds, &added, events)) {
                tracing::error!("server {server}: nobody will be told of what happens: no thread: {e}");
            }
        });
    }

    /// One that hears of the members only.
    pub(super) fn member(&self, mut listener: impl FnMut(ServerId, MemberChange) + Send + 'static) {
        self.add(move |event| {
            if let Event::Member { member, change, .. } = event {
                listener(*member, *change);
            }
        });
    }
}

fn run(server: ServerId, feeds: &Feeds, added: &Mutex<Vec<Listener>>, mut events: async_channel::Receiver<Event>) {
    let mut listeners: Vec<Listener> = Vec::new();
    loop {
        while let Ok(event) = events.recv_blocking() {
            // Taken out, so that a listener may add others.
            listeners.append(&mut lock(added));
            listeners.retain_mut(|listener| {
                let called = catch_unwind(AssertUnwindSafe(|| listener(&event)));
                if called.is_err() {
                    tracing::error!("server {server}: a listener panicked and is called no more");
                }
                called.is_ok()
            });
        }
        if feeds.has_ended() {
            return;
        }
        tracing::warn!("server {server}: listeners were too slow: some of what happened was not told");
        events = feeds.listen();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Role;
    use crate::server::waiters::Waiters;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    #[test]
    fn one_that_is_slow_misses_what_does_not_fit_and_goes_on() {
        let feeds = Feeds::new(Waiters::default());
        let listeners = Listeners::new(1, feeds.clone());
        let ((go, held), (told, heard)) = (channel::<()>(), channel());
        listeners.add(move |event| {
            if let Event::Role { term, .. } = event {
                let _ = held.recv();
                told.send(*term).expect("the test listens");
            }
        });
        let happens = |term| feeds.note(1, term, &Event::Role { role: Role::Leader, term, reason: "" });
        (1..=3000).for_each(happens);
        drop(go);
        let wait = Duration::from_secs(30);
        let mut last = 0;
        // Until it listens again, what happens is lost.
        while last <= 3000 {
            happens(3001);
            while let Ok(term) = heard.recv_timeout(Duration::from_millis(50)) {
                assert!(term == last + 1 || term == 3001, "{term} after {last}");
                last = term;
            }
        }
        happens(3002);
        let rest = std::iter::from_fn(|| heard.recv_timeout(wait).ok());
        assert!(rest.take_while(|&term| term != 3002).all(|term| term == 3001));
        feeds.end();
        assert!(heard.recv_timeout(wait).is_err(), "the thread has ended, and the listener with it");
    }
}
