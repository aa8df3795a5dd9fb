//! Where the system is not Linux, nothing of the machine is watched: a dead
//! tunnel is found out by its heartbeat.

use std::convert::Infallible;
use std::fmt;

/// What happened: nothing ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "as in the module for Linux")]
pub enum Change {
    Network,
    Resolver,
    ClockSet,
    Resumed,
}

impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("this machine changed")
    }
}

/// Watches nothing.
#[derive(Debug)]
pub struct Changes(());

impl Changes {
    /// Begins to.
    pub fn watch() -> Self {
        Self(())
    }

    /// Waits for ever.
    pub async fn next(&mut self) -> Change {
        match std::future::pending::<Infallible>().await {}
    }
}
