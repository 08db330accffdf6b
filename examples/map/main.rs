//! A replicated map whose log is compacted entry by entry: `cargo run --example map`.

// The test that runs it calls `run`.
#![allow(clippy::print_stdout, dead_code, unreachable_pub, missing_docs)]

pub mod machine;
#[path = "../shared/mod.rs"]
mod shared;

use copycat::Consistency;
use futures_util::future::try_join_all;
use machine::{Answer, Command, Map, Query};
use std::error::Error;
use std::time::Duration;

pub async fn run() -> Result<(), Box<dyn Error>> {
    let mut cluster = shared::Three::<Map>::start_on_disk("map")?;
    let client = cluster.client().await?;

    // 100 keys, written 50 times each: of 5,000 entries the log needs 100.
    let put = |i: u64| Command::Put { key: format!("key-{}", i % 100), value: format!("{i}"), ttl_ms: 0 };
    for first in (0..5_000).step_by(500) {
        try_join_all((first..first + 500).map(|i| client.submit(put(i)))).await?;
    }
    let removed = client.submit(Command::Remove { key: "key-7".into() }).await?;
    println!("removed {:?}", removed.output);
    assert_eq!(removed.output.as_deref(), Some("4907"));

    let brief = Command::Put { key: "brief".into(), value: "gone soon".into(), ttl_ms: 200 };
    client.submit(brief).await?;
    let get = |key: &str| Query::Get { key: key.into() };
    while client.query(get("brief"), Consistency::Linearizable).await?.output != Answer::Value(None) {
        async_std::task::sleep(Duration::from_millis(20)).await;
    }
    println!("the brief one is gone by itself");

    for id in 1..=3 {
        cluster.restart(id)?;
        let len = client.query(Query::Len, Consistency::Linearizable).await?.output;
        let same = client.query(get("key-8"), Consistency::Linearizable).await?.output;
        println!("server {id} was started again: {len:?}, key-8 is {same:?}");
        assert_eq!((len, same), (Answer::Len(99), Answer::Value(Some("4908".into()))));
    }
    client.close().await;
    cluster.stop()
}

fn main() -> Result<(), Box<dyn Error>> {
    async_std::task::block_on(run())
}
