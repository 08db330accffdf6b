//! The meta file: who this server is, its term and its vote, in two checked copies.
//!
//! | at | size | field |
//! |---|---|---|
//! | 0 | 8 | magic `CCATMETA` |
//! | 8 | 2 | format version |
//! | 10 | 2 | flags: bit 0 lost, bit 1 clean, bit 2 the log's first segment was created |
//! | 12 | 4 | CRC32C of the 512 bytes, with this field 0 |
//! | 16 | 8 | counter: the higher one wins |
//! | 24 | 8 | identity |
//! | 32 | 8 | server |
//! | 40 | 16 | cluster |
//! | 56 | 8 | term |
//! | 64 | 8 | vote |
//! | 72 | 16 | boot |
//! | 88 | 1 | durability |
//! | 89 | 7 | 0 |
//! | 96 | 8 | starts |
//! | 104 | 4 | era: how often the log was given up by a repair |
//! | 108 | 404 | 0 |

use std::io;

use crate::bytes::{is_zero, put, u16_at, u32_at, u64_at, u128_at};
use crate::disk::{Disk, DiskFile, Flush};
use crate::error::OpenError;

/// The two copies.
pub(crate) const NAMES: [&str; 2] = ["meta-0", "meta-1"];

const RECORD: usize = 512;
const MAGIC: &[u8; 8] = b"CCATMETA";
const FORMAT: u16 = 1;
const LOST: u16 = 1;
const CLEAN: u16 = 2;
const BORN: u16 = 4;

/// What a server must remember besides its log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// Random number that this directory was made with.
    pub identity: u64,
    /// The server's id in its cluster; 0 = not set.
    pub server: u64,
    /// The cluster's id; 0 = not set.
    pub cluster: u128,
    /// The current term. The log's last term can be higher after a crash: take the higher one.
    pub term: u64,
    /// For whom it voted in that term; 0 = nobody.
    pub vote: u64,
    /// The log was lost (or counts as lost) and the server has not yet caught up.
    pub lost: bool,
    /// The durability level it ran with; a number of the caller's.
    pub durability: u8,
    /// The boot of the machine under which a level below `always` ran; 0 = none.
    pub boot: u128,
    /// The server was shut down in order.
    pub clean: bool,
    /// How often a server was started on this directory; a number of the caller's.
    pub starts: u64,
}

/// A meta record as it is on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) counter: u64,
    /// The log's first segment was made. Without it, an empty directory would look like a lost
    /// log when a power cut came between the making of the two.
    pub(crate) born: bool,
    /// How often a repair has begun the log anew. Each such log has ids of its own, so that no file of an earlier one
    /// takes the place of one of its files when it is put back.
    pub(crate) era: u32,
    pub(crate) meta: Meta,
}

/// How many ids an era has.
const ERA_BITS: u32 = 20;
/// The last era.
const LAST_ERA: u32 = (1 << (u32::BITS - ERA_BITS)) - 1;

impl Record {
    /// The log was given up: the next one is of another era. (After 4,095 of them ids are no longer kept apart.)
    pub(crate) fn next_era(&mut self) {
        self.era = self.era.saturating_add(1).min(LAST_ERA);
    }

    /// Segments up to this id are of an earlier era.
    pub(crate) fn ids_before(&self) -> u32 {
        self.era.min(LAST_ERA) << ERA_BITS
    }

