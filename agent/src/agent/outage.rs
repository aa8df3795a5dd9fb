//! Why there is no tunnel now, in words.

use std::fmt;
use std::io;

use super::backoff::Failure;
use crate::net::OpenError;
use crate::tunnel::TunnelEnd;
use crate::wire::WireError;

/// Why there is no tunnel now.
pub(super) enum Outage {
    Open(OpenError),
    Lost(io::Error),
    Closed,
    Timeout,
    Protocol(WireError),
    /// The relay turned the whole request away.
    Status(u16),
    /// The relay took none of the kites.
    Refused(Failure),
    /// The tunnel was lost.
    Ended(TunnelEnd),
    /// Something changed that makes this try pointless.
    Outdated,
}

impl Outage {
    pub(super) fn failure(&self) -> Failure {
        match self {
            Self::Refused(failure) => *failure,
            Self::Status(_) => Failure::Refused,
            _ => Failure::Network,
        }
    }
}

impl fmt::Display for Outage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(error) => write!(formatter, "{error}"),
            Self::Lost(error) => write!(formatter, "the connection was lost: {error}"),
            Self::Closed => formatter.write_str("it closed the connection instead of answering"),
            Self::Timeout => formatter.write_str("it accepted the connection and does not answer"),
            Self::Protocol(error) => write!(formatter, "it sent {error}; is it a PageKite relay?"),
            Self::Status(403) => formatter.write_str(
                "it turned this agent away (HTTP 403): this address is not let in, or too many \
                 kites from here were refused",
            ),
            Self::Status(503) => formatter.write_str("it turned this agent away (HTTP 503)"),
            Self::Status(status) => write!(
                formatter,
                "it answers like a web server (HTTP {status}), not like a PageKite relay; is the \
                 port right?"
            ),
            Self::Refused(_) => formatter.write_str("it took none of the kites"),
            Self::Ended(end) => formatter.write_str(&end.told_of("relay")),
            Self::Outdated => formatter.write_str("the network has changed; trying anew"),
        }
    }
}
