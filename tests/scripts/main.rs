//! Golden scripts: a few lines of orders to a cluster of engines, and the full trace of what they do. The trace *is* the
//! specification; a change of it is reviewed as a diff. `COPYCAT_UPDATE=1 cargo test --test scripts` rewrites them.
//!
//! Orders: `limit sessions|answers|keys|events|window 1` (a bound; before `cluster`) · `cluster 1 2 3` · `wait 600ms` (time
//! passes, everybody is polled) · `poll 1` · `deliver` (messages travel until none is left) · `deliver 1 2` (one link's, once) · `drop 1 2` · `flush 1`, `flush` · `put 1 key value` ·
//! `get 1 key [lease|sequential N]` · `register 1 timeout-ms [key]` · `number 1 session sequence key value` (a numbered
//! put) · `keyed 1 name key value` (one with an idempotency key) · `raw 1 session sequence mode bytes` (a command in hexadecimal digits, and the
//! compaction mode that its sender claims) · `question 1 bytes` · `log 1` (its entries) ·
//! `brief 1 key ttl-ms` (a put that ends) · `create 1 key` (a put if the key is not there) · `watch 1 session prefix` ·
//! `alive 1 session [sequence event-index]` · `close 1 session` · `events 1 session [after]` · `session 1 id` ·
//! `transfer 1 2` · `join 1 id type` · `enter id told-by` · `turn 1 id type configuration` · `remove 1 id configuration` ·
//! `small 2 4096` (that server's segments; before `cluster`) · `set 1 setting value configuration` (times in ms) · `members` · `fill 1 N` (N puts of 4 KiB) · `large 1 key bytes` (a put of so many) · `snapshot 1` and `compact 1` (are wanted) · `work 1` (background work begins) ·
//! `done 1` (and ends) · `crash 1` (power cut, nothing unflushed survives) · `start 1` ·
//! `show` · `cluster 1 2 3 leader=1` (what it takes to elect that one is not shown: all know that term 1's first entries
//! are committed) · `hang 1` (a flush begins, and does not end) and `unhang 1` · `save 1` (its disk
//! is copied) and `restore 1` (the copy is put back, of a server that is down).

mod forged;

use copycat::engine::machine::{
    Ask, CompactionMode, Outcome, StateMachine, decode_output, decode_query_output, encode_operation,
};
use copycat::engine::sessions::{Batch, KeepAlive, Submit};
use copycat::engine::{
    AppendOutcome, Change, Configuration, Consistency, Engine, Input, Kind, Member, MemberType, Message, Now, Options,
    Output, Query, Setting, Work, decode, encode,
};
use copycat::store::{self, Command, Condition, Store};
use copycat_storage::{FlushJob, MemDisk, Seed, Storage};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

struct Node {
    disk: MemDisk,
    engine: Option<Engine<MemDisk, Store>>,
    work: Option<Work<MemDisk>>,
    flush: Option<FlushJob<MemDisk>>,
    /// A copy of the disk, and how often it was put back.
    copy: (Option<MemDisk>, u64),
}

impl Node {
    fn new() -> Self {
        Self { disk: MemDisk::new(), engine: None, work: None, flush: None, copy: (None, 0) }
    }
}

#[derive(Default)]
struct Lab {
    options: Options,
    /// Servers with segments of another size.
    small: BTreeMap<u64, u32>,
    nodes: BTreeMap<u64, Node>,
    wire: Vec<(u64, u64, Message)>,
    time: Duration,
    requests: u64,
    trace: String,
}

impl Lab {
    fn now(&self) -> Now {
        Now { monotonic: self.time, wall: 1000 }
    }

    fn say(&mut self, text: &str) {
        writeln!(self.trace, "  {text}").expect("a string grows");
    }

