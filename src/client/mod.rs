//! The native client: one session on a cluster of any state machine, over one connection to one of its servers.
//!
//! ```no_run
//! use copycat::client::{Client, Consistency, Keys};
//! # async fn example() -> Result<(), copycat::client::Error> {
//! let keys = Keys::connect(["127.0.0.1:9700", "127.0.0.1:9701"]).await?;
//! keys.put("greeting", "hello").await?;
//! let found = keys.get("greeting", Consistency::Sequential).await?;
//! let guard = keys.lock("leader").await?;
//! println!("{found:?}, fenced by {}", guard.token());
//! guard.unlock().await?;
//! keys.client().close().await;
//! # Ok(())
//! # }
//! ```
//!
//! [`Client`] speaks to any [`StateMachine`]; [`Keys`] is the product's own API on it; [`blocking`] is for programs without
//! an async runtime. A client may be cloned; all clones share its session.
//!
//! # What it promises
//! - Operations complete in the order of their submission, however many are under way. A query sees every command that was
//!   submitted before it, and no older state than what was answered before; it may also see commands submitted after it.
//! - Commands are numbered, and sent again under their number when a server or a leader is lost: each is applied once.
//!   Only a lost session leaves some with an unknown outcome ([`Error::Unknown`]).
//! - Events come once each and in order; at one index the command's answer comes first, then its events, then queries.
//!
//! A future that is dropped stops waiting, and takes nothing back.

pub mod blocking;
pub(crate) mod core;
mod error;
mod events;
mod keys;
mod link;
mod locks;
mod run;
mod shared;
mod strategy;
mod watch;

pub use crate::engine::Consistency;
pub use error::{Error, Fate, Lost, State};
pub use events::{Event, Events, Subscription};
pub use keys::{Delete, Keys, List, Page, Put, Transaction, Written};
pub use locks::{Lock, LockGuard};
pub use strategy::{ConnectionStrategy, RecoveryStrategy, ServerSelection};
pub use watch::{Change, Watch};

use self::core::{Answered, Operation, Settings};
use crate::engine::machine::{Codec, StateMachine, decode_output, decode_query_output};
use crate::engine::{Index, ServerId, SessionId};
use crate::transport::{Tcp, Transport};
use crate::wire;
use async_channel::Sender;
use async_std::task;
use link::Search;
use run::{Task, Wish};
use shared::Shared;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

/// Wishes that may wait for the client's task; further ones wait where they are made.
const WISHES: usize = 1024;

/// An operation's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<T> {
    /// The session in which it was asked.
    pub session: SessionId,
    /// The command's index, or that of the state which the query saw.
    pub index: Index,
    /// What the state machine answered.
    pub output: T,
    /// How a query was really served; `None` for commands.
    pub consistency: Option<Consistency>,
}

/// How a client is to be; [`connect`](Self::connect) makes it.
#[derive(Clone, Debug)]
pub struct Builder<M> {
    servers: Vec<String>,
    name: String,
    session_timeout: Duration,
    connection: ConnectionStrategy,
    recovery: RecoveryStrategy,
    selection: ServerSelection,
    transport: Arc<dyn Transport>,
    machine: PhantomData<fn() -> M>,
}

impl<M: StateMachine> Builder<M> {
    /// What the session is called, in `/v1/sessions` for one: at most 255 bytes. Empty if not given.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// How long the session lives without a sign of life: 30 s if not given; servers bring it within 1 s and 24 h.
    #[must_use]
    pub fn session_timeout(mut self, timeout: Duration) -> Self {
        self.session_timeout = timeout;
        self
    }

    /// How the client goes on when it reaches no server.
    #[must_use]
    pub fn connection_strategy(mut self, strategy: ConnectionStrategy) -> Self {
        self.connection = strategy;
        self
    }

    /// What it does when its session is lost.
    #[must_use]
    pub fn recovery_strategy(mut self, strategy: RecoveryStrategy) -> Self {
        self.recovery = strategy;
        self
    }

    /// Which servers it prefers.
    #[must_use]
    pub fn server_selection(mut self, selection: ServerSelection) -> Self {
        self.selection = selection;
        self
    }

    /// What connections are made of: TCP if not given.
    #[must_use]
    pub fn transport(mut self, transport: impl Transport) -> Self {
        self.transport = Arc::new(transport);
        self
    }

    /// Connects, and registers a session.
    ///
    /// # Errors
    /// If no server is reached and the connection strategy says to try no further.
    pub async fn connect(self) -> Result<Client<M>, Error> {
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).map_err(|e| Error::Unreachable(format!("no random numbers: {e}")))?;
        let settings = Settings {
            timeout: self.session_timeout,
            name: self.name,
            recover: self.recovery == RecoveryStrategy::Recover,
            nonce: u128::from_le_bytes(nonce),
        };
        let search = Search {
            transport: self.transport,
            seeds: self.servers,
            cluster: wire::Cluster::default(),
            strategy: self.connection,
            selection: self.selection,
            left: None,
        };
        let (wishes, wished) = async_channel::bounded(WISHES);
        let (nudge, nudges) = async_channel::bounded(1);
        let shared = Arc::new(Shared::new(nudge));
        let task = Task::new(settings, search, shared.clone(), wished, nudges);
        let client = Client { inner: Arc::new(Inner { wishes, shared }), machine: PhantomData };
        let (_, states) = client.states();
        let running = task::spawn(task.run());
        while let Ok(state) = states.recv().await {
            if state == State::Connected {
                return Ok(client);
            }
        }
        Err(running.await)
    }
}

