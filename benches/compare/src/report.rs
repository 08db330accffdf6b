//! The table, as text, Markdown and JSON.

use crate::client::{Operation, Target};
use crate::load::Sample;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Everything that was measured.
#[derive(Default)]
pub struct Report {
    pub machine: String,
    pub rows: BTreeMap<(Operation, usize, Target), Vec<Sample>>,
    /// Milliseconds: p50 and p99 of each round.
    pub delivery: BTreeMap<Target, Vec<(f64, f64)>>,
    /// Seconds.
    pub failover: BTreeMap<Target, Vec<f64>>,
    /// Bytes of each member, after all loads.
    pub memory: BTreeMap<Target, Vec<u64>>,
    pub skipped: Vec<String>,
}

/// Text between these is written by somebody else, and kept.
pub type Marks = [&'static str; 2];
/// By a person.
const NOTES: Marks = ["<!-- notes -->", "<!-- end of notes -->"];
/// By the other subcommands.
pub const CURVE: Marks = ["<!-- curve -->", "<!-- end of curve -->"];
pub const RESTART: Marks = ["<!-- restart -->", "<!-- end of restart -->"];

/// What stands between marks; `None`: they are not there.
fn between(page: &str, marks: Marks) -> Option<&str> {
    Some(page.split_once(marks[0])?.1.split_once(marks[1])?.0)
}

/// The page with other text between marks.
pub fn replaced(page: &str, marks: Marks, text: &str) -> Option<String> {
    let (before, rest) = page.split_once(marks[0])?;
    let (_, after) = rest.split_once(marks[1])?;
    Some(format!("{before}{}{text}{}{after}", marks[0], marks[1]))
}

/// Median, lowest, highest.
pub fn spread(values: impl Iterator<Item = f64>) -> (f64, f64, f64) {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => (0.0, 0.0, 0.0),
        n => (values[n / 2], values[0], values[n - 1]),
    }
}

fn median(samples: &[Sample], of: impl Fn(&Sample) -> f64) -> f64 {
    spread(samples.iter().map(of)).0
}

impl Report {
    fn rate(&self, operation: Operation, clients: usize, target: Target) -> Option<f64> {
        self.rows.get(&(operation, clients, target)).map(|s| median(s, |s| s.rate))
    }

    fn table(&self) -> String {
        let mut out = String::from(
            "| operation | clients | system | per second (lowest to highest) | p50 ms | p99 ms | server CPU µs/op | others' CPU |\n\
             |---|---:|---|---:|---:|---:|---:|---:|\n",
        );
        for ((operation, clients, target), samples) in &self.rows {
            let (rate, low, high) = spread(samples.iter().map(|s| s.rate));
            let _ = writeln!(
                out,
                "| {} | {clients} | {} | {rate:.0} ({low:.0} to {high:.0}) | {:.2} | {:.2} | {:.0} | {:.0} % |",
                operation.name(),
                target.name(),
                median(samples, |s| s.p50),
                median(samples, |s| s.p99),
                median(samples, |s| s.cpu),
                median(samples, |s| s.others) * 100.0,
            );
        }
        out
    }

    /// Copycat's rates over each other's, at each number of clients.
    fn ratios(&self) -> String {
        let mut out = String::from("| operation | clients | this | is |\n|---|---:|---|---|\n");
        for &(operation, clients, target) in self.rows.keys() {
            let spoken_to = matches!(target, Target::Copycat | Target::CopycatNative);
            let Some(ours) = self.rate(operation, clients, target).filter(|_| spoken_to) else { continue };
            let others = Target::ALL.into_iter().filter(|t| !t.is_copycat());
            let all: Vec<String> = others
                .filter_map(|t| {
                    let theirs = self.rate(operation, clients, t)?;
                    Some(format!("**{:.2}×** {}", ours / theirs, t.name()))
                })
                .collect();
            let _ = writeln!(out, "| {} | {clients} | {} | {} |", operation.name(), target.name(), all.join(", "));
        }
        let alone = self.rate(Operation::Put, 1, Target::Copycat);
        for &(operation, clients, target) in self.rows.keys() {
            if let (Operation::Put, Target::CopycatNative, Some(alone)) = (operation, target, alone)
                && let Some(rate) = self.rate(operation, clients, target)
            {
                let times = rate / alone;
                let _ = write!(
                    out,
                    "\nOne native client with {clients} puts outstanding: **{times:.1}×** one HTTP connection with one outstanding.\n"
                );
            }
        }
        out
    }

