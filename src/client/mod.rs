//! The native client.
mod core;
mod error;
pub use error::{Error, Fate, Lost, State};
