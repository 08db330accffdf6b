//! One explored server: the shipped engine and storage on a disk that can be copied.

use crate::disk::{Files, ForkDisk, Left, with};
use crate::machine::Register;
use copycat::engine::{Configuration, Engine, Kind, Now, Options};
use copycat_storage::{Lookup, Seed, Storage};
use std::rc::Rc;

pub(crate) type Explored = Engine<ForkDisk, Register>;
pub(crate) type Input = copycat::engine::Input<ForkDisk>;

/// The size of log segments: small, so that copies are cheap.
pub(crate) const SEGMENT: u32 = 4096;

/// An entry as the oracle compares it: its term, and the checksum of its kind and data.
pub(crate) type Mark = (u64, u32);

/// Returns the checksum of an entry's kind and data.
pub(crate) fn checksum(kind: u8, data: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(data), &[kind])
}

/// The contents of a storage that promises are made about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Holding {
    pub term: u64,
    pub vote: u64,
    pub lost: bool,
    /// The first index of the log. Entries below are in the snapshot.
    pub first: u64,
    /// Entries from `first` on, with checksum 0 for those that compaction has dropped.
    pub log: Vec<Mark>,
    /// Indexes of configuration entries, and the voters of each.
    pub configurations: Vec<(u64, Vec<u64>)>,
}

impl Holding {
    fn of(storage: &Storage<ForkDisk>) -> Self {
        let (first, last) = (storage.first_index(), storage.last_index());
        let meta = storage.meta();
        let mut holding =
            Self { term: meta.term, vote: meta.vote, lost: meta.lost, first, log: Vec::new(), configurations: vec![] };
        for index in first..=last {
            let mut mark = (storage.term(index).unwrap_or(0), 0);
            if let Ok(Lookup::Entry(entry)) = storage.lookup(index) {
                mark.1 = checksum(entry.kind, entry.data);
                if entry.kind == Kind::Configuration as u8
                    && let Ok(configuration) = copycat::engine::decode::<Configuration>(entry.data)
                {
                    holding.configurations.push((index, configuration.voters().collect()));
                }
            }
            holding.log.push(mark);
        }
        holding
    }

    pub(crate) fn last(&self) -> u64 {
        self.first + self.log.len() as u64 - 1
    }

    /// Returns the entry at an index, or `None` outside the log.
    pub(crate) fn mark(&self, index: u64) -> Option<Mark> {
        let place = usize::try_from(index.checked_sub(self.first)?).ok()?;
        self.log.get(place).copied()
    }

    /// Returns whether this entry is in the log, or below its first index.
    pub(crate) fn has(&self, index: u64, mark: Mark) -> bool {
        index < self.first || self.mark(index).is_some_and(|own| own.0 == mark.0)
    }
}

pub(crate) struct Server {
    pub id: u64,
    pub files: Files,
    /// `None`: down.
    pub engine: Option<Explored>,
    /// The number of starts.
    life: u64,
    /// The contents in memory, and those that the worst power cut would leave.
    pub holding: Rc<Holding>,
    pub durable: Rc<Holding>,
    /// The durable contents before the log was lost. Acknowledgements of them may still be counted.
    pub gone: Option<Rc<Holding>>,
    /// The write sequence for which `holding` is right.
    seen: u64,
    /// A hash of the engine's state.
    pub print: u64,
}

impl Clone for Server {
    fn clone(&self) -> Self {
        Self {
            id: self.id,
            files: self.files.clone(),
            life: self.life,
            engine: self.engine.as_ref().map(|engine| engine.fork(Register::default)),
            holding: Rc::clone(&self.holding),
            durable: Rc::clone(&self.durable),
            gone: self.gone.clone(),
            seen: self.seen,
            print: self.print,
        }
    }
}

impl Server {
    pub(crate) fn new(id: u64) -> Self {
        let (files, holding) = (Files::default(), Rc::new(Holding { first: 1, ..Holding::default() }));
        let durable = Rc::clone(&holding);
        Self { id, files, engine: None, life: 0, holding, durable, gone: None, seen: u64::MAX, print: 0 }
    }

