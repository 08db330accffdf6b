//! What version 0.1.0 wrote is opened, and its cluster gets settings: those of its first leader, once.

#![allow(clippy::unwrap_used, missing_docs)]

use copycat::engine::machine::{Ask, encode_operation};
use copycat::engine::{
    Configuration, Consistency, Engine, Input, Kind, Now, Options, Output, Query, Role, Setting, Settings, Worked,
    decode, encode,
};
use copycat::store::{Query as StoreQuery, Store};
use copycat_storage::{Entry, MemDisk, Meta, Seed, Storage};
use std::time::Duration;

/// A configuration as version 0.1.0 wrote it: without the mark and the form before it, and the settings, of which there are
/// none, behind it.
fn old_form(configuration: &Configuration) -> Vec<u8> {
    let bytes = encode(&Configuration { settings: None, ..configuration.clone() });
    assert_eq!((bytes[0], bytes[1], bytes.last()), (0xff, 1, Some(&0)));
    bytes[2..bytes.len() - 1].to_vec()
}

/// The same behind the index of its entry, as it is in the file of the configuration and in snapshots.
fn with_index(index: u64, configuration: &Configuration) -> Vec<u8> {
    [encode(&index), old_form(configuration)].concat()
}

fn open(disk: &MemDisk) -> Storage<MemDisk> {
    let options = copycat_storage::Options { segment_size: 16384 };
    Storage::open(disk.clone(), options, Seed { identity: 11, salt: 1, now_ms: 1000 }).unwrap()
}

fn flush(storage: &mut Storage<MemDisk>) {
    while let Some(job) = storage.flush() {
        let persisted = job.run().unwrap();
        storage.persisted(persisted);
    }
}

/// A cluster of one that has led a term and has an id.
fn of_0_1_0(disk: &MemDisk) -> Configuration {
    let mut configuration = Configuration::bootstrap([(1, "s1:1".to_string())]);
    configuration.cluster = 7;
    configuration.members.get_mut(&1).unwrap().identity = Some(11);
    let mut storage = open(disk);
    let entry = |index, kind: Kind, data| {
        let (term, time, session, sequence, mode) = (1, 1000, 0, 0, 1);
        Entry { index, term, time, session, sequence, kind: kind as u8, mode, data }
    };
    storage.set_meta(Meta { term: 1, vote: 1, cluster: 7, server: 1, starts: 1, ..storage.meta().clone() });
    storage.append(&entry(1, Kind::Initialize, Vec::new())).unwrap();
    storage.append(&entry(2, Kind::Configuration, old_form(&configuration))).unwrap();
    storage.set_configuration(with_index(2, &configuration));
    flush(&mut storage);
    configuration
}

struct Server {
    engine: Engine<MemDisk, Store>,
    now: Duration,
    answers: Vec<Option<Consistency>>,
}

impl Server {
    fn start(disk: &MemDisk, election_timeout: Duration) -> Self {
        let (now, options) = (Duration::ZERO, Options::with_election_timeout(election_timeout));
        let (at, none) = (Now { monotonic: now, wall: 1000 }, Configuration::default());
        let engine = Engine::new(1, options, 1, at, open(disk), Store::default, none).unwrap();
        Self { engine, now, answers: Vec::new() }
    }

    /// The engine's turn; nothing becomes durable.
    fn poll(&mut self) {
        let now = Now { monotonic: self.now, wall: 1000 };
        self.engine.step(now, Input::Drained).unwrap();
        while self.engine.poll(now).unwrap() {}
        for output in self.engine.take_outputs() {
            if let Output::Reply { result, .. } = output {
                self.answers.push(result.unwrap().consistency);
            }
        }
    }

    fn flush(&mut self) {
        let now = Now { monotonic: self.now, wall: 1000 };
        if let Some(job) = self.engine.flush(now) {
            let persisted = job.run().unwrap();
            self.engine.step(now, Input::Persisted(persisted)).unwrap();
        }
        self.poll();
    }

    fn wait(&mut self, ms: u64) {
        for _ in 0..ms / 20 {
            self.now += Duration::from_millis(20);
            self.poll();
            self.flush();
        }
    }

