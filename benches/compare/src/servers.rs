//! The systems' processes: started, watched, killed; and what they use.

use crate::client::Target;
use crate::http1::Http;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub const MEMBERS: usize = 3;

/// A cluster of one system; killed when dropped.
pub struct Cluster {
    pub kind: Kind,
    children: Vec<Option<Child>>,
    directory: PathBuf,
    program: PathBuf,
    /// What Copycat's servers are told besides who they are.
    flags: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Copycat,
    /// A second one beside it, the yardstick of the first.
    Yardstick,
    /// One server, which is its own majority.
    Alone,
    Etcd,
    ZooKeeper,
    Bare,
}

impl Kind {
    pub fn of(target: Target) -> Self {
        match target {
            Target::Copycat | Target::CopycatLeader | Target::CopycatNative => Self::Copycat,
            Target::EtcdJson | Target::EtcdGrpc => Self::Etcd,
            Target::ZooKeeper => Self::ZooKeeper,
            Target::Bare => Self::Bare,
        }
    }

    fn members(self) -> usize {
        if matches!(self, Self::Bare | Self::Alone) { 1 } else { MEMBERS }
    }

    pub fn address(self, member: usize) -> String {
        let port = match self {
            Self::Copycat => 18700 + member,
            Self::Yardstick => 18720 + member,
            Self::Alone => 18740,
            Self::Etcd => 18800 + 10 * member,
            Self::ZooKeeper => 18900 + member,
            Self::Bare => 18600,
        };
        format!("127.0.0.1:{port}")
    }

    /// Why it cannot run here, if it cannot.
    pub fn missing(self, copycat: &Path, bare: &Path) -> Option<String> {
        let on_path = |program: &str| {
            std::env::var_os("PATH")
                .is_some_and(|paths| std::env::split_paths(&paths).any(|dir| dir.join(program).is_file()))
        };
        match self {
            Self::Copycat | Self::Yardstick | Self::Alone if !copycat.is_file() => {
                Some(format!("{} is not built", copycat.display()))
            }
            Self::Bare if !bare.is_file() => Some(format!("{} is not built", bare.display())),
            Self::Etcd if !on_path("etcd") => Some("etcd is not installed".into()),
            Self::ZooKeeper if !on_path("java") || !Path::new("/usr/share/java/zookeeper.jar").exists() => {
                Some("ZooKeeper is not installed".into())
            }
            _ => None,
        }
    }
}

impl Cluster {
    /// Starts all members and waits until they serve.
    pub async fn start(kind: Kind, program: &Path, data: &Path, flags: &[&str]) -> io::Result<Self> {
        let directory = data.join(format!("{kind:?}").to_lowercase());
        std::fs::create_dir_all(&directory)?;
        let children = (0..kind.members()).map(|_| None).collect();
        let flags = flags.iter().map(|&flag| flag.to_string()).collect();
        let mut cluster = Self { kind, children, directory, program: program.to_path_buf(), flags };
        for member in 0..kind.members() {
            cluster.start_member(member)?;
        }
        cluster.wait_until_ready().await?;
        Ok(cluster)
    }

    pub fn start_member(&mut self, member: usize) -> io::Result<()> {
        let directory = self.data(member);
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
        let mut command = match self.kind {
            Kind::Copycat | Kind::Yardstick | Kind::Alone => {
                let first = match self.kind {
                    Kind::Copycat => 19700,
                    Kind::Yardstick => 19720,
                    _ => 19740,
                };
                let peer = |i: usize| format!("127.0.0.1:{}", first + i);
                let list: Vec<String> = (0..self.kind.members()).map(|i| format!("{}={}", i + 1, peer(i))).collect();
                let mut command = Command::new(&self.program);
                command.args(["server", "--id", &(member + 1).to_string(), "--bootstrap", &list.join(",")]);
                command.args(["--http", &self.kind.address(member), "--peer", &peer(member), "--data"]).arg(&directory);
                command.args(&self.flags).env("COPYCAT_LOG", "warn");
                command
            }
            Kind::Bare => {
                let mut command = Command::new(&self.program);
                command.arg(self.kind.address(0)).env("ASYNC_STD_THREAD_COUNT", "1");
                command
            }
            Kind::Etcd | Kind::ZooKeeper => {
                let (script, base) =
                    if self.kind == Kind::Etcd { ("etcd.sh", "18800") } else { ("zookeeper.sh", "18900") };
                let mut command = Command::new(scripts.join(script));
                command.args([&member.to_string(), &MEMBERS.to_string(), base]).arg(&directory);
                command
            }
        };
        let log = File::create(self.directory.join(format!("{member}.log")))?;
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        self.children[member] = Some(child);
        Ok(())
    }

