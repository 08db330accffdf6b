//! Snapshots that travel: offered by whoever leads or feeds a member that lacks what compaction has dropped, fetched piece by
//! piece by that member, and put in the place of its log and state.
//!
//! The receiver asks for each piece, so a slow one delays nobody, and what is lost on the way is asked for again; it goes on
//! where it was with whoever has the same snapshot. What a snapshot holds is committed, so its messages have to do with no
//! term.

#[allow(unused_imports)] // without planted bugs the macro expands to `false`
use super::planted;
use super::{Engine, Event, Fatal, Output, Refusal, RoleState, StateMachine, background::Work};
use crate::engine::message::{Message, SnapshotId, Want, WireEntry};
use crate::engine::types::{Index, Now, ServerId};
use copycat_storage::{Disk, Incoming, InstallError, SnapshotInfo, SnapshotStream, Staged};
use std::collections::BTreeMap;
use std::time::Duration;

/// Bytes of a snapshot, or of the entries it refers to, in one message.
const PIECE: usize = 256 * 1024;
/// Entries asked for at once, and own ones copied in one step.
const ENTRIES: usize = 128;
/// A snapshot that nobody asks for any more is kept for so many election timeouts.
const KEPT: u32 = 10;

impl From<SnapshotInfo> for SnapshotId {
    fn from(info: SnapshotInfo) -> Self {
        Self { index: info.index, term: info.term, checksum: info.checksum }
    }
}

/// A snapshot that is being fetched from here.
struct Outgoing<D: Disk> {
    stream: SnapshotStream<D::File>,
    until: Duration,
}

/// A snapshot that is being fetched by this server.
struct Receiving<D: Disk> {
    id: SnapshotId,
    from: ServerId,
    /// `None` before its first piece.
    incoming: Option<Incoming<D>>,
    /// When the next piece was asked for; it is asked for again if it does not come.
    asked: Duration,
    /// When something came last.
    got: Duration,
    /// Own entries are still to be copied.
    copying: bool,
}

/// Snapshots on their way.
pub(super) struct Installing<D: Disk> {
    outgoing: BTreeMap<ServerId, Outgoing<D>>,
    receiving: Option<Receiving<D>>,
    /// A work that makes the received one durable is out.
    staging: bool,
    /// Durable, and waiting for a flush before it can take the log's place.
    staged: Option<Staged<D>>,
}

impl<D: Disk> Default for Installing<D> {
    fn default() -> Self {
        Self { outgoing: BTreeMap::new(), receiving: None, staging: false, staged: None }
    }
}

impl<D: Disk, M: StateMachine> Engine<D, M> {
    pub(super) fn is_receiving(&self) -> bool {
        self.installing.receiving.is_some() || self.installing.staging || self.installing.staged.is_some()
    }

    /// Whether a received snapshot is about to take the state's place.
    pub(super) fn is_installing(&self) -> bool {
        self.installing.staged.is_some()
    }

    /// Whether a member that holds the log before `next` can be sent entries; if not, it is offered the snapshot.
    pub(super) fn has_entries_from(&self, next: Index) -> bool {
        next >= self.storage.contiguous_from()
    }

    /// Offers the snapshot to a member, unless it is fetching one already.
    pub(super) fn offer(&mut self, to: ServerId) {
        if !self.installing.outgoing.contains_key(&to)
            && let Some(info) = self.storage.snapshot()
        {
            self.send(to, Message::Offer { snapshot: info.into() });
        }
    }

    pub(super) fn on_fetch(&mut self, now: Now, from: ServerId, snapshot: SnapshotId, want: Want) -> Result<(), Fatal> {
        let until = now.monotonic + self.election_timeout() * KEPT;
        let wanted = |stream: &SnapshotStream<D::File>| SnapshotId::from(stream.info()) == snapshot;
        if !self.installing.outgoing.get(&from).is_some_and(|o| wanted(&o.stream)) {
            self.installing.outgoing.remove(&from);
            match self.storage.stream().filter(wanted) {
                Some(stream) => drop(self.installing.outgoing.insert(from, Outgoing { stream, until })),
                None => {
                    self.offer(from);
                    return Ok(());
                }
            }
        }
        let Some(outgoing) = self.installing.outgoing.get_mut(&from) else { return Ok(()) };
        outgoing.until = until;
        let message = match want {
            Want::Bytes(offset) => {
                let bytes = outgoing.stream.chunk(offset, PIECE)?.to_vec();
                Message::Piece { snapshot, offset, bytes }
            }
            Want::Entries(indexes) => {
                let (mut entries, mut bytes) = (Vec::new(), 0);
                for index in indexes.into_iter().take(ENTRIES) {
                    let Some(entry) = self.storage.get(index)? else { break };
                    bytes += entry.data.len();
                    entries.push(WireEntry::from(entry.to_owned()));
                    if bytes >= PIECE {
                        break;
                    }
                }
                Message::Pieces { snapshot, entries }
            }
        };
        self.send(from, message);
        Ok(())
    }

