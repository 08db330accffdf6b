//! What clients hand in: found to be a repeat, held until its turn, refused, or appended.
//!
//! Nothing is appended that this server's state machine cannot read: an entry is for good, and on every server.
//!
//! A new leader knows what those before it have logged when it has applied all of that: until then, what has a number, a
//! key or a session waits. (Reading it in the log instead takes as long as the log is: longer, at times, than others wait
//! before they stand against a leader that says nothing.)
//!
//! A session that this leader does not know may have been registered by an entry that it has not applied yet, and it may
//! have been deposed: nobody is told that a session has ended, or never was, before a look as for a linearizable read.

#[allow(unused_imports)] // without planted bugs the macro expands to `false`
use super::planted;
use super::reads::Task;
use super::{AppendError, Engine, Fatal, Kind, Refusal, Response, RoleState, StateMachine, encode};
use crate::engine::machine::{CompactionMode, Executor};
use crate::engine::sessions::sequencing::Logged;
use crate::engine::sessions::{
    Admission, Answer, KeepAlive, Keyed, Outcome, Register, Session, SessionError, Submit, hash,
};
use crate::engine::settings::Settings;
use crate::engine::types::{Index, Now, RequestId, SessionId};
use copycat_storage::{Disk, Entry};

/// Most signs of life in one entry.
const KEEP_ALIVES: usize = 1024;

/// By how much log time may go on over entries that this leader has not applied, in milliseconds: they may have set timers
/// that it does not know of.
const UNSEEN_MS: u64 = 50;

/// What an entry is to carry.
struct Draft {
    kind: Kind,
    mode: u8,
    session: SessionId,
    sequence: u64,
    data: Vec<u8>,
}

impl<D: Disk, M: StateMachine> Engine<D, M> {
    /// Why this server does not take this from a client now, if so.
    fn refusal(&self, submit: &Submit, time: u64) -> Option<Refusal> {
        let RoleState::Leader(office) = &self.role else { return Some(Refusal::NotLeader { leader: self.leader }) };
        if let Some(successor) = office.successor() {
            return Some(Refusal::NotLeader { leader: successor });
        }
        let writes = matches!(submit, Submit::Command { .. } | Submit::Register { .. });
        if writes && !office.room {
            return Some(Refusal::StorageFull);
        }
        // Signs of life take one entry for many: load must not end sessions.
        let full = match submit {
            Submit::KeepAlive(_) => office.keep_alives.len() >= self.options.waiting_queries,
            // A repeat takes no room.
            Submit::Register { key, .. } if self.state().sessions().len() as u64 >= self.settings().sessions => {
                key.as_deref().is_none_or(|key| !self.state().sessions().keys.has(key, time))
            }
            _ => self.storage.last_index() - self.commit >= self.options.uncommitted_entries,
        };
        full.then_some(Refusal::Overloaded)
    }

