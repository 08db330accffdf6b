//! `copycat watch`

use super::client::{Client, Pauses};
use super::keys::{name, shown};
use super::lease::{Lease, PATIENCE, Polled};
use super::{Failure, Format, Target, signals};
use clap::{ArgGroup, Args};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::io::{ErrorKind, Write};
use std::os::unix::ffi::OsStringExt;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long the session lives when this process, or its machine, is suddenly gone.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long the end of a session is told to servers that do not hear it.
const FAREWELL: Duration = Duration::from_secs(3);

#[derive(Args)]
#[command(group(ArgGroup::new("what").required(true).args(["key", "prefix"])))]
#[command(
    after_help = "Each event is one line: `put KEY VERSION [VALUE]`, `delete KEY VERSION` or `expire KEY VERSION` (the \
version that was deleted); with --output json, one object with the log index. Events come in order, each once, none left out; \
if the session is lost (no server was reached for 30 s), a line on standard error says that some may have been missed.\
\n\nCtrl-C and SIGTERM end it, with exit code 0.\n\n\
Examples:\n  copycat watch config --values\n  copycat watch --prefix app/ --output json\n  \
copycat watch deploy/go --count 1 && ./deploy.sh"
)]
pub(super) struct Watch {
    /// The key
    key: Option<OsString>,
    /// All keys that begin so; an empty one: all
    #[arg(long)]
    prefix: Option<OsString>,
    /// Print values too
    #[arg(long)]
    values: bool,
    /// End after this many events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    #[command(flatten)]
    target: Target,
}

/// What the main thread ends for: a signal, or the other's result.
type End = Result<(), Failure>;
/// The session of the moment, for the main thread to end.
type Current = Arc<Mutex<Option<Arc<Lease>>>>;

impl Watch {
    pub(super) fn run(self) -> Result<(), Failure> {
        let (teller, ends): (Sender<End>, _) = channel();
        let to_main = teller.clone();
        signals::on_each(&[signals::SIGINT, signals::SIGTERM], move |_| {
            let _ = to_main.send(Ok(()));
        })?;
        let what = self.what()?;
        let watcher = Watcher {
            client: Arc::new(self.target.client()),
            what,
            format: self.target.output,
            left: self.count.unwrap_or(u64::MAX),
            seen: 0,
            current: Arc::default(),
        };
        let current = Arc::clone(&watcher.current);
        thread::spawn(move || {
            let _ = teller.send(watcher.watch());
        });
        let result = ends.recv().unwrap_or(Ok(()));
        let lease = current.lock().unwrap_or_else(PoisonError::into_inner).take();
        // If no server hears it, it ends by itself.
        let _ = lease.map(|lease| lease.end(FAREWELL));
        result
    }

    /// What the servers are asked to tell of.
    fn what(&self) -> Result<Value, Failure> {
        let (field, name) = match (&self.key, &self.prefix) {
            (Some(key), _) => ("key", key),
            (None, Some(prefix)) => ("prefix", prefix),
            (None, None) => return Err(Failure::with_code("name a key, or a --prefix", 2)),
        };
        let mut what = json!({ "values": self.values });
        match String::from_utf8(name.clone().into_vec()) {
            Ok(text) => what[field] = text.into(),
            Err(e) => {
                what[field] = base64(e.as_bytes()).into();
                what[format!("{field}_encoding")] = "base64".into();
            }
        }
        if field == "prefix" && name.is_empty() {
            what["all"] = true.into();
        }
        Ok(what)
    }
}

struct Watcher {
    client: Arc<Client>,
    what: Value,
    format: Format,
    /// Events to be printed yet.
    left: u64,
    /// The index of the last event, over all sessions.
    seen: u64,
    current: Current,
}

