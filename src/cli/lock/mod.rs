//! `copycat lock`
//!
//! The main thread has the command started, hears of everything that happens, and has it stopped. Others ask for the lock,
//! keep the session alive, listen to its events and to signals. Between it and the command is a supervisor, a process that
//! ends the command when this one is gone, or the session may be over.

mod ask;
mod control;
mod job;
mod processes;
mod supervise;
mod timing;

use super::client::{Call, Client, Pauses, segment};
use super::lease::{self, Lease, Polled};
use super::{Endpoints, Failure, duration, signals};
use ask::{Held, Seeker};
use clap::Args;
use control::Said;
use job::Job;
pub(super) use job::cannot_run;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
pub(super) use supervise::Supervise;
use timing::Timing;

/// The lock was lost while the command ran.
const LOST: u8 = 70;
/// The cluster could not be asked.
const UNAVAILABLE: u8 = 69;
/// Others have the lock.
const NOT_OBTAINED: u8 = 75;

/// How long the end of a session is told to servers that do not hear it.
const FAREWELL: Duration = Duration::from_secs(5);
/// How often to look without being told.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Args)]
#[command(
    after_help = "CMD finds COPYCAT_LOCK_NAME, COPYCAT_LOCK_TOKEN and COPYCAT_SESSION in its environment. The token \
is higher than all before it: hand it on with what CMD writes, so that others can refuse the writes of an earlier \
holder.\n\nCMD, and all that it started, is dead before others can get the lock. If no server takes a keep-alive in time, it gets \
SIGTERM, and SIGKILL before the ttl is over: the grace between them is a quarter of the ttl, at most 5 s. SIGTERM, SIGINT \
and SIGHUP end it in the same way, and so does the end of this process, also by kill -9; Ctrl-C at a terminal is left to \
CMD. What it leaves running when it ends is ended, too, before the lock is released. A lock that is revoked may be \
another\'s at once.\
\n\nExit codes: CMD's own (128 + N if signal N ended it), 69 no server could be asked, 70 the lock was lost, 75 the lock \
was not obtained, 126 CMD cannot be run, 127 there is no CMD, 2 wrong usage; 128 + N if signal N came before CMD ran.\
\n\nExamples:\n  copycat lock backup -- ./backup.sh\n  copycat lock deploy --wait 5m --ttl 30s -- make deploy\n  \
copycat lock report --shared -- sh -c 'echo \"token $COPYCAT_LOCK_TOKEN\"'"
)]
pub(super) struct Lock {
    /// The lock
    name: OsString,
    /// Wait for it for at most this long, behind those that came before; without, it is free or not
    #[arg(long, value_parser = duration)]
    wait: Option<Duration>,
    /// How long others must wait if this process, or its machine, is suddenly gone: 1s to 24h
    #[arg(long, default_value = "15s", value_parser = lease::session_timeout)]
    ttl: Duration,
    /// Together with others that share it
    #[arg(long)]
    shared: bool,
    #[command(flatten)]
    cluster: Endpoints,
    /// What to run while the lock is held
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// What the main thread hears of.
enum Happening {
    Signal(i32),
    Asked(Result<Held, Failure>),
    /// The session was kept alive.
    Alive,
    Job(Said),
    /// The session, and why it holds the lock no longer.
    Lost(u64, String),
}

impl Lock {
    pub(super) fn run(self) -> Result<u8, Failure> {
        if !(1..=255).contains(&self.name.len()) {
            return Err(Failure::with_code(format!("a lock's name has 1 to 255 bytes, not {}", self.name.len()), 2));
        }
        let (teller, happenings) = channel();
        let to_main = teller.clone();
        let mut heeded = vec![signals::SIGTERM, signals::SIGINT];
        if !signals::ignores_hangup() {
            heeded.push(signals::SIGHUP);
        }
        signals::on_each(&heeded, move |signal| {
            let _ = to_main.send(Happening::Signal(signal));
        })?;
        let session = Arc::new(Mutex::new(None));
        let seeker = Seeker {
            client: Arc::new(Client::new(&self.cluster)),
            name: self.name.as_bytes().to_vec(),
            ttl: self.ttl,
            until: self.wait.map(|wait| Instant::now() + wait),
            shared: self.shared,
            session: Arc::clone(&session),
            teller: teller.clone(),
        };
        let to_main = teller.clone();
        thread::spawn(move || {
            let _ = teller.send(Happening::Asked(seeker.obtain()));
        });
        let result = Self::obtained(&happenings).and_then(|got| match got {
            Ok(held) => self.hold(&held, to_main, &happenings),
            Err(signal) => Ok(job::signal_code(signal)),
        });
        let lease: Option<Arc<Lease>> = session.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Whatever came of it: nothing stays behind.
        let farewell = lease.map_or(Ok(()), |lease| lease.end(FAREWELL.min(self.ttl)));
        if let (Ok(_), Err(failure)) = (&result, farewell) {
            let ttl = self.ttl.as_secs_f64();
            eprintln!(
                "warning: others get the lock only in up to {ttl} s, since its session was not ended: {}",
                failure.text
            );
        }
        result
    }

