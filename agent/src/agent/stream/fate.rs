//! Why a stream ends before both directions are done, for the log.

use std::fmt;
use std::io;

use crate::agent::answer::Refusal;

/// Why a stream ends before both directions are done.
#[derive(Debug)]
pub(super) enum Fate {
    /// It was half-closed and idle for too long.
    Abandoned,
    /// Its service takes nothing while the buffers are full.
    Overrun,
    /// The request is not passed on.
    Refused(Refusal),
    /// The service's connection broke.
    Broken(io::Error),
    /// Nobody serves this.
    Unserved(String),
}

impl fmt::Display for Fate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Abandoned => formatter.write_str("half-closed and idle for two minutes"),
            Self::Overrun => formatter.write_str(
                "closed: the service takes nothing and the buffers are full (setting buffers)",
            ),
            Self::Refused(refusal) => write!(formatter, "refused: {refusal}"),
            Self::Broken(error) => write!(formatter, "the service's connection broke: {error}"),
            Self::Unserved(why) => write!(formatter, "not served: {why}"),
        }
    }
}
