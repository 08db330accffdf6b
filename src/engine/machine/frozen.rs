//! The whole of an executor as it was at one index: taken in no time, written elsewhere, and read back.
//!
//! # What is in a snapshot
//! The last applied index with its term, log time, the digests, the sessions with all that is kept for them, the answers to
//! commands with keys, the timers and the next timer's id, which entries are held, and the machine. The last is what the
//! machine wrote itself, or, of one that cannot be frozen, where its held entries were applied.
//!
//! What is not in it is derived: the order of deadlines, and what is known by more than one name.

use super::commit::{Commit, TimerId};
use super::live::Live;
use super::snapshot::{Frozen, Resolve, SnapshotError, SnapshotReader, SnapshotWriter};
use super::{Codec, Executor, StateMachine};
use crate::engine::entry::{Decoder, Encoder};
use crate::engine::sessions::{FrozenSessions, Sessions};
use crate::engine::types::{Index, SessionId, Term};
use bincode::{Decode, Encode};
use imbl::OrdMap;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// The version of the encoding; its first byte.
const VERSION: u8 = 1;

pub(super) type Timers = OrdMap<(u64, TimerId), Arc<[u8]>>;

/// How a held entry was applied: what it takes to do it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct Origin {
    /// Log time then.
    pub(super) time: u64,
    /// The session it came by.
    pub(super) session: SessionId,
    /// The id of the next timer then: it gets the same ones again.
    pub(super) next_timer: TimerId,
}

/// Where an executor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
struct Place {
    applied: Index,
    term: Term,
    time: u64,
    digest: u32,
    next_timer: TimerId,
}

enum FrozenMachine {
    Whole(Box<dyn Frozen>),
    Entries(OrdMap<Index, Origin>),
}

/// An executor at one index, to be sent to another thread.
pub struct FrozenExecutor {
    place: Place,
    digests: VecDeque<(Index, u32)>,
    live: Live,
    timers: Timers,
    sessions: FrozenSessions,
    machine: FrozenMachine,
}

impl std::fmt::Debug for FrozenExecutor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrozenExecutor").field("place", &self.place).finish_non_exhaustive()
    }
}

impl FrozenExecutor {
    /// The last applied index.
    #[must_use]
    pub fn index(&self) -> Index {
        self.place.applied
    }

    /// The term of the entry there; 0 if nothing was applied.
    #[must_use]
    pub fn term(&self) -> Term {
        self.place.term
    }

    /// The digest there.
    #[must_use]
    pub fn digest(&self) -> u32 {
        self.place.digest
    }

    /// The bytes of the snapshot, and the entries that it refers to, in order: all that are held. Each of them must be in
    /// the log for as long as this snapshot may be installed. The same state gives the same bytes on all servers. It takes
    /// seconds when there is much, and so does letting go of what was frozen: not on the thread that applies entries.
    ///
    /// # Panics
    /// If the machine refers to an entry that it does not hold.
    #[must_use]
    pub fn write(self) -> (Vec<u8>, Vec<Index>) {
        let mut to = Encoder::default();
        to.put(&VERSION);
        to.put(&self.place);
        to.put_all(self.digests.iter());
        self.live.save(&mut to);
        to.put(&(self.timers.len() as u64));
        for (&(due, id), data) in &self.timers {
            to.put(&(due, id));
            to.put_bytes(data);
        }
        self.sessions.save(&mut to);
        match &self.machine {
            FrozenMachine::Whole(machine) => {
                let mut writer = SnapshotWriter::new();
                machine.write(&mut writer);
                let (bytes, references) = writer.finish();
                let unknown = references.iter().find(|&&index| !self.live.has(index));
                assert!(unknown.is_none(), "the machine refers to entry {unknown:?}, which it does not hold");
                to.put(&true);
                to.put_bytes(&bytes);
            }
            FrozenMachine::Entries(origins) => {
                to.put(&false);
                to.put_all(origins.iter());
            }
        }
        (to.finish(), self.live.indexes().collect())
    }

    #[cfg(feature = "planted-bugs")]
    fn plant(&mut self, bug: crate::engine::Bug) {
        use crate::engine::Bug;
        match bug {
            Bug::SnapshotWithoutTimers => self.timers = Timers::new(),
            Bug::SnapshotForgetsNextTimer => self.place.next_timer = 1,
            Bug::SnapshotForgetsTime => self.place.time = 0,
            _ => self.sessions.plant(bug),
        }
    }
}

