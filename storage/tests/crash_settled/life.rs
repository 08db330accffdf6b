//! A life: one directory through several crashes, and what may be found of it.

use std::collections::BTreeSet;

use copycat_storage::{CompactionJob, Entry, FlushJob, Incoming, MemDisk, SnapshotJob, Staged, Storage};

use super::common::Rng;
use super::lives::{power_cut, stats};

/// A log as it was until a truncation, an install, or the present.
#[derive(Clone, Debug)]
pub(crate) struct Branch {
    pub(crate) log: Vec<Entry>,
    /// How many of its entries it has from the branch before.
    pub(crate) cut: usize,
    /// How many of its entries must be found.
    pub(crate) floor: usize,
    /// How many installs came before, and how often it was given up.
    pub(crate) epoch: u64,
    /// It was given up, and nobody has said since that it is whole again.
    pub(crate) lost: bool,
}

/// A snapshot that may be found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Record {
    pub(crate) index: u64,
    pub(crate) references: Vec<u64>,
    pub(crate) payload: Vec<u8>,
    pub(crate) epoch: u64,
}

/// Where a flush job was taken: a place in the list of branches, its length, and a snapshot that it carries.
#[derive(Clone, Debug)]
pub(crate) struct Captured {
    pub(crate) branch: usize,
    pub(crate) len: usize,
    /// It flushes the log, and not only promises to.
    pub(crate) whole: bool,
    pub(crate) carries: bool,
    /// The place of the snapshot that is then durable, and that it makes the giving up of the log durable.
    pub(crate) record: usize,
    pub(crate) gives_up: bool,
    pub(crate) epoch: u64,
}

stats! {
    images kills snapshots compactions installs refused truncations given_up given_up_found half_given_up_found old_log_found_lost cut_giving_up
    cut_snapshots cut_compactions cut_stages cut_flushes_with_a_snapshot cut_opens
    old_snapshots_found uncommitted_installs_found holes_found leftovers_found superseded_found
    snapshot_in_progress compaction_in_progress install_in_progress
}

/// What is under way.
pub(crate) enum Receiving {
    No,
    Chunks(Box<(Incoming<MemDisk>, Leader)>),
    Staged(Box<(Staged<MemDisk>, Vec<Entry>, Record)>),
}

/// The server that sends, its log through the snapshot, and the snapshot.
pub(crate) type Leader = (Storage<MemDisk>, Vec<Entry>, Record);

/// One directory through several crashes.
pub(crate) struct Life {
    pub(crate) rng: Rng,
    pub(crate) disk: MemDisk,
    pub(crate) segment: u32,
    pub(crate) branches: Vec<Branch>,
    /// The durable one first; then those whose renaming was begun.
    pub(crate) records: Vec<Record>,
    /// The one that is written and not renamed.
    pub(crate) pending: Option<Record>,
    pub(crate) made: u64,
    pub(crate) term: u64,
    /// The highest snapshot that was begun or installed: nothing at or below is truncated.
    pub(crate) committed: u64,
    /// The log was given up, and no flush has made that durable.
    pub(crate) giving_up: bool,
    pub(crate) given_up_in: u64,
    /// An open that may have been mending a half given up log was cut: then the lower part of the old one may be found.
    pub(crate) repair_cut: bool,
    pub(crate) released: BTreeSet<u64>,
    pub(crate) flush: Option<(FlushJob<MemDisk>, Captured)>,
    pub(crate) snapshot: Option<(SnapshotJob<MemDisk>, Record)>,
    pub(crate) compaction: Option<CompactionJob<MemDisk>>,
    pub(crate) receiving: Receiving,
    pub(crate) stats: Stats,
    pub(crate) killed_whole: bool,
}

impl Life {
    pub(crate) fn new(seed: u64) -> Life {
        let mut rng = Rng(seed);
        Life {
            segment: [4096, 4096, 8192, 16_384][rng.below(4) as usize],
            rng,
            disk: MemDisk::new(),
            branches: vec![Branch { log: Vec::new(), cut: 0, floor: 0, epoch: 0, lost: false }],
            records: vec![Record { index: 0, references: Vec::new(), payload: Vec::new(), epoch: 0 }],
            pending: None,
            made: 0,
            term: 1,
            committed: 0,
            giving_up: false,
            given_up_in: 0,
            repair_cut: false,
            released: BTreeSet::new(),
            flush: None,
            snapshot: None,
            compaction: None,
            receiving: Receiving::No,
            stats: Stats::default(),
            killed_whole: false,
        }
    }

    pub(crate) fn power_cut(&mut self) {
        power_cut(&self.disk, &mut self.rng);
        self.killed_whole = false;
        self.stats.images += 1;
    }
}
