//! What must hold after every step, looked at from outside the engine.

use crate::model::Model;
use crate::oracles::Oracles;
use crate::server::Server;
use crate::workload::BRIEF;
use copycat::engine::machine::{Executor, Outcome, decode_operation, decode_query_output, encode_operation};
use copycat::engine::{AppendOutcome, Configuration, Index, Kind, MemberType, Message, Options, Role, Term, decode};
use copycat::store::{Answer, Command, Listed, Listing, Query, Store};
use copycat_storage::{EntryRef, Lookup, MemDisk, Storage};
use std::collections::BTreeMap;

type Voters = Vec<(u64, Option<u64>)>;

fn voters(configuration: &Configuration) -> Voters {
    configuration.voters().map(|id| (id, configuration.members[&id].identity)).collect()
}

/// What was seen of one server in its present life, and of its promises in earlier ones.
#[derive(Debug, Default, Clone)]
struct Seen {
    life: u64,
    term: Term,
    vote: u64,
    commit: Index,
    applied: Index,
    /// The log was compared with the others through here, when it was this long.
    compared: Index,
    /// All that is committed was looked for in this leader's log, of this term, through here.
    complete: (Term, Index),
    /// The configuration that it last said to know.
    told: Index,
    /// Its log was looked at after this write.
    written: u64,
}

pub(crate) struct Invariants {
    pub oracles: Oracles,
    seen: Vec<Seen>,
    leaders: BTreeMap<Term, u64>,
    /// The configuration that all begin with, and those in logs by (index, term): voters, and their identities.
    initial: Voters,
    configurations: BTreeMap<(Index, Term), Voters>,
    /// The latest committed one.
    shape: Configuration,
    /// Votes that were sent: by voter (its identity) and term, for whom.
    votes: BTreeMap<(u64, Term), u64>,
    pub broken: Option<String>,
    /// By (index, term): a checksum of the entry, and the term before it.
    entries: BTreeMap<(Index, Term), (u32, Term)>,
    /// By (index, term): when the entry was first seen in a log, in simulated microseconds.
    appended: BTreeMap<(Index, Term), u64>,
    pub model: Model,
    /// The term of each committed entry, from index 1.
    committed: Vec<Term>,
    /// The state after each applied index, as the first server that reached it had it, and its log time.
    digests: BTreeMap<Index, (u32, u64)>,
    reference: Executor<Store>,
    /// When each key with a TTL must go, in log time.
    brief: BTreeMap<Vec<u8>, u64>,
    keys: Vec<Vec<u8>>,
    /// By key: from which index on it had which version.
    versions: BTreeMap<Vec<u8>, Vec<(Index, Option<u64>)>>,
    pub commands: u64,
    checks: u64,
}

impl Invariants {
    pub(crate) fn new(oracles: Oracles, initial: &Configuration, keys: Vec<Vec<u8>>, options: &Options) -> Self {
        #[allow(unused_mut)] // only a planted bug changes it
        let mut reference = Executor::new(Store::default());
        // What is wrong on all servers alike must be found too.
        #[cfg(feature = "planted-bugs")]
        reference.plant(options.bug);
        let _ = options;
        Self {
            seen: vec![Seen::default(); oracles.servers()],
            oracles,
            leaders: BTreeMap::new(),
            initial: voters(initial),
            configurations: BTreeMap::new(),
            shape: initial.clone(),
            votes: BTreeMap::new(),
            broken: None,
            entries: BTreeMap::new(),
            appended: BTreeMap::new(),
            model: Model::default(),
            committed: Vec::new(),
            digests: BTreeMap::new(),
            reference,
            brief: BTreeMap::new(),
            keys,
            versions: BTreeMap::new(),
            commands: 0,
            checks: 0,
        }
    }

