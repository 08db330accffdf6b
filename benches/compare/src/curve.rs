//! Keys that are overwritten again and again: what compaction costs those who write.
//!
//! The log of one cluster is compacted as it grows. In turns with it, with the same load, a fresh one takes no snapshot and so
//! compacts nothing: the yardstick. Fresh each time, so that its log fits on a disk.

use crate::Common;
use crate::http1::Http;
use crate::overwrite::{Puts, Times, times};
use crate::picture;
use crate::report::CURVE;
use crate::servers::{Cluster, Kind, bytes, is_compacting};
use clap::Args;
use std::cell::{Cell, RefCell};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

#[derive(Args)]
pub struct Curve {
    #[command(flatten)]
    common: Common,
    /// How many puts in all, of each of the two
    #[arg(long, default_value_t = 10_000_000)]
    puts: u64,
    #[arg(long, default_value_t = 1000)]
    keys: u64,
    /// Connections
    #[arg(long, default_value_t = 64)]
    clients: usize,
    /// In how many turns
    #[arg(long, default_value_t = 20)]
    rounds: u64,
    /// Where the picture goes
    #[arg(long, default_value = "target/compaction.svg")]
    picture: PathBuf,
}

/// What is wanted: at least this share of the rate, and at most so many times the 99th percentile.
const WANTED: (f64, f64) = (0.85, 2.0);
/// How often the directories are looked at.
const LOOK: Duration = Duration::from_millis(50);
/// The longest that a compaction may go on once nobody writes.
const PATIENCE: Duration = Duration::from_secs(120);

/// A second under load.
pub struct Second {
    /// Puts a second.
    pub rate: f64,
    /// Milliseconds.
    pub p99: f64,
    /// Of each member's data directory.
    pub bytes: Vec<u64>,
    /// A snapshot or a compaction was under way at some member.
    pub busy: bool,
}

/// Seconds of one kind, taken together.
struct Kept {
    seconds: f64,
    times: Times,
}

impl Kept {
    fn new() -> io::Result<Self> {
        Ok(Self { seconds: 0.0, times: times()? })
    }

    fn rate(&self) -> f64 {
        self.times.len() as f64 / self.seconds.max(1e-9)
    }

    fn quantile(&self, of: f64) -> f64 {
        self.times.value_at_quantile(of) as f64 / 1000.0
    }

    fn row(&self, name: &str) -> String {
        let (p50, p99, max) = (self.quantile(0.5), self.quantile(0.99), self.times.max() as f64 / 1000.0);
        format!("| {name} | {:.0} | {:.0} | {p50:.2} | {p99:.2} | {max:.0} |\n", self.seconds, self.rate())
    }
}

/// What members say in their feeds.
struct Listener {
    members: Vec<(Http, u64)>,
    snapshots: u64,
    compactions: u64,
}

impl Listener {
    async fn new(cluster: &Cluster) -> io::Result<Self> {
        let members = (0..cluster.members()).map(|m| (Http::new(&cluster.kind.address(m)), 0)).collect();
        let mut listener = Self { members, snapshots: 0, compactions: 0 };
        listener.listen().await?;
        (listener.snapshots, listener.compactions) = (0, 0);
        Ok(listener)
    }

    /// Whether a snapshot or a compaction has ended since the last call.
    async fn listen(&mut self) -> io::Result<bool> {
        let before = self.snapshots + self.compactions;
        for (http, last) in &mut self.members {
            let path =
                if *last == 0 { "/v1/cluster/events".into() } else { format!("/v1/cluster/events?after={last}") };
            let answer = http.call("GET", &path, b"").await?;
            crate::client::expect(&answer)?;
            let page: serde_json::Value = serde_json::from_slice(&answer.body)?;
            for event in page["events"].as_array().into_iter().flatten() {
                match event["type"].as_str() {
                    Some("snapshot") => self.snapshots += 1,
                    Some("compaction") => self.compactions += 1,
                    Some("trouble") => return Err(io::Error::other(event["reason"].to_string())),
                    _ => {}
                }
            }
            *last = page["last"].as_u64().unwrap_or(*last);
        }
        Ok(self.snapshots + self.compactions > before)
    }
}

struct Measured {
    seconds: Vec<Second>,
    busy: Kept,
    calm: Kept,
    yardstick: Kept,
    snapshots: u64,
    compactions: u64,
    bytes: Vec<u64>,
}

impl Curve {
    fn round(&self) -> Puts {
        Puts { count: self.puts.div_ceil(self.rounds.max(1)), keys: self.keys, value: 256, clients: self.clients }
    }

    /// Notes each whole second of a load but the first, in which connections are made.
    async fn watch(
        cluster: &Cluster,
        listener: &mut Listener,
        (seen, over): (&RefCell<Times>, &Cell<bool>),
        mut note: impl FnMut(Second, f64, &Times) -> io::Result<()>,
    ) -> io::Result<()> {
        for second in 0.. {
            let (begin, mut busy) = (Instant::now(), false);
            while begin.elapsed() < Duration::from_secs(1) && !over.get() {
                busy |= (0..cluster.members()).any(|m| is_compacting(&cluster.data(m)));
                tokio::time::sleep(LOOK).await;
            }
            let took = begin.elapsed().as_secs_f64();
            let within = seen.replace(times()?);
            if over.get() {
                break;
            }
            busy |= listener.listen().await?;
            if second > 0 {
                let bytes = (0..cluster.members()).map(|m| bytes(&cluster.data(m))).collect();
                let p99 = within.value_at_quantile(0.99) as f64 / 1000.0;
                note(Second { rate: within.len() as f64 / took, p99, bytes, busy }, took, &within)?;
            }
        }
        Ok(())
    }

