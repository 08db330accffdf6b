//! One open session.

use super::entries::{Limits, Register};
use super::events::Events;
use super::outcome::{Answer, SessionError, SessionInfo};
use crate::engine::entry::{DecodeError, Decoder, Encoder};
use crate::engine::types::{Index, ServerId, SessionId};
use bincode::{Decode, Encode};
use std::collections::VecDeque;
use std::sync::Arc;

/// Whether a numbered command is to be applied.
#[derive(Debug)]
pub(crate) enum Admission {
    /// It is the next one.
    New,
    /// It was applied: this is what it answered.
    Repeat(Answer),
    /// It is not.
    Refused(SessionError),
}

/// The answer to a command, and what the command was.
#[derive(Debug, Encode, Decode)]
struct Kept {
    hash: u64,
    answer: Answer,
}

/// Cheap to copy: what it keeps is shared.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    name: String,
    pub(super) timeout_ms: u64,
    pub(super) limits: Limits,
    /// When it was last kept alive, in log time,
    pub(super) kept_at: u64,
    /// and by which entry.
    pub(super) kept_by: Index,
    pub(super) server: ServerId,
    /// The entry of its latest poll.
    pub(super) poll: Index,
    sequence: u64,
    acknowledged: u64,
    /// The first is the answer to `acknowledged + 1`.
    answers: VecDeque<Arc<Kept>>,
    answer_bytes: u64,
    pub(super) events: Events,
}

impl Session {
    pub(super) fn new(index: Index, time: u64, register: Register) -> Self {
        Self {
            name: register.name,
            timeout_ms: register.timeout_ms,
            limits: register.limits,
            kept_at: time,
            kept_by: index,
            server: 0,
            poll: 0,
            sequence: 0,
            acknowledged: 0,
            answers: VecDeque::new(),
            answer_bytes: 0,
            events: Events::default(),
        }
    }

    /// When it is overdue, in log time.
    pub(super) fn deadline(&self) -> u64 {
        self.kept_at.saturating_add(self.timeout_ms)
    }

    /// The number of the last command that was applied.
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The index of its last event.
    pub(crate) fn event_index(&self) -> Index {
        self.events.last()
    }

    /// Answers that are kept, and their bytes.
    pub(crate) fn kept(&self) -> (usize, u64) {
        (self.answers.len(), self.answer_bytes)
    }

    /// What is to be done with the command of this number.
    pub(crate) fn admit(&self, sequence: u64, hash: u64) -> Admission {
        if sequence <= self.acknowledged {
            return Admission::Refused(SessionError::SequenceAcknowledged { acknowledged: self.acknowledged });
        }
        let at = usize::try_from(sequence - self.acknowledged - 1).unwrap_or(usize::MAX);
        match self.answers.get(at) {
            Some(kept) if kept.hash == hash => Admission::Repeat(kept.answer.clone()),
            Some(_) => Admission::Refused(SessionError::SequenceMismatch),
            None if sequence == self.sequence + 1 => Admission::New,
            None => Admission::Refused(SessionError::SequenceGap { expected: self.sequence + 1 }),
        }
    }

    /// The next command was applied.
    pub(crate) fn keep(&mut self, sequence: u64, hash: u64, answer: Answer, planted: bool) {
        assert_eq!(sequence, self.sequence + 1, "commands of a session are applied in order");
        self.sequence = sequence;
        self.answer_bytes += answer.outcome.bytes();
        self.answers.push_back(Arc::new(Kept { hash, answer }));
        if planted {
            self.acknowledge(self.sequence.saturating_sub(2));
        }
    }

    /// Its client has the answers through this number. What was not answered cannot be acknowledged.
    pub(super) fn acknowledge(&mut self, through: u64) {
        while self.acknowledged < through.min(self.sequence) {
            self.acknowledged += 1;
            if let Some(kept) = self.answers.pop_front() {
                self.answer_bytes -= kept.answer.outcome.bytes();
            }
        }
    }

    /// All of it.
    pub(super) fn save(&self, to: &mut Encoder) {
        to.put(&self.name);
        to.put(&(self.timeout_ms, self.limits, self.kept_at, self.kept_by, self.server, self.poll));
        to.put(&(self.sequence, self.acknowledged));
        to.put_all(self.answers.iter().map(AsRef::as_ref));
        self.events.save(to);
    }

    pub(super) fn load(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let name = from.take()?;
        let (timeout_ms, limits, kept_at, kept_by, server, poll) = from.take()?;
        let (sequence, acknowledged) = from.take()?;
        let answers: VecDeque<Arc<Kept>> = from.take_all(Arc::new)?;
        let answer_bytes = answers.iter().map(|kept| kept.answer.outcome.bytes()).sum();
        let events = Events::load(from)?;
        let (sequence, acknowledged): (u64, u64) = (sequence, acknowledged);
        if sequence.checked_sub(acknowledged) != Some(answers.len() as u64) {
            return Err(DecodeError::new("a session's answers are not those above the acknowledged one"));
        }
        Ok(Self {
            name,
            timeout_ms,
            limits,
            kept_at,
            kept_by,
            server,
            poll,
            sequence,
            acknowledged,
            answers,
            answer_bytes,
            events,
        })
    }

    #[cfg(feature = "planted-bugs")]
    pub(super) fn forget_answers(&mut self) {
        (self.sequence, self.acknowledged, self.answer_bytes) = (self.sequence, self.sequence, 0);
        self.answers.clear();
    }

    pub(super) fn info(&self, session: SessionId) -> SessionInfo {
        SessionInfo {
            session,
            name: self.name.clone(),
            timeout_ms: self.timeout_ms,
            kept_at: self.kept_at,
            kept_by: self.kept_by,
            sequence: self.sequence,
            acknowledged: self.acknowledged,
            event_index: self.events.last(),
            event_acknowledged: self.events.acknowledged(),
            queued: self.events.queued(),
            server: self.server,
        }
    }
}