    fn encode(&self) -> [u8; RECORD] {
        let meta = &self.meta;
        let mut out = [0; RECORD];
        let mut flags = 0;
        for (set, flag) in [(meta.lost, LOST), (meta.clean, CLEAN), (self.born, BORN)] {
            if set {
                flags |= flag;
            }
        }
        put(&mut out, 0, MAGIC);
        put(&mut out, 8, &FORMAT.to_le_bytes());
        put(&mut out, 10, &flags.to_le_bytes());
        put(&mut out, 16, &self.counter.to_le_bytes());
        put(&mut out, 24, &meta.identity.to_le_bytes());
        put(&mut out, 32, &meta.server.to_le_bytes());
        put(&mut out, 40, &meta.cluster.to_le_bytes());
        put(&mut out, 56, &meta.term.to_le_bytes());
        put(&mut out, 64, &meta.vote.to_le_bytes());
        put(&mut out, 72, &meta.boot.to_le_bytes());
        out[88] = meta.durability;
        put(&mut out, 96, &meta.starts.to_le_bytes());
        put(&mut out, 104, &self.era.to_le_bytes());
        let crc = crc32c::crc32c(&out);
        put(&mut out, 12, &crc.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Found {
        if is_zero(bytes) {
            return Found::Blank;
        }
        if bytes.len() != RECORD || bytes[..8] != MAGIC[..] {
            return Found::Damaged;
        }
        let mut copy = [0; RECORD];
        copy.copy_from_slice(bytes);
        put(&mut copy, 12, &[0; 4]);
        if u32_at(bytes, 12) != crc32c::crc32c(&copy) {
            return Found::Damaged;
        }
        let format = u16_at(bytes, 8);
        if format > FORMAT {
            return Found::Future(format);
        }
        let flags = u16_at(bytes, 10);
        Found::Good(Record {
            counter: u64_at(bytes, 16),
            born: flags & BORN != 0,
            era: u32_at(bytes, 104),
            meta: Meta {
                identity: u64_at(bytes, 24),
                server: u64_at(bytes, 32),
                cluster: u128_at(bytes, 40),
                term: u64_at(bytes, 56),
                vote: u64_at(bytes, 64),
                boot: u128_at(bytes, 72),
                durability: bytes[88],
                lost: flags & LOST != 0,
                clean: flags & CLEAN != 0,
                starts: u64_at(bytes, 96),
            },
        })
    }
}

/// What one copy holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The file is missing or holds only zeros: a creation that was interrupted.
    Blank,
    /// Once a record, now not.
    Damaged,
    /// Of a later format version.
    Future(u16),
    /// A record.
    Good(Record),
}

/// Reads one copy. Changes nothing.
pub(crate) fn read<D: Disk>(disk: &D, names: &[String], name: &str) -> Result<Found, OpenError> {
    if !names.iter().any(|n| n == name) {
        return Ok(Found::Blank);
    }
    let file = disk.open(name).map_err(|source| OpenError::io("open", name, source))?;
    Ok(Record::decode(file.bytes()))
}

/// What both copies together say.
#[derive(Clone, Debug)]
pub(crate) struct Survey {
    /// The valid record with the higher counter.
    pub(crate) best: Option<Record>,
    /// The two copies as found.
    pub(crate) copies: [Found; 2],
}

impl Survey {
    /// Whether a copy holds bytes that are no record.
    pub(crate) fn damaged(&self) -> bool {
        self.copies.contains(&Found::Damaged)
    }
}

/// Reads both copies. Changes nothing.
pub(crate) fn survey<D: Disk>(disk: &D, names: &[String]) -> Result<Survey, OpenError> {
    let copies = [read(disk, names, NAMES[0])?, read(disk, names, NAMES[1])?];
    let mut best: Option<Record> = None;
    for (copy, name) in copies.iter().zip(NAMES) {
        match copy {
            Found::Future(found) => {
                return Err(OpenError::FutureFormat { file: name.to_owned(), found: *found, known: FORMAT });
            }
            Found::Good(record) if best.as_ref().is_none_or(|b| b.counter < record.counter) => {
                best = Some(record.clone());
            }
            _ => {}
        }
    }
    Ok(Survey { best, copies })
}

/// Both copies, open for writing.
#[cfg_attr(feature = "planted-bugs", derive(Clone))]
pub(crate) struct MetaFiles<F> {
    files: [F; 2],
}

impl<F: DiskFile> MetaFiles<F> {
    /// Opens both copies, making those that are missing, and makes both hold `record`, durably,
    /// the worse copy first. Nothing is read from here on that is not on the disk twice.
    pub(crate) fn settle<D: Disk<File = F>>(
        disk: &D,
        names: &[String],
        found: &Survey,
        record: &Record,
    ) -> io::Result<MetaFiles<F>> {
        let open = |name: &str| -> io::Result<F> {
            if names.iter().any(|n| n == name) {
                let file = disk.open(name)?;
                if file.len() == RECORD as u64 {
                    return Ok(file);
                }
                // Of another length: an interrupted creation, or damage.
                drop(file);
                disk.remove(name)?;
            }
            disk.create(name, RECORD as u64)
        };
        let good = |i: usize| found.copies[i] == Found::Good(record.clone());
        let first = if good(0) { 1 } else { 0 };
        let mut files = [open(NAMES[0])?, open(NAMES[1])?];
        for i in [first, 1 - first] {
            if !good(i) {
                files[i].write(0, &record.encode());
            }
            files[i].flusher(0..RECORD as u64).run()?;
        }
        disk.sync_dir()?;
        Ok(MetaFiles { files })
    }

    /// Makes both copies hold `record`, one after the other, so that at every moment one of them
    /// is whole.
    pub(crate) fn save(&mut self, record: &Record) -> io::Result<()> {
        let bytes = record.encode();
        for file in &mut self.files {
            file.write(0, &bytes);
            file.flusher(0..RECORD as u64).run()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_flipped_bit_is_seen() {
        let record = Record {
            counter: 9,
            born: true,
            era: 8,
            meta: Meta {
                identity: 1,
                server: 2,
                cluster: 3 << 100,
                term: 4,
                vote: 5,
                lost: true,
                durability: 6,
                boot: 7 << 90,
                clean: true,
                starts: 3,
            },
        };
        let bytes = record.encode();
        assert_eq!(Record::decode(&bytes), Found::Good(record));
        for bit in 0..RECORD * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Record::decode(&bad), Found::Damaged, "bit {bit}");
        }
        assert_eq!(Record::decode(&[]), Found::Blank);
    }

    type Steps = std::sync::Arc<std::sync::Mutex<Vec<String>>>;

    /// A file that tells what is done with it, and in which order.
    struct Told(&'static str, Steps);
    struct ToldFlush(&'static str, Steps);

    impl Flush for ToldFlush {
        fn run(&self) -> io::Result<()> {
            self.1.lock().expect("no test panics with it").push(format!("flush {}", self.0));
            Ok(())
        }
    }

    impl DiskFile for Told {
        type Flush = ToldFlush;

        fn len(&self) -> u64 {
            RECORD as u64
        }

        fn bytes(&self) -> &[u8] {
            &[]
        }

        fn write(&mut self, _offset: u64, _data: &[u8]) {
            self.1.lock().expect("no test panics with it").push(format!("write {}", self.0));
        }

        fn flusher(&self, _range: std::ops::Range<u64>) -> ToldFlush {
            ToldFlush(self.0, Steps::clone(&self.1))
        }
    }

    #[test]
    fn one_copy_is_durable_before_the_other_is_touched() {
        let steps = Steps::default();
        let files = [Told("a", Steps::clone(&steps)), Told("b", Steps::clone(&steps))];
        let record = Record { counter: 1, born: true, era: 0, meta: Meta::default() };
        MetaFiles { files }.save(&record).expect("it works");
        assert_eq!(*steps.lock().expect("no test panics with it"), ["write a", "flush a", "write b", "flush b"]);
    }
}