    async fn measure(&self) -> io::Result<Measured> {
        let data = &self.common.data;
        let cluster = Cluster::start(Kind::Copycat, &self.common.copycat, data, &[]).await?;
        let mut listener = Listener::new(&cluster).await?;
        let (mut seconds, mut busy, mut calm, mut yardstick) = (Vec::new(), Kept::new()?, Kept::new()?, Kept::new()?);
        for round in 1..=self.rounds {
            let note = |second: Second, took: f64, times: &Times| {
                let kept = if second.busy { &mut busy } else { &mut calm };
                kept.seconds += took;
                kept.times.add(times).map_err(io::Error::other)?;
                seconds.push(second);
                Ok(())
            };
            let watch = async |seen: &_, over: &_| Self::watch(&cluster, &mut listener, (seen, over), note).await;
            self.round().run(&cluster, watch).await?;
            // What goes on behind it must not burden its yardstick.
            let begin = Instant::now();
            while (0..cluster.members()).any(|m| is_compacting(&cluster.data(m))) && begin.elapsed() < PATIENCE {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            self.yardstick(&mut yardstick).await?;
            eprintln!(
                "round {round}: busy {:.0}/s, calm {:.0}/s, yardstick {:.0}/s",
                busy.rate(),
                calm.rate(),
                yardstick.rate()
            );
        }
        listener.listen().await?;
        let bytes = (0..cluster.members()).map(|m| bytes(&cluster.data(m))).collect();
        let Listener { snapshots, compactions, .. } = listener;
        Ok(Measured { seconds, busy, calm, yardstick, snapshots, compactions, bytes })
    }

    /// One turn of the cluster that never compacts.
    async fn yardstick(&self, kept: &mut Kept) -> io::Result<()> {
        let place = self.common.data.join("yardstick-turn");
        let never = ["--snapshot-bytes", "18446744073709551615"];
        let cluster = Cluster::start(Kind::Yardstick, &self.common.copycat, &place, &never).await?;
        let mut listener = Listener::new(&cluster).await?;
        let note = |_: Second, took: f64, times: &Times| {
            kept.seconds += took;
            kept.times.add(times).map_err(io::Error::other)
        };
        let watch = async |seen: &_, over: &_| Self::watch(&cluster, &mut listener, (seen, over), note).await;
        self.round().run(&cluster, watch).await?;
        if listener.snapshots + listener.compactions > 0 {
            return Err(io::Error::other("the yardstick took a snapshot"));
        }
        drop(cluster);
        std::fs::remove_dir_all(&place)
    }

    fn text(&self, measured: &Measured) -> String {
        let Measured { seconds, busy, calm, yardstick, snapshots, compactions, bytes } = measured;
        let most = seconds.iter().flat_map(|s| &s.bytes).max().copied().unwrap_or(0) as f64 / 1e6;
        let end = bytes.iter().max().copied().unwrap_or(0) as f64 / 1e6;
        let ratios = |name: &str, of: &Kept| {
            let (rate, p99) = (busy.rate() / of.rate(), busy.quantile(0.99) / of.quantile(0.99).max(1e-9));
            let met = if rate >= WANTED.0 && p99 <= WANTED.1 { "yes" } else { "no" };
            format!("| {name} | {rate:.2} | {p99:.2} | {met} |\n")
        };
        format!(
            "{} puts of {} keys, 256 bytes each, over {} connections that are kept alive, to three servers that compact as they go: \
             {snapshots} snapshots and {compactions} compactions (over all three). A data directory took {most:.0} MB at most and \
             {end:.0} MB in the end; {:.0} MB of values were written. In {} turns with it, the same load on a fresh cluster whose \
             `--snapshot-bytes` are never reached.\n\n\
             ![Rate, 99th percentile and bytes over time](images/compaction.svg)\n\n\
             | seconds | how many | puts/s | p50 ms | p99 ms | longest ms |\n|---|---:|---:|---:|---:|---:|\n{}{}{}\n\
             | while one runs, against | rate | p99 | within {:.2} and {:.0}× |\n|---|---:|---:|---|\n{}{}",
            self.puts,
            self.keys,
            self.clients,
            self.puts as f64 * 256.0 / 1e6,
            self.rounds,
            busy.row("a snapshot or compaction runs at some server"),
            calm.row("none runs"),
            yardstick.row("of the cluster that never compacts"),
            WANTED.0,
            WANTED.1,
            ratios("seconds without", calm),
            ratios("never compacting", yardstick),
        )
    }

    pub async fn run(self) -> io::Result<()> {
        let measured = self.common.run(self.measure()).await?;
        picture::draw(&self.picture, &measured.seconds).map_err(io::Error::other)?;
        eprintln!("drawn: {}", self.picture.display());
        self.common.tell(CURVE, &self.text(&measured))
    }
}
