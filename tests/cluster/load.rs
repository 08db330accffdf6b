//! Writers that keep account of what was acknowledged to them.

use crate::harness::get;
use crate::harness::json;
use copycat_testkit::http::Client;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// One acknowledged write.
#[derive(Clone, Debug)]
pub struct Acknowledged {
    pub key: String,
    pub value: String,
    pub version: u64,
    pub began: Instant,
    pub ended: Instant,
}

/// Writers, each with keys of its own, each moving on to another server when one fails.
pub struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<Vec<Acknowledged>>>,
    writers: Vec<JoinHandle<()>>,
}

impl Load {
    pub fn start(name: &str, writers: usize, servers: &[SocketAddr]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(Mutex::new(Vec::new()));
        let writers = (0..writers)
            .map(|w| {
                let (stop, acknowledged) = (Arc::clone(&stop), Arc::clone(&acknowledged));
                let (name, servers) = (format!("{name}/{w}"), servers.to_vec());
                thread::spawn(move || write(&name, w, &servers, &stop, &acknowledged))
            })
            .collect();
        Self { stop, acknowledged, writers }
    }

    pub fn count(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    /// When a write that began after this moment was first acknowledged.
    pub fn first_since(&self, moment: Instant) -> Option<Instant> {
        let all = self.acknowledged.lock().unwrap();
        all.iter().rev().take(10_000).filter(|a| a.began >= moment).map(|a| a.ended).min()
    }

    pub fn finish(self) -> Vec<Acknowledged> {
        self.stop.store(true, Ordering::SeqCst);
        for writer in self.writers {
            writer.join().unwrap();
        }
        std::mem::take(&mut self.acknowledged.lock().unwrap())
    }
}

fn write(name: &str, w: usize, servers: &[SocketAddr], stop: &AtomicBool, to: &Mutex<Vec<Acknowledged>>) {
    let mut at = w % servers.len();
    let mut client = Client::new(servers[at], Duration::from_secs(3));
    for n in 0_u64.. {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        // An attempt whose outcome is unknown is never repeated under the same key: each key is written once.
        let (key, value) = (format!("{name}/{n:08}"), format!("value {n} of {name}"));
        let began = Instant::now();
        let answer = client.request("PUT", &format!("/v1/kv/{key}?timeout=2s"), &[], value.as_bytes());
        let ended = Instant::now();
        match answer {
            Ok(answer) if matches!(answer.status, 200 | 201) => {
                let version = json(&answer)["version"].as_u64().expect("a version");
                to.lock().unwrap().push(Acknowledged { key, value, version, began, ended });
            }
            _ => {
                thread::sleep(Duration::from_millis(10));
                at = (at + 1) % servers.len();
                client = Client::new(servers[at], Duration::from_secs(3));
            }
        }
    }
}

/// All keys with this prefix: value and version.
pub fn read_all(server: SocketAddr, prefix: &str) -> BTreeMap<String, (String, u64)> {
    let mut all = BTreeMap::new();
    let mut cursor = String::new();
    loop {
        let page = json(&get(server, &format!("/v1/kv?prefix={prefix}&limit=1000{cursor}")));
        for item in page["items"].as_array().expect("items") {
            let text = |field: &str| item[field].as_str().expect(field).to_string();
            let version = item["version"].as_u64().expect("version");
            all.insert(text("key"), (text("value"), version));
        }
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}

/// Nothing acknowledged may be missing, changed, or there in another version; no version may be there twice.
pub fn assert_kept(server: SocketAddr, prefix: &str, acknowledged: &[Acknowledged]) {
    let there = read_all(server, prefix);
    for a in acknowledged {
        let found = there.get(&a.key).unwrap_or_else(|| panic!("LOST at {server}: {a:?}"));
        assert_eq!(found, &(a.value.clone(), a.version), "CHANGED at {server}: {a:?}");
    }
    let mut versions: Vec<u64> = there.values().map(|v| v.1).collect();
    versions.sort_unstable();
    assert!(versions.windows(2).all(|w| w[0] < w[1]), "a version is used twice");
}