    fn start(&mut self, id: u64) {
        let initial = Configuration::bootstrap(self.nodes.keys().map(|&id| (id, format!("s{id}:1"))));
        let segment = self.small.get(&id).copied().unwrap_or(SEGMENT);
        let node = self.nodes.get_mut(&id).expect("a member");
        let storage = open(node, id, segment);
        let seed = id * 1000 + node.copy.1;
        let now = Now { monotonic: self.time, wall: 1000 };
        let engine = Engine::new(id, self.options.clone(), seed, now, storage, Store::default, initial);
        node.engine = Some(engine.expect("the engine starts"));
    }

    fn step(&mut self, id: u64, input: Option<Input<MemDisk>>) {
        let now = self.now();
        let Some(engine) = self.nodes.get_mut(&id).and_then(|n| n.engine.as_mut()) else { return };
        if let Some(input) = input {
            engine.step(now, input).expect("it goes on");
        }
        engine.step(now, Input::Drained).expect("it goes on");
        while engine.poll(now).expect("it goes on") {}
        for output in engine.take_outputs() {
            match output {
                Output::Send { to, message } => {
                    self.say(&format!("{id} -> {to}  {}", describe(&message)));
                    self.wire.push((id, to, message));
                }
                Output::Reply { id: request, result } => {
                    let text = match result {
                        Ok(r) => format!("{} at {}", describe_output(&r.output, r.consistency), r.index),
                        Err(refusal) => format!("{refusal:?}"),
                    };
                    self.say(&format!("{id} answers request {request}: {text}"));
                }
                Output::Event(event) => self.say(&format!("{id} {event:?}")),
                Output::Refused { peer, .. } => self.say(&format!("{id} refuses {peer}")),
            }
        }
    }

    fn flush(&mut self, id: u64) {
        let now = self.now();
        let Some(engine) = self.nodes.get_mut(&id).and_then(|n| n.engine.as_mut()) else { return };
        let Some(job) = engine.flush(now) else { return };
        let persisted = job.run().expect("the disk works");
        self.say(&format!("{id} has flushed"));
        self.step(id, Some(Input::Persisted(persisted)));
    }

    fn cluster(&self, id: u64) -> u128 {
        self.nodes.get(&id).and_then(|n| n.engine.as_ref()).map_or(0, |e| e.status().cluster)
    }

    /// Delivers what travels on one link now.
    fn deliver(&mut self, link: Option<(u64, u64)>) {
        for (from, to, message) in std::mem::take(&mut self.wire) {
            if link.is_none_or(|l| l == (from, to)) {
                self.step(to, Some(Input::Message { from, identity: from * 11, cluster: self.cluster(from), message }));
            } else {
                self.wire.push((from, to, message));
            }
        }
    }

