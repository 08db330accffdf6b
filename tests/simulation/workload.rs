//! The clients: what they ask, what they believe, and the history that is checked for linearizability.

use crate::faults::Profile;
use crate::invariants::{Invariants, decode_get};
use crate::server::SimInput;
use copycat::engine::machine::{Ask, Outcome, StateMachine, decode_output, encode_operation};
use copycat::engine::sessions::Submit;
use copycat::engine::{Consistency, Input, Query, RequestId, Response};
use copycat::store::{self, Command, Condition, Operation, OperationOutput, Output, Predicate, Store};
use copycat_testkit::Rng;
use copycat_testkit::linearizability::{History, Op, OpId, Outcome as Answer, Require, Written};
use std::collections::BTreeMap;

/// The same conditional write can be put in several ways.
#[derive(Debug, Clone, Copy)]
enum Form {
    Plain,
    Transaction,
    Batch,
}

/// A write of one key.
#[derive(Debug, Clone)]
struct Write {
    key: usize,
    /// `None`: the key is removed.
    value: Option<Vec<u8>>,
    condition: Condition,
    form: Form,
}

impl Write {
    fn command(&self, key: &[u8]) -> Command {
        let (key, value, condition) = (key.to_vec(), self.value.clone(), self.condition.clone());
        let content_type = String::from("text/plain");
        if let Form::Transaction = self.form {
            let predicate = match condition {
                Condition::Always => Predicate::All(Vec::new()),
                Condition::Absent => Predicate::Version { key: key.clone(), version: 0 },
                Condition::Exists => Predicate::Exists { key: key.clone(), exists: true },
                Condition::Versions(v) => {
                    let is = |version| Predicate::Version { key: key.clone(), version };
                    Predicate::Any(v.into_iter().map(is).collect())
                }
            };
            let otherwise = vec![Operation::Get { key: key.clone() }];
            let then = vec![match value {
                Some(value) => Operation::Put { key, value, content_type, ttl_ms: 0 },
                None => Operation::Delete { key },
            }];
            return Command::Transaction { condition: predicate, then, otherwise, max_bytes: 1 << 20 };
        }
        let command = match value {
            Some(value) => Command::Put { key, value, content_type, ttl_ms: 0, ephemeral: false, condition },
            None => Command::Delete { key, condition },
        };
        if let Form::Batch = self.form { Command::Batch(vec![command]) } else { command }
    }

    /// What came of it, however it was put.
    fn written(&self, output: Output, index: u64) -> Result<Written, String> {
        Ok(match output {
            Output::Put { .. } => Written::Put { version: index },
            Output::Deleted { version } => Written::Deleted { version },
            Output::ConditionFailed { version } => Written::Failed { version },
            Output::Batch(outputs) => {
                let [one] = <[Output; 1]>::try_from(outputs).map_err(|all| format!("MALFORMED output: {all:?}"))?;
                return self.written(one, index);
            }
            Output::Transaction { succeeded, results } => match (succeeded, results.as_slice()) {
                (true, [OperationOutput::Put { .. }]) => Written::Put { version: index },
                (true, [OperationOutput::Deleted { version }]) => Written::Deleted { version: *version },
                (false, [OperationOutput::Value(item)]) => {
                    Written::Failed { version: item.as_ref().map(|i| i.version) }
                }
                _ => return Err(format!("MALFORMED output: {succeeded}, {results:?}")),
            },
            _ => return Err(format!("MALFORMED output: {output:?}")),
        })
    }
}

/// What the names of keys with a TTL begin with.
pub(crate) const BRIEF: &str = "brief-";
/// Milliseconds.
pub(crate) const LONGEST_TTL: u64 = 3000;

#[derive(Debug, Clone)]
enum What {
    Write(Write),
    /// A key of its own kind that goes by itself: [`Invariants`] knows when.
    Brief {
        key: u64,
        ttl_ms: u64,
    },
    Get {
        key: usize,
        consistency: Consistency,
    },
}

#[derive(Debug, Clone)]
struct Waiting {
    request: RequestId,
    what: What,
    /// In the history; `None` for a sequential read, which is checked against its index.
    op: Option<OpId>,
    /// The server that has it.
    at: Option<usize>,
}

#[derive(Debug, Default)]
pub(crate) struct Client {
    waiting: Option<Waiting>,
    /// The highest index it has seen.
    seen: u64,
    /// The versions that it knows.
    versions: BTreeMap<usize, u64>,
    pub leader: Option<u64>,
    /// The server at which one that is loyal reads, whoever leads.
    pub home: usize,
    loyal: bool,
}

