//! One history, applied whole and compacted.

use super::history::{borrow, tick};
use super::{Coverage, Difference, Random, Rule, Subject, Trial};
use crate::engine::machine::{Executor, FrozenExecutor, SnapshotError, StateMachine, operation};
use crate::engine::sessions::{Answer, EventPage, SessionError, SessionInfo};
use crate::engine::types::Index;
use copycat_storage::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

/// Sessions that are looked at.
const SESSIONS: usize = 100;

/// What there is to see of an executor.
struct Look<T> {
    state: T,
    sessions: Vec<SessionInfo>,
    events: Vec<Result<EventPage, SessionError>>,
    time: u64,
    next_due: Option<u64>,
    next_deadline: Option<u64>,
    live: Vec<Index>,
    digest: (u32, (Index, u32)),
}

struct Snapshot {
    index: Index,
    bytes: Vec<u8>,
    references: Vec<Index>,
}

/// What a server has on its disk.
#[derive(Default)]
struct Disk {
    log: BTreeMap<Index, Entry>,
    snapshot: Option<Snapshot>,
    released: BTreeSet<Index>,
}

pub(super) struct Run<'a, S: Subject> {
    trial: Trial,
    subject: &'a S,
    entries: &'a [Entry],
    random: Random,
    /// Of the whole run: what each entry answered, and what there was to see after it.
    whole: Vec<(Vec<Answer>, Look<S::State>)>,
    executor: Executor<S::Machine>,
    disk: Disk,
    /// A snapshot that is being written, and after how many more entries it is durable.
    writing: Option<(FrozenExecutor, u64)>,
    coverage: Coverage,
}

type Found = Result<(), Box<Difference>>;

impl<'a, S: Subject> Run<'a, S> {
    pub(super) fn new(trial: Trial, subject: &'a S, entries: &'a [Entry]) -> Self {
        let random = Random::new(!trial.seed);
        let (whole, executor) = (Vec::new(), Executor::new(subject.machine()));
        let (disk, writing, coverage) = (Disk::default(), None, Coverage::default());
        Self { trial, subject, entries, random, whole, executor, disk, writing, coverage }
    }

    fn fresh(&self) -> Executor<S::Machine> {
        #[allow(unused_mut)]
        let mut executor = Executor::new(self.subject.machine());
        #[cfg(feature = "planted-bugs")]
        executor.plant(self.trial.bug);
        executor
    }

    fn look(&self, executor: &Executor<S::Machine>) -> Look<S::State> {
        let sessions = executor.sessions().list(0, SESSIONS);
        let events =
            |info: &SessionInfo| executor.sessions().events(info.session, None, usize::MAX, executor.applied());
        Look {
            state: self.subject.state(executor.machine()),
            events: sessions.iter().map(events).collect(),
            sessions,
            time: executor.time(),
            next_due: executor.next_due(),
            next_deadline: executor.sessions().next_deadline(),
            live: executor.live_indexes().collect(),
            digest: (executor.digest(), executor.last_digest()),
        }
    }

    fn differ<T: PartialEq + Debug>(&self, index: Index, what: &'static str, whole: &T, compacted: &T) -> Found {
        if whole == compacted {
            return Ok(());
        }
        let (whole, compacted) = (format!("{whole:?}"), format!("{compacted:?}"));
        Err(Box::new(Difference { seed: self.trial.seed, index, what, whole, compacted, entries: Vec::new() }))
    }

    fn compare(&self, executor: &Executor<S::Machine>, answers: Option<&Vec<Answer>>) -> Found {
        let index = executor.applied();
        let Some((whole_answers, whole)) = usize::try_from(index).ok().and_then(|i| self.whole.get(i.checked_sub(1)?))
        else {
            return Ok(());
        };
        if let Some(answers) = answers {
            self.differ(index, "answers", whole_answers, answers)?;
        }
        let look = self.look(executor);
        self.differ(index, "state", &whole.state, &look.state)?;
        self.differ(index, "sessions", &whole.sessions, &look.sessions)?;
        self.differ(index, "events", &whole.events, &look.events)?;
        self.differ(index, "log time", &whole.time, &look.time)?;
        self.differ(index, "timers", &whole.next_due, &look.next_due)?;
        self.differ(index, "deadlines", &whole.next_deadline, &look.next_deadline)?;
        if self.trial.rule == Rule::Snapshot {
            self.differ(index, "held entries", &whole.live, &look.live)?;
            self.differ(index, "digest", &whole.digest, &look.digest)?;
        }
        Ok(())
    }

    fn apply(executor: &mut Executor<S::Machine>, entry: &Entry) -> super::super::Applied {
        executor.apply(borrow(entry)).expect("the history is of this version")
    }

    pub(super) fn go(mut self) -> Result<Coverage, Box<Difference>> {
        let mut executor = Executor::new(self.subject.machine());
        for entry in self.entries {
            let due = executor.next_due();
            let answers = Self::apply(&mut executor, entry).answers;
            self.coverage.repeats += answers.iter().filter(|answer| answer.index < entry.index).count() as u64;
            self.coverage.fired += u64::from(due.is_some_and(|due| due <= executor.time()));
            let look = self.look(&executor);
            self.whole.push((answers, look));
        }
        self.executor = self.fresh();
        for entry in self.entries {
            self.step(entry)?;
        }
        if self.trial.rule == Rule::Snapshot {
            self.writing = Some((self.executor.freeze(), 0));
            self.write();
        }
        self.compact(1);
        self.start()?;
        Ok(self.coverage)
    }

