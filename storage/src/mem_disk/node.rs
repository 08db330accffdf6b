//! One file of a simulated disk: what is seen, what is durable, and the writes between.

use std::collections::{BTreeMap, BTreeSet};

/// What the system writes and flushes as one.
pub(super) const PAGE: usize = 4096;
/// What the device writes as one.
const SECTOR: usize = 512;

/// A write to one page that is not durable.
#[derive(Clone, Debug)]
pub(super) struct Write {
    /// Number of the write, rising over the whole disk.
    number: u64,
    /// Where in the page.
    at: usize,
    data: Vec<u8>,
}

#[derive(Clone, Debug)]
pub(super) struct Node {
    /// What a process sees.
    pub(super) current: Vec<u8>,
    /// What is on the medium.
    pub(super) durable: Vec<u8>,
    /// Writes since, by page.
    pub(super) journal: BTreeMap<usize, Vec<Write>>,
    /// Pages that the system took for clean because a flush of them *failed*: a later flush does
    /// not write them, although they are not durable.
    pub(super) forgotten: BTreeSet<usize>,
}

impl Node {
    pub(super) fn new(len: usize) -> Node {
        Node { current: vec![0; len], durable: vec![0; len], journal: BTreeMap::new(), forgotten: BTreeSet::new() }
    }

    pub(super) fn write(&mut self, number: u64, offset: usize, data: &[u8]) {
        self.current[offset..offset + data.len()].copy_from_slice(data);
        let mut done = 0;
        while done < data.len() {
            let (page, at) = ((offset + done) / PAGE, (offset + done) % PAGE);
            let len = (PAGE - at).min(data.len() - done);
            self.forgotten.remove(&page);
            self.journal.entry(page).or_default().push(Write { number, at, data: data[done..done + len].to_vec() });
            done += len;
        }
    }

    /// Makes the writes to a page up to a number durable.
    pub(super) fn settle(&mut self, page: usize, number: u64) {
        if self.forgotten.contains(&page) {
            return;
        }
        let Some(writes) = self.journal.get_mut(&page) else {
            return;
        };
        let count = writes.partition_point(|write| write.number <= number);
        for write in writes.drain(..count) {
            let start = page * PAGE + write.at;
            self.durable[start..start + write.data.len()].copy_from_slice(&write.data);
        }
        if writes.is_empty() {
            self.journal.remove(&page);
        }
    }

    /// Chooses what a power cut leaves of each page. Returns torn pages and lost writes.
    pub(super) fn crash(&mut self, rng: &mut impl FnMut() -> u64) -> (u64, u64) {
        let (mut torn, mut lost) = (0, 0);
        for (page, writes) in std::mem::take(&mut self.journal) {
            let choices = writes.len() as u64 + 1;
            let whole = rng() % choices;
            let tear = rng().is_multiple_of(2);
            let mut different = false;
            for sector in 0..PAGE / SECTOR {
                let keep = if tear { rng() % choices } else { whole };
                let range = sector * SECTOR..(sector + 1) * SECTOR;
                for (i, write) in writes.iter().enumerate() {
                    let from = write.at.max(range.start);
                    let to = (write.at + write.data.len()).min(range.end);
                    if from >= to {
                        continue;
                    }
                    if (i as u64) < keep {
                        let data = &write.data[from - write.at..to - write.at];
                        let start = page * PAGE + from;
                        self.durable[start..start + data.len()].copy_from_slice(data);
                    } else {
                        lost += 1;
                    }
                }
                different |= keep != whole;
            }
            torn += u64::from(different);
        }
        self.forgotten.clear();
        self.current = self.durable.clone();
        (torn, lost)
    }
}
