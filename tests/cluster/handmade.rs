//! Frames of both protocols made by hand, byte by byte: the product's own encoder would refuse to make most of them.

use crate::harness::PATIENCE;
use copycat::engine::{NamedSettings, Settings, encode};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

/// A length of 2^62.
pub const HUGE: &[u8] = b"\xfd\0\0\0\0\0\0\0\x40";

pub fn number(n: u128) -> Vec<u8> {
    let bytes = n.to_le_bytes();
    match n {
        0..251 => vec![bytes[0]],
        251..0x1_0000 => [&[251], &bytes[..2]].concat(),
        0x1_0000..0x1_0000_0000 => [&[252], &bytes[..4]].concat(),
        0x1_0000_0000..0x1_0000_0000_0000_0000 => [&[253], &bytes[..8]].concat(),
        _ => [&[254], &bytes[..]].concat(),
    }
}

pub fn numbers(all: &[u128]) -> Vec<u8> {
    all.iter().flat_map(|&n| number(n)).collect()
}

pub fn text(bytes: &[u8]) -> Vec<u8> {
    [number(bytes.len() as u128), bytes.to_vec()].concat()
}

pub fn frame(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_le_bytes(), bytes].concat()
}

/// The first numbers of these bytes.
pub fn read_numbers<const N: usize>(bytes: &[u8]) -> [u128; N] {
    let mut at = 0;
    [(); N].map(|()| {
        let size = match bytes[at] {
            251..=254 => 2 << (bytes[at] - 251),
            _ => 0,
        };
        let mut number = [0; 16];
        let from = if size == 0 { at..at + 1 } else { at + 1..at + 1 + size };
        number[..from.len()].copy_from_slice(&bytes[from.clone()]);
        at = from.end;
        u128::from_le_bytes(number)
    })
}

pub fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

pub fn receive(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut bytes = vec![0; u32::from_le_bytes(length) as usize];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// A native client's connection.
pub struct Client {
    pub stream: TcpStream,
    /// The cluster's id, which anybody is told.
    pub cluster: u128,
}

pub fn client_hello() -> Vec<u8> {
    numbers(&[u32::from_le_bytes(*b"CCLI").into(), 1])
}

pub fn register_request() -> Vec<u8> {
    let key = format!("handmade-{}-{:?}", std::process::id(), std::time::Instant::now());
    [numbers(&[0, 1, 0, 30_000]), text(b"x"), text(key.as_bytes())].concat()
}

pub fn command_request(session: u128, sequence: u128, mode: u8, operation: &[u8]) -> Vec<u8> {
    [numbers(&[0, 2, 3, session, sequence]), vec![mode], text(operation)].concat()
}

/// `consistency`: 0 linearizable, 1 lease, 2 sequential.
pub fn query_request(session: u128, consistency: u128, operation: &[u8]) -> Vec<u8> {
    [numbers(&[0, 2, 4, session, consistency, 0]), text(operation)].concat()
}

impl Client {
    pub fn new(to: SocketAddr) -> Self {
        let mut stream = connect(to);
        stream.write_all(&frame(&client_hello())).unwrap();
        let [_, _, cluster] = read_numbers(&receive(&mut stream).unwrap());
        Self { stream, cluster }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(&frame(bytes)).unwrap();
    }

    /// The next answer; what comes unasked is passed over.
    pub fn answer(&mut self) -> Vec<u8> {
        loop {
            let bytes = receive(&mut self.stream).unwrap();
            if bytes.first() == Some(&0) {
                return bytes;
            }
        }
    }

    pub fn register(&mut self) -> u128 {
        self.send(&register_request());
        let answer = self.answer();
        let [_, id, result, session] = read_numbers(&answer);
        assert_eq!((id, result), (1, 0), "{answer:?}");
        session
    }
}

/// A connection that says it is a peer's.
pub struct Peer {
    /// Whose it says that it is,
    pub from: u128,
    pub identity: u128,
    /// where that one is,
    pub http: String,
    pub peer: String,
    /// and what it wants: to send frames (the number of the server that is dialed follows).
    pub purpose: Vec<u8>,
}

impl Peer {
    pub fn to(server: u128) -> Self {
        let nowhere = || "127.0.0.1:1".to_string();
        Self { from: 77, identity: 12_345, http: nowhere(), peer: nowhere(), purpose: numbers(&[0, server]) }
    }

    pub fn hello(&self, cluster: u128) -> Vec<u8> {
        let magic = u32::from_le_bytes(*b"CCAT").into();
        let head = numbers(&[magic, 4, cluster, 0, self.from, self.identity]);
        let settings = [encode(&Settings::default()), encode(&NamedSettings::default())].concat();
        [head, self.purpose.clone(), text(self.http.as_bytes()), text(self.peer.as_bytes()), settings].concat()
    }

    pub fn greet(&self, to: SocketAddr, cluster: u128) -> TcpStream {
        let mut stream = connect(to);
        stream.write_all(&frame(&self.hello(cluster))).unwrap();
        stream
    }
}
