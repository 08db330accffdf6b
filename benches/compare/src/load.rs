//! One cell of the table: some clients, one operation, some seconds.

use crate::client::{Client, KEYS, Operation, Target, key};
use crate::servers::{Cluster, MEMBERS, machine_cpu, own_cpu};
use hdrhistogram::Histogram;
use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::task::{JoinSet, LocalSet};

/// What one run of a cell showed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    pub rate: f64,
    /// Milliseconds.
    pub p50: f64,
    pub p99: f64,
    /// Microseconds of CPU an operation, over all servers.
    pub cpu: f64,
    /// The share of the machine that neither the servers nor this tool used.
    pub others: f64,
}

const WARM_UP: Duration = Duration::from_millis(400);

/// SplitMix64 (Steele, Lea, Flood 2014).
fn draw(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Where each client goes: spread over the members, or all to the leader.
pub async fn addresses(target: Target, cluster: &Cluster, clients: usize) -> io::Result<Vec<String>> {
    if matches!(target, Target::CopycatLeader | Target::CopycatNative | Target::Bare) {
        let leader = cluster.leader().await?;
        return Ok(vec![cluster.kind.address(leader); clients]);
    }
    if clients == 1 {
        // One client is a client of the leader: with all systems alike.
        return Ok(vec![cluster.kind.address(cluster.leader().await?)]);
    }
    Ok((0..clients).map(|i| cluster.kind.address(i % MEMBERS)).collect())
}

/// Writes every key once.
pub async fn fill(target: Target, cluster: &Cluster) -> io::Result<()> {
    let next = Rc::new(Cell::new(0));
    let writers = addresses(target, cluster, 32).await?;
    LocalSet::new()
        .run_until(async {
            let mut all = JoinSet::new();
            for address in writers {
                let next = next.clone();
                all.spawn_local(async move {
                    let mut client = Client::connect(target, &address).await?;
                    loop {
                        let n = next.replace(next.get() + 1);
                        if n >= KEYS {
                            return Ok(());
                        }
                        client.create(&key(n)).await?;
                    }
                });
            }
            all.join_all().await.into_iter().collect()
        })
        .await
}

pub async fn run(
    target: Target,
    cluster: &Cluster,
    operation: Operation,
    clients: usize,
    duration: Duration,
) -> io::Result<Sample> {
    let addresses = addresses(target, cluster, clients).await?;
    let (counting, over) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(false)));
    LocalSet::new()
        .run_until(async {
            let mut all: JoinSet<io::Result<Histogram<u64>>> = JoinSet::new();
            let shared = match target {
                Target::CopycatNative => Some(Client::connect(target, &addresses[0]).await?),
                _ => None,
            };
            for (number, address) in addresses.into_iter().enumerate() {
                let (counting, over) = (counting.clone(), over.clone());
                let shared = shared.as_ref().and_then(Client::share);
                all.spawn_local(async move {
                    let mut client = match shared {
                        Some(client) => client,
                        None => Client::connect(target, &address).await?,
                    };
                    let mut times = Histogram::new_with_bounds(1, 60_000_000, 3).map_err(io::Error::other)?;
                    let mut random = number as u64 + 1;
                    while !over.get() {
                        let begin = Instant::now();
                        client.run(operation, draw(&mut random)).await?;
                        if counting.get() {
                            times.saturating_record(u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX));
                        }
                    }
                    Ok(times)
                });
            }
            tokio::time::sleep(WARM_UP).await;
            let (servers, own, machine, begin) = (cluster.cpu(), own_cpu(), machine_cpu(), Instant::now());
            counting.set(true);
            tokio::time::sleep(duration).await;
            counting.set(false);
            let took = begin.elapsed();
            let used = cluster.cpu() - servers;
            let others = (machine_cpu() - machine).saturating_sub(used + own_cpu() - own);
            over.set(true);
            let mut times: Histogram<u64> = Histogram::new_with_bounds(1, 60_000_000, 3).map_err(io::Error::other)?;
            for one in all.join_all().await {
                times.add(one?).map_err(io::Error::other)?;
            }
            let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
            let count = times.len().max(1) as f64;
            Ok(Sample {
                rate: times.len() as f64 / took.as_secs_f64(),
                p50: times.value_at_quantile(0.5) as f64 / 1000.0,
                p99: times.value_at_quantile(0.99) as f64 / 1000.0,
                cpu: used as f64 / count,
                others: others as f64 / (took.as_micros() as f64 * cores),
            })
        })
        .await
}
