//! Real bytes of every kind that comes from outside, changed at random, thrown at what reads them: it answers or refuses, and
//! neither panics nor takes memory that no bytes are behind. `COPYCAT_TEST_LONG=1` throws twenty times as many,
//! `COPYCAT_FUZZ_SEED=n` others.

use crate::engine::machine::{Ask, Executor, Outcome, encode_operation, is_command, is_query};
use crate::engine::sessions::{Batch, EndReason, KeepAlive, Keyed, Limits, Register, SessionError, Submit, Unregister};
use crate::engine::{
    AppendOutcome, Change, Configuration, Consistency, Kind, MemberType, Message, SnapshotId, Want, WireEntry, decode,
    encode,
};
use crate::server::fuzzed;
use crate::store::{Command, Condition, LockMode, Operation, Predicate, Query, Store, Target};
use crate::wire::{self, Refusal, Request, Response, ToClient, ToServer};
use copycat_storage::EntryRef;
use copycat_testkit::Mutator;

/// How much more memory a process may have held at its peak than before.
const MEMORY: u64 = 256 * 1024 * 1024;

fn times() -> usize {
    let long = std::env::var_os("COPYCAT_TEST_LONG").is_some_and(|v| !v.is_empty() && v != "0");
    // Without optimisation each takes ten times as long.
    let usual = if cfg!(debug_assertions) { 20_000 } else { 200_000 };
    if long { 20 * usual } else { usual }
}

/// Throws changed samples at what reads them.
fn throw(what: &str, samples: &[Vec<u8>], mut read: impl FnMut(&[u8]) -> bool) {
    let seed = std::env::var("COPYCAT_FUZZ_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    for (at, sample) in samples.iter().enumerate() {
        assert!(read(sample), "{what}: sample {at} is not read as it is");
    }
    let (mut mutator, before, mut taken) = (Mutator::new(seed), peak(), 0);
    for _ in 0..times() {
        taken += usize::from(read(&mutator.change(samples)));
    }
    println!("{what}: seed {seed}, {} thrown, {taken} taken", times());
    let more = peak().saturating_sub(before);
    assert!(more < MEMORY, "{what}: {more} bytes of memory");
}

/// The most memory that this process has held.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).map_or(0, |kib| kib * 1024)
}

fn put(key: &str) -> Command {
    let (key, value) = (key.into(), vec![b'v'; 70]);
    Command::Put {
        key,
        value,
        content_type: "text/plain".into(),
        ttl_ms: 500,
        ephemeral: false,
        condition: Condition::Absent,
    }
}

fn commands() -> Vec<Vec<u8>> {
    let key = || b"k".to_vec();
    let exists = Predicate::Exists { key: key(), exists: true };
    let condition = Predicate::Any(vec![Predicate::Not(Box::new(exists)), Predicate::All(vec![])]);
    let then = vec![
        Operation::Put { key: key(), value: key(), content_type: String::new(), ttl_ms: 0 },
        Operation::Get { key: key() },
    ];
    let guarded = Command::Guarded { lock: key(), token: 1, command: Box::new(put("guarded")) };
    let all = [
        put("a"),
        Command::Delete { key: key(), condition: Condition::Versions(vec![1, 2, 300]) },
        Command::DeletePrefix { prefix: key(), limit: 10 },
        Command::Transaction { condition, then, otherwise: vec![Operation::Delete { key: key() }], max_bytes: 1000 },
        Command::Batch(vec![put("b"), guarded.clone(), Command::Batch(vec![])]),
        guarded,
        Command::Watch { target: Target::Prefix(key()), values: true, limit: 10 },
        Command::Lock { lock: key(), mode: LockMode::Shared, wait_ms: 70_000, queue: true },
        Command::Unlock { lock: key(), token: Some(7) },
        Command::Revoke { lock: key(), session: 1 },
    ];
    all.iter().map(encode_operation).collect()
}

