//! A TCP proxy between two servers, which can be cut.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// What the proxy does with connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Forwards.
    Open,
    /// Closes those there are, and new ones at once.
    Cut,
    /// Takes connections and bytes, and passes nothing on. What is held passes when the link opens again.
    Silent,
}

const TICK: Duration = Duration::from_millis(20);

#[derive(Debug, Default)]
struct Shared {
    link: AtomicU8,
    /// Goes up with each cut: connections of an older one end.
    cuts: AtomicU64,
    over: AtomicBool,
}

impl Shared {
    fn link(&self) -> Link {
        match self.link.load(Ordering::SeqCst) {
            0 => Link::Open,
            1 => Link::Cut,
            _ => Link::Silent,
        }
    }
}

/// A proxy in front of one address. Ends when dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Proxy {
    /// Listens at `listen`, forwards to `target`, which need not be there yet.
    ///
    /// # Errors
    /// If it cannot listen.
    pub fn start(listen: SocketAddr, target: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind(listen)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let its = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming() {
                if its.over.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(client) = client else { continue };
                let its = Arc::clone(&its);
                thread::spawn(move || connection(&client, target, &its));
            }
        });
        Ok(Self { address, shared })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what it does.
    pub fn set(&self, link: Link) {
        let code = match link {
            Link::Open => 0,
            Link::Cut => 1,
            Link::Silent => 2,
        };
        self.shared.link.store(code, Ordering::SeqCst);
        if link == Link::Cut {
            self.shared.cuts.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        self.set(Link::Cut);
        // Wakes the listener.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
    }
}

fn connection(client: &TcpStream, target: SocketAddr, shared: &Shared) {
    let cuts = shared.cuts.load(Ordering::SeqCst);
    while shared.link() == Link::Silent {
        thread::sleep(TICK);
    }
    if shared.link() == Link::Cut {
        return;
    }
    let Ok(server) = TcpStream::connect_timeout(&target, Duration::from_secs(2)) else { return };
    thread::scope(|scope| {
        scope.spawn(|| pump(client, &server, shared, cuts));
        scope.spawn(|| pump(&server, client, shared, cuts));
    });
}

fn pump(from: &TcpStream, to: &TcpStream, shared: &Shared, cuts: u64) {
    let _ = from.set_read_timeout(Some(TICK));
    let _ = to.set_nodelay(true);
    let (mut from_half, mut to_half) = (from, to);
    let mut buffer = vec![0; 64 * 1024];
    while shared.cuts.load(Ordering::SeqCst) == cuts {
        if shared.link() == Link::Silent {
            thread::sleep(TICK);
            continue;
        }
        match from_half.read(&mut buffer) {
            Ok(0) => break,
            // A byte that was read as the link went silent waits with the others.
            Ok(n) => {
                while shared.link() == Link::Silent && shared.cuts.load(Ordering::SeqCst) == cuts {
                    thread::sleep(TICK);
                }
                if shared.cuts.load(Ordering::SeqCst) != cuts || to_half.write_all(&buffer[..n]).is_err() {
                    break;
                }
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {}
            Err(_) => break,
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                thread::spawn(move || {
                    let mut byte = [0];
                    while stream.read_exact(&mut byte).is_ok() {
                        let _ = stream.write_all(&byte);
                    }
                });
            }
        });
        address
    }

    fn connect(proxy: &Proxy) -> TcpStream {
        let stream = TcpStream::connect(proxy.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    fn ping(stream: &mut TcpStream, byte: u8) -> std::io::Result<u8> {
        stream.write_all(&[byte])?;
        let mut answer = [0];
        stream.read_exact(&mut answer)?;
        Ok(answer[0])
    }

    #[test]
    fn forwards_cuts_and_keeps_silent() {
        let proxy = Proxy::start("127.0.0.1:0".parse().unwrap(), echo()).unwrap();
        let mut stream = connect(&proxy);
        assert_eq!(ping(&mut stream, 7).unwrap(), 7);
        proxy.set(Link::Cut);
        assert!(ping(&mut stream, 8).is_err());
        assert!(ping(&mut connect(&proxy), 8).is_err());
        proxy.set(Link::Open);
        let mut stream = connect(&proxy);
        assert_eq!(ping(&mut stream, 9).unwrap(), 9);
        proxy.set(Link::Silent);
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        assert!(ping(&mut stream, 10).is_err());
        proxy.set(Link::Open);
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut held = [0];
        stream.read_exact(&mut held).unwrap();
        assert_eq!(held, [10]);
    }
}
