//! The one thread that drives an engine.
//!
//! It drains its inbox in batches, steps the engine, polls it once, hands what is to be flushed to the flusher, and
//! routes what comes out: messages to peers, answers to whoever waits. It never waits for a disk, a peer or a client.

use super::ballots::Ballot;
use super::chores::Chores;
use super::clock;
use super::durability::Durability;
use super::feed::Feeds;
use super::flusher::Flusher;
use super::inbox::{Event, Segment};
use super::requests::{Origin, Pending, Place, Refusal, Reply, Request, Requests};
use super::transport::frame::{Frame, Refused, Rejection, WireRefusal, WireResponse};
use super::transport::{Door, Links};
use super::view::{View, Views};
use super::waiters::Waiters;
use super::worker::Worker;
use crate::engine::machine::{Ask, Outcome, StateMachine};
use crate::engine::{
    Consistency, Engine, Event as EngineEvent, Fatal, Input, MemberType, Now, Output, Query, RequestId, Response, Role,
    ServerId,
};
use copycat_storage::{Corrupt, Disk, Entry, FileDisk};
use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use thiserror::Error;
use tracing::{debug, info, warn};

/// Events taken in one batch.
const BATCH: usize = 1024;
/// How often requests that nobody has are offered to a leader again.
const RETRY: Duration = Duration::from_millis(50);
/// For how many election timeouts a request waits for a leader to appear.
const PATIENCE: u32 = 6;
/// How often the memory of the log's pages is given back, at most.
const RELEASE: Duration = Duration::from_secs(1);
/// A log this long without a new entry is idle: then it is noted on disk that its end is durable.
const IDLE: Duration = Duration::from_secs(1);

/// Why a driver ended.
#[derive(Debug, Error)]
pub(crate) enum Stopped {
    #[error(transparent)]
    Fatal(#[from] Fatal),
    #[error("the disk failed: {0}; nothing unflushed was acknowledged; replace the disk or restore the directory")]
    Disk(std::io::Error),
    #[error("no majority can be had: server {peer}: {refused}")]
    Refused { peer: ServerId, refused: Refused },
    #[error("server {peer} says that {0}", Rejection::Removed)]
    Removed { peer: ServerId },
}

/// What a driver is connected to.
pub(crate) struct Wiring {
    pub(crate) flusher: Flusher,
    pub(crate) worker: Worker,
    pub(crate) links: Links,
    pub(crate) door: Door,
    pub(crate) views: Views,
    pub(crate) waiters: Waiters,
    pub(crate) feeds: Feeds,
}

/// A driver, until it has ended. Between two batches it is free for those who only look ([`Driver::query_now`]).
pub(crate) type Shared<M> = Mutex<Option<Driver<M>>>;

/// Drives until shutdown, or until the server must stop.
pub(crate) fn run<M: StateMachine>(shared: &Shared<M>, inbox: Receiver<Event>) -> Result<(), Stopped> {
    let lock = || shared.lock().unwrap_or_else(PoisonError::into_inner);
    let mut next = Turn::Again;
    let result = loop {
        let wait =
            if let Turn::Again = next { Duration::ZERO } else { lock().as_ref().map_or(Duration::ZERO, Driver::wait) };
        let first = match inbox.recv_timeout(wait) {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => break Ok(()),
        };
        let mut driver = lock();
        let Some(driver) = driver.as_mut() else { break Ok(()) };
        match driver.turn(first, &inbox) {
            Ok(Turn::End) => break Ok(()),
            Ok(turn) => next = turn,
            Err(stopped) => break Err(stopped),
        }
    };
    if let Err(Stopped::Fatal(Fatal::Corrupt(corrupt))) = &result
        && let Some(driver) = lock().as_ref()
    {
        driver.set_aside(corrupt);
    }
    // Without an inbox, nobody waits to put anything into it.
    drop(inbox);
    if let Some(driver) = lock().take() {
        driver.end();
    }
    result
}

/// What comes after a batch.
enum Turn {
    /// The next one, at once.
    Again,
    /// Whatever happens next.
    Wait,
    /// Nothing.
    End,
}

pub(crate) struct Driver<M: StateMachine> {
    engine: Engine<FileDisk, M>,
    id: ServerId,
    flusher: Flusher,
    worker: Worker,
    links: Links,
    door: Door,
    views: Views,
    waiters: Waiters,
    feeds: Feeds,
    requests: Requests,
    chores: Chores,
    durability: Durability,
    state: Progress,
}

/// What the driver itself keeps between batches.
#[derive(Debug, Default)]
struct Progress {
    retry_at: Option<Duration>,
    last_index: u64,
    last_change: Duration,
    idle_marked: bool,
    flushed_at: Duration,
    /// When the log's memory was last given back, and what was applied then.
    released_at: Duration,
    released_to: u64,
    refused: BTreeSet<ServerId>,
    heard_leader: bool,
    shutting_down: Option<Duration>,
    /// When those who wait here were last told to look elsewhere.
    sent_away_at: Duration,
}

impl<M: StateMachine> Driver<M> {
    pub(crate) fn new(
        engine: Engine<FileDisk, M>,
        wiring: Wiring,
        durability: Durability,
        first_request: RequestId,
    ) -> Self {
        let Wiring { flusher, worker, mut links, door, views, waiters, feeds } = wiring;
        let id = door.me.id;
        let requests = Requests::new(first_request);
        let state = Progress::default();
        links.follow(clock::monotonic(), engine.configuration(), engine.committed_configuration());
        let chores = Chores::default();
        Self { engine, id, flusher, worker, links, door, views, waiters, feeds, requests, chores, durability, state }
    }