impl Watcher {
    fn watch(mut self) -> End {
        let mut before = None;
        loop {
            let lease = Lease::begin(&self.client, TIMEOUT, "copycat watch", until(before.is_some()))?;
            *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&lease));
            lease.keep(lease.usual_interval(), || {}, |_| {});
            let from = match lease.watch(&self.what, until(before.is_some())) {
                Ok(index) => index,
                // Lost again, before it was of use.
                Err(failure) if failure.code == 3 => continue,
                Err(failure) => return Err(failure),
            };
            match before.replace(from) {
                None => eprintln!("watching: what changes after index {from} is told"),
                Some(since) => {
                    let since = since.max(self.seen);
                    eprintln!("warning: events between index {since} and {from} may have been missed");
                }
            }
            match self.follow(&lease)? {
                Some(why) => eprintln!("warning: the session was lost ({why}); another is begun"),
                None => return Ok(()),
            }
        }
    }

    /// Prints events until there have been enough; or why the session is lost.
    fn follow(&mut self, lease: &Lease) -> Result<Option<String>, Failure> {
        let (mut last, mut after) = (0, None);
        let mut pauses = Pauses::new(&self.client);
        loop {
            let batches = match lease.poll(after) {
                Polled::Batches(batches) => batches,
                Polled::Over(_) if lease.has_ended() => return Ok(None),
                Polled::Over(why) => return Ok(Some(why)),
                Polled::Gap => {
                    after = None;
                    continue;
                }
                Polled::Nothing => {
                    thread::sleep(pauses.next());
                    continue;
                }
            };
            pauses = Pauses::new(&self.client);
            for batch in &batches {
                let number = |field: &str| batch[field].as_u64().unwrap_or_default();
                let (index, previous) = (number("index"), number("previous"));
                if index <= last {
                    continue;
                }
                // Each batch names the one before it.
                if previous != last {
                    eprintln!("warning: events between index {last} and {index} were missed: {previous} among them");
                }
                if !self.print(index, &batch["events"])? {
                    return Ok(None);
                }
                (last, after, self.seen) = (index, Some(index), index);
            }
        }
    }

    /// Prints the events of one index. Returns whether more are wanted.
    fn print(&mut self, index: u64, events: &Value) -> Result<bool, Failure> {
        for event in events.as_array().into_iter().flatten() {
            let line = match self.format {
                Format::Text => line(event),
                Format::Json => with_index(index, event),
            };
            let mut out = std::io::stdout().lock();
            match out.write_all(format!("{line}\n").as_bytes()).and_then(|()| out.flush()) {
                Ok(()) => self.left -= 1,
                // Whoever read it has had enough.
                Err(e) if e.kind() == ErrorKind::BrokenPipe => return Ok(false),
                Err(e) => return Err(Failure::new(format!("standard output: {e}"))),
            }
            if self.left == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// At first, a cluster that does not answer is a mistake; later it will be back.
fn until(later: bool) -> Instant {
    Instant::now() + if later { Duration::from_secs(365 * 24 * 3600) } else { PATIENCE }
}

fn line(event: &Value) -> String {
    let kind = event["type"].as_str().unwrap_or("?");
    let mut line = format!("{kind} {} {}", name(event), event["version"]);
    if event["value"].is_string() {
        let base64 = if event["encoding"] == "base64" { "base64:" } else { "" };
        line.push_str(&format!(" {base64}{}", shown(&event["value"])));
    }
    line
}

fn with_index(index: u64, event: &Value) -> String {
    let mut object = json!({ "index": index });
    if let (Value::Object(object), Value::Object(event)) = (&mut object, event) {
        object.extend(event.clone());
    }
    object.to_string()
}

/// The standard alphabet, with padding.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |chunk: &[u8]| {
        let byte = |i: usize| u32::from(chunk.get(i).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        let letter = |i: usize| match i <= chunk.len() {
            true => char::from(ALPHABET[(bits >> (18 - 6 * i) & 63) as usize]),
            false => '=',
        };
        [0, 1, 2, 3].map(letter)
    };
    bytes.chunks(3).flat_map(group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_the_usual_one() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xff, 0xfe]), "//4=");
    }

    #[test]
    fn an_event_is_a_line() {
        let put = json!({"type": "put", "key": "a\nb", "version": 7, "value": "x", "encoding": "utf-8"});
        assert_eq!(line(&put), "put a\\nb 7 x");
        let gone = json!({"type": "delete", "key": "/w==", "key_encoding": "base64", "version": 7});
        assert_eq!(line(&gone), "delete base64:/w== 7");
        assert_eq!(with_index(9, &json!({"type": "put"})), r#"{"index":9,"type":"put"}"#);
    }
}