    fn lease_read(&mut self) -> Option<Consistency> {
        let ask = Ask::Machine(encode_operation(&StoreQuery::Get { key: b"a".to_vec() }));
        let query = Query { consistency: Consistency::Lease, index: 0, ask };
        self.engine.step(Now { monotonic: self.now, wall: 1000 }, Input::Query { id: 1, query }).unwrap();
        self.poll();
        self.answers.pop().unwrap()
    }
}

#[test]
fn a_directory_of_version_0_1_0_serves_and_gets_its_leaders_settings_once() {
    let disk = MemDisk::new();
    let before = of_0_1_0(&disk);
    let mut server = Server::start(&disk, Duration::from_millis(700));
    assert_eq!(server.engine.configuration(), &before);
    assert_eq!(server.engine.election_timeout(), Duration::from_millis(700), "its own, as long as there are none");
    while !(server.engine.role() == Role::Leader && server.engine.configuration().settings.is_some()) {
        server.now += Duration::from_millis(20);
        server.poll();
        if server.engine.role() != Role::Leader || server.engine.status().commit < 3 {
            server.flush();
        }
        assert!(server.now < Duration::from_secs(10), "{:?}", server.engine.status());
    }
    // They are in its log and not committed: nobody knows yet what the others go by.
    assert_eq!(server.engine.committed_configuration().settings, None);
    assert_eq!(server.lease_read(), Some(Consistency::Linearizable));
    server.wait(1000);
    assert_eq!(server.lease_read(), Some(Consistency::Lease));
    let after = server.engine.committed_configuration().clone();
    let own = Settings { election_timeout: Duration::from_millis(700), largest_entry: 16_200, ..Settings::default() };
    assert_eq!((after.settings, after.index), (Some(own), before.index), "what was decided on before is not stale");
    assert_eq!((after.cluster, &after.members), (before.cluster, &before.members));
    let last = server.engine.status().last_index;
    server.wait(1000);
    assert_eq!(server.engine.status().last_index, last, "once");
    drop(server);
    // Another flag does not change them.
    let server = Server::start(&disk, Duration::from_millis(100));
    assert_eq!(server.engine.settings(), &own);
}

#[test]
fn a_snapshot_of_version_0_1_0_is_read() {
    let disk = MemDisk::new();
    let before = of_0_1_0(&disk);
    let mut server = Server::start(&disk, Duration::from_millis(500));
    server.wait(2000);
    assert!(server.engine.request_snapshot());
    let work = server.engine.work().unwrap().run(usize::MAX, || true).unwrap();
    let Worked::Written(mut contents) = work else { panic!("{work:?}") };
    let (length, rest) = contents.payload.split_first_chunk::<4>().unwrap();
    let (configuration, state) = rest.split_at(u32::from_le_bytes(*length) as usize);
    let (index, now): (u64, Configuration) = decode(configuration).unwrap();
    assert!(now.settings.is_some());
    let old = with_index(index, &before);
    contents.payload = [&u32::try_from(old.len()).unwrap().to_le_bytes(), old.as_slice(), state].concat();
    let at = Now { monotonic: server.now, wall: 1000 };
    server.engine.step(at, Input::Worked(Worked::Written(contents))).unwrap();
    let work = server.engine.work().unwrap().run(usize::MAX, || true).unwrap();
    server.engine.step(at, Input::Worked(work)).unwrap();
    server.wait(100);
    let snapshot = server.engine.storage().snapshot().expect("it is durable");
    assert!(snapshot.index >= index);
    // Without the file, which is newer, the snapshot tells the configuration.
    server.engine.storage_mut().set_configuration(Vec::new());
    server.wait(100);
    drop(server);
    let mut server = Server::start(&disk, Duration::from_millis(900));
    assert_eq!(server.engine.configuration(), &before);
    server.wait(5000);
    let settings = server.engine.committed_configuration().settings.expect("said anew");
    assert_eq!(settings.get(Setting::ElectionTimeout), 900);
}
