//! Requests on their way: taken in, handed to the engine or to the leader, and answered.

use super::{Driver, PATIENCE, RETRY, Stopped};
use crate::clock;
use crate::engine::machine::StateMachine;
use crate::engine::sessions::Submit;
use crate::engine::{Consistency, Input, Now, Query, RequestId, Response, Role, ServerId};
use crate::server::requests::{Origin, Pending, Place, Refusal, Reply, Request};
use crate::server::transport::frame::{Frame, WireRefusal, WireResponse};
use std::time::Duration;

impl<M: StateMachine> Driver<M> {
    pub(super) fn reply(&self, response: Response) -> Reply {
        let Response { index, term, event_index, output, consistency, .. } = response;
        Reply { index, term, event_index, output, consistency, served_by: self.id }
    }

    pub(super) fn admit(
        &mut self,
        now: Now,
        origin: Origin,
        request: Request,
        timeout: Duration,
    ) -> Result<(), Stopped> {
        // Before it travels: the leader would refuse it, too.
        if let Request::Submit(Submit::Command { operation, .. }) = &request
            && operation.len() as u64 > self.engine.largest_entry()
        {
            self.answer(origin, Err(Refusal::TooLarge));
            return Ok(());
        }
        match self.requests.admit(origin, request, now.monotonic, timeout) {
            Ok(id) => self.hand_over(now, id),
            Err(origin) => {
                self.answer(origin, Err(Refusal::Overloaded));
                Ok(())
            }
        }
    }

    /// Gives a request to whoever can carry it out; without such a one it is parked. A forwarded request is not
    /// forwarded again.
    pub(super) fn hand_over(&mut self, now: Now, id: RequestId) -> Result<(), Stopped> {
        let Some(pending) = self.requests.get_mut(id) else { return Ok(()) };
        let sequential = matches!(pending.request, Request::Query { consistency: Consistency::Sequential, .. });
        if self.engine.role() == Role::Leader || sequential {
            pending.place = Place::Engine;
            // A copy: what the engine refuses, or loses with its office, is handed over again.
            let input = match &pending.request {
                Request::Submit(submit) => Input::Submit { id, submit: submit.clone() },
                Request::Query { consistency, index, ask } => {
                    let (consistency, index) = (*consistency, *index);
                    Input::Query { id, query: Query { consistency, index, ask: ask.clone() } }
                }
                Request::Change(change) => Input::Change { id, change: change.clone() },
                Request::Transfer(target) => Input::Transfer { target: Some(*target), reply: Some(id) },
            };
            return Ok(self.engine.step(now, input)?);
        }
        if matches!(pending.origin, Origin::Remote { .. }) {
            self.finish_without_leader(id);
            return Ok(());
        }
        self.forward(now, id, self.engine.leader());
        Ok(())
    }

    pub(super) fn forward(&mut self, now: Now, id: RequestId, leader: Option<ServerId>) {
        let Some(pending) = self.requests.get_mut(id) else { return };
        // Asked first: a copy of a large command for a leader that cannot take it would be made at each try.
        if let Some(leader) = leader.filter(|&leader| self.links.takes(leader)) {
            let timeout = pending.deadline.saturating_sub(now.monotonic);
            let request = pending.request.to_wire(timeout);
            if self.links.send(leader, Frame::Request { id, request }) {
                pending.place = Place::Leader(leader);
                return;
            }
        }
        self.park(now, id);
    }

    pub(super) fn park(&mut self, now: Now, id: RequestId) {
        self.requests.park(id);
        self.state.retry_at.get_or_insert(now.monotonic + RETRY);
    }

    pub(super) fn retry_parked(&mut self, now: Now) -> Result<(), Stopped> {
        self.state.retry_at = None;
        let patience = self.engine.election_timeout() * PATIENCE;
        for id in self.requests.take_parked() {
            let Some(pending) = self.requests.get_mut(id) else { continue };
            if pending.place == Place::Parked && now.monotonic >= pending.arrived + patience {
                self.finish_without_leader(id);
            } else {
                self.hand_over(now, id)?;
            }
        }
        Ok(())
    }

    /// Nobody can carry it out.
    pub(super) fn finish_without_leader(&mut self, id: RequestId) {
        let uncertain = self.requests.get_mut(id).is_some_and(|p| p.may_have_effect());
        self.finish(id, Err(if uncertain { Refusal::LeaderLost } else { Refusal::NoLeader }));
    }

    pub(super) fn forward_reply(
        &mut self,
        now: Now,
        served_by: ServerId,
        id: RequestId,
        result: Result<WireResponse, WireRefusal>,
    ) {
        let Some(pending) = self.requests.get_mut(id) else { return };
        // Answered by whoever has it, and nobody else.
        if pending.place != Place::Leader(served_by) {
            return;
        }
        match result {
            Ok(WireResponse { index, term, event_index, output, consistency }) => {
                self.finish(id, Ok(Reply { index, term, event_index, output, consistency, served_by }));
            }
            Err(WireRefusal::NotLeader) => self.park(now, id),
            Err(WireRefusal::Timeout { .. }) if pending.is_repeatable() => self.lost(now, id),
            Err(refusal) => self.finish(id, Err(refusal.into())),
        }
    }

