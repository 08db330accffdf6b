//! Opening what a server keeps, and bringing back what is damaged.

use super::ServerError;
use super::builder::{Settings, Storage as Place};
use super::clock;
use super::durability::prepare;
use super::transport::frame::Me;
use super::transport::has_leader;
use crate::engine::Configuration;
use copycat_storage::{AnyDisk, Corrupt, FileDisk, OpenError, RamDisk, Seed, Storage};
use std::thread;
use std::time::{Duration, Instant};

/// How long a server with a damaged log looks for a leader before it gives up.
const REPAIR_PATIENCE: Duration = Duration::from_secs(30);

/// What an error is about.
pub(super) fn place(settings: &Settings) -> String {
    match &settings.storage {
        Some(Place::Mapped(directory)) => directory.display().to_string(),
        Some(Place::Memory) | None => "memory".to_owned(),
    }
}

/// The identity and salt of new files, and the seed of election timeouts: from the operating system.
pub(super) fn random() -> Result<u64, ServerError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|e| ServerError::new(format!("no random numbers: {e}")))?;
    Ok(u64::from_le_bytes(bytes))
}

/// Opens the disk, and what is on it.
pub(super) fn open(settings: &Settings) -> Result<Storage<AnyDisk>, ServerError> {
    let disk = match &settings.storage {
        Some(Place::Mapped(directory)) => {
            let disk = FileDisk::open(directory).map_err(|e| ServerError::new(format!("{}: {e}", place(settings))))?;
            AnyDisk::File(disk)
        }
        Some(Place::Memory) => AnyDisk::Ram(RamDisk::new(settings.memory)),
        None => return Err(ServerError::new("no storage is given: name a directory, or memory")),
    };
    match Storage::open(disk.clone(), log_options(settings), seed()?) {
        Err(OpenError::Corrupt(damage)) => repair(settings, disk, &damage),
        opened => opened.map_err(|e| ServerError::new(format!("{}: {e}", place(settings)))),
    }
    .and_then(|storage| prepared(settings, storage))
}

fn log_options(settings: &Settings) -> copycat_storage::Options {
    copycat_storage::Options { segment_size: settings.segment_size }
}

fn seed() -> Result<Seed, ServerError> {
    Ok(Seed { identity: random()? | 1, salt: (random()? >> 32) as u32, now_ms: clock::wall_ms() })
}

/// What every start notes on the disk.
fn prepared(settings: &Settings, mut storage: Storage<AnyDisk>) -> Result<Storage<AnyDisk>, ServerError> {
    let mut meta = storage.meta().clone();
    if meta.server != 0 && meta.server != settings.id {
        return Err(ServerError::new(format!(
            "{} belongs to server {}, not to server {}: give the right --id or another --data",
            place(settings),
            meta.server,
            settings.id
        )));
    }
    meta.server = settings.id;
    prepare(&mut meta, settings.durability);
    if meta != *storage.meta() {
        storage.set_meta(meta);
    }
    Ok(storage)
}

/// Opens again what was found damaged while it was read.
pub(super) fn reopen(settings: &Settings, disk: AnyDisk, damage: &Corrupt) -> Result<Storage<AnyDisk>, ServerError> {
    prepared(settings, repair(settings, disk, damage)?)
}

/// Brings back a directory with damage: its log is given up, term and vote are kept, and the peers have the rest. Only if
/// they go on without this server: else what is here may be all there is.
///
/// # Errors
/// If no peer knows a leader: where the damage is.
fn repair(settings: &Settings, disk: AnyDisk, damage: &Corrupt) -> Result<Storage<AnyDisk>, ServerError> {
    let (directory, id) = (place(settings), settings.id);
    tracing::warn!("server {id}: {directory}: {damage}; asking the peers whether they go on without this server");
    let digest = Configuration::bootstrap(settings.bootstrap.iter().cloned()).digest();
    let (http, peer) = (settings.http.clone().unwrap_or_default(), settings.peer.clone().unwrap_or_default());
    let me = Me { id, identity: 0, digest, http, peer, given: settings.given.clone() };
    let others = settings.bootstrap.iter().filter(|(other, _)| *other != id).map(|(_, at)| at.clone());
    let peers: Vec<String> = others.chain(settings.join.iter().cloned()).collect();
    let begun = Instant::now();
    while !has_leader(&me, &*settings.transport, &peers) {
        if peers.is_empty() || begun.elapsed() >= REPAIR_PATIENCE {
            return Err(ServerError::new(format!(
                "{directory}: {damage}; no peer knows a leader, so nothing was changed: start the others first, or bring \
                 the file back"
            )));
        }
        thread::sleep(Duration::from_millis(500));
    }
    let opened = Storage::open_damaged(disk, log_options(settings), seed()?, Some(damage.clone()));
    let (storage, _) = opened.map_err(|e| ServerError::new(format!("{directory}: {e}")))?;
    tracing::warn!("server {id}: {directory}: the damaged file is set aside, the log comes from the peers");
    Ok(storage)
}
