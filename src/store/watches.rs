//! Watches: which sessions are told of which keys.
//!
//! Invariants: a session has at most one watch on a key, and one on a prefix; `part` of a session names just its watches;
//! `lengths` counts the watched prefixes by their length.

use super::types::{Event, Output, Target};
use super::{Record, Store};
use crate::engine::SessionId;
use crate::engine::machine::Context;
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Watcher {
    watch: u64,
    values: bool,
}

type Watchers = BTreeMap<SessionId, Watcher>;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Watches {
    by_key: BTreeMap<Vec<u8>, Watchers>,
    by_prefix: BTreeMap<Vec<u8>, Watchers>,
    lengths: BTreeMap<usize, usize>,
}

/// What happened to a key.
pub(super) enum Change<'a> {
    Put { record: &'a Record, created: bool },
    Delete { version: u64 },
    Expire { version: u64 },
}

impl Change<'_> {
    fn event(&self, watcher: Watcher, key: &[u8]) -> Event {
        let Watcher { watch, values } = watcher;
        let key = key.to_vec();
        match *self {
            Change::Put { record, created } => Event::Put {
                watch,
                key,
                value: values.then(|| serde_bytes::ByteBuf::from(record.value.clone())),
                content_type: record.content_type.clone(),
                version: record.version,
                created,
            },
            Change::Delete { version } => Event::Delete { watch, key, version },
            Change::Expire { version } => Event::Expire { watch, key, version },
        }
    }
}

impl Watches {
    /// Tells those who watch this key.
    pub(super) fn tell(&self, key: &[u8], change: &Change<'_>, context: &mut Context<Event>) {
        let mut tell = |watchers: &Watchers| {
            for (&session, &watcher) in watchers {
                context.publish(session, change.event(watcher, key));
            }
        };
        self.by_key.get(key).into_iter().for_each(&mut tell);
        for &length in self.lengths.keys().take_while(|&&length| length <= key.len()) {
            self.by_prefix.get(&key[..length]).into_iter().for_each(&mut tell);
        }
    }

    /// As it was when the session asked for it.
    pub(super) fn restore(&mut self, session: SessionId, watch: u64, target: &Target, values: bool) {
        self.of(target).insert(session, Watcher { watch, values });
    }

    fn of(&mut self, target: &Target) -> &mut Watchers {
        match target {
            Target::Key(key) => self.by_key.entry(key.clone()).or_default(),
            Target::Prefix(prefix) => {
                if !self.by_prefix.contains_key(prefix) {
                    *self.lengths.entry(prefix.len()).or_default() += 1;
                }
                self.by_prefix.entry(prefix.clone()).or_default()
            }
        }
    }

    fn remove(&mut self, session: SessionId, target: &Target) {
        let watchers = self.of(target);
        watchers.remove(&session);
        if !watchers.is_empty() {
            return;
        }
        match target {
            Target::Key(key) => drop(self.by_key.remove(key)),
            Target::Prefix(prefix) => {
                self.by_prefix.remove(prefix);
                if let Some(count) = self.lengths.get_mut(&prefix.len()) {
                    *count -= 1;
                    if *count == 0 {
                        self.lengths.remove(&prefix.len());
                    }
                }
            }
        }
    }
}

impl Store {
    pub(super) fn watch(&mut self, session: SessionId, target: Target, values: bool, limit: u64, index: u64) -> Output {
        if session == 0 {
            return Output::NoSession;
        }
        let had = self.parts.get(&session).map_or(0, |part| part.watches.len() as u64);
        let known = match &target {
            Target::Key(key) => self.watches.by_key.get(key),
            Target::Prefix(prefix) => self.watches.by_prefix.get(prefix),
        };
        if known.is_none_or(|watchers| !watchers.contains_key(&session)) && had >= limit {
            return Output::TooManyWatches;
        }
        let watcher = self.watches.of(&target).entry(session).or_insert(Watcher { watch: 0, values });
        watcher.values = values;
        let created = watcher.watch == 0;
        if created {
            // Several of one batch have one index: each watch still has a number of its own.
            watcher.watch = index.max(self.last_watch + 1);
            self.last_watch = watcher.watch;
        }
        let watch = watcher.watch;
        self.part(session).watches.insert(watch, (target, values));
        Output::Watching { watch, created }
    }

    pub(super) fn unwatch(&mut self, session: SessionId, watch: u64) -> Output {
        let target = self.parts.get_mut(&session).and_then(|part| part.watches.remove(&watch));
        if let Some((target, _)) = &target {
            self.watches.remove(session, target);
            self.forget_empty_part(session);
        }
        Output::Unwatched { existed: target.is_some() }
    }

    pub(super) fn unwatch_all<'a>(&mut self, session: SessionId, targets: impl IntoIterator<Item = &'a Target>) {
        for target in targets {
            self.watches.remove(session, target);
        }
    }
}
