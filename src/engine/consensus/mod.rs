//! Raft consensus (Ongaro & Ousterhout, *In Search of an Understandable Consensus Algorithm*; Ongaro's dissertation for
//! pre-vote, check-quorum, leases, read indexes and leadership transfer).
//!
//! # Invariants
//! - At most one leader in a term. A vote and its term are durable before anybody is told.
//! - An index that is committed never changes its entry; `applied <= commit <= last index`; none of term, commit and
//!   applied goes back.
//! - A leader commits by counting durable copies of an entry of its own term; its own copy counts once it is durable.
//! - Whatever an [`AppendReply`](Message::AppendReply) says is durable when it leaves.
//! - A linearizable query is answered from a state at or above the commit index of a moment after it arrived at which
//!   this server provably led.

mod applying;
mod background;
mod change;
mod clock;
mod configuration;
mod election;
mod expiry;
#[cfg(feature = "planted-bugs")]
mod explore;
mod feeding;
mod follower;
mod inbox;
mod installing;
mod io;
mod judging;
mod leader;
mod loan;
mod membership;
mod progress;
mod promises;
mod quorum;
mod reads;
mod status;
mod submit;
mod timing;

pub use background::{Work, Worked};
pub use change::{Change, ConfigurationError};
pub use configuration::{Configuration, MEMBERS, Member, MemberStatus, MemberType};
pub use io::{Fatal, Input, Output, Query, Refusal, Response};
pub use loan::{AppliedJob, ApplyJob};
pub use status::{Event, MemberChange, MemberProgress, Status};

use super::entry::{Kind, decode, encode};
use super::machine::{Applied, CompactionMode, Executor, StateMachine, Topic};
use super::message::Message;
use super::options::Options;
#[allow(unused_imports)] // without planted bugs the macro expands to `false`
use super::options::planted;
use super::sessions::Submit;
use super::types::{Index, Now, RequestId, Role, ServerId, Term};
use background::Background;
use clock::LogClock;
use configuration::Configurations;
use copycat_storage::{AppendError, Disk, Entry, FlushJob, Persisted, Storage};
use election::Candidate;
use feeding::Feeding;
use follower::Follower;
use inbox::Met;
use installing::Installing;
use judging::Voters;
use leader::Leader;
use loan::Loan;
use promises::Promises;
use reads::Reads;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

#[cfg_attr(feature = "planted-bugs", derive(Clone, Debug))]
enum RoleState {
    Follower(Follower),
    Candidate(Candidate),
    Leader(Box<Leader>),
}

/// What SplitMix64 adds for each number.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finalizer of SplitMix64 (Steele, Lea, Flood 2014).
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// One server's part in the cluster: consensus, and the state machine on top.
pub struct Engine<D: Disk, M: StateMachine> {
    id: ServerId,
    options: Options,
    random: u64,
    storage: Storage<D>,
    /// The state machine and what is kept beside it; see `loan.rs`.
    loan: Loan<M>,
    /// What clients handed in and cannot be judged yet: see [`judges`](Self::judges).
    deferred: Vec<(RequestId, Submit)>,
    /// Account is kept of the topics that applied entries touch.
    listening: bool,
    /// Makes a state machine anew.
    make: Box<dyn Fn() -> M + Send>,
    role: RoleState,
    leader: Option<ServerId>,
    commit: Index,
    configurations: Configurations,
    /// The state is to be discarded: this member is a reserve now.
    discard: bool,
    background: Background,
    installing: Installing<D>,
    /// The lowest durable index of all available stateful members, as last heard.
    global: Index,
    feeding: Feeding,
    /// Who waits until another member leads.
    transfer_reply: Option<RequestId>,
    met: BTreeMap<ServerId, Met>,
    clock: LogClock,
    /// When a leader of any term was last heard; a restarted server acts as if it had just heard one.
    heard: Option<Duration>,
    /// Which of this server's starts this is: a random number. What a leader knows of a member goes with it.
    start: u64,
    /// The entry of the latest committed configuration that is durable here, and of the one behind it that is being written,
    /// with its write sequence.
    configuration_durable: Index,
    configuration_written: Option<(u64, Index)>,
    /// The write sequence of the last change of term or vote.
    term_sequence: u64,
    promises: Promises,
    /// Commands that somebody waits for, by the index and term they were appended at. One whose entry is cut off here
    /// still waits: a copy elsewhere may yet be committed, until another entry is at its index. The third number says which
    /// of an entry's items is meant.
    pending: BTreeSet<(Index, Term, u32, RequestId)>,
    /// The highest term of an applied entry: nothing of an earlier one is waited for.
    settled_term: Term,
    voters: Voters,
    /// When everything that had arrived was last taken in.
    drained: Duration,
    reads: Reads,
    flush_since: Option<Duration>,
    /// An index, and the digest of the state there that a majority has.
    agreed: (Index, u32),
    /// Through here the own state was found to be the same.
    compared: Index,
    /// The last entry that was refused because it is larger than any segment.
    too_large: Index,
    /// What a planted bug believes to be durable.
    #[cfg(feature = "planted-bugs")]
    planted_durable: (Index, Index),
    outputs: Vec<Output>,
}

