//! How a server ends: asked to, removed, refused by its peers, or by an error.

use super::{Driver, Stopped};
use crate::clock;
use crate::engine::machine::StateMachine;
use crate::engine::{Configuration, Now, Role, ServerId};
use crate::server::inbox::{Arriving, Event};
use crate::server::requests::Refusal;
use crate::server::settings::Learned;
use crate::server::transport::frame::{Refused, Rejection};
use async_std::{future, task};
use copycat_storage::{Corrupt, Disk};
use std::collections::BTreeSet;
use tracing::warn;

/// Whether a majority of the voters may be had without these. What others refuse is of no importance.
fn has_willing_majority(configuration: &Configuration, refused: &BTreeSet<ServerId>) -> bool {
    let voters = configuration.voters().count();
    let willing = configuration.voters().filter(|voter| !refused.contains(voter)).count();
    voters == 0 || willing > voters / 2
}

impl<M: StateMachine> Driver<M> {
    /// A file whose bytes have changed is not read again: the next start finds that it is missing, and gets the log back
    /// from the peers. One that has none keeps all it has.
    pub(super) fn set_aside(&self, corrupt: &Corrupt) {
        if self.engine.configuration().members.keys().all(|&member| member == self.id) {
            return;
        }
        let disk = self.engine.storage().disk();
        let aside = format!("{}.damaged", corrupt.file);
        if let Err(e) = disk.rename(&corrupt.file, &aside).and_then(|()| disk.sync_dir()) {
            warn!("server {}: {} could not be set aside: {e}", self.id, corrupt.file);
        }
    }

    /// Nobody is left waiting.
    pub(super) fn end(mut self) {
        for id in self.requests.all() {
            let unknown = self.requests.get_mut(id).is_some_and(|p| p.may_have_effect());
            self.finish(id, Err(if unknown { Refusal::LeaderLost } else { Refusal::ShuttingDown }));
        }
        self.waiters.wake_all();
        self.feeds.end();
        self.flusher.stop();
        self.worker.stop();
    }

    /// One peer that is not to be had may be at fault itself. If so many are that no quorum is left, it is this server.
    pub(super) fn refused(&mut self, now: Now, peer: ServerId, refused: Refused) -> Result<(), Stopped> {
        if refused == Refused::ByPeer(Rejection::Removed) {
            if !self.state.heard_leader {
                return Err(Stopped::Removed { peer });
            }
            self.leave(now, "its peers say that");
            return Ok(());
        }
        self.state.refused.insert(peer);
        if !self.state.heard_leader && !has_willing_majority(self.engine.configuration(), &self.state.refused) {
            return Err(Stopped::Refused { peer, refused });
        }
        Ok(())
    }

    /// The settings that its flags name are held against those that are committed.
    pub(super) fn learn_settings(&mut self) -> Result<(), Stopped> {
        match self.flags.learn(self.engine.committed_configuration().settings) {
            Learned::Nothing => {}
            Learned::Warning(line) => warn!("server {}: {line}", self.id),
            Learned::Stop(line) => return Err(Stopped::Settings(line)),
        }
        Ok(())
    }

    /// This server was removed. A leader has a moment to find a successor.
    pub(super) fn leave(&mut self, now: Now, how: &str) {
        if self.state.shutting_down.is_none() {
            warn!("server {}: {how} it was removed from the cluster: it stops", self.id);
            self.state.shutting_down = Some(now.monotonic + self.engine.election_timeout() * 2);
        }
    }

    /// Whether a server that shuts down may end: it leads no longer, and nobody waits for what it was given.
    pub(super) fn has_left_office(&self, now: Now) -> bool {
        self.state.shutting_down.is_some_and(|deadline| {
            let left = self.engine.status().role != Role::Leader || self.links.is_empty();
            left && self.requests.is_idle() || now.monotonic >= deadline
        })
    }

    /// The last writes, which it waits for: that everything here is durable, so that a tail that is later found bad is known
    /// to be rot.
    pub(super) fn close(&mut self, inbox: &Arriving) -> Result<(), Stopped> {
        let now = clock::now();
        let mut meta = self.engine.storage().meta().clone();
        meta.clean = true;
        self.engine.storage_mut().set_meta(meta);
        loop {
            self.engine.storage_mut().mark_idle();
            if let Some(job) = self.engine.flush(now) {
                let persisted = job.run().map_err(Stopped::Disk)?;
                self.engine.storage_mut().persisted(persisted);
            } else if self.engine.storage().is_flushed() {
                return Ok(());
            } else {
                // A job is still with the flusher.
                match task::block_on(future::timeout(self.engine.flush_stall(), inbox.next())) {
                    Ok(Ok(Event::Persisted(result))) => {
                        self.engine.storage_mut().persisted(result.map_err(Stopped::Disk)?);
                    }
                    Ok(Ok(_)) => {}
                    Ok(Err(_)) | Err(_) => return Ok(()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::MemberType;

    #[test]
    fn only_voters_that_refuse_cost_a_majority() {
        let mut configuration = Configuration::bootstrap((1..=5).map(|id| (id, format!("s{id}"))));
        for passive in [4, 5] {
            configuration.members.get_mut(&passive).expect("a member").member_type = MemberType::Passive;
        }
        let of = |refused: &[ServerId]| has_willing_majority(&configuration, &refused.iter().copied().collect());
        assert!(of(&[4, 5]), "two passive members of another version leave three voters");
        assert!(of(&[3, 4, 5, 9]));
        assert!(!of(&[2, 3]));
    }
}
