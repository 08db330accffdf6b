//! Damage that no power cut explains: it must be told, never taken for the end of the log.
// A test that fails says so by panicking, and its small numbers are its own.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, clippy::cast_possible_truncation)]

mod common;

use common::{all, assert_log, entry, flush, open, settle, try_open};
use copycat_storage::{Disk, Entry, MemDisk, Meta, OpenError, Storage, check};

fn names(disk: &MemDisk) -> Vec<String> {
    disk.list().unwrap()
}

fn image(disk: &MemDisk) -> Vec<(String, Vec<u8>)> {
    let bytes = |name: String| (name.clone(), disk.get(&name).unwrap());
    names(disk).into_iter().map(bytes).collect()
}

/// A disk with these files, durably.
fn restore(image: &[(String, Vec<u8>)]) -> MemDisk {
    let disk = MemDisk::new();
    for (name, bytes) in image {
        disk.put(name, bytes);
    }
    disk
}

fn append(storage: &mut Storage<MemDisk>, log: &mut Vec<Entry>, term: u64, data: &[u8]) {
    let entry = entry(log.len() as u64 + 1, term, data);
    storage.append(&entry).unwrap();
    log.push(entry);
}

/// A log of sealed, truncated and active segments, meta and configuration; all durable, and the
/// durability of everything recorded if `marked`.
fn build(marked: bool, segment: u32) -> (MemDisk, Vec<Entry>) {
    let disk = MemDisk::new();
    let mut storage = open(&disk, segment);
    let size = segment as usize / 4096;
    storage.set_configuration(b"a configuration".to_vec());
    storage.set_meta(Meta { server: 2, term: 5, vote: 1, ..storage.meta().clone() });
    let mut log = Vec::new();
    for i in 0..29_u8 {
        append(&mut storage, &mut log, 1, &vec![i; 300 * size]);
        flush(&mut storage);
    }
    storage.truncate(25).unwrap();
    log.truncate(25);
    for i in 0..8_u8 {
        append(&mut storage, &mut log, 5, &vec![i; 150 * size]);
    }
    settle(&mut storage);
    // A spare, and an unmarked last entry.
    let spare = storage.prepare();
    if let Some(job) = spare {
        storage.prepared(job.run());
    }
    if !marked {
        append(&mut storage, &mut log, 5, b"the last");
        flush(&mut storage);
    }
    (disk, log)
}

/// What an open makes of a damaged image.
#[derive(Debug, PartialEq)]
enum Outcome {
    /// Everything is there.
    Harmless,
    /// It opens; reading the entry reports the damage.
    Reported,
    /// It refuses, and has changed nothing.
    Refused,
    /// The last entries are gone, so many.
    Cut(usize),
}

fn outcome(image: &[(String, Vec<u8>)], log: &[Entry], what: &str) -> Outcome {
    let disk = restore(image);
    let sound = check(&disk).is_sound();
    let storage = match try_open(&disk, 4096, 99) {
        Ok(storage) => storage,
        Err(error) => {
            let text = error.to_string();
            assert!(!text.contains('\n') && text.len() < 250, "{text}");
            assert_eq!(self::image(&disk), image, "{what}: refused but changed");
            assert!(!sound, "{what}: the check does not see {error}");
            return Outcome::Refused;
        }
    };
    assert_eq!(storage.meta().vote, 1, "{what}");
    if storage.opened().configuration_lost.is_some() {
        // The log says what it was.
        assert_eq!((storage.configuration(), what.starts_with("configuration")), (&b""[..], true), "{what}");
    } else {
        assert_eq!(storage.configuration(), b"a configuration", "{what}");
    }
    let mut reported = false;
    for index in 1..=storage.last_index() {
        match storage.get(index) {
            Ok(found) => {
                let place = usize::try_from(index).unwrap() - 1;
                assert_eq!(found.unwrap().to_owned(), log[place], "{what}");
            }
            Err(corrupt) => {
                assert_eq!(corrupt.index, index);
                reported = true;
            }
        }
    }
    assert_eq!(sound, !reported, "{what}: check and open differ");
    let lost = log.len() - usize::try_from(storage.last_index()).unwrap();
    match (reported, lost) {
        (true, 0) => Outcome::Reported,
        (false, 0) => Outcome::Harmless,
        (false, lost) => Outcome::Cut(lost),
        (true, lost) => panic!("{what}: reported and {lost} lost"),
    }
}

/// Flips each byte of every file in turn and counts what comes of it.
fn flip_every_byte(marked: bool, segment: u32, mask: impl Fn(usize) -> u8) -> [usize; 4] {
    let (disk, log) = build(marked, segment);
    let whole = image(&disk);
    assert_eq!(outcome(&whole, &log, "whole"), Outcome::Harmless);
    let mut counts = [0; 4];
    for file in 0..whole.len() {
        for offset in 0..whole[file].1.len() {
            let mut damaged = whole.clone();
            damaged[file].1[offset] ^= mask(offset);
            let what = format!("{} byte {offset}", whole[file].0);
            match outcome(&damaged, &log, &what) {
                Outcome::Harmless => counts[0] += 1,
                Outcome::Reported => counts[1] += 1,
                Outcome::Refused => counts[2] += 1,
                Outcome::Cut(lost) => {
                    // What nothing records as flushed looks like a tail: only the last entry.
                    assert!(!marked && lost == 1, "{what}: {lost} lost silently");
                    counts[3] += 1;
                }
            }
        }
    }
    println!("harmless, reported, refused, cut: {counts:?}");
    counts
}

