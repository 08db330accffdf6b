//! Commands, queries and events of any state machine, as serde has them in JSON.

use super::{answer, engine_read, failure, port_caller};
use crate::engine::machine::{Ask, Codec, StateMachine};
use crate::server::port::Port;
use copycat_http::{Answer, Caller, Failure, Logged, Read, SessionEvent, Unanswered};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::time::Duration;

fn read<T: DeserializeOwned>(json: Value) -> Result<T, Unanswered> {
    serde_json::from_value(json).map_err(|e| Unanswered::Unfit(e.to_string()))
}

/// What was answered, as JSON. A type that JSON does not take is a fault of the machine's.
fn shown<T: Serialize>(output: &T) -> Result<Value, Unanswered> {
    serde_json::to_value(output).map_err(|e| {
        tracing::error!("an answer of the state machine is no JSON: {e}");
        Unanswered::Failed(Failure::Internal)
    })
}

pub(super) async fn command<M: StateMachine>(
    port: &Port<M>,
    command: Value,
    caller: Caller,
    timeout: Duration,
) -> Result<Answer<Value>, Unanswered> {
    let command: M::Command = read(command)?;
    let operation = M::Codec::encode(&command);
    let mode = M::mode(&command) as u8;
    drop(command);
    let answered = port.command(operation, mode, port_caller(caller), timeout).await;
    let (reply, output) = answered.and_then(Port::<M>::output).map_err(|r| Unanswered::Failed(failure(r)))?;
    Ok(answer(&reply, shown(&output)?))
}

pub(super) async fn query<M: StateMachine>(
    port: &Port<M>,
    query: Value,
    how: Read,
) -> Result<Answer<Value>, Unanswered> {
    let operation = M::Codec::encode(&read::<M::Query>(query)?);
    let answered = port.query(Ask::Machine(operation), engine_read(how)).await;
    let (reply, output) = answered.and_then(Port::<M>::answer).map_err(|r| Unanswered::Failed(failure(r)))?;
    Ok(answer(&reply, shown(&output)?))
}

/// A published event.
pub(super) fn event<M: StateMachine>(bytes: &[u8]) -> Option<SessionEvent> {
    let event = M::Codec::decode::<M::Event>(bytes)?;
    serde_json::to_value(event).ok().map(SessionEvent::Other)
}

/// A command that is in the log.
pub(super) fn logged<M: StateMachine>(bytes: &[u8]) -> Option<Logged> {
    let command = M::Codec::decode::<M::Command>(bytes)?;
    serde_json::to_value(command).ok().map(Logged::Other)
}