pub(crate) struct Workload {
    /// Clocks jump: leases mean nothing.
    jumps: bool,
    pub clients: Vec<Client>,
    pub keys: Vec<Vec<u8>>,
    history: History,
    next_value: u64,
    next_request: u64,
    pub acknowledged: u64,
    pub stopped: bool,
    lease_reads: u64,
    sequential_reads: u64,
}

impl Workload {
    pub(crate) fn new(profile: &Profile, rng: &mut Rng) -> Self {
        let mut client = || Client {
            home: rng.below(profile.servers) as usize,
            loyal: rng.chance(profile.loyal, 100),
            ..Client::default()
        };
        Self {
            jumps: profile.jumps,
            clients: (0..profile.clients).map(|_| client()).collect(),
            keys: (0..profile.keys).map(|k| format!("key-{k}").into_bytes()).collect(),
            history: History::new(),
            next_value: 0,
            next_request: 0,
            acknowledged: 0,
            stopped: false,
            lease_reads: 0,
            sequential_reads: 0,
        }
    }

    /// Clients number their requests so that the number names the client.
    pub(crate) fn client_of(&self, request: RequestId) -> usize {
        request as usize % self.clients.len()
    }

    pub(crate) fn is_waiting(&self, client: usize, request: RequestId) -> bool {
        self.clients[client].waiting.as_ref().is_some_and(|w| w.request == request)
    }

    /// Whether what this client asks is for its own server.
    pub(crate) fn stays(&self, client: usize) -> bool {
        let client = &self.clients[client];
        client.loyal && client.waiting.as_ref().is_some_and(|w| matches!(w.what, What::Get { .. }))
    }

    /// The bytes of a write that this server has and that no other write is alike.
    pub(crate) fn unique(&self, request: RequestId, at: usize) -> Option<Vec<u8>> {
        let waiting = self.clients[self.client_of(request)].waiting.as_ref()?;
        let What::Write(write) = &waiting.what else { return None };
        let mine = waiting.request == request && waiting.at == Some(at) && write.value.is_some();
        mine.then(|| encode_operation(&write.command(&self.keys[write.key])))
    }

    pub(crate) fn is_handed_over(&self, client: usize) -> bool {
        self.clients[client].waiting.as_ref().is_some_and(|w| w.at.is_some())
    }

    /// The requests that this server has.
    pub(crate) fn waiting_at(&self, at: usize) -> Vec<(usize, RequestId)> {
        let waiting = self.clients.iter().enumerate();
        waiting
            .filter_map(|(c, client)| client.waiting.as_ref().filter(|w| w.at == Some(at)).map(|w| (c, w.request)))
            .collect()
    }

    pub(crate) fn begin(&mut self, client: usize, time: u64, rng: &mut Rng) -> RequestId {
        let key = rng.below(self.keys.len() as u64) as usize;
        let known = self.clients[client].versions.get(&key).copied();
        let condition = match rng.below(10) {
            0..4 => Condition::Always,
            4..8 => known.map_or(Condition::Absent, |v| Condition::Versions(vec![v])),
            8 => Condition::Absent,
            _ => Condition::Exists,
        };
        let form = match rng.below(8) {
            0 => Form::Transaction,
            1 => Form::Batch,
            _ => Form::Plain,
        };
        let what = match rng.below(20) {
            0..10 => {
                self.next_value += 1;
                let mut value = format!("{}-", self.next_value).into_bytes();
                if rng.chance(1, 10) {
                    value.resize(value.len() + rng.below(600) as usize, b'x');
                }
                What::Write(Write { key, value: Some(value), condition, form })
            }
            10 | 11 => What::Write(Write { key, value: None, condition, form }),
            12 => What::Brief { key: rng.below(3), ttl_ms: rng.range(20, LONGEST_TTL) },
            13..16 => What::Get { key, consistency: Consistency::Linearizable },
            16 | 17 if !self.jumps => What::Get { key, consistency: Consistency::Lease },
            _ => What::Get { key, consistency: Consistency::Sequential },
        };
        let op = self.operation(&what).map(|(key, op)| self.history.invoke(client as u64, time, &key, op));
        self.next_request += 1;
        let request = self.next_request * self.clients.len() as u64 + client as u64;
        self.clients[client].waiting = Some(Waiting { request, what, op, at: None });
        request
    }

    fn operation(&self, what: &What) -> Option<(Vec<u8>, Op)> {
        let require = |condition: &Condition| match condition {
            Condition::Always => Require::Nothing,
            Condition::Absent => Require::Absent,
            Condition::Exists => Require::Exists,
            Condition::Versions(versions) => Require::Version(versions[0]),
        };
        match what {
            What::Write(Write { key, value, condition, .. }) => {
                let require = require(condition);
                let op = match value.clone() {
                    Some(value) => Op::Put { value, require },
                    None => Op::Delete { require },
                };
                Some((self.keys[*key].clone(), op))
            }
            What::Get { consistency: Consistency::Sequential, .. } | What::Brief { .. } => None,
            What::Get { key, .. } => Some((self.keys[*key].clone(), Op::Get)),
        }
    }

