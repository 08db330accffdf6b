//! Opening what a server keeps, and bringing back what is damaged.

use super::ServerError;
use super::builder::{Settings, Storage as Place};
use super::clock;
use super::durability::prepare;
use super::transport::frame::Me;
use super::transport::has_leader;
use crate::engine::{Configuration, Index, ServerId, decode};
use copycat_storage::{AnyDisk, Corrupt, FileDisk, OpenError, RamDisk, Seed, Storage, stored_configuration};
use std::collections::BTreeSet;
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

/// What helps a server whose log is damaged or missing. `others`: whether there are other members, if that is known.
#[doc(hidden)]
#[must_use]
pub fn remedy(others: Option<bool>) -> &'static str {
    match others {
        Some(true) => {
            "start the other servers first: while they have a leader, a start here gets the log back from them; or bring \
             back what was here (is the right disk mounted?)"
        }
        Some(false) => {
            "no other server has its data: bring back what was here (is the right disk mounted?), or restore a backup \
             into another directory"
        }
        None => {
            "bring back what was here (is the right disk mounted?); or, if it has peers, start it while they have a \
             leader: then it gets the log back from them"
        }
    }
}

/// What a server keeps, opened.
pub(super) struct Kept {
    pub(super) storage: Storage<AnyDisk>,
    /// It ran below the durability `always`, and a power failure may have taken what it acknowledged last.
    pub(super) unflushed: bool,
}

/// Opens the disk, and what is on it.
pub(super) fn open(settings: &Settings) -> Result<Kept, ServerError> {
    let disk = match &settings.storage {
        Some(Place::Mapped(directory)) => {
            let disk = FileDisk::open(directory).map_err(|e| ServerError::new(format!("{}: {e}", place(settings))))?;
            if let Some(mode) = disk.others_may() {
                tracing::warn!(
                    "server {}: others than its owner may look into {} ({mode:04o}), where all keys and values are: \
                     chmod -R go= {}",
                    settings.id,
                    place(settings),
                    place(settings)
                );
            }
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

/// A configuration's file that cannot be read is made anew from the log; without a log, others are asked for it.
fn look_at_configuration(settings: &Settings, storage: &Storage<AnyDisk>) -> Result<(), ServerError> {
    let Some(damage) = &storage.opened().configuration_lost else { return Ok(()) };
    let (id, place) = (settings.id, place(settings));
    if storage.last_index() > 0 {
        tracing::warn!("server {id}: {place}: {damage}; it is made anew from the log");
    } else if !settings.join.is_empty() {
        tracing::warn!("server {id}: {place}: {damage}; the members of --join are asked for it");
    } else if storage.meta().cluster != 0 {
        return Err(ServerError::new(format!(
            "{place}: {damage}, and without a log only other members know it: start the server with --join and the peer \
             address of one of them instead of --bootstrap"
        )));
    }
    Ok(())
}

fn log_options(settings: &Settings) -> copycat_storage::Options {
    copycat_storage::Options { segment_size: settings.segment_size }
}

fn seed() -> Result<Seed, ServerError> {
    Ok(Seed { identity: random()? | 1, salt: (random()? >> 32) as u32, now_ms: clock::wall_ms() })
}

/// What every start notes on the disk.
fn prepared(settings: &Settings, mut storage: Storage<AnyDisk>) -> Result<Kept, ServerError> {
    look_at_configuration(settings, &storage)?;
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
    let unflushed = prepare(&mut meta, settings.durability) && !meta.lost;
    storage.set_meta(meta);
    Ok(Kept { storage, unflushed })
}

/// Opens again what was found damaged while it was read.
pub(super) fn reopen(settings: &Settings, disk: AnyDisk, damage: &Corrupt) -> Result<Kept, ServerError> {
    prepared(settings, repair(settings, disk, damage)?)
}

/// The other members' peer addresses, by all that is known here: how the server is started, and the stored configuration.
fn peers(settings: &Settings, disk: &AnyDisk) -> Vec<String> {
    let stored = stored_configuration(disk).and_then(|bytes| decode::<(Index, Configuration)>(&bytes).ok());
    let stored = stored.map(|(_, configuration)| configuration.members).unwrap_or_default();
    let listed = settings.bootstrap.iter().map(|(id, at)| (*id, at.clone()));
    let members = listed.chain(stored.into_iter().map(|(id, member)| (id, member.peer)));
    let others = members.filter(|(id, _): &(ServerId, String)| *id != settings.id).map(|(_, at)| at);
    let others: BTreeSet<String> = others.chain(settings.join.iter().cloned()).collect();
    others.into_iter().collect()
}

/// Brings back a directory with damage: its log is given up, term and vote are kept, and the peers have the rest. Only if
/// they go on without this server: else what is here may be all there is.
///
/// # Errors
/// If no peer knows a leader: where the damage is. Nothing was changed then.
fn repair(settings: &Settings, disk: AnyDisk, damage: &Corrupt) -> Result<Storage<AnyDisk>, ServerError> {
    let (directory, id) = (place(settings), settings.id);
    let digest = Configuration::bootstrap(settings.bootstrap.iter().cloned()).digest();
    let (http, peer) = (settings.http.clone().unwrap_or_default(), settings.peer.clone().unwrap_or_default());
    let me = Me { id, identity: 0, digest, http, peer, given: settings.given.clone() };
    let peers = peers(settings, &disk);
    if peers.is_empty() {
        return Err(ServerError::new(format!("{directory}: {damage}; nothing was changed; {}", remedy(Some(false)))));
    }
    tracing::warn!("server {id}: {directory}: {damage}; asking the peers whether they go on without this server");
    let begun = Instant::now();
    while !has_leader(&me, &*settings.transport, &peers) {
        if begun.elapsed() >= REPAIR_PATIENCE {
            return Err(ServerError::new(format!(
                "{directory}: {damage}; no peer knows a leader, so nothing was changed; {}",
                remedy(Some(true))
            )));
        }
        thread::sleep(Duration::from_millis(500));
    }
    let opened = Storage::open_damaged(disk, log_options(settings), seed()?, Some(damage.clone()));
    let (storage, _) = opened.map_err(|e| ServerError::new(format!("{directory}: {e}")))?;
    tracing::warn!(
        "server {id}: {directory}: what was here is set aside until the log is back, which comes from the peers; {}",
        if damage.is_missing() { "nothing was deleted" } else { "the damaged file stays for a look" }
    );
    Ok(storage)
}