    /// Answers a sequential query that need not wait for anything; see [`Engine::query_now`].
    pub(crate) fn query_now(&self, index: u64, ask: &Ask) -> Option<Reply> {
        Some(self.reply(self.engine.query_now(index, ask)?))
    }

    fn reply(&self, response: Response) -> Reply {
        let Response { index, term, event_index, output, consistency, .. } = response;
        Reply { index, term, event_index, output, consistency, served_by: self.id }
    }

    /// One batch of events, and all that follows from it. Returns whether to go on at once, or that the server has ended.
    fn turn(&mut self, first: Option<Event>, inbox: &Receiver<Event>) -> Result<Turn, Stopped> {
        let now = clock::now();
        let mut drained = true;
        if let Some(event) = first {
            self.handle(now, event)?;
            let mut room = BATCH - 1;
            while room > 0
                && let Ok(event) = inbox.try_recv()
            {
                self.handle(now, event)?;
                room -= 1;
            }
            drained = room > 0;
        }
        if drained {
            self.engine.step(now, Input::Drained)?;
        }
        self.expire(now);
        if self.state.retry_at.is_some_and(|at| now.monotonic >= at) {
            self.retry_parked(now)?;
        }
        self.engine.listen(self.waiters.any());
        let mut more = self.engine.poll(now)?;
        self.waiters.wake(&self.engine.take_touched(), self.engine.applied());
        more |= self.flush(now)?;
        if let Some(work) = self.engine.work() {
            self.worker.start(work);
        }
        self.chores.look(&self.engine);
        more |= self.route(now)?;
        self.publish(now);
        if self.has_left_office(now) {
            self.close(inbox)?;
            return Ok(Turn::End);
        }
        Ok(if more { Turn::Again } else { Turn::Wait })
    }

    /// A file whose bytes have changed is not read again: the next start finds that it is missing, and gets the log back
    /// from the peers.
    fn set_aside(&self, corrupt: &Corrupt) {
        let disk = self.engine.storage().disk();
        let aside = format!("{}.damaged", corrupt.file);
        if let Err(e) = disk.rename(&corrupt.file, &aside).and_then(|()| disk.sync_dir()) {
            warn!("server {}: {} could not be set aside: {e}", self.id, corrupt.file);
        }
    }

    /// Nobody is left waiting.
    fn end(mut self) {
        for id in self.requests.all() {
            let unknown = self.requests.get_mut(id).is_some_and(|p| p.may_have_effect());
            self.finish(id, Err(if unknown { Refusal::LeaderLost } else { Refusal::ShuttingDown }));
        }
        self.waiters.wake_all();
        self.feeds.end();
        self.flusher.stop();
        self.worker.stop();
    }

