//! `?lock=…&token=…`: a write that is carried out only while the token holds the lock. Whoever lost the lock without
//! noticing changes nothing any more.

use crate::backend::Command;
use crate::name;
use crate::params::Params;
use crate::problem::Problem;

/// A lock, and the token that must hold it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fence {
    lock: Vec<u8>,
    token: u64,
}

impl Fence {
    /// Both parameters or neither.
    pub(crate) fn parse(params: &Params) -> Result<Option<Self>, Problem> {
        match (params.bytes("lock"), params.number("token")?) {
            (None, None) => Ok(None),
            (Some(lock), Some(token)) => Ok(Some(Self { lock: name::checked("lock", lock.to_vec())?, token })),
            (Some(_), None) => {
                Err(Problem::bad_request("token", "missing: a lock is named with the token that holds it"))
            }
            (None, Some(_)) => {
                Err(Problem::bad_request("lock", "missing: a token is given with the lock that it holds"))
            }
        }
    }

    fn one(&self, command: Command) -> Result<Command, Problem> {
        if matches!(command, Command::Guarded { .. }) {
            return Err(Problem::bad_request("lock", "not together with a command that names a lock itself"));
        }
        Ok(Command::Guarded { lock: self.lock.clone(), token: self.token, command: Box::new(command) })
    }

    /// The command, on this condition; of a batch, each of its commands.
    pub(crate) fn around(fence: Option<Self>, command: Command) -> Result<Command, Problem> {
        match (fence, command) {
            (None, command) => Ok(command),
            (Some(fence), Command::Batch(commands)) => {
                let guarded = commands.into_iter().map(|command| fence.one(command));
                Ok(Command::Batch(guarded.collect::<Result<_, _>>()?))
            }
            (Some(fence), command) => fence.one(command),
        }
    }
}