    fn order(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |i: usize| words[i].parse::<u64>().unwrap_or_else(|_| panic!("{line}: no number"));
        match words[0] {
            "limit" => {
                let most = number(2);
                match words[1] {
                    "sessions" => self.options.settings.sessions = most,
                    "answers" => self.options.settings.session_answers = most,
                    "keys" => self.options.settings.keys = most,
                    "events" => self.options.settings.session_limits.events = most,
                    "window" => self.options.settings.idempotency_window = Duration::from_millis(most),
                    other => panic!("unknown bound {other}"),
                }
            }
            "small" => drop(self.small.insert(number(1), u32::try_from(number(2)).expect("a small number"))),
            "set" => {
                let (at, value, configuration) = (number(1), number(3), number(4));
                let setting = Setting::ALL.into_iter().find(|s| s.name() == words[2]).expect("a setting");
                let named = [(setting, value)].into_iter().collect();
                self.change(at, Change::Settings { named, configuration });
            }
            "large" => self.put(number(1), (words[2], &"x".repeat(words[3].parse().expect("bytes"))), 0, 0, None),
            "cluster" => {
                (self.nodes, self.wire) = (BTreeMap::new(), Vec::new());
                let leader = words.last().and_then(|w| w.strip_prefix("leader="));
                for i in 1..words.len() - usize::from(leader.is_some()) {
                    self.nodes.insert(number(i), Node::new());
                }
                if let Some(leader) = leader {
                    return self.elect(leader.parse().expect("a number"));
                }
                for id in self.ids() {
                    self.start(id);
                }
            }
            "wait" => {
                let ms = words[1].trim_end_matches("ms").parse().expect("milliseconds");
                self.time += Duration::from_millis(ms);
                for id in self.ids() {
                    self.step(id, None);
                }
            }
            "poll" => self.step(number(1), None),
            "deliver" if words.len() == 3 => self.deliver(Some((number(1), number(2)))),
            "deliver" => {
                for _ in 0..50 {
                    self.deliver(None);
                }
            }
            "drop" => {
                let link = (number(1), number(2));
                self.wire.retain(|&(from, to, _)| (from, to) != link);
            }
            "flush" if words.len() == 2 => self.flush(number(1)),
            "flush" => self.ids().into_iter().for_each(|id| self.flush(id)),
            "put" => self.put(number(1), (words[2], words[3]), 0, 0, None),
            "register" => {
                let key = words.get(3).map(ToString::to_string);
                self.submit(number(1), Submit::Register { timeout_ms: number(2), name: "s".into(), key });
            }
            "number" => {
                let (session, sequence) = (number(2), number(3));
                self.put(number(1), (words[4], words[5]), session, sequence, None);
            }
            "keyed" => self.put(number(1), (words[3], words[4]), 0, 0, Some(words[2].into())),
            "raw" => {
                let (session, sequence, operation) = (number(2), number(3), bytes_of(words[5]));
                let mode = u8::try_from(number(4)).expect("a byte");
                self.submit(number(1), Submit::Command { operation, mode, session, sequence, key: None });
            }
            "question" => self.ask(number(1), Ask::Machine(bytes_of(words[2]))),
            "log" => {
                let storage = self.running(number(1)).storage();
                let entry = |index| {
                    let entry = storage.get(index).expect("it is read").expect("an entry");
                    let kind = Kind::from_byte(entry.kind).expect("a known kind");
                    let mode = CompactionMode::from_byte(entry.mode);
                    format!("{index}@{} {kind:?} {mode:?}, {} bytes", entry.term, entry.data.len())
                };
                let lines: Vec<String> = (storage.first_index()..=storage.last_index()).map(entry).collect();
                lines.iter().for_each(|line| self.say(line));
            }
            "brief" => self.command(number(1), &put(words[2], "", number(3), Condition::Always), (0, 0), None),
            "create" => self.command(number(1), &put(words[2], "", 0, Condition::Absent), (0, 0), None),
            "watch" => {
                let target = store::Target::Prefix(words[3].into());
                let command = Command::Watch { target, values: false, limit: 10 };
                let (operation, mode) = (encode_operation(&command), Store::mode(&command) as u8);
                let submit = Submit::Command { operation, mode, session: number(2), sequence: 0, key: None };
                self.submit(number(1), submit);
            }
            "alive" => {
                let (sequence, event_index) = if words.len() > 3 { (number(3), number(4)) } else { (0, 0) };
                let item = KeepAlive { session: number(2), sequence, event_index, alive: true, ..KeepAlive::default() };
                self.submit(number(1), Submit::KeepAlive(item));
            }
            "close" => self.submit(number(1), Submit::Unregister { session: number(2) }),
            "events" => {
                let after = (words.len() > 3).then(|| number(3));
                self.ask(number(1), Ask::Events { session: number(2), after, bytes: 1000 });
            }
            "session" => self.ask(number(1), Ask::Session(number(2))),
            "get" => {
                let (consistency, index) = match words.get(3) {
                    Some(&"lease") => (Consistency::Lease, 0),
                    Some(&"sequential") => (Consistency::Sequential, number(4)),
                    _ => (Consistency::Linearizable, 0),
                };
                let operation = encode_operation(&store::Query::Get { key: words[2].into() });
                self.requests += 1;
                let query = Query { consistency, index, ask: Ask::Machine(operation) };
                self.step(number(1), Some(Input::Query { id: self.requests, query }));
            }
            "transfer" => {
                self.requests += 1;
                let (target, reply) = (Some(number(2)), Some(self.requests));
                self.step(number(1), Some(Input::Transfer { target, reply }));
            }
            "fill" => (0..number(2)).for_each(|_| self.put(number(1), ("filled", &"x".repeat(4096)), 0, 0, None)),
            "snapshot" => drop(self.running(number(1)).request_snapshot()),
            "compact" => drop(self.running(number(1)).request_compaction(false)),
            "work" => {
                let id = number(1);
                let work = self.running(id).work();
                self.say(
                    &work.as_ref().map_or(format!("{id} has nothing to do"), |work| format!("{id} begins {work:?}")),
                );
                self.nodes.get_mut(&id).expect("a server").work = work;
            }
            "done" => {
                let work = self.nodes.get_mut(&number(1)).and_then(|n| n.work.take()).expect("work was begun");
                let worked = work.run(usize::MAX, || true).expect("it is not interrupted");
                self.step(number(1), Some(Input::Worked(worked)));
            }
            "crash" => {
                let node = self.nodes.get_mut(&number(1)).expect("a member");
                (node.engine, node.work, node.flush) = (None, None, None);
                node.disk.crash(&mut || 0);
            }
            "join" => {
                let (at, id, member_type) = (number(1), number(2), type_of(words[3]));
                let (peer, http) = (format!("s{id}:1"), format!("s{id}:2"));
                self.change(at, Change::Join { id, identity: id * 11, peer, http, member_type });
            }
            "turn" => {
                let (at, id, member_type, configuration) = (number(1), number(2), type_of(words[3]), number(4));
                self.change(at, Change::Type { id, member_type, configuration, force: false });
            }
            "remove" => {
                let (at, id, configuration) = (number(1), number(2), number(3));
                self.change(at, Change::Remove { id, configuration, force: false });
            }
            "enter" => {
                // As a server does that has joined: it starts with the configuration that it was told.
                let (id, told_by) = (number(1), number(2));
                self.nodes.insert(id, Node::new());
                let teller = self.nodes[&told_by].engine.as_ref().expect("it runs");
                let (index, known) = (teller.status().commit, teller.committed_configuration().clone());
                self.enter(id, index, known);
            }
            "members" => {
                for id in self.ids() {
                    if let Some(engine) = &self.nodes[&id].engine {
                        let text = format!("{id} knows {}", describe_members(engine.configuration()));
                        self.say(&text);
                    }
                }
            }
            "save" => {
                let node = self.nodes.get_mut(&number(1)).expect("a server");
                node.copy.0 = Some(node.disk.fork());
            }
            "restore" => {
                let node = self.nodes.get_mut(&number(1)).expect("a server");
                node.disk = node.copy.0.take().expect("a copy");
                node.copy.1 += 1;
            }
            "hang" => {
                let (id, now) = (number(1), self.now());
                let job = self.running(id).flush(now).expect("there is something to flush");
                self.nodes.get_mut(&id).expect("a server").flush = Some(job);
            }
            "unhang" => {
                let job = self.nodes.get_mut(&number(1)).and_then(|n| n.flush.take()).expect("a flush hangs");
                let persisted = job.run().expect("the disk works");
                self.step(number(1), Some(Input::Persisted(persisted)));
            }
            "start" => self.start(number(1)),
            "show" => {
                for id in self.ids() {
                    let text = match &self.nodes[&id].engine {
                        None => format!("{id} is down"),
                        Some(e) => {
                            let s = e.status();
                            format!(
                                "{id} {} term {} vote {} leader {:?} log {} durable {} commit {} applied {}",
                                s.role, s.term, s.vote, s.leader, s.last_index, s.durable_index, s.commit, s.applied
                            )
                        }
                    };
                    self.say(&text);
                }
            }
            other => panic!("unknown order {other}"),
        }
    }

