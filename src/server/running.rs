//! A server that runs: what it tells, what it can be asked for, how it ends.

use super::ServerError;
use super::builder::{Builder, Make};
use super::cluster::Cluster;
use super::driver::Stopped;
use super::feed::Feeds;
use super::inbox::{Event, Inbox};
use super::listeners::Listeners;
use super::port::{Caller, Port, Read};
use super::requests::Refusal;
use crate::engine::machine::StateMachine;
use crate::engine::{
    ConfigurationError, Consistency, Event as EngineEvent, Index, MemberStatus, MemberType, Role, ServerId, Status,
    Term,
};
use async_channel::Receiver;
use async_std::future;
use async_std::task::{self, JoinHandle};
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// How long a server that leaves tries to be let go.
const LEAVING: Duration = Duration::from_secs(60);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(100);
/// How long those may take who serve sockets, once the server itself has ended.
const CLOSING: Duration = Duration::from_secs(2);

/// A server of a cluster that replicates the state machine `M`.
///
/// It runs, on async-std's threads, until it is shut down, leaves its cluster, or has to stop; dropping this handle changes
/// nothing about that.
pub struct Server<M: StateMachine> {
    parts: Parts<M>,
    on: Listeners,
}

/// What a running server consists of.
pub(super) struct Parts<M: StateMachine> {
    pub(super) port: Arc<Port<M>>,
    pub(super) inbox: Inbox,
    pub(super) http: Option<SocketAddr>,
    pub(super) http_done: Option<Receiver<()>>,
    pub(super) feeds: Feeds,
    /// The driver, or the panic in which it ended.
    pub(super) driving: JoinHandle<thread::Result<Result<(), Stopped>>>,
    /// Those who take connections: they end by themselves when the driver does.
    pub(super) listeners: Vec<JoinHandle<()>>,
}

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer<T> {
    /// What was answered.
    pub output: T,
    /// The command's index, or the applied index that the query saw.
    pub index: Index,
    /// The server that answered.
    pub served_by: ServerId,
}

/// Asks a server to stop.
#[derive(Clone, Debug)]
pub struct Stopper(Inbox);

impl Stopper {
    /// A leader hands its office over first. Returns at once.
    pub fn stop(&self) {
        self.0.offer(Event::Shutdown);
    }
}

impl<M: StateMachine> std::fmt::Debug for Server<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (id, http) = (self.id(), self.parts.http);
        f.debug_struct("Server").field("id", &id).field("http", &http).finish_non_exhaustive()
    }
}

impl<M: StateMachine + Default> Server<M> {
    /// A server to be, with this number in its cluster, from 1. A number is never used again for another server.
    pub fn builder(id: ServerId) -> Builder<M> {
        Self::builder_with(id, M::default)
    }
}

impl<M: StateMachine> Server<M> {
    /// The same, of a machine that `make` makes as it is at first: the same on each server, and each time.
    pub fn builder_with(id: ServerId, make: impl Fn() -> M + Send + Sync + 'static) -> Builder<M> {
        let make: Make<M> = Arc::new(make);
        Builder::new(id, make)
    }