#[derive(Debug)]
struct Inner {
    wishes: Sender<Wish>,
    shared: Arc<Shared>,
}

/// A session on a cluster that runs the state machine `M`.
///
/// A client whose last clone is dropped leaves its session to time out; [`close`](Self::close) ends it at once.
#[derive(Debug)]
pub struct Client<M: StateMachine> {
    inner: Arc<Inner>,
    machine: PhantomData<fn() -> M>,
}

impl<M: StateMachine> Clone for Client<M> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), machine: PhantomData }
    }
}

impl<M: StateMachine> Client<M> {
    /// A client of the cluster that these servers belong to: the addresses of some, as their peers dial them (or those given
    /// with `--client`). The others are learned.
    pub fn builder(servers: impl IntoIterator<Item = impl Into<String>>) -> Builder<M> {
        Builder {
            servers: servers.into_iter().map(Into::into).collect(),
            name: String::new(),
            session_timeout: Duration::from_secs(30),
            connection: ConnectionStrategy::default(),
            recovery: RecoveryStrategy::default(),
            selection: ServerSelection::default(),
            transport: Arc::new(Tcp),
            machine: PhantomData,
        }
    }

    /// Has a command logged and applied, once, and returns its output.
    ///
    /// Commands are submitted in the order in which these futures are first polled, as long as no more than 1,024 operations
    /// (or 16 MiB of them) are outstanding; then the future waits for room.
    ///
    /// # Errors
    /// If it has no answer; [`Error::outcome`] tells whether it may have been applied. While no server is reached it waits.
    pub async fn submit(&self, command: M::Command) -> Result<Answer<M::Output>, Error> {
        let operation = Operation::Command { mode: M::mode(&command) as u8, bytes: M::Codec::encode(&command) };
        drop(command);
        let Answered { session, index, output, consistency, .. } = self.operate(operation).await?;
        // It was applied, whatever its answer says.
        let output = decode_output::<M>(&output).ok_or(Error::Unexpected)?;
        Ok(Answer { session, index, output, consistency })
    }

    /// Answers a query, from a state that has all that this client has seen.
    ///
    /// # Errors
    /// If it has no answer. While no server is reached it waits.
    pub async fn query(&self, query: M::Query, consistency: Consistency) -> Result<Answer<M::Answer>, Error> {
        let operation = Operation::Query { consistency, bytes: M::Codec::encode(&query) };
        drop(query);
        let Answered { session, index, output, consistency, .. } = self.operate(operation).await?;
        let output = decode_query_output::<M>(&output).ok_or(Error::Malformed)?;
        Ok(Answer { session, index, output, consistency })
    }

    async fn operate(&self, operation: Operation) -> Result<Answered, Error> {
        let (Operation::Command { bytes, .. } | Operation::Query { bytes, .. }) = &operation;
        if bytes.len() > wire::OPERATION_LIMIT {
            return Err(Error::TooLarge);
        }
        let (reply, answer) = async_channel::bounded(1);
        self.inner.wishes.send(Wish::Operate(operation, reply)).await.map_err(|_| Error::Closed)?;
        answer.recv().await.unwrap_or(Err(Error::Closed))
    }

    /// The state now.
    #[must_use]
    pub fn state(&self) -> State {
        self.inner.shared.state()
    }

    /// The session, if one is open.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        Some(self.inner.shared.session()).filter(|&session| session != 0)
    }

    /// The members as the connected server last told them: each id, and where clients reach it.
    #[must_use]
    pub fn members(&self) -> Vec<(ServerId, String)> {
        self.inner.shared.cluster().members
    }

    /// The leader as the connected server last told it.
    #[must_use]
    pub fn leader(&self) -> Option<ServerId> {
        self.inner.shared.cluster().leader
    }

    /// Gives the session up, if it is open, and registers a new one. What was sent in the old one, and not answered, fails as
    /// unknown; what was not sent yet moves to the new one. Also after the session was lost under
    /// [`RecoveryStrategy::Close`].
    ///
    /// # Errors
    /// If the client is closed.
    pub async fn recover(&self) -> Result<SessionId, Error> {
        let old = self.inner.shared.session();
        let mut ear = self.events();
        self.inner.wishes.send(Wish::Recover).await.map_err(|_| Error::Closed)?;
        loop {
            match ear.hear().await {
                Some(events::Heard::Open(session)) if session != old => return Ok(session),
                Some(_) => {}
                None => return Err(Error::Closed),
            }
        }
    }

    /// Ends the session when all that was submitted is done, for 5 s at most, and then the client. Locks are released, and
    /// ephemeral keys go.
    pub async fn close(&self) {
        let (state, states) = self.states();
        if self.inner.wishes.send(Wish::Close).await.is_err() || state == State::Closed && states.is_closed() {
            return;
        }
        // Closed when the client's task has ended.
        while states.recv().await.is_ok() {}
    }
}