    /// Has that one elected, and everybody know so much of the log as there is then.
    fn elect(&mut self, leader: u64) {
        let shown = self.trace.len();
        self.start(leader);
        self.time = self.running(leader).deadline();
        // Those that start only now have no reason to stand.
        for id in self.ids().into_iter().filter(|&id| id != leader) {
            self.start(id);
        }
        self.step(leader, None);
        for beat in 0..3 {
            for _ in 0..8 {
                self.deliver(None);
                self.ids().into_iter().for_each(|id| self.flush(id));
            }
            if beat < 2 {
                self.time += Duration::from_millis(100);
                self.step(leader, None);
            }
        }
        assert_eq!(self.running(leader).role(), copycat::engine::Role::Leader);
        assert!(self.wire.is_empty(), "something is still on its way: {:?}", self.wire);
        self.trace.truncate(shown);
    }

    fn running(&mut self, id: u64) -> &mut Engine<MemDisk, Store> {
        self.nodes.get_mut(&id).and_then(|n| n.engine.as_mut()).expect("it runs")
    }

    fn enter(&mut self, id: u64, index: u64, known: Configuration) {
        let options = self.options.clone();
        let node = self.nodes.get_mut(&id).expect("a server");
        let mut storage = open(node, id, SEGMENT);
        let meta = copycat_storage::Meta { cluster: known.cluster, ..storage.meta().clone() };
        storage.set_meta(meta);
        storage.set_configuration(encode(&(index, known)));
        let now = Now { monotonic: self.time, wall: 1000 };
        let none = Configuration::default();
        let engine = Engine::new(id, options, id * 1000, now, storage, Store::default, none);
        node.engine = Some(engine.expect("the engine starts"));
    }