    /// A client hands something in. `looked`: that its session is not known was confirmed.
    pub(super) fn submit(&mut self, now: Now, id: RequestId, submit: Submit, looked: bool) -> Result<(), Fatal> {
        if submit.lacks_session() {
            self.reply(id, Err(Refusal::Session(SessionError::NotFound)));
            return Ok(());
        }
        let Some(mut submit) = self.defer(id, submit) else { return Ok(()) };
        let time = self.key_time(now);
        if let Some(refusal) = self.refusal(&submit, time) {
            self.reply(id, Err(refusal));
            return Ok(());
        }
        if let Submit::Command { operation, mode, .. } = &mut submit {
            // Whoever took it has looked, too, but may run another version, or be no server at all. The mode is what the
            // operation says, whatever its sender makes of it.
            match Executor::<M>::mode(operation) {
                Some(of_operation) => *mode = of_operation as u8,
                None if planted!(self.options, MalformedApplied) => {}
                None => {
                    self.reply(id, Err(Refusal::Malformed));
                    return Ok(());
                }
            }
        }
        let session = match &submit {
            Submit::Command { session, .. } | Submit::Unregister { session } => *session,
            Submit::KeepAlive(item) => item.session,
            Submit::Register { .. } => 0,
        };
        if session != 0 && !self.state().sessions().is_open(session) {
            if looked {
                let error = self.state().sessions().missing(session, self.applied());
                self.reply(id, Err(Refusal::Session(error)));
            } else {
                self.look(id, Task::Submit(submit));
            }
            return Ok(());
        }
        match submit {
            Submit::Command { operation, mode, session, sequence: 0, key: None } => {
                let draft = Draft { kind: Kind::Command, mode, session, sequence: 0, data: operation };
                self.append_for(now, &[id], draft).map(drop)
            }
            Submit::Command { operation, mode, session, sequence: 0, key: Some(key) } => {
                let hash = hash(session, &operation);
                let data = Keyed { key: key.clone(), operation, window_ms: self.window_ms() }.encode();
                self.keyed(now, id, (key, hash), Draft { kind: Kind::KeyedCommand, mode, session, sequence: 0, data })
            }
            Submit::Command { .. } => self.numbered(now, id, submit),
            Submit::Register { timeout_ms, name, key } => {
                let limits = self.settings().session_limits;
                let register = Register { timeout_ms, name, key: key.clone(), limits, window_ms: self.window_ms() };
                let (hash, data) = (register.hash(), register.encode());
                let draft = Draft { kind: Kind::Register, mode: MODE, session: 0, sequence: 0, data };
                match key {
                    Some(key) => self.keyed(now, id, (key, hash), draft),
                    None => self.append_for(now, &[id], draft).map(drop),
                }
            }
            Submit::KeepAlive(item) => {
                if let Some(leader) = self.leading() {
                    leader.keep_alives.push((id, item));
                }
                Ok(())
            }
            Submit::Unregister { session } => {
                use crate::engine::sessions::{EndReason, Unregister};
                let data = encode(&vec![Unregister { session, reason: EndReason::Closed, judged_by: 0 }]);
                let draft = Draft { kind: Kind::Unregister, mode: MODE, session, sequence: 0, data };
                self.append_for(now, &[id], draft).map(drop)
            }
        }
    }

    /// The log time by which this leader judges keys: that which an entry appended now has. (For one who does not lead, it
    /// says nothing.)
    fn key_time(&mut self, now: Now) -> u64 {
        if planted!(self.options, KeysEndOnApplyOnly) || self.leading().is_none() { 0 } else { self.leader_time(now) }
    }

    /// How long the key of an entry appended now is known.
    fn window_ms(&self) -> u64 {
        u64::try_from(self.settings().idempotency_window.as_millis()).unwrap_or(u64::MAX)
    }

    /// Before an entry is appended whose time is past what runs against log time: a tick, which ends that first. Otherwise the
    /// entry would be judged by a key whose TTL is over, or give a lock to one whose wait is, since due timers fire behind an
    /// entry's own operation.
    ///
    /// Timers that entries have set which are not applied here are not known; there is a tick if they may be due for long.
    pub(super) fn end_what_is_over(&mut self, now: Now) {
        if planted!(self.options, JudgedByOverdue) {
            return;
        }
        let (logged, time) = (self.clock.logged(), self.leader_time(now));
        if time <= logged || planted!(self.options, TimeOnCommandsOnly) {
            return;
        }
        let known = self.executor().is_some_and(|executor| executor.is_due(logged, time));
        let unseen = self.storage.last_index() > self.applied() && time - logged >= UNSEEN_MS;
        if known || unseen {
            // Without room for it, there is none for what comes behind.
            let _ = self.append_own(now, Kind::Tick, CompactionMode::Release, Vec::new());
        }
    }

    /// Appends an entry that these wait for. Returns whether it is in the log; if not, they have been told.
    fn append_for(&mut self, now: Now, requests: &[RequestId], draft: Draft) -> Result<bool, Fatal> {
        let Draft { kind, mode, session, sequence, data } = draft;
        self.end_what_is_over(now);
        let (index, term) = (self.storage.last_index() + 1, self.term());
        let time = self.leader_time(now);
        let (bytes, most) = (data.len(), usize::try_from(self.largest_entry()).unwrap_or(usize::MAX));
        let entry = Entry { index, term, time, session, sequence, kind: kind as u8, mode, data };
        let appended =
            if bytes > most { Err(AppendError::TooLarge { bytes, most }) } else { self.append_entry(&entry) };
        let refusal = match appended {
            Ok(()) => {
                self.clock.note_own(time);
                self.pending.extend(requests.iter().map(|&id| (index, term, 0, id)));
                return Ok(true);
            }
            Err(AppendError::TooLarge { .. }) => Refusal::TooLarge,
            Err(AppendError::Full(_)) => Refusal::StorageFull,
            Err(e) => return Err(e.into()),
        };
        for &id in requests {
            self.reply(id, Err(refusal.clone()));
        }
        Ok(false)
    }

