//! A disk in memory that forgets, tears, fails and fills: the simulated twin of a directory.
//!
//! Deterministic: it draws no randomness of its own and iterates ordered maps only.

mod node;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::{Disk, DiskFile, Flush};
use node::{Node, PAGE};

/// A change of the directory that is not durable.
#[derive(Clone, Debug)]
enum Change {
    Create(String, u64),
    Remove(String),
    Rename(String, String),
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            Change::Create(name, id) => {
                names.insert(name.clone(), *id);
            }
            Change::Remove(name) => {
                names.remove(name);
            }
            Change::Rename(from, to) => {
                if let Some(id) = names.remove(from) {
                    names.insert(to.clone(), id);
                }
            }
        }
    }
}

#[derive(Debug, Default)]
struct Inner {
    nodes: BTreeMap<u64, Node>,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    changes: Vec<Change>,
    next_node: u64,
    writes: u64,
    /// Rises with every crash and restart: handles of an earlier life do nothing.
    life: u64,
    capacity: Option<u64>,
    /// How many more flushes fail; `u64::MAX` = all.
    failing: u64,
    /// How many more creations of small files fail, and the size from which on a file is none; `u64::MAX` = all.
    small_failing: (u64, u64),
    /// How many more changing operations succeed.
    cut: Option<u64>,
    torn_pages: u64,
    lost_writes: u64,
    undone_changes: u64,
}

fn power_cut() -> io::Error {
    io::Error::other("simulated power cut")
}

