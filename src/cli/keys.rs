//! `copycat get`, `put`, `delete`, `list`

use super::client::{Answer, Call};
use super::{Failure, Format, Target};
use clap::{Args, ValueEnum};
use serde_json::Value;
use std::ffi::OsString;
use std::io::{IsTerminal, Read, Write};
use std::os::unix::ffi::OsStringExt;

#[derive(Clone, Copy, ValueEnum)]
enum Consistency {
    Linearizable,
    Lease,
    Sequential,
}

impl Consistency {
    fn parameter(self) -> (&'static str, Vec<u8>) {
        let name: &[u8] = match self {
            Self::Linearizable => b"linearizable",
            Self::Lease => b"lease",
            Self::Sequential => b"sequential",
        };
        ("consistency", name.to_vec())
    }
}

#[derive(Args)]
#[command(after_help = "Example:\n  copycat get greeting")]
pub(super) struct Get {
    key: OsString,
    /// How fresh the answer must be
    #[arg(long, value_enum, default_value = "linearizable")]
    consistency: Consistency,
    /// Print version and type as JSON instead of the bare value
    #[arg(long)]
    meta: bool,
    #[command(flatten)]
    target: Target,
}

#[derive(Args)]
#[command(after_help = "Examples:\n  copycat put greeting hello\n  copycat put config < config.json\n  \
copycat put greeting hi --if-match 17")]
pub(super) struct Put {
    key: OsString,
    /// The value; read from standard input if left out
    value: Option<OsString>,
    /// The value's media type
    #[arg(long)]
    content_type: Option<String>,
    #[command(flatten)]
    condition: Condition,
    /// Only if the key does not exist
    #[arg(long, conflicts_with = "if_match")]
    if_absent: bool,
    #[command(flatten)]
    target: Target,
}

#[derive(Args)]
#[command(after_help = "Example:\n  copycat delete greeting")]
pub(super) struct Delete {
    key: OsString,
    #[command(flatten)]
    condition: Condition,
    #[command(flatten)]
    target: Target,
}

#[derive(Args)]
struct Condition {
    /// Only if the key has this version
    #[arg(long, value_name = "VERSION")]
    if_match: Option<u64>,
}

impl Condition {
    fn header(&self) -> Option<(&'static str, String)> {
        self.if_match.map(|version| ("If-Match", format!("\"{version}\"")))
    }
}

#[derive(Args)]
#[command(after_help = "Example:\n  copycat list config/")]
pub(super) struct List {
    /// Only keys that begin so
    #[arg(default_value = "")]
    prefix: OsString,
    /// At most this many; all if left out
    #[arg(long)]
    limit: Option<usize>,
    #[command(flatten)]
    target: Target,
}

const PATH: &str = "/v1/kv";

fn key(key: OsString) -> (&'static str, Vec<u8>) {
    ("key", key.into_vec())
}

fn print_raw(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes).map_err(Failure::new)?;
    if out.is_terminal() && !bytes.ends_with(b"\n") {
        out.write_all(b"\n").map_err(Failure::new)?;
    }
    out.flush().map_err(Failure::new)
}

impl Get {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut query = vec![key(self.key), self.consistency.parameter()];
        if self.meta || self.target.output == Format::Json {
            query.push(("meta", b"true".to_vec()));
        }
        let call = Call { query, ..Call::new("GET", PATH) };
        print_raw(&self.target.client().call(&call)?.expect(&[200])?.body)
    }
}

impl Put {
    pub(super) fn run(self) -> Result<(), Failure> {
        let body = match self.value {
            Some(value) => value.into_vec(),
            None => {
                let mut value = Vec::new();
                std::io::stdin().lock().read_to_end(&mut value).map_err(Failure::new)?;
                value
            }
        };
        let mut headers: Vec<_> = self.condition.header().into_iter().collect();
        if self.if_absent {
            headers.push(("If-None-Match", "*".into()));
        }
        headers.extend(self.content_type.map(|t| ("Content-Type", t)));
        let call = Call { query: vec![key(self.key)], headers, body: Some(body), ..Call::new("PUT", PATH) };
        let answer = self.target.client().call(&call)?.expect(&[200, 201])?;
        report(&self.target, &answer, |json| format!("version {}", json["version"]))
    }
}

impl Delete {
    pub(super) fn run(self) -> Result<(), Failure> {
        let headers = self.condition.header().into_iter().collect();
        let call = Call { query: vec![key(self.key)], headers, ..Call::new("DELETE", PATH) };
        let answer = self.target.client().call(&call)?.expect(&[200])?;
        report(&self.target, &answer, |json| {
            if json["deleted"] == true { "deleted".into() } else { "there was no such key".into() }
        })
    }
}

fn report(target: &Target, answer: &Answer, text: impl Fn(&Value) -> String) -> Result<(), Failure> {
    match target.output {
        Format::Json => print_raw(&answer.body),
        Format::Text => {
            println!("{}", text(&answer.json()?));
            Ok(())
        }
    }
}

impl List {
    pub(super) fn run(self) -> Result<(), Failure> {
        let client = self.target.client();
        let prefix = self.prefix.into_vec();
        let mut left = self.limit.unwrap_or(usize::MAX);
        let (mut cursor, mut all): (Option<String>, Vec<Value>) = (None, Vec::new());
        while left > 0 {
            let mut query = vec![("prefix", prefix.clone()), ("limit", left.min(1000).to_string().into_bytes())];
            query.extend(cursor.take().map(|c| ("cursor", c.into_bytes())));
            let page = client.call(&Call { query, ..Call::new("GET", PATH) })?.expect(&[200])?.json()?;
            let items = page["items"].as_array().cloned().unwrap_or_default();
            left -= items.len().min(left);
            match self.target.output {
                Format::Json => all.extend(items),
                Format::Text => items.iter().for_each(|item| println!("{}", name(item))),
            }
            cursor = page["next"].as_str().map(str::to_string);
            if cursor.is_none() {
                break;
            }
        }
        if self.target.output == Format::Json {
            println!("{}", Value::Array(all));
        }
        Ok(())
    }
}

/// A key, as text or with a word that it is not, by its fields `key` and `key_encoding`.
pub(super) fn name(item: &Value) -> String {
    let base64 = if item["key_encoding"] == "base64" { "base64:" } else { "" };
    format!("{base64}{}", shown(&item["key"]))
}

/// A key for a terminal: control characters do nothing there.
pub(super) fn shown(key: &Value) -> String {
    let key = key.as_str().unwrap_or_default();
    key.chars().flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_no_text_is_marked() {
        assert_eq!(name(&serde_json::json!({ "key": "AP8=" })), "AP8=");
        assert_eq!(name(&serde_json::json!({ "key": "AP8=", "key_encoding": "base64" })), "base64:AP8=");
        assert_eq!(name(&serde_json::json!({ "key": "a\u{1b}[1m" })), "a\\u{1b}[1m");
    }
}