    /// A key with a TTL is there until log time reaches its end, and then no more.
    fn check_brief(&mut self, entry: EntryRef<'_>) -> Result<(), String> {
        if let Some(Command::Put { key, ttl_ms: ttl @ 1.., .. }) = decode_operation(entry.data)
            && entry.kind == Kind::Command as u8
        {
            self.brief.insert(key, self.reference.time() + ttl);
        }
        let time = self.reference.time();
        self.brief.retain(|_, due| *due > time);
        let there = brief_keys(&self.reference);
        if !there.iter().eq(self.brief.keys()) {
            return Err(format!("TTL: at {} and {time} there are {there:?}, not {:?}", entry.index, self.brief));
        }
        Ok(())
    }

    /// Whether this server led this term, or a later one.
    pub(crate) fn has_led(&self, id: u64, term: Term) -> bool {
        self.leaders.range(term..).any(|(_, &leader)| leader == id)
    }

    pub(crate) fn committed(&self) -> Index {
        self.committed.len() as Index
    }

    /// A server is another one from now on: its disk was wiped.
    pub(crate) fn forget(&mut self, at: usize) {
        self.seen[at] = Seen::default();
        self.oracles.forget(at);
    }

    /// A vote leaves a server.
    fn voted(&mut self, voter: u64, term: Term, candidate: u64) {
        let first = *self.votes.entry((voter, term)).or_insert(candidate);
        if first != candidate {
            self.broken = Some(format!("TWO VOTES: {voter} in term {term}: for {first} and {candidate}"));
        }
    }

    /// Looks at what a message promises; `closely`: also at what the worst power cut would leave of that. Returns whether
    /// it promises anything.
    pub(crate) fn promises(&mut self, server: &Server, to: u64, message: &Message, closely: bool) -> bool {
        self.oracles.sends(server, message);
        let at = server.id as usize - 1;
        match *message {
            Message::VoteReply { term, granted: true } => {
                self.voted(server.identity(), term, to);
                self.promised(server, term, Some(to), None, 0);
            }
            Message::AppendReply { term, outcome: AppendOutcome::Matched(index), configuration, .. } => {
                // What it has not said before is looked at in any case.
                let news = configuration > std::mem::replace(&mut self.seen[at].told, configuration);
                if closely || news {
                    self.promised(server, term, None, Some(index), configuration);
                }
            }
            Message::AppendReply { .. } | Message::FeedReply { .. } => {}
            _ => return false,
        }
        true
    }

    /// An acknowledgement leaves a server: what it says must be so.
    pub(crate) fn acknowledges(&mut self, server: &Server, message: &Message) {
        let storage = server.engine().storage();
        let wrong = match *message {
            Message::AppendReply { term, outcome: AppendOutcome::Matched(index), .. } => {
                self.oracles.matches(server, term, index).err()
            }
            Message::FeedReply { outcome: AppendOutcome::Matched(index), .. } => {
                let known = self.committed.get((index as usize).wrapping_sub(1)).copied();
                let own = storage.term(index);
                let wrong = index > 0 && known.is_some() && own != known;
                wrong.then(|| format!("NOT MATCHED: server {} was fed {own:?} at {index}, not {known:?}", server.id))
            }
            _ => None,
        };
        self.broken = self.broken.take().or(wrong);
    }

    /// A promise leaves a server: it must outlive the worst power cut, now.
    fn promised(&mut self, server: &Server, term: Term, vote: Option<u64>, index: Option<Index>, configuration: Index) {
        let survivor = server.after_worst_power_cut();
        let (kept, id) = (survivor.meta().term.max(survivor.last_term()), server.id);
        if kept < term || vote.is_some_and(|vote| survivor.meta().vote != vote) {
            let meta = survivor.meta();
            self.broken = Some(format!("PROMISE NOT DURABLE: server {id} in term {term}: {vote:?}, kept {meta:?}"));
        }
        let storage = server.engine().storage();
        if let Some(index) = index.filter(|&i| survivor.term(i) != storage.term(i)) {
            self.broken = Some(format!("PROMISE NOT DURABLE: server {id} acknowledged {index}"));
        }
        let known = latest_configuration(&survivor);
        if known < configuration {
            self.broken =
                Some(format!("PROMISE NOT DURABLE: server {id} knows configuration {configuration}, kept {known}"));
        }
    }

