//! The places for whoever dials the peer port, so that nobody who holds connections keeps the members out.
//!
//! Each member of the configuration has one place, which the latest connection of that member takes over. Everybody else
//! shares a few, for a short time each; so do those that have not greeted yet. Who comes when all are taken gets that of
//! the one who has been there longest: one that means well is done by then, or dials again.

use crate::engine::ServerId;
use async_channel::{Receiver, Sender};
use futures_lite::FutureExt;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Connections that have not greeted yet, and so many where descriptors are scarce,
const GREETING: usize = 256;
const GREETING_SCARCE: usize = 8;
/// and those of servers that are no members here.
const STRANGERS: usize = 8;

/// All places of a port. A clone is the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    next: u64,
    greeting: VecDeque<Held>,
    strangers: VecDeque<Held>,
    members: BTreeMap<ServerId, Held>,
}

/// Who holds a place: its number, and what is closed when it is to leave.
#[derive(Debug)]
struct Held(u64, #[allow(dead_code)] Sender<()>);

#[derive(Clone, Copy, Debug)]
enum Kind {
    Greeting,
    Stranger,
    Member(ServerId),
}

/// One of the places, until it is dropped or somebody else gets it.
#[derive(Debug)]
pub(crate) struct Place {
    places: Places,
    number: u64,
    kind: Kind,
    leave: Receiver<()>,
}

impl Places {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For a connection that has just been made. `scarce`: there are no descriptors for clients.
    pub(crate) fn greet(&self, scarce: bool) -> Place {
        let place = self.take(Kind::Greeting);
        let mut state = self.lock();
        while scarce && state.greeting.len() > GREETING_SCARCE {
            state.greeting.pop_front();
        }
        drop(state);
        place
    }

    fn take(&self, kind: Kind) -> Place {
        let (stay, leave) = async_channel::bounded(1);
        let mut state = self.lock();
        state.next += 1;
        let number = state.next;
        let held = Held(number, stay);
        match kind {
            Kind::Greeting => push(&mut state.greeting, held, GREETING),
            Kind::Stranger => push(&mut state.strangers, held, STRANGERS),
            Kind::Member(id) => drop(state.members.insert(id, held)),
        }
        drop(state);
        Place { places: self.clone(), number, kind, leave }
    }
}

fn push(queue: &mut VecDeque<Held>, held: Held, most: usize) {
    if queue.len() >= most {
        queue.pop_front();
    }
    queue.push_back(held);
}

impl Place {
    /// This connection is a member's: an earlier one of the same member ends.
    pub(crate) fn of_member(self, id: ServerId) -> Self {
        self.places.take(Kind::Member(id))
    }

    /// This connection is some other server's.
    pub(crate) fn of_stranger(self) -> Self {
        self.places.take(Kind::Stranger)
    }

    /// Goes on as long as the place is held.
    pub(crate) async fn keep<T>(&self, what: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        let left = async {
            let _ = self.leave.recv().await;
            Err(io::Error::other("its place is another's"))
        };
        what.or(left).await
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.places.lock();
        let others = |held: &Held| held.0 != self.number;
        match self.kind {
            Kind::Greeting => state.greeting.retain(others),
            Kind::Stranger => state.strangers.retain(others),
            Kind::Member(id) => {
                if state.members.get(&id).is_some_and(|held| held.0 == self.number) {
                    state.members.remove(&id);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_std::task;
    use std::future::ready;

    fn is_held(place: &Place) -> bool {
        let later = async {
            task::yield_now().await;
            Ok(())
        };
        task::block_on(place.keep(later)).is_ok()
    }

    #[test]
    fn a_member_has_one_place_whatever_strangers_do() {
        let places = Places::default();
        let first = places.greet(false).of_member(2);
        let strangers: Vec<Place> = (0..300).map(|_| places.greet(false).of_stranger()).collect();
        let waiting: Vec<Place> = (0..300).map(|_| places.greet(false)).collect();
        assert!(is_held(&first));
        let held = |all: &[Place]| all.iter().filter(|place| is_held(place)).count();
        assert_eq!((held(&strangers), held(&waiting)), (STRANGERS, GREETING));
        assert!(is_held(&strangers[299]) && is_held(&waiting[299]), "the latest are served");
        let (second, other) = (places.greet(false).of_member(2), places.greet(false).of_member(3));
        assert!(!is_held(&first) && is_held(&second) && is_held(&other));
        let held_when_scarce = {
            let _latest = places.greet(true);
            waiting.iter().filter(|place| is_held(place)).count()
        };
        assert_eq!(held_when_scarce, GREETING_SCARCE - 1);
        drop(first);
        assert!(is_held(&second), "it is another's by now");
        drop((second, other, strangers, waiting));
        let state = places.lock();
        assert!(state.members.is_empty() && state.strangers.is_empty() && state.greeting.is_empty());
    }

    #[test]
    fn what_is_there_comes_before_the_end() {
        let place = Places::default().greet(false);
        assert_eq!(task::block_on(place.keep(async { ready(Ok(7)).await })).expect("it is held"), 7);
    }
}
