//! The host: log sink, signals, limits of the process, what happens to the
//! machine, what is remembered.

pub mod addresses;
#[cfg(target_os = "linux")]
pub mod changes;
#[cfg(not(target_os = "linux"))]
#[path = "changes_elsewhere.rs"]
pub mod changes;
pub mod civil;
pub mod control;
pub mod limits;
pub mod log;
#[cfg(feature = "relay")]
pub mod owner;
pub mod signals;
pub mod state;