    /// Checks the server that has just stepped.
    pub(crate) fn check(&mut self, servers: &[Server], at: usize, time: u64) -> Result<(), String> {
        if let Some(violation) = self.broken.take() {
            return Err(violation);
        }
        let server = &servers[at];
        let Some(engine) = &server.engine else { return Ok(()) };
        let status = engine.status();
        let id = server.id;
        let seen = &mut self.seen[at];
        let keeps = matches!(status.member_type, Some(MemberType::Active | MemberType::Passive));
        if !keeps && status.commit == 0 && status.last_index == 0 {
            // A reserve member has discarded its state, perhaps not before it was removed.
            (seen.commit, seen.applied, seen.compared) = (0, 0, 0);
        }
        if seen.life != server.life {
            // Term and vote are promises: they outlive the process. Commit and applied are learned anew.
            *seen = Seen { life: server.life, term: seen.term, vote: seen.vote, ..Seen::default() };
        }
        if status.term < seen.term {
            return Err(format!("TERM REGRESSION: server {id} {} -> {}", seen.term, status.term));
        }
        if status.commit < seen.commit || status.applied < seen.applied || status.applied > status.commit {
            return Err(format!("INDEX REGRESSION: server {id} {seen:?} -> {status:?}"));
        }
        let before = std::mem::replace(&mut seen.commit, status.commit);
        seen.applied = status.applied;
        // A vote becomes a promise once it is durable.
        if engine.storage().durable_sequence() >= engine.storage().write_sequence() {
            if status.term == seen.term && seen.vote != 0 && status.vote != seen.vote {
                return Err(format!(
                    "VOTE CHANGED: server {id} in term {}: {} -> {}",
                    status.term, seen.vote, status.vote
                ));
            }
            (seen.term, seen.vote) = (status.term, status.vote);
        }
        if status.role == Role::Leader {
            self.check_leader(servers, at)?;
        }
        let written = engine.storage().write_sequence();
        self.checks += 1;
        // Compactions and installs are no writes: now and then it is looked at anyway.
        if written != std::mem::replace(&mut self.seen[at].written, written) || self.checks.is_multiple_of(16) {
            self.check_log(servers, at, time, before)?;
        }
        self.check_commit(servers, at)?;
        self.check_state(server)
    }

    fn check_leader(&mut self, servers: &[Server], at: usize) -> Result<(), String> {
        let engine = servers[at].engine();
        let term = engine.status().term;
        let id = servers[at].id;
        let leader = *self.leaders.entry(term).or_insert(id);
        if leader != id {
            return Err(format!("TWO LEADERS: {leader} and {id} in term {term}"));
        }
        self.check_changes(&servers[at])?;
        if self.leaders.range(term + 1..).next().is_none() {
            let (of, through) = self.seen[at].complete;
            // Now and then all of it, or what went missing later would not be seen.
            let from =
                if of == term && !self.committed.len().is_multiple_of(64) { through.saturating_sub(20) } else { 0 };
            for (i, &committed) in self.committed.iter().enumerate().skip(from as usize) {
                let index = i as Index + 1;
                if engine.storage().term(index) != Some(committed) {
                    return Err(format!("LEADER INCOMPLETE: {id} leads term {term} without committed entry {index}"));
                }
            }
            self.seen[at].complete = (term, self.committed.len() as Index);
        }
        Ok(())
    }