    /// Whoever had this request is lost: it is handed over again if a repeat of it is known for one.
    pub(super) fn lost(&mut self, now: Now, id: RequestId) {
        match self.requests.lose(id) {
            Some(true) => self.park(now, id),
            Some(false) => self.finish(id, Err(Refusal::LeaderLost)),
            None => {}
        }
    }

    /// What was sent to this server may be lost.
    pub(super) fn disconnected(&mut self, now: Now, id: ServerId) {
        for request in self.requests.at(Place::Leader(id)) {
            self.lost(now, request);
        }
    }

    /// This server leads no longer. What it was given may yet be committed by the next leader, or never: what may be asked
    /// twice goes to that one now.
    pub(super) fn left_office(&mut self, now: Now) {
        for request in self.requests.at(Place::Engine) {
            let submitted = |p: &mut Pending| !matches!(p.request, Request::Query { .. }) && p.is_repeatable();
            if self.requests.get_mut(request).is_some_and(submitted) {
                self.lost(now, request);
            }
        }
    }

    pub(super) fn expire(&mut self, now: Now) {
        for (id, pending) in self.requests.overdue(now.monotonic) {
            if pending.place == Place::Engine && matches!(pending.request, Request::Query { .. }) {
                // Cannot fail: it only forgets.
                let _ = self.engine.step(now, Input::Cancel(id));
            }
            let maybe_applied = pending.may_have_effect();
            let refusal = match pending.place {
                Place::Parked if !maybe_applied => Refusal::NoLeader,
                _ => Refusal::Timeout { maybe_applied },
            };
            self.answer(pending.origin, Err(refusal));
        }
    }

    /// Returns whether the request went back into the engine.
    pub(super) fn engine_reply(
        &mut self,
        now: Now,
        id: RequestId,
        result: Result<Response, crate::engine::Refusal>,
    ) -> Result<bool, Stopped> {
        use crate::engine::Refusal as R;
        let refusal = match result {
            // Looked at *after* the query was answered: a lease that has run out meanwhile is no lease (copycat #283).
            Ok(response) if response.valid_until.is_some_and(|until| clock::monotonic() >= until) => {
                if let Some(Pending { request: Request::Query { consistency, .. }, .. }) = self.requests.get_mut(id) {
                    *consistency = Consistency::Linearizable;
                }
                self.hand_over(now, id)?;
                return Ok(true);
            }
            Ok(response) => {
                let reply = self.reply(response);
                self.finish(id, Ok(reply));
                return Ok(false);
            }
            Err(refusal) => refusal,
        };
        match refusal {
            // Said by an engine that has lost what another leader has been given since.
            R::NotLeader { .. } | R::Lost if matches!(self.requests.get_mut(id), Some(p) if p.place != Place::Engine) =>
                {}
            R::NotLeader { .. } if matches!(self.requests.get_mut(id), Some(p) if matches!(p.origin, Origin::Local(_))) =>
            {
                self.park(now, id);
            }
            R::Behind => {
                self.forward(now, id, self.engine.leader());
            }
            R::NotLeader { .. } => {
                // The engine says so of what it has not done: whoever forwarded this goes to the next leader.
                if let Some(pending) = self.requests.get_mut(id) {
                    pending.place = Place::Parked;
                }
                self.finish_without_leader(id);
            }
            R::Overloaded => self.finish(id, Err(Refusal::Overloaded)),
            R::TooLarge => self.finish(id, Err(Refusal::TooLarge)),
            R::StorageFull => self.finish(id, Err(Refusal::StorageFull)),
            R::Malformed => self.finish(id, Err(Refusal::Malformed)),
            R::Session(error) => self.finish(id, Err(Refusal::Session(error))),
            R::SessionBusy => self.finish(id, Err(Refusal::SessionBusy)),
            R::Lost => self.lost(now, id),
            R::Configuration(error) => self.finish(id, Err(Refusal::Configuration(error))),
        }
        Ok(false)
    }

    pub(super) fn finish(&mut self, id: RequestId, result: Result<Reply, Refusal>) {
        if let Some(pending) = self.requests.remove(id) {
            let result = result.map_err(|refusal| pending.refused(refusal));
            self.answer(pending.origin, result);
        }
    }

    pub(super) fn answer(&self, origin: Origin, result: Result<Reply, Refusal>) {
        match origin {
            Origin::Local(reply) => reply.answer(result),
            Origin::Remote { server, id } => {
                self.links.send(server, Frame::Reply { id, result: result.map(Into::into).map_err(Into::into) });
            }
        }
    }
}
