//! A replicated register: `cargo run --example value`.

// The test that runs it calls `run`.
#![allow(clippy::print_stdout, dead_code, unreachable_pub, missing_docs)]

pub mod machine;
#[path = "../shared/mod.rs"]
mod shared;

use copycat::Consistency;
use machine::Register;
use std::error::Error;

pub async fn run() -> Result<(), Box<dyn Error>> {
    let cluster = shared::Three::<Register>::start()?;
    let client = cluster.client().await?;

    client.submit("blue".to_string()).await?;
    let before = client.submit("green".to_string()).await?;
    println!("entry {}: green in place of {:?}", before.index, before.output);
    assert_eq!(before.output.as_deref(), Some("blue"));

    for consistency in [Consistency::Linearizable, Consistency::Lease, Consistency::Sequential] {
        let answer = client.query((), consistency).await?;
        println!("{consistency:?}: {:?}, as of entry {}", answer.output, answer.index);
        assert_eq!(answer.output.as_deref(), Some("green"));
    }
    client.close().await;
    cluster.stop()
}

fn main() -> Result<(), Box<dyn Error>> {
    async_std::task::block_on(run())
}
