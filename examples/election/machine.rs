//! A leader election among sessions: who stands first leads, and when its session ends the next one does.

use copycat::{Bincode, Commit, Context, Held, SessionId, SnapshotError, StateMachine};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Command {
    /// The session wants to lead, when its turn comes.
    Stand,
    /// It does not want to any more.
    Resign,
}

/// What a session is told when it leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Elected {
    /// Rises from leader to leader: who sees a higher one knows that a lower one is old.
    pub epoch: u64,
}

/// Those who stand, in order, each by the entry that it stood with; the first leads, and the entry's index is its epoch.
#[derive(Debug, Default)]
pub struct Election(pub VecDeque<(SessionId, Held)>);

impl Election {
    fn leader(&self) -> Option<(SessionId, u64)> {
        self.0.front().map(|(session, held)| (*session, held.index()))
    }

    fn resign(&mut self, session: SessionId, context: &mut Context<Elected>) -> bool {
        let Some(at) = self.0.iter().position(|(standing, _)| *standing == session) else { return false };
        if let Some((_, held)) = self.0.remove(at) {
            context.release(held);
        }
        if at == 0 {
            self.tell(context);
        }
        true
    }

    fn tell(&self, context: &mut Context<Elected>) {
        if let Some((session, epoch)) = self.leader() {
            context.publish(session, Elected { epoch });
        }
    }
}

impl StateMachine for Election {
    type Command = Command;
    type Query = ();
    /// Whether that has changed anything.
    type Output = bool;
    /// Who leads, and its epoch.
    type Answer = Option<(SessionId, u64)>;
    type Event = Elected;
    type Codec = Bincode;

    fn apply(&mut self, commit: Commit<Command>, context: &mut Context<Elected>) -> bool {
        let session = commit.session;
        match commit.operation {
            // Who has no session cannot be told, nor found to be gone.
            Command::Stand if session == 0 || self.0.iter().any(|(standing, _)| *standing == session) => false,
            Command::Stand => {
                self.0.push_back((session, context.hold()));
                if self.0.len() == 1 {
                    self.tell(context);
                }
                true
            }
            Command::Resign => self.resign(session, context),
        }
    }

    fn query(&self, (): ()) -> Option<(SessionId, u64)> {
        self.leader()
    }

    /// However a session ends, it leads no longer.
    fn close(&mut self, session: SessionId, context: &mut Context<Elected>) {
        self.resign(session, context);
    }

    fn clear(&mut self) -> Result<(), SnapshotError> {
        self.0.clear();
        Ok(())
    }
}
