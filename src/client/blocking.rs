//! The client for programs without an async runtime: each call blocks its thread until it is done.
//!
//! ```no_run
//! use copycat::client::{Client, blocking};
//! use copycat::store::Store;
//! # fn example() -> Result<(), copycat::client::Error> {
//! let client = blocking::connect(Client::<Store>::builder(["127.0.0.1:9700"]))?;
//! let keys = blocking::Keys::new(client);
//! keys.call(|keys| keys.put("greeting", "hello"))?;
//! let guard = keys.call(|keys| keys.lock("leader"))?;
//! blocking::wait(guard.unlock())?;
//! # Ok(())
//! # }
//! ```
//!
//! The client's own work is done on threads of the async-std runtime, which start with the first use. Not to be called from
//! within an async task: that would block the thread on which the client itself may have to run.

use super::{Answer, Builder, Client as AsyncClient, Consistency, Error, Events, Keys as AsyncKeys};
use crate::engine::machine::StateMachine;
use async_std::future as limits;
use async_std::task;
use std::future::IntoFuture;
use std::time::Duration;

/// Waits for anything of the async client's: a guard's unlocking, a watch's next change.
pub fn wait<T>(what: impl IntoFuture<Output = T>) -> T {
    task::block_on(what.into_future())
}

/// Connects: see [`Builder::connect`].
///
/// # Errors
/// As there.
pub fn connect<M: StateMachine>(builder: Builder<M>) -> Result<Client<M>, Error> {
    Ok(Client { client: wait(builder.connect())?, timeout: None })
}

/// A [`Client`](AsyncClient) whose calls block.
#[derive(Clone, Debug)]
pub struct Client<M: StateMachine> {
    client: AsyncClient<M>,
    timeout: Option<Duration>,
}

fn bounded<T>(timeout: Option<Duration>, call: impl IntoFuture<Output = Result<T, Error>>) -> Result<T, Error> {
    match timeout {
        Some(timeout) => wait(limits::timeout(timeout, call.into_future())).unwrap_or(Err(Error::Timeout)),
        None => wait(call),
    }
}

impl<M: StateMachine> Client<M> {
    /// Calls that take longer end as [`Error::Timeout`]; a command may be applied yet. Without it they wait as long as it
    /// takes.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The async client underneath.
    #[must_use]
    pub fn client(&self) -> &AsyncClient<M> {
        &self.client
    }

    /// See [`AsyncClient::submit`].
    ///
    /// # Errors
    /// As there; [`Error::Timeout`].
    pub fn submit(&self, command: M::Command) -> Result<Answer<M::Output>, Error> {
        bounded(self.timeout, self.client.submit(command))
    }

    /// See [`AsyncClient::query`].
    ///
    /// # Errors
    /// As there; [`Error::Timeout`].
    pub fn query(&self, query: M::Query, consistency: Consistency) -> Result<Answer<M::Answer>, Error> {
        bounded(self.timeout, self.client.query(query, consistency))
    }

    /// Calls `each` with every event from now on, until it returns false or the client is closed.
    pub fn for_each_event(&self, mut each: impl FnMut(super::Event<M::Event>) -> bool) {
        let mut events: Events<M> = self.client.events();
        while let Some(event) = wait(events.next()) {
            if !each(event) {
                return;
            }
        }
    }

    /// See [`AsyncClient::close`].
    pub fn close(&self) {
        wait(self.client.close());
    }
}

/// [`Keys`](AsyncKeys) whose calls block.
#[derive(Clone, Debug)]
pub struct Keys {
    keys: AsyncKeys,
    timeout: Option<Duration>,
}

impl Keys {
    /// Uses this client, and its timeout.
    #[must_use]
    pub fn new(client: Client<crate::store::Store>) -> Self {
        Self { keys: AsyncKeys::new(client.client), timeout: client.timeout }
    }

    /// Makes a call and waits for it: `keys.call(|keys| keys.get("a", Consistency::Lease))`.
    ///
    /// # Errors
    /// The call's; [`Error::Timeout`].
    pub fn call<'a, T, F>(&'a self, call: impl FnOnce(&'a AsyncKeys) -> F) -> Result<T, Error>
    where
        F: IntoFuture<Output = Result<T, Error>>,
    {
        bounded(self.timeout, call(&self.keys))
    }

    /// See [`AsyncClient::close`].
    pub fn close(&self) {
        wait(self.keys.client().close());
    }
}
