//! Why there is no connection to a relay, and what its owner can do: this is
//! the text that stands in the log when a tunnel does not come up.

use std::fmt;
use std::io;

use super::certificate::CertificateProblem;
use super::dial::DialError;
use super::handshake::HandshakeError;
use super::proxy_error::ProxyError;
use super::resolve::ResolveError;
use super::socket::{InWords, printable};
use super::websocket::UpgradeError;
use crate::config::RelayAddress;

/// A relay that could not be connected to.
#[derive(Debug)]
pub struct OpenError {
    /// The relay.
    pub relay: RelayAddress,
    /// Whether `fe_certname` says which certificate is expected; where it does
    /// not, the text mentions it.
    pub has_names: bool,
    /// What happened.
    pub failure: OpenFailure,
}

/// What happened on the way to a relay.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenFailure {
    /// Its name could not be looked up.
    Resolve(ResolveError),
    /// No TCP connection came about.
    Dial(DialError),
    /// The proxy on the way does not connect to it.
    Proxy(Box<ProxyError>),
    /// It is an onion service, and no proxy is set.
    Onion,
    /// Its name is none that a certificate can carry.
    Name,
    /// It refused the `CONNECT` in clear with this status: it has no
    /// certificate for that name, or it is a web server.
    ConnectRefused {
        /// The name that was asked for.
        name: String,
        /// HTTP status code.
        status: u16,
        /// The words beside it.
        reason: String,
    },
    /// Its answer to the `CONNECT` in clear was not HTTP or too long.
    ConnectGarbled,
    /// It closed the connection instead of answering the `CONNECT` in clear.
    ConnectClosed,
    /// It refused TLS with this alert.
    Alert(String),
    /// It closed the connection during the TLS handshake.
    Closed,
    /// It answered in something else than TLS; whether that was HTTP.
    NotTls {
        /// The answer began as an HTTP response does.
        http: bool,
    },
    /// Its certificate is not accepted.
    Certificate(Box<CertificateProblem>),
    /// It and we have no TLS in common, or it broke the protocol.
    Tls(String),
    /// It opened no WebSocket.
    WebSocket(UpgradeError),
    /// It did not answer in time.
    Timeout(OpenStep),
    /// The connection failed.
    Io(io::Error),
}

/// What was being waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenStep {
    /// The answer to the `CONNECT` in clear.
    Connect,
    /// The TLS handshake.
    Tls,
    /// The answer to the request for a WebSocket.
    WebSocket,
}

impl OpenError {
    /// Whether the relay may want to be told the name of its certificate in
    /// clear before TLS: it refused or closed the connection when TLS began.
    pub fn suggests_clear_connect(&self) -> bool {
        matches!(self.failure, OpenFailure::Alert(_) | OpenFailure::Closed)
    }
}

impl OpenFailure {
    /// Whether the way in with TLS itself failed, which another configuration
    /// may mend.
    fn concerns_tls(&self) -> bool {
        matches!(
            self,
            Self::Alert(_)
                | Self::Closed
                | Self::NotTls { .. }
                | Self::Certificate(_)
                | Self::Tls(_)
                | Self::Timeout(OpenStep::Tls)
        )
    }
}

impl From<HandshakeError> for OpenFailure {
    fn from(error: HandshakeError) -> Self {
        match error {
            HandshakeError::Closed => Self::Closed,
            HandshakeError::Alert(alert) => Self::Alert(alert),
            HandshakeError::NotTls { http } => Self::NotTls { http },
            HandshakeError::Certificate(problem) => Self::Certificate(problem),
            HandshakeError::Protocol(text) => Self::Tls(text),
            HandshakeError::Io(error) => Self::Io(error),
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RelayAddress { host, port } = &self.relay;
        match &self.failure {
            // These name the host themselves.
            OpenFailure::Resolve(_) | OpenFailure::Dial(_) => {
                return write!(formatter, "relay: {}", self.failure);
            }
            failure => {
                let host = printable(host, 253);
                let (open, close) = match host.contains(':') {
                    true => ("[", "]"),
                    false => ("", ""),
                };
                write!(formatter, "relay {open}{host}{close}:{port}: {failure}")?;
            }
        }
        match &self.failure {
            OpenFailure::Certificate(_) if !self.has_names => formatter.write_str(
                ". Neither fe_certname nor nossl is set, so TLS to the relay's own name is wanted",
            ),
            OpenFailure::NotTls { .. } => formatter.write_str(WAYS_OUT),
            failure if failure.concerns_tls() && !self.has_names => formatter.write_str(WAYS_OUT),
            _ => Ok(()),
        }
    }
}

/// Both options that may be missing where TLS does not come up.
const WAYS_OUT: &str = ". Set fe_certname to the name in the relay's certificate, \
     or nossl if the relay has no TLS (nothing is encrypted then)";

impl fmt::Display for OpenFailure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve(error) => error.fmt(formatter),
            Self::Dial(error) => error.fmt(formatter),
            Self::Proxy(error) => error.fmt(formatter),
            Self::Onion => {
                formatter.write_str("it is reached through Tor only; write torify = 127.0.0.1:9050")
            }
            Self::Name => formatter.write_str(
                "no certificate can be for such a name; set fe_certname to the one it has",
            ),
            Self::ConnectRefused {
                status: status @ (200..=399 | 400 | 404 | 405 | 421 | 426 | 501),
                reason,
                ..
            } => write!(
                formatter,
                "a web server answered, not a relay ({status} {reason}); is the port right?"
            ),
            Self::ConnectRefused { name, status, reason } => write!(
                formatter,
                "it has no certificate for {name} ({status} {reason}); \
                 set fe_certname to a name it has one for"
            ),
            Self::ConnectGarbled => {
                formatter.write_str("the answer to CONNECT was not HTTP; is it a PageKite relay?")
            }
            Self::ConnectClosed => formatter
                .write_str("the connection was closed after CONNECT; is it a PageKite relay?"),
            Self::Alert(alert) => write!(formatter, "TLS was refused ({alert})"),
            Self::Closed => formatter.write_str("the connection was closed when TLS began"),
            Self::NotTls { http: true } => formatter.write_str("this port speaks HTTP without TLS"),
            Self::NotTls { http: false } => formatter.write_str("this port does not speak TLS"),
            Self::Certificate(problem) => problem.fmt(formatter),
            Self::Tls(text) => write!(formatter, "TLS failed: {text}"),
            Self::Timeout(OpenStep::Connect) => formatter.write_str("no answer to CONNECT in time"),
            Self::Timeout(OpenStep::Tls) => formatter.write_str("no answer to TLS in time"),
            Self::WebSocket(error) => error.fmt(formatter),
            Self::Timeout(OpenStep::WebSocket) => formatter.write_str(
                "no answer to the WebSocket request in time; is it a Kitelet relay? Remove \
                 wschunks if this network lets ordinary tunnels through",
            ),
            Self::Io(error) => write!(formatter, "connection lost: {}", InWords(error)),
        }
    }
}

impl std::error::Error for OpenError {}
