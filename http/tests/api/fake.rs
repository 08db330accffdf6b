//! A backend in memory, and a server over it.

use crate::state::State;
use async_channel::Sender;
use async_std::net::TcpListener;
use async_std::task::{self, JoinHandle};
use async_trait::async_trait;
use copycat_http::{
    Answer, Backend, Backup, Caller, Checks, ClusterView, Command, CommandOutput, Compaction, Conflict, EntryView,
    EventPage, Failure, Feed, HttpConfig, KeptAlive, Keys, LockOutput, LockRequest, LogView, MemberChange, MemberView,
    Poll, Query, QueryOutput, Read, Registered, SegmentView, ServerView, SessionPage, SessionView, SettingsChange,
    SettingsView, SnapshotTaken, SnapshotView, Unanswered, Watched, serve,
};
use futures_lite::{StreamExt, stream};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// How often whoever waits looks again.
const STEP: Duration = Duration::from_millis(5);

#[derive(Default)]
pub(crate) struct Fake {
    state: Mutex<State>,
    /// Its state machine is another one.
    pub(crate) keyless: bool,
    /// Futures that wait, and those that were dropped while waiting.
    pub(crate) waiting: AtomicU64,
    pub(crate) dropped: AtomicU64,
}

struct Waiting<'a>(&'a Fake);