#[test]
fn a_flipped_bit_anywhere_loses_nothing_silently() {
    let [harmless, reported, refused, cut] = flip_every_byte(true, 4096, |i| 1 << (i % 8));
    assert!(harmless > 1_000 && reported > 3_000 && refused > 1_500 && cut == 0);
}

#[test]
fn a_flipped_byte_in_segments_of_16_kib_loses_nothing_silently() {
    let [harmless, reported, refused, cut] = flip_every_byte(true, 16 * 1024, |_| 0xFF);
    assert!(harmless > 1_000 && reported > 30_000 && refused > 5_000 && cut == 0);
}

#[test]
fn an_unrecorded_last_entry_is_a_tail() {
    let [_, _, _, cut] = flip_every_byte(false, 4096, |_| 0xFF);
    assert_eq!(cut, 64 + 8, "exactly the bytes of the last entry");
}

#[test]
fn a_missing_segment_is_damage_wherever_it_was() {
    let (disk, log) = build(true, 4096);
    let whole = image(&disk);
    let storage = open(&disk, 4096);
    let segments = storage.segments();
    assert!(segments.len() >= 4);
    for segment in segments {
        let name = format!("{:010}-{:04}.log", segment.id, segment.version);
        let mut less = whole.clone();
        less.retain(|(file, _)| *file != name);
        assert_eq!(outcome(&less, &log, &name), Outcome::Refused, "{name} missing");
        let mut blank = whole.clone();
        blank.iter_mut().find(|(file, _)| *file == name).unwrap().1 = vec![0; 4096];
        assert_eq!(outcome(&blank, &log, &name), Outcome::Refused, "{name} zeroed");
        let mut short = whole.clone();
        short.iter_mut().find(|(file, _)| *file == name).unwrap().1.truncate(2048);
        assert_eq!(outcome(&short, &log, &name), Outcome::Refused, "{name} cut short");
    }
}

#[test]
fn zeroed_sectors_in_what_was_flushed_are_damage() {
    let (disk, log) = build(true, 4096);
    let whole = image(&disk);
    for file in 0..whole.len() {
        if !whole[file].0.ends_with(".log") {
            continue;
        }
        for sector in 1..8 {
            let mut damaged = whole.clone();
            let range = sector * 512..(sector + 1) * 512;
            let was = damaged[file].1[range.clone()].iter().any(|b| *b != 0);
            damaged[file].1[range].fill(0);
            let what = format!("{} sector {sector}", whole[file].0);
            match outcome(&damaged, &log, &what) {
                Outcome::Harmless | Outcome::Reported | Outcome::Refused => {}
                Outcome::Cut(lost) => panic!("{what}: {lost} lost, was written: {was}"),
            }
        }
    }
}

#[test]
fn opening_does_not_read_sealed_entries() {
    let disk = MemDisk::new();
    let size = 64 << 10;
    let mut storage = open(&disk, size);
    let mut last = 0;
    for _ in 0..100 {
        for _ in 0..2_000 {
            last += 1;
            storage.append(&entry(last, 1 + last / 50_000, b"value")).unwrap();
        }
        flush(&mut storage);
    }
    assert_eq!(last, 200_000);
    settle(&mut storage);
    let sealed: Vec<_> = storage.segments().into_iter().filter(|s| s.sealed).collect();
    assert!(sealed.len() > 100);
    drop(storage);
    for segment in &sealed {
        let name = format!("{:010}-{:04}.log", segment.id, segment.version);
        disk.corrupt(&name, u64::from(segment.bytes) - 9, 1).unwrap();
    }
    let storage = open(&disk, size);
    assert_eq!(storage.last_index(), 200_000);
    assert_eq!(storage.term_start(60_000), 50_000);
    for segment in &sealed {
        let corrupt = storage.get(segment.last).unwrap_err();
        assert_eq!(corrupt.index, segment.last);
        assert!(corrupt.to_string().contains(&corrupt.file));
        assert!(storage.get(segment.first).unwrap().is_some());
    }
    assert!(storage.entries(1, usize::MAX, usize::MAX).is_err());
    let report = check(&disk);
    assert_eq!(report.problems.len(), sealed.len());
}

