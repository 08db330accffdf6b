//! The machines that the scenarios run.

use crate::engine::SessionId;
use crate::engine::machine::{
    Bincode, Commit, CompactionMode, Context, Frozen, Held, SnapshotError, SnapshotReader, SnapshotWriter, StateMachine,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Counts commands, carries messages between sessions, and tells the others when one ends. Its snapshots are its state.
#[derive(Clone, Debug, Default)]
pub(super) struct Post {
    count: u64,
    sessions: BTreeSet<SessionId>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Letter {
    Count,
    /// The count, to the own session.
    TellMe,
    /// The count, to these.
    Tell(Vec<SessionId>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Heard {
    Count(u64),
    Closed(SessionId),
    Expired(SessionId),
}

impl Post {
    fn tell_others(&self, about: SessionId, event: Heard, context: &mut Context<Heard>) {
        for &session in self.sessions.iter().filter(|&&session| session != about) {
            context.publish(session, event);
        }
    }
}

impl Frozen for Post {
    fn write(&self, writer: &mut SnapshotWriter) {
        writer.write(&self.count);
        writer.write(&self.sessions);
    }
}

impl StateMachine for Post {
    type Codec = Bincode;
    type Command = Letter;
    type Query = ();
    type Output = u64;
    type Answer = u64;
    type Event = Heard;

    fn mode(_: &Letter) -> CompactionMode {
        CompactionMode::Snapshot
    }

    fn apply(&mut self, commit: Commit<Letter>, context: &mut Context<Heard>) -> u64 {
        self.count += 1;
        match commit.operation {
            Letter::Count => {}
            Letter::TellMe => context.publish(commit.session, Heard::Count(self.count)),
            Letter::Tell(sessions) => {
                sessions.into_iter().for_each(|to| context.publish(to, Heard::Count(self.count)));
            }
        }
        self.count
    }

    fn query(&self, (): ()) -> u64 {
        self.count
    }

    fn register(&mut self, session: SessionId, _: &mut Context<Heard>) {
        self.sessions.insert(session);
    }

    fn unregister(&mut self, session: SessionId, context: &mut Context<Heard>) {
        self.tell_others(session, Heard::Closed(session), context);
    }

    fn expire(&mut self, session: SessionId, context: &mut Context<Heard>) {
        self.tell_others(session, Heard::Expired(session), context);
    }

    fn close(&mut self, session: SessionId, _: &mut Context<Heard>) {
        self.sessions.remove(&session);
    }

    fn freeze(&self) -> Option<Box<dyn Frozen>> {
        Some(Box::new(self.clone()))
    }

    fn install(&mut self, reader: &mut SnapshotReader<'_>) -> Result<(), SnapshotError> {
        self.count = reader.read()?;
        self.sessions = reader.read()?;
        Ok(())
    }
}

/// The last few numbers that it was given, each held in the log: it has no snapshots of its own.
#[derive(Debug, Default)]
pub(super) struct Last(Vec<(u64, Held)>);

/// So many.
pub(super) const LAST: usize = 3;

impl StateMachine for Last {
    type Codec = Bincode;
    type Command = u64;
    type Query = ();
    type Output = ();
    type Answer = Vec<u64>;
    type Event = ();

    fn mode(_: &u64) -> CompactionMode {
        CompactionMode::Release
    }

    fn apply(&mut self, commit: Commit<u64>, context: &mut Context<()>) {
        self.0.push((commit.operation, context.hold()));
        if self.0.len() > LAST {
            let (_, held) = self.0.remove(0);
            context.release(held);
        }
    }

    fn query(&self, (): ()) -> Vec<u64> {
        self.0.iter().map(|(number, _)| *number).collect()
    }

    fn clear(&mut self) -> Result<(), SnapshotError> {
        self.0.clear();
        Ok(())
    }
}