    pub(crate) fn identity(&self) -> u64 {
        self.id * 11
    }

    pub(crate) fn start(&mut self, now: Now, options: &Options, initial: &Configuration) -> Result<(), String> {
        let seed = Seed { identity: self.identity(), salt: 77, now_ms: now.wall };
        let segment = copycat_storage::Options { segment_size: SEGMENT };
        let (id, options, initial) = (self.id, options.clone(), initial.clone());
        self.life += 1;
        let random = id * 1000 + self.life;
        let engine = with(&mut self.files, || {
            // A log that is gone is given up, to be got back from the others.
            let opened = Storage::open_damaged(ForkDisk, segment, seed, None);
            let (storage, _) = opened.map_err(|e| e.to_string())?;
            let durable = Holding::of(&storage);
            let engine = Engine::new(id, options, random, now, storage, Register::default, initial);
            let mut engine = engine.map_err(|e| format!("FATAL at the start: {e}"))?;
            engine.steady(now);
            Ok::<_, String>((engine, durable))
        });
        let (engine, durable) = engine?;
        self.engine = Some(engine);
        // Everything that an open finds is durable.
        self.durable = Rc::new(durable);
        self.seen = u64::MAX;
        Ok(())
    }

    pub(crate) fn stop(&mut self, left: Left) {
        self.engine = None;
        self.files.crash(left);
        if left == Left::NoLog {
            self.gone = Some(Rc::clone(&self.durable));
        }
        self.print = 0;
    }

    /// Steps and polls the engine. Returns its outputs.
    pub(crate) fn act(&mut self, now: Now, input: Option<Input>) -> Result<Vec<copycat::engine::Output>, String> {
        let Some(engine) = &mut self.engine else { return Ok(Vec::new()) };
        let files = &mut self.files;
        let result = with(files, || {
            if let Some(input) = input {
                engine.step(now, input)?;
            }
            while engine.poll(now)? {}
            Ok::<_, copycat::engine::Fatal>(())
        });
        result.map_err(|e| format!("FATAL: server {}: {e}", self.id))?;
        Ok(engine.take_outputs())
    }

    /// Runs a flush to its end. Returns the input that reports it.
    pub(crate) fn flush(&mut self, now: Now) -> Option<Input> {
        self.look();
        let engine = self.engine.as_mut()?;
        let persisted = with(&mut self.files, || Some(engine.flush(now)?.run().expect("the disk works")))?;
        self.durable = Rc::clone(&self.holding);
        Some(Input::Persisted(persisted))
    }

    /// Returns whether this entry is durable here, or was before the log was lost.
    pub(crate) fn keeps(&self, index: u64, mark: Mark) -> bool {
        self.durable.has(index, mark) || self.gone.as_ref().is_some_and(|gone| gone.has(index, mark))
    }

    pub(crate) fn can_flush(&self) -> bool {
        self.engine.as_ref().is_some_and(|engine| !engine.storage().is_flushed())
    }

    /// Runs background work to its end. Returns the input that reports it.
    pub(crate) fn work(&mut self) -> Option<Input> {
        let engine = self.engine.as_mut()?;
        with(&mut self.files, || Some(Input::Worked(engine.work()?.run(usize::MAX, || true)?)))
    }

    /// Refreshes `holding`.
    pub(crate) fn look(&mut self) {
        let Some(engine) = &self.engine else { return };
        let sequence = engine.storage().write_sequence();
        if self.seen != sequence {
            self.seen = sequence;
            self.holding = Rc::new(Holding::of(engine.storage()));
        }
    }

    /// Refreshes the hash of its state. `buffer` is scratch space.
    pub(crate) fn note(&mut self, buffer: &mut String) {
        use std::hash::{Hash, Hasher};
        buffer.clear();
        let Some(engine) = &self.engine else { return };
        engine.fingerprint(buffer).expect("a string grows");
        let mut hasher = xxhash_rust::xxh3::Xxh3Default::new();
        hasher.update(buffer.as_bytes());
        (&self.holding.log, &self.holding.configurations, &self.durable).hash(&mut hasher);
        self.print = hasher.finish();
    }
}
