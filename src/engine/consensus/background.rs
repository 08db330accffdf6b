//! Snapshots and compaction: what is decided here, and what runs on another thread.
//!
//! Invariant: holes are only at or below the durable snapshot, and what it refers to is in the log: compaction never looks
//! above it, and the storage keeps its references.

use super::configuration::{Configuration, MemberStatus, MemberType};
#[allow(unused_imports)] // without planted bugs the macro expands to `false`
use super::planted;
use super::{Engine, Fatal, RoleState, StateMachine, decode, encode};
use crate::engine::machine::{FrozenExecutor, operation};
use crate::engine::types::{Index, ServerId};
use copycat_storage::{
    Bounds, Compacted, CompactionJob, Corrupt, Disk, InstallError, Snapshot, SnapshotJob, StageJob, Staged, WorkError,
    Written,
};
use std::cell::RefCell;

/// Every so many snapshots the whole log is looked at for what undoes earlier entries (a major compaction).
const MAJOR_EVERY: u64 = 8;

/// Work for another thread. One at a time; what comes of it goes back as [`Input::Worked`](super::Input::Worked).
pub enum Work<D: Disk> {
    /// The frozen state becomes bytes, behind those of the configuration.
    Write {
        /// The state.
        frozen: Box<FrozenExecutor>,
        /// The configuration.
        configuration: Vec<u8>,
        /// Log time.
        time: u64,
    },
    /// A snapshot is written.
    Snapshot(SnapshotJob<D>),
    /// Segments are rewritten without what is needed no longer.
    Compact(CompactionJob<D>),
    /// A snapshot that came from another server is made durable.
    Stage(StageJob<D>),
}

/// What came of a work.
pub enum Worked<D: Disk> {
    /// The snapshot's contents.
    Written(Snapshot),
    /// A snapshot is complete.
    Snapshot(Result<Written<D>, WorkError>),
    /// A compaction has ended.
    Compacted(Compacted<D>),
    /// A snapshot of another server is complete here.
    Staged(Result<Staged<D>, InstallError>),
}

impl<D: Disk> std::fmt::Debug for Work<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Write { .. } => "Write",
            Self::Snapshot(_) => "Snapshot",
            Self::Compact(_) => "Compact",
            Self::Stage(_) => "Stage",
        })
    }
}

impl<D: Disk> std::fmt::Debug for Worked<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Written(_) => "Written",
            Self::Snapshot(_) => "Snapshot",
            Self::Compacted(_) => "Compacted",
            Self::Staged(_) => "Staged",
        })
    }
}

impl<D: Disk> Work<D> {
    /// Does it, and blocks until it is done. Between slices of so many bytes `rest` is called, which may sleep, so that
    /// background work leaves the disk to flushes; if it says false, the work is dropped, which ends its engine's use.
    pub fn run(self, slice: usize, mut rest: impl FnMut() -> bool) -> Option<Worked<D>> {
        Some(match self {
            Self::Write { frozen, configuration, time } => {
                let index = frozen.index();
                let (state, references) = frozen.write();
                let mut payload = Vec::with_capacity(4 + configuration.len() + state.len());
                payload.extend_from_slice(&u32::try_from(configuration.len()).unwrap_or(u32::MAX).to_le_bytes());
                payload.extend_from_slice(&configuration);
                payload.extend_from_slice(&state);
                Worked::Written(Snapshot { index, time, references, payload })
            }
            Self::Snapshot(mut job) => loop {
                match job.step(slice) {
                    Ok(None) if rest() => {}
                    Ok(None) => return None,
                    Ok(Some(written)) => break Worked::Snapshot(Ok(written)),
                    Err(e) => break Worked::Snapshot(Err(e)),
                }
            },
            Self::Compact(mut job) => loop {
                match job.step(slice) {
                    Ok(false) if rest() => {}
                    Ok(false) => return None,
                    Ok(true) => break Worked::Compacted(job.finish()),
                    Err(e) => break Worked::Compacted(job.fail(e)),
                }
            },
            Self::Stage(job) => Worked::Staged(job.run()),
        })
    }
}