    fn change(&mut self, at: u64, change: Change) {
        self.requests += 1;
        self.step(at, Some(Input::Change { id: self.requests, change }));
    }

    fn put(&mut self, id: u64, (key, value): (&str, &str), session: u64, sequence: u64, name: Option<String>) {
        self.command(id, &put(key, value, 0, Condition::Always), (session, sequence), name);
    }

    fn command(&mut self, id: u64, command: &Command, (session, sequence): (u64, u64), key: Option<String>) {
        let (operation, mode) = (encode_operation(command), Store::mode(command) as u8);
        self.submit(id, Submit::Command { operation, mode, session, sequence, key });
    }

    fn submit(&mut self, id: u64, submit: Submit) {
        self.requests += 1;
        self.step(id, Some(Input::Submit { id: self.requests, submit }));
    }

    fn ask(&mut self, id: u64, ask: Ask) {
        self.requests += 1;
        let query = Query { consistency: Consistency::Sequential, index: 0, ask };
        self.step(id, Some(Input::Query { id: self.requests, query }));
    }

    fn ids(&self) -> Vec<u64> {
        self.nodes.keys().copied().collect()
    }
}

const SEGMENT: u32 = 16384;

fn put(key: &str, value: &str, ttl_ms: u64, condition: Condition) -> Command {
    let content_type = "text/plain".into();
    Command::Put { key: key.into(), value: value.into(), content_type, ttl_ms, ephemeral: false, condition }
}

/// A put as it is logged, and its compaction mode.
fn command(key: &str, value: &str) -> (Vec<u8>, u8) {
    let command = put(key, value, 0, Condition::Always);
    (encode_operation(&command), Store::mode(&command) as u8)
}

fn open(node: &Node, id: u64, segment_size: u32) -> Storage<MemDisk> {
    let seed = Seed { identity: id * 11, salt: 7, now_ms: 1000 };
    let options = copycat_storage::Options { segment_size };
    Storage::open(node.disk.clone(), options, seed).expect("the disk opens")
}

fn bytes_of(digits: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("two digits");
    (0..digits.len()).step_by(2).map(byte).collect()
}