    /// One change at a time: a leader appends a configuration only if the one before it is committed.
    fn check_changes(&self, server: &Server) -> Result<(), String> {
        let engine = server.engine();
        let (commit, term) = (engine.status().commit, engine.status().term);
        let own = |index: Index| engine.storage().term(index) == Some(term);
        let open = self.configurations.keys().filter(|&&(at, of)| at > commit && engine.storage().term(at) == Some(of));
        let open: Vec<Index> = open.map(|&(at, _)| at).collect();
        if open.len() > 1 && open.iter().any(|&at| own(at)) {
            return Err(format!("CHANGES AT ONCE: server {} leads term {term} with {open:?} uncommitted", server.id));
        }
        Ok(())
    }

    /// What changes are decided on moves with types and addresses only: to its own entry, or not at all.
    fn check_shape(&mut self, entry: EntryRef<'_>) -> Result<(), String> {
        if entry.kind != Kind::Configuration as u8 {
            return Ok(());
        }
        let next: Configuration = decode(entry.data).map_err(|e| e.to_string())?;
        let shape = |c: &Configuration| -> Vec<_> {
            c.members.iter().map(|(&id, m)| (id, m.member_type, m.peer.clone(), m.becoming)).collect()
        };
        // The first leader's settings are no decision.
        let retimed = self.shape.settings.is_some() && self.shape.settings != next.settings;
        let expected = if shape(&self.shape) == shape(&next) && !retimed { self.shape.index } else { entry.index };
        if next.index != expected {
            let (from, to) = (&self.shape, &next);
            return Err(format!("CONFIGURATION INDEX: {from:?} became {to:?} at {}", entry.index));
        }
        self.shape = next;
        Ok(())
    }

    /// Log matching: the same index and term mean the same entry, and the same entry before it.
    fn check_log(&mut self, servers: &[Server], at: usize, time: u64, committed: Index) -> Result<(), String> {
        let server = &servers[at];
        let storage = server.engine().storage();
        let seen = &mut self.seen[at];
        let last = storage.last_index();
        let from = committed.min(seen.commit).min(seen.compared).max(1);
        for index in from..=last {
            let looked = match storage.lookup(index) {
                Err(_) if server.flipped => continue,
                looked => looked.map_err(|e| format!("UNREADABLE: server {}: {e}", server.id))?,
            };
            let entry = match looked {
                Lookup::Entry(entry) => entry,
                // The rule: holes only at or below the durable snapshot.
                Lookup::Hole if index <= storage.snapshot().map_or(0, |s| s.index) => continue,
                _ => return Err(format!("HOLE: server {} has no entry {index}", server.id)),
            };
            let crc = crc32c::crc32c_append(crc32c::crc32c(entry.data), &[entry.kind, entry.mode]);
            self.appended.entry((index, entry.term)).or_insert(time);
            if entry.kind == Kind::Configuration as u8 && !self.configurations.contains_key(&(index, entry.term)) {
                let configuration: Configuration = decode(entry.data).map_err(|e| e.to_string())?;
                let before =
                    self.configurations.range(..(index, 0)).rev().find(|&(&(at, of), _)| storage.term(at) == Some(of));
                // A leader that has committed nothing of its own term does not know what is in force (copycat #23).
                let leads = server.engine().role() == Role::Leader && server.engine().status().term == entry.term;
                if leads && storage.term(server.engine().status().commit) != Some(entry.term) {
                    return Err(format!("CHANGED TOO EARLY: server {} in term {} at {index}", server.id, entry.term));
                }
                check_promoted(
                    servers,
                    server.id,
                    before.map_or(&self.initial, |(_, v)| v),
                    &configuration,
                    committed,
                )?;
                self.configurations.insert((index, entry.term), voters(&configuration));
            }
            let before = if index == 1 { 0 } else { storage.term(index - 1).unwrap_or(0) };
            let known = *self.entries.entry((index, entry.term)).or_insert((crc, before));
            if known != (crc, before) {
                return Err(format!("LOG MISMATCH: server {} at ({index}, {})", server.id, entry.term));
            }
        }
        seen.compared = last;
        Ok(())
    }