    /// The lock, or the signal that came first.
    fn obtained(happenings: &Receiver<Happening>) -> Result<Result<Held, i32>, Failure> {
        loop {
            match happenings.recv().map_err(Failure::new)? {
                Happening::Asked(Ok(held)) => return Ok(Ok(held)),
                Happening::Asked(Err(failure)) => return Err(failure),
                Happening::Signal(signal) => return Ok(Err(signal)),
                // One that asks is answered so itself.
                Happening::Lost(..) | Happening::Alive | Happening::Job(_) => {}
            }
        }
    }

    /// Runs the command.
    fn hold(&self, held: &Held, teller: Sender<Happening>, happenings: &Receiver<Happening>) -> Result<u8, Failure> {
        let (lease, timing) = (&held.lease, Timing::of(self.ttl));
        let environment = [
            ("COPYCAT_LOCK_NAME", self.name.clone()),
            ("COPYCAT_LOCK_TOKEN", held.token.to_string().into()),
            ("COPYCAT_SESSION", lease.session.to_string().into()),
        ];
        let mut job = Job::start(&self.command, &environment, (self.ttl, lease.alive_until()), teller)?;
        let mut lost = None;
        let ended = loop {
            match happenings.recv_timeout(LOOK) {
                Ok(Happening::Signal(signal)) => job.pass_on(signal),
                Ok(Happening::Lost(session, why)) if session == lease.session => {
                    lost.get_or_insert(why);
                    job.stop();
                }
                Ok(Happening::Alive) => job.alive(lease.alive_until()),
                Ok(Happening::Job(Said::Stopping)) => drop(lost.get_or_insert_with(|| self.unheard())),
                Ok(Happening::Job(Said::Ended(code))) => break Some(code),
                Ok(Happening::Job(Said::Gone)) => break None,
                Ok(Happening::Lost(..) | Happening::Asked(_)) | Err(_) => {}
            }
            if job::is_overdue(timing, lease.left()) {
                lost.get_or_insert_with(|| self.unheard());
                job.kill();
                break None;
            }
        };
        match (ended, lost) {
            (Some(code), None) => {
                job.end();
                self.release(held).map(|()| code)
            }
            (Some(_), Some(why)) => Err(self.lost(&why, "the command was stopped")),
            (None, why) => {
                job.kill();
                let why = why.unwrap_or_else(|| "the process that watches over its command was killed".into());
                Err(self.lost(&why, "the command was killed"))
            }
        }
    }

    fn unheard(&self) -> String {
        format!("no server took a keep-alive in time for a ttl of {} s", self.ttl.as_secs_f64())
    }

    fn lost(&self, why: &str, so: &str) -> Failure {
        Failure::with_code(format!("the lock {} was lost: {why}; {so}", self.name.display()), LOST)
    }

    /// Gives the lock back, and so learns whether it was held to the end.
    fn release(&self, held: &Held) -> Result<(), Failure> {
        let path = format!("/v1/locks/{}", segment(self.name.as_bytes()));
        let session = held.lease.session.to_string().into_bytes();
        let query = vec![("session", session), ("token", held.token.to_string().into_bytes())];
        // The session's only command with a number: a repeat gets the answer of the first.
        let headers = vec![("Copycat-Sequence", "1".to_string())];
        let call = Call { method: "DELETE", path: &path, query, headers, body: None };
        let time = FAREWELL.min(self.ttl);
        match held.lease.client.insist(&call, time, Instant::now() + time) {
            Ok(answer) if matches!(answer.status, 404 | 410 | 412) => {
                let why = answer.failure().text;
                Err(self.lost(&why, "the command had just ended, and may have run too long without it"))
            }
            // Not heard of: the session's end, or its timeout, will do.
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

/// Tells the main thread when the lock is taken away.
fn listen(held: &Held, teller: &Sender<Happening>) {
    let (lease, token) = (Arc::clone(&held.lease), held.token);
    let teller = teller.clone();
    thread::spawn(move || {
        let mut pauses = Pauses::new(&lease.client);
        let mut after = None;
        let why = loop {
            match lease.poll(after) {
                Polled::Batches(batches) => {
                    pauses = Pauses::new(&lease.client);
                    after = batches.last().and_then(|batch| batch["index"].as_u64()).or(after);
                    let mut events = batches.iter().filter_map(|batch| batch["events"].as_array()).flatten();
                    // Tokens are of one lock.
                    if events.any(|event| event["type"] == "lock_lost" && event["token"] == token) {
                        break format!("it was revoked from session {}, token {token}", lease.session);
                    }
                }
                Polled::Gap => after = None,
                Polled::Over(why) => break why,
                Polled::Nothing => thread::sleep(pauses.next()),
            }
        };
        let _ = teller.send(Happening::Lost(lease.session, why));
    });
}
