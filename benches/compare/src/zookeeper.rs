//! The least of a ZooKeeper client: jute over TCP (ZooKeeper's `zookeeper.jute`), one session a connection.

use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const CREATE: i32 = 1;
const GET_DATA: i32 = 4;
const SET_DATA: i32 = 5;
const SYNC: i32 = 9;
const NODE_EXISTS: i32 = -110;
const WATCH_EVENT: i32 = -1;

pub struct ZooKeeper {
    stream: TcpStream,
    xid: i32,
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&i32::try_from(bytes.len()).expect("short").to_be_bytes());
    out.extend_from_slice(bytes);
}

impl ZooKeeper {
    pub async fn connect(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut zk = Self { stream, xid: 0 };
        let mut hello = Vec::new();
        hello.extend_from_slice(&0_i32.to_be_bytes());
        hello.extend_from_slice(&0_i64.to_be_bytes());
        hello.extend_from_slice(&30_000_i32.to_be_bytes());
        hello.extend_from_slice(&0_i64.to_be_bytes());
        put_bytes(&mut hello, &[0; 16]);
        zk.send(&hello).await?;
        zk.receive().await?;
        Ok(zk)
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut frame = Vec::with_capacity(bytes.len() + 4);
        put_bytes(&mut frame, bytes);
        self.stream.write_all(&frame).await
    }

    async fn receive(&mut self) -> io::Result<Vec<u8>> {
        let length = self.stream.read_u32().await?;
        let mut bytes = vec![0; length as usize];
        self.stream.read_exact(&mut bytes).await?;
        Ok(bytes)
    }

    /// Returns the error code of the reply, 0 for none.
    async fn request(&mut self, kind: i32, payload: &[u8]) -> io::Result<i32> {
        self.xid += 1;
        let mut bytes = Vec::with_capacity(payload.len() + 8);
        bytes.extend_from_slice(&self.xid.to_be_bytes());
        bytes.extend_from_slice(&kind.to_be_bytes());
        bytes.extend_from_slice(payload);
        self.send(&bytes).await?;
        loop {
            let reply = self.receive().await?;
            let int = |at: usize| i32::from_be_bytes(reply[at..at + 4].try_into().expect("four bytes"));
            if reply.len() >= 16 && int(0) == self.xid {
                return Ok(int(12));
            }
        }
    }

    fn checked(code: i32) -> io::Result<()> {
        if code == 0 { Ok(()) } else { Err(io::Error::other(format!("ZooKeeper error {code}"))) }
    }

    pub async fn create(&mut self, path: &str, value: &[u8]) -> io::Result<()> {
        let mut payload = Vec::new();
        put_bytes(&mut payload, path.as_bytes());
        put_bytes(&mut payload, value);
        payload.extend_from_slice(&1_i32.to_be_bytes());
        payload.extend_from_slice(&31_i32.to_be_bytes());
        put_bytes(&mut payload, b"world");
        put_bytes(&mut payload, b"anyone");
        payload.extend_from_slice(&0_i32.to_be_bytes());
        match self.request(CREATE, &payload).await? {
            NODE_EXISTS => Ok(()),
            code => Self::checked(code),
        }
    }

    pub async fn set(&mut self, path: &str, value: &[u8]) -> io::Result<()> {
        let mut payload = Vec::new();
        put_bytes(&mut payload, path.as_bytes());
        put_bytes(&mut payload, value);
        payload.extend_from_slice(&(-1_i32).to_be_bytes());
        Self::checked(self.request(SET_DATA, &payload).await?)
    }

    pub async fn get(&mut self, path: &str, watch: bool) -> io::Result<()> {
        let mut payload = Vec::new();
        put_bytes(&mut payload, path.as_bytes());
        payload.push(u8::from(watch));
        Self::checked(self.request(GET_DATA, &payload).await?)
    }

    /// A read that sees all writes before it: the server first catches up with the leader.
    pub async fn sync_and_get(&mut self, path: &str) -> io::Result<()> {
        let mut payload = Vec::new();
        put_bytes(&mut payload, path.as_bytes());
        Self::checked(self.request(SYNC, &payload).await?)?;
        self.get(path, false).await
    }

    /// Waits for the event of a watch.
    pub async fn event(&mut self) -> io::Result<()> {
        loop {
            let reply = self.receive().await?;
            if reply.get(..4) == Some(&WATCH_EVENT.to_be_bytes()[..]) {
                return Ok(());
            }
        }
    }
}
