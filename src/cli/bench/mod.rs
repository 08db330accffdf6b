//! `copycat bench`

mod connection;

use super::client::{Call, encode};
use super::{Failure, Format, Target, duration};
use async_std::task;
use clap::{Args, ValueEnum};
use connection::Connection;
use futures_util::future::{try_join, try_join_all};
use hdrhistogram::Histogram;
use hyper::body::Bytes;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Operation {
    /// Writes
    Put,
    /// Linearizable reads
    Get,
    /// Reads under the leader's lease
    Lease,
    /// Sequential reads, each from the server that was asked
    Sequential,
    /// One write to four linearizable reads
    Mixed,
}

#[derive(Args)]
#[command(
    after_help = "Examples:\n  copycat bench\n  copycat bench --clients 1,64 --operations put,get --duration 10s \\\n    \
--endpoint http://127.0.0.1:8700,http://127.0.0.1:8701,http://127.0.0.1:8702\n\n\
Clients are closed loops: each sends its next request when the last was answered. They are spread over the endpoints. \
This command itself takes a good part of the CPU it runs on."
)]
pub(super) struct Bench {
    /// How many clients at once; several: one table row each
    #[arg(long, value_delimiter = ',', default_value = "1,16,64", value_parser = clap::value_parser!(u16).range(1..=1024))]
    clients: Vec<u16>,
    /// What to time
    #[arg(long, value_enum, value_delimiter = ',', default_value = "put,get,lease,sequential,mixed")]
    operations: Vec<Operation>,
    /// How long each row takes
    #[arg(long, default_value = "3s", value_parser = duration)]
    duration: Duration,
    /// How many keys
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    keys: u64,
    /// Bytes of each value
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(0..=1024 * 1024))]
    value_size: u32,
    /// What the keys begin with; all of them are deleted at the end
    #[arg(long, default_value = "copycat-bench/")]
    prefix: String,
    /// Leave the keys
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    target: Target,
}

/// Where a row is.
#[derive(Default)]
struct Phase {
    counting: AtomicBool,
    over: AtomicBool,
}

/// What one client found.
struct Times {
    /// Microseconds.
    all: Histogram<u64>,
    errors: u64,
    /// The first of them.
    error: Option<String>,
}

/// Not counted: connections are made, and the servers' caches filled.
const WARM_UP: Duration = Duration::from_millis(300);

/// What one row says.
struct Row {
    operation: Operation,
    clients: u16,
    took: Duration,
    /// Microseconds.
    times: Histogram<u64>,
    errors: u64,
    /// The first of them.
    error: Option<String>,
}

impl Row {
    fn name(&self) -> String {
        let name = self.operation.to_possible_value();
        name.map(|v| v.get_name().to_string()).unwrap_or_default()
    }

    #[allow(clippy::cast_precision_loss)] // a rate is shown in whole numbers
    fn rate(&self) -> f64 {
        self.times.len() as f64 / self.took.as_secs_f64()
    }

    #[allow(clippy::cast_precision_loss)]
    fn milliseconds(&self, quantile: f64) -> f64 {
        self.times.value_at_quantile(quantile) as f64 / 1000.0
    }

    fn json(&self) -> Value {
        json!({
            "operation": self.name(), "clients": self.clients, "requests": self.times.len(), "errors": self.errors,
            "error": self.error, "per_second": self.rate(), "p50_ms": self.milliseconds(0.5),
            "p99_ms": self.milliseconds(0.99), "max_ms": self.milliseconds(1.0),
        })
    }
}

fn histogram() -> Result<Histogram<u64>, Failure> {
    // Three digits, up to a little more than the longest request.
    Histogram::new_with_bounds(1, 100_000_000, 3).map_err(Failure::new)
}