    /// What is committed never changes, and is durable on a quorum when it is first said to be committed.
    fn check_commit(&mut self, servers: &[Server], at: usize) -> Result<(), String> {
        let engine = servers[at].engine();
        let status = engine.status();
        let from = (self.committed.len() as Index).min(status.commit).saturating_sub(50);
        for index in from.max(1)..=status.commit {
            let term = engine.storage().term(index).unwrap_or(0);
            if let Some(&known) = self.committed.get(index as usize - 1) {
                if known != term {
                    return Err(format!(
                        "COMMITTED ENTRY CHANGED: {index} was of term {known}, is of term {term} at server {}",
                        servers[at].id
                    ));
                }
                continue;
            }
            let has = |s: &&Server| match &s.engine {
                Some(e) if e.storage().durable_index() >= index && e.storage().term(index) == Some(term) => true,
                // What it acknowledged before it lost its log may still be counted: it votes for nobody until it has
                // got that back.
                Some(e) => e.status().lost_log && s.durable_when_down.contains(&(index, term)),
                None => s.durable_when_down.contains(&(index, term)),
            };
            // The configuration at the entry, or one behind it: a leader counts by the latest that it has.
            let quorum_of = |voters: &Voters| {
                let meant = |s: &&Server, id, of: Option<u64>| s.id == id && of.is_none_or(|of| of == s.identity());
                let held = |s: &Server, id, of| meant(&s, id, of) && has(&s) || s.id == id && s.had(of, (index, term));
                let durable = voters.iter().filter(|&&(id, of)| servers.iter().any(|s| held(s, id, of)));
                durable.count() > voters.len() / 2
            };
            let mut in_force = vec![&self.initial];
            for (&(at, of), voters) in &self.configurations {
                if engine.storage().term(at) == Some(of) {
                    if at <= index {
                        in_force.clear();
                    }
                    in_force.push(voters);
                }
            }
            if !in_force.iter().any(|voters| quorum_of(voters)) {
                let on: Vec<u64> = servers.iter().filter(has).map(|s| s.id).collect();
                return Err(format!("COMMITTED BEFORE DURABLE: entry {index} of term {term} on {on:?}, {in_force:?}"));
            }
            self.committed.push(term);
            let entry = engine.storage().get(index).map_err(|e| e.to_string())?.ok_or("no entry")?;
            self.reference.apply(entry).map_err(|e| e.to_string())?;
            self.check_brief(entry)?;
            self.check_shape(entry)?;
            let appended = self.appended.get(&(index, term)).copied().unwrap_or_default();
            for session in self.model.check(entry, &self.reference, appended)? {
                self.oracles.ended(session, term, appended)?;
            }
            self.commands += u64::from(entry.kind == copycat::engine::Kind::Command as u8);
            self.digests.insert(index, (self.reference.digest(), self.reference.time()));
            for key in &self.keys {
                let version = version_of(&self.reference, key);
                let history = self.versions.entry(key.clone()).or_insert_with(|| vec![(0, None)]);
                if history.last().is_some_and(|&(_, last)| last != version) {
                    history.push((index, version));
                    self.model.changed(index, key);
                }
            }
        }
        Ok(())
    }

    /// Servers that applied the same have the same state.
    fn check_state(&self, server: &Server) -> Result<(), String> {
        let Some(executor) = server.executor() else { return Ok(()) };
        let (applied, state) = (executor.applied(), (executor.digest(), executor.time()));
        match self.digests.get(&applied) {
            Some(&known) if known != state => {
                let ((own, time), (digest, at)) = (state, known);
                let id = server.id;
                Err(format!("STATE DIVERGED: server {id} at {applied}: {own:08x} at {time}, not {digest:08x} at {at}"))
            }
            _ => Ok(()),
        }
    }