    fn wait(&self) -> Duration {
        let now = clock::monotonic();
        let mut until = self.engine.deadline();
        let others =
            [self.requests.next_deadline(), self.state.retry_at, self.state.shutting_down, self.links.next_parting()];
        for at in others.into_iter().flatten() {
            until = until.min(at);
        }
        if !self.state.idle_marked {
            until = until.min(self.state.last_change + IDLE);
        }
        until.saturating_sub(now)
    }

    fn handle(&mut self, now: Now, event: Event) -> Result<(), Stopped> {
        let input = match event {
            Event::Message { from, identity, cluster, message } => {
                Ballot::of(&message, from, self.id).into_iter().for_each(|ballot| self.feeds.ballot(ballot));
                Input::Message { from, identity, cluster, message }
            }
            Event::Persisted(result) => Input::Persisted(result.map_err(Stopped::Disk)?),
            Event::Worked(worked) => Input::Worked(worked),
            Event::Prepared(result) => {
                self.engine.storage_mut().prepared(result);
                return Ok(());
            }
            Event::Met { id, identity, cluster, http, peer, dialed } => {
                if dialed {
                    self.state.refused.remove(&id);
                }
                if !self.engine.configuration().admits(id, identity) {
                    self.links.meet(id, peer);
                    self.links.follow(
                        now.monotonic,
                        self.engine.configuration(),
                        self.engine.committed_configuration(),
                    );
                    return Ok(());
                }
                Input::Peer { id, identity, cluster, http }
            }
            Event::Request { request, timeout, reply } => {
                return self.admit(now, Origin::Local(reply), request, timeout);
            }
            Event::Forwarded { from, id, request } => {
                let (request, timeout) = Request::from_wire(request);
                return self.admit(now, Origin::Remote { server: from, id }, request, timeout);
            }
            Event::ForwardReply { id, result } => {
                self.forward_reply(now, id, result);
                return Ok(());
            }
            Event::Disconnected { id } => {
                self.disconnected(now, id);
                Input::Disconnected(id)
            }
            Event::Entries { from, limit, bytes, reply } => {
                // Whoever asked may have left.
                let _ = reply.try_send(self.entries(from, limit, bytes));
                return Ok(());
            }
            Event::Segments { reply } => {
                let _ = reply.try_send(self.segments());
                return Ok(());
            }
            Event::Compact { major, reply } => {
                self.chores.compact(&mut self.engine, major, reply);
                return Ok(());
            }
            Event::TakeSnapshot { reply } => {
                self.chores.take_snapshot(&mut self.engine, reply);
                return Ok(());
            }
            Event::Backup { reply } => {
                let _ = reply.try_send(self.engine.storage_mut().stream());
                return Ok(());
            }
            Event::Pick { indexes, bytes, reply } => {
                let _ = reply.try_send(self.pick(&indexes, bytes));
                return Ok(());
            }
            Event::Refused { peer, refused } => return self.refused(now, peer, refused),
            Event::Shutdown => {
                if self.state.shutting_down.is_none() {
                    info!("server {}: shutting down", self.id);
                    self.state.shutting_down = Some(now.monotonic + self.engine.options().election_timeout);
                }
                Input::Transfer { target: None, reply: None }
            }
        };
        Ok(self.engine.step(now, input)?)
    }

    fn entries(&self, from: u64, limit: usize, bytes: usize) -> Result<Vec<Entry>, String> {
        let storage = self.engine.storage();
        let from = from.max(storage.first_index());
        if from > storage.last_index() {
            return Ok(Vec::new());
        }
        storage.entries(from, limit, bytes).map_err(|e| e.to_string())
    }

    /// Entries of these indexes, of at most so many bytes, one at least.
    fn pick(&self, indexes: &[u64], bytes: usize) -> Result<Vec<Entry>, String> {
        let (mut found, mut sum) = (Vec::new(), 0);
        for &index in indexes {
            let entry = self.engine.storage().get(index).map_err(|e| e.to_string())?;
            let entry = entry.ok_or_else(|| format!("entry {index} is not in the log"))?;
            sum += entry.data.len();
            if sum > bytes && !found.is_empty() {
                break;
            }
            found.push(entry.to_owned());
        }
        Ok(found)
    }