    /// Waits until every member takes a write or a read.
    pub async fn wait_until_ready(&self) -> io::Result<()> {
        let end = Instant::now() + Duration::from_secs(60);
        for member in 0..self.kind.members() {
            loop {
                if self.is_ready(member).await {
                    break;
                }
                if Instant::now() > end {
                    return Err(io::Error::other(format!(
                        "{:?} does not start; see {}",
                        self.kind,
                        self.directory.display()
                    )));
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        Ok(())
    }

    pub fn members(&self) -> usize {
        self.kind.members()
    }

    /// Its data directory.
    pub fn data(&self, member: usize) -> PathBuf {
        self.directory.join(member.to_string())
    }

    pub async fn is_ready(&self, member: usize) -> bool {
        let address = self.kind.address(member);
        match self.kind {
            Kind::Copycat | Kind::Yardstick | Kind::Alone => {
                matches!(Http::new(&address).call("GET", "/readyz", b"").await, Ok(a) if a.status == 200)
            }
            Kind::Bare => Http::new(&address).call("GET", "/v1/kv", b"").await.is_ok(),
            Kind::Etcd => matches!(Http::new(&address).call("GET", "/health", b"").await, Ok(a) if a.status == 200),
            Kind::ZooKeeper => match crate::zookeeper::ZooKeeper::connect(&address).await {
                Ok(mut zk) => zk.create("/compare-ready", b"").await.is_ok(),
                Err(_) => false,
            },
        }
    }

    /// Which member leads.
    pub async fn leader(&self) -> io::Result<usize> {
        for member in 0..self.kind.members() {
            let address = self.kind.address(member);
            let leads = match self.kind {
                Kind::Bare => true,
                Kind::Copycat | Kind::Yardstick | Kind::Alone => {
                    let answer = Http::new(&address).call("GET", "/v1/server", b"").await;
                    answer.is_ok_and(|a| String::from_utf8_lossy(&a.body).contains(r#""role":"leader""#))
                }
                Kind::Etcd => {
                    let answer = Http::new(&address).call("POST", "/v3/maintenance/status", b"{}").await;
                    let status: serde_json::Value =
                        answer.ok().and_then(|a| serde_json::from_slice(&a.body).ok()).unwrap_or_default();
                    status["leader"].is_string() && status["leader"] == status["header"]["member_id"]
                }
                Kind::ZooKeeper => four_letters(&address, b"srvr").await.is_ok_and(|s| s.contains("Mode: leader")),
            };
            if leads {
                return Ok(member);
            }
        }
        Err(io::Error::other(format!("{:?} has no leader", self.kind)))
    }

    /// As the power switch would, for the process.
    pub fn kill(&mut self, member: usize) {
        if let Some(mut child) = self.children[member].take() {
            // It may be gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn processes(&self) -> impl Iterator<Item = u32> + '_ {
        self.children.iter().flatten().map(Child::id)
    }

    /// CPU time of all members so far, in microseconds.
    pub fn cpu(&self) -> u64 {
        self.processes().map(|pid| cpu_of(&format!("/proc/{pid}/stat"))).sum()
    }

    /// Resident memory of each member, bytes.
    pub fn memory(&self) -> Vec<u64> {
        let resident = |pid: u32| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
            line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
        };
        self.processes().map(resident).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for member in 0..self.children.len() {
            self.kill(member);
        }
    }
}

async fn four_letters(address: &str, word: &[u8]) -> io::Result<String> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    stream.write_all(word).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// What a data directory takes, bytes: files as long as they are, allocated ahead or not.
pub fn bytes(directory: &Path) -> u64 {
    let sizes = std::fs::read_dir(directory).into_iter().flatten().flatten();
    // A file may go between being listed and being looked at.
    sizes.map(|file| file.metadata().map_or(0, |m| m.len())).sum()
}

/// Whether a snapshot or a compaction is being written there. (What ends in `-0001.tmp` is the next segment, empty.)
pub fn is_compacting(directory: &Path) -> bool {
    let mut names = std::fs::read_dir(directory).into_iter().flatten().flatten().map(|file| file.file_name());
    names.any(|name| name.to_str().is_some_and(|name| name.ends_with(".tmp") && !name.ends_with("-0001.tmp")))
}

/// User and system time in a `stat` file, microseconds. Linux counts hundredths of a second.
fn cpu_of(file: &str) -> u64 {
    let stat = std::fs::read_to_string(file).unwrap_or_default();
    // The name in parentheses may hold spaces.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<u64>().ok()).unwrap_or(0);
    (ticks(11) + ticks(12)) * 10_000
}

/// CPU time that this process has used, microseconds.
pub fn own_cpu() -> u64 {
    cpu_of("/proc/self/stat")
}

/// CPU time that all processes of the machine have used, microseconds.
pub fn machine_cpu() -> u64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = stat.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = line.split_whitespace().skip(1).filter_map(|f| f.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq
    [0, 1, 2, 5, 6].iter().filter_map(|&i| ticks.get(i)).sum::<u64>() * 10_000
}
