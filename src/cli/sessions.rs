//! `copycat session`

use super::client::{Answer, Call, Client};
use super::cluster::cell;
use super::keys::shown;
use super::lease;
use super::{Failure, Format, Target};
use clap::{Args, Subcommand};
use serde_json::Value;
use std::time::{Duration, Instant};

#[derive(Args)]
#[command(after_help = "Examples:\n  copycat session list\n  copycat session show 42\n  \
copycat session create --timeout 1m --name worker-1\n  copycat session close 42")]
pub(super) struct Session {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Prints the open sessions
    List(List),
    /// Prints a session, with the locks and keys it holds
    Show(One),
    /// Begins a session, and prints its id
    Create(Create),
    /// Tells the cluster that a session's client is alive
    KeepAlive(One),
    /// Ends a session: its locks are released, its ephemeral keys deleted
    Close(One),
}

#[derive(Args)]
struct List {
    #[command(flatten)]
    target: Target,
}

#[derive(Args)]
struct One {
    /// The session
    id: u64,
    #[command(flatten)]
    target: Target,
}

#[derive(Args)]
struct Create {
    /// It ends when it was not kept alive for so long: 1s to 24h
    #[arg(long, default_value = "30s", value_parser = lease::session_timeout)]
    timeout: Duration,
    /// What people find it by
    #[arg(long, default_value = "")]
    name: String,
    #[command(flatten)]
    target: Target,
}

const PATH: &str = "/v1/sessions";

fn get(path: &str, query: Vec<(&'static str, Vec<u8>)>, client: &Client) -> Result<Value, Failure> {
    client.call(&Call { query, ..Call::new("GET", path) })?.expect(&[200])?.json()
}

fn seconds(milliseconds: &Value) -> String {
    milliseconds.as_f64().map_or("-".into(), |ms| format!("{:.1}s", ms / 1000.0))
}

impl Session {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::List(list) => list.run(),
            Command::Show(one) => one.show(),
            Command::Create(create) => create.run(),
            Command::KeepAlive(one) => one.keep_alive(),
            Command::Close(one) => one.close(),
        }
    }
}

impl List {
    fn run(self) -> Result<(), Failure> {
        let client = self.target.client();
        let (mut all, mut cursor): (Vec<Value>, Option<String>) = (Vec::new(), None);
        loop {
            let mut query = vec![("limit", b"1000".to_vec())];
            query.extend(cursor.take().map(|cursor| ("cursor", cursor.into_bytes())));
            let page = get(PATH, query, &client)?;
            all.extend(page["sessions"].as_array().cloned().unwrap_or_default());
            cursor = page["next"].as_str().map(str::to_string);
            if cursor.is_none() {
                break;
            }
        }
        if self.target.output == Format::Json {
            println!("{}", Value::Array(all));
            return Ok(());
        }
        println!("{:>10} {:>8} {:>8} {:>8} {:>8}  NAME", "SESSION", "TIMEOUT", "SEEN", "SEQUENCE", "EVENTS");
        for s in &all {
            println!(
                "{:>10} {:>8} {:>8} {:>8} {:>8}  {}",
                cell(&s["session"]),
                seconds(&s["timeout_ms"]),
                seconds(&s["keep_alive_age_ms"]),
                cell(&s["sequence"]),
                cell(&s["queue_depth"]),
                shown(&s["name"])
            );
        }
        Ok(())
    }
}

impl One {
    fn path(&self, rest: &str) -> String {
        format!("{PATH}/{}{rest}", self.id)
    }

    fn show(self) -> Result<(), Failure> {
        let view = get(&self.path(""), Vec::new(), &self.target.client())?;
        let names = |list: &str, field: &str| {
            let names = view[list].as_array().into_iter().flatten().map(|item| shown(&item[field]));
            let names: Vec<String> = names.collect();
            if names.is_empty() { "-".into() } else { names.join(" ") }
        };
        self.target.print(&view, |view| {
            let rows = [
                ("session", cell(&view["session"])),
                ("name", shown(&view["name"])),
                ("timeout", seconds(&view["timeout_ms"])),
                ("kept alive", format!("{} ago", seconds(&view["keep_alive_age_ms"]))),
                ("at server", cell(&view["server"])),
                ("sequence", format!("{}, acknowledged {}", view["sequence"], view["acknowledged_sequence"])),
                ("events", format!("{}, acknowledged {}", view["event_index"], view["acknowledged_index"])),
                ("locks", names("locks", "lock")),
                ("keys", names("ephemeral_keys", "key")),
            ];
            rows.map(|(name, value)| format!("{name:<11} {value}").trim_end().to_string()).join("\n")
        });
        Ok(())
    }

    /// Repeated at will: it does nothing twice.
    fn insist(&self, method: &str, rest: &str) -> Result<Answer, Failure> {
        let path = self.path(rest);
        self.target.client().insist(&Call::new(method, &path), lease::ATTEMPT, Instant::now() + lease::PATIENCE)
    }

    fn keep_alive(self) -> Result<(), Failure> {
        let answer = self.insist("POST", "/keep-alive")?.expect(&[200])?.json()?;
        self.target.print(&answer, |a| format!("alive for {}", seconds(&a["timeout_ms"])));
        Ok(())
    }

    fn close(self) -> Result<(), Failure> {
        let answer = self.insist("DELETE", "")?.expect(&[200])?.json()?;
        self.target.print(&answer, |_| "closed".into());
        Ok(())
    }
}

impl Create {
    fn run(self) -> Result<(), Failure> {
        let call = lease::registration(self.timeout, &self.name)?;
        let answer = self.target.client().insist(&call, lease::ATTEMPT, Instant::now() + lease::PATIENCE)?;
        let answer = answer.expect(&[201])?.json()?;
        self.target.print(&answer, |a| cell(&a["session"]));
        Ok(())
    }
}