impl<M: StateMachine> Executor<M> {
    /// The whole state as it is now. Costs next to nothing: what is frozen is shared, and copied piece by piece when it
    /// changes here.
    pub fn freeze(&self) -> FrozenExecutor {
        let frozen = FrozenExecutor {
            place: Place {
                applied: self.applied,
                term: self.term,
                time: self.time,
                digest: self.digest,
                next_timer: self.context.next_timer,
            },
            digests: self.digests.clone(),
            live: self.live.clone(),
            timers: self.timers.clone(),
            sessions: self.context.sessions.freeze(),
            machine: match self.machine.freeze() {
                Some(machine) => FrozenMachine::Whole(machine),
                None => FrozenMachine::Entries(self.origins.clone()),
            },
        };
        #[cfg(feature = "planted-bugs")]
        if let Some(bug) = self.context.bug {
            let mut frozen = frozen;
            frozen.plant(bug);
            return frozen;
        }
        frozen
    }

    /// Becomes what the executor was that was frozen: the same entries have the same effects, answers, events and digests
    /// from here on. `resolve` hands over the operation of an entry that the snapshot refers to, as
    /// [`operation`](super::operation) takes it from the entry. Whether topics are listened to stays as it is.
    ///
    /// # Errors
    /// If the bytes are no snapshot of this machine, a referred entry is missing, or the machine cannot be cleared (see
    /// [`StateMachine::clear`]). The executor must not be used any more then.
    ///
    /// # Panics
    /// If the snapshot is older than what is applied here: an older state never comes back.
    pub fn install(&mut self, bytes: &[u8], resolve: &Resolve<'_>) -> Result<(), SnapshotError> {
        let mut from = Decoder::new(bytes);
        let version: u8 = from.take()?;
        if version != VERSION {
            return Err(SnapshotError::Version(version));
        }
        let place: Place = from.take()?;
        assert!(place.applied >= self.applied, "a snapshot at {} over a state at {}", place.applied, self.applied);
        let digests: VecDeque<(Index, u32)> = from.take_all(|digest: (Index, u32)| digest)?;
        let live = Live::load(&mut from)?;
        let (mut timers, mut due_by_id) = (Timers::new(), BTreeMap::new());
        for _ in 0..from.take::<u64>()? {
            let (due, id): (u64, TimerId) = from.take()?;
            timers.insert((due, id), from.take_bytes()?.into());
            due_by_id.insert(id, due);
        }
        let sessions = Sessions::load(&mut from)?;
        self.context.sessions = sessions;
        if from.take()? {
            let mut reader = SnapshotReader::new(from.take_bytes()?, resolve);
            self.machine.install(&mut reader)?;
            reader.end()?;
        } else {
            let origins: OrdMap<Index, Origin> = from.take_all(|origin: (Index, Origin)| origin)?;
            if self.applied > 0 {
                self.machine.clear()?;
            }
            self.apply_again(&origins, resolve)?;
            self.origins = origins;
        }
        from.end()?;
        let Place { applied, term, time, digest, next_timer } = place;
        (self.applied, self.term, self.time, self.digest) = (applied, term, time, digest);
        self.context.turn_to(applied, time);
        self.context.next_timer = next_timer;
        (self.live, self.timers, self.due_by_id, self.digests) = (live, timers, due_by_id, digests);
        Ok(())
    }

    /// Applies held entries to a machine that is as it was at first. What they answered, published, held, released and
    /// scheduled is settled: it is in the snapshot, as far as it still matters.
    fn apply_again(&mut self, origins: &OrdMap<Index, Origin>, resolve: &Resolve<'_>) -> Result<(), SnapshotError> {
        let listening = self.context.is_listening();
        self.context.listen(false);
        for (&index, &Origin { time, session, next_timer }) in origins {
            let bytes = resolve(index).ok_or(SnapshotError::Missing(index))?;
            let malformed = || SnapshotError::Malformed(format!("entry {index} is no command of this machine"));
            let operation = M::Codec::decode::<M::Command>(&bytes).ok_or_else(malformed)?;
            self.context.turn_to(index, time);
            self.context.next_timer = next_timer;
            self.machine.apply(Commit { index, time, session, operation }, &mut self.context);
            self.context.forget();
        }
        self.context.listen(listening);
        Ok(())
    }
}