/// What a snapshot's payload holds: the configuration and its entry, and the executor's bytes.
pub(super) fn parts(payload: &[u8]) -> Option<(Index, Configuration, &[u8])> {
    let (length, rest) = payload.split_first_chunk::<4>()?;
    let (configuration, state) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    let (index, configuration) = decode(configuration).ok()?;
    Some((index, configuration, state))
}

/// What is under way, and what is wanted.
#[derive(Debug, Default)]
#[cfg_attr(feature = "planted-bugs", derive(Clone))]
pub(super) struct Background {
    /// A work is out.
    busy: bool,
    /// Bytes of entries applied since the state was last frozen.
    pub(super) applied: u64,
    /// Contents that wait until they can be written.
    contents: Option<Snapshot>,
    /// The durable snapshot that was last seen.
    seen: Index,
    /// How many snapshots there were in this life.
    snapshots: u64,
    /// Look for something to compact; `major` too.
    compact: bool,
    major: bool,
    /// Somebody asked for a snapshot now.
    wanted: bool,
    /// What is out is of a state that was given up.
    void: bool,
}

impl Background {
    /// There is no state any more. What is out ends by itself.
    pub(super) fn forget(&mut self) {
        *self = Self { busy: self.busy, void: self.busy, ..Self::default() };
    }
}

impl<D: Disk, M: StateMachine> Engine<D, M> {
    /// Something to do on another thread, if there is something and nothing is out.
    pub fn work(&mut self) -> Option<Work<D>> {
        if self.background.busy || self.discard {
            return None;
        }
        let work = self.staging().or_else(|| self.snapshotting()).or_else(|| self.compacting());
        self.background.busy = work.is_some();
        work
    }

    /// Takes a snapshot as soon as possible. Returns whether one will be taken: not if there is one of all that is applied.
    pub fn request_snapshot(&mut self) -> bool {
        let newer = self.applied() > self.storage.snapshot().map_or(0, |s| s.index);
        self.background.wanted = newer && self.is_stateful();
        self.background.wanted
    }

    /// Looks for something to compact as soon as possible. Returns whether that can be: not before there is a snapshot.
    pub fn request_compaction(&mut self, major: bool) -> bool {
        self.background.compact = true;
        self.background.major |= major;
        self.storage.snapshot().is_some()
    }

    /// Whether a snapshot or a compaction is under way or wanted.
    #[must_use]
    pub fn is_working(&self) -> bool {
        let b = &self.background;
        b.busy || b.wanted || b.compact || b.contents.is_some() || self.storage.is_snapshot_pending()
    }

    fn snapshotting(&mut self) -> Option<Work<D>> {
        if self.storage.is_snapshot_pending() {
            return None;
        }
        if let Some(contents) = self.background.contents.take() {
            return self.storage.take_snapshot(contents).map(Work::Snapshot);
        }
        let due = self.background.applied >= self.options.snapshot_bytes || self.background.wanted;
        let (entry, configuration) = self.configurations.committed();
        let applied = self.applied();
        let news = applied > self.storage.snapshot().map_or(0, |s| s.index) && entry <= applied;
        if !self.is_home() {
            return None;
        }
        if !due || !news || !self.is_stateful() || self.is_receiving() {
            self.background.wanted &= news;
            return None;
        }
        let configuration = if planted!(self.options, SnapshotWithoutConfiguration) {
            encode(&(entry, Configuration::default()))
        } else {
            encode(&(entry, configuration.clone()))
        };
        (self.background.applied, self.background.wanted) = (0, false);
        let (frozen, time) = (Box::new(self.state().freeze()), self.state().time());
        Some(Work::Write { frozen, configuration, time })
    }

