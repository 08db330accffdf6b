//! `copycat cluster settings`

use super::cell;
use crate::cli::client::Call;
use crate::cli::{Failure, Target, duration};
use clap::Args;
use copycat::engine::Setting;
use serde_json::{Map, Value};
use std::fmt::Write;
use std::time::Duration;

#[derive(Args)]
#[command(after_help = "Examples:\n  copycat cluster settings\n  copycat cluster settings --election-timeout 1s")]
pub(super) struct Settings {
    #[command(flatten)]
    new: New,
    #[command(flatten)]
    target: Target,
}

#[derive(Args)]
#[command(next_help_heading = "Settings to change")]
struct New {
    /// How long a follower waits for its leader before it asks for votes: this long to twice this long
    #[arg(long, value_parser = duration, value_name = "TIME")]
    election_timeout: Option<Duration>,
    /// By how much clocks of two members may drift apart, in thousandths: taken off every lease
    #[arg(long, value_name = "N")]
    clock_drift_permille: Option<u64>,
    /// The most bytes that an entry of the log may have
    #[arg(long, value_name = "BYTES")]
    largest_entry: Option<u64>,
    /// Most open sessions
    #[arg(long, value_name = "N")]
    sessions: Option<u64>,
    /// Most answers that a session may leave unacknowledged
    #[arg(long, value_name = "N")]
    session_answers: Option<u64>,
    /// Their bytes
    #[arg(long, value_name = "BYTES")]
    session_answer_bytes: Option<u64>,
    /// Most events that a session may leave unacknowledged, of one that is registered from now on
    #[arg(long, value_name = "N")]
    session_events: Option<u64>,
    /// Their bytes
    #[arg(long, value_name = "BYTES")]
    session_event_bytes: Option<u64>,
    /// Most requests with an idempotency key whose answers are kept
    #[arg(long, value_name = "N")]
    idempotency_keys: Option<u64>,
    /// Their bytes
    #[arg(long, value_name = "BYTES")]
    idempotency_key_bytes: Option<u64>,
    /// For how long an answer to a request with an idempotency key is kept
    #[arg(long, value_parser = duration, value_name = "TIME")]
    idempotency_window: Option<Duration>,
}

impl New {
    /// What is named, as JSON has it.
    fn named(&self) -> Map<String, Value> {
        let time = |time: Option<Duration>| time.map(|t| Value::from(format!("{}ms", t.as_millis())));
        let number = |n: Option<u64>| n.map(Value::from);
        let value = |setting| match setting {
            Setting::ElectionTimeout => time(self.election_timeout),
            Setting::ClockDrift => number(self.clock_drift_permille),
            Setting::LargestEntry => number(self.largest_entry),
            Setting::Sessions => number(self.sessions),
            Setting::SessionAnswers => number(self.session_answers),
            Setting::SessionAnswerBytes => number(self.session_answer_bytes),
            Setting::SessionEvents => number(self.session_events),
            Setting::SessionEventBytes => number(self.session_event_bytes),
            Setting::Keys => number(self.idempotency_keys),
            Setting::KeyBytes => number(self.idempotency_key_bytes),
            Setting::IdempotencyWindow => time(self.idempotency_window),
        };
        Setting::ALL.into_iter().filter_map(|s| Some((s.name().to_string(), value(s)?))).collect()
    }
}

/// A line for each setting.
fn table(settings: &Value) -> String {
    let mut text = format!("configuration {}", cell(&settings["configuration"]));
    for setting in Setting::ALL {
        let _ = write!(text, "\n{:<22} {}", setting.name(), cell(&settings[setting.name()]));
    }
    text
}

impl Settings {
    pub(super) fn run(self) -> Result<(), Failure> {
        let client = self.target.client();
        let now = client.call(&Call::new("GET", "/v1/cluster/settings"))?.expect(&[200])?.json()?;
        let mut named = self.new.named();
        if named.is_empty() {
            self.target.print(&now, table);
            return Ok(());
        }
        // Decided on the configuration as it is now: if it changes meanwhile, nothing is done.
        named.insert("configuration".into(), now["configuration"].clone());
        let body = Some(Value::from(named).to_string().into_bytes());
        let after = client.call(&Call { body, ..Call::new("PUT", "/v1/cluster/settings") })?.expect(&[200])?.json()?;
        self.target.print(&after, table);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        new: New,
    }

    #[test]
    fn every_setting_has_its_flag() {
        for setting in Setting::ALL {
            let value = if setting.is_time() { "7s" } else { "7" };
            let named = Line::parse_from(["copycat", &setting.flag(), value]).new.named();
            let expected = if setting.is_time() { Value::from("7000ms") } else { Value::from(7) };
            assert_eq!(named.get(setting.name()), Some(&expected), "{setting}");
            assert_eq!(named.len(), 1);
        }
        assert!(Line::parse_from(["copycat"]).new.named().is_empty());
        assert!(Line::try_parse_from(["copycat", "--election-timeout", "1"]).is_err());
    }
}
