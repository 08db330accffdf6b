//! hyper's timer. It has one use on the server's side, the time limit of a header block; without a timer that limit is
//! silently off. A timer of the runtime would be made, registered and taken back once a request, which wakes the reactor
//! each time; this one sets a number that the ticker looks at.

use super::watch::Watched;
use hyper::rt::{Sleep, Timer};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

pub(super) struct HeadTimer(pub(super) Arc<Watched>);

impl Timer for HeadTimer {
    fn sleep(&self, _: Duration) -> Pin<Box<dyn Sleep>> {
        self.0.await_head();
        Box::pin(HeadSleep(self.0.clone()))
    }

    fn sleep_until(&self, _: Instant) -> Pin<Box<dyn Sleep>> {
        self.sleep(Duration::ZERO)
    }

    fn reset(&self, _: &mut Pin<Box<dyn Sleep>>, _: Instant) {
        self.0.await_head();
    }
}

struct HeadSleep(Arc<Watched>);

impl Future for HeadSleep {
    type Output = ();

    /// The ticker wakes the whole connection, so there is no waker to keep.
    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if self.0.passed(&self.0.head) { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Sleep for HeadSleep {}

impl Drop for HeadSleep {
    fn drop(&mut self) {
        self.0.head.clear();
    }
}
