//! Whom to believe, and what: a peer's message is looked at before anybody acts on it.
//!
//! Without TLS a peer is whoever says so, with the cluster's id and a number. So nothing that it sends may meet an
//! assertion, and who no configuration here names as a voter is believed little:
//!
//! - *Voters* of the committed configuration, or of one behind it in the log, may lead, feed and offer snapshots.
//! - Others may be voters that this server does not know yet, because it was away. One of them is followed in a term in
//!   which this server voted for it. It is followed in a term that was learned otherwise (a voter that answers a poll tells
//!   it) and in which nobody is known to lead only if it is a member, or no voter has led or stood for [`QUIET`]; or if no
//!   voter was heard at all for [`SILENT`]. A server that hears its leader, or leads, believes none of them.
//! - A term far above the own one is adopted from nobody, and from those that do not vote, none that is further than
//!   [`LEAP`].
//!
//! This is no proof of anything: who uses a voter's number and identity passes. Only TLS is.

use super::{Configuration, Engine, Event, Kind, MEMBERS, Output, RoleState, StateMachine, decode};
use crate::engine::message::{Message, WireEntry};
use crate::engine::types::{Identity, Index, Now, ServerId, Term};
use copycat_storage::Disk;
use std::collections::BTreeMap;
use std::time::Duration;

/// No term, and no index, is above this: so what is added to one never overflows.
const HIGHEST: u64 = u64::MAX / 2;
/// Terms by which who does not vote may be ahead,
const LEAP: Term = 1_000_000;
/// and who votes: as often as it pleases, but each time so little that the highest is far.
const VOTERS_LEAP: Term = 1 << 40;
/// Election timeouts after which the voters that led or stood do so no longer,
const QUIET: u32 = 2;
/// and after which those that were heard are gone.
const SILENT: u32 = 4;
/// Senders of whom it is remembered that they were told of.
const TOLD: usize = 128;

/// When voters were heard, and who was complained about.
#[derive(Debug)]
#[cfg_attr(feature = "planted-bugs", derive(Clone))]
pub(super) struct Voters {
    /// When one led, or asked for votes.
    active: Duration,
    /// When one said anything.
    heard: Duration,
    /// The latest term in which it was told that something of this sender was not taken.
    told: BTreeMap<ServerId, Term>,
}

impl Voters {
    pub(super) fn new(now: Duration) -> Self {
        Self { active: now, heard: now, told: BTreeMap::new() }
    }
}

