//! In which order answers and events reach the program.
//!
//! # Invariants
//! - Operations complete in the order of their submission.
//! - A command's answer comes after all events at lower indexes, and before those at its own: at one index the answer,
//!   then events. A query's answer comes after all events that its state had published, except those of commands that were
//!   submitted after it: they follow the answers of their commands.
//! - Events come once each, in order, none left out: each batch names the one before.
//! - A query does not complete with an older state than what completed or was delivered before it: it is asked again.
//!
//! An event is held back while an operation is under way that was sent before the event came: it may be that command's own.
//! Nothing is held for what was sent later, or never.

use super::super::Error;
use super::Answered;
use crate::engine::Index;
use crate::engine::sessions::Batch;
use std::collections::{BTreeSet, VecDeque};

/// An operation's place in the order of submission, from 0.
pub(crate) type Place = u64;

#[derive(Debug)]
struct Slot<P> {
    payload: P,
    command: bool,
    answer: Option<Result<Answered, Error>>,
}

/// A batch that was received, and not delivered.
#[derive(Debug)]
struct Held {
    batch: Batch,
    /// What was sent before it came has a lower place.
    until: Place,
}

/// What comes next.
#[derive(Debug, PartialEq)]
pub(crate) enum Next {
    /// This operation is done.
    Complete(Place, Result<Answered, Error>),
    /// These events are for the program.
    Deliver(Batch),
    /// This query's answer is too old: ask it again.
    Again(Place),
}

/// A batch does not follow the one before: something is missing, or comes again.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Gap;

#[derive(Debug)]
pub(crate) struct Order<P> {
    slots: VecDeque<Slot<P>>,
    /// The place of the first slot.
    first: Place,
    /// Sent and not answered: somebody may be carrying them out.
    commands: BTreeSet<Place>,
    queries: BTreeSet<Place>,
    /// All that were ever sent have a lower place.
    sent: Place,
    batches: VecDeque<Held>,
    /// The session's last batch that was received; 0: none.
    received: Index,
    /// The last batch that was received in any session.
    heard: Index,
    /// The highest index that completed or was delivered,
    completed: Index,
    /// and that was heard of.
    seen: Index,
}

impl<P> Default for Order<P> {
    fn default() -> Self {
        Self {
            slots: VecDeque::new(),
            first: 0,
            commands: BTreeSet::new(),
            queries: BTreeSet::new(),
            sent: 0,
            batches: VecDeque::new(),
            received: 0,
            heard: 0,
            completed: 0,
            seen: 0,
        }
    }
}

impl<P> Order<P> {
    pub(crate) fn push(&mut self, command: bool, payload: P) -> Place {
        self.slots.push_back(Slot { payload, command, answer: None });
        self.first + self.slots.len() as Place - 1
    }

    /// How many operations are not done.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    fn slot(&mut self, place: Place) -> Option<&mut Slot<P>> {
        let at = usize::try_from(place.checked_sub(self.first)?).ok()?;
        self.slots.get_mut(at)
    }

    /// What was pushed at this place, if it is not done.
    pub(crate) fn get_mut(&mut self, place: Place) -> Option<&mut P> {
        self.slot(place).map(|slot| &mut slot.payload)
    }

    /// From now on it may have an effect, or an answer.
    pub(crate) fn sent(&mut self, place: Place) {
        let Some(command) = self.slot(place).map(|slot| slot.command) else { return };
        if command {
            self.commands.insert(place)
        } else {
            self.queries.insert(place)
        };
        self.sent = self.sent.max(place + 1);
    }

    /// It has none, and will have none until it is sent again.
    pub(crate) fn unsent(&mut self, place: Place) {
        self.commands.remove(&place);
        self.queries.remove(&place);
    }

    pub(crate) fn answer(&mut self, place: Place, answer: Result<Answered, Error>) {
        let Some(slot) = self.slot(place) else { return };
        if slot.answer.is_some() {
            return;
        }
        let index = answer.as_ref().map_or(0, |answered| answered.index);
        slot.answer = Some(answer);
        self.unsent(place);
        self.seen = self.seen.max(index);
    }

    /// Events have come.
    pub(crate) fn events(&mut self, batches: Vec<Batch>) -> Result<(), Gap> {
        for batch in batches {
            if batch.previous != self.received {
                return Err(Gap);
            }
            (self.received, self.heard) = (batch.index, batch.index);
            self.seen = self.seen.max(batch.index);
            self.batches.push_back(Held { batch, until: self.sent });
        }
        Ok(())
    }

    /// The last batch that was received; 0: none.
    pub(crate) fn received(&self) -> Index {
        self.received
    }

    /// The highest index that was heard of: a query is answered from a state at or above it.
    pub(crate) fn seen(&self) -> Index {
        self.seen
    }

    /// Whether nothing goes on until events come that an answer says there are.
    pub(crate) fn lacks_events(&self) -> bool {
        let front = self.slots.front().and_then(|slot| slot.answer.as_ref());
        matches!(front, Some(Ok(answered)) if answered.event_index.is_some_and(|index| index > self.heard))
    }

    /// The session is over: what was received is all there is of its events.
    pub(crate) fn end_session(&mut self) {
        for slot in &mut self.slots {
            if let Some(Ok(answered)) = &mut slot.answer {
                answered.event_index = answered.event_index.map(|index| index.min(self.heard));
            }
        }
        self.received = 0;
    }

    /// Delivers the first batch if its index is below this one, and no answered command comes before it.
    fn deliver(&mut self, limit: Index) -> Option<Next> {
        let index = self.batches.front().map(|held| held.batch.index).filter(|&index| index < limit)?;
        let commands = self.slots.iter().filter(|slot| slot.command);
        let first = commands.filter_map(|slot| slot.answer.as_ref()?.as_ref().ok()).next();
        if first.is_some_and(|answered| answered.index <= index) {
            return None;
        }
        let Held { batch, .. } = self.batches.pop_front()?;
        self.completed = self.completed.max(batch.index);
        Some(Next::Deliver(batch))
    }

    /// Whether the first batch may be that of a command that is under way; or, with `queries`, whether anything is that
    /// may not have seen it.
    fn is_held(&self, queries: bool) -> bool {
        let Some(held) = self.batches.front() else { return false };
        let before = |sent: &BTreeSet<Place>| sent.first().is_some_and(|&place| place < held.until);
        before(&self.commands) || queries && before(&self.queries)
    }

    /// What comes next, if that is known.
    pub(crate) fn next(&mut self) -> Option<Next> {
        let Some(Slot { answer: Some(answer), command, .. }) = self.slots.front() else {
            return if self.is_held(true) { None } else { self.deliver(Index::MAX) };
        };
        if let Ok(Answered { index, event_index, .. }) = answer {
            let (index, event_index, command) = (*index, event_index.unwrap_or(0), *command);
            if event_index > self.heard {
                return None;
            }
            if !command && index < self.completed {
                self.slots.front_mut()?.answer = None;
                return Some(Next::Again(self.first));
            }
            if self.batches.front().is_some_and(|held| held.batch.index <= event_index) {
                // Of those that a query has seen, some may be of a command that was submitted after it.
                if !command && self.is_held(false) {
                    return None;
                }
                if let Some(next) = self.deliver(event_index + 1) {
                    return Some(next);
                }
            }
            self.completed = self.completed.max(index);
        }
        let place = self.first;
        self.first += 1;
        let answer = self.slots.pop_front()?.answer?;
        Some(Next::Complete(place, answer))
    }
}
