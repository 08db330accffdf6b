//! A replicated counter whose servers keep snapshots, not history: `cargo run --example counter`.

// The test that runs it calls `run`.
#![allow(clippy::print_stdout, dead_code, unreachable_pub, missing_docs)]

pub mod machine;
#[path = "../shared/mod.rs"]
mod shared;

use copycat::Consistency;
use futures_util::future::try_join_all;
use machine::Counter;
use std::error::Error;

/// How many commands are on their way at once; more than 1,024 wait for room, in whatever order.
const AT_ONCE: i64 = 500;
/// Enough for several snapshots.
const ADDED: i64 = 10 * AT_ONCE;

pub async fn run() -> Result<(), Box<dyn Error>> {
    let mut cluster = shared::Three::<Counter>::start_on_disk("counter")?;
    let client = cluster.client().await?;

    // The commands of one client are applied in the order of their submission, each once, however many are on their way.
    for before in (0..ADDED).step_by(500) {
        let answers = try_join_all((0..AT_ONCE).map(|_| client.submit(1))).await?;
        assert!(answers.iter().map(|answer| answer.output).eq(before + 1..=before + AT_ONCE));
    }
    println!("{ADDED} commands, the answer to each is one more than that before");

    // A server comes back from its snapshot and what is left of its log.
    for id in 1..=3 {
        cluster.restart(id)?;
        let count = client.query((), Consistency::Linearizable).await?.output;
        println!("server {id} was started again, and the count is {count}");
        assert_eq!(count, ADDED);
    }
    client.close().await;
    cluster.stop()
}

fn main() -> Result<(), Box<dyn Error>> {
    async_std::task::block_on(run())
}