impl<D: Disk, M: StateMachine> Engine<D, M> {
    /// An engine on opened storage. `initial` is the configuration it was started with; one that the storage knows
    /// beats it. `seed` draws its election timeouts, `make` makes an empty state machine.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub fn new(
        id: ServerId,
        mut options: Options,
        seed: u64,
        now: Now,
        mut storage: Storage<D>,
        make: impl Fn() -> M + Send + 'static,
        initial: Configuration,
    ) -> Result<Self, Fatal> {
        let (known, initial) = match storage.configuration() {
            [] => (0, initial),
            bytes => decode(bytes).map_err(|e| Fatal::Malformed(0, e))?,
        };
        let mut configurations = Configurations::new(known, initial);
        // What it cannot store itself it does not propose.
        options.settings.largest_entry = options.settings.largest_entry.min(storage.options().max_entry() as u64);
        let mut clock = LogClock::new(now);
        let snapshot = storage.snapshot();
        let settled = snapshot.map_or(0, |s| s.index);
        if let Some(snapshot) = snapshot {
            clock.note(snapshot.time, now);
        }
        for index in settled + 1..=storage.last_index() {
            let entry = storage.get(index)?.ok_or(Fatal::Missing(index))?;
            if entry.kind == Kind::Configuration as u8 {
                let configuration = decode(entry.data).map_err(|e| Fatal::Malformed(index, e))?;
                configurations.push(index, configuration);
            }
            clock.note(entry.time, now);
        }
        let mut meta = storage.meta().clone();
        // The system may write the log's pages before the file that holds the term: then nothing was promised in it.
        if storage.last_term() > meta.term {
            (meta.term, meta.vote) = (storage.last_term(), 0);
        }
        let fresh = meta.term == 0 && !meta.lost;
        let led = configurations.led_alone(id, &storage, &meta);
        meta.starts += 1;
        // Of the seed alone it would be the same again where that is, and of the number of starts in a directory that was
        // put back from a copy.
        let start = mix(seed ^ meta.starts.rotate_right(16));
        storage.set_meta(meta);
        let at_once = planted!(options, StandsAtOnce);
        let mut engine = Self {
            id,
            random: seed,
            loan: Loan::new(Executor::new(make())),
            deferred: Vec::new(),
            listening: false,
            make: Box::new(make),
            role: RoleState::Follower(Follower::new(Duration::ZERO)),
            leader: None,
            commit: 0,
            configurations,
            discard: false,
            background: Background::default(),
            installing: Installing::default(),
            global: 0,
            feeding: Feeding::default(),
            transfer_reply: None,
            met: BTreeMap::new(),
            clock,
            heard: (!fresh && !led && !at_once).then_some(now.monotonic),
            start,
            configuration_durable: 0,
            configuration_written: None,
            term_sequence: storage.write_sequence(),
            promises: Promises::default(),
            pending: BTreeSet::new(),
            settled_term: 0,
            voters: Voters::new(now.monotonic),
            drained: Duration::ZERO,
            reads: Reads::default(),
            flush_since: None,
            agreed: (0, 0),
            compared: 0,
            too_large: 0,
            #[cfg(feature = "planted-bugs")]
            planted_durable: (0, 0),
            outputs: Vec::new(),
            storage,
            options,
        };
        #[cfg(feature = "planted-bugs")]
        {
            let bug = engine.options.bug;
            if bug == Some(super::Bug::ReleasedDroppedAtOnce) {
                engine.storage.plant_compaction_above_the_snapshot();
            }
            engine.state_mut().plant(bug);
        }
        engine.become_snapshot()?;
        engine.set_commit(settled);
        engine.fit_segments();
        // What a start finds is told to nobody as news.
        engine.outputs.clear();
        let (known, _) = engine.configurations.committed();
        if engine.storage.is_configuration_durable() {
            engine.configuration_durable = known;
        } else {
            // A server that has just been let in was told it a moment ago.
            engine.configuration_written = Some((engine.storage.write_sequence(), known));
        }
        let wait = engine.standing_delay(now);
        engine.role = RoleState::Follower(Follower::new(now.monotonic + wait));
        // By what is committed: a demotion that is only in the log may yet be undone.
        let (_, committed) = engine.configurations.committed();
        engine.discard = committed.type_of(id) == Some(MemberType::Reserve) && engine.storage.last_index() > 0;
        Ok(engine)
    }

    /// Takes one input. Nothing leaves before [`poll`](Self::poll).
    ///
    /// # Errors
    /// If the server must stop.
    pub fn step(&mut self, now: Now, input: Input<D>) -> Result<(), Fatal> {
        match input {
            Input::Message { from, identity, cluster, message } => {
                self.message(now, from, identity, cluster, message)?;
            }
            Input::Persisted(persisted) => self.persisted(now, persisted)?,
            Input::Worked(worked) => self.worked(now, worked)?,
            Input::Submit { id, submit } => self.submit(now, id, submit, false)?,
            Input::Drained => self.drained = now.monotonic,
            Input::Query { id, query } => self.query(now, id, query),
            Input::Cancel(id) => self.reads.cancel(id),
            Input::Peer { id, identity, cluster, http } => self.peer(id, Met { identity, cluster, http }),
            Input::Disconnected(id) => self.lose_sight(id),
            Input::Transfer { target, reply } => self.start_transfer(now, target, reply),
            Input::Change { id, change } => self.ask_for_change(id, change),
        }
        Ok(())
    }

    /// Lets time act and carries everything on: elections, replication, commit, a bounded number of applied entries,
    /// reads. Returns whether there is more to do at once.
    ///
    /// # Errors
    /// If the server must stop.
    pub fn poll(&mut self, now: Now) -> Result<bool, Fatal> {
        // By whatever way entries come in: if not, a leader of an earlier term would be followed.
        let behind = self.storage.last_term() > self.term();
        assert!(!behind || planted!(self.options, TermBehindLog), "entries of a later term than {}", self.term());
        self.discard_state()?;
        self.pass_time(now);
        if matches!(self.role, RoleState::Leader(_)) {
            self.advance_commit();
            self.take_deferred(now)?;
            self.change_configuration(now);
            self.begin_read_round(now);
            self.refuse_overdue(now);
            self.append_keep_alives(now)?;
            self.expire_sessions(now);
            self.replicate()?;
            self.advance_commit();
        }
        let copies = self.install_on(now)?;
        let more = self.apply()? | copies | self.has_deferred();
        self.learn_global();
        self.retire(now);
        self.look_for_feeder(now);
        self.feed(now)?;
        self.compare_digest()?;
        self.tick_timers(now);
        self.learn_readiness();
        self.serve_reads(now)?;
        self.acknowledge();
        Ok(more)
    }

    /// What is to be done, in order.
    pub fn take_outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outputs)
    }

    /// What is to be made durable, if anything is and no earlier job is still out.
    pub fn flush(&mut self, now: Now) -> Option<FlushJob<D>> {
        let job = self.storage.flush()?;
        self.flush_since = Some(now.monotonic);
        #[cfg(feature = "planted-bugs")]
        {
            self.planted_durable.0 = self.storage.last_index();
        }
        Some(job)
    }

    /// As [`flush`](Self::flush), for a server that acknowledges what is only in memory: see
    /// [`Storage::flush_promises`].
    pub fn flush_promises(&mut self, now: Now) -> Option<FlushJob<D>> {
        let job = self.storage.flush_promises()?;
        self.flush_since = Some(now.monotonic);
        Some(job)
    }

    /// When `poll` is due even if nothing comes in.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        let next = match &self.role {
            RoleState::Follower(f) => f.deadline,
            RoleState::Candidate(c) => c.deadline,
            RoleState::Leader(l) => l.deadline(self.is_home()),
        };
        let others = [self.feeding.deadline(), self.hungry_at(), self.fetch_at()];
        others.into_iter().flatten().fold(next, Duration::min)
    }

    /// This server's storage: for its driver, which prepares segments ahead of need.
    pub fn storage_mut(&mut self) -> &mut Storage<D> {
        &mut self.storage
    }

    /// This server's storage.
    pub fn storage(&self) -> &Storage<D> {
        &self.storage
    }

    /// From now on, keep account of the topics that applied entries touch (or no longer).
    pub fn listen(&mut self, listening: bool) {
        self.listening = listening;
        if let Some(executor) = self.loan.home_mut() {
            executor.listen(listening);
        }
    }

    /// The topics that were touched since they were last taken.
    pub fn take_touched(&mut self) -> Vec<Topic> {
        self.loan.home_mut().map(Executor::take_touched).unwrap_or_default()
    }

    /// The configuration in force.
    pub fn configuration(&self) -> &Configuration {
        self.configurations.current()
    }

    /// The latest configuration that is known to be committed (or that the server was started with).
    pub fn committed_configuration(&self) -> &Configuration {
        self.configurations.committed().1
    }

    /// The bounds that are this server's own.
    pub fn options(&self) -> &Options {
        &self.options
    }

    fn term(&self) -> Term {
        self.storage.meta().term
    }

    /// Who leads the term, if that is known.
    pub fn leader(&self) -> Option<ServerId> {
        self.leader
    }

    /// What this server is now.
    pub fn role(&self) -> Role {
        match self.role {
            RoleState::Follower(_) => Role::Follower,
            RoleState::Candidate(_) => Role::Candidate,
            RoleState::Leader(_) => Role::Leader,
        }
    }

    fn draw(&mut self) -> u64 {
        #[cfg(feature = "planted-bugs")]
        if self.random == explore::STEADY {
            return u64::MAX;
        }
        self.random = self.random.wrapping_add(GOLDEN);
        mix(self.random)
    }

    /// A random time in \[T, 2T).
    fn election_delay(&mut self) -> Duration {
        let t = self.vote_timeout();
        // 1,024 moments spread over T: finer ones would not be told apart.
        t + t * u32::try_from(self.draw() % 1024).unwrap_or(0) / 1024
    }

    /// How many voters a commit needs.
    pub fn quorum(&self) -> usize {
        quorum::majority(self.configuration().voters().count())
    }

    fn send(&mut self, to: ServerId, message: Message) {
        self.outputs.push(Output::Send { to, message });
    }

    fn reply(&mut self, id: RequestId, result: Result<Response, Refusal>) {
        self.outputs.push(Output::Reply { id, result });
    }

    /// A higher term was seen: follow in it, having voted for nobody.
    fn adopt_term(&mut self, now: Now, term: Term) {
        assert!(term > self.term(), "term {} -> {term}", self.term());
        self.set_vote(term, 0);
        self.become_follower(now, "a higher term was seen");
    }

    /// Entries of this term come in: as [`adopt_term`](Self::adopt_term), if it is a higher one.
    fn raise_term(&mut self, now: Now, term: Term) {
        if term > self.term() && !planted!(self.options, TermBehindLog) {
            self.adopt_term(now, term);
        }
    }

    fn set_vote(&mut self, term: Term, vote: ServerId) {
        let mut meta = self.storage.meta().clone();
        assert!(term >= meta.term, "term regression {} -> {term}", meta.term);
        assert!(
            term > meta.term || meta.vote == 0 || meta.vote == vote || self.is_planted_vote_change(),
            "second vote in term {term}: {} and {vote}",
            meta.vote
        );
        (meta.term, meta.vote) = (term, vote);
        self.storage.set_meta(meta);
        self.term_sequence = self.storage.write_sequence();
    }

    fn is_planted_vote_change(&self) -> bool {
        planted!(self.options, StepDownClearsVote)
    }

    /// The one place where a server becomes a follower.
    fn become_follower(&mut self, now: Now, reason: &'static str) {
        let was = self.role();
        let deadline = now.monotonic + self.standing_delay(now);
        let office = std::mem::replace(&mut self.role, RoleState::Follower(Follower::new(deadline)));
        self.leader = None;
        let mut waiting = self.reads.leave_office();
        if planted!(self.options, ReadsForgotten) {
            waiting.clear();
        }
        if let RoleState::Leader(mut leader) = office {
            let early = leader.sequencing.leave_office();
            if !planted!(self.options, ForgetsWaiting) {
                waiting.extend(early);
            }
            waiting.extend(leader.keep_alives.iter().map(|&(id, _)| id));
            waiting.extend(leader.changes.iter().map(|&(id, _)| id));
            waiting.extend(std::mem::take(&mut self.deferred).into_iter().map(|(id, _)| id));
        }
        for id in waiting {
            self.reply(id, Err(Refusal::NotLeader { leader: None }));
        }
        if planted!(self.options, StepDownClearsVote) && was != Role::Follower {
            self.set_vote(self.term(), 0);
        }
        if was != Role::Follower {
            self.tell_role(reason);
        }
    }

    fn tell_role(&mut self, reason: &'static str) {
        let event = Event::Role { role: self.role(), term: self.term(), reason };
        self.outputs.push(Output::Event(event));
    }

    fn pass_time(&mut self, now: Now) {
        match &self.role {
            RoleState::Follower(f) if now.monotonic >= f.deadline => self.start_poll(now, "no leader was heard"),
            RoleState::Candidate(c) if now.monotonic >= c.deadline => self.start_poll(now, "the election was not won"),
            RoleState::Leader(_) => self.pass_time_leading(now),
            _ => {}
        }
    }

    fn persisted(&mut self, now: Now, persisted: Persisted<D>) -> Result<(), Fatal> {
        self.storage.persisted(persisted);
        self.flush_since = None;
        if let Some((sequence, index)) = self.configuration_written
            && sequence <= self.storage.durable_sequence()
            && self.storage.is_configuration_durable()
        {
            (self.configuration_durable, self.configuration_written) = (index, None);
        }
        #[cfg(feature = "planted-bugs")]
        {
            self.planted_durable.1 = self.planted_durable.0;
        }
        for message in self.promises.due(self.storage.durable_sequence(), self.term()) {
            match message {
                promises::Promise::Send { to, message } => self.send(to, message),
                promises::Promise::OwnVote => self.on_vote_granted(now, self.id),
            }
        }
        self.recover_lost_log();
        Ok(())
    }

    /// Sends this when the last change of term and vote is durable.
    fn promise(&mut self, to: ServerId, message: Message) {
        if self.storage.durable_sequence() >= self.term_sequence || planted!(self.options, VoteBeforeDurable) {
            self.send(to, message);
        } else {
            self.promises.add(self.term_sequence, self.term(), promises::Promise::Send { to, message });
        }
    }

    /// Durable here, through this index.
    fn durable_index(&self) -> Index {
        #[cfg(feature = "planted-bugs")]
        if planted!(self.options, PersistedByIndex) {
            return self.storage.durable_index().max(self.planted_durable.1.min(self.storage.last_index()));
        }
        self.storage.durable_index()
    }

    /// Appends an entry of this leader's term.
    fn append_own(&mut self, now: Now, kind: Kind, mode: CompactionMode, data: Vec<u8>) -> Result<Index, AppendError> {
        let index = self.storage.last_index() + 1;
        let time = self.leader_time(now);
        let entry =
            Entry { index, term: self.term(), time, session: 0, sequence: 0, kind: kind as u8, mode: mode as u8, data };
        self.append_entry(&entry)?;
        self.clock.note_own(time);
        Ok(index)
    }

    /// Log time as this leader has it now, in milliseconds.
    fn leader_time(&mut self, now: Now) -> u64 {
        if planted!(self.options, WallClockTime) {
            return now.wall;
        }
        self.clock.leader_time(now)
    }

    fn set_commit(&mut self, commit: Index) {
        assert!(commit >= self.commit, "commit regression {} -> {commit}", self.commit);
        assert!(commit <= self.storage.last_index(), "commit {commit} above the last index");
        self.commit = commit;
        let superseded = self.configurations.commit(commit);
        self.configurations_committed(&superseded);
    }
}