fn queries() -> Vec<Vec<u8>> {
    use crate::store::Listing;
    let (prefix, start, separator) = (b"k".to_vec(), Some(b"k/".to_vec()), Some(b"/".to_vec()));
    let all = [
        Query::Get { key: b"k".to_vec() },
        Query::List(Listing { prefix, start, limit: 10, max_bytes: 1000, separator, values: true }),
        Query::Locks { after: Some(b"k".to_vec()), limit: 5 },
        Query::Holdings { session: 1, limit: 9 },
    ];
    all.iter().map(encode_operation).collect()
}

fn register() -> Vec<u8> {
    let limits = Limits { events: 100, event_bytes: 10_000 };
    Register { timeout_ms: 30_000, name: "a name".into(), key: Some("a key".into()), limits, window_ms: 600_000 }
        .encode()
}

/// What the entries about sessions carry.
fn entries() -> Vec<Vec<u8>> {
    let alive = KeepAlive { session: 1, sequence: 300, event_index: 2, alive: true, server: 1, poll: true };
    let ended = Unregister { session: 1, reason: EndReason::TimedOut, judged_by: 70_000 };
    vec![
        register(),
        encode(&vec![alive, KeepAlive { sequence: u64::MAX, event_index: u64::MAX, ..alive }]),
        encode(&vec![ended]),
        Keyed { key: "a key".into(), operation: encode_operation(&put("k")), window_ms: 600_000 }.encode(),
    ]
}

#[test]
fn entries_of_every_kind_are_applied_or_skipped() {
    let samples = [commands(), entries()].concat();
    let kinds = [Kind::Command, Kind::KeyedCommand, Kind::Register, Kind::KeepAlive, Kind::Unregister];
    let (mut executor, mut thrown) = (Executor::new(Store::default()), 0_usize);
    throw("entries", &samples, |data| {
        thrown += 1;
        if executor.applied() % 4096 == 0 {
            executor = Executor::new(Store::default());
        }
        let (index, first) = (executor.applied() + 1, register());
        // The session that the others are of.
        let (kind, data) = if index == 1 { (Kind::Register, first.as_slice()) } else { (kinds[thrown % 5], data) };
        let session = u64::from(thrown % 3 == 0);
        let sequence = if session == 1 { (thrown / 3) as u64 } else { 0 };
        let entry =
            EntryRef { index, term: 1, time: thrown as u64, session, sequence, kind: kind as u8, mode: 0, data };
        let applied = executor.apply(entry).expect("a known kind");
        thrown <= samples.len() || applied.answers.iter().any(|answer| answer.outcome != Outcome::Malformed)
    });
}

#[test]
fn operations_are_read_or_refused() {
    throw("commands", &commands(), is_command::<Store>);
    let mut executor = Executor::new(Store::default());
    for (index, data) in (1..).zip(&commands()) {
        let (term, time, kind) = (1, 1, Kind::Command as u8);
        executor.apply(EntryRef { index, term, time, session: 0, sequence: 0, kind, mode: 0, data }).expect("applied");
    }
    throw("queries", &queries(), |query| {
        is_query::<Store>(query) && executor.ask(&Ask::Machine(query.to_vec())).is_some()
    });
}

fn messages() -> Vec<Message> {
    let entry = |index| WireEntry {
        index,
        term: 3,
        time: 1_700_000_000_000,
        session: 0,
        sequence: 0,
        kind: 3,
        mode: 0,
        data: encode_operation(&put("k")),
    };
    let mut configuration = Configuration::bootstrap([(1, "a:1".into()), (2, "b:1".into()), (3, "c:1".into())]);
    configuration.cluster = 1 << 100;
    let snapshot = SnapshotId { index: 300, term: 3, checksum: 70_000 };
    vec![
        Message::Poll { term: 3, last_index: 300, last_term: 2 },
        Message::VoteReply { term: 3, granted: true },
        Message::Append {
            term: 3,
            previous_index: 299,
            previous_term: 2,
            entries: vec![entry(300), entry(301)],
            commit: 298,
            round: 70_000,
            recover_to: Some(5),
            digest: (256, 1 << 31),
            global: 250,
        },
        Message::AppendReply {
            term: 3,
            start: u64::MAX,
            round: 9,
            outcome: AppendOutcome::Rejected { previous_index: 7, conflict_term: 1, conflict_index: 2 },
            wants: 0,
            lost: false,
            digest: (0, 0),
            configuration: 2,
        },
        Message::Configure { term: 3, index: 2, configuration: Box::new(configuration) },
        Message::Feed { previous_index: 1, previous_term: 1, entries: vec![entry(2)], commit: 2 },
        Message::Fetch { snapshot, want: Want::Entries(vec![1, 2, 300]) },
        Message::Piece { snapshot, offset: 300, bytes: vec![7; 100] },
        Message::Pieces { snapshot, entries: vec![entry(9)] },
    ]
}

