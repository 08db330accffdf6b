//! What sessions, locks and events must be, worked out anew from the committed entries: nothing of the code under test
//! decides here what a repeat is, when a session is over, who may hold a lock or what is told to whom.

use copycat::engine::machine::{Executor, decode_operation, decode_query_output, encode_operation};
use copycat::engine::sessions::{EndReason, KeepAlive, Keyed, Register, Unregister};
use copycat::engine::{Index, Kind, SessionId, decode};
use copycat::store::{Answer, Command, LockMode, LockView, Query, Store};
use copycat_storage::EntryRef;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// What the names of locks begin with; a guarded write of a lock writes the key of the same name.
pub(crate) const LOCKS: [&str; 2] = ["lock-0", "lock-1"];
/// What the names of keys begin with that the numbered commands of sessions write.
pub(crate) const OWN: &str = "own-";
/// And those of keys that go with a session.
pub(crate) const EPHEMERAL: &str = "ephemeral-";

/// A clock runs at most so much faster or slower than another (the simulator's drift and the slewing of log time), in
/// percent.
const DRIFT: u64 = 4;

#[derive(Debug)]
struct Session {
    timeout_ms: u64,
    kept_at: u64,
    kept_by: Index,
    /// When the entry that kept it was appended, in simulated microseconds.
    kept_true: u64,
    sequence: u64,
}

