//! Real servers: processes, ports, directories, and a cuttable link in front of each.

use copycat_testkit::http::{Answer, Client};
use copycat_testkit::proxy::{Link, Proxy};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

const BINARY: &str = env!("CARGO_BIN_EXE_copycat");
/// How long anything may take that should take no time: on a busy machine, or never.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// The servers' election timeout, the default.
pub const ELECTION_TIMEOUT: Duration = Duration::from_millis(500);

/// Whether the long versions are asked for.
pub fn long() -> bool {
    std::env::var_os("COPYCAT_TEST_LONG").is_some_and(|v| !v.is_empty() && v != "0")
}

/// One cluster at a time: on a small machine they would starve each other.
pub fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until `done` says something.
pub fn wait_for<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = done() {
            return found;
        }
        assert!(begin.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain for {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A directory for one test; removed at its end, kept when it failed.
pub struct Directory(PathBuf);

impl Directory {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("copycat-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if thread::panicking() {
            println!("kept for a look: {}", self.0.display());
        } else {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// A free port on loopback, with as many behind it. Below those that the system hands out to connections, so that it
/// stays free while its server is down.
pub fn free_ports(count: u16) -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % 10_000).unwrap_or_default();
    for _ in 0..10_000 {
        let first = 20_000 + (start + NEXT.fetch_add(count, Ordering::Relaxed)) % 10_000;
        if (first..first + count).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return first;
        }
    }
    panic!("no free ports from 20000 on");
}

pub fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// A running program, its output in a file. Killed when dropped.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    pub fn start(log: PathBuf, arguments: &[String]) -> Self {
        Self::start_within(&[], log, arguments)
    }

    /// The same, by a command that becomes it.
    pub fn start_within(wrapper: &[&str], log: PathBuf, arguments: &[String]) -> Self {
        let output = File::options().create(true).append(true).open(&log).unwrap();
        let mut words = wrapper.iter().copied().chain([BINARY]);
        let child = Command::new(words.next().unwrap())
            .args(words)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        Self { child, log }
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// kill -9, and waits for it.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop, and waits for it.
    pub fn stop(mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        wait_for("the process to stop", || self.has_ended())
    }

    pub fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Seconds of processor time used, and bytes of memory held.
    pub fn usage(&self) -> (f64, u64) {
        let directory = Path::new("/proc").join(self.child.id().to_string());
        let stat = fs::read_to_string(directory.join("stat")).unwrap();
        // The name may hold anything, and ends with the last parenthesis; the state follows.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        let pages: u64 = fields[21].parse().unwrap();
        let page = rustix::param::page_size() as u64;
        (ticks as f64 / rustix::param::clock_ticks_per_second() as f64, pages * page)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let output = self.output();
            let lines: Vec<&str> = output.lines().collect();
            println!("--- the end of {}", self.log.display());
            lines[lines.len().saturating_sub(30)..].iter().for_each(|line| println!("{line}"));
        }
    }
}

/// What a program run to its end said.
pub struct Said {
    pub status: ExitStatus,
    pub out: String,
    pub err: String,
}

/// Runs `copycat` to its end. One that does not end in time is killed: it had no error to report.
pub fn copycat<S: AsRef<str>>(arguments: &[S]) -> Said {
    let directory = Directory::new();
    let (out, err) = (directory.join("out"), directory.join("err"));
    let mut child = Command::new(BINARY)
        .args(arguments.iter().map(AsRef::as_ref))
        .stdin(Stdio::null())
        .stdout(File::create(&out).unwrap())
        .stderr(File::create(&err).unwrap())
        .spawn()
        .unwrap();
    let begin = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if begin.elapsed() > PATIENCE {
            let _ = child.kill();
            break child.wait().unwrap();
        }
        thread::sleep(Duration::from_millis(10));
    };
    let text = |path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
    Said { status, out: text(out), err: text(err) }
}

/// One request on a connection of its own.
pub fn ask(server: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut client = Client::new(server, PATIENCE);
    client.request(method, path, headers, body).unwrap_or_else(|e| panic!("{method} {path} at {server}: {e}"))
}

pub fn get(server: SocketAddr, path: &str) -> Answer {
    ask(server, "GET", path, &[], b"")
}

pub fn json(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body)
        .unwrap_or_else(|e| panic!("no JSON ({e}): {} {:?}", answer.status, answer.text()))
}

/// The JSON of a page, if the server answers at once.
pub fn peek(server: SocketAddr, path: &str) -> Option<Value> {
    let answer = Client::new(server, Duration::from_millis(500)).request("GET", path, &[], b"").ok()?;
    if answer.status == 200 { serde_json::from_slice(&answer.body).ok() } else { None }
}

pub struct Server {
    pub id: u64,
    pub data: PathBuf,
    pub http: SocketAddr,
    /// In front of its peer port: to cut it stops what others send to this server.
    proxy: Proxy,
    arguments: Vec<String>,
    log: PathBuf,
    process: Option<Process>,
}

impl Server {
    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    pub fn process(&self) -> &Process {
        self.process.as_ref().expect("it runs")
    }

    pub fn arguments(&self) -> &[String] {
        &self.arguments
    }