    fn rest(&self) -> String {
        let mut out = String::from(
            "| system | event after the write's answer, p50 / p99 ms | fail-over s (lowest to highest) | memory of a server MB |\n\
             |---|---:|---:|---:|\n",
        );
        for target in Target::ALL.into_iter().filter(|t| *t != Target::Bare) {
            let delivery = self.delivery.get(&target).map_or("–".into(), |rounds| {
                let (p50, p99) = (spread(rounds.iter().map(|r| r.0)).0, spread(rounds.iter().map(|r| r.1)).0);
                format!("{p50:.2} / {p99:.2}")
            });
            let failover = self.failover.get(&target).map_or("–".into(), |all| {
                let (median, low, high) = spread(all.iter().copied());
                format!("{median:.2} ({low:.2} to {high:.2})")
            });
            let memory = self.memory.get(&target).map_or("–".into(), |members| {
                let (_, low, high) = spread(members.iter().map(|&m| m as f64 / 1e6));
                format!("{low:.0} to {high:.0}")
            });
            if [&delivery, &failover, &memory].iter().any(|cell| *cell != "–") {
                let _ = writeln!(out, "| {} | {delivery} | {failover} | {memory} |", target.name());
            }
        }
        out
    }

    /// The page, with the notes of the one that is there.
    pub fn markdown(&self, before: &str) -> String {
        let kept =
            |marks: Marks| format!("{}{}{}", marks[0], between(before, marks).unwrap_or("\nNothing yet.\n"), marks[1]);
        let skipped: String = self.skipped.iter().map(|s| format!("\n**Skipped:** {s}\n")).collect();
        format!(
            "# Benchmarks\n\n\
             Written by `make compare`, which runs the same closed-loop clients against Copycat, etcd and ZooKeeper: three members \
             each on one machine, every write durable on a majority, keys of 32 bytes, values of 256, 10,000 keys. Clients are spread \
             over the members (one client alone is the leader's); the native client is one, at the leader, with as many operations outstanding. Runs are interleaved; figures are medians of the rounds. The load \
             comes from the same machine, so only ratios within one run mean anything.\n\n\
             {}\n{skipped}\n## Notes\n\n{}\n\n## Ratios\n\n{}\n## All cells\n\n{}\n## Events, fail-over, memory\n\n{}\n\
             ## Overwrites and compaction\n\nBy `make curve`.\n\n{}\n\n## Restart\n\nBy `make restart`.\n\n{}\n",
            self.machine,
            kept(NOTES),
            self.ratios(),
            self.table(),
            self.rest(),
            kept(CURVE),
            kept(RESTART),
        )
    }

    pub fn json(&self) -> Value {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|((operation, clients, target), samples)| {
                let all = |of: fn(&Sample) -> f64| samples.iter().map(of).collect::<Vec<f64>>();
                json!({
                    "operation": operation.name(), "clients": clients, "system": target.name(),
                    "per_second": all(|s| s.rate), "p50_ms": all(|s| s.p50), "p99_ms": all(|s| s.p99),
                    "cpu_us": all(|s| s.cpu), "others": all(|s| s.others),
                })
            })
            .collect();
        let of = |target: &Target| target.name().to_string();
        json!({
            "machine": self.machine, "skipped": self.skipped, "rows": rows,
            "delivery_ms": self.delivery.iter().map(|(t, v)| (of(t), json!(v))).collect::<serde_json::Map<_, _>>(),
            "failover_s": self.failover.iter().map(|(t, v)| (of(t), json!(v))).collect::<serde_json::Map<_, _>>(),
            "memory_bytes": self.memory.iter().map(|(t, v)| (of(t), json!(v))).collect::<serde_json::Map<_, _>>(),
        })
    }
}