fn submits() -> Vec<Submit> {
    let operation = encode_operation(&put("k"));
    vec![
        Submit::Command { operation, mode: 3, session: 1, sequence: 300, key: Some("a key".into()) },
        Submit::Register { timeout_ms: 70_000, name: "name".into(), key: None },
        Submit::KeepAlive(KeepAlive::default()),
        Submit::Unregister { session: 7 },
    ]
}

fn changes() -> Vec<Change> {
    let (peer, http) = ("d:1".into(), "d:2".into());
    vec![
        Change::Join { id: 4, identity: 44, peer, http, member_type: MemberType::Passive },
        Change::Remove { id: 3, configuration: 2, force: true },
    ]
}

fn asks() -> Vec<Ask> {
    vec![
        Ask::OfSession { session: 1, operation: queries()[0].clone() },
        Ask::Sessions { after: 3, limit: 100 },
        Ask::Events { session: 1, after: Some(300), bytes: 70_000 },
    ]
}

fn response() -> Response {
    let output = Outcome::Output(vec![7; 300]);
    Response { index: 300, term: 3, event_index: Some(7), output, consistency: Some(Consistency::Lease) }
}

#[test]
fn frames_of_peers_are_read_or_refused() {
    let refusal = Refusal::Session(SessionError::SequenceGap { expected: 300 });
    let frames = fuzzed::frames(messages(), submits(), asks(), changes(), [Ok(response()), Err(refusal)]);
    throw("peers' frames", &frames, fuzzed::is_frame);
    throw("greetings", &fuzzed::greetings(), fuzzed::is_greeting);
    throw("welcomes", &fuzzed::welcomes(), fuzzed::is_welcome);
}

#[test]
fn frames_of_clients_are_read_or_refused() {
    let request = |request| ToServer::Request { id: 300, request };
    let (consistency, operation) = (Consistency::Linearizable, queries()[1].clone());
    let sent: Vec<Vec<u8>> = [
        request(Request::Register { timeout_ms: 30_000, name: "name".into(), key: "key".into() }),
        request(Request::KeepAlive { session: 1, sequence: 300, event_index: 70_000 }),
        request(Request::Command { session: 1, sequence: 2, mode: 8, operation: commands()[4].clone() }),
        request(Request::Query { session: 1, consistency, index: 9, operation }),
        request(Request::Unregister { session: 1 }),
        ToServer::Follow { session: 1, after: 300 },
        ToServer::Ping,
    ]
    .iter()
    .map(encode)
    .collect();
    throw("clients' frames", &sent, |bytes| wire::parse::<ToServer>(bytes).is_ok());
    let batch = |index| Batch { index, previous: index - 1, events: vec![vec![1; 30], vec![]] };
    let told: Vec<Vec<u8>> = [
        ToClient::Reply { id: 7, result: Ok(response()) },
        ToClient::Reply { id: 7, result: Err(Refusal::Timeout { maybe_applied: true }) },
        ToClient::Events { session: 1, batches: vec![batch(300), batch(70_000)] },
        ToClient::Ended { session: 1, error: SessionError::NotFound },
        ToClient::Pong,
    ]
    .iter()
    .map(encode)
    .collect();
    throw("frames to clients", &told, |bytes| wire::parse::<ToClient>(bytes).is_ok());
}

#[test]
fn what_entries_carry_is_read_or_refused() {
    throw("entries about sessions", &entries(), |bytes| {
        Register::decode(bytes).is_ok()
            || decode::<Vec<KeepAlive>>(bytes).is_ok()
            || decode::<Vec<Unregister>>(bytes).is_ok()
            || Keyed::decode(bytes).is_ok()
    });
}