    pub(super) fn new(parts: Parts<M>) -> Self {
        let on = Listeners::new(parts.port.id(), parts.feeds.clone());
        Self { parts, on }
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> ServerId {
        self.parts.port.id()
    }

    /// Where it serves HTTP, if it does.
    #[must_use]
    pub fn http(&self) -> Option<SocketAddr> {
        self.parts.http
    }

    /// Its role, its term, who leads, what is committed and what applied, as of a moment ago.
    #[must_use]
    pub fn state(&self) -> Status {
        self.parts.port.view().status
    }

    /// The members of its cluster as this server knows them now, and what can be done about them.
    #[must_use]
    pub fn cluster(&self) -> Cluster {
        Cluster::new(self.parts.inbox.clone(), self.parts.port.view())
    }

    /// Has a command logged and applied, without a session: it is handed to a leader once, so when its answer is lost it is
    /// unknown whether it had an effect.
    ///
    /// # Errors
    /// If there is no answer within `timeout`; the refusal tells whether the command may have had an effect.
    pub async fn submit(&self, command: &M::Command, timeout: Duration) -> Result<Answer<M::Output>, Refusal> {
        let (reply, output) = self.parts.port.operate(command, Caller::default(), timeout).await?;
        Ok(Answer { output, index: reply.index, served_by: reply.served_by })
    }

    /// Answers a query, as fresh as `consistency` says; a sequential one from a state at or above `index`.
    ///
    /// # Errors
    /// If there is no answer within `timeout`.
    pub async fn query(
        &self,
        query: &M::Query,
        consistency: Consistency,
        index: Index,
        timeout: Duration,
    ) -> Result<Answer<M::Answer>, Refusal> {
        let (reply, output) = self.parts.port.look(query, Read { consistency, index, timeout }).await?;
        Ok(Answer { output, index: reply.index, served_by: reply.served_by })
    }

    /// What happens to it and to the cluster from now on, as this server sees it: elections, and members that join, leave
    /// or change. The channel is closed when the server has ended, and when 1,024 events are left unread.
    #[must_use]
    pub fn events(&self) -> Receiver<EngineEvent> {
        self.parts.feeds.listen()
    }

    /// Calls `f` whenever this server's role changes, with the role and the term.
    ///
    /// This and the other listeners are called on one thread of their own, in the order in which things happened, from now on
    /// until the server has ended. One that is slow delays the others and never the server; when 1,024 events wait for it,
    /// those that follow are lost until it has caught up, which the server's log tells. One that panics is called no more.
    pub fn on_state_change(&self, mut f: impl FnMut(Role, Term) + Send + 'static) {
        self.on.add(move |event| {
            if let EngineEvent::Role { role, term, .. } = event {
                f(*role, *term);
            }
        });
    }

    /// Calls `f` whenever this server hears of a leader for the first time in its term, or leads itself, with the leader and
    /// the term. See [`on_state_change`](Self::on_state_change) for how.
    pub fn on_leader(&self, mut f: impl FnMut(ServerId, Term) + Send + 'static) {
        let id = self.id();
        self.on.add(move |event| match event {
            EngineEvent::Leader { leader, term } => f(*leader, *term),
            EngineEvent::Role { role: Role::Leader, term, .. } => f(id, *term),
            _ => {}
        });
    }

    /// Calls `f` whenever a member has joined, with what it is. See [`on_state_change`](Self::on_state_change) for how.
    pub fn on_join(&self, mut f: impl FnMut(ServerId, MemberType) + Send + 'static) {
        self.on.member(move |member, change| {
            if let crate::engine::MemberChange::Joined(member_type) = change {
                f(member, member_type);
            }
        });
    }

    /// Calls `f` whenever a member has left or was removed. See [`on_state_change`](Self::on_state_change) for how.
    pub fn on_leave(&self, mut f: impl FnMut(ServerId) + Send + 'static) {
        self.on.member(move |member, change| {
            if let crate::engine::MemberChange::Left = change {
                f(member);
            }
        });
    }

    /// Calls `f` whenever a member has become something else. See [`on_state_change`](Self::on_state_change) for how.
    pub fn on_type_change(&self, mut f: impl FnMut(ServerId, MemberType) + Send + 'static) {
        self.on.member(move |member, change| {
            if let crate::engine::MemberChange::Type(member_type) = change {
                f(member, member_type);
            }
        });
    }

    /// Calls `f` whenever a member is heard no longer, or again. See [`on_state_change`](Self::on_state_change) for how.
    pub fn on_status_change(&self, mut f: impl FnMut(ServerId, MemberStatus) + Send + 'static) {
        self.on.member(move |member, change| {
            if let crate::engine::MemberChange::Status(status) = change {
                f(member, status);
            }
        });
    }

    /// What stops it.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper(self.parts.inbox.clone())
    }

    /// Takes it out of its cluster for good; then it ends by itself, which [`wait`](Self::wait) waits for. Its storage is of no
    /// more use.
    ///
    /// # Errors
    /// If the others do not let it go, because they would have no quorum without it, or there is no leader, for a minute.
    pub async fn leave(&self) -> Result<(), Refusal> {
        let begun = Instant::now();
        loop {
            let Some(me) = self.cluster().member(self.id()) else { return Ok(()) };
            let again = match me.remove().await {
                Ok(_) | Err(Refusal::Configuration(ConfigurationError::NotMember(_))) => return Ok(()),
                Err(
                    again @ (Refusal::Configuration(ConfigurationError::Stale { .. } | ConfigurationError::Busy)
                    | Refusal::NoLeader
                    | Refusal::Overloaded),
                ) => again,
                Err(refusal) => return Err(refusal),
            };
            if begun.elapsed() >= LEAVING {
                return Err(again);
            }
            task::sleep(PAUSE).await;
        }
    }

    /// Stops it in an orderly way, and waits until that is done: a leader hands its office over, whoever waits is answered, and
    /// all is made durable. Its cluster goes on without it, and takes it back when it is started again. It blocks: not for a
    /// task, on whose thread the server may run.
    ///
    /// # Errors
    /// If it had to stop by itself.
    pub fn shutdown(self) -> Result<(), ServerError> {
        self.parts.inbox.deliver(Event::Shutdown);
        self.wait()
    }

    /// Waits until it has stopped, for whatever reason. It blocks: not for a task, on whose thread the server may run.
    ///
    /// # Errors
    /// If it had to stop by itself.
    pub fn wait(self) -> Result<(), ServerError> {
        let Parts { driving, http_done, listeners, .. } = self.parts;
        let result = task::block_on(driving);
        task::block_on(async {
            // Whoever still waited has been answered; the HTTP server sends those answers and ends.
            let closing = async {
                if let Some(done) = http_done {
                    let _ = done.recv().await;
                }
                for listener in listeners {
                    listener.await;
                }
            };
            let _ = future::timeout(CLOSING, closing).await;
        });
        match result {
            Ok(result) => result.map_err(ServerError::new),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_string()));
                let text = text.unwrap_or_else(|| "unknown".into());
                Err(ServerError::new(format!(
                    "the server panicked, which is a bug of the server or of its state machine: {text}"
                )))
            }
        }
    }
}
