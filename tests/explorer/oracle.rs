//! Invariants that are checked in every state.

use crate::machine::Item;
use crate::server::{Mark, Server};
use crate::world::T;
use copycat::engine::{AppendOutcome, Message, Refusal, Response, Role};
use std::rc::Rc;
use std::time::Duration;

/// The promises made so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Oracle {
    /// Pairs of a term and its leader.
    leaders: Vec<(u64, u64)>,
    /// Votes: the voter's identity, the term, and the candidate.
    votes: Vec<(u64, u64, u64)>,
    /// Committed entries, from index 1.
    pub committed: Vec<Mark>,
    /// The highest version that a client was told.
    floor: u64,
    /// Pending reads: request, server, and the floor when the read began.
    reads: Vec<(u64, u64, u64)>,
    /// Pending puts: request, server, and the entry's checksum.
    puts: Vec<(u64, u64, u32)>,
    /// Checksums of puts that were refused, which means that they have no effect.
    refused: Vec<u32>,
    /// Pairs of a server and the time when it last received an append of a leader that it follows.
    followed: Vec<(u64, Duration)>,
    /// The number of acknowledged puts.
    pub acknowledged: u64,
}

impl Oracle {
    pub(crate) fn asked(&mut self, id: u64, at: u64) {
        self.reads.push((id, at, self.floor));
    }

    pub(crate) fn put(&mut self, id: u64, at: u64, checksum: u32) {
        self.puts.push((id, at, checksum));
    }

    /// Forgets the requests at a server that crashed: no client gets a reply.
    pub(crate) fn crashed(&mut self, at: u64) {
        self.reads.retain(|&(_, of, _)| of != at);
        self.puts.retain(|&(_, of, _)| of != at);
    }

    /// Notes when a server hears a leader. A transfer is the exception from the rule that it does not stand then.
    pub(crate) fn received(&mut self, receiver: &Server, message: &Message, time: Duration) {
        let current = message.term() >= receiver.holding.term && receiver.engine.is_some();
        match message {
            Message::Append { .. } | Message::Configure { .. } if current => {
                self.followed.retain(|&(id, _)| id != receiver.id);
                self.followed.push((receiver.id, time));
            }
            Message::TimeoutNow { .. } => self.followed.retain(|&(id, _)| id != receiver.id),
            _ => {}
        }
    }

    pub(crate) fn answered(
        &mut self,
        id: u64,
        result: &Result<Response, Refusal>,
        item: Option<Item>,
    ) -> Result<(), String> {
        if let Some(place) = self.reads.iter().position(|&(read, ..)| read == id) {
            let (_, at, floor) = self.reads.remove(place);
            if let (Ok(response), Some((version, _))) = (result, item) {
                if version < floor {
                    let how = response.consistency;
                    return Err(format!("STALE READ ({how:?}): server {at} answers version {version} below {floor}"));
                }
                self.floor = self.floor.max(version);
            }
        }
        if let Some(place) = self.puts.iter().position(|&(put, ..)| put == id) {
            let (_, at, checksum) = self.puts.remove(place);
            match result {
                Ok(response) => {
                    let there =
                        usize::try_from(response.index).ok().and_then(|i| self.committed.get(i.checked_sub(1)?));
                    if there.is_none_or(|mark| mark.1 != checksum) {
                        return Err(format!("ACKNOWLEDGED AND NOT COMMITTED: {} by server {at}", response.index));
                    }
                    self.floor = self.floor.max(response.index);
                    self.acknowledged += 1;
                }
                Err(Refusal::Lost) => {}
                Err(_) => {
                    self.refused.push(checksum);
                    return self.check_refused();
                }
            }
        }
        Ok(())
    }

    fn check_refused(&self) -> Result<(), String> {
        match self.committed.iter().position(|(_, checksum)| self.refused.contains(checksum)) {
            Some(place) => {
                Err(format!("REFUSED AND DONE: a put was said to have no effect, and is entry {}", place + 1))
            }
            None => Ok(()),
        }
    }

