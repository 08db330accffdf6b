//! What Copycat's tests share. It depends on nothing of Copycat, so that it cannot share its mistakes.

pub mod http;
pub mod linearizability;
mod mutator;
pub mod proxy;
mod rng;

pub use mutator::Mutator;
pub use rng::Rng;