fn type_of(word: &str) -> MemberType {
    match word {
        "active" => MemberType::Active,
        "passive" => MemberType::Passive,
        "reserve" => MemberType::Reserve,
        other => panic!("{other} is no type"),
    }
}

fn describe(message: &Message) -> String {
    match message {
        Message::Append { term, previous_index, previous_term, entries, commit, round, recover_to, .. } => {
            let entries: Vec<String> = entries
                .iter()
                .map(|e| format!("{}@{} {:?}", e.index, e.term, Kind::from_byte(e.kind).expect("a known kind")))
                .collect();
            let recover = recover_to.map_or(String::new(), |i| format!(", recover to {i}"));
            format!(
                "Append term {term} after {previous_index}@{previous_term} [{}] commit {commit} round {round}{recover}",
                entries.join(", ")
            )
        }
        Message::Feed { previous_index, previous_term, entries, commit } => {
            let indexes: Vec<String> = entries.iter().map(|e| format!("{}@{}", e.index, e.term)).collect();
            format!("Feed after {previous_index}@{previous_term} [{}] commit {commit}", indexes.join(", "))
        }
        Message::Offer { snapshot } => format!("Offer of snapshot {}", snapshot.index),
        Message::Fetch { snapshot, want } => format!("Fetch of snapshot {}: {want:?}", snapshot.index),
        Message::Piece { snapshot, offset, .. } => format!("Piece of snapshot {} at {offset}", snapshot.index),
        Message::Pieces { snapshot, entries } => {
            let indexes: Vec<u64> = entries.iter().map(|e| e.index).collect();
            format!("Entries of snapshot {}: {indexes:?}", snapshot.index)
        }
        Message::FeedRequest { index, .. } => format!("FeedRequest behind {index}"),
        Message::FeedReply { outcome, .. } => format!("FeedReply {}", describe_outcome(outcome)),
        Message::Configure { term, index, configuration } => {
            format!("Configure term {term} configuration {index}: {}", describe_members(configuration))
        }
        Message::AppendReply { term, round, outcome, wants, lost, .. } => {
            let outcome = describe_outcome(outcome);
            let wants = if *wants > 0 { format!(", wants {wants}") } else { String::new() };
            let lost = if *lost { ", lost its log" } else { "" };
            format!("AppendReply term {term} {outcome} round {round}{wants}{lost}")
        }
        other => format!("{other:?}"),
    }
}

fn describe_outcome(outcome: &AppendOutcome) -> String {
    match outcome {
        AppendOutcome::Matched(index) => format!("matched {index}"),
        AppendOutcome::Rejected { previous_index, conflict_term, conflict_index } => {
            format!("rejected {previous_index}, has {conflict_term} from {conflict_index}")
        }
    }
}

fn describe_members(configuration: &Configuration) -> String {
    let one = |(id, m): (&u64, &Member)| {
        let becoming = m.becoming.map_or(String::new(), |b| format!(" becoming {b}"));
        format!("{id} {}{becoming} {}", m.member_type, m.status)
    };
    let members: Vec<String> = configuration.members.iter().map(one).collect();
    format!("index {} [{}]", configuration.index, members.join(", "))
}

fn describe_output(output: &Outcome, consistency: Option<Consistency>) -> String {
    let bytes = match output {
        Outcome::Output(bytes) => {
            if let Ok(configuration) = decode::<Configuration>(bytes) {
                return describe_members(&configuration);
            }
            bytes
        }
        Outcome::Events(page) => {
            let batch = |b: &Batch| format!("{}<-{} ({})", b.index, b.previous, b.events.len());
            let batches: Vec<String> = page.batches.iter().map(batch).collect();
            return format!("events [{}], the last at {}", batches.join(", "), page.event_index);
        }
        other => return format!("{other:?}"),
    };
    match consistency {
        None => match decode_output::<Store>(bytes) {
            Some(output) => format!("{output:?}"),
            None => format!("server {}", decode::<u64>(bytes).expect("who leads")),
        },
        Some(consistency) => match decode_query_output::<Store>(bytes) {
            Some(store::Answer::Value { item: Some(item), .. }) => {
                format!("{} ({consistency:?})", String::from_utf8_lossy(&item.value))
            }
            Some(store::Answer::Value { item: None, .. }) => format!("nothing ({consistency:?})"),
            other => panic!("{other:?}"),
        },
    }
}

