//! Votes as they pass a server: what it answers to candidates, and what it is answered.

use crate::engine::{Message, ServerId};

/// A vote, or whether one would be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ballot {
    /// As the feed has it.
    pub(super) kind: &'static str,
    pub(super) term: u64,
    pub(super) candidate: ServerId,
    pub(super) voter: ServerId,
}

impl Ballot {
    /// In a message from a voter to a candidate, if it is one.
    pub(super) fn of(message: &Message, voter: ServerId, candidate: ServerId) -> Option<Self> {
        let (kind, term) = match *message {
            Message::VoteReply { term, granted: true } => ("vote_granted", term),
            Message::VoteReply { term, granted: false } => ("vote_refused", term),
            Message::PollReply { term, granted: true } => ("poll_granted", term),
            Message::PollReply { term, granted: false } => ("poll_refused", term),
            _ => return None,
        };
        Some(Self { kind, term, candidate, voter })
    }
}
