//! The same load on Copycat, etcd and ZooKeeper, side by side on one machine.

mod client;
mod curve;
mod etcd;
mod events;
mod http1;
mod load;
mod overwrite;
mod picture;
mod report;
mod restart;
mod servers;
mod zookeeper;

use clap::{Args, Parser};
use client::{Operation, Target};
use report::Report;
use servers::{Cluster, Kind};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// Loads on clusters of real processes.
#[derive(Parser)]
enum Comparison {
    /// Copycat, etcd and ZooKeeper: rates, times, CPU, memory, event delivery and fail-over
    Peers(Arguments),
    /// Keys that are overwritten again and again: rates, times and disks while the log is compacted, and where it is not
    Curve(curve::Curve),
    /// From a server's start until it serves: out of a compacted log, and out of all that was ever written
    Restart(restart::Restart),
}

/// What all of them need.
#[derive(Args)]
pub struct Common {
    /// The copycat binary
    #[arg(long)]
    copycat: PathBuf,
    /// Where the servers' data goes; removed at the end
    #[arg(long, default_value = "target/compare-data")]
    data: PathBuf,
    /// Write the Markdown page here, keeping what the others wrote into it
    #[arg(long)]
    write: Option<PathBuf>,
}

#[derive(Args)]
struct Arguments {
    #[command(flatten)]
    common: Common,
    /// The bare axum binary, the yardstick for reads
    #[arg(long)]
    bare: PathBuf,
    /// How many clients at once
    #[arg(long, value_delimiter = ',', default_value = "1,16,64,256")]
    clients: Vec<usize>,
    /// How long each cell takes
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// How often each cell is measured
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Only systems whose name holds one of these
    #[arg(long, value_delimiter = ',')]
    systems: Vec<String>,
    /// Only these: operations whose name holds one of these, `delivery`, `failover`
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Print JSON instead of the table
    #[arg(long)]
    json: bool,
}

impl Arguments {
    fn wants(&self, what: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|o| what.contains(o.as_str()))
    }
}

fn first_line(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or_default().trim().to_string()
}

fn machine(copycat: &std::path::Path) -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|l| l.strip_prefix("model name")).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!(
        "{cores} cores of {}, Linux {}, {}; {}.",
        model.trim_start_matches([' ', '\t', ':']),
        first_line("uname", &["-r"]),
        first_line("date", &["-u", "+%Y-%m-%d"]),
        first_line(&copycat.display().to_string(), &["--version"]),
    )
}

/// Starts what can be started; the rest is told.
async fn start(arguments: &Arguments, report: &mut Report) -> io::Result<(Vec<Target>, BTreeMap<Kind, Cluster>)> {
    let wanted = Target::ALL
        .into_iter()
        .filter(|t| arguments.systems.is_empty() || arguments.systems.iter().any(|s| t.name().contains(s.as_str())));
    let (mut targets, mut clusters, mut missing) = (Vec::new(), BTreeMap::new(), BTreeSet::new());
    for target in wanted {
        let kind = Kind::of(target);
        if let Some(why) = kind.missing(&arguments.common.copycat, &arguments.bare) {
            missing.insert(format!("{kind:?}: {why}"));
            continue;
        }
        let program = if kind == Kind::Bare { &arguments.bare } else { &arguments.common.copycat };
        if let Entry::Vacant(free) = clusters.entry(kind) {
            eprintln!("starting {kind:?}");
            let cluster = Cluster::start(kind, program, &arguments.common.data, &[]).await?;
            if kind != Kind::Bare {
                load::fill(target, &cluster).await?;
            }
            free.insert(cluster);
        }
        targets.push(target);
    }
    report.skipped.extend(missing);
    for skipped in &report.skipped {
        eprintln!("skipped: {skipped}");
    }
    Ok((targets, clusters))
}

