//! The one task that drives an engine.
//!
//! It runs where the sockets are served, so that handing over what arrived, and what is to leave, wakes no thread. It drains its inbox in batches, steps the engine, polls it once, hands what is to be flushed to the flusher, and
//! routes what comes out: messages to peers, answers to whoever waits. It never waits for a disk, a peer or a client.

mod ending;
mod looks;
mod requests;

use super::alarm::Alarm;
use super::ballots::Ballot;
use super::chores::Chores;
use super::clock;
use super::durability::{Durability, Rest};
use super::feed::Feeds;
use super::flusher::Flusher;
use super::inbox::{Arriving, Event};
use super::machine::MachineThread;
use super::requests::{Origin, Request, Requests};
use super::settings::Flags;
use super::transport::frame::{Frame, Refused, Rejection};
use super::transport::{Door, Links};
use super::view::{View, Views};
use super::waiters::Waiters;
use super::worker::Worker;
use crate::engine::machine::StateMachine;
use crate::engine::{Engine, Event as EngineEvent, Fatal, Input, MemberType, Now, Output, RequestId, Role, ServerId};
use async_std::task;
use copycat_storage::AnyDisk;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
/// How often the configuration's file is tried again while it cannot be written.
const SAVE_AGAIN: Duration = Duration::from_secs(1);

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
    #[error("{0}")]
    Settings(String),
}

/// What a driver is connected to.
pub(crate) struct Wiring<M: StateMachine> {
    pub(crate) flusher: Flusher,
    pub(crate) worker: Worker,
    /// Where entries are applied, if not here.
    pub(crate) machine: Option<MachineThread<M>>,
    pub(crate) links: Links,
    pub(crate) door: Door,
    pub(crate) views: Views,
    pub(crate) waiters: Waiters,
    pub(crate) feeds: Feeds,
    pub(crate) flags: Flags,
}

/// A driver, until it has ended. Between two batches it is free for those who only look ([`Driver::query_now`]).
pub(crate) type Shared<M> = Mutex<Option<Driver<M>>>;

fn lock<M: StateMachine>(shared: &Shared<M>) -> MutexGuard<'_, Option<Driver<M>>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Drives until shutdown, or until the server must stop.
pub(crate) async fn run<M: StateMachine>(shared: Arc<Shared<M>>, inbox: Arriving) -> Result<(), Stopped> {
    let result = drive(&shared, &inbox).await;
    // Disks and threads are waited for now, elsewhere than where sockets are served.
    task::spawn_blocking(move || end(&shared, inbox, result)).await
}

async fn drive<M: StateMachine>(shared: &Shared<M>, inbox: &Arriving) -> Result<(), Stopped> {
    let (mut next, mut alarm) = (Turn::Again, Alarm::default());
    loop {
        let first = if let Turn::Again = next {
            task::yield_now().await;
            inbox.take()
        } else {
            let until = lock(shared).as_ref().map_or(Duration::ZERO, Driver::deadline);
            alarm.until(until, inbox.next()).await.and_then(Result::ok)
        };
        match lock(shared).as_mut().map_or(Ok(Turn::End), |driver| driver.turn(first, inbox))? {
            Turn::End => return Ok(()),
            turn => next = turn,
        }
    }
}

fn end<M: StateMachine>(shared: &Shared<M>, inbox: Arriving, result: Result<(), Stopped>) -> Result<(), Stopped> {
    // Taken first: who looks while it ends must find that it is gone, not that it is busy.
    let Some(mut driver) = lock(shared).take() else { return result };
    let result = match result {
        Ok(()) => driver.close(&inbox),
        Err(stopped) => {
            if let Stopped::Fatal(Fatal::Corrupt(corrupt)) = &stopped {
                driver.set_aside(corrupt);
            }
            Err(stopped)
        }
    };
    // Without an inbox, nobody waits to put anything into it.
    drop(inbox);
    driver.end();
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
    engine: Engine<AnyDisk, M>,
    id: ServerId,
    flusher: Flusher,
    worker: Worker,
    machine: Option<MachineThread<M>>,
    links: Links,
    door: Door,
    views: Views,
    waiters: Waiters,
    feeds: Feeds,
    requests: Requests,
    chores: Chores,
    flags: Flags,
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
    /// When the configuration's file is tried again: the disk had no room for it.
    save_at: Option<Duration>,
    rest: Rest,
}

impl<M: StateMachine> Driver<M> {
    pub(crate) fn new(
        engine: Engine<AnyDisk, M>,
        wiring: Wiring<M>,
        durability: Durability,
        first_request: RequestId,
    ) -> Self {
        let Wiring { flusher, worker, machine, mut links, door, views, waiters, feeds, flags } = wiring;
        let id = door.me.id;
        let requests = Requests::new(first_request);
        let state = Progress::default();
        links.follow(clock::monotonic(), engine.configuration(), engine.committed_configuration());
        let chores = Chores::default();
        Self {
            engine,
            id,
            flusher,
            worker,
            machine,
            links,
            door,
            views,
            waiters,
            feeds,
            requests,
            chores,
            flags,
            durability,
            state,
        }
    }

