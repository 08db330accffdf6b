//! What Copycat's tests share. It depends on nothing of Copycat, so that it cannot share its mistakes.

pub mod http;
pub mod linearizability;
pub mod proxy;
mod rng;

pub use rng::Rng;