impl Inner {
    /// Counts a changing operation; an error once the power is gone.
    fn change(&mut self) -> io::Result<()> {
        match &mut self.cut {
            Some(0) => Err(power_cut()),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn alive(&self) -> io::Result<()> {
        if self.cut == Some(0) {
            return Err(power_cut());
        }
        Ok(())
    }

    fn id(&self, name: &str) -> io::Result<u64> {
        let id = self.names.get(name).copied();
        id.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no file {name}")))
    }

    fn used(&self) -> u64 {
        self.names.values().filter_map(|id| self.nodes.get(id)).map(|node| node.current.len() as u64).sum()
    }

    fn drop_unnamed(&mut self) {
        let named: BTreeSet<u64> = self.names.values().copied().collect();
        self.nodes.retain(|id, _| named.contains(id));
    }
}

/// A simulated disk. Clones are the same disk.
///
/// Each file has the bytes a process sees and the bytes that are durable; writes lie between the
/// two until a flush. [`MemDisk::crash`] is a power cut, [`MemDisk::restart`] a killed process.
///
/// A mapped [`MemFile`] holds a copy of the bytes of its own, so a file must be mapped once at a
/// time for writing, and what [`MemDisk::corrupt`] does is seen by those who open it afterwards.
#[derive(Clone, Debug, Default)]
pub struct MemDisk {
    inner: Arc<Mutex<Inner>>,
}

impl MemDisk {
    /// An empty disk without limits or faults.
    pub fn new() -> MemDisk {
        MemDisk::default()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A test that panicked elsewhere leaves nothing half done that matters here.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A power cut. Of every page, a random point of its undurable writes survives, in torn pages
    /// another point for each sector of 512 bytes. Of the directory changes not synced, a random
    /// number is kept in order, and of the creations and removals after those each one or not (more
    /// than a journaling file system may do). Old handles do nothing from now on; the fault of
    /// [`MemDisk::cut_after`] and failing flushes end.
    pub fn crash(&self, rng: &mut impl FnMut() -> u64) {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let mut names = std::mem::take(&mut inner.durable_names);
        let changes = std::mem::take(&mut inner.changes);
        let keep = usize::try_from(rng() % (changes.len() as u64 + 1)).expect("a list's length");
        for (i, change) in changes.iter().enumerate() {
            let free = match change {
                Change::Create(name, _) => !names.contains_key(name),
                Change::Remove(_) => true,
                Change::Rename(..) => false,
            };
            if i < keep || free && rng().is_multiple_of(2) {
                change.apply(&mut names);
            } else {
                inner.undone_changes += 1;
            }
        }
        inner.names = names.clone();
        inner.durable_names = names;
        inner.drop_unnamed();
        for node in inner.nodes.values_mut() {
            let (torn, lost) = node.crash(rng);
            inner.torn_pages += torn;
            inner.lost_writes += lost;
        }
        inner.life += 1;
        inner.cut = None;
        inner.failing = 0;
    }

    /// A killed process: everything written is still there, and as undurable as it was. Old
    /// handles do nothing from now on.
    pub fn restart(&self) {
        let mut inner = self.lock();
        inner.life += 1;
        inner.cut = None;
        inner.drop_unnamed_after_restart();
    }

    /// After `n` more changing operations (create, write, flush, rename, remove, directory sync)
    /// every operation fails and nothing changes, until [`MemDisk::crash`] or
    /// [`MemDisk::restart`].
    pub fn cut_after(&self, n: u64) {
        self.lock().cut = Some(n);
    }

    /// Whether the cut has happened.
    pub fn is_cut(&self) -> bool {
        self.lock().cut == Some(0)
    }

    /// The next `n` flushes of files fail; `u64::MAX` for all, 0 for none. What a failed flush
    /// covered is *not* written by later ones, as on Linux.
    pub fn fail_flushes(&self, n: u64) {
        self.lock().failing = n;
    }

    /// The next `n` creations of files of less than `below` bytes fail as on a full disk, while larger ones (that were made
    /// ahead, or found room) do not; `u64::MAX` for all, 0 for none. With `below` 4,096, the size of the smallest segment,
    /// these are the caches: see [`Storage::unsaved`](crate::Storage::unsaved).
    pub fn fail_small_files(&self, n: u64, below: u64) {
        self.lock().small_failing = (n, below);
    }

    /// How many bytes all files together may have; `None` for no limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().capacity = bytes;
    }

    /// Flips the bits of `mask` in one byte, on the medium and in memory.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`]; [`io::ErrorKind::InvalidInput`] when the file is shorter.
    pub fn corrupt(&self, name: &str, offset: u64, mask: u8) -> io::Result<()> {
        let mut inner = self.lock();
        let id = inner.id(name)?;
        let node = inner.nodes.get_mut(&id).ok_or_else(power_cut)?;
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        if at >= node.current.len() {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        node.current[at] ^= mask;
        node.durable[at] ^= mask;
        Ok(())
    }

    /// The bytes of a file as a process sees them.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`].
    pub fn get(&self, name: &str) -> io::Result<Vec<u8>> {
        let inner = self.lock();
        let id = inner.id(name)?;
        Ok(inner.nodes[&id].current.clone())
    }

    /// Makes a file with these bytes, durably, replacing one of that name.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        let mut inner = self.lock();
        let id = inner.next_node;
        inner.next_node += 1;
        let mut node = Node::new(bytes.len());
        node.current.copy_from_slice(bytes);
        node.durable.copy_from_slice(bytes);
        inner.nodes.insert(id, node);
        inner.names.insert(name.to_owned(), id);
        inner.durable_names.insert(name.to_owned(), id);
    }

    /// An independent copy of the whole disk, faults included. Handles stay with the original.
    pub fn fork(&self) -> MemDisk {
        let inner = self.lock();
        let copy = Inner {
            nodes: inner.nodes.clone(),
            names: inner.names.clone(),
            durable_names: inner.durable_names.clone(),
            changes: inner.changes.clone(),
            ..*inner
        };
        MemDisk { inner: Arc::new(Mutex::new(copy)) }
    }

    /// What the crashes so far did: pages torn, writes lost (by sector), directory changes undone.
    /// For tests to see that they tested something.
    pub fn damage_done(&self) -> (u64, u64, u64) {
        let inner = self.lock();
        (inner.torn_pages, inner.lost_writes, inner.undone_changes)
    }
}

impl Inner {
    /// Files without a name in either view are gone once no process maps them.
    fn drop_unnamed_after_restart(&mut self) {
        let mut named: BTreeSet<u64> = self.names.values().copied().collect();
        named.extend(self.durable_names.values());
        for change in &self.changes {
            if let Change::Create(_, id) = change {
                named.insert(*id);
            }
        }
        self.nodes.retain(|id, _| named.contains(id));
    }
}

impl Disk for MemDisk {
    type File = MemFile;

    fn create(&self, name: &str, len: u64) -> io::Result<MemFile> {
        let mut inner = self.lock();
        inner.alive()?;
        if inner.names.contains_key(name) {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists));
        }
        if inner.capacity.is_some_and(|most| inner.used() + len > most) {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        if inner.small_failing.0 > 0 && len < inner.small_failing.1 {
            if inner.small_failing.0 != u64::MAX {
                inner.small_failing.0 -= 1;
            }
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        inner.change()?;
        let size = usize::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::StorageFull))?;
        let id = inner.next_node;
        inner.next_node += 1;
        inner.nodes.insert(id, Node::new(size));
        inner.names.insert(name.to_owned(), id);
        inner.changes.push(Change::Create(name.to_owned(), id));
        Ok(MemFile { disk: self.clone(), id, life: inner.life, bytes: vec![0; size] })
    }

