//! From a server's start until it serves.

use crate::Common;
use crate::client::expect;
use crate::http1::Http;
use crate::overwrite::Puts;
use crate::report::{RESTART, spread};
use crate::servers::{Cluster, Kind, bytes};
use clap::Args;
use std::io;
use std::time::{Duration, Instant};

#[derive(Args)]
pub struct Restart {
    #[command(flatten)]
    common: Common,
    /// How many keys, of 1 KiB each
    #[arg(long, default_value_t = 1_000_000)]
    keys: u64,
    /// How often each is written
    #[arg(long, default_value_t = 3)]
    times: u64,
    /// How often each start is measured
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// One server, whose election takes no time worth telling.
const FLAGS: &[&str] = &["--election-timeout", "50ms"];
/// The same, which never takes a snapshot, and so drops nothing.
const WHOLE: &[&str] = &["--election-timeout", "50ms", "--snapshot-bytes", "18446744073709551615"];

/// The longest that a snapshot or a compaction may take.
const PATIENCE: Duration = Duration::from_secs(300);

struct Measured {
    cluster: Cluster,
    disk: u64,
    seconds: Vec<f64>,
}

/// The same may be under way already, or take longer than a request.
async fn insist(cluster: &Cluster, path: &str, body: &[u8]) -> io::Result<()> {
    let (mut http, begin) = (Http::new(&cluster.kind.address(0)), Instant::now());
    loop {
        let answer = http.call("POST", path, body).await?;
        if !matches!(answer.status, 503 | 504) || begin.elapsed() > PATIENCE {
            return expect(&answer);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

impl Restart {
    async fn filled(&self, name: &str, flags: &[&str], compacted: bool) -> io::Result<Measured> {
        let mut cluster =
            Cluster::start(Kind::Alone, &self.common.copycat, &self.common.data.join(name), flags).await?;
        let puts = Puts { count: self.keys * self.times, keys: self.keys, value: 1024, clients: 64 };
        eprintln!("{name}: {} puts", puts.count);
        puts.run(&cluster, async |_, _| Ok(())).await?;
        if compacted {
            insist(&cluster, "/v1/snapshots?timeout=60s", b"").await?;
            insist(&cluster, "/v1/log/compactions?timeout=60s", br#"{"kind":"major"}"#).await?;
        }
        cluster.kill(0);
        let disk = bytes(&cluster.data(0));
        Ok(Measured { cluster, disk, seconds: Vec::new() })
    }

    async fn measure(&self) -> io::Result<[Measured; 2]> {
        // One after the other: both have the same addresses.
        let mut all = [self.filled("compacted", FLAGS, true).await?, self.filled("whole", WHOLE, false).await?];
        for round in 1..=self.rounds {
            for one in &mut all {
                let begin = Instant::now();
                one.cluster.start_member(0)?;
                while !one.cluster.is_ready(0).await {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                one.seconds.push(begin.elapsed().as_secs_f64());
                one.cluster.kill(0);
            }
            eprintln!("round {round}: {:.2} s and {:.2} s", all[0].seconds[round - 1], all[1].seconds[round - 1]);
        }
        Ok(all)
    }

    pub async fn run(self) -> io::Result<()> {
        let all = self.common.run(self.measure()).await?;
        let [own, whole] = all.each_ref().map(|one| spread(one.seconds.iter().copied()));
        let row = |name: &str, one: &Measured, (median, low, high): (f64, f64, f64)| {
            format!("| {name} | {:.0} | {median:.2} ({low:.2} to {high:.2}) |\n", one.disk as f64 / 1e6)
        };
        let text = format!(
            "{} keys of 1 KiB, each written {} times, on one server; `kill -9`, then from the start of the process until `/readyz` says \
             yes; {} starts of each, interleaved.\n\n| directory | MB | s, median (lowest to highest) |\n|---|---:|---:|\n{}{}\n\
             Out of a snapshot and what it refers to, a server is back in **{:.2}** of the time that replaying everything takes.\n",
            self.keys,
            self.times,
            self.rounds,
            row("with snapshots and compaction", &all[0], own),
            row("all that was ever written", &all[1], whole),
            own.0 / whole.0,
        );
        self.common.tell(RESTART, &text)
    }
}
