//! What comes in: each message is judged by its sender and its term before anybody acts on it.

#[allow(unused_imports)] // without planted bugs the macro expands to `false`
use super::planted;
use super::{Engine, Fatal, Output, RoleState, StateMachine};
use crate::engine::message::Message;
use crate::engine::types::{Identity, Now, ServerId};
use copycat_storage::Disk;

/// What a handshake told of a member.
#[derive(Clone, Debug)]
pub(super) struct Met {
    pub(super) identity: Identity,
    pub(super) cluster: u128,
    pub(super) http: String,
}

impl<D: Disk, M: StateMachine> Engine<D, M> {
    pub(super) fn message(
        &mut self,
        now: Now,
        from: ServerId,
        identity: Identity,
        cluster: u128,
        message: Message,
    ) -> Result<(), Fatal> {
        let removed = self.configurations.committed().1.has_removed(identity);
        let ignored = planted!(self.options, IdentityIgnored) && self.configuration().members.contains_key(&from);
        let own = ignored || cluster != 0 && cluster == self.storage.meta().cluster && message.is_for_followers();
        if removed || !(own || self.configuration().admits(from, identity)) {
            self.outputs.push(Output::Refused { peer: from, identity, removed });
            return Ok(());
        }
        if let Err(why) = self.judge(now, from, identity, &message)
            && !ignored
        {
            self.refuse(from, why);
            return Ok(());
        }
        self.note_voter(now, from, identity, &message);
        match message {
            Message::Feed { previous_index, previous_term, entries, commit } => {
                self.on_feed(now, from, (previous_index, previous_term), entries, commit)?;
            }
            Message::FeedReply { start, outcome, wants } => self.on_feed_reply(from, start, outcome, wants),
            Message::FeedRequest { start, index } => self.on_feed_request(now, from, start, index),
            Message::Offer { snapshot } => self.on_offer(now, from, snapshot),
            Message::Fetch { snapshot, want } => self.on_fetch(now, from, snapshot, want)?,
            Message::Piece { snapshot, offset, bytes } => self.on_piece(now, from, snapshot, offset, &bytes),
            Message::Pieces { snapshot, entries } => self.on_pieces(now, from, snapshot, entries),
            // These two change nothing by their term alone: a poll only asks, and a vote is not heard while a leader is.
            Message::Poll { term, last_index, last_term } => self.on_poll(now, from, term, last_index, last_term),
            Message::Vote { term, last_index, last_term, transfer } => {
                // Whoever is heard is not deposed by the word of one that does not vote.
                let transfer = transfer && self.configurations.have_voter(from, identity);
                self.on_vote(now, from, term, last_index, last_term, transfer);
            }
            Message::PollReply { granted: true, term } => self.on_poll_granted(now, from, term),
            _ if message.term() > self.term() => {
                self.adopt_term(now, message.term());
                self.current(now, from, message)?;
            }
            // Whoever is behind is told so, or a server with a higher term would be stranded (etcd #5451).
            Message::Append { previous_index, .. } if message.term() < self.term() => {
                self.reject_append(from, previous_index, 0, self.storage.last_index() + 1);
            }
            _ if message.term() < self.term() => {}
            _ => self.current(now, from, message)?,
        }
        Ok(())
    }

    /// A message of the current term.
    fn current(&mut self, now: Now, from: ServerId, message: Message) -> Result<(), Fatal> {
        match message {
            Message::Append {
                previous_index,
                previous_term,
                entries,
                commit,
                round,
                recover_to,
                digest,
                global,
                ..
            } => {
                self.agreed = self.agreed.max(digest);
                self.global = self.global.max(global);
                self.on_append(now, from, (previous_index, previous_term), entries, commit, round, recover_to)?;
            }
            Message::AppendReply { start, round, outcome, wants, lost, digest, configuration, .. } => {
                self.on_append_reply(now, from, start, (round, outcome, wants, lost), configuration, digest);
            }
            Message::Configure { index, configuration, .. } => self.on_configure(now, from, index, *configuration),
            // These have to do with no term.
            Message::Feed { .. }
            | Message::FeedReply { .. }
            | Message::FeedRequest { .. }
            | Message::Offer { .. }
            | Message::Fetch { .. }
            | Message::Piece { .. }
            | Message::Pieces { .. } => {}
            Message::VoteReply { granted: true, .. } => self.on_vote_granted(now, from),
            Message::TimeoutNow { .. } => self.on_timeout_now(now, from),
            Message::VoteReply { .. } | Message::PollReply { .. } | Message::Poll { .. } | Message::Vote { .. } => {}
        }
        Ok(())
    }

    pub(super) fn peer(&mut self, id: ServerId, met: Met) {
        self.met.insert(id, met);
        if let RoleState::Leader(leader) = &mut self.role {
            leader.met(id);
        }
    }
}