    /// Gives the client's request to a server.
    pub(crate) fn hand_over(&mut self, client: usize, at: usize) -> SimInput {
        let seen = self.clients[client].seen;
        let waiting = self.clients[client].waiting.as_mut().expect("it waits");
        waiting.at = Some(at);
        let Waiting { request: id, what, .. } = waiting.clone();
        match &what {
            What::Write(write) => {
                let command = write.command(&self.keys[write.key]);
                Input::Submit { id, submit: Submit::command(encode_operation(&command), Store::mode(&command)) }
            }
            What::Brief { key, ttl_ms } => {
                let (key, ttl_ms) = (format!("{BRIEF}{key}").into_bytes(), *ttl_ms);
                let (content_type, condition) = (String::new(), Condition::Always);
                let command =
                    Command::Put { key, value: Vec::new(), content_type, ttl_ms, ephemeral: false, condition };
                Input::Submit { id, submit: Submit::command(encode_operation(&command), Store::mode(&command)) }
            }
            What::Get { key, consistency } => {
                let operation = encode_operation(&store::Query::Get { key: self.keys[*key].clone() });
                // One that is loyal need not say what it has seen: its server does not go back.
                let named = *consistency == Consistency::Sequential && !self.clients[client].loyal;
                let index = if named { seen } else { 0 };
                Input::Query { id, query: Query { consistency: *consistency, index, ask: Ask::Machine(operation) } }
            }
        }
    }

    /// The server said that it did nothing.
    pub(crate) fn took_back(&mut self, client: usize) {
        if let Some(waiting) = &mut self.clients[client].waiting {
            waiting.at = None;
        }
    }

    pub(crate) fn answered(
        &mut self,
        client: usize,
        time: u64,
        response: &Response,
        invariants: &Invariants,
    ) -> Result<(), String> {
        let Some(waiting) = self.clients[client].waiting.take() else { return Ok(()) };
        self.acknowledged += 1;
        let outcome = match &waiting.what {
            What::Write(write) => {
                let Outcome::Output(bytes) = &response.output else { return Err("MALFORMED".into()) };
                let output = decode_output::<Store>(bytes).ok_or("MALFORMED output")?;
                let written = write.written(output, response.index)?;
                let versions = &mut self.clients[client].versions;
                versions.remove(&write.key);
                if let Written::Put { version } | Written::Failed { version: Some(version) } = written {
                    versions.insert(write.key, version);
                }
                written
            }
            What::Brief { .. } => Written::Put { version: response.index },
            What::Get { key, consistency } => {
                let got = decode_get(&response.output);
                let version = got.as_ref().map(|g| g.0);
                invariants.check_answer(&self.keys[*key], response.index, version)?;
                match consistency {
                    Consistency::Sequential => {
                        self.sequential_reads += 1;
                        let Client { seen, loyal, .. } = self.clients[client];
                        if response.index < seen && !loyal {
                            return Err(format!("WENT BACK: a sequential read at {} after {seen}", response.index));
                        }
                    }
                    Consistency::Lease => {
                        self.lease_reads += u64::from(response.consistency == Some(Consistency::Lease));
                    }
                    Consistency::Linearizable => {}
                }
                version.map(|v| self.clients[client].versions.insert(*key, v));
                Written::Got { item: got }
            }
        };
        let seen = &mut self.clients[client].seen;
        *seen = (*seen).max(response.index);
        if let Some(op) = waiting.op {
            self.history.complete(op, time, Answer::Ok(outcome));
        }
        Ok(())
    }

    /// A bound was reached: nothing happened.
    pub(crate) fn refused(&mut self, client: usize, time: u64) {
        if let Some(op) = self.clients[client].waiting.take().and_then(|w| w.op) {
            self.history.complete(op, time, Answer::NotApplied);
        }
    }

    /// No answer came: a command that a server had may take effect at any time.
    pub(crate) fn gave_up(&mut self, client: usize, time: u64) {
        let Some(waiting) = self.clients[client].waiting.take() else { return };
        let unknown = matches!(waiting.what, What::Write(_)) && waiting.at.is_some();
        if let Some(op) = waiting.op {
            self.history.complete(op, time, if unknown { Answer::Unknown } else { Answer::NotApplied });
        }
    }

    pub(crate) fn check(&mut self, counts: &mut BTreeMap<&'static str, u64>) -> Result<(), String> {
        counts.insert("lease reads", self.lease_reads);
        counts.insert("sequential reads", self.sequential_reads);
        self.history.check().map(|_| ()).map_err(|violation| format!("NOT LINEARIZABLE: {violation}"))
    }
}
