//! The signals that end the program.

use std::io;

use async_signal::{Signal, Signals};
use smol::stream::StreamExt as _;

/// Waits for SIGTERM or SIGINT.
///
/// # Errors
/// When the handlers cannot be installed.
pub async fn wait_for_stop() -> io::Result<()> {
    let mut signals = Signals::new([Signal::Term, Signal::Int])?;
    match signals.next().await {
        Some(signal) => signal.map(drop),
        None => Ok(()),
    }
}
