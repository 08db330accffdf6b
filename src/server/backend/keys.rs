//! Keys and locks over HTTP: requests become commands and queries of the store.

use super::{answer, engine_read, failure, port_caller};
use crate::engine::machine::Topic;
use crate::server::port::Port;
use crate::server::requests::Reply;
use crate::server::{clock, convert};
use crate::store::{self, Store};
use async_std::future;
use async_trait::async_trait;
use copycat_http::{
    Answer, Caller, Command, CommandOutput, Consistency, Failure, Keys, LockOutput, LockRequest, Query, QueryOutput,
    Read, Watched,
};
use std::sync::Arc;
use std::time::Duration;

/// How many of its locks, and of its keys, the view of a session shows.
const SHOWN: u64 = 100;

/// The store's server, asked for keys and locks.
pub(super) struct StoreKeys {
    pub(super) port: Arc<Port<Store>>,
}

impl StoreKeys {
    pub(super) fn new(port: Arc<Port<Store>>) -> Self {
        Self { port }
    }

    /// A session's locks and ephemeral keys.
    pub(super) async fn holdings(&self, session: u64, read: Read) -> Result<(Vec<Vec<u8>>, Vec<Vec<u8>>), Failure> {
        let (_, holdings) = self.look(&store::Query::Holdings { session, limit: SHOWN }, read).await?;
        let store::Answer::Holdings { locks, keys } = holdings else { return Err(Failure::Internal) };
        Ok((locks, keys))
    }

    pub(super) async fn operate(
        &self,
        command: &store::Command,
        caller: Caller,
        timeout: Duration,
    ) -> Result<(Reply, store::Output), Failure> {
        self.port.operate(command, port_caller(caller), timeout).await.map_err(failure)
    }

    pub(super) async fn look(&self, query: &store::Query, read: Read) -> Result<(Reply, store::Answer), Failure> {
        self.port.look(query, engine_read(read)).await.map_err(failure)
    }
}

#[async_trait]
impl Keys for StoreKeys {
    async fn command(&self, c: Command, caller: Caller, timeout: Duration) -> Result<Answer<CommandOutput>, Failure> {
        let (reply, output) = self.operate(&convert::command(c), caller, timeout).await?;
        Ok(answer(&reply, convert::output(output).ok_or(Failure::Internal)?))
    }

    async fn lock(
        &self,
        request: LockRequest,
        caller: Caller,
        timeout: Duration,
    ) -> Result<Answer<LockOutput>, Failure> {
        self.ask_for_lock(request, caller, timeout).await
    }

    async fn query(&self, query: Query, read: Read) -> Result<Answer<QueryOutput>, Failure> {
        let (reply, found) = self.look(&convert::query(query), read).await?;
        Ok(answer(&reply, convert::answer(found).ok_or(Failure::Internal)?))
    }

    async fn watch(
        &self,
        key: Vec<u8>,
        after: Option<u64>,
        wait: Duration,
        read: Read,
    ) -> Result<Answer<Watched>, Failure> {
        // Registered before the first look, so that nothing falls between the two.
        let topic = Topic::Machine([b"k", key.as_slice()].concat());
        let waiter = self.port.wait(topic).map_err(failure)?;
        let end = clock::monotonic() + wait;
        let query = store::Query::Get { key };
        let mut read = read;
        loop {
            let (seen, store::Answer::Value { item, changed }) = self.look(&query, read).await? else {
                return Err(Failure::Internal);
            };
            let changed = after.map_or(item.is_some(), |after| changed > after);
            let left = end.saturating_sub(clock::monotonic());
            if !changed && let Ok(index) = future::timeout(left, waiter.woken()).await {
                read = Read { consistency: Consistency::Sequential, index, ..read };
                continue;
            }
            return Ok(answer(&seen, Watched { item: item.map(convert::item), changed }));
        }
    }
}
