//! A disk that is cheap to copy: copies share their files until one is written.
//!
//! One engine acts at a time on a thread, so a [`ForkDisk`] holds nothing. It stands for the files that [`with`] has
//! installed for the thread.

use copycat_storage::{Disk, DiskFile, Flush};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// The unit of a flush.
const PAGE: u64 = 4096;

/// The writes that survive a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Left {
    /// All of them: a killed process, or a lucky power cut.
    All,
    /// Flushed ones only.
    Flushed,
    /// Flushed ones, and all writes to the log.
    Log,
    /// Flushed ones, except that the log is lost.
    NoLog,
}

#[derive(Clone)]
struct Node {
    current: Arc<Vec<u8>>,
    durable: Arc<Vec<u8>>,
}

/// The files of one server.
#[derive(Clone, Default)]
pub(crate) struct Files {
    names: Arc<BTreeMap<String, u64>>,
    durable_names: Arc<BTreeMap<String, u64>>,
    nodes: BTreeMap<u64, Node>,
    next: u64,
}

impl Files {
    /// Ends the process or cuts the power.
    pub(crate) fn crash(&mut self, left: Left) {
        if matches!(left, Left::Flushed | Left::NoLog) {
            self.names = Arc::clone(&self.durable_names);
        }
        if left == Left::NoLog {
            Arc::make_mut(&mut self.names).retain(|name, _| !name.ends_with(".log"));
        }
        self.durable_names = Arc::clone(&self.names);
        let logs: Vec<u64> = self.names.iter().filter(|(name, _)| name.ends_with(".log")).map(|(_, &id)| id).collect();
        let named: Vec<u64> = self.names.values().copied().collect();
        self.nodes.retain(|id, _| named.contains(id));
        for (id, node) in &mut self.nodes {
            if left == Left::All || left == Left::Log && logs.contains(id) {
                node.durable = Arc::clone(&node.current);
            } else {
                node.current = Arc::clone(&node.durable);
            }
        }
    }

    fn id(&self, name: &str) -> io::Result<u64> {
        self.names.get(name).copied().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, name.to_string()))
    }
}

thread_local! {
    static FILES: RefCell<Files> = RefCell::new(Files::default());
}

/// Runs a closure with these files installed for the thread.
pub(crate) fn with<T>(files: &mut Files, run: impl FnOnce() -> T) -> T {
    FILES.with(|here| std::mem::swap(&mut *here.borrow_mut(), files));
    let result = run();
    FILES.with(|here| std::mem::swap(&mut *here.borrow_mut(), files));
    result
}

fn here<T>(run: impl FnOnce(&mut Files) -> T) -> T {
    FILES.with(|files| run(&mut files.borrow_mut()))
}

#[derive(Clone, Debug)]
pub(crate) struct ForkDisk;

#[derive(Clone, Debug)]
pub(crate) struct ForkFile {
    id: u64,
    bytes: Arc<Vec<u8>>,
}

pub(crate) struct ForkFlush {
    id: u64,
    range: Range<usize>,
    bytes: Arc<Vec<u8>>,
}

impl Disk for ForkDisk {
    type File = ForkFile;

    fn create(&self, name: &str, len: u64) -> io::Result<ForkFile> {
        here(|files| {
            if files.names.contains_key(name) {
                return Err(io::Error::from(io::ErrorKind::AlreadyExists));
            }
            let bytes = Arc::new(vec![0; usize::try_from(len).map_err(io::Error::other)?]);
            let id = files.next;
            files.next += 1;
            files.nodes.insert(id, Node { current: Arc::clone(&bytes), durable: Arc::clone(&bytes) });
            Arc::make_mut(&mut files.names).insert(name.to_string(), id);
            Ok(ForkFile { id, bytes })
        })
    }

    fn open(&self, name: &str) -> io::Result<ForkFile> {
        here(|files| {
            let id = files.id(name)?;
            Ok(ForkFile { id, bytes: Arc::clone(&files.nodes[&id].current) })
        })
    }

    fn read(&self, name: &str) -> io::Result<ForkFile> {
        self.open(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(here(|files| files.names.keys().cloned().collect()))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        here(|files| {
            files.id(name)?;
            Arc::make_mut(&mut files.names).remove(name);
            Ok(())
        })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        here(|files| {
            let id = files.id(from)?;
            let names = Arc::make_mut(&mut files.names);
            names.remove(from);
            names.insert(to.to_string(), id);
            Ok(())
        })
    }

    fn sync_dir(&self) -> io::Result<()> {
        here(|files| {
            files.durable_names = Arc::clone(&files.names);
            let named: Vec<u64> = files.names.values().copied().collect();
            files.nodes.retain(|id, _| named.contains(id));
        });
        Ok(())
    }

    fn available(&self) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}

impl DiskFile for ForkFile {
    type Flush = ForkFlush;

    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        let start = usize::try_from(offset).expect("a small file");
        Arc::make_mut(&mut self.bytes)[start..start + data.len()].copy_from_slice(data);
        here(|files| {
            if let Some(node) = files.nodes.get_mut(&self.id) {
                node.current = Arc::clone(&self.bytes);
            }
        });
    }

    fn flusher(&self, range: Range<u64>) -> ForkFlush {
        let end = range.end.div_ceil(PAGE) * PAGE;
        let place = |at: u64| usize::try_from(at.min(self.len())).expect("a small file");
        ForkFlush { id: self.id, range: place(range.start / PAGE * PAGE)..place(end), bytes: Arc::clone(&self.bytes) }
    }
}

impl Flush for ForkFlush {
    fn run(&self) -> io::Result<()> {
        here(|files| {
            let Some(node) = files.nodes.get_mut(&self.id) else { return };
            if self.range == (0..self.bytes.len()) {
                node.durable = Arc::clone(&self.bytes);
            } else {
                let range = self.range.clone();
                Arc::make_mut(&mut node.durable)[range.clone()].copy_from_slice(&self.bytes[range]);
            }
        });
        Ok(())
    }
}
