//! The host: log sink, signals, limits of the process.

pub mod addresses;
pub mod civil;
pub mod limits;
pub mod log;
#[cfg(feature = "relay")]
pub mod owner;
pub mod signals;
