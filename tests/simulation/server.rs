//! One simulated server: the shipped engine on a simulated disk, with clocks of its own.

use copycat::engine::machine::Executor;
use copycat::engine::{ApplyJob, Configuration, Engine, Fatal, MemberType, Now, Options, Work, encode};
use copycat::store::Store;
use copycat_storage::{Corrupt, Disk, FlushJob, MemDisk, Meta, OpenError, Seed, Storage};
use copycat_testkit::Rng;
use std::collections::BTreeMap;
use std::time::Duration;

pub(crate) type SimEngine = Engine<MemDisk, Store>;
pub(crate) type SimInput = copycat::engine::Input<MemDisk>;

/// What a server is to the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It runs, or is started again when it is down.
    Member,
    /// It asks to be let in, as this.
    Joining(MemberType),
    /// A member's disk was wiped, and it was started as if nothing had happened.
    Stranger,
    /// It has an empty disk and is down.
    Outside,
}

pub(crate) struct Server {
    pub id: u64,
    pub place: Place,
    /// What it was told when it was let in.
    pub joined: Option<(u64, Configuration)>,
    pub disk: MemDisk,
    /// `None`: down.
    pub engine: Option<SimEngine>,
    /// Rises with every start: what was meant for an earlier life is dropped.
    pub life: u64,
    pub job: Option<FlushJob<MemDisk>>,
    /// When the flush that is out began.
    pub flush_since: Option<u64>,
    /// Background work that is out.
    pub work: Option<Work<MemDisk>>,
    /// The state machine, if it is out with entries to apply.
    pub applying: Option<ApplyJob<Store>>,
    pub paused_until: u64,
    /// The one wake-up that is scheduled, by its place in the queue of events.
    pub wake: Option<(u64, u64)>,
    /// The monotonic clock runs this much faster or slower, in millionths,
    drift: i64,
    /// and has jumped ahead by so much, microseconds.
    pub jumped: i64,
    /// The wall clock is this far off, milliseconds.
    pub wall_offset: i64,
    segment: u32,
    seed: u64,
    pub options: Options,
    /// What was durable above the global commit index when it went down.
    pub durable_when_down: Vec<(u64, u64)>,
    /// Its log was lost while it was down; once it is up, its engine tells.
    pub log_gone: bool,
    /// A byte on its disk was flipped, and was not noticed yet.
    pub flipped: bool,
    /// The damage that ended its last life.
    pub damage: Option<Corrupt>,
    /// Damage was found by a start, and the log given up.
    pub repaired: bool,
    /// The same of the disks before this one, by whose they were.
    lost_disks: BTreeMap<u64, Vec<(u64, u64)>>,
}

impl Server {
    pub(crate) fn new(id: u64, rng: &mut Rng, segment: u32, options: Options) -> Self {
        Self {
            id,
            place: Place::Member,
            joined: None,
            disk: MemDisk::new(),
            engine: None,
            life: 0,
            job: None,
            flush_since: None,
            work: None,
            applying: None,
            paused_until: 0,
            wake: None,
            // Two clocks differ by at most 4 %: well inside the engine's bound of 10 %.
            drift: rng.range(0, 40_000) as i64 - 20_000,
            jumped: 0,
            wall_offset: rng.range(0, 2_000) as i64 - 1_000,
            segment,
            seed: rng.next_u64(),
            options,
            durable_when_down: Vec::new(),
            log_gone: false,
            flipped: false,
            damage: None,
            repaired: false,
            lost_disks: BTreeMap::new(),
        }
    }

    /// This server's clocks at a moment of simulated time (microseconds).
    pub(crate) fn now(&self, time: u64) -> Now {
        let own = time as i64 + time as i64 / 1_000_000 * self.drift + time as i64 % 1_000_000 * self.drift / 1_000_000;
        let wall = 1_700_000_000_000 + time as i64 / 1000 + self.wall_offset;
        Now { monotonic: Duration::from_micros((own + self.jumped) as u64), wall: wall as u64 }
    }

    /// The simulated time at which this server's monotonic clock shows `at`, rounded up.
    pub(crate) fn time_of(&self, at: Duration) -> u64 {
        let own = (at.as_micros() as i64 - self.jumped).max(0);
        (own * 1_000_000 / (1_000_000 + self.drift)) as u64 + 2
    }

    /// Opens the disk and starts the engine, as a process does.
    pub(crate) fn start(&mut self, time: u64, initial: &Configuration) -> Result<(), String> {
        self.life += 1;
        (self.job, self.flush_since) = (None, None);
        self.work = None;
        self.applying = None;
        assert!(self.wake.is_none(), "a server that is down is not woken");
        let identity = self.identity();
        let salt = (self.seed >> 32) as u32 ^ self.life as u32;
        let seed = Seed { identity, salt, now_ms: self.now(time).wall };
        let options = copycat_storage::Options { segment_size: self.segment };
        let mut storage = self.open(options, seed, None)?;
        if let Some(damage) = self.damage.take() {
            storage = self.open(options, seed, Some(damage))?;
        }
        let mut initial = initial.clone();
        if let Some((index, known)) = &self.joined {
            // As a server does that is let in, before its engine starts; and again if that was lost with the power.
            initial = Configuration::default();
            if storage.configuration().is_empty() && storage.last_index() == 0 {
                storage.set_meta(Meta { cluster: known.cluster, ..storage.meta().clone() });
                storage.set_configuration(encode(&(*index, known.clone())));
            }
        }
        let random = self.seed.wrapping_add(self.life);
        let now = self.now(time);
        let (id, engine_options) = (self.id, self.options.clone());
        let engine =
            |storage| Engine::new(id, engine_options.clone(), random, now, storage, Store::default, initial.clone());
        let engine = match engine(storage) {
            Err(Fatal::Corrupt(damage)) => engine(self.open(options, seed, Some(damage))?),
            started => started,
        };
        self.engine = Some(engine.map_err(|e| e.to_string())?);
        self.log_gone = false;
        Ok(())
    }

