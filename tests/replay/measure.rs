//! What a snapshot costs. `cargo test --profile quick --test replay -- --ignored --nocapture measure`

use copycat::engine::Kind;
use copycat::engine::machine::{Executor, encode_operation};
use copycat::store::{Command, Condition, Store};
use copycat_storage::EntryRef;
use rustix::time::{ClockId, clock_gettime};
use std::time::{Duration, Instant};

/// The time that this thread has had a processor: others that are at work here do not count.
fn busy() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.cast_unsigned(), u32::try_from(now.tv_nsec).unwrap())
}

fn put(key: u64, size: usize) -> Vec<u8> {
    encode_operation(&Command::Put {
        key: format!("bench-key-{key:022}").into_bytes(),
        value: vec![b'x'; size],
        content_type: "application/octet-stream".into(),
        ttl_ms: 0,
        ephemeral: false,
        condition: Condition::Always,
    })
}

fn apply(executor: &mut Executor<Store>, data: &[u8]) {
    let (index, kind, mode) = (executor.applied() + 1, Kind::Command as u8, 2);
    let entry = EntryRef { index, term: 1, time: index, session: 0, sequence: 0, kind, mode, data };
    executor.apply(entry).unwrap();
}

/// Puts a second, of processor time.
fn rate(executor: &mut Executor<Store>, keys: u64, size: usize) -> f64 {
    const PUTS: u64 = 100_000;
    let puts: Vec<Vec<u8>> = (0..PUTS).map(|n| put(n.wrapping_mul(0x9E37_79B9_7F4A_7C15) % keys, size)).collect();
    let begin = busy();
    for data in &puts {
        apply(executor, data);
    }
    f64::from(u32::try_from(PUTS).unwrap()) / (busy() - begin).as_secs_f64()
}

#[test]
#[ignore = "a measurement: some minutes and 3 GB"]
fn measure_applying() {
    for (keys, size) in [(10_000, 256), (1_000_000, 256)] {
        let mut executor = Executor::new(Store::default());
        for key in 0..keys {
            apply(&mut executor, &put(key, size));
        }
        let rates: Vec<f64> = (0..7).map(|_| rate(&mut executor, keys, size)).collect();
        let begin = busy();
        let get = encode_operation(&copycat::store::Query::Get { key: b"bench-key-0000000000000000005000".to_vec() });
        for _ in 0..100_000 {
            std::hint::black_box(executor.query(&get));
        }
        let get = (busy() - begin).as_nanos() / 100_000;
        println!("{keys} keys of {size} bytes: puts a second {rates:.0?}, a get {get} ns");
    }
}

#[test]
#[ignore = "a measurement: some minutes and 3 GB"]
fn measure_a_snapshot() {
    const KEYS: u64 = 1_000_000;
    const SIZE: usize = 1024;
    let mut executor = Executor::new(Store::default());
    let begin = Instant::now();
    for key in 0..KEYS {
        apply(&mut executor, &put(key, SIZE));
    }
    println!("{KEYS} keys of {SIZE} bytes applied in {:?}", begin.elapsed());
    let before = rate(&mut executor, KEYS, SIZE);
    // The entries that hold the values now: all keys once more, so that the log can be told from the index.
    let first = executor.applied() + 1;
    for key in 0..KEYS {
        apply(&mut executor, &put(key, SIZE));
    }
    let begin = Instant::now();
    let frozen = executor.freeze();
    println!("freeze: {:?}", begin.elapsed());
    let writer = std::thread::spawn(move || {
        let begin = Instant::now();
        let (bytes, references) = frozen.write();
        (bytes, references, begin.elapsed())
    });
    let during: Vec<f64> = (0..3).map(|_| rate(&mut executor, KEYS, SIZE) / before).collect();
    let (bytes, references, took) = writer.join().unwrap();
    println!(
        "write: {took:?}, {} bytes, {} references; puts while it is frozen, to those before: {during:.2?}",
        bytes.len(),
        references.len()
    );
    println!("puts after, to those before: {:.2}", rate(&mut executor, KEYS, SIZE) / before);
    let mut again = Executor::new(Store::default());
    let begin = busy();
    again.install(&bytes, &|index| Some(put(index - first, SIZE))).unwrap();
    println!("install: {:?} of processor time, {} keys", busy() - begin, again.machine().len());
}