    /// An answer must be the state at the index that it names.
    pub(crate) fn check_answer(&self, key: &[u8], index: Index, version: Option<u64>) -> Result<(), String> {
        let empty = [(0, None)];
        let history = self.versions.get(key).map_or(empty.as_slice(), Vec::as_slice);
        let expected = history.iter().rev().find(|&&(from, _)| from <= index).and_then(|&(_, v)| v);
        if expected == version {
            return Ok(());
        }
        Err(format!("WRONG STATE: key {key:?} at index {index} is version {version:?}, not {expected:?}"))
    }

    /// At the end all servers have the same whole state.
    pub(crate) fn check_end(&self, servers: &[&Server]) -> Result<(), String> {
        let first = servers[0].executor().ok_or("a state is out at the end")?;
        for server in &servers[1..] {
            let executor = server.executor().ok_or("a state is out at the end")?;
            if executor.applied() != first.applied() || executor.machine() != first.machine() {
                return Err(format!("STATE DIVERGED AT THE END: server {}", server.id));
            }
        }
        Ok(())
    }
}

/// A member that becomes a voter lacks little of what its leader had committed before: commits must not wait for it.
fn check_promoted(
    servers: &[Server],
    leader: u64,
    before: &Voters,
    after: &Configuration,
    committed: Index,
) -> Result<(), String> {
    for (id, identity) in voters(after) {
        let known = before.iter().any(|&(voter, _)| voter == id);
        let Some(server) = servers.iter().find(|s| s.id == id && identity == Some(s.identity())) else { continue };
        let Some(engine) = server.engine.as_ref().filter(|e| !known && id != leader && !e.status().lost_log) else {
            continue;
        };
        let durable = engine.storage().durable_index();
        if durable + engine.options().promotion_lag < committed {
            return Err(format!("PROMOTED UNREADY: server {id} has {durable} of {committed}"));
        }
    }
    Ok(())
}

/// The entry of the latest configuration that this storage has.
fn latest_configuration(storage: &Storage<MemDisk>) -> Index {
    let told = decode::<(Index, Configuration)>(storage.configuration()).map_or(0, |(index, _)| index);
    let is_one = |index: &Index| match storage.lookup(*index) {
        Ok(Lookup::Entry(entry)) => entry.kind == Kind::Configuration as u8,
        _ => false,
    };
    let settled = storage.snapshot().map_or(0, |s| s.index);
    // A snapshot holds the configuration of its time.
    let logged = (told.max(settled) + 1..=storage.last_index()).rev().find(is_one);
    logged.unwrap_or(told.max(settled))
}

/// The keys with a TTL that are there.
pub(crate) fn brief_keys(executor: &Executor<Store>) -> Vec<Vec<u8>> {
    let (prefix, limit) = (BRIEF.as_bytes().to_vec(), u64::MAX);
    let listing = Listing { prefix, start: None, limit, max_bytes: u64::MAX, separator: None, values: false };
    let answer = executor.query(&encode_operation(&Query::List(listing))).unwrap_or_default();
    let Some(Answer::Page { items, .. }) = decode_query_output::<Store>(&answer) else { return Vec::new() };
    let key = |listed| if let Listed::Key(item) = listed { Some(item.key) } else { None };
    items.into_iter().filter_map(key).collect()
}

fn version_of(executor: &Executor<Store>, key: &[u8]) -> Option<u64> {
    let answer = executor.query(&encode_operation(&Query::Get { key: key.to_vec() }))?;
    match decode_query_output::<Store>(&answer) {
        Some(Answer::Value { item, .. }) => item.map(|i| i.version),
        _ => None,
    }
}

/// The answer to a `Get` in these bytes: version and value.
pub(crate) fn decode_get(output: &Outcome) -> Option<(u64, Vec<u8>)> {
    let Outcome::Output(bytes) = output else { panic!("malformed") };
    match decode_query_output::<Store>(bytes) {
        Some(Answer::Value { item, .. }) => item.map(|i| (i.version, i.value)),
        other => panic!("not the answer to a get: {other:?}"),
    }
}