impl<D: Disk, M: StateMachine> Engine<D, M> {
    /// Whether a message may be acted on; if not, why.
    pub(super) fn judge(
        &self,
        now: Now,
        from: ServerId,
        identity: Identity,
        message: &Message,
    ) -> Result<(), &'static str> {
        let votes = self.configurations.have_voter(from, identity);
        self.judge_term(votes, highest_term(message))?;
        self.judge_content(message)?;
        match message {
            Message::Append { term, .. } | Message::Configure { term, .. } if *term >= self.term() => {
                self.judge_leader(now, from, identity, *term)
            }
            Message::Feed { .. } | Message::Offer { .. } | Message::Piece { .. } | Message::Pieces { .. }
                if !votes && self.leader != Some(from) && !self.is_forsaken(now) =>
            {
                Err("it feeds, and no configuration known here has it vote")
            }
            _ => Ok(()),
        }
    }

    fn judge_term(&self, votes: bool, term: Term) -> Result<(), &'static str> {
        let most = if votes { VOTERS_LEAP } else { LEAP };
        if term > HIGHEST || term.saturating_sub(self.term()) > most {
            return Err("its term is too far ahead");
        }
        Ok(())
    }

    fn judge_leader(&self, now: Now, from: ServerId, identity: Identity, term: Term) -> Result<(), &'static str> {
        let own = term == self.term();
        if own && matches!(self.role, RoleState::Leader(_)) {
            return Err("it leads the term that this server leads");
        }
        if own && let Some(leader) = self.leader {
            return if leader == from { Ok(()) } else { Err("it leads a term that another leads") };
        }
        // One that this server voted for has asked by the rules, whatever was known of it.
        let elected = own && self.storage.meta().vote == from;
        if elected || self.configurations.have_voter(from, identity) || self.is_forsaken(now) {
            return Ok(());
        }
        let quiet = now.monotonic >= self.voters.active + self.election_timeout() * QUIET;
        let member = self.configurations.have_member(from, identity);
        if own && !self.hears_leader(now) && (member || quiet) {
            return Ok(());
        }
        Err("it leads, and no configuration known here has it vote")
    }

    /// Whether this server knows no voter, or has heard of none for so long that all may have been replaced.
    fn is_forsaken(&self, now: Now) -> bool {
        let silent = now.monotonic >= self.voters.heard + self.election_timeout() * SILENT;
        !self.configurations.have_voters() || silent && !self.hears_leader(now)
    }

    fn judge_content(&self, message: &Message) -> Result<(), &'static str> {
        match message {
            // An earlier leader is only told so.
            Message::Append { term, previous_index, previous_term, entries, .. } if *term >= self.term() => {
                self.judge_run((*previous_index, *previous_term), entries, *term)
            }
            Message::Feed { previous_index, previous_term, entries, .. } => {
                self.judge_run((*previous_index, *previous_term), entries, HIGHEST)
            }
            Message::Offer { snapshot } if snapshot.index == 0 || snapshot.index > HIGHEST => {
                Err("its snapshot's index cannot be")
            }
            Message::Configure { index, configuration, .. } if *index > HIGHEST || !is_sound(configuration) => {
                Err("its configuration cannot be")
            }
            _ => Ok(()),
        }
    }

    /// Entries must be a contiguous run with terms that rise to `most`, and leave what is committed here alone.
    fn judge_run(
        &self,
        (previous_index, previous_term): (Index, Term),
        entries: &[WireEntry],
        most: Term,
    ) -> Result<(), &'static str> {
        if previous_index > HIGHEST || entries.len() as u64 > HIGHEST {
            return Err("its entries' indexes cannot be");
        }
        let known = self.storage.term(previous_index).unwrap_or(0);
        let mut least = if previous_index <= self.commit { known } else { previous_term };
        for (entry, index) in entries.iter().zip(previous_index + 1..) {
            if entry.index != index {
                return Err("its entries are no contiguous run");
            }
            if entry.term < least.max(1) || entry.term > most {
                return Err("its entries' terms do not rise to its own");
            }
            if index <= self.commit && self.storage.term(index).is_some_and(|term| term != entry.term) {
                return Err("it would replace what is committed here");
            }
            let read = match Kind::from_byte(entry.kind) {
                None => false,
                Some(Kind::Configuration) => decode(&entry.data).is_ok_and(|c| is_sound(&c)),
                Some(_) => true,
            };
            if !read {
                return Err("its entries cannot be read");
            }
            least = entry.term;
        }
        Ok(())
    }

    /// A message was taken.
    pub(super) fn note_voter(&mut self, now: Now, from: ServerId, identity: Identity, message: &Message) {
        if !self.configurations.have_voter(from, identity) {
            return;
        }
        self.voters.heard = now.monotonic;
        if let Message::Append { .. } | Message::Configure { .. } | Message::Poll { .. } | Message::Vote { .. } =
            message
        {
            self.voters.active = now.monotonic;
        }
    }

    /// A message was not taken: that is told once for each sender and term.
    pub(super) fn refuse(&mut self, from: ServerId, why: &'static str) {
        let term = self.term();
        let full = self.voters.told.len() >= TOLD && !self.voters.told.contains_key(&from);
        if full {
            self.voters.told.retain(|_, told| *told == term);
        }
        if self.voters.told.len() < TOLD && self.voters.told.insert(from, term) != Some(term) {
            self.outputs.push(Output::Event(Event::NotTaken { peer: from, why }));
        }
    }
}

/// The highest term that a message would have this server adopt.
fn highest_term(message: &Message) -> Term {
    match message {
        Message::Feed { entries, .. } => entries.iter().map(|e| e.term).max().unwrap_or(0),
        Message::Offer { snapshot } => snapshot.term,
        _ => message.term(),
    }
}

/// Whether there may be such a configuration.
fn is_sound(configuration: &Configuration) -> bool {
    configuration.voters().next().is_some() && configuration.members.len() <= MEMBERS
}