impl<'a> Waiting<'a> {
    fn new(fake: &'a Fake) -> Self {
        fake.waiting.fetch_add(1, Ordering::SeqCst);
        Self(fake)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
        self.0.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

impl Fake {
    pub(crate) fn keyless() -> Self {
        Self { keyless: true, ..Self::default() }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with it")
    }
}

#[async_trait]
impl Keys for Fake {
    async fn command(
        &self,
        command: Command,
        caller: Caller,
        timeout: Duration,
    ) -> Result<Answer<CommandOutput>, Failure> {
        if let Command::Put { key, .. } = &command {
            assert_ne!(key, b"panic", "as asked");
        }
        let mut state = self.state();
        state.timeouts.push(timeout);
        state.failing().map_or(Ok(()), Err)?;
        state.command(command, &caller)
    }

    async fn lock(
        &self,
        request: LockRequest,
        caller: Caller,
        timeout: Duration,
    ) -> Result<Answer<LockOutput>, Failure> {
        self.state().timeouts.push(timeout);
        self.state().failing().map_or(Ok(()), Err)?;
        let begun = self.state().ask_for_lock(&request, &caller)?;
        let (Some(wait), LockOutput::Queued { .. }) = (request.wait, &begun.output) else { return Ok(begun) };
        let _waiting = Waiting::new(self);
        let start = Instant::now();
        loop {
            {
                let mut state = self.state();
                let over = start.elapsed() >= wait;
                if let Some(answer) = state.look_for_lock(&request, &caller, over)? {
                    return Ok(answer);
                }
            }
            task::sleep(STEP).await;
        }
    }

    async fn query(&self, query: Query, read: Read) -> Result<Answer<QueryOutput>, Failure> {
        if matches!(&query, Query::Get { key } if key == b"hang") {
            let _waiting = Waiting::new(self);
            task::sleep(read.timeout).await;
            return Err(Failure::Timeout { maybe_applied: false });
        }
        if let Query::Get { key } = &query {
            assert_ne!(key, b"panic", "as asked");
        }
        let mut state = self.state();
        state.reads.push(read);
        if let Some(failure) = state.failing() {
            return Err(failure);
        }
        let output = state.ask(query);
        Ok(Answer { consistency: Some(read.consistency), ..state.answer(output) })
    }

    async fn watch(
        &self,
        key: Vec<u8>,
        after: Option<u64>,
        wait: Duration,
        read: Read,
    ) -> Result<Answer<Watched>, Failure> {
        self.state().waits.push((after, wait));
        self.state().looks.push(read);
        let _waiting = Waiting::new(self);
        let start = Instant::now();
        loop {
            {
                let mut state = self.state();
                if let Some(failure) = state.failing() {
                    return Err(failure);
                }
                let item = state.item(&key);
                let changed = match after {
                    Some(after) => state.changed.get(&key).is_some_and(|index| *index > after),
                    None => item.is_some(),
                };
                if changed || start.elapsed() >= wait {
                    let output = Watched { item, changed };
                    return Ok(Answer { consistency: Some(read.consistency), ..state.answer(output) });
                }
            }
            task::sleep(STEP).await;
        }
    }
}

#[async_trait]
impl Backend for Fake {
    fn keys(&self) -> Option<&dyn Keys> {
        (!self.keyless).then_some(self)
    }

    /// A machine that counts.
    async fn command(&self, command: Value, caller: Caller, timeout: Duration) -> Result<Answer<Value>, Unanswered> {
        let add = command["add"].as_u64().ok_or_else(|| Unanswered::Unfit("it adds nothing".into()))?;
        let mut state = self.state();
        state.timeouts.push(timeout);
        state.failing().map_or(Ok(()), |failure| Err(Unanswered::Failed(failure)))?;
        state.index += add;
        let output = json!({ "session": caller.session, "sequence": caller.sequence });
        Ok(state.answer(output))
    }

    async fn query(&self, query: Value, read: Read) -> Result<Answer<Value>, Unanswered> {
        let mut state = self.state();
        state.reads.push(read);
        state.failing().map_or(Ok(()), |failure| Err(Unanswered::Failed(failure)))?;
        Ok(Answer { consistency: Some(read.consistency), ..state.answer(query) })
    }

    async fn register(
        &self,
        session_timeout: Duration,
        name: String,
        idempotency_key: Option<String>,
        timeout: Duration,
    ) -> Result<Answer<Registered>, Failure> {
        let mut state = self.state();
        state.timeouts.push(timeout);
        state.failing().map_or(Ok(()), Err)?;
        state.register(session_timeout, name, idempotency_key)
    }

    async fn keep_alive(
        &self,
        session: u64,
        sequence: Option<u64>,
        event_index: Option<u64>,
        timeout: Duration,
    ) -> Result<Answer<KeptAlive>, Failure> {
        let mut state = self.state();
        state.timeouts.push(timeout);
        state.failing().map_or(Ok(()), Err)?;
        state.keep_alive(session, sequence, event_index)
    }

    async fn unregister(&self, session: u64, timeout: Duration) -> Result<Answer<()>, Failure> {
        let mut state = self.state();
        state.timeouts.push(timeout);
        state.failing().map_or(Ok(()), Err)?;
        state.unregister(session)
    }

    async fn session(&self, session: u64, read: Read) -> Result<Answer<SessionView>, Failure> {
        let mut state = self.state();
        state.reads.push(read);
        state.failing().map_or(Ok(()), Err)?;
        let output = state.session_view(session)?;
        Ok(Answer { consistency: Some(read.consistency), ..state.answer(output) })
    }

    async fn sessions(&self, after: u64, limit: u64, read: Read) -> Result<Answer<SessionPage>, Failure> {
        let mut state = self.state();
        state.reads.push(read);
        state.failing().map_or(Ok(()), Err)?;
        let output = state.session_page(after, limit);
        Ok(Answer { consistency: Some(read.consistency), ..state.answer(output) })
    }

    async fn events(&self, poll: Poll, _: Duration) -> Result<Answer<EventPage>, Failure> {
        self.state().failing().map_or(Ok(()), Err)?;
        let (me, wait) = self.state().arrive(&poll)?;
        let _waiting = Waiting::new(self);
        let start = Instant::now();
        loop {
            {
                let mut state = self.state();
                state.failing().map_or(Ok(()), Err)?;
                let page = state.look_for_events(&poll, me, wait)?;
                if !page.batches.is_empty() || start.elapsed() >= wait {
                    return Ok(state.answer(page));
                }
            }
            task::sleep(STEP).await;
        }
    }

    async fn feed(&self, after: Option<u64>, wait: Duration) -> Result<Feed, Failure> {
        self.state().waits.push((after, wait));
        let _waiting = Waiting::new(self);
        let start = Instant::now();
        loop {
            {
                let mut state = self.state();
                state.failing().map_or(Ok(()), Err)?;
                match state.feed(after) {
                    Feed::Events { events, .. } if events.is_empty() && start.elapsed() < wait => {}
                    feed => return Ok(feed),
                }
            }
            task::sleep(STEP).await;
        }
    }

    async fn entries(&self, from: u64, limit: u64, max_bytes: u64) -> Result<Vec<EntryView>, Failure> {
        let mut state = self.state();
        if let Some(failure) = state.failing() {
            return Err(failure);
        }
        let (mut found, mut bytes) = (Vec::new(), 0);
        for entry in state.log.iter().filter(|entry| entry.index >= from) {
            bytes += entry.bytes;
            if found.len() as u64 >= limit || (!found.is_empty() && bytes > max_bytes) {
                break;
            }
            found.push(entry.clone());
        }
        Ok(found)
    }

    async fn segments(&self) -> Result<Vec<SegmentView>, Failure> {
        if let Some(failure) = self.state().failing() {
            return Err(failure);
        }
        let file = "0000000000000001-1.segment".into();
        Ok(vec![SegmentView {
            file,
            first_index: 1,
            last_index: 5,
            bytes: 7,
            sealed: true,
            live: 1,
            released: 3,
            tombstones: 1,
            holes: 1,
            generation: 2,
            pinned_by: Some("referred to by the snapshot"),
        }])
    }

    async fn compact(&self, major: bool, timeout: Duration) -> Result<Compaction, Failure> {
        let mut state = self.state();
        state.timeouts.push(timeout);
        state.failing().map_or(Ok(()), Err)?;
        Ok(Compaction { compacted: major, segments: 2, bytes_before: 20, bytes_after: 10 })
    }

    async fn take_snapshot(&self, timeout: Duration) -> Result<SnapshotTaken, Failure> {
        let mut state = self.state();
        state.timeouts.push(timeout);
        state.failing().map_or(Ok(()), Err)?;
        let new = !state.has_snapshot;
        state.has_snapshot = true;
        Ok(SnapshotTaken { new, index: 8, term: 3, bytes: 200, references: 2 })
    }

    async fn backup(&self, _timeout: Duration) -> Result<Option<Backup>, Failure> {
        let mut state = self.state();
        state.failing().map_or(Ok(()), Err)?;
        if !state.has_snapshot {
            return Ok(None);
        }
        let left = state.pieces_given.clone();
        let breaks_off = state.backup_breaks_off;
        let pieces = stream::iter(0..40_u8).map(move |n| {
            left.fetch_add(1, Ordering::SeqCst);
            if breaks_off && n == 2 { Err(Failure::Internal) } else { Ok(vec![n; 1 << 20]) }
        });
        Ok(Some(Backup { index: 8, term: 3, pieces: pieces.boxed() }))
    }

    async fn change_member(&self, change: MemberChange, _timeout: Duration) -> Result<Answer<ClusterView>, Failure> {
        if let Some(failure) = self.state().failing() {
            return Err(failure);
        }
        let (id, configuration, force) = match change {
            MemberChange::Type { id, configuration, force, .. } | MemberChange::Remove { id, configuration, force } => {
                (id, configuration, force)
            }
        };
        let current = self.cluster().configuration_index;
        if id > 1 {
            return Err(Failure::MemberNotFound { id });
        } else if configuration != current {
            return Err(Failure::ConfigurationConflict(Conflict::Stale { current }));
        } else if !force {
            return Err(Failure::ConfigurationConflict(Conflict::LosesQuorum { voters: 1, available: 0 }));
        }
        Ok(self.state().answer(self.cluster()))
    }

    async fn change_settings(
        &self,
        change: SettingsChange,
        timeout: Duration,
    ) -> Result<Answer<SettingsView>, Failure> {
        self.state().timeouts.push(timeout);
        if let Some(failure) = self.state().failing() {
            return Err(failure);
        }
        let current = self.settings().configuration;
        if change.configuration != current {
            return Err(Failure::ConfigurationConflict(Conflict::Stale { current }));
        }
        let after = SettingsView { configuration: current + 1, ..self.settings() };
        let after = SettingsView {
            election_timeout: change.election_timeout.unwrap_or(after.election_timeout),
            largest_entry: change.largest_entry.unwrap_or(after.largest_entry),
            idempotency_window: change.idempotency_window.unwrap_or(after.idempotency_window),
            ..after
        };
        Ok(self.state().answer(after))
    }

    async fn transfer(&self, member: u64, _timeout: Duration) -> Result<Answer<u64>, Failure> {
        if let Some(failure) = self.state().failing() {
            return Err(failure);
        }
        if member == 1 { Ok(self.state().answer(1)) } else { Err(Failure::ConfigurationConflict(Conflict::NotVoter)) }
    }

    fn id(&self) -> u64 {
        1
    }

    fn cluster(&self) -> ClusterView {
        let member = MemberView {
            id: 1,
            member_type: "active",
            becoming: None,
            status: "available",
            identity: None,
            http: self.state().http.clone(),
            peer: "127.0.0.1:9700".into(),
            match_index: Some(7),
            lag: Some(0),
            lag_ms: Some(0),
            heard_ms: Some(3),
        };
        ClusterView { cluster_id: None, term: 3, leader: None, configuration_index: 17, members: vec![member] }
    }

    fn settings(&self) -> SettingsView {
        SettingsView {
            election_timeout: Duration::from_millis(500),
            clock_drift_permille: 100,
            largest_entry: 8 << 20,
            sessions: 1,
            session_answers: 2,
            session_answer_bytes: 3,
            session_events: 4,
            session_event_bytes: 5,
            idempotency_keys: 6,
            idempotency_key_bytes: 7,
            idempotency_window: Duration::from_secs(600),
            configuration: 17,
        }
    }

    fn server(&self) -> ServerView {
        ServerView {
            id: 1,
            identity: "0".repeat(16),
            member_type: Some("active"),
            role: "follower",
            version: "0.1.0",
            uptime_ms: 5,
            term: 3,
            vote: None,
            leader: Some(2),
            commit_index: 9,
            applied_index: 8,
            time_ms: 0,
            digest: "0".repeat(8),
            compared_index: 0,
            sessions: 0,
            log_lost: false,
            global_index: 6,
            snapshot: Some(SnapshotView { index: 5, bytes: 300 }),
            log: LogView { first_index: 1, last_index: 9, durable_index: 9, segments: 1, bytes: 10, live: 1 },
            memory_bytes: None,
        }
    }

    fn checks(&self) -> Checks {
        let leader = if self.state().unready { Err("no leader is known".to_string()) } else { Ok(()) };
        Checks(vec![("log", Ok(())), ("leader", leader)])
    }
}

/// A server of its own for a test.
pub(crate) struct Server {
    pub(crate) fake: Arc<Fake>,
    pub(crate) address: SocketAddr,
    stop: Sender<()>,
    task: JoinHandle<std::io::Result<()>>,
}

impl Server {
    pub(crate) fn start(config: HttpConfig) -> Self {
        Self::over(Fake::default(), config)
    }

    pub(crate) fn over(fake: Fake, config: HttpConfig) -> Self {
        let listener = task::block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let address = listener.local_addr().expect("its address");
        let fake = Arc::new(fake);
        let (stop, stopped) = async_channel::bounded(1);
        let task = task::spawn(serve(listener, fake.clone(), config, stopped));
        Self { fake, address, stop, task }
    }

    /// Tells it to stop.
    pub(crate) fn stop(&self) {
        self.stop.close();
    }

    /// Waits until it has stopped.
    pub(crate) fn wait(self) {
        task::block_on(self.task).expect("no error");
    }
}

pub(crate) fn server() -> Server {
    Server::start(HttpConfig::default())
}
