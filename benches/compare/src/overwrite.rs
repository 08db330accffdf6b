//! Puts of the same few keys again and again, over many connections that are kept alive, until so many are done.

use crate::client::expect;
use crate::http1::Http;
use crate::servers::Cluster;
use hdrhistogram::Histogram;
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Instant;
use tokio::task::{JoinSet, LocalSet};

/// Which puts.
#[derive(Clone, Copy)]
pub struct Puts {
    pub count: u64,
    pub keys: u64,
    /// Bytes of a value.
    pub value: usize,
    /// Connections, spread over the members.
    pub clients: usize,
}

/// The times of puts, microseconds.
pub type Times = Histogram<u64>;

pub fn times() -> io::Result<Times> {
    Histogram::new_with_bounds(1, 60_000_000, 3).map_err(io::Error::other)
}

impl Puts {
    /// Makes them all. `watch` runs beside them, is handed the times so far, which it may take, and ends when it is told
    /// that they are over.
    pub async fn run<T>(
        self,
        cluster: &Cluster,
        watch: impl AsyncFnOnce(&RefCell<Times>, &Cell<bool>) -> io::Result<T>,
    ) -> io::Result<T> {
        let (taken, over) = (Rc::new(Cell::new(0)), Cell::new(false));
        let seen = Rc::new(RefCell::new(times()?));
        let load = async {
            let mut all: JoinSet<io::Result<()>> = JoinSet::new();
            for client in 0..self.clients {
                let (taken, seen) = (taken.clone(), seen.clone());
                let address = cluster.kind.address(client % cluster.members());
                all.spawn_local(async move {
                    let mut http = Http::new(&address);
                    loop {
                        let n = taken.replace(taken.get() + 1);
                        if n >= self.count {
                            return Ok(());
                        }
                        // Every value is another one: nothing can be told to be the same.
                        let value = format!("{n:0width$}", width = self.value);
                        let begin = Instant::now();
                        expect(
                            &http
                                .call("PUT", &format!("/v1/kv?key=over/{:07}", n % self.keys), value.as_bytes())
                                .await?,
                        )?;
                        let took = u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX);
                        seen.borrow_mut().saturating_record(took);
                    }
                });
            }
            let ended = all.join_all().await.into_iter().collect::<io::Result<()>>();
            over.set(true);
            ended
        };
        let (ended, watched) = LocalSet::new().run_until(async { tokio::join!(load, watch(&seen, &over)) }).await;
        ended?;
        watched
    }
}
