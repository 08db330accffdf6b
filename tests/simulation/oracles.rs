//! Promises of timing, seen from outside: leases that must not overlap, votes and candidacies that come too early, rounds
//! that sessions are ended by, requests that nobody answers, and answers that go back.
//!
//! A stale answer is rare, the broken promise behind it is not: each of these is looked at after every step.

use crate::server::{Server, SimInput};
use copycat::engine::{
    Consistency, Index, Input, MemberType, Message, RequestId, Response, Role, ServerId, SessionId, Status, Term,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A request that a live server still has when everything is quiet must be younger than this, microseconds.
const PATIENCE: u64 = 5_000_000;

/// The part of an input that excuses, or forbids, what its step does.
pub(crate) struct Cue {
    /// A leader's append or configuration, of this term.
    leads: Option<(ServerId, Term)>,
    /// The leader asked for this election.
    transfer: bool,
    /// A reply to a round of heartbeats.
    reply: Option<(ServerId, Term, u64)>,
}

impl Cue {
    pub(crate) fn of(server: &Server, input: Option<&SimInput>) -> Self {
        let mut cue = Self { leads: None, transfer: false, reply: None };
        let Some(Input::Message { from, message, .. }) = input else { return cue };
        let own = server.engine.as_ref().map_or(0, |e| e.status().term);
        match *message {
            Message::Append { term, .. } | Message::Configure { term, .. } if term >= own => {
                cue.leads = Some((*from, term));
            }
            Message::TimeoutNow { .. } | Message::Vote { transfer: true, .. } => cue.transfer = true,
            Message::AppendReply { term, round, .. } => cue.reply = Some((*from, term, round)),
            _ => {}
        }
        cue
    }
}

/// One server as it was after its last step; the moments are of its own clock.
#[derive(Debug, Default, Clone)]
struct Watched {
    term: Term,
    vote: ServerId,
    role: Option<Role>,
    /// It accepted something from a leader, in any life.
    heard: Option<Duration>,
    started: Duration,
    /// It had promised nothing when it was started.
    fresh: bool,
    /// The election timeout of the last configuration that it knows to be committed.
    t: Duration,
    /// The highest index that a sequential answer of its was from, since its disk was last in doubt.
    answered: Index,
}

/// A leader's rounds of heartbeats.
#[derive(Debug, Default)]
struct Rounds {
    last: u64,
    /// By round: the sessions that were overdue when it began.
    overdue: BTreeMap<u64, BTreeSet<SessionId>>,
    replies: BTreeMap<ServerId, u64>,
    /// Each round that a majority had answered, and when (simulated time).
    confirmed: Vec<(u64, u64)>,
    /// Moments at which the leader was the only voter: it asks nobody.
    alone: BTreeSet<u64>,
}

#[derive(Debug)]
pub(crate) struct Oracles {
    t: Duration,
    /// Clocks jump: nothing that stands on them holds.
    jumps: bool,
    watched: Vec<Watched>,
    /// What servers were asked and have not answered, and when.
    asked: BTreeMap<(usize, RequestId), u64>,
    rounds: BTreeMap<Term, Rounds>,
    /// The log of each term's leader when it was elected: by index, the terms.
    logs: BTreeMap<Term, Vec<Term>>,
}

impl Oracles {
    /// How many servers there are.
    pub(crate) fn servers(&self) -> usize {
        self.watched.len()
    }

    pub(crate) fn new(servers: usize, t: Duration, jumps: bool) -> Self {
        let watched = vec![Watched::default(); servers];
        Self { t, jumps, watched, asked: BTreeMap::new(), rounds: BTreeMap::new(), logs: BTreeMap::new() }
    }

    pub(crate) fn started(&mut self, server: &Server, time: u64) {
        let (now, status) = (server.now(time).monotonic, server.engine().status());
        let w = &mut self.watched[server.id as usize - 1];
        (w.term, w.vote, w.role) = (status.term, status.vote, Some(status.role));
        (w.started, w.fresh) = (now, status.term == 0 && !status.lost_log);
    }

    /// Its process has ended, or its power has failed.
    pub(crate) fn down(&mut self, at: usize, power: bool) {
        self.asked.retain(|&(asked, _), _| asked != at);
        if power {
            self.watched[at].answered = 0;
        }
    }

    /// Another disk is in its place, or its log is gone.
    pub(crate) fn forget(&mut self, at: usize) {
        self.watched[at] = Watched { heard: self.watched[at].heard, ..Watched::default() };
    }

    pub(crate) fn asked(&mut self, at: usize, input: Option<&SimInput>, time: u64) {
        match input {
            Some(
                &Input::Submit { id, .. }
                | &Input::Query { id, .. }
                | &Input::Change { id, .. }
                | &Input::Transfer { reply: Some(id), .. },
            ) => drop(self.asked.insert((at, id), time)),
            Some(Input::Cancel(id)) => drop(self.asked.remove(&(at, *id))),
            _ => {}
        }
    }

    /// A sequential answer is never from a state before one that this server has answered from.
    pub(crate) fn answered(
        &mut self,
        server: &Server,
        id: RequestId,
        response: Option<&Response>,
    ) -> Result<(), String> {
        let at = server.id as usize - 1;
        self.asked.remove(&(at, id));
        let Some(response) = response.filter(|r| r.consistency == Some(Consistency::Sequential)) else { return Ok(()) };
        let w = &mut self.watched[at];
        let votes = server.engine.as_ref().is_some_and(|e| e.status().member_type == Some(MemberType::Active));
        if votes && response.index < w.answered {
            let (now, before) = (response.index, w.answered);
            return Err(format!("WENT BACK: server {} answers from {now} after {before}", server.id));
        }
        w.answered = if votes { response.index } else { 0 };
        Ok(())
    }

    /// Looks at the server that has just stepped, and at its leases beside the others'.
    pub(crate) fn stepped(&mut self, servers: &[Server], at: usize, cue: &Cue, time: u64) -> Result<(), String> {
        let Some(engine) = &servers[at].engine else { return Ok(()) };
        let (status, now) = (engine.status(), servers[at].now(time).monotonic);
        let alone = engine.committed_configuration().voters().eq([status.id]);
        // A leader that loses its vote has no lease that anybody must wait for.
        let led = cue.leads.filter(|&(leader, _)| engine.configuration().is_voter(leader));
        let settings = engine.committed_configuration().settings.as_ref();
        let t = settings.map(|s| s.election_timeout);
        self.early(at, &Cue { leads: led, ..*cue }, &status, (alone, t), now)?;
        if status.role == Role::Leader {
            self.leads(&servers[at], time, cue);
        }
        let term_of_last = engine.storage().last_term();
        if term_of_last > status.term {
            return Err(format!(
                "TERM BEHIND: server {} is in term {}, its log in {term_of_last}",
                at + 1,
                status.term
            ));
        }
        self.leases(servers, time)
    }

    /// No vote, own ones included, and no candidacy within T of a leader's last append, or of a start.
    fn early(
        &mut self,
        at: usize,
        cue: &Cue,
        status: &Status,
        (alone, t): (bool, Option<Duration>),
        now: Duration,
    ) -> Result<(), String> {
        let (w, t) = (&mut self.watched[at], t.unwrap_or(self.t));
        // Where it has just changed, the shorter one is what it must keep in any case.
        let t = std::mem::replace(&mut w.t, t).min(t);
        if let Some((leader, term)) = cue.leads
            && status.term == term
            && status.leader == Some(leader)
        {
            w.heard = Some(now);
        }
        if status.role == Role::Leader {
            // Whoever led before has no lease any more.
            w.heard = None;
        }
        let stood = status.role == Role::Candidate && w.role == Some(Role::Follower);
        let voted = status.vote != 0 && (status.term, status.vote) != (w.term, w.vote);
        // A single voter waits for nobody after a start, but for whoever it has heard.
        let waits_from = if w.fresh || alone { None } else { Some(w.started) };
        let after = w.heard.max(waits_from);
        let early = after.is_some_and(|after| now < after + t);
        // A leader that votes for another gives its lease up by that.
        let broken = (stood || voted && w.role != Some(Role::Leader)) && early && !cue.transfer;
        let report = broken.then(|| {
            let what = if voted { "VOTED EARLY" } else { "STOOD EARLY" };
            format!("{what}: server {} for {} in term {}: {w:?}, now {now:?}", at + 1, status.vote, status.term)
        });
        (w.term, w.vote, w.role) = (status.term, status.vote, Some(status.role));
        report.map_or(Ok(()), Err)
    }

    /// No server leads a higher term while another's lease is ahead on its own clock.
    fn leases(&self, servers: &[Server], time: u64) -> Result<(), String> {
        if self.jumps {
            return Ok(());
        }
        let leaders = || servers.iter().filter(|s| s.engine.as_ref().is_some_and(|e| e.role() == Role::Leader));
        if leaders().nth(1).is_none() {
            return Ok(());
        }
        let newest = leaders().max_by_key(|s| s.engine().status().term).expect("two of them");
        for old in leaders().filter(|s| s.engine().status().term < newest.engine().status().term) {
            let now = old.now(time).monotonic;
            if let Some(end) = old.engine().lease_until().filter(|&end| now < end) {
                let (a, b) = (old.engine().status(), newest.engine().status());
                return Err(format!(
                    "LEASE OVERLAPS: server {} leads term {} with a lease for {:?} more, server {} leads term {}",
                    a.id,
                    a.term,
                    end - now,
                    b.id,
                    b.term
                ));
            }
        }
        Ok(())
    }

    /// Follows a leader's rounds, and remembers its log.
    fn leads(&mut self, server: &Server, time: u64, cue: &Cue) {
        let engine = server.engine();
        let term = engine.status().term;
        let storage = engine.storage();
        self.logs
            .entry(term)
            .or_insert_with(|| (1..=storage.last_index()).map(|index| storage.term(index).unwrap_or(0)).collect());
        let rounds = self.rounds.entry(term).or_default();
        if engine.configuration().voters().eq([server.id]) {
            rounds.alone.insert(time);
        }
        let Some((from, _, round)) = cue.reply.filter(|&(_, of, _)| of == term) else { return };
        let seen = rounds.replies.entry(from).or_default();
        *seen = round.max(*seen);
        let voters: Vec<ServerId> = engine.configuration().voters().collect();
        let mut answered: Vec<u64> = voters
            .iter()
            .map(|v| if *v == server.id { rounds.last } else { rounds.replies.get(v).copied().unwrap_or(0) })
            .collect();
        answered.sort_unstable();
        // Half of them, rounded down, may be behind what a majority has answered.
        let majority = answered[(answered.len() - 1) / 2];
        if rounds.confirmed.last().is_none_or(|&(last, _)| last < majority) {
            rounds.confirmed.push((majority, time));
        }
    }

    /// A leader's heartbeat leaves. Its round has begun in this very step.
    pub(crate) fn sends(&mut self, server: &Server, message: &Message) {
        let &Message::Append { term, round, .. } = message else { return };
        let rounds = self.rounds.entry(term).or_default();
        if round <= rounds.last {
            return;
        }
        rounds.last = round;
        // The state may be out: then nothing is known, and everything excused.
        let Some(executor) = server.executor() else {
            rounds.overdue.insert(round, BTreeSet::from([SessionId::MAX]));
            return;
        };
        let (clock, _) = server.engine().status().clock;
        let sessions = executor.sessions().list(0, usize::MAX);
        let overdue: BTreeSet<SessionId> =
            sessions.iter().filter(|s| s.kept_at + s.timeout_ms <= clock).map(|s| s.session).collect();
        if !overdue.is_empty() {
            rounds.overdue.insert(round, overdue);
        }
    }

    /// An entry of this term, appended at this moment, ended a session because it was overdue: a majority must have answered
    /// a round that began when it was.
    pub(crate) fn ended(&self, session: SessionId, term: Term, appended: u64) -> Result<(), String> {
        let Some(rounds) = self.rounds.get(&term) else { return Ok(()) };
        if rounds.alone.contains(&appended) {
            return Ok(());
        }
        let confirmed = rounds.confirmed.iter().rev().find(|&&(_, at)| at <= appended).map_or(0, |&(round, _)| round);
        let due = |set: &BTreeSet<SessionId>| set.contains(&session) || set.contains(&SessionId::MAX);
        if rounds.overdue.range(..=confirmed).any(|(_, set)| due(set)) {
            return Ok(());
        }
        Err(format!(
            "ENDED WITHOUT A ROUND: session {session} in term {term}, confirmed through round {confirmed}, overdue {:?}",
            rounds.overdue
        ))
    }

    /// "Matched through i" must be true: up to there, the log is that of the term's leader.
    pub(crate) fn matches(&self, server: &Server, term: Term, through: Index) -> Result<(), String> {
        let Some(log) = self.logs.get(&term) else { return Ok(()) };
        let storage = server.engine().storage();
        // With one entry all before it agree, where logs match; what is looked at is bounded all the same.
        for index in through.saturating_sub(20).max(1)..=through {
            let leaders = log.get(index as usize - 1).copied().unwrap_or(term);
            let own = storage.term(index);
            if own != Some(leaders) {
                let id = server.id;
                return Err(format!(
                    "NOT MATCHED: server {id} acknowledges {through} in term {term}, but has {own:?} at {index}, not {leaders}"
                ));
            }
        }
        Ok(())
    }

    /// Everything that was asked of these, which are up, has been answered.
    pub(crate) fn check_end(&self, members: &BTreeSet<usize>, time: u64) -> Result<(), String> {
        let old = self.asked.iter().find(|&(&(at, _), &since)| members.contains(&at) && since + PATIENCE < time);
        match old {
            Some((&(at, request), since)) => {
                Err(format!("NEVER ANSWERED: request {request} at server {} since {since} µs", at + 1))
            }
            None => Ok(()),
        }
    }
}