    /// Opens the disk as a server does: what is damaged is given up, to be asked of the peers.
    fn open(
        &mut self,
        options: copycat_storage::Options,
        seed: Seed,
        known: Option<Corrupt>,
    ) -> Result<Storage<MemDisk>, String> {
        #[cfg(feature = "planted-bugs")]
        if self.options.bug == Some(copycat::engine::Bug::StartDiscardsSnapshot) {
            let opened = Storage::open_discarding_snapshot(self.disk.clone(), options, seed);
            return opened.map_err(|e| e.to_string());
        }
        let opened = Storage::open_damaged(self.disk.clone(), options, seed, known);
        let (storage, damage) = opened.map_err(|e: OpenError| e.to_string())?;
        if damage.is_some() {
            if !self.flipped && !self.log_gone {
                return Err(format!("nothing was flipped, and yet: {damage:?}"));
            }
            (self.flipped, self.repaired) = (false, true);
        }
        Ok(storage)
    }

    /// What would be left of this server if the power failed now and took all that can be taken.
    pub(crate) fn after_worst_power_cut(&self) -> Storage<MemDisk> {
        let disk = self.disk.fork();
        disk.crash(&mut || 0);
        disk.set_capacity(None);
        let options = copycat_storage::Options { segment_size: self.segment };
        Storage::open(disk, options, Seed { identity: 1, salt: 1, now_ms: 0 }).expect("what is left opens")
    }

    /// Starts once without the segments, which are put back then.
    ///
    /// # Errors
    /// If the start was not refused, or not all is there that was.
    pub(crate) fn start_without_log(&mut self) -> Result<(), String> {
        self.disk.fail_flushes(0);
        self.disk.set_capacity(None);
        let names = self.disk.list().expect("the disk lists");
        let segments: Vec<String> = names.into_iter().filter(|n| n.ends_with(".log")).collect();
        let kept: Vec<(String, Vec<u8>)> =
            segments.iter().map(|name| (name.clone(), self.disk.get(name).expect("it is listed"))).collect();
        for name in &segments {
            self.disk.remove(name).expect("the disk removes");
        }
        self.disk.sync_dir().expect("the disk syncs");
        let options = copycat_storage::Options { segment_size: self.segment };
        let seed = Seed { identity: self.identity(), salt: self.life as u32 ^ 77, now_ms: 0 };
        #[cfg(feature = "planted-bugs")]
        if self.options.bug == Some(copycat::engine::Bug::StartDiscardsSnapshot) {
            drop(Storage::open_discarding_snapshot(self.disk.clone(), options, seed));
        }
        let first = Storage::open(self.disk.clone(), options, seed);
        for (name, bytes) in &kept {
            self.disk.put(name, bytes);
        }
        if first.is_ok() {
            return Err(format!("it starts with nothing, its files are {:?}", self.disk.list()));
        }
        let there = Storage::open(self.disk.fork(), options, seed).map_err(|e| e.to_string())?;
        match self.durable_when_down.iter().find(|&&(index, term)| there.term(index) != Some(term)) {
            Some((index, _)) => Err(format!("entry {index} is gone")),
            None => Ok(()),
        }
    }

    /// The segments vanish, for good; the other files stay.
    pub(crate) fn lose_log(&mut self) {
        let names = self.disk.list().expect("the disk lists");
        for name in names.iter().filter(|n| n.ends_with(".log")) {
            self.disk.remove(name).expect("the disk removes");
        }
        self.disk.sync_dir().expect("the disk syncs");
        self.log_gone = true;
    }

    /// An empty disk, which will be another identity.
    pub(crate) fn wipe(&mut self, rng: &mut Rng) {
        assert!(self.engine.is_none(), "it is down");
        self.disk = MemDisk::new();
        self.lost_disks.insert(self.identity(), std::mem::take(&mut self.durable_when_down));
        (self.log_gone, self.flipped, self.damage) = (false, false, None);
        self.seed = rng.next_u64();
        self.joined = None;
    }

    /// Whether a disk that is gone held this entry durably: what that acknowledged may be counted for a moment yet. Who
    /// has the disk's number now has not.
    pub(crate) fn had(&self, identity: Option<u64>, entry: (u64, u64)) -> bool {
        identity.and_then(|of| self.lost_disks.get(&of)).is_some_and(|held| held.contains(&entry))
    }

    /// That of its directory, also before it is made.
    pub(crate) fn identity(&self) -> u64 {
        self.seed | 1
    }

    pub(crate) fn cluster(&self) -> u128 {
        self.engine.as_ref().map_or(0, |e| e.storage().meta().cluster)
    }

    /// Whether it is the member that this configuration means by its number.
    pub(crate) fn is_meant_by(&self, configuration: &Configuration) -> bool {
        self.place == Place::Member && configuration.admits(self.id, self.identity())
    }

    /// Whether it keeps the state.
    pub(crate) fn is_stateful(&self) -> bool {
        self.engine.as_ref().is_some_and(|e| e.status().member_type != Some(MemberType::Reserve))
    }

    pub(crate) fn is_up(&self) -> bool {
        self.engine.is_some()
    }

    /// Its state, unless that is out.
    pub(crate) fn executor(&self) -> Option<&Executor<Store>> {
        self.engine().executor()
    }

    pub(crate) fn engine(&self) -> &SimEngine {
        self.engine.as_ref().expect("the server is up")
    }
}
