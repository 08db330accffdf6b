//! Progress: a state from which nothing fails any more must lead to an acknowledged write.

use crate::world::{T, World};
use std::rc::Rc;

/// The limit, in tenths of T: enough for several elections without a winner.
const LONGEST: u32 = 120;

impl World {
    /// Returns whether a majority of the voters is up, so that the cluster must go on. After a crash it need not: the server
    /// may have been one that a membership change relied on.
    fn owes_progress(&self) -> bool {
        let up = |id: u64| self.servers.iter().any(|s| s.id == id && s.engine.is_some());
        let engines = || self.servers.iter().filter_map(|s| s.engine.as_ref());
        let Some(latest) = engines().map(copycat::engine::Engine::committed_configuration).max_by_key(|c| c.index)
        else {
            return false;
        };
        let voters: Vec<u64> = latest.voters().collect();
        !self.crashed && voters.iter().filter(|&&id| up(id)).count() > voters.len() / 2
    }

    /// Delivers and flushes everything from here on, and checks that a leader comes to acknowledge a write.
    pub(crate) fn check_progress(&self) -> Result<(), String> {
        if !self.owes_progress() {
            return Ok(());
        }
        let mut world = self.clone();
        for server in &mut world.servers {
            let id = server.id;
            if let Some(engine) = &mut Rc::make_mut(server).engine {
                engine.reseed(id * 1000);
            }
        }
        let goal = world.oracle.acknowledged + 1;
        for tenth in 0..LONGEST {
            world.time += T / 10;
            for at in 0..world.servers.len() {
                world.act(at, None)?;
            }
            world.settle()?;
            // Not before a leader without a quorum has stepped down.
            if tenth >= 30 && tenth % 5 == 0 {
                for at in 0..world.servers.len() {
                    if world.leads(at) {
                        world.put(at)?;
                    }
                }
                world.settle()?;
            }
            if world.oracle.acknowledged >= goal {
                return Ok(());
            }
        }
        let roles: Vec<_> =
            world.servers.iter().map(|s| s.engine.as_ref().map(copycat::engine::Engine::status)).collect();
        Err(format!("NO LEADER: nobody can write though a majority is up: {roles:?}"))
    }
}
