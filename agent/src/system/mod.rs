//! The host: log sink, signals, limits of the process.

pub mod civil;
pub mod limits;
pub mod log;
pub mod signals;