async fn measure(arguments: &Arguments, report: &mut Report) -> io::Result<()> {
    let (targets, mut clusters) = start(arguments, report).await?;
    let cluster_of = |clusters: &BTreeMap<Kind, Cluster>, target| clusters.contains_key(&Kind::of(target));
    let cells = Operation::ALL.into_iter().filter(|o| arguments.wants(o.name()));
    let cells: Vec<(Operation, usize)> = cells.flat_map(|o| arguments.clients.iter().map(move |&c| (o, c))).collect();
    for round in 1..=arguments.rounds {
        for &(operation, clients) in &cells {
            // One system after the other, so that whatever else the machine does meets all of them.
            for &target in targets.iter().filter(|&&t| operation.exists(t) && cluster_of(&clusters, t)) {
                let cluster = &clusters[&Kind::of(target)];
                let duration = Duration::from_secs(arguments.seconds);
                let sample = load::run(target, cluster, operation, clients, duration).await?;
                eprintln!(
                    "round {round}: {}, {clients} clients, {}: {:.0}/s, p50 {:.2} ms, p99 {:.2} ms, {:.0} µs",
                    operation.name(),
                    target.name(),
                    sample.rate,
                    sample.p50,
                    sample.p99,
                    sample.cpu
                );
                report.rows.entry((operation, clients, target)).or_default().push(sample);
            }
        }
        for &target in targets.iter().filter(|&&t| !matches!(t, Target::Bare | Target::CopycatLeader)) {
            if arguments.wants("delivery") {
                match events::delivery(target, &clusters[&Kind::of(target)]).await {
                    Ok(times) => report.delivery.entry(target).or_default().push(times),
                    Err(e) => eprintln!("delivery, {}: n/a: {e}", target.name()),
                }
            }
        }
    }
    for &target in targets.iter().filter(|&&t| !matches!(t, Target::Bare | Target::CopycatLeader)) {
        report.memory.insert(target, clusters[&Kind::of(target)].memory());
    }
    // Last, since the members are no longer as they were.
    if arguments.wants("failover") {
        for _ in 0..arguments.rounds.max(5) {
            for &target in
                targets.iter().filter(|&&t| matches!(t, Target::Copycat | Target::EtcdGrpc | Target::ZooKeeper))
            {
                let Some(cluster) = clusters.get_mut(&Kind::of(target)) else { continue };
                match events::failover(target, cluster).await {
                    Ok(outage) => {
                        eprintln!("fail-over, {}: {outage:.2} s", target.name());
                        report.failover.entry(target).or_default().push(outage);
                    }
                    Err(e) => eprintln!("fail-over, {}: {e}", target.name()),
                }
            }
        }
    }
    Ok(())
}

impl Common {
    /// Runs something on an empty directory, and removes that at the end.
    async fn run<T>(&self, what: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        // Of an earlier run, perhaps.
        let _ = std::fs::remove_dir_all(&self.data);
        std::fs::create_dir_all(&self.data)?;
        let done = tokio::select! {
            done = what => done,
            // The clusters are dropped, and so killed.
            _ = tokio::signal::ctrl_c() => Err(io::Error::other("interrupted")),
        };
        std::fs::remove_dir_all(&self.data)?;
        done
    }

    /// What the page holds now.
    fn page(&self) -> String {
        self.write.as_ref().and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default()
    }

    /// Puts one part of the page in place of the older one, or only prints it.
    fn tell(&self, marks: report::Marks, text: &str) -> io::Result<()> {
        println!("{text}");
        let Some(path) = &self.write else { return Ok(()) };
        let page = report::replaced(&self.page(), marks, &format!("\n{}\n\n{text}", machine(&self.copycat)));
        std::fs::write(path, page.ok_or_else(|| io::Error::other(format!("{}: no {}", path.display(), marks[0])))?)
    }
}

async fn peers(arguments: Arguments) -> io::Result<()> {
    let machine = format!("{} {}.", machine(&arguments.common.copycat), first_line("etcd", &["--version"]));
    let mut report = Report { machine, ..Report::default() };
    arguments.common.run(measure(&arguments, &mut report)).await?;
    let page = report.markdown(&arguments.common.page());
    if arguments.json {
        println!("{:#}", report.json());
    } else {
        println!("{page}");
    }
    match &arguments.common.write {
        Some(path) => std::fs::write(path, page),
        None => Ok(()),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    match Comparison::parse() {
        Comparison::Peers(arguments) => peers(arguments).await,
        Comparison::Curve(curve) => curve.run().await,
        Comparison::Restart(restart) => restart.run().await,
    }
}
