//! What the engine costs outside of the disk: encoding, applying, and being back after a start.
#![allow(clippy::unwrap_used, missing_docs)] // a benchmark that cannot go on says so by panicking

use copycat::engine::machine::{Executor, StateMachine, encode_operation};
use copycat::engine::{Configuration, Engine, Input, Kind, Message, Now, Options, Role, decode, encode};
use copycat::store::{Command, Condition, Store};
use copycat_storage::{Entry, EntryRef, FileDisk, Seed, Storage};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// As in the comparison with other systems: 32 bytes of key, 256 of value, 10,000 keys.
fn put(n: u64) -> Command {
    Command::Put {
        key: format!("bench-key-{:022}", n.wrapping_mul(7919) % 10_000).into_bytes(),
        value: vec![b'x'; 256],
        content_type: "application/octet-stream".into(),
        ttl_ms: 0,
        ephemeral: false,
        condition: Condition::Always,
    }
}

fn entry(index: u64) -> Entry {
    let command = put(index);
    let mode = Store::mode(&command) as u8;
    let data = encode_operation(&command);
    Entry { index, term: 1, time: index, session: 0, sequence: 0, kind: Kind::Command as u8, mode, data }
}

fn codec(c: &mut Criterion) {
    let mut group = c.benchmark_group("codec");
    let entries = (1..=64).map(|i| entry(i).into()).collect();
    let append = Message::Append {
        term: 1,
        previous_index: 0,
        previous_term: 0,
        entries,
        commit: 0,
        round: 1,
        recover_to: None,
        digest: (0, 0),
        global: 0,
    };
    let bytes = encode(&append);
    group.throughput(Throughput::Elements(64));
    group.bench_function("encode an append of 64 puts", |b| b.iter(|| encode(black_box(&append))));
    group.bench_function("decode an append of 64 puts", |b| b.iter(|| decode::<Message>(black_box(&bytes)).unwrap()));
    group.finish();
}

fn apply(c: &mut Criterion) {
    let mut group = c.benchmark_group("apply");
    group.throughput(Throughput::Elements(1));
    let mut executor = Executor::new(Store::default());
    group.bench_function("a put", |b| {
        b.iter_custom(|iterations| {
            let entries: Vec<Entry> = (1..=iterations).map(|n| entry(executor.applied() + n)).collect();
            let begin = Instant::now();
            for e in &entries {
                let Entry { index, term, time, session, sequence, kind, mode, ref data } = *e;
                let entry = EntryRef { index, term, time, session, sequence, kind, mode, data };
                black_box(executor.apply(entry).unwrap());
            }
            begin.elapsed()
        });
    });
    group.finish();
}

fn open(path: &Path) -> Storage<FileDisk> {
    let seed = Seed { identity: 1, salt: 1, now_ms: 1 };
    Storage::open(FileDisk::open(path).unwrap(), copycat_storage::Options::default(), seed).unwrap()
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

/// From the process's start until it has applied everything and leads: a cluster of one, since others' timeouts are not
/// what is measured.
fn serve(path: &Path, last: u64) {
    let mut clock = 0;
    let mut now = || {
        clock += 1;
        Now { monotonic: Duration::from_micros(clock), wall: 1 }
    };
    let alone = Configuration::bootstrap([(1, "127.0.0.1:1".to_string())]);
    let mut engine = Engine::new(1, Options::default(), 1, now(), open(path), Store::default, alone).unwrap();
    loop {
        engine.poll(now()).unwrap();
        engine.take_outputs();
        if let Some(job) = engine.flush(now()) {
            let persisted = job.run().unwrap();
            engine.step(now(), Input::Persisted(persisted)).unwrap();
        }
        let status = engine.status();
        if status.role == Role::Leader && status.applied > last {
            return;
        }
    }
}

fn recovery(c: &mut Criterion) {
    const ENTRIES: u64 = 1_000_000;
    let path: PathBuf = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-recovery-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    let mut storage = open(&path);
    for index in 1..=ENTRIES {
        storage.append(&entry(index)).unwrap();
        if index.is_multiple_of(8192) {
            flush(&mut storage);
        }
    }
    flush(&mut storage);
    drop(storage);
    let mut group = c.benchmark_group("recovery");
    group.sample_size(10).throughput(Throughput::Elements(ENTRIES));
    group.bench_function("a log of 1,000,000 puts: from the start to serving", |b| b.iter(|| serve(&path, ENTRIES)));
    group.finish();
    let _ = std::fs::remove_dir_all(&path);
}

criterion_group!(benches, codec, apply, recovery);
criterion_main!(benches);
