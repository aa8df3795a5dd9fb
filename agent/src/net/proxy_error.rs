//! Why there is no way through a proxy, and what its user can do.

use std::fmt;
use std::io;

use super::dial::DialError;
use super::http_proxy::HttpProxyFault;
use super::socket::InWords;
use super::socks5::SocksFault;

/// How credentials are written.
pub(super) const WITH_PASSWORD: &str = "proxy = http:USER:PASSWORD@HOST:PORT";

/// A proxy that does not connect to the relay.
#[derive(Debug)]
pub struct ProxyError {
    /// `HOST:PORT` of the proxy, without credentials.
    pub proxy: String,
    /// What happened.
    pub failure: ProxyFailure,
}

/// What happened at a proxy.
#[derive(Debug)]
#[non_exhaustive]
pub enum ProxyFailure {
    /// It could not be connected to.
    Dial(DialError),
    /// No proxy can be asked for this relay; says why.
    Unaskable(&'static str),
    /// It speaks HTTP, or should.
    Http(HttpProxyFault),
    /// It speaks SOCKS, or should.
    Socks(SocksFault),
    /// It closed the connection instead of answering.
    Closed,
    /// It did not answer in time.
    Timeout,
    /// The connection to it failed.
    Io(io::Error),
}

impl fmt::Display for ProxyError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failure: &dyn fmt::Display = match &self.failure {
            // It names the proxy itself.
            ProxyFailure::Dial(error) => return write!(formatter, "proxy: {error}"),
            ProxyFailure::Unaskable(text) => text,
            ProxyFailure::Http(fault) => fault,
            ProxyFailure::Socks(fault) => fault,
            ProxyFailure::Closed => {
                &"it closed the connection without an answer; is the type of the proxy right, and \
                  may this machine use it?"
            }
            ProxyFailure::Timeout => {
                &"no answer in time; is the type of the proxy right, and the relay up? (Tor: see its log)"
            }
            ProxyFailure::Io(error) => {
                return write!(
                    formatter,
                    "proxy {}: connection lost: {}",
                    self.proxy,
                    InWords(error)
                );
            }
        };
        write!(formatter, "proxy {}: {failure}", self.proxy)
    }
}

impl std::error::Error for ProxyError {}
