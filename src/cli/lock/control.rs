//! What `copycat lock` and the supervisor of its job say to each other, over a pair of sockets, in lines. When either is
//! gone, the other one reads an end.

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use std::io::{self, BufRead, BufReader, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// What the supervisor hears.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// The session lives until then.
    Alive(Duration),
    /// The job is to stop.
    Stop,
    /// `copycat lock` is gone.
    Gone,
}

/// What `copycat lock` hears of its job.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// It is asked to stop, since the session may soon be over.
    Stopping,
    /// It has ended, with this exit code, and nothing is left of what it started.
    Ended(u8),
    /// The supervisor is gone.
    Gone,
}

fn write(control: &UnixStream, line: &str) {
    // One who is gone is noticed by reading. One who does not read, and cannot be told, only knows of less time.
    let _ = (&*control).write_all(line.as_bytes());
}

impl Told {
    pub(super) fn write(&self, control: &UnixStream) {
        match self {
            Self::Alive(until) => write(control, &format!("alive {}\n", until.as_millis())),
            Self::Stop => write(control, "stop\n"),
            Self::Gone => {}
        }
    }

    fn parse(line: &str) -> Option<Self> {
        match line.split_once(' ') {
            Some(("alive", until)) => until.parse().ok().map(|ms| Self::Alive(Duration::from_millis(ms))),
            None if line == "stop" => Some(Self::Stop),
            _ => None,
        }
    }

    pub(super) fn listen(control: UnixStream, tell: impl FnMut(Self)) {
        listen(control, Self::parse, Self::Gone, tell);
    }
}

impl Said {
    pub(super) fn write(&self, control: &UnixStream) {
        match self {
            Self::Stopping => write(control, "stopping\n"),
            Self::Ended(code) => write(control, &format!("ended {code}\n")),
            Self::Gone => {}
        }
    }

    fn parse(line: &str) -> Option<Self> {
        match line.split_once(' ') {
            Some(("ended", code)) => code.parse().ok().map(Self::Ended),
            None if line == "stopping" => Some(Self::Stopping),
            _ => None,
        }
    }

    pub(super) fn listen(control: UnixStream, tell: impl FnMut(Self)) {
        listen(control, Self::parse, Self::Gone, tell);
    }
}

/// Tells of each line, and of the end.
fn listen<T>(control: UnixStream, parse: fn(&str) -> Option<T>, gone: T, mut tell: impl FnMut(T)) {
    for line in BufReader::new(control).lines() {
        let Ok(line) = line else { break };
        if let Some(message) = parse(&line) {
            tell(message);
        }
    }
    tell(gone);
}

/// Hands over the standard input that a job is to have: the supervisor's own is the control.
pub(super) fn send_stdin(control: &UnixStream, stdin: BorrowedFd<'_>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let (mut rights, stdin) = (SendAncillaryBuffer::new(&mut space), [stdin]);
    if !rights.push(SendAncillaryMessage::ScmRights(&stdin)) {
        return Err(io::Error::other("there is no room for a descriptor"));
    }
    sendmsg(control.as_fd(), &[IoSlice::new(b"\n")], &mut rights, SendFlags::empty())?;
    Ok(())
}

/// What was handed over.
pub(super) fn receive_stdin(control: &UnixStream) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut rights = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(control.as_fd(), &mut [IoSliceMut::new(&mut byte)], &mut rights, RecvFlags::empty())?;
    let descriptors = rights.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let stdin = descriptors.flatten().next();
    let stdin = stdin
        .ok_or_else(|| io::Error::other("no standard input was handed over: this is started by `copycat lock` only"))?;
    // Else the job would have it under this number, too.
    rustix::io::fcntl_setfd(&stdin, rustix::io::FdFlags::CLOEXEC)?;
    Ok(stdin)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Read;

    #[test]
    fn what_is_written_is_heard_and_then_the_end() {
        let (a, b) = UnixStream::pair().expect("a pair");
        let said = [Said::Stopping, Said::Ended(143)];
        said.iter().for_each(|said| said.write(&a));
        write(&a, "nonsense\nended 256\n");
        drop(a);
        let mut heard = Vec::new();
        Said::listen(b, |said| heard.push(said));
        assert_eq!(heard, [Said::Stopping, Said::Ended(143), Said::Gone]);

        let (a, b) = UnixStream::pair().expect("a pair");
        let told = [Told::Alive(Duration::from_millis(1_234_567)), Told::Stop];
        told.iter().for_each(|told| told.write(&a));
        drop(a);
        let mut heard = Vec::new();
        Told::listen(b, |told| heard.push(told));
        assert_eq!(heard, [Told::Alive(Duration::from_millis(1_234_567)), Told::Stop, Told::Gone]);
    }

    #[test]
    fn a_standard_input_is_handed_over() {
        let (a, b) = UnixStream::pair().expect("a pair");
        let (mut from, to) = UnixStream::pair().expect("a pair");
        send_stdin(&a, to.as_fd()).expect("it is sent");
        drop(to);
        let mut received = File::from(receive_stdin(&b).expect("it is received"));
        received.write_all(b"x").expect("it is the other end");
        let mut byte = [0];
        from.read_exact(&mut byte).expect("a byte");
        assert_eq!(&byte, b"x");
        write(&a, "\n");
        assert!(receive_stdin(&b).is_err(), "a byte without a descriptor");
    }
}
