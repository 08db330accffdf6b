//! What the log costs: an append, a flush of one entry and of many (one flush serves all that wait), opening.
#![allow(clippy::unwrap_used, missing_docs)] // a benchmark that cannot go on says so by panicking

use copycat_storage::{Entry, FileDisk, Options, Seed, Storage};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const ENTRY: usize = 300;

/// A directory on the disk that the build is on, not one in memory.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }

    fn open(&self) -> Storage<FileDisk> {
        let seed = Seed { identity: 1, salt: 1, now_ms: 0 };
        Storage::open(FileDisk::open(&self.0).unwrap(), Options::default(), seed).unwrap()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn entry(index: u64) -> Entry {
    Entry { index, term: 1, time: index, session: 0, sequence: 0, kind: 3, mode: 3, data: vec![7; ENTRY] }
}

fn flush(storage: &mut Storage<FileDisk>) {
    while let Some(job) = storage.flush() {
        let persisted = job.run().unwrap();
        storage.persisted(persisted);
    }
    if let Some(job) = storage.prepare() {
        storage.prepared(job.run());
    }
}

fn append(c: &mut Criterion) {
    let directory = Directory::new("append");
    let mut storage = directory.open();
    let mut group = c.benchmark_group("append");
    group.throughput(Throughput::Elements(1));
    group.bench_function("one entry of 300 bytes, in memory", |b| {
        b.iter_custom(|iterations| {
            let mut took = Duration::ZERO;
            for _ in 0..iterations {
                let next = entry(storage.last_index() + 1);
                let begin = Instant::now();
                storage.append(&next).unwrap();
                took += begin.elapsed();
                // The next file is made ahead, as a server does on another thread.
                if next.index.is_multiple_of(4096) {
                    flush(&mut storage);
                }
            }
            took
        });
    });
    group.finish();
}

fn flushes(c: &mut Criterion) {
    let directory = Directory::new("flush");
    let mut storage = directory.open();
    let mut group = c.benchmark_group("append and flush");
    for batch in [1, 16, 256] {
        group.throughput(Throughput::Elements(batch));
        group.bench_function(BenchmarkId::from_parameter(batch), |b| {
            b.iter(|| {
                for _ in 0..batch {
                    let next = entry(storage.last_index() + 1);
                    storage.append(&next).unwrap();
                }
                flush(&mut storage);
            });
        });
    }
    group.finish();
}

fn open(c: &mut Criterion) {
    let mut group = c.benchmark_group("open");
    group.sample_size(10);
    for entries in [10_000_u64, 1_000_000] {
        let directory = Directory::new("open");
        let mut storage = directory.open();
        for index in 1..=entries {
            storage.append(&entry(index)).unwrap();
            if index.is_multiple_of(8192) {
                flush(&mut storage);
            }
        }
        flush(&mut storage);
        drop(storage);
        group.throughput(Throughput::Elements(entries));
        group.bench_function(BenchmarkId::new("entries", entries), |b| b.iter(|| directory.open()));
    }
    group.finish();
}

criterion_group!(benches, append, flushes, open);
criterion_main!(benches);
