//! What an operator does: servers join, become something else, and are removed.

use super::Stage;
use crate::engine::machine::{Outcome, StateMachine};
use crate::engine::{Change, Configuration, Input, MemberType, ServerId, decode};

impl<M: StateMachine + Default> Stage<M> {
    /// Has an operator's change made, by whoever leads.
    fn change(&mut self, change: impl Fn(u64) -> Change) -> (u64, Configuration) {
        for _ in 0..100 {
            let leader = self.leader();
            let configuration = self.engine(leader).configuration().index;
            self.next_request += 1;
            let id = self.next_request;
            self.act(leader, Some(Input::Change { id, change: change(configuration) }));
            self.until("the change is answered", |s| s.changed.contains_key(&id) || s.nodes[&leader].engine.is_none());
            match self.changed.remove(&id) {
                Some(Ok(response)) => {
                    let Outcome::Output(bytes) = response.output else { panic!("{:?}", response.output) };
                    return (response.index, decode(&bytes).expect("a configuration"));
                }
                // Removed, before it could say so.
                None => {
                    let leader = self.leader();
                    let engine = self.engine(leader);
                    return (engine.status().commit, engine.configuration().clone());
                }
                Some(Err(_)) => self.wait(200),
            }
        }
        panic!("no change in a hundred tries: {:#?}", self.states());
    }

    /// A server with an empty disk joins.
    pub(in crate::scenarios) fn join(&mut self, id: ServerId, member_type: MemberType) {
        self.add(id);
        let identity = self.nodes[&id].identity;
        let told = self.change(|_| {
            let (peer, http) = (format!("s{id}:1"), format!("s{id}:2"));
            Change::Join { id, identity, peer, http, member_type }
        });
        self.nodes.get_mut(&id).expect("a server").joined = Some(told);
        self.start(id);
        self.until("it is what it wants to be", |s| {
            let member = s.engine(id).configuration().members.get(&id);
            member.is_some_and(|m| m.member_type == member_type && m.becoming.is_none())
        });
    }

    pub(in crate::scenarios) fn turn_into(&mut self, id: ServerId, member_type: MemberType) {
        self.change(|configuration| Change::Type { id, member_type, configuration, force: false });
        self.until("it is what it is to be", |s| {
            let known = |at| s.engine(at).configuration().type_of(id) == Some(member_type);
            s.running().all(known)
        });
    }

    pub(in crate::scenarios) fn remove(&mut self, id: ServerId) {
        self.change(|configuration| Change::Remove { id, configuration, force: false });
        self.until("it is gone", |s| {
            s.running().all(|at| s.engine(at).configuration().type_of(id).is_none() || at == id)
        });
        if self.nodes[&id].engine.is_some() {
            self.kill(id);
        }
    }
}