    /// What was asked before is being carried out: wait for the same entry.
    fn join(&mut self, id: RequestId, index: Index) {
        let term = self.storage.term(index).unwrap_or(0);
        self.pending.insert((index, term, 0, id));
    }

    fn repeat(&mut self, id: RequestId, answer: Answer) {
        self.reply(id, Response::or_refusal(answer));
    }

    fn keyed(&mut self, now: Now, id: RequestId, (key, hash): (String, u64), draft: Draft) -> Result<(), Fatal> {
        let time = self.key_time(now);
        match self.state().sessions().keys.admit(&key, hash, time) {
            Admission::Repeat(answer) => self.repeat(id, answer),
            Admission::Refused(error) => self.reply(id, Err(Refusal::Session(error))),
            Admission::New => {
                let Settings { keys: most, key_bytes: most_bytes, .. } = *self.settings();
                let most = usize::try_from(most).unwrap_or(usize::MAX);
                let RoleState::Leader(leader) = &self.role else { return Ok(()) };
                let coming = leader.sequencing.key_count();
                // One that ends before it is applied is new again, here and when it is applied.
                match leader.sequencing.key(&key).filter(|logged| logged.end > time) {
                    Some(logged) if logged.hash == hash => self.join(id, logged.index),
                    Some(_) => self.reply(id, Err(Refusal::Session(SessionError::IdempotencyMismatch))),
                    None if !self.state().sessions().keys.has_room(coming, time, most, most_bytes) => {
                        self.reply(id, Err(Refusal::Overloaded));
                    }
                    None => {
                        // Servers of version 0.1.0 drop what has ended behind an entry only: it is the tick there.
                        if self.state().sessions().keys.is_stale(&key, time) {
                            let _ = self.append_own(now, Kind::Tick, CompactionMode::Release, Vec::new());
                        }
                        let end = self.leader_time(now).saturating_add(self.window_ms());
                        if self.append_for(now, &[id], draft)? {
                            let logged = Logged { index: self.storage.last_index(), hash, end };
                            if let Some(leader) = self.leading() {
                                leader.sequencing.log_key(key, logged);
                            }
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn numbered(&mut self, now: Now, id: RequestId, submit: Submit) -> Result<(), Fatal> {
        let Submit::Command { session, sequence, ref operation, .. } = submit else { return Ok(()) };
        let hash = self.hash(session, operation);
        if planted!(self.options, ApplyRepeats) && sequence < self.expected(session) {
            return self.append_numbers(now, vec![id], submit);
        }
        let until = now.monotonic + self.hold();
        let Some(open) = self.state().sessions().get(session) else { return Ok(()) };
        match open.admit(sequence, hash) {
            Admission::Repeat(answer) => {
                self.repeat(id, answer);
                return Ok(());
            }
            Admission::Refused(SessionError::SequenceGap { .. }) | Admission::New => {}
            Admission::Refused(error) => {
                self.reply(id, Err(Refusal::Session(error)));
                return Ok(());
            }
        }
        let expected = self.expected(session);
        let Some(leader) = self.leading() else { return Ok(()) };
        if let Some(logged) = leader.sequencing.number(session, sequence) {
            if logged.hash == hash {
                self.join(id, logged.index);
            } else {
                self.reply(id, Err(Refusal::Session(SessionError::SequenceMismatch)));
            }
            return Ok(());
        }
        if sequence > expected {
            match leader.sequencing.hold((session, sequence), id, hash, submit, until) {
                None => {}
                Some(true) => self.reply(id, Err(Refusal::Session(SessionError::SequenceMismatch))),
                Some(false) => self.reply(id, Err(Refusal::Session(SessionError::SequenceGap { expected }))),
            }
            return Ok(());
        }
        self.append_numbers(now, vec![id], submit)
    }

    /// Tells whether a repeat of a number is one.
    fn hash(&self, session: SessionId, operation: &[u8]) -> u64 {
        if planted!(self.options, MismatchAccepted) { 0 } else { hash(session, operation) }
    }

    /// The number that a session's next command must have: one above what is in the log.
    fn expected(&self, session: SessionId) -> u64 {
        let applied = self.state().sessions().get(session).map_or(0, Session::sequence);
        let RoleState::Leader(leader) = &self.role else { return applied + 1 };
        leader.sequencing.last_number(session).map_or(applied, |(last, _)| last.max(applied)) + 1
    }

    /// Whether a session has left so many answers unacknowledged that it gets no new command.
    fn is_busy(&self, session: SessionId) -> bool {
        let (kept, bytes) = self.state().sessions().get(session).map_or((0, 0), Session::kept);
        let RoleState::Leader(leader) = &self.role else { return false };
        let coming = leader.sequencing.last_number(session).map_or(0, |(_, count)| count);
        let Settings { session_answers: most, session_answer_bytes: most_bytes, .. } = *self.settings();
        (kept + coming) as u64 >= most || bytes >= most_bytes
    }

    /// Appends the command whose turn it is, and those that were held for it.
    fn append_numbers(&mut self, now: Now, requests: Vec<RequestId>, submit: Submit) -> Result<(), Fatal> {
        let mut next = Some((requests, submit));
        while let Some((requests, submit)) = next.take() {
            let Submit::Command { operation, mode, session, sequence, .. } = submit else { return Ok(()) };
            if self.is_busy(session) {
                for id in requests {
                    self.reply(id, Err(Refusal::SessionBusy));
                }
                return Ok(());
            }
            let hash = self.hash(session, &operation);
            let draft = Draft { kind: Kind::Command, mode, session, sequence, data: operation };
            if !self.append_for(now, &requests, draft)? {
                return Ok(());
            }
            let logged = Logged { index: self.storage.last_index(), hash, end: u64::MAX };
            let Some(leader) = self.leading() else { return Ok(()) };
            leader.sequencing.log_number(session, sequence, logged);
            next = leader.sequencing.take(session, sequence + 1);
        }
        Ok(())
    }

    /// Held commands whose turn has not come in time have no effect.
    pub(super) fn refuse_overdue(&mut self, now: Now) {
        if !self.is_home() {
            return;
        }
        let Some(leader) = self.leading() else { return };
        for (session, id) in leader.sequencing.overdue(now.monotonic) {
            let sessions = self.state().sessions();
            // It may have ended meanwhile.
            let error = match sessions.is_open(session) {
                true => SessionError::SequenceGap { expected: self.expected(session) },
                false => sessions.missing(session, self.applied()),
            };
            self.reply(id, Err(Refusal::Session(error)));
        }
    }

    /// Appends the signs of life that have come since the last ones were committed, in one entry: not one for each poll.
    pub(super) fn append_keep_alives(&mut self, now: Now) -> Result<(), Fatal> {
        let commit = self.commit;
        let Some(leader) = self.leading() else { return Ok(()) };
        if leader.keep_alives.is_empty() || leader.keep_alive_at > commit {
            return Ok(());
        }
        let some = leader.keep_alives.len().min(KEEP_ALIVES);
        let (requests, items): (Vec<RequestId>, Vec<KeepAlive>) = leader.keep_alives.drain(..some).unzip();
        match self.append_own(now, Kind::KeepAlive, CompactionMode::Release, encode(&items)) {
            Ok(index) => {
                let term = self.term();
                let items = requests.into_iter().zip(0..);
                self.pending.extend(items.map(|(id, item)| (index, term, item, id)));
                if let Some(leader) = self.leading() {
                    leader.keep_alive_at = index;
                }
            }
            Err(AppendError::Full(_)) => {
                for id in requests {
                    self.reply(id, Err(Refusal::StorageFull));
                }
            }
            Err(e) => return Err(e.into()),
        }
        Ok(())
    }
}

/// Entries about sessions say nothing that the table of sessions does not know once they are applied.
const MODE: u8 = CompactionMode::Release as u8;

impl Response {
    /// The response to who waited for this answer. What is refused by applying it, such as a command of a session that
    /// ended meanwhile, is a refusal.
    pub(super) fn or_refusal(answer: Answer) -> Result<Self, Refusal> {
        let Answer { index, term, event_index, outcome } = answer;
        match outcome {
            Outcome::Refused(error) => Err(Refusal::Session(error)),
            output => Ok(Self { index, term, event_index, output, consistency: None, valid_until: None }),
        }
    }
}
