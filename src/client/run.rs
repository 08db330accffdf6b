//! The task of a client: it drives the core, and carries out what that decides.

use super::core::{Answered, Core, Effect, Operation, Settings};
use super::link::{Link, Search};
use super::shared::Shared;
use super::strategy::ServerSelection;
use super::{Error, State};
use crate::clock;
use crate::wire::{Cluster, ToClient};
use async_channel::{Receiver, Sender};
use async_std::future;
use async_std::task::{self, JoinHandle};
use futures_lite::future::{or, race};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Operations that may be outstanding,
pub(super) const OUTSTANDING: usize = 1024;
/// and their bytes, give or take one operation; then further ones wait where they are submitted.
const OUTSTANDING_BYTES: usize = 16 * 1024 * 1024;
/// What is looked at in one turn at most.
const BATCH: usize = 256;
/// How long a client that is closed waits for what is outstanding and for its session's end.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);

/// What handles ask for.
#[derive(Debug)]
pub(super) enum Wish {
    Operate(Operation, Sender<Result<Answered, Error>>),
    Recover,
    Close,
}

enum Happened {
    Told(ToClient),
    /// The connection has ended.
    Ended,
    Found(Result<(Link, Cluster), String>),
    Wished(Wish),
    /// No handle is left.
    Dropped,
    /// Events were taken, or time has passed.
    Nudged,
}

pub(super) struct Task {
    pub(super) core: Core,
    shared: Arc<Shared>,
    wishes: Receiver<Wish>,
    nudges: Receiver<()>,
    search: Search,
    link: Option<Link>,
    searching: Option<JoinHandle<Result<(Link, Cluster), String>>>,
    /// Who waits for the answers, in the order of submission, and the bytes of their operations.
    pending: VecDeque<(Sender<Result<Answered, Error>>, usize)>,
    bytes: usize,
    close_by: Option<Duration>,
}

impl Task {
    pub(super) fn new(
        settings: Settings,
        search: Search,
        shared: Arc<Shared>,
        wishes: Receiver<Wish>,
        nudges: Receiver<()>,
    ) -> Self {
        let core = Core::new(settings);
        let (link, searching, pending, bytes, close_by) = (None, None, VecDeque::new(), 0, None);
        Self { core, shared, wishes, nudges, search, link, searching, pending, bytes, close_by }
    }

    /// Until the client is closed, or dropped: why.
    pub(super) async fn run(mut self) -> Error {
        self.find();
        let why = loop {
            let now = clock::monotonic();
            if self.close_by.is_some_and(|by| now >= by) {
                self.core.end(Error::Closed);
            }
            self.core.taken(self.shared.taken());
            self.turn(now);
            if let Some(error) = self.core.end_reason() {
                break error;
            }
            match self.happened(now).await {
                Happened::Dropped => break Error::Closed,
                happened => self.take(happened),
            }
            for _ in 1..BATCH {
                let Some(happened) = self.happened_already() else { break };
                self.take(happened);
            }
        };
        if let Some(searching) = self.searching.take() {
            searching.cancel().await;
        }
        self.shared.turn_to(State::Closed);
        self.shared.end();
        why
    }

    fn has_room(&self) -> bool {
        self.core.outstanding() < OUTSTANDING && self.bytes < OUTSTANDING_BYTES
    }

    async fn happened(&mut self, now: Duration) -> Happened {
        let deadline = self.core.deadline().into_iter().chain(self.close_by).min();
        let room = self.has_room();
        let Self { wishes, nudges, link, searching, .. } = self;
        let wished = async {
            if !room {
                return std::future::pending().await;
            }
            wishes.recv().await.map_or(Happened::Dropped, Happened::Wished)
        };
        let nudged = async {
            // This side has the sender of the channel, too.
            let _ = nudges.recv().await;
            Happened::Nudged
        };
        let network = async {
            match (link, searching) {
                (Some(link), _) => link.incoming.recv().await.map_or(Happened::Ended, Happened::Told),
                (None, Some(searching)) => Happened::Found(searching.await),
                (None, None) => std::future::pending().await,
            }
        };
        let any = race(network, or(nudged, wished));
        match deadline {
            Some(at) => future::timeout(at.saturating_sub(now), any).await.unwrap_or(Happened::Nudged),
            None => any.await,
        }
    }

    fn happened_already(&mut self) -> Option<Happened> {
        if let Some(told) = self.link.as_ref().and_then(|link| link.incoming.try_recv().ok()) {
            return Some(Happened::Told(told));
        }
        if !self.has_room() {
            return None;
        }
        self.wishes.try_recv().ok().map(Happened::Wished)
    }

    fn take(&mut self, happened: Happened) {
        let now = clock::monotonic();
        match happened {
            Happened::Told(ToClient::Cluster(cluster)) => self.learn(cluster),
            Happened::Told(told) => self.core.told(now, told),
            Happened::Ended => {
                self.core.disconnect();
                self.find();
            }
            Happened::Found(Ok((link, cluster))) => {
                self.searching = None;
                self.link = Some(link);
                self.core.connect(now);
                self.learn(cluster);
            }
            Happened::Found(Err(why)) => {
                self.searching = None;
                self.core.end(Error::Unreachable(why));
            }
            Happened::Wished(Wish::Operate(operation, reply)) => {
                let (Operation::Command { bytes, .. } | Operation::Query { bytes, .. }) = &operation;
                self.bytes += bytes.len();
                self.pending.push_back((reply, bytes.len()));
                self.core.submit(operation);
            }
            Happened::Wished(Wish::Recover) => self.core.recover(),
            Happened::Wished(Wish::Close) => {
                self.core.close();
                self.close_by.get_or_insert(now + CLOSE_PATIENCE);
            }
            Happened::Nudged | Happened::Dropped => {}
        }
    }

    /// The cluster is as this says. Another server may suit better.
    fn learn(&mut self, cluster: Cluster) {
        let turned = cluster.leader != self.search.cluster.leader || cluster.members != self.search.cluster.members;
        self.search.cluster = cluster.clone();
        self.shared.learn(cluster);
        if let Some(link) = &self.link
            && turned
            && self.search.selection != ServerSelection::Any
            && self.search.selection.better(link.server, &self.search.cluster).is_some()
        {
            self.core.disconnect();
            self.find();
        }
    }

    /// Gives up the connection, and looks for another one.
    fn find(&mut self) {
        self.search.left = self.link.take().map(|link| link.server);
        self.searching = Some(task::spawn(self.search.clone().run()));
    }

    /// The core's turn, and what it decides.
    fn turn(&mut self, now: Duration) {
        let mut frames = Vec::new();
        for effect in self.core.turn(now) {
            match effect {
                Effect::Send(frame) => frames.push(frame),
                Effect::Complete(_, result) => {
                    if let Some((reply, bytes)) = self.pending.pop_front() {
                        self.bytes -= bytes;
                        // Whoever asked may have left.
                        let _ = reply.try_send(result);
                    }
                }
                Effect::Deliver(batch) => self.shared.deliver(batch),
                Effect::State(state) => {
                    self.stand();
                    self.shared.turn_to(state);
                }
                Effect::Lost(session, how) => self.shared.lost(session, how),
                Effect::Reconnect => {
                    // What was to be sent on the connection is lost with it.
                    frames.clear();
                    self.find();
                }
            }
        }
        if let Some(link) = &self.link {
            link.send(&frames);
        }
        self.stand();
    }

    fn stand(&self) {
        let valid_until = self.core.valid_until().unwrap_or_default();
        self.shared.stand(self.core.session().unwrap_or(0), valid_until);
    }
}