    fn segments(&self) -> Vec<Segment> {
        let storage = self.engine.storage();
        let (durable, global) = (storage.snapshot().map_or(0, |s| s.index), self.engine.global_index());
        let segments = storage.segments();
        let last = segments.last().map_or(0, |segment| segment.id);
        let pinned_by = |segment: &copycat_storage::SegmentInfo| match () {
            () if segment.id == last => Some("active"),
            () if segment.last > durable => Some("above the snapshot"),
            () if storage.references_between(segment.first, segment.last) > 0 => Some("referred to by the snapshot"),
            () if segment.tombstones > 0 && segment.last > global => Some("above the global index"),
            () => None,
        };
        let segments = segments.into_iter();
        let told = |info: copycat_storage::SegmentInfo| Segment {
            live: self.engine.live_between(info.first, info.last),
            pinned_by: pinned_by(&info),
            info,
        };
        segments.map(told).collect()
    }

    fn admit(&mut self, now: Now, origin: Origin, request: Request, timeout: Duration) -> Result<(), Stopped> {
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
    fn hand_over(&mut self, now: Now, id: RequestId) -> Result<(), Stopped> {
        let status = self.engine.status();
        let Some(pending) = self.requests.get_mut(id) else { return Ok(()) };
        let sequential = matches!(pending.request, Request::Query { consistency: Consistency::Sequential, .. });
        if status.role == Role::Leader || sequential {
            pending.place = Place::Engine;
            // A query is kept, to be handed over again; a command is handed over once and moves.
            let input = match &mut pending.request {
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
        self.forward(now, id, status.leader);
        Ok(())
    }

    fn forward(&mut self, now: Now, id: RequestId, leader: Option<ServerId>) {
        let Some(pending) = self.requests.get_mut(id) else { return };
        let timeout = pending.deadline.saturating_sub(now.monotonic);
        let frame = Frame::Request { id, request: pending.request.to_wire(timeout) };
        if let Some(leader) = leader
            && self.links.send(leader, frame)
        {
            pending.place = Place::Leader(leader);
        } else {
            self.park(now, id);
        }
    }

    fn park(&mut self, now: Now, id: RequestId) {
        self.requests.park(id);
        self.state.retry_at.get_or_insert(now.monotonic + RETRY);
    }

    fn retry_parked(&mut self, now: Now) -> Result<(), Stopped> {
        self.state.retry_at = None;
        let patience = self.engine.options().election_timeout * PATIENCE;
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
    fn finish_without_leader(&mut self, id: RequestId) {
        let uncertain = self.requests.get_mut(id).is_some_and(|p| p.may_have_effect());
        self.finish(id, Err(if uncertain { Refusal::LeaderLost } else { Refusal::NoLeader }));
    }

    fn forward_reply(&mut self, now: Now, id: RequestId, result: Result<WireResponse, WireRefusal>) {
        let Some(pending) = self.requests.get_mut(id) else { return };
        let Place::Leader(served_by) = pending.place else { return };
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
    fn lost(&mut self, now: Now, id: RequestId) {
        let Some(pending) = self.requests.get_mut(id) else { return };
        if pending.is_repeatable() {
            pending.uncertain = true;
            self.park(now, id);
        } else {
            self.finish(id, Err(Refusal::LeaderLost));
        }
    }

    /// What was sent to this server may be lost.
    fn disconnected(&mut self, now: Now, id: ServerId) {
        for request in self.requests.at(Place::Leader(id)) {
            self.lost(now, request);
        }
    }

    /// This server leads no longer. What it was given may yet be committed by the next leader, or never: what may be asked
    /// twice goes to that one now.
    fn left_office(&mut self, now: Now) {
        for request in self.requests.at(Place::Engine) {
            let submitted = |p: &mut Pending| !matches!(p.request, Request::Query { .. }) && p.is_repeatable();
            if self.requests.get_mut(request).is_some_and(submitted) {
                self.lost(now, request);
            }
        }
    }

    /// One peer that is not to be had may be at fault itself. If so many are that no quorum is left, it is this server.
    fn refused(&mut self, now: Now, peer: ServerId, refused: Refused) -> Result<(), Stopped> {
        if refused == Refused::ByPeer(Rejection::Removed) {
            if !self.state.heard_leader {
                return Err(Stopped::Removed { peer });
            }
            self.leave(now, "its peers say that");
            return Ok(());
        }
        self.state.refused.insert(peer);
        let others = self.engine.configuration().voters().filter(|&v| v != self.id).count();
        let willing = others.saturating_sub(self.state.refused.len());
        if !self.state.heard_leader && willing + 1 < self.engine.quorum() {
            return Err(Stopped::Refused { peer, refused });
        }
        Ok(())
    }

    fn expire(&mut self, now: Now) {
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

    /// Begins to make durable what is not. Returns whether something went back into the engine.
    fn flush(&mut self, now: Now) -> Result<bool, Stopped> {
        let mut again = false;
        let last = self.engine.storage().last_index();
        if last != self.state.last_index {
            (self.state.last_index, self.state.last_change, self.state.idle_marked) = (last, now.monotonic, false);
        } else if !self.state.idle_marked && now.monotonic >= self.state.last_change + IDLE {
            self.state.idle_marked = true;
            self.engine.storage_mut().mark_idle();
        }
        let whole = match self.durability {
            Durability::Always => true,
            Durability::Interval(interval) => now.monotonic >= self.state.flushed_at + interval,
            Durability::Never => false,
        };
        if whole || self.state.idle_marked {
            if let Some(job) = self.engine.flush(now) {
                self.state.flushed_at = now.monotonic;
                self.flusher.flush(job);
            }
        } else if let Some(job) = self.engine.flush_promises(now) {
            if job.is_instant() {
                let persisted = job.run().map_err(Stopped::Disk)?;
                self.engine.step(now, Input::Persisted(persisted))?;
                again = true;
            } else {
                self.flusher.flush(job);
            }
        }
        if let Some(job) = self.engine.storage_mut().prepare() {
            self.flusher.prepare(job);
        }
        Ok(again)
    }

    /// Routes what came out of the engine. Returns whether something went back in.
    fn route(&mut self, now: Now) -> Result<bool, Stopped> {
        let mut again = false;
        for output in self.engine.take_outputs() {
            match output {
                Output::Send { to, message } => {
                    Ballot::of(&message, self.id, to).into_iter().for_each(|ballot| self.feeds.ballot(ballot));
                    // What cannot be sent is lost; the engine repeats what matters.
                    self.links.send(to, Frame::Consensus(message));
                }
                Output::Reply { id, result } => again |= self.engine_reply(now, id, result)?,
                Output::Refused { peer, identity, .. } => {
                    warn!(
                        "server {}: a message of server {peer} is refused: its directory has identity {identity:016x}",
                        self.id
                    );
                }
                Output::Event(event) => {
                    self.note(now, &event);
                    self.feeds.note(self.id, self.engine.status().term, &event);
                    if matches!(event, EngineEvent::Role { role, .. } if role != Role::Leader) {
                        self.left_office(now);
                    }
                    again |= self.requests.has_parked();
                    self.retry_parked(now)?;
                }
            }
        }
        Ok(again)
    }

    fn note(&mut self, now: Now, event: &EngineEvent) {
        match event {
            EngineEvent::Member { member, change, index, reason } => {
                info!("server {}: configuration {index}: server {member}: {change:?} ({reason})", self.id);
            }
            EngineEvent::Snapshot { index } => debug!("server {}: a snapshot of entry {index} is durable", self.id),
            EngineEvent::Compacted => debug!("server {}: a compaction has ended", self.id),
            EngineEvent::Installed { index } => {
                info!("server {}: its state is that of a peer's snapshot of entry {index}", self.id);
                // Whatever was waited for may be in it.
                self.waiters.wake_all();
            }
            EngineEvent::Trouble { text } => warn!("server {}: {text}", self.id),
            EngineEvent::Removed { index } => {
                self.leave(now, &format!("by configuration {index}"));
            }
            EngineEvent::Role { role, term, reason } => {
                self.state.heard_leader |= *role == Role::Leader;
                info!("server {}: {role} in term {term}: {reason}", self.id);
            }
            EngineEvent::Leader { leader, term } => {
                self.state.heard_leader = true;
                info!("server {}: server {leader} leads term {term}", self.id);
            }
        }
    }

    /// This server was removed. A leader has a moment to find a successor.
    fn leave(&mut self, now: Now, how: &str) {
        if self.state.shutting_down.is_none() {
            warn!("server {}: {how} it was removed from the cluster: it stops", self.id);
            self.state.shutting_down = Some(now.monotonic + self.engine.options().election_timeout * 2);
        }
    }

    /// Returns whether the request went back into the engine.
    fn engine_reply(
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
            Ok(Response { output: Outcome::Malformed, .. }) => R::Malformed,
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
                let leader = self.engine.status().leader;
                self.forward(now, id, leader);
            }
            R::NotLeader { .. } => self.finish_without_leader(id),
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

    fn finish(&mut self, id: RequestId, result: Result<Reply, Refusal>) {
        if let Some(pending) = self.requests.remove(id) {
            let result = result.map_err(|refusal| pending.refused(refusal));
            self.answer(pending.origin, result);
        }
    }

    fn answer(&self, origin: Origin, result: Result<Reply, Refusal>) {
        match origin {
            // One place for one answer; a client that has gone away needs none.
            Origin::Local(reply) => drop(reply.try_send(result)),
            Origin::Remote { server, id } => {
                self.links.send(server, Frame::Reply { id, result: result.map(Into::into).map_err(Into::into) });
            }
        }
    }

    fn publish(&mut self, now: Now) {
        if now.monotonic >= self.state.released_at + RELEASE && self.state.released_to != self.engine.applied() {
            (self.state.released_at, self.state.released_to) = (now.monotonic, self.engine.applied());
            self.engine.storage().release_memory();
        }
        let status = self.engine.status();
        let committed = self.engine.committed_configuration();
        let news = self.door.update(status.cluster, self.engine.configuration(), committed);
        if news {
            self.links.follow(now.monotonic, self.engine.configuration(), committed);
        }
        self.links.part(now.monotonic);
        self.door.follow(status.leader);
        // Nothing is applied on a reserve member, so nothing would wake those who wait there: they ask the leader again.
        if status.member_type == Some(MemberType::Reserve)
            && now.monotonic >= self.state.sent_away_at + self.engine.options().heartbeat_interval
        {
            self.state.sent_away_at = now.monotonic;
            self.waiters.wake_all();
        }
        self.views.publish(now.monotonic, status, news, || View::of(&self.engine));
    }

    /// Whether a server that shuts down may end: it leads no longer, and nobody waits for what it was given.
    fn has_left_office(&self, now: Now) -> bool {
        self.state.shutting_down.is_some_and(|deadline| {
            let left = self.engine.status().role != Role::Leader || self.links.is_empty();
            left && self.requests.is_idle() || now.monotonic >= deadline
        })
    }

    /// The last writes: that everything here is durable, so that a tail that is later found bad is known to be rot.
    fn close(&mut self, inbox: &Receiver<Event>) -> Result<(), Stopped> {
        let now = clock::now();
        let mut meta = self.engine.storage().meta().clone();
        meta.clean = true;
        self.engine.storage_mut().set_meta(meta);
        loop {
            self.engine.storage_mut().mark_idle();
            if let Some(job) = self.engine.flush(now) {
                let persisted = job.run().map_err(Stopped::Disk)?;
                self.engine.storage_mut().persisted(persisted);
            } else if self.engine.storage().is_flushed() {
                return Ok(());
            } else {
                // A job is still with the flusher.
                match inbox.recv_timeout(self.engine.options().flush_stall()) {
                    Ok(Event::Persisted(result)) => {
                        self.engine.storage_mut().persisted(result.map_err(Stopped::Disk)?);
                    }
                    Ok(_) => {}
                    Err(_) => return Ok(()),
                }
            }
        }
    }
}