    fn compacting(&mut self) -> Option<Work<D>> {
        let durable = self.storage.snapshot().map_or(0, |s| s.index);
        if durable != self.background.seen {
            self.background.seen = durable;
            self.outputs.push(super::Output::Event(super::Event::Snapshot { index: durable }));
            self.background.snapshots += 1;
            self.background.compact = true;
            self.background.major |= self.background.snapshots.is_multiple_of(MAJOR_EVERY);
        }
        if !self.background.compact || durable == 0 || self.storage.is_snapshot_pending() {
            return None;
        }
        let machine_snapshots = self.seen().freezes;
        let through = if planted!(self.options, ReleasedDroppedAtOnce) { self.applied() } else { durable };
        let bounds = Bounds { through, global: self.global.min(through), machine_snapshots };
        if std::mem::take(&mut self.background.major)
            && let Some(job) = self.storage.plan_major(bounds)
        {
            return Some(Work::Compact(job));
        }
        let job = self.storage.plan_minor(bounds);
        self.background.compact = job.is_some();
        job.map(Work::Compact)
    }

    /// What was out has ended. A work that failed is no fault of the log: it is tried again when there is a new reason.
    pub(super) fn worked(&mut self, now: crate::engine::Now, worked: Worked<D>) -> Result<(), Fatal> {
        self.background.busy = false;
        let void = std::mem::take(&mut self.background.void);
        match worked {
            Worked::Written(contents) => {
                // What was installed meanwhile is newer.
                let newer = contents.index > self.storage.snapshot().map_or(0, |s| s.index);
                self.background.contents = Some(contents).filter(|_| newer && !void && self.is_stateful());
            }
            Worked::Snapshot(result) => {
                if let Err(e) = self.storage.snapshotted(result) {
                    self.complain("a snapshot was not written", e);
                }
            }
            Worked::Compacted(compacted) => match self.storage.compacted(compacted) {
                Ok(()) => self.outputs.push(super::Output::Event(super::Event::Compacted)),
                Err(e) => {
                    self.background.compact = false;
                    self.complain("a compaction was given up", e);
                }
            },
            Worked::Staged(result) => self.staged(now, result)?,
        }
        Ok(())
    }

    pub(super) fn complain(&mut self, what: &'static str, error: impl std::fmt::Display) {
        let text = format!("{what}: {error}");
        self.outputs.push(super::Output::Event(super::Event::Trouble { text }));
    }

    /// Becomes what the storage's snapshot holds.
    ///
    /// # Errors
    /// If it cannot be read, or refers to what is not in the log.
    pub(super) fn become_snapshot(&mut self) -> Result<(), Fatal> {
        let Some(info) = self.storage.snapshot() else { return Ok(()) };
        let payload = self.storage.snapshot_payload()?;
        let malformed = || Fatal::Snapshot(info.index, "it is none of this version's".into());
        let (entry, configuration, state) = parts(&payload).ok_or_else(malformed)?;
        let damage: RefCell<Option<Corrupt>> = RefCell::new(None);
        let executor = self.loan.home_mut().expect("a state is replaced when it is here");
        let resolve = |index| match self.storage.get(index) {
            Ok(found) => found.and_then(|entry| operation(&entry)),
            Err(corrupt) => {
                damage.borrow_mut().get_or_insert(corrupt);
                None
            }
        };
        let installed = executor.install(state, &resolve);
        if let Some(corrupt) = damage.into_inner() {
            return Err(corrupt.into());
        }
        installed.map_err(|e| Fatal::Snapshot(info.index, e.to_string()))?;
        assert_eq!(self.applied(), info.index, "the state is that of the snapshot's index");
        if let Some(before) = self.configurations.learn(entry, configuration) {
            self.configurations_committed(&[(0, before)]);
        }
        self.background.applied = 0;
        Ok(())
    }

    /// The lowest durable index of all stateful members that are heard, as far as this server knows.
    pub(super) fn learn_global(&mut self) {
        let RoleState::Leader(leader) = &self.role else { return };
        let counts = |id: &ServerId| {
            let m = &self.configuration().members[id];
            m.member_type != MemberType::Reserve && m.status == MemberStatus::Available
        };
        let held = |id: ServerId| match leader.progress.get(&id) {
            Some(p) => p.counted(),
            None => self.storage.durable_index(),
        };
        let global = self.configuration().members.keys().copied().filter(counts).map(held).min().unwrap_or(0);
        self.global = self.global.max(global.min(self.commit));
    }

    /// The lowest durable index of all available stateful members, as last heard.
    pub fn global_index(&self) -> Index {
        self.global
    }
}