    fn step(&mut self, entry: &Entry) -> Found {
        self.disk.log.insert(entry.index, entry.clone());
        let applied = Self::apply(&mut self.executor, entry);
        self.compare(&self.executor, Some(&applied.answers))?;
        if !applied.held {
            self.disk.released.insert(entry.index);
        }
        self.disk.released.extend(applied.released);
        let live = self.executor.live();
        assert_eq!(self.disk.released.len() + live, usize::try_from(entry.index).unwrap_or(0), "held or released");
        if self.trial.rule == Rule::Snapshot {
            self.write();
            if self.writing.is_none() && self.random.one_in(8) {
                self.writing = Some((self.executor.freeze(), self.random.below(6)));
            }
        }
        if self.random.one_in(6) {
            self.compact(1 + entry.index % 3);
        }
        if self.random.one_in(10) {
            self.start()?;
        }
        if self.random.one_in(10) {
            self.overtake()?;
        }
        Ok(())
    }

    /// A snapshot is written while entries are applied, and then durable.
    fn write(&mut self) {
        self.writing = match self.writing.take() {
            Some((frozen, 0)) => {
                let index = frozen.index();
                let (bytes, references) = frozen.write();
                self.disk.snapshot = Some(Snapshot { index, bytes, references });
                self.coverage.snapshots += 1;
                None
            }
            other => other.map(|(frozen, left)| (frozen, left - 1)),
        };
    }

    /// Drops one in so many of the entries that may be dropped.
    fn compact(&mut self, one_in: u64) {
        let Disk { log, snapshot, released } = &mut self.disk;
        let sound = self.trial.rule == Rule::Snapshot;
        let through = if sound { snapshot.as_ref().map_or(0, |s| s.index) } else { Index::MAX };
        let may = |index: &Index, entry: &Entry| {
            let kept = !sound && operation(&borrow(entry)).is_none();
            let referred = snapshot.as_ref().is_some_and(|s| s.references.binary_search(index).is_ok());
            *index <= through && released.contains(index) && !referred && !kept
        };
        let before = log.len();
        log.retain(|index, entry| !(may(index, entry) && Random::new(self.trial.seed ^ index << 32).one_in(one_in)));
        self.coverage.dropped += (before - log.len()) as u64;
    }

    /// The server starts again from its disk.
    fn start(&mut self) -> Found {
        let applied = self.executor.applied();
        let mut executor = self.fresh();
        self.coverage.starts += 1;
        // What was being written is lost.
        self.writing = None;
        if let Some(snapshot) = &self.disk.snapshot {
            self.install(&mut executor, snapshot)?;
            self.compare(&executor, None)?;
            self.coverage.referred += snapshot.references.len() as u64;
            self.coverage.events += executor.sessions().list(0, SESSIONS).iter().map(|s| s.queued).sum::<u64>();
        }
        for index in executor.applied() + 1..=applied {
            let dropped = !self.disk.log.contains_key(&index);
            assert!(!dropped || self.trial.rule != Rule::Snapshot, "holes are at or below a snapshot");
            let hole = || tick(index, self.time(index));
            let entry = self.disk.log.get(&index).cloned().unwrap_or_else(hole);
            let answers = Self::apply(&mut executor, &entry).answers;
            let seen = self.trial.rule != Rule::HolesUnseen;
            if seen || index == applied {
                self.compare(&executor, if seen && !dropped { Some(&answers) } else { None })?;
            }
        }
        self.executor = executor;
        Ok(())
    }

    fn time(&self, index: Index) -> u64 {
        let at = usize::try_from(index).unwrap_or(0).checked_sub(1);
        at.and_then(|at| self.entries.get(at)).map_or(0, |entry| entry.time)
    }

    fn install(&self, executor: &mut Executor<S::Machine>, snapshot: &Snapshot) -> Found {
        let resolve = |index| self.disk.log.get(&index).and_then(|entry| operation(&borrow(entry)));
        let installed = executor.install(&snapshot.bytes, &resolve).map_err(|error| error.to_string());
        self.differ(snapshot.index, "install", &Ok(()), &installed)?;
        self.differ(snapshot.index, "snapshot, taken again,", &snapshot.bytes, &executor.freeze().write().0)
    }

    /// A server that is behind gets the snapshot of this one.
    fn overtake(&mut self) -> Found {
        let Some(snapshot) = &self.disk.snapshot else { return Ok(()) };
        let behind = self.random.below(snapshot.index + 1);
        let mut executor = self.fresh();
        for entry in &self.entries[..usize::try_from(behind).unwrap_or(0)] {
            Self::apply(&mut executor, entry);
        }
        // One that cannot be cleared stops, and starts anew.
        let cleared = S::Machine::clear(&mut self.subject.machine());
        let frozen = self.subject.machine().freeze().is_some();
        if behind == 0 || frozen || cleared != Err(SnapshotError::NotSupported) {
            self.install(&mut executor, snapshot)?;
            self.compare(&executor, None)?;
            self.coverage.installs += 1;
        }
        Ok(())
    }
}