    /// Checks a message that leaves a server: its promises must be durable there, and true.
    pub(crate) fn sent(
        &mut self,
        servers: &[Rc<Server>],
        from: &Server,
        to: u64,
        message: &Message,
    ) -> Result<(), String> {
        let id = from.id;
        let durable = &from.durable;
        match message {
            Message::VoteReply { term, granted: true } => {
                if durable.term < *term || durable.term == *term && durable.vote != to {
                    return Err(format!("PROMISE NOT DURABLE: server {id} votes for {to} in term {term}: {durable:?}"));
                }
                self.voted(from.identity(), *term, to)?;
            }
            Message::AppendReply { term, outcome: AppendOutcome::Matched(index), .. } => {
                let own = from.holding.mark(*index);
                let kept = own.is_none_or(|mark| durable.has(*index, mark));
                if durable.term.max(durable.log.last().map_or(0, |mark| mark.0)) < *term || !kept {
                    return Err(format!("PROMISE NOT DURABLE: server {id} acknowledged {index} in term {term}"));
                }
                let leader = servers.iter().find(|s| s.id == to && s.holding.term == *term && leads(s));
                let differs = |leader: &Rc<Server>| {
                    (leader.holding.first.max(from.holding.first)..=*index).find(|&i| {
                        own.is_some() && leader.holding.mark(i).map(|m| m.0) != from.holding.mark(i).map(|m| m.0)
                    })
                };
                if let Some(index) = leader.and_then(differs) {
                    return Err(format!("FALSE PROMISE: server {id} says it has entry {index} of server {to}"));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn voted(&mut self, voter: u64, term: u64, candidate: u64) -> Result<(), String> {
        match self.votes.iter().find(|&&(of, at, _)| (of, at) == (voter, term)) {
            Some(&(_, _, first)) if first != candidate => {
                Err(format!("TWO VOTES: {voter} in term {term}: for {first} and {candidate}"))
            }
            Some(_) => Ok(()),
            None => {
                self.votes.push((voter, term, candidate));
                Ok(())
            }
        }
    }

    /// Checks the server that has just acted.
    pub(crate) fn check(&mut self, servers: &[Rc<Server>], at: usize, now: Duration) -> Result<(), String> {
        let server = &servers[at];
        let Some(engine) = &server.engine else { return Ok(()) };
        let (id, holding) = (server.id, &server.holding);
        let last_term = holding.log.last().map_or(0, |mark| mark.0);
        if last_term > holding.term {
            return Err(format!("TERM BELOW THE LOG'S: server {id} in {} has entries of {last_term}", holding.term));
        }
        let followed = self.followed.iter().find(|&&(of, _)| of == id);
        if engine.role() == Role::Candidate && followed.is_some_and(|&(_, since)| now < since + T) {
            return Err(format!("STANDS TOO EARLY: server {id} heard its leader less than T ago"));
        }
        self.check_commit(servers, at)?;
        if engine.role() == Role::Leader {
            self.check_leader(server)?;
            check_lease(servers, at, now)?;
        }
        check_logs(servers, at)
    }

    fn check_leader(&mut self, server: &Server) -> Result<(), String> {
        let (id, term) = (server.id, server.holding.term);
        match self.leaders.iter().find(|&&(of, _)| of == term) {
            Some(&(_, first)) if first != id => {
                return Err(format!("TWO LEADERS: {first} and {id} in term {term}"));
            }
            Some(_) => {}
            None => self.leaders.push((term, id)),
        }
        if self.leaders.iter().all(|&(of, _)| of <= term) {
            for (index, &mark) in (1..).zip(&self.committed) {
                if !server.holding.has(index, mark) {
                    return Err(format!("LEADER INCOMPLETE: {id} leads term {term} without committed entry {index}"));
                }
            }
        }
        Ok(())
    }

    /// Checks that committed entries never change, and are durable on a quorum when they are first seen to be committed.
    fn check_commit(&mut self, servers: &[Rc<Server>], at: usize) -> Result<(), String> {
        let server = &servers[at];
        let Some(engine) = &server.engine else { return Ok(()) };
        let commit = engine.status().commit;
        let holding = &server.holding;
        for index in holding.first..=commit {
            let Some(mark) = holding.mark(index) else {
                return Err(format!("COMMITTED AND MISSING: entry {index} at server {}", server.id));
            };
            let place = usize::try_from(index - 1).expect("a small index");
            if let Some(known) = self.committed.get(place) {
                // Compaction leaves the term only.
                if known.0 != mark.0 || known.1 != mark.1 && mark.1 != 0 {
                    return Err(format!(
                        "COMMITTED ENTRY CHANGED: {index} was {known:?}, is {mark:?} at {}",
                        server.id
                    ));
                }
                continue;
            }
            let initial: Vec<u64> = servers.iter().map(|s| s.id).collect();
            let quorum_of = |voters: &[u64]| {
                let has = |v: &&u64| servers.iter().any(|s| s.id == **v && s.keeps(index, mark));
                voters.iter().filter(has).count() > voters.len() / 2
            };
            // The configuration at the entry, or a later one: a leader counts by the latest in its log.
            let before = holding.configurations.iter().rfind(|(of, _)| *of <= index);
            let known = engine.committed_configuration().voters().collect::<Vec<_>>();
            let mut in_force =
                vec![before.map_or(if holding.first > 1 { &known } else { &initial }, |(_, voters)| voters)];
            in_force.extend(holding.configurations.iter().filter(|(of, _)| *of > index).map(|(_, voters)| voters));
            if !in_force.iter().any(|voters| quorum_of(voters)) {
                let on: Vec<u64> = servers.iter().filter(|s| s.keeps(index, mark)).map(|s| s.id).collect();
                return Err(format!("COMMITTED BEFORE DURABLE: entry {index} on {on:?}, voters {in_force:?}"));
            }
            self.committed.push(mark);
            self.check_refused()?;
        }
        Ok(())
    }
}

fn leads(server: &Server) -> bool {
    server.engine.as_ref().is_some_and(|engine| engine.role() == Role::Leader)
}

/// Checks that no server leads a higher term while another holds a lease. All servers have one clock here.
fn check_lease(servers: &[Rc<Server>], at: usize, now: Duration) -> Result<(), String> {
    let own = &servers[at];
    for other in servers.iter().filter(|s| s.id != own.id) {
        for (old, new) in [(own, other), (other, own)] {
            let lease = old.engine.as_ref().and_then(copycat::engine::Engine::lease);
            if leads(new) && new.holding.term > old.holding.term && lease.is_some_and(|end| now < end) {
                return Err(format!(
                    "LEASE OVERLAP: server {} leads term {} while server {} has a lease of term {}",
                    new.id, new.holding.term, old.id, old.holding.term
                ));
            }
        }
    }
    Ok(())
}

/// Checks log matching: an equal index and term mean an equal entry, behind equal entries.
fn check_logs(servers: &[Rc<Server>], at: usize) -> Result<(), String> {
    let own = &servers[at];
    for other in servers.iter().filter(|s| s.id != own.id) {
        let (a, b) = (&own.holding, &other.holding);
        let first = a.first.max(b.first);
        let mut agree = false;
        for index in (first..=a.last().min(b.last())).rev() {
            let (Some(one), Some(two)) = (a.mark(index), b.mark(index)) else { break };
            agree |= one.0 == two.0;
            let holes = one.1 == 0 || two.1 == 0;
            if agree && (one.0 != two.0 || one.1 != two.1 && !holes) {
                return Err(format!("LOG MISMATCH: entry {index} of servers {} and {}", own.id, other.id));
            }
        }
    }
    Ok(())
}