    pub(super) fn on_offer(&mut self, now: Now, from: ServerId, id: SnapshotId) {
        if !self.is_stateful() || !matches!(self.role, RoleState::Follower(_)) || self.discard {
            return;
        }
        if id.index <= self.commit || self.storage.term(id.index) == Some(id.term) {
            // The log here leads to it: so it is committed here as well.
            let known = id.index.max(self.commit);
            if known > self.commit {
                self.set_commit(known);
            }
            if let RoleState::Follower(f) = &mut self.role {
                f.verified = f.verified.max(known);
                (f.told, f.meal.told) = (0, 0);
            }
            return;
        }
        if self.installing.staging || self.installing.staged.is_some() {
            return;
        }
        let same = |r: &Receiving<D>| r.id == id;
        if self.installing.receiving.as_ref().is_none_or(|r| !same(r)) {
            // One that is on its way from elsewhere goes on, as long as it comes.
            let patience = self.election_timeout();
            if self.installing.receiving.as_ref().is_some_and(|r| r.from != from && now.monotonic < r.got + patience) {
                return;
            }
            self.abandon();
            let (asked, got) = (Duration::ZERO, now.monotonic);
            self.installing.receiving = Some(Receiving { id, from, incoming: None, asked, got, copying: false });
        }
        if let Some(receiving) = &mut self.installing.receiving {
            receiving.from = from;
        }
        self.fetch(now);
    }

    /// Gives up what is being received.
    pub(super) fn abandon(&mut self) {
        if let Some(incoming) = self.installing.receiving.take().and_then(|r| r.incoming) {
            self.storage.abandon(incoming);
        }
    }

    /// Asks for what is wanted next.
    fn fetch(&mut self, now: Now) {
        let Some(receiving) = &mut self.installing.receiving else { return };
        let want = match &receiving.incoming {
            None => Want::Bytes(0),
            Some(incoming) if incoming.received() < incoming.info().size => Want::Bytes(incoming.received()),
            Some(incoming) => Want::Entries(self.storage.wanted(incoming, ENTRIES)),
        };
        receiving.asked = now.monotonic;
        let (from, snapshot) = (receiving.from, receiving.id);
        if !matches!(&want, Want::Entries(none) if none.is_empty()) {
            self.send(from, Message::Fetch { snapshot, want });
        }
    }

    pub(super) fn on_piece(&mut self, now: Now, from: ServerId, id: SnapshotId, offset: u64, bytes: &[u8]) {
        let Some(receiving) = self.installing.receiving.as_mut().filter(|r| r.id == id && r.from == from) else {
            return;
        };
        receiving.got = now.monotonic;
        let result = match &mut receiving.incoming {
            None if offset == 0 => self.storage.receive(bytes).and_then(|incoming| {
                if SnapshotId::from(incoming.info()) != id {
                    self.storage.abandon(incoming);
                    return Err(InstallError::Unusable("it is another one than was offered".to_owned()));
                }
                receiving.incoming = Some(incoming);
                Ok(())
            }),
            None => return,
            Some(incoming) => incoming.write(offset, bytes).map(drop),
        };
        self.go_on(now, result);
    }

    pub(super) fn on_pieces(&mut self, now: Now, from: ServerId, id: SnapshotId, entries: Vec<WireEntry>) {
        let Some(receiving) = self.installing.receiving.as_mut().filter(|r| r.id == id && r.from == from) else {
            return;
        };
        receiving.got = now.monotonic;
        let Some(incoming) = &mut receiving.incoming else { return };
        let mut result = Ok(());
        for entry in entries {
            // Own ones may be wanted in between.
            result = self.storage.stage_own(incoming, ENTRIES).map(drop);
            if result.is_ok() && incoming.next().is_some_and(|next| next.index == entry.index) {
                result = self.storage.stage(incoming, &entry.into());
            }
            if result.is_err() {
                break;
            }
        }
        self.go_on(now, result);
    }

    fn go_on(&mut self, now: Now, result: Result<(), InstallError>) {
        match result {
            // It came twice.
            Ok(()) | Err(InstallError::Offset { .. } | InstallError::Order { .. }) => {}
            Err(e) => {
                if !matches!(e, InstallError::Stale { .. } | InstallError::InLog(_) | InstallError::Busy) {
                    self.complain("a snapshot from a peer was not taken", e);
                }
                return self.abandon();
            }
        }
        let Some(receiving) = &mut self.installing.receiving else { return };
        let whole = receiving.incoming.as_ref().is_some_and(|i| i.received() == i.info().size);
        receiving.copying = whole;
        if !whole {
            self.fetch(now);
        }
    }