/// SplitMix64 (Steele, Lea, Flood 2014): which key is next.
fn draw(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Bench {
    /// The client with this number, at an endpoint of its own as far as there are enough.
    fn connection(&self, number: usize) -> Connection {
        Connection::new(&self.target.cluster.endpoints[number % self.target.cluster.endpoints.len()])
    }

    async fn one(&self, client: &mut Connection, operation: Operation, random: u64) -> Result<(), Failure> {
        self.request(client, operation, random.is_multiple_of(5), (random >> 8) % self.keys).await
    }

    async fn request(&self, client: &mut Connection, operation: Operation, write: bool, n: u64) -> Result<(), Failure> {
        let path = format!("/v1/kv?key={}{n:08}", encode(self.prefix.as_bytes()));
        let consistency = match operation {
            Operation::Mixed if write => return client.call("PUT", &path, self.value()).await,
            Operation::Put => return client.call("PUT", &path, self.value()).await,
            Operation::Get | Operation::Mixed => "linearizable",
            Operation::Lease => "lease",
            Operation::Sequential => "sequential",
        };
        client.call("GET", &format!("{path}&consistency={consistency}"), Bytes::new()).await
    }

    fn value(&self) -> Bytes {
        vec![b'x'; self.value_size as usize].into()
    }

    /// Writes every key once.
    fn fill(&self, bar: &ProgressBar) -> Result<(), Failure> {
        let next = AtomicU64::new(0);
        let write = async |number: usize| -> Result<(), Failure> {
            let mut client = self.connection(number);
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= self.keys {
                    return Ok(());
                }
                self.request(&mut client, Operation::Put, true, n).await?;
                bar.inc(1);
            }
        };
        task::block_on(try_join_all((0..16).map(write))).map(|_| ())
    }

    /// One client, until the row is over.
    async fn client(&self, number: usize, operation: Operation, phase: &Phase) -> Result<Times, Failure> {
        let (mut client, mut random) = (self.connection(number), number as u64);
        let mut times = Times { all: histogram()?, errors: 0, error: None };
        while !phase.over.load(Ordering::Relaxed) {
            let begin = Instant::now();
            let result = self.one(&mut client, operation, draw(&mut random)).await;
            let took = u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX);
            match result {
                Ok(()) if phase.counting.load(Ordering::Relaxed) => times.all.saturating_record(took),
                Ok(()) => {}
                Err(e) => {
                    times.errors += 1;
                    times.error.get_or_insert(e.text);
                    // A cluster that refuses is not to be flooded.
                    task::sleep(Duration::from_millis(10)).await;
                }
            }
        }
        Ok(times)
    }

    fn run_row(&self, operation: Operation, clients: u16) -> Result<Row, Failure> {
        let phase = Phase::default();
        let clock = async {
            task::sleep(WARM_UP).await;
            phase.counting.store(true, Ordering::Relaxed);
            let begin = Instant::now();
            task::sleep(self.duration).await;
            phase.over.store(true, Ordering::Relaxed);
            Ok(begin.elapsed())
        };
        let all = try_join_all((0..usize::from(clients)).map(|n| self.client(n, operation, &phase)));
        let (took, all) = task::block_on(try_join(clock, all))?;
        let mut row = Row { operation, clients, took, times: histogram()?, errors: 0, error: None };
        for one in all {
            row.times.add(one.all).map_err(Failure::new)?;
            row.errors += one.errors;
            row.error = row.error.or(one.error);
        }
        Ok(row)
    }

    fn clean_up(&self) -> Result<(), Failure> {
        loop {
            let query = vec![("prefix", self.prefix.clone().into_bytes())];
            let call = Call { query, ..Call::new("DELETE", "/v1/kv") };
            let answer = self.target.client().call(&call)?.expect(&[200])?;
            if answer.json()?.get("more") != Some(&Value::Bool(true)) {
                return Ok(());
            }
        }
    }

    pub(super) fn run(self) -> Result<(), Failure> {
        if self.prefix.is_empty() {
            return Err(Failure::with_code("--prefix is empty, and its keys are deleted at the end: name one", 2));
        }
        let style =
            |template: &str| ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        // Drawn on standard error, and only where that is a terminal.
        let bar = ProgressBar::new(self.keys).with_style(style("writing {len} keys {wide_bar} {eta}"));
        let filled = self.fill(&bar);
        bar.finish_and_clear();
        filled?;
        let rows = self.operations.len() * self.clients.len();
        let bar = ProgressBar::new(rows as u64).with_style(style("{msg:24} {wide_bar} {pos}/{len} {eta}"));
        let mut done = Vec::new();
        for &operation in &self.operations {
            for &clients in &self.clients {
                bar.set_message(format!("{operation:?}, {clients} clients"));
                done.push(self.run_row(operation, clients)?);
                bar.inc(1);
            }
        }
        bar.finish_and_clear();
        if !self.keep {
            self.clean_up()?;
        }
        self.print(&done);
        match done.iter().find_map(|row| row.error.as_ref()) {
            Some(error) => Err(Failure::new(format!("some requests failed, the first with: {error}"))),
            None => Ok(()),
        }
    }

    fn print(&self, rows: &[Row]) {
        if self.target.output == Format::Json {
            let rows: Vec<Value> = rows.iter().map(Row::json).collect();
            let (keys, size) = (self.keys, self.value_size);
            println!("{:#}", json!({ "keys": keys, "value_size": size, "rows": rows }));
            return;
        }
        println!(
            "{:<11} {:>7} {:>10} {:>9} {:>9} {:>9} {:>7}",
            "OPERATION", "CLIENTS", "PER S", "P50 MS", "P99 MS", "MAX MS", "ERRORS"
        );
        for row in rows {
            let (p50, p99, max) = (row.milliseconds(0.5), row.milliseconds(0.99), row.milliseconds(1.0));
            let (name, clients, rate, errors) = (row.name(), row.clients, row.rate(), row.errors);
            println!("{name:<11} {clients:>7} {rate:>10.0} {p50:>9.2} {p99:>9.2} {max:>9.2} {errors:>7}");
        }
    }
}
