//! The signals that end the program, let it read its configuration again, or
//! let it try again without waiting.

use std::io;

use async_signal::{Signal, Signals};
use smol::stream::StreamExt as _;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGHUP.
    Reload,
    /// SIGUSR1: what waits for another try tries now.
    Retry,
}

/// The signals of the process, once they are watched.
#[derive(Debug)]
pub struct Orders(Signals);

impl Orders {
    /// Watches SIGTERM, SIGINT, SIGHUP and SIGUSR1.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub fn watch() -> io::Result<Self> {
        Signals::new([Signal::Term, Signal::Int, Signal::Hup, Signal::Usr1]).map(Self)
    }

    /// Waits for the next one.
    ///
    /// # Errors
    /// When they cannot be read any more.
    pub async fn next(&mut self) -> io::Result<Order> {
        match self.0.next().await {
            Some(Ok(Signal::Hup)) => Ok(Order::Reload),
            Some(Ok(Signal::Usr1)) => Ok(Order::Retry),
            Some(signal) => signal.map(|_| Order::Stop),
            None => Ok(Order::Stop),
        }
    }
}

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