    /// What time asks for: pieces again, own entries copied, snapshots let go that nobody fetches. Returns whether there is
    /// more to do at once.
    pub(super) fn install_on(&mut self, now: Now) -> Result<bool, Fatal> {
        self.installing.outgoing.retain(|_, outgoing| now.monotonic < outgoing.until);
        if let Some(staged) = self.installing.staged.take() {
            self.install(now, staged)?;
        }
        if !self.is_stateful() {
            self.abandon();
        }
        let (again, patience) = (self.heartbeat_interval() * 2, self.election_timeout() * KEPT);
        let Some(receiving) = &mut self.installing.receiving else { return Ok(false) };
        if now.monotonic >= receiving.got + patience {
            self.abandon();
            return Ok(false);
        }
        let mut more = false;
        let mut result = Ok(());
        if receiving.copying
            && let Some(incoming) = &mut receiving.incoming
        {
            let copied = self.storage.stage_own(incoming, ENTRIES);
            more = matches!(copied, Ok(copied) if copied > 0);
            if !more {
                receiving.copying = false;
                if copied.is_ok() && !incoming.is_complete() {
                    self.fetch(now);
                }
            }
            result = copied.map(drop);
        }
        if result.is_err() {
            self.go_on(now, result);
            return Ok(false);
        }
        let late = |r: &Receiving<D>| now.monotonic >= r.asked + again;
        if self.installing.receiving.as_ref().is_some_and(late) {
            self.fetch(now);
        }
        Ok(more)
    }

    /// When a piece is asked for again.
    pub(super) fn fetch_at(&self) -> Option<Duration> {
        let receiving = self.installing.receiving.as_ref()?;
        Some(receiving.asked + self.heartbeat_interval() * 2)
    }

    /// A work that makes a received snapshot durable, if one is complete.
    pub(super) fn staging(&mut self) -> Option<Work<D>> {
        let complete = |r: &Receiving<D>| r.incoming.as_ref().is_some_and(Incoming::is_complete);
        if !self.installing.receiving.as_ref().is_some_and(complete) {
            return None;
        }
        let incoming = self.installing.receiving.take()?.incoming?;
        let job = self.storage.received(incoming).ok()?;
        self.installing.staging = true;
        Some(Work::Stage(job))
    }

    pub(super) fn staged(&mut self, now: Now, result: Result<Staged<D>, InstallError>) -> Result<(), Fatal> {
        self.installing.staging = false;
        match result {
            Ok(staged) => self.install(now, staged),
            Err(e) => {
                self.complain("a snapshot from a peer could not be kept", e);
                Ok(())
            }
        }
    }

    /// The received snapshot takes the place of log and state.
    fn install(&mut self, now: Now, staged: Staged<D>) -> Result<(), Fatal> {
        let info = staged.info();
        let follows = matches!(self.role, RoleState::Follower(_)) && self.is_stateful() && !self.discard;
        // What was committed here meanwhile is never taken back (openraft #543).
        if !follows || info.index <= self.commit {
            self.storage.abandon_staged(staged);
            return Ok(());
        }
        if !self.is_home() {
            self.installing.staged = Some(staged);
            return Ok(());
        }
        self.raise_term(now, info.term);
        if let Err(refused) = self.storage.install(staged) {
            if matches!(refused.reason, InstallError::Busy) {
                self.installing.staged = Some(refused.staged);
            } else {
                self.storage.abandon_staged(refused.staged);
            }
            return Ok(());
        }
        // The whole log is gone, and with it what it had of configurations that were not committed, also below the snapshot.
        self.configurations.roll_back(0);
        self.become_snapshot()?;
        self.clock.note(info.time, now);
        // Answers at or below it are not known here.
        while let Some(&(at, _, _, id)) = self.pending.first()
            && at <= info.index
        {
            self.pending.pop_first();
            let none = planted!(self.options, InstallSaysNotApplied);
            self.reply(id, Err(if none { Refusal::NotLeader { leader: None } } else { Refusal::Lost }));
        }
        self.settle_term(info.term);
        self.set_commit(info.index);
        if let RoleState::Follower(f) = &mut self.role {
            f.verified = info.index;
            (f.told, f.meal.told) = (0, 0);
        }
        self.outputs.push(Output::Event(Event::Installed { index: info.index }));
        Ok(())
    }
}

#[cfg(feature = "planted-bugs")]
mod explore {
    use super::{Disk, Incoming, Installing, Outgoing, Receiving, Staged};
    use std::fmt;

    impl<D: Disk> Clone for Installing<D>
    where
        Incoming<D>: Clone,
        Staged<D>: Clone,
    {
        fn clone(&self) -> Self {
            let outgoing = |o: &Outgoing<D>| Outgoing { stream: o.stream.clone(), until: o.until };
            Self {
                outgoing: self.outgoing.iter().map(|(&to, o)| (to, outgoing(o))).collect(),
                receiving: self.receiving.as_ref().map(|r| Receiving { incoming: r.incoming.clone(), ..*r }),
                staging: self.staging,
                staged: self.staged.clone(),
            }
        }
    }

    impl<D: Disk> fmt::Debug for Installing<D> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            for (to, o) in &self.outgoing {
                write!(f, "{to} {:?} {:?}", o.stream, o.until)?;
            }
            if let Some(Receiving { id, from, incoming, asked, got, copying }) = &self.receiving {
                write!(f, "{id:?} {from} {incoming:?} {asked:?} {got:?} {copying}")?;
            }
            write!(f, "{} {:?}", self.staging, self.staged)
        }
    }
}
