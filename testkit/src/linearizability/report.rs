//! Telling what is wrong, with little enough around it to be read.

use super::prepare::{Prepared, UNSEEN};
use super::search::{Failure, State};
use super::{History, Kind, Op, OpId, Outcome, Record, Require, Violation, Written};
use std::collections::BTreeSet;
use std::fmt::Write;

/// Operations shown around a violation.
const SHOWN: usize = 24;
/// Of these, how many that just ended.
const RECENT: usize = 8;

fn bytes(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(40)];
    let more = if cut.len() < bytes.len() { format!("… ({} bytes)", bytes.len()) } else { String::new() };
    format!("\"{}\"{more}", cut.escape_ascii())
}

fn version(version: Option<u64>) -> String {
    version.map_or_else(|| "absent".into(), |v| format!("version {v}"))
}

fn describe(i: usize, record: &Record) -> String {
    let require = |require: Require| match require {
        Require::Nothing => String::new(),
        Require::Absent => " if absent".into(),
        Require::Exists => " if it exists".into(),
        Require::Version(v) => format!(" if version {v}"),
    };
    let op = match &record.op {
        Op::Put { value, require: r } => format!("put {}{}", bytes(value), require(*r)),
        Op::Delete { require: r } => format!("delete{}", require(*r)),
        Op::Get => "get".into(),
    };
    let (end, outcome) = match &record.completed {
        None => ("…".into(), "no answer".into()),
        Some((end, Outcome::Unknown)) => (format!("{end} (open)"), "unknown".into()),
        Some((end, Outcome::NotApplied)) => (end.to_string(), "not applied".into()),
        Some((end, Outcome::Ok(answer))) => {
            let text = match answer {
                Written::Put { version } => format!("ok, version {version}"),
                Written::Deleted { version: v } => format!("deleted, was {}", version(*v)),
                Written::Failed { version: v } => format!("refused, is {}", version(*v)),
                Written::Got { item: None } => "absent".into(),
                Written::Got { item: Some((v, value)) } => format!("{}, version {v}", bytes(value)),
            };
            (end.to_string(), text)
        }
    };
    format!("#{i} client {} from {} to {end}: {op} -> {outcome}", record.client, record.invoked)
}

/// The versions that an operation speaks of.
fn versions(record: &Record) -> BTreeSet<u64> {
    let mut versions = BTreeSet::new();
    if let Op::Put { require: Require::Version(v), .. } | Op::Delete { require: Require::Version(v) } = record.op {
        versions.insert(v);
    }
    if let Some((_, Outcome::Ok(answer))) = &record.completed {
        match answer {
            Written::Put { version } => versions.extend([*version]),
            Written::Deleted { version } | Written::Failed { version } => versions.extend(*version),
            Written::Got { item } => versions.extend(item.as_ref().map(|i| i.0)),
        }
    }
    versions
}

impl History {
    pub(super) fn impossible(&self, key: &[u8], op: usize) -> Violation {
        let what = describe(op, &self.records[op]);
        let text = format!("key {}: an answer that this question cannot have:\n  {what}", bytes(key));
        Violation { kind: Kind::Impossible, key: key.to_vec(), op: Some(OpId(op)), text }
    }

    pub(super) fn explain(&self, key: &[u8], ops: &[usize], p: &Prepared, failure: &Failure) -> Violation {
        let failed = failure.known.map(|known| p.known[known].op);
        let mut text = format!("key {}: ", bytes(key));
        let kind = match failed {
            Some(op) => {
                let _ =
                    write!(text, "by time {} no order explains\n  {}\n", failure.time, describe(op, &self.records[op]));
                Kind::NotLinearizable
            }
            None => {
                let _ = writeln!(text, "UNDECIDED at time {}: the search got too large", failure.time);
                Kind::Undecided
            }
        };
        text.push_str("before it, the key could be:\n");
        for &state in failure.states.iter().take(8) {
            let _ = writeln!(text, "  {}", self.state(state, p));
        }
        let mut shown: BTreeSet<usize> = failure.running.iter().map(|&known| p.known[known].op).collect();
        let related = failed.map(|op| versions(&self.records[op])).unwrap_or_default();
        let mut others: Vec<usize> =
            ops.iter().copied().filter(|&op| !versions(&self.records[op]).is_disjoint(&related)).collect();
        let end = |op: usize| self.records[op].completed.as_ref().map_or(u64::MAX, |c| c.0);
        let mut recent: Vec<usize> = ops.iter().copied().filter(|&op| end(op) <= failure.time).collect();
        recent.sort_by_key(|&op| std::cmp::Reverse(end(op)));
        others.truncate(SHOWN - RECENT);
        shown.extend(others.into_iter().chain(recent.into_iter().take(RECENT)));
        let mut shown: Vec<usize> = shown.into_iter().collect();
        shown.truncate(SHOWN * 2);
        shown.sort_by_key(|&op| self.records[op].invoked);
        text.push_str("around it:\n");
        for op in shown {
            let mark = if Some(op) == failed { ">" } else { " " };
            let _ = writeln!(text, "{mark} {}", describe(op, &self.records[op]));
        }
        Violation { kind, key: key.to_vec(), op: failed.map(OpId), text }
    }

    fn state(&self, state: State, p: &Prepared) -> String {
        let value = |number: u32| {
            let found = p.values.iter().find(|(_, v)| **v == number && number != UNSEEN);
            found.map_or_else(|| "some unanswered value".into(), |(value, _)| bytes(value))
        };
        match state {
            State::Absent => "absent".into(),
            State::Present { version, value: v } => format!("{}, version {version}", value(v)),
            State::Unbound { value: v } => format!("{}, in a version nobody saw yet", value(v)),
        }
    }
}
