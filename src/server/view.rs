//! What the driver shows of its engine, for those who must not wait for it.

use super::lag::Lags;
use crate::engine::machine::StateMachine;
use crate::engine::{Configuration, Engine, Index, ServerId, Settings, Status};
use copycat_storage::{Disk, SegmentInfo, SnapshotInfo};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// An engine at one moment.
#[derive(Clone, Debug)]
pub(crate) struct View {
    /// Role, term, indexes.
    pub(crate) status: Status,
    /// Who belongs to the cluster.
    pub(crate) configuration: Configuration,
    /// What it goes by.
    pub(crate) settings: Settings,
    /// On a leader: through which index each member holds the log,
    pub(crate) matched: BTreeMap<ServerId, Index>,
    /// when it was last heard, and for how long it has lacked the first entry that it lacks,
    pub(crate) contact: BTreeMap<ServerId, (Option<Duration>, Duration)>,
    /// and the last index at that moment.
    pub(crate) matched_of: Index,
    /// The log's files.
    pub(crate) segments: Vec<SegmentInfo>,
    /// The first index in the log.
    pub(crate) first_index: Index,
    /// How many entries the state machine holds.
    pub(crate) live: usize,
    /// The latest durable snapshot.
    pub(crate) snapshot: Option<SnapshotInfo>,
    /// Through which index all available members that keep the state have the log.
    pub(crate) global_index: Index,
}

impl View {
    /// This engine now.
    pub(crate) fn of<D: Disk, M: StateMachine>(engine: &Engine<D, M>) -> Self {
        let configuration = engine.configuration().clone();
        let known = configuration.members.keys().filter_map(|&id| Some((id, engine.member_progress(id)?)));
        let known: Vec<_> = known.collect();
        Self {
            status: engine.status(),
            matched: known.iter().map(|&(id, progress)| (id, progress.match_index)).collect(),
            contact: known.iter().map(|&(id, progress)| (id, (progress.heard, Duration::ZERO))).collect(),
            matched_of: engine.storage().last_index(),
            segments: engine.storage().segments(),
            first_index: engine.storage().first_index(),
            live: engine.live(),
            snapshot: engine.storage().snapshot(),
            global_index: engine.global_index(),
            settings: *engine.settings(),
            configuration,
        }
    }
}

/// Where the latest view is found.
#[derive(Clone, Debug)]
pub(crate) struct Views(Arc<Mutex<(Duration, View, Lags)>>);

/// The whole view is made anew this often at most; role and indexes are always fresh.
const INTERVAL: Duration = Duration::from_millis(50);

impl Views {
    pub(crate) fn new(view: View) -> Self {
        Self(Arc::new(Mutex::new((Duration::ZERO, view, Lags::default()))))
    }

    fn lock(&self) -> MutexGuard<'_, (Duration, View, Lags)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows the engine's state at the time `now` of the monotonic clock.
    /// `news`: the configuration has changed, which decisions are made on.
    pub(crate) fn publish(&self, now: Duration, status: Status, news: bool, whole: impl FnOnce() -> View) {
        let mut slot = self.lock();
        let turned = slot.1.status.role != status.role || slot.1.status.leader != status.leader;
        if turned || news || now >= slot.0 + INTERVAL {
            (slot.0, slot.1) = (now, whole());
            let (_, view, lags) = &mut *slot;
            lags.sample(now, view.matched_of);
            for (id, (_, behind)) in &mut view.contact {
                *behind = lags.behind(now, view.matched.get(id).copied().unwrap_or(0));
            }
        } else {
            slot.1.status = status;
        }
    }

    /// Log time, and when it was that.
    pub(crate) fn clock(&self) -> (u64, Duration) {
        self.lock().1.status.clock
    }

    /// The latest view.
    pub(crate) fn get(&self) -> View {
        self.lock().1.clone()
    }
}