/// A wait for a lock, as the commands in the log have it.
#[derive(Debug, Default)]
struct Wait {
    /// When the place is given up, in log time.
    until: Option<u64>,
    /// It is kept until it is granted.
    stays: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Model {
    time: u64,
    sessions: BTreeMap<SessionId, Session>,
    /// Idempotency keys, and when each is forgotten, in log time.
    keys: BTreeMap<String, u64>,
    last_token: u64,
    holders: BTreeMap<&'static str, BTreeMap<u64, SessionId>>,
    /// Who had each lock,
    had: BTreeMap<&'static str, Vec<SessionId>>,
    /// who waited for it before the entry that is looked at, first come first,
    queues: BTreeMap<&'static str, Vec<SessionId>>,
    /// and how long each of them does.
    waits: BTreeMap<(&'static str, SessionId), Wait>,
    /// Clocks jump: a session's time is the leader's alone.
    pub(crate) jumps: bool,
    /// When a leader was last elected, in simulated microseconds.
    pub(crate) elected: u64,
    /// By index: the keys of the workload that were changed there.
    changes: BTreeMap<Index, BTreeSet<Vec<u8>>>,
    /// By index: what the command there says, and for which number,
    commands: BTreeMap<Index, (u64, u32)>,
    /// and of those with an idempotency key when they were appended, in simulated microseconds, and how long the key is
    /// kept, in milliseconds.
    keyed: BTreeMap<Index, (u64, u64)>,
    /// The bytes of all commands, as checksums.
    known: BTreeSet<u32>,
    pub(crate) ended: u64,
    pub(crate) repeats: u64,
}

fn lock_view(executor: &Executor<Store>, name: &str) -> Option<LockView> {
    let answer = executor.query(&encode_operation(&Query::Lock { lock: name.into() }))?;
    match decode_query_output::<Store>(&answer)? {
        Answer::Lock(view) => view,
        other => panic!("not a lock: {other:?}"),
    }
}

fn version(executor: &Executor<Store>, key: &[u8]) -> Option<u64> {
    let answer = executor.query(&encode_operation(&Query::Get { key: key.to_vec() }))?;
    match decode_query_output::<Store>(&answer)? {
        Answer::Value { item, .. } => item.map(|item| item.version),
        other => panic!("not a value: {other:?}"),
    }
}

/// The key that a numbered or guarded command writes, if it is one of those that are looked at.
fn written(command: &Command) -> Option<Vec<u8>> {
    let key = match command {
        Command::Put { key, .. } => key,
        Command::Guarded { command, .. } => return written(command),
        _ => return None,
    };
    let looked_at = [OWN, EPHEMERAL, "lock-"].iter().any(|p| key.starts_with(p.as_bytes()));
    looked_at.then(|| key.clone())
}

impl Model {
    pub(crate) fn is_open(&self, session: SessionId) -> bool {
        self.sessions.contains_key(&session)
    }

    /// Takes in the next committed entry, which `reference` has just applied. `appended` is when an entry was first seen in
    /// any log. Returns the sessions that it ended because they were overdue.
    pub(crate) fn check(
        &mut self,
        entry: EntryRef<'_>,
        reference: &Executor<Store>,
        appended: u64,
    ) -> Result<Vec<SessionId>, String> {
        self.time = self.time.max(entry.time);
        let time = self.time;
        self.keys.retain(|_, end| *end > time);
        let (index, mut ended) = (entry.index, Vec::new());
        match Kind::from_byte(entry.kind) {
            Some(Kind::Initialize) => {
                for session in self.sessions.values_mut() {
                    (session.kept_at, session.kept_by, session.kept_true) = (self.time, index, appended);
                }
            }
            Some(Kind::Register) => {
                let register = Register::decode(entry.data).map_err(|e| e.to_string())?;
                let end = self.time + register.window_ms;
                if register.key.is_none_or(|key| self.admit(key, end)) {
                    let (timeout_ms, kept_at) = (register.timeout_ms, self.time);
                    let session = Session { timeout_ms, kept_at, kept_by: index, kept_true: appended, sequence: 0 };
                    self.sessions.insert(index, session);
                } else {
                    self.repeats += 1;
                }
            }
            Some(Kind::KeepAlive) => {
                for item in decode::<Vec<KeepAlive>>(entry.data).map_err(|e| e.to_string())? {
                    if let Some(session) = self.sessions.get_mut(&item.session).filter(|_| item.alive) {
                        (session.kept_at, session.kept_by, session.kept_true) = (self.time, index, appended);
                    }
                }
            }
            Some(Kind::Unregister) => ended = self.end(&entry, appended)?,
            Some(Kind::Command | Kind::KeyedCommand) => self.command(&entry, reference, appended)?,
            _ => {}
        }
        let open: Vec<SessionId> = reference.sessions().list(0, usize::MAX).iter().map(|info| info.session).collect();
        if !open.iter().eq(self.sessions.keys()) {
            return Err(format!("WRONG SESSIONS: at {index} there are {open:?}, not {:?}", self.sessions));
        }
        self.check_locks(index, reference)?;
        Ok(ended)
    }

    fn end(&mut self, entry: &EntryRef<'_>, appended: u64) -> Result<Vec<SessionId>, String> {
        let mut ended = Vec::new();
        for Unregister { session: id, reason, judged_by } in
            decode::<Vec<Unregister>>(entry.data).map_err(|e| e.to_string())?
        {
            let Some(session) = self.sessions.get(&id) else { continue };
            if reason == EndReason::TimedOut {
                let overdue = self.time >= session.kept_at + session.timeout_ms;
                if judged_by != session.kept_by || !overdue {
                    continue;
                }
                let lived = appended.saturating_sub(session.kept_true) / 1000;
                if lived * 100 < session.timeout_ms * (100 - DRIFT) && !self.jumps {
                    return Err(format!("ENDED EARLY: session {id} after {lived} ms: {session:?}"));
                }
                self.ended += 1;
                ended.push(id);
            }
            self.sessions.remove(&id);
        }
        Ok(ended)
    }

    /// A wish for a lock that is carried out.
    fn wish(&mut self, session: SessionId, command: &Command) {
        let Command::Lock { lock, wait_ms, queue, .. } = command else { return };
        let Some(name) = LOCKS.iter().find(|name| name.as_bytes() == lock.as_slice()) else { return };
        let waits = self.queues.get(name).is_some_and(|queue| queue.contains(&session));
        let wait = self.waits.entry((name, session)).or_default();
        if !waits {
            *wait = Wait::default();
        }
        wait.stays |= queue;
        if *wait_ms > 0 {
            wait.until = Some(self.time + wait_ms);
        }
    }

    /// Whether this key is not known; it is kept from now on.
    fn admit(&mut self, key: String, end: u64) -> bool {
        let known = self.keys.contains_key(&key);
        self.keys.entry(key).or_insert(end);
        !known
    }

    /// Whether the answer of the command at this index may be given to one who asked for it first at this moment: its key's
    /// time must not be over.
    /// Without a leader log time stands still, so nothing is known of a key that an election came behind.
    pub(crate) fn may_answer(&self, index: Index, asked: u64) -> bool {
        let Some(&(appended, window)) = self.keyed.get(&index) else { return true };
        self.jumps || self.elected >= appended || asked.saturating_sub(appended) * (100 - DRIFT) <= window * 1000 * 100
    }

    fn command(&mut self, entry: &EntryRef<'_>, reference: &Executor<Store>, appended: u64) -> Result<(), String> {
        let mut due = true;
        let operation = if entry.kind == Kind::KeyedCommand as u8 {
            let keyed = Keyed::decode(entry.data).map_err(|e| e.to_string())?;
            self.keyed.insert(entry.index, (appended, keyed.window_ms));
            // The session's end comes first.
            if entry.session == 0 || self.sessions.contains_key(&entry.session) {
                due = self.admit(keyed.key, self.time + keyed.window_ms);
            }
            keyed.operation
        } else {
            entry.data.to_vec()
        };
        let command: Command = decode_operation(&operation).ok_or("MALFORMED: a command of ours")?;
        self.commands.insert(entry.index, (entry.sequence, crc32c::crc32c(&operation)));
        self.known.insert(crc32c::crc32c(&operation));
        if entry.session != 0 {
            match self.sessions.get_mut(&entry.session) {
                None => due = false,
                Some(session) if entry.sequence != 0 => {
                    due = entry.sequence == session.sequence + 1;
                    session.sequence = session.sequence.max(entry.sequence);
                    self.repeats += u64::from(!due);
                }
                Some(_) => {}
            }
        }
        if let Command::Guarded { lock, token, .. } = &command {
            let name = LOCKS.iter().find(|name| name.as_bytes() == lock.as_slice()).ok_or("an unknown lock")?;
            // The holders as they were before this entry, which changes none.
            due &= self.holders.get(name).is_some_and(|holders| holders.contains_key(token));
        }
        if due {
            self.wish(entry.session, &command);
        }
        if let Some(key) = written(&command) {
            let was = version(reference, &key) == Some(entry.index);
            if was != due {
                let key = String::from_utf8_lossy(&key);
                return Err(format!(
                    "APPLIED {}: entry {} (session {}, number {}) of {key}",
                    if was { "AGAIN, or without its lock" } else { "NEVER" },
                    entry.index,
                    entry.session,
                    entry.sequence
                ));
            }
        }
        Ok(())
    }

    fn check_locks(&mut self, index: Index, reference: &Executor<Store>) -> Result<(), String> {
        let mut granted = BTreeSet::new();
        for name in LOCKS {
            let view = lock_view(reference, name);
            let holders = view.as_ref().map_or(&[][..], |view| &view.holders);
            let queue = view.as_ref().map_or(&[][..], |view| &view.queue);
            if holders.len() > 1 && holders.iter().any(|h| h.mode == LockMode::Exclusive) {
                return Err(format!("TWO HOLDERS: at {index} {view:?}"));
            }
            let known = self.holders.entry(name).or_default();
            for holder in holders {
                if known.get(&holder.token) == Some(&holder.session) {
                    continue;
                }
                if holder.token <= self.last_token || !granted.insert(holder.token) {
                    return Err(format!("TOKEN {} after {}: at {index} {view:?}", holder.token, self.last_token));
                }
            }
            *known = holders.iter().map(|h| (h.token, h.session)).collect();
            let sessions = holders.iter().map(|h| h.session).chain(queue.iter().map(|w| w.session));
            if let Some(dead) = sessions.into_iter().find(|session| !self.sessions.contains_key(session)) {
                return Err(format!("LOCK OF THE DEAD: at {index} session {dead} is over: {view:?}"));
            }
            let shared = holders.iter().all(|h| h.mode == LockMode::Shared);
            let admits = |mode| holders.is_empty() || shared && mode == LockMode::Shared;
            if let Some(first) = queue.first().filter(|first| admits(first.mode)) {
                return Err(format!("LOCK FOR NOBODY: at {index} session {} waits: {view:?}", first.session));
            }
            self.check_queue(name, index, view.as_ref())?;
        }
        self.last_token = granted.last().copied().unwrap_or(self.last_token);
        Ok(())
    }

    /// Nobody overtakes, and nobody waits for longer than asked.
    fn check_queue(&mut self, name: &'static str, index: Index, view: Option<&LockView>) -> Result<(), String> {
        let holders: Vec<SessionId> = view.iter().flat_map(|v| &v.holders).map(|h| h.session).collect();
        let queue: Vec<SessionId> = view.iter().flat_map(|v| &v.queue).map(|w| w.session).collect();
        let before = self.queues.insert(name, queue.clone()).unwrap_or_default();
        let held = self.had.insert(name, holders.clone()).unwrap_or_default();
        for session in holders.iter().filter(|session| !held.contains(session)) {
            // Whoever comes at once comes behind all of them.
            let ahead = before.iter().position(|waiter| waiter == session).unwrap_or(before.len());
            if let Some(passed) = before[..ahead].iter().find(|waiter| queue.contains(waiter)) {
                return Err(format!("OVERTAKEN: at {index} session {session} gets {name} before {passed}"));
            }
        }
        self.waits.retain(|&(of, session), _| of != name || queue.contains(&session));
        let over = |w: &&Wait| !w.stays && w.until.is_some_and(|until| until <= self.time);
        let late = queue.iter().find(|&&session| self.waits.get(&(name, session)).as_ref().is_some_and(over));
        match late {
            Some(session) => Err(format!("WAITS TOO LONG: at {index} session {session} for {name}: {view:?}")),
            None => Ok(()),
        }
    }

    /// A key of the workload was changed here.
    pub(crate) fn changed(&mut self, index: Index, key: &[u8]) {
        self.changes.entry(index).or_default().insert(key.to_vec());
    }

    /// The indexes above `after`, through `until`, at which keys of the workload were changed, and which.
    pub(crate) fn changes(&self, after: Index, until: Index) -> impl Iterator<Item = (&Index, &BTreeSet<Vec<u8>>)> {
        self.changes.range((Bound::Excluded(after), Bound::Included(until.max(after))))
    }

    /// Whether a command with these bytes, which no other has, is committed.
    pub(crate) fn is_committed(&self, operation: &[u8]) -> bool {
        self.known.contains(&crc32c::crc32c(operation))
    }

    /// Whether the command at this index is the one with this number and these bytes.
    pub(crate) fn is_command(&self, index: Index, sequence: u64, operation: &[u8]) -> bool {
        self.commands.get(&index) == Some(&(sequence, crc32c::crc32c(operation)))
    }
}
