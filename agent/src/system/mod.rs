//! The host: log sink, signals, limits of the process.

pub mod limits;
pub mod log;
pub mod signals;
