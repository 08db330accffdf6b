//! One closed-loop client of any of the systems.

use crate::etcd::Etcd;
use crate::http1::Http;
use crate::zookeeper::ZooKeeper;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use copycat::client::{Consistency, Keys};
use std::io;
use std::net::SocketAddr;

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    Copycat,
    /// All clients at the leader.
    CopycatLeader,
    /// By one native client, at the leader: what are several clients elsewhere are so many operations outstanding here.
    CopycatNative,
    EtcdJson,
    EtcdGrpc,
    ZooKeeper,
    /// An axum handler that does nothing.
    Bare,
}

impl Target {
    pub const ALL: [Self; 7] = [
        Self::Copycat,
        Self::CopycatLeader,
        Self::CopycatNative,
        Self::EtcdJson,
        Self::EtcdGrpc,
        Self::ZooKeeper,
        Self::Bare,
    ];

    /// Whether it is Copycat, whatever it is spoken to by.
    pub fn is_copycat(self) -> bool {
        matches!(self, Self::Copycat | Self::CopycatLeader | Self::CopycatNative)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Copycat => "copycat",
            Self::CopycatLeader => "copycat, at the leader",
            Self::CopycatNative => "copycat, one native client",
            Self::EtcdJson => "etcd, JSON gateway",
            Self::EtcdGrpc => "etcd, gRPC",
            Self::ZooKeeper => "ZooKeeper",
            Self::Bare => "bare axum",
        }
    }
}

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    Put,
    /// Sees all writes before it. (ZooKeeper: sync, then get.)
    Linearizable,
    /// Copycat's reads under the leader's lease.
    Lease,
    /// From the state of the server that is asked. (etcd: serializable.)
    Local,
    /// One put to four linearizable gets.
    Mixed,
}

impl Operation {
    pub const ALL: [Self; 5] = [Self::Put, Self::Linearizable, Self::Lease, Self::Local, Self::Mixed];

    pub fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Linearizable => "linearizable get",
            Self::Lease => "lease get",
            Self::Local => "sequential / serializable / local get",
            Self::Mixed => "mixed 80/20",
        }
    }

    /// Whether a system has it.
    pub fn exists(self, target: Target) -> bool {
        match self {
            Self::Lease => target.is_copycat(),
            Self::Local => true,
            _ => target != Target::Bare,
        }
    }
}

pub enum Client {
    Copycat(Http),
    Native(Keys),
    EtcdJson(Http),
    EtcdGrpc(Etcd),
    ZooKeeper(ZooKeeper),
}

/// 32 bytes, as a path where the system has paths.
pub fn key(n: u64) -> String {
    format!("/compare-{n:023}")
}

pub const KEYS: u64 = 10_000;
pub const VALUE: [u8; 256] = [b'x'; 256];

pub fn expect(answer: &crate::http1::Answer) -> io::Result<()> {
    if matches!(answer.status, 200 | 201) {
        return Ok(());
    }
    Err(io::Error::other(format!("{}: {}", answer.status, String::from_utf8_lossy(&answer.body))))
}

/// A session at the server that has this HTTP address: the peers' is 1,000 ports above.
pub async fn native(address: &str) -> io::Result<Keys> {
    let at: SocketAddr = address.parse().map_err(io::Error::other)?;
    Keys::connect([SocketAddr::new(at.ip(), at.port() + 1000).to_string()]).await.map_err(io::Error::other)
}

impl Client {
    /// Another user of the same connection, where connections are shared.
    pub fn share(&self) -> Option<Self> {
        if let Self::Native(keys) = self { Some(Self::Native(keys.clone())) } else { None }
    }

    pub async fn connect(target: Target, address: &str) -> io::Result<Self> {
        Ok(match target {
            Target::Copycat | Target::CopycatLeader | Target::Bare => Self::Copycat(Http::new(address)),
            Target::CopycatNative => Self::Native(native(address).await?),
            Target::EtcdJson => Self::EtcdJson(Http::new(address)),
            Target::EtcdGrpc => Self::EtcdGrpc(Etcd::connect(address).await?),
            Target::ZooKeeper => Self::ZooKeeper(ZooKeeper::connect(address).await?),
        })
    }

    pub async fn put(&mut self, key: &str) -> io::Result<()> {
        match self {
            Self::Copycat(http) => expect(&http.call("PUT", &format!("/v1/kv?key={key}"), &VALUE).await?),
            Self::Native(keys) => keys.put(key, VALUE).await.map(drop).map_err(io::Error::other),
            Self::EtcdJson(http) => {
                let body = format!(r#"{{"key":"{}","value":"{}"}}"#, STANDARD.encode(key), STANDARD.encode(VALUE));
                expect(&http.call("POST", "/v3/kv/put", body.as_bytes()).await?)
            }
            Self::EtcdGrpc(etcd) => etcd.put(key, &VALUE).await,
            Self::ZooKeeper(zk) => zk.set(key, &VALUE).await,
        }
    }

    /// Makes the key, where a put does not.
    pub async fn create(&mut self, key: &str) -> io::Result<()> {
        match self {
            Self::ZooKeeper(zk) => zk.create(key, &VALUE).await,
            _ => self.put(key).await,
        }
    }

    pub async fn get(&mut self, key: &str, how: Operation) -> io::Result<()> {
        match self {
            Self::Copycat(http) => {
                let consistency = match how {
                    Operation::Lease => "lease",
                    Operation::Local => "sequential",
                    _ => "linearizable",
                };
                let path = format!("/v1/kv?key={key}&consistency={consistency}");
                expect(&http.call("GET", &path, b"").await?)
            }
            Self::Native(keys) => {
                let consistency = match how {
                    Operation::Lease => Consistency::Lease,
                    Operation::Local => Consistency::Sequential,
                    _ => Consistency::Linearizable,
                };
                keys.get(key, consistency).await.map(drop).map_err(io::Error::other)
            }
            Self::EtcdJson(http) => {
                let serializable = how == Operation::Local;
                let body = format!(r#"{{"key":"{}","serializable":{serializable}}}"#, STANDARD.encode(key));
                expect(&http.call("POST", "/v3/kv/range", body.as_bytes()).await?)
            }
            Self::EtcdGrpc(etcd) => etcd.get(key, how == Operation::Local).await,
            Self::ZooKeeper(zk) if how == Operation::Local => zk.get(key, false).await,
            Self::ZooKeeper(zk) => zk.sync_and_get(key).await,
        }
    }

    pub async fn run(&mut self, operation: Operation, random: u64) -> io::Result<()> {
        let key = key((random >> 8) % KEYS);
        match operation {
            Operation::Put => self.put(&key).await,
            Operation::Mixed if random.is_multiple_of(5) => self.put(&key).await,
            _ => self.get(&key, operation).await,
        }
    }
}
