//! A backend in memory, and a server over it.

use async_channel::Sender;
use async_std::net::TcpListener;
use async_std::task::{self, JoinHandle};
use async_trait::async_trait;
use copycat_http::{
    Answer, Backend, Checks, ClusterView, Command, CommandOutput, Condition, Failure, HttpConfig, Item, LogView,
    MemberView, Query, QueryOutput, Read, ServerView, serve,
};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

#[derive(Default)]
pub(crate) struct State {
    pub(crate) index: u64,
    keys: BTreeMap<Vec<u8>, Item>,
    /// What everything fails with.
    pub(crate) failure: Option<Failure>,
    /// What a server lacks.
    pub(crate) unready: bool,
    pub(crate) timeouts: Vec<Duration>,
    pub(crate) reads: Vec<Read>,
}

#[derive(Default)]
pub(crate) struct Fake {
    state: Mutex<State>,
    /// Futures that wait, and those that were dropped while waiting.
    pub(crate) waiting: AtomicU64,
    pub(crate) dropped: AtomicU64,
}

struct Waiting<'a>(&'a Fake);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
        self.0.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

fn holds(condition: &Condition, version: Option<u64>) -> bool {
    match condition {
        Condition::Always => true,
        Condition::Absent => version.is_none(),
        Condition::Exists => version.is_some(),
        Condition::Versions(any) => version.is_some_and(|v| any.contains(&v)),
    }
}

impl State {
    fn apply(&mut self, command: Command) -> CommandOutput {
        self.index += 1;
        let (Command::Put { key, condition, .. } | Command::Delete { key, condition }) = &command;
        let version = self.keys.get(key).map(|item| item.version);
        if !holds(condition, version) {
            return CommandOutput::ConditionFailed { version };
        }
        match command {
            Command::Delete { key, .. } => {
                self.keys.remove(&key);
                CommandOutput::Deleted { version }
            }
            Command::Put { key, value, content_type, .. } => {
                let created_index = self.keys.get(&key).map_or(self.index, |item| item.created_index);
                let item = Item { key: key.clone(), value, content_type, version: self.index, created_index };
                self.keys.insert(key, item);
                CommandOutput::Put { created: version.is_none() }
            }
        }
    }

    fn ask(&self, query: Query) -> QueryOutput {
        match query {
            Query::Get { key } => QueryOutput::Value(self.keys.get(&key).cloned()),
            Query::List { prefix, after, limit, max_bytes } => {
                let matching = self.keys.iter().filter(|(key, _)| key.starts_with(&prefix));
                let mut rest = matching.filter(|(key, _)| after.as_ref().is_none_or(|after| *key > after)).peekable();
                let (mut items, mut bytes): (Vec<Item>, u64) = (Vec::new(), 0);
                while let Some((key, item)) = rest.peek() {
                    bytes += (key.len() + item.value.len()) as u64;
                    if items.len() as u64 >= limit || (!items.is_empty() && bytes > max_bytes) {
                        break;
                    }
                    items.push((*item).clone());
                    rest.next();
                }
                let more = rest.peek().is_some();
                QueryOutput::Page { items, more }
            }
        }
    }
}

impl Fake {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with it")
    }
}

#[async_trait]
impl Backend for Fake {
    async fn command(&self, command: Command, timeout: Duration) -> Result<Answer<CommandOutput>, Failure> {
        assert_ne!(key_of(&command), b"panic", "as asked");
        let mut state = self.state();
        state.timeouts.push(timeout);
        if let Some(failure) = state.failure {
            return Err(failure);
        }
        let output = state.apply(command);
        Ok(Answer { output, index: state.index, term: 3, served_by: 2, consistency: None })
    }

    async fn query(&self, query: Query, read: Read) -> Result<Answer<QueryOutput>, Failure> {
        if matches!(&query, Query::Get { key } if key == b"hang") {
            self.waiting.fetch_add(1, Ordering::SeqCst);
            let _waiting = Waiting(self);
            task::sleep(read.timeout).await;
            return Err(Failure::Timeout { maybe_applied: false });
        }
        let mut state = self.state();
        state.reads.push(read);
        if let Some(failure) = state.failure {
            return Err(failure);
        }
        let output = state.ask(query);
        Ok(Answer { output, index: state.index, term: 3, served_by: 2, consistency: Some(read.consistency) })
    }

    fn id(&self) -> u64 {
        1
    }

    fn cluster(&self) -> ClusterView {
        let member = MemberView {
            id: 1,
            member_type: "active",
            status: "available",
            http: None,
            peer: "127.0.0.1:9700".into(),
            match_index: Some(7),
            lag: Some(0),
        };
        ClusterView { cluster_id: None, term: 3, leader: None, configuration_index: 17, members: vec![member] }
    }

    fn server(&self) -> ServerView {
        ServerView {
            id: 1,
            identity: "0".repeat(16),
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
            log_lost: false,
            log: LogView { first_index: 1, last_index: 9, durable_index: 9, segments: 1, bytes: 10, live: 1 },
            memory_bytes: None,
        }
    }

    fn checks(&self) -> Checks {
        let leader = if self.state().unready { Err("no leader is known".to_string()) } else { Ok(()) };
        Checks(vec![("log", Ok(())), ("leader", leader)])
    }
}

fn key_of(command: &Command) -> &[u8] {
    let (Command::Put { key, .. } | Command::Delete { key, .. }) = command;
    key
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
        let listener = task::block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let address = listener.local_addr().expect("its address");
        let fake = Arc::new(Fake::default());
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