    pub fn start(&mut self) {
        assert!(self.process.is_none(), "server {} runs already", self.id);
        self.process = Some(Process::start(self.log.clone(), &self.arguments));
    }

    pub fn kill(&mut self) {
        self.process.take().expect("it runs").kill();
    }

    pub fn stop(&mut self) -> ExitStatus {
        self.process.take().expect("it runs").stop(Signal::TERM)
    }

    pub fn link(&self, link: Link) {
        self.proxy.set(link);
    }

    /// Panics if its process has ended.
    pub fn assert_running(&mut self) {
        let process = self.process.as_mut().expect("it runs");
        if let Some(status) = process.has_ended() {
            panic!("server {} ended, {status}: {}", self.id, process.output());
        }
    }

    pub fn is_ready(&mut self) -> bool {
        self.assert_running();
        Client::new(self.http, Duration::from_millis(500))
            .request("GET", "/readyz", &[], b"")
            .is_ok_and(|answer| answer.status == 200)
    }
}

/// Three servers, if not said otherwise. A test that fails prints the ends of their logs.
pub struct Cluster {
    pub servers: Vec<Server>,
    // Last, so that the servers are gone when it is removed.
    _directory: Directory,
}

impl Cluster {
    /// Starts three servers, and waits until all are ready.
    pub fn start() -> Self {
        Self::start_on(|_, _, _| {})
    }

    /// The same, with the data directories that `prepare` makes: it gets a server's number, where its directory is to be,
    /// and the list of all servers.
    pub fn start_on(prepare: impl Fn(u64, &Path, &str)) -> Self {
        Self::start_with(&[], prepare)
    }

    /// The same, with more arguments.
    pub fn start_with(more: &[&str], prepare: impl Fn(u64, &Path, &str)) -> Self {
        Self::start_some(3, more, prepare)
    }

    /// The same, with so many servers.
    pub fn start_some(count: u16, more: &[&str], prepare: impl Fn(u64, &Path, &str)) -> Self {
        let directory = Directory::new();
        let first = free_ports(3 * count);
        let listed = |i: u16| local(first + 2 * count + i);
        let bootstrap = (0..count).map(|i| format!("{}={}", i + 1, listed(i))).collect::<Vec<_>>().join(",");
        let servers = (0..count).map(|i| {
            let (http, peer) = (local(first + i), local(first + count + i));
            let id = u64::from(i) + 1;
            let data = directory.join(&format!("server-{id}"));
            prepare(id, &data, &bootstrap);
            let mut arguments = server_arguments(id, &data, http, peer, &bootstrap);
            arguments.extend(more.iter().map(ToString::to_string));
            let log = directory.join(&format!("server-{id}.log"));
            let proxy = Proxy::start(listed(i), peer).unwrap();
            Server { id, data, http, proxy, arguments, log, process: None }
        });
        let mut cluster = Self { servers: servers.collect(), _directory: directory };
        cluster.servers.iter_mut().for_each(Server::start);
        cluster.wait_until_ready();
        cluster
    }

    pub fn wait_until_ready(&mut self) {
        wait_for("all servers to be ready", || self.servers.iter_mut().all(Server::is_ready).then_some(()));
    }

    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.servers.iter().map(|s| s.http).collect()
    }

    /// The position of the leader that a majority knows.
    pub fn leader(&self) -> usize {
        wait_for("a leader", || {
            let running = self.servers.iter().filter(|s| s.is_running());
            let named: Vec<u64> = running.filter_map(|s| peek(s.http, "/v1/cluster")?["leader"].as_u64()).collect();
            let leader = *named.iter().find(|&l| named.iter().filter(|&n| n == l).count() >= 2)?;
            self.servers.iter().position(|s| s.id == leader && s.is_running())
        })
    }

    /// The position of a leader that somebody knows now.
    pub fn some_leader(&self) -> Option<usize> {
        let leader = self.servers.iter().find_map(|s| peek(s.http, "/v1/cluster")?["leader"].as_u64())?;
        self.servers.iter().position(|s| s.id == leader)
    }

    pub fn applied(&self, at: usize) -> Option<u64> {
        peek(self.servers[at].http, "/v1/server")?["applied_index"].as_u64()
    }

    /// Waits until every server has applied what the leader has committed by now.
    pub fn wait_until_caught_up(&self) {
        let leader = self.leader();
        let target = wait_for("the leader's commit index", || {
            peek(self.servers[leader].http, "/v1/server")?["commit_index"].as_u64()
        });
        for at in 0..self.servers.len() {
            wait_for("a server to catch up", || self.applied(at).filter(|&applied| applied >= target));
        }
    }
}

pub fn server_arguments(id: u64, data: &Path, http: SocketAddr, peer: SocketAddr, bootstrap: &str) -> Vec<String> {
    let data = data.display().to_string();
    let id = id.to_string();
    let (http, peer) = (http.to_string(), peer.to_string());
    let arguments =
        ["server", "--id", &id, "--data", &data, "--http", &http, "--peer", &peer, "--bootstrap", bootstrap];
    arguments.map(String::from).to_vec()
}
