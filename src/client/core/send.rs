//! Operations on their way: sent, answered, refused, and sent again.

use super::super::{Error, Lost};
use super::{About, Answered, Core, Operation, Place, WINDOW};
use crate::engine::machine::Outcome;
use crate::engine::sessions::SessionError;
use crate::wire::{Refusal, Request, Response};
use std::time::Duration;

impl Core {
    /// Sends whatever may be sent.
    pub(super) fn send(&mut self, now: Duration) {
        let Some(session) = self.session() else { return };
        if self.connected.is_none() || now < self.backoff.until {
            return;
        }
        // Into a session that may be over nothing is sent that could go into the next one.
        let over = self.valid_until().is_none_or(|until| now >= until);
        while let Some(&place) = self.commands.first() {
            // The numbers from a failing one on may be free in a moment.
            if self.failing.first_key_value().is_some_and(|(&failing, _)| failing < place) {
                break;
            }
            let (last, acknowledged) = (self.numbers.last, self.numbers.acknowledged);
            let Some(payload) = self.order.get_mut(place) else { break };
            if payload.sequence == 0 {
                if over || last - acknowledged >= WINDOW {
                    break;
                }
                payload.sequence = last + 1;
                self.numbers.last = payload.sequence;
            }
            payload.in_flight = true;
            let Operation::Command { mode, ref bytes } = payload.operation else { break };
            let (sequence, operation) = (payload.sequence, bytes.clone());
            self.commands.remove(&place);
            self.order.sent(place);
            self.request(About::Operation(place), Request::Command { session, sequence, mode, operation });
        }
        while let Some(&place) = self.queries.first() {
            if self.unanswered.first().is_some_and(|&command| command < place) {
                break;
            }
            let index = self.order.seen();
            let Some(payload) = self.order.get_mut(place) else { break };
            payload.in_flight = true;
            let Operation::Query { consistency, ref bytes } = payload.operation else { break };
            let operation = bytes.clone();
            self.queries.remove(&place);
            self.order.sent(place);
            self.request(About::Operation(place), Request::Query { session, consistency, index, operation });
        }
    }

    /// What became of an operation.
    pub(super) fn replied(&mut self, now: Duration, place: Place, result: Result<Response, Refusal>) {
        let Some(payload) = self.order.get_mut(place) else { return };
        payload.in_flight = false;
        let (sequence, command) = (payload.sequence, matches!(payload.operation, Operation::Command { .. }));
        match result {
            Ok(Response { index, event_index, output, consistency, .. }) => {
                self.backoff.reset();
                let answer = match output {
                    Outcome::Output(output) => {
                        let session = self.session().unwrap_or(0);
                        Ok(Answered { session, index, event_index, output, consistency })
                    }
                    // A command that is none of the machine's was logged by a version that did not look: it has its number.
                    _ => Err(Error::Malformed),
                };
                self.answered(place, sequence, answer);
            }
            Err(refusal) if command => self.command_refused(now, place, refusal),
            Err(Refusal::Malformed) => self.answered(place, 0, Err(Error::Malformed)),
            Err(Refusal::TooLarge) => self.answered(place, 0, Err(Error::TooLarge)),
            Err(refusal) => {
                self.order.unsent(place);
                self.queries.insert(place);
                self.refused(now, refusal);
            }
        }
    }

    fn answered(&mut self, place: Place, sequence: u64, answer: Result<Answered, Error>) {
        self.unanswered.remove(&place);
        if sequence != 0 {
            self.numbers.answer(sequence);
        }
        self.order.answer(place, answer);
    }

    /// Something is to be asked again.
    fn refused(&mut self, now: Duration, refusal: Refusal) {
        self.backoff.fail(now);
        match refusal {
            // It has not found one for some time: another server may.
            Refusal::NotLeader => self.reconnect(),
            Refusal::SessionBusy => self.hurry(),
            _ => {}
        }
    }

    fn command_refused(&mut self, now: Duration, place: Place, refusal: Refusal) {
        let Some(payload) = self.order.get_mut(place) else { return };
        match refusal {
            Refusal::TooLarge => {
                self.failing.insert(place, Error::TooLarge);
                return;
            }
            Refusal::Malformed => {
                self.failing.insert(place, Error::Malformed);
                return;
            }
            Refusal::StorageFull if !payload.uncertain => {
                self.failing.insert(place, Error::StorageFull);
                return;
            }
            Refusal::Session(SessionError::SequenceGap { expected }) if expected > self.numbers.answered => {}
            Refusal::Session(error) => return self.lose(error.into()),
            Refusal::Timeout { maybe_applied } => payload.uncertain |= maybe_applied,
            _ => {}
        }
        self.commands.insert(place);
        self.refused(now, refusal);
    }

    /// Commands that are refused for good fail as soon as it is certain that nothing was made of their numbers, which the
    /// next ones get.
    pub(super) fn settle_failing(&mut self, now: Duration) {
        let Some(&place) = self.unanswered.first() else { return };
        if !self.failing.contains_key(&place) {
            return;
        }
        let numbered: Vec<Place> = self.unanswered.iter().copied().collect();
        let mut free = None;
        for &place in &numbered {
            let Some(payload) = self.order.get_mut(place).filter(|payload| payload.sequence != 0) else { break };
            if payload.in_flight {
                return;
            }
            if payload.uncertain {
                return self.keep_numbers(now);
            }
            free = free.or(Some(payload.sequence));
        }
        let Some(free) = free else { return };
        self.numbers.last = free - 1;
        for place in numbered {
            if let Some(payload) = self.order.get_mut(place) {
                payload.sequence = 0;
            }
            self.order.unsent(place);
            if let Some(error) = self.failing.remove(&place) {
                self.answered(place, 0, Err(error));
            }
        }
    }

    /// A later command may be held by somebody under its number, so that no number can be given anew: what was refused
    /// for want of room is tried again; a session with a command that is refused for ever goes on no more.
    fn keep_numbers(&mut self, now: Duration) {
        if self.failing.values().any(|error| *error == Error::TooLarge) {
            return self.lose(Lost::Broken);
        }
        self.backoff.fail(now);
        self.commands.extend(std::mem::take(&mut self.failing).into_keys());
    }
}
