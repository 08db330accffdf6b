//! How many requests are under way.

use crate::problem::Problem;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The requests under way, of all connections.
#[derive(Debug)]
pub(super) struct Admission {
    limit: usize,
    running: Arc<AtomicUsize>,
}

/// A request's place among them, given back when the last of its copies is gone.
#[derive(Clone, Debug)]
pub(super) struct InFlight(#[expect(dead_code, reason = "kept for its drop")] Arc<Place>);

#[derive(Debug)]
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Admission {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, running: Arc::default() }
    }

    pub(super) fn admit(&self) -> Result<InFlight, Problem> {
        let before = self.running.fetch_add(1, Ordering::Relaxed);
        let place = InFlight(Arc::new(Place(self.running.clone())));
        if before >= self.limit {
            return Err(Problem::overloaded("too many requests are under way").closing());
        }
        Ok(place)
    }
}