#[test]
fn a_value_cannot_pass_as_an_entry() {
    // A value that holds the image of another log's bytes, entries with high marks included.
    let (other, _) = build(true, 4096);
    let image = other.get("0000000003-0001.log").unwrap();
    let disk = MemDisk::new();
    let mut storage = try_open(&disk, 16_384, 1234).unwrap();
    let mut log = Vec::new();
    append(&mut storage, &mut log, 1, b"first");
    flush(&mut storage);
    append(&mut storage, &mut log, 1, &image);
    append(&mut storage, &mut log, 1, b"third");
    drop(storage);
    // The second one's header is torn: what follows must not be taken for entries.
    disk.corrupt("0000000001-0001.log", 64 + 72 + 8, 0xFF).unwrap();
    let mut storage = try_open(&disk, 16_384, 5).unwrap();
    log.truncate(1);
    assert_log(&storage, &log);
    assert!(storage.opened().torn);
    append(&mut storage, &mut log, 2, b"second");
    settle(&mut storage);
    drop(storage);
    assert_log(&open(&disk, 16_384), &log);
}

#[test]
fn a_cut_tail_does_not_come_back() {
    // Entries of one size, so that a new one ends exactly where an old one begins.
    let disk = MemDisk::new();
    let mut storage = open(&disk, 4096);
    let mut log = Vec::new();
    for i in 0..8_u8 {
        append(&mut storage, &mut log, 1, &[i; 64]);
    }
    drop(storage);
    disk.corrupt("0000000001-0001.log", 64 + 128 * 3 + 70, 1).unwrap();
    let mut storage = open(&disk, 4096);
    log.truncate(3);
    assert_log(&storage, &log);
    append(&mut storage, &mut log, 1, &[9; 64]);
    drop(storage);
    assert_log(&open(&disk, 4096), &log);
}

#[test]
fn both_metas_lost_is_another_server() {
    for damage in 0..3 {
        let (disk, _) = build(true, 4096);
        for name in ["meta-0", "meta-1"] {
            match damage {
                0 => disk.remove(name).unwrap(),
                1 => disk.corrupt(name, 100, 1).unwrap(),
                _ => disk.put(name, &[0; 512]),
            }
        }
        let before = image(&disk);
        let error = try_open(&disk, 4096, 1).unwrap_err();
        assert!(matches!(error, OpenError::MetaLost), "{error}");
        assert_eq!(image(&disk), before);
    }
}

#[test]
fn one_meta_lost_is_mended() {
    for name in ["meta-0", "meta-1"] {
        for damage in 0..3 {
            let (disk, log) = build(true, 4096);
            match damage {
                0 => disk.remove(name).unwrap(),
                1 => disk.corrupt(name, 100, 1).unwrap(),
                _ => disk.put(name, &[7; 100]),
            }
            let storage = open(&disk, 4096);
            assert_log(&storage, &log);
            assert_eq!((storage.meta().term, storage.meta().vote), (5, 1));
            assert_eq!(disk.get("meta-0").unwrap(), disk.get("meta-1").unwrap());
        }
    }
}

#[test]
fn later_formats_are_told_from_damage() {
    for (name, at) in [("meta-0", 8), ("configuration", 8), ("0000000001-0001.log", 8)] {
        let (disk, _) = build(true, 4096);
        let mut bytes = disk.get(name).unwrap();
        bytes[at] = 9;
        bytes[12..16].fill(0);
        let covered = if name.ends_with(".log") { 64 } else { bytes.len() };
        let crc = crc32c::crc32c(&bytes[..covered]);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        disk.put(name, &bytes);
        let error = try_open(&disk, 4096, 1).unwrap_err();
        let future = matches!(&error, OpenError::FutureFormat { file, found: 9, .. } if file == name);
        assert!(future, "{error}");
    }
}

#[test]
fn all_of_the_built_log_is_read() {
    let (disk, log) = build(false, 4096);
    assert_eq!(all(&open(&disk, 4096)), log);
}

#[test]
fn marks_count_even_in_a_segment_whose_header_was_lost() {
    let disk = MemDisk::new();
    let mut storage = open(&disk, 4096);
    let mut log = Vec::new();
    for i in 0..8_u8 {
        append(&mut storage, &mut log, 1, &[i; 300]);
    }
    flush(&mut storage);
    let prepared = storage.prepare().unwrap().run();
    storage.prepared(prepared);
    let name = "0000000002-0001.log";
    let unused = disk.get(name).unwrap();
    while storage.segments().len() == 1 {
        flush(&mut storage);
        append(&mut storage, &mut log, 1, &[9; 300]);
    }
    drop(storage);
    // The new segment's first sector stays as it was; the rest of it reaches the disk.
    let mut bytes = disk.get(name).unwrap();
    bytes[..64].copy_from_slice(&unused[..64]);
    disk.put(name, &bytes);
    let (last, rest) = (log.len() as u64, image(&disk));
    log.pop();
    let whole = restore(&rest);
    assert_log(&open(&whole, 4096), &log);
    // But what it says was flushed was flushed.
    let damaged = restore(&rest);
    let inside = 64 + (last - 2) * 368 + 100;
    damaged.corrupt("0000000001-0001.log", inside, 1).unwrap();
    let error = try_open(&damaged, 4096, 1).unwrap_err();
    let told = matches!(&error, OpenError::Corrupt(corrupt) if corrupt.index == last - 1);
    assert!(told, "{error}");
}
