//! A machine that is its held entries: each name has the tag that was set last, for a while, as long as whoever set it is
//! there.

use copycat::engine::machine::replay::{self, Random};
use copycat::engine::machine::{
    Bincode, Commit, Context, Held, SessionId, SnapshotError, StateMachine, Timer, TimerId,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Command {
    Set { name: u8, tag: u8, ttl_ms: u64 },
    Clear { name: u8 },
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tag {
    tag: u8,
    since: u64,
    session: SessionId,
    timer: Option<TimerId>,
    held: Held,
}

#[derive(Default)]
pub(crate) struct Tags(BTreeMap<u8, Tag>);

impl Tags {
    fn forget(&mut self, name: u8, context: &mut Context<u8>) -> bool {
        let Some(tag) = self.0.remove(&name) else { return false };
        if let Some(timer) = tag.timer {
            context.cancel(timer);
        }
        context.publish(tag.session, name);
        context.release(tag.held);
        true
    }
}

impl StateMachine for Tags {
    type Codec = Bincode;
    type Command = Command;
    type Query = u8;
    type Output = bool;
    type Answer = Option<u8>;
    type Event = u8;

    fn apply(&mut self, commit: Commit<Command>, context: &mut Context<u8>) -> bool {
        match commit.operation {
            Command::Clear { name } => self.forget(name, context),
            Command::Set { name, tag, ttl_ms } => {
                let existed = self.forget(name, context);
                let timer = (ttl_ms > 0).then(|| context.schedule(context.time() + ttl_ms, vec![name]));
                let held = context.hold();
                self.0.insert(name, Tag { tag, since: commit.time, session: commit.session, timer, held });
                existed
            }
        }
    }

    fn query(&self, name: u8) -> Option<u8> {
        self.0.get(&name).map(|tag| tag.tag)
    }

    fn timer(&mut self, timer: Timer, context: &mut Context<u8>) {
        self.forget(timer.data[0], context);
    }

    fn close(&mut self, session: SessionId, context: &mut Context<u8>) {
        let names: Vec<u8> = self.0.iter().filter(|(_, tag)| tag.session == session).map(|(&name, _)| name).collect();
        for name in names {
            self.forget(name, context);
        }
    }

    fn clear(&mut self) -> Result<(), SnapshotError> {
        self.0.clear();
        Ok(())
    }
}

pub(crate) struct Subject;

impl replay::Subject for Subject {
    type Machine = Tags;
    type State = BTreeMap<u8, Tag>;

    fn machine(&self) -> Tags {
        Tags::default()
    }

    fn command(&self, random: &mut Random) -> Command {
        let name = u8::try_from(random.below(5)).unwrap();
        if random.one_in(4) {
            return Command::Clear { name };
        }
        let ttl_ms = if random.one_in(2) { 1 + random.below(3000) } else { 0 };
        Command::Set { name, tag: u8::try_from(random.below(4)).unwrap(), ttl_ms }
    }

    fn state(&self, machine: &Tags) -> BTreeMap<u8, Tag> {
        machine.0.clone()
    }
}