/// The trace of a script: its own lines, each order followed by what came of it.
fn play(script: &str, options: Options) -> String {
    let mut lab = Lab { options, ..Lab::default() };
    for line in script.lines() {
        if line.starts_with("  ") {
            continue;
        }
        lab.trace.push_str(line);
        lab.trace.push('\n');
        if !line.trim().is_empty() && !line.starts_with('#') {
            lab.order(line);
        }
    }
    lab.trace
}

#[test]
fn scripts_play_as_written() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut played = 0;
    let mut names: Vec<_> =
        std::fs::read_dir(directory).expect("the scripts").map(|f| f.expect("a file").path()).collect();
    names.sort();
    for path in names.into_iter().filter(|p| p.extension().is_some_and(|e| e == "txt")) {
        let script = std::fs::read_to_string(&path).expect("a script");
        let trace = play(&script, Options::default());
        if std::env::var_os("COPYCAT_UPDATE").is_some() {
            std::fs::write(&path, &trace).expect("a script is written");
        } else {
            for (number, (expected, got)) in script.lines().zip(trace.lines()).enumerate() {
                assert_eq!(expected, got, "{}:{}", path.display(), number + 1);
            }
            assert_eq!(script.lines().count(), trace.lines().count(), "{}", path.display());
        }
        played += 1;
    }
    assert!(played >= 8, "only {played} scripts");
}

/// What no search of the simulator finds, a script shows: it goes another way than it is written.
#[cfg(feature = "planted-bugs")]
#[test]
fn planted_bugs_are_seen() {
    use copycat::engine::Bug;
    let seen_by = [
        (Bug::ChangesAtOnce, "changes"),
        (Bug::ChangeBeforeInitialize, "changes"),
        (Bug::DiscardBeforeCommit, "undone"),
        (Bug::StatusMovesIndex, "changes"),
        (Bug::LeaseAfterTransfer, "transfer"),
        (Bug::InstallSaysNotApplied, "install"),
        (Bug::MalformedApplied, "malformed"),
        (Bug::LeaseByNewTimeoutAtOnce, "timeout-longer"),
        (Bug::VoteByNewTimeoutAtOnce, "timeout-shorter"),
        (Bug::SegmentsNeverGrow, "larger"),
        (Bug::AloneByNumber, "vote-given-up"),
        (Bug::LeaseWithoutVote, "vote-given-up"),
        (Bug::AloneUncommitted, "last-voter"),
        (Bug::TermBehindLog, "fed-newer-term"),
        (Bug::QuorumOfTheRemembered, "quorum-guard"),
        (Bug::ReportsUndurable, "demotion-forgotten"),
        (Bug::KnownOutlivesStart, "older-copy"),
        (Bug::ServesOldCommit, "old-commit"),
        (Bug::FeedByOldMatch, "feed-again"),
        (Bug::HungDiskStands, "hung-disk"),
        (Bug::KeysEndOnApplyOnly, "windows"),
        (Bug::JudgedByOverdue, "overdue"),
    ];
    for (bug, name) in seen_by {
        let path = format!("{}/tests/scripts/{name}.txt", env!("CARGO_MANIFEST_DIR"));
        let script = std::fs::read_to_string(&path).expect("a script");
        let options = Options { bug: Some(bug), ..Options::default() };
        let trace = std::panic::catch_unwind(|| play(&script, options));
        assert!(trace.map_or(true, |trace| trace != script), "{bug:?} is not seen by {path}");
    }
}