    /// One batch of events, and all that follows from it. Returns whether to go on at once, or that the server has ended.
    fn turn(&mut self, first: Option<Event>, inbox: &Arriving) -> Result<Turn, Stopped> {
        let now = clock::now();
        let mut drained = true;
        if let Some(event) = first {
            self.handle(event)?;
            let mut room = BATCH - 1;
            while room > 0
                && let Some(event) = inbox.take()
            {
                self.handle(event)?;
                room -= 1;
            }
            drained = room > 0;
        }
        if drained {
            self.engine.step(now, Input::Drained)?;
        }
        let now = clock::now();
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
        if let Some(machine) = &self.machine
            && let Some(job) = self.engine.lend()?
        {
            machine.apply(job);
        }
        self.chores.look(&self.engine);
        more |= self.route(now)?;
        self.publish(now)?;
        if self.has_left_office(now) {
            return Ok(Turn::End);
        }
        Ok(if more { Turn::Again } else { Turn::Wait })
    }

    /// By when there is something to do, whatever happens.
    fn deadline(&self) -> Duration {
        let mut until = self.engine.deadline();
        let others =
            [self.requests.next_deadline(), self.state.retry_at, self.state.shutting_down, self.links.next_parting()];
        let others = others.into_iter().chain([self.state.save_at]);
        for at in others.flatten() {
            until = until.min(at);
        }
        if !self.state.idle_marked {
            until = until.min(self.state.last_change + IDLE);
        }
        until
    }

    fn handle(&mut self, event: Event) -> Result<(), Stopped> {
        // Not that of the batch, which may take long: a leader's lease counts from when it sent a message, and what this
        // server promises by hearing it from when it is taken in.
        let now = clock::now();
        let input = match event {
            Event::Message { from, identity, cluster, message, share } => {
                drop(share);
                Ballot::of(&message, from, self.id).into_iter().for_each(|ballot| self.feeds.ballot(ballot));
                Input::Message { from, identity, cluster, message }
            }
            Event::Persisted(result) => Input::Persisted(result.map_err(Stopped::Disk)?),
            Event::Worked(worked) => Input::Worked(worked),
            Event::Applied => {
                if let Some(job) = self.machine.as_ref().and_then(MachineThread::done) {
                    self.engine.take_back(job)?;
                }
                return Ok(());
            }
            Event::Prepared(result) => {
                self.engine.storage_mut().prepared(result);
                return Ok(());
            }
            Event::Met { id, identity, cluster, http } => {
                self.state.refused.remove(&id);
                if !self.engine.configuration().admits(id, identity) {
                    return Ok(());
                }
                Input::Peer { id, identity, cluster, http }
            }
            Event::Stranger { id, peer } => {
                self.links.find(now.monotonic, id, peer, self.engine.configuration());
                return Ok(());
            }
            Event::Found { id, peer } => {
                self.links.meet(id, peer);
                self.links.follow(now.monotonic, self.engine.configuration(), self.engine.committed_configuration());
                return Ok(());
            }
            Event::Request { request, timeout, reply } => {
                return self.admit(now, Origin::Local(reply), request, timeout);
            }
            Event::Forwarded { from, id, request, share } => {
                drop(share);
                let (request, timeout) = Request::from_wire(request);
                return self.admit(now, Origin::Remote { server: from, id }, request, timeout);
            }
            Event::ForwardReply { from, id, result } => {
                self.forward_reply(now, from, id, result);
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
                    self.state.shutting_down = Some(now.monotonic + self.engine.election_timeout());
                }
                Input::Transfer { target: None, reply: None }
            }
        };
        Ok(self.engine.step(now, input)?)
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
        self.state.rest.look(self.durability, self.state.idle_marked, self.engine.storage_mut());
        self.save_again(now);
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

    /// The configuration's file could not be written: said once, and tried again until it is.
    fn save_again(&mut self, now: Now) {
        let (id, storage) = (self.id, self.engine.storage_mut());
        let due = now.monotonic + SAVE_AGAIN;
        self.state.save_at = match (storage.unsaved(), self.state.save_at) {
            (Some(why), None) => {
                let text =
                    format!("the file of the configuration cannot be written ({why}); it goes on, and tries again");
                warn!("server {id}: {text}");
                self.feeds.note(id, storage.meta().term, &EngineEvent::Trouble { text });
                Some(due)
            }
            (Some(_), Some(at)) if now.monotonic >= at => {
                storage.save_again();
                Some(due)
            }
            (None, Some(_)) => {
                info!("server {id}: the file of the configuration is written");
                None
            }
            (_, at) => at,
        };
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
            EngineEvent::Settings { index, reason } => info!("server {}: configuration {index}: {reason}", self.id),
            EngineEvent::Snapshot { index } => debug!("server {}: a snapshot of entry {index} is durable", self.id),
            EngineEvent::Compacted => debug!("server {}: a compaction has ended", self.id),
            EngineEvent::Installed { index } => {
                info!("server {}: its state is that of a peer's snapshot of entry {index}", self.id);
                // Whatever was waited for may be in it.
                self.waiters.wake_all();
            }
            EngineEvent::NotTaken { peer, why } => {
                warn!("server {}: a message of server {peer} was not taken: {why}", self.id);
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

    fn publish(&mut self, now: Now) -> Result<(), Stopped> {
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
            && now.monotonic >= self.state.sent_away_at + self.engine.heartbeat_interval()
        {
            self.state.sent_away_at = now.monotonic;
            self.waiters.wake_all();
        }
        self.views.publish(now.monotonic, status, news, || View::of(&self.engine));
        self.learn_settings()
    }
}