    fn open(&self, name: &str) -> io::Result<MemFile> {
        let mut inner = self.lock();
        inner.alive()?;
        let (id, life) = (inner.id(name)?, inner.life);
        let node = inner.nodes.get_mut(&id).ok_or_else(power_cut)?;
        // What a failed flush left in memory is not shown as if it were on the disk.
        for page in std::mem::take(&mut node.forgotten) {
            let range = page * PAGE..((page + 1) * PAGE).min(node.durable.len());
            node.current[range.clone()].copy_from_slice(&node.durable[range]);
            node.journal.remove(&page);
        }
        Ok(MemFile { disk: self.clone(), id, life, bytes: node.current.clone() })
    }

    fn read(&self, name: &str) -> io::Result<MemFile> {
        let inner = self.lock();
        inner.alive()?;
        let (id, life) = (inner.id(name)?, inner.life);
        let node = inner.nodes.get(&id).ok_or_else(power_cut)?;
        Ok(MemFile { disk: self.clone(), id, life, bytes: node.current.clone() })
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let inner = self.lock();
        inner.alive()?;
        Ok(inner.names.keys().cloned().collect())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut inner = self.lock();
        inner.id(name)?;
        inner.change()?;
        inner.names.remove(name);
        inner.changes.push(Change::Remove(name.to_owned()));
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut inner = self.lock();
        let id = inner.id(from)?;
        inner.change()?;
        inner.names.remove(from);
        inner.names.insert(to.to_owned(), id);
        inner.changes.push(Change::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut inner = self.lock();
        inner.change()?;
        inner.durable_names = inner.names.clone();
        inner.changes.clear();
        inner.drop_unnamed();
        Ok(())
    }

    fn available(&self) -> io::Result<u64> {
        let inner = self.lock();
        inner.alive()?;
        let free = |most: u64| most.saturating_sub(inner.used());
        Ok(inner.capacity.map_or(u64::MAX, free))
    }
}

/// A file of a [`MemDisk`].
#[derive(Debug)]
pub struct MemFile {
    disk: MemDisk,
    id: u64,
    life: u64,
    bytes: Vec<u8>,
}

impl DiskFile for MemFile {
    type Flush = MemFlush;

    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        let start = usize::try_from(offset).expect("an offset inside a file in memory");
        self.bytes[start..start + data.len()].copy_from_slice(data);
        let mut inner = self.disk.lock();
        if inner.life != self.life || inner.change().is_err() {
            return;
        }
        inner.writes += 1;
        let number = inner.writes;
        if let Some(node) = inner.nodes.get_mut(&self.id) {
            node.write(number, start, data);
        }
    }

    fn flusher(&self, range: Range<u64>) -> MemFlush {
        let page = |at: u64| usize::try_from(at).unwrap_or(usize::MAX) / PAGE;
        MemFlush {
            disk: self.disk.clone(),
            id: self.id,
            life: self.life,
            pages: page(range.start)..page(range.end.saturating_sub(1)).saturating_add(1),
            number: self.disk.lock().writes,
        }
    }
}

/// Makes pages of a [`MemFile`] durable, as they were when this was made.
#[derive(Debug)]
pub struct MemFlush {
    disk: MemDisk,
    id: u64,
    life: u64,
    pages: Range<usize>,
    number: u64,
}

impl Flush for MemFlush {
    fn run(&self) -> io::Result<()> {
        let mut inner = self.disk.lock();
        inner.change()?;
        if inner.life != self.life {
            return Err(power_cut());
        }
        let fails = inner.failing > 0;
        if fails && inner.failing != u64::MAX {
            inner.failing -= 1;
        }
        // A file whose last name is gone needs no flush.
        let Some(node) = inner.nodes.get_mut(&self.id) else {
            return Ok(());
        };
        let dirty = node.journal.range(self.pages.clone());
        let dirty: Vec<usize> = dirty.map(|(page, _)| *page).collect();
        for page in dirty {
            if fails {
                node.forgotten.insert(page);
            } else {
                node.settle(page, self.number);
            }
        }
        if fails {
            return Err(io::Error::other("simulated flush error"));
        }
        Ok(())
    }
}
