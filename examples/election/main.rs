//! A leader election on sessions and their events: `cargo run --example election`.

// The test that runs it calls `run`.
#![allow(clippy::print_stdout, dead_code, unreachable_pub, missing_docs)]

pub mod machine;
#[path = "../shared/mod.rs"]
mod shared;

use copycat::Consistency;
use machine::{Command, Elected, Election};
use std::error::Error;

pub async fn run() -> Result<(), Box<dyn Error>> {
    let cluster = shared::Three::<Election>::start()?;
    let (first, second) = (cluster.client().await?, cluster.client().await?);
    let (mut of_first, mut of_second) = (first.events(), second.events());

    first.submit(Command::Stand).await?;
    second.submit(Command::Stand).await?;
    let Elected { epoch } = of_first.next().await.ok_or("no event")?.event;
    println!("session {:?} leads in epoch {epoch}", first.session());

    // Its end is the end of its office: the next one is told.
    first.close().await;
    let Elected { epoch: next } = of_second.next().await.ok_or("no event")?.event;
    println!("session {:?} leads in epoch {next}", second.session());
    assert!(next > epoch);

    let leader = second.query((), Consistency::Linearizable).await?.output;
    assert_eq!(leader, second.session().map(|session| (session, next)));
    second.close().await;
    cluster.stop()
}

fn main() -> Result<(), Box<dyn Error>> {
    async_std::task::block_on(run())
}
