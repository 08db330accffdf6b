//! A TCP proxy between two servers, which can be cut and slowed. Servers send on the connections that they dial, so one in
//! front of a server slows what the others send to it, and nothing else.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// What the proxy does with connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Forwards.
    Open,
    /// Closes those there are, and new ones at once.
    Cut,
    /// Takes connections and bytes, and passes nothing on. What is held passes when the link opens again.
    Silent,
    /// Passes on everything, but what those send who dialed so much later.
    Slow(Duration),
    /// What is on its way arrives in its time, and all that comes from now on is lost. A connection that lost something ends
    /// when the link opens again.
    Fading,
}

const TICK: Duration = Duration::from_millis(20);
/// Bytes that one direction of a connection holds back. With so many it reads no more.
const HELD: usize = 64 * 1024 * 1024;

#[derive(Debug, Default)]
struct Shared {
    link: AtomicU8,
    /// Of a slow link, in milliseconds.
    delay: AtomicU64,
    /// Goes up with each cut: connections of an older one end.
    cuts: AtomicU64,
    over: AtomicBool,
}

impl Shared {
    fn link(&self) -> Link {
        match self.link.load(Ordering::SeqCst) {
            0 => Link::Open,
            1 => Link::Cut,
            2 => Link::Silent,
            3 => Link::Slow(Duration::from_millis(self.delay.load(Ordering::SeqCst))),
            _ => Link::Fading,
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
            Link::Slow(delay) => {
                let delay = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
                self.shared.delay.store(delay, Ordering::SeqCst);
                3
            }
            Link::Fading => 4,
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
    while matches!(shared.link(), Link::Silent | Link::Fading) {
        thread::sleep(TICK);
    }
    if shared.link() == Link::Cut {
        return;
    }
    let Ok(server) = TcpStream::connect_timeout(&target, Duration::from_secs(2)) else { return };
    thread::scope(|scope| {
        scope.spawn(|| pump(client, &server, shared, cuts, true));
        scope.spawn(|| pump(&server, client, shared, cuts, false));
    });
}

/// Bytes of one direction of a connection on their way.
#[derive(Default)]
struct Pipe {
    held: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
    /// Something is missing behind what is held.
    broken: bool,
    /// Nothing more comes.
    ended: bool,
}

impl Pipe {
    fn take(&mut self, bytes: &[u8], link: Link) {
        let delay = if let Link::Slow(delay) = link { delay } else { Duration::ZERO };
        if link == Link::Fading || self.broken {
            self.broken = true;
        } else {
            self.held.push_back((Instant::now() + delay, bytes.to_vec()));
            self.bytes += bytes.len();
        }
    }

    /// Writes what is due.
    fn pass(&mut self, to: &mut impl Write, link: Link) -> std::io::Result<()> {
        while let Some((due, bytes)) = self.held.front()
            && (link == Link::Open || Instant::now() >= *due)
        {
            to.write_all(bytes)?;
            self.bytes -= bytes.len();
            self.held.pop_front();
        }
        Ok(())
    }

    fn is_over(&self, link: Link) -> bool {
        self.held.is_empty() && (self.ended || self.broken && link != Link::Fading)
    }
}

fn pump(from: &TcpStream, to: &TcpStream, shared: &Shared, cuts: u64, slowed: bool) {
    let _ = from.set_read_timeout(Some(TICK));
    let _ = to.set_nodelay(true);
    let (mut from_half, mut to_half) = (from, to);
    let mut buffer = vec![0; 64 * 1024];
    let mut pipe = Pipe::default();
    while shared.cuts.load(Ordering::SeqCst) == cuts {
        let link = shared.link();
        // A byte that was read as the link went silent waits with the others.
        if link == Link::Silent {
            thread::sleep(TICK);
            continue;
        }
        if pipe.pass(&mut to_half, link).is_err() || pipe.is_over(link) {
            break;
        }
        if pipe.ended || pipe.bytes >= HELD {
            thread::sleep(TICK);
            continue;
        }
        match from_half.read(&mut buffer) {
            Ok(0) => pipe.ended = true,
            Ok(n) => match shared.link() {
                Link::Slow(_) if !slowed => pipe.take(&buffer[..n], Link::Open),
                link => pipe.take(&buffer[..n], link),
            },
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

    #[test]
    fn a_slow_link_passes_everything_later_and_a_fading_one_what_was_on_its_way() {
        let proxy = Proxy::start("127.0.0.1:0".parse().unwrap(), echo()).unwrap();
        let mut stream = connect(&proxy);
        assert_eq!(ping(&mut stream, 1).unwrap(), 1);
        let delay = Duration::from_millis(300);
        proxy.set(Link::Slow(delay));
        let begin = Instant::now();
        assert_eq!(ping(&mut stream, 2).unwrap(), 2);
        assert!(begin.elapsed() >= delay);
        stream.write_all(&[3]).unwrap();
        // On its way by then, unless this machine sleeps.
        thread::sleep(delay / 3);
        proxy.set(Link::Fading);
        stream.write_all(&[4]).unwrap();
        stream.set_read_timeout(Some(delay * 3)).unwrap();
        let mut answer = [0];
        assert!(stream.read_exact(&mut answer).is_err(), "the answer was lost: {answer:?}");
        proxy.set(Link::Open);
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        assert!(matches!(stream.read(&mut answer), Ok(0) | Err(_)), "there is a gap in it");
        assert_eq!(ping(&mut connect(&proxy), 5).unwrap(), 5);
    }

    #[test]
    fn what_is_on_its_way_arrives_over_a_fading_link() {
        let mut pipe = Pipe::default();
        let slow = Link::Slow(Duration::from_millis(50));
        pipe.take(b"a", slow);
        pipe.take(b"b", Link::Fading);
        pipe.take(b"c", slow);
        let mut passed = Vec::new();
        assert!(!pipe.is_over(Link::Fading));
        while passed.is_empty() {
            pipe.pass(&mut passed, Link::Fading).unwrap();
        }
        assert_eq!(passed, b"a");
        assert!(!pipe.is_over(Link::Fading) && pipe.is_over(Link::Open));
    }
}
