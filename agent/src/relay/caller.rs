//! Whoever has connected to the relay: how, from where, and what is known of
//! what they want.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use super::guest::Guest;
use crate::net::Connection;

/// A connection that somebody opened to the relay.
pub(super) struct Caller {
    pub(super) connection: Connection,
    pub(super) from: From,
    /// Its place among all connections.
    pub(super) guest: Guest,
}

/// Where a connection comes from and how. It is what the agent is told of a
/// visitor.
#[derive(Clone, Debug)]
pub(super) struct From {
    /// The other end; an IPv4 address is one even if it came by an IPv6 socket.
    pub(super) peer: SocketAddr,
    /// Our end, for the error page.
    pub(super) local: IpAddr,
    /// The port that was connected to, as the world knows it.
    pub(super) port: u16,
    /// TLS ends here.
    pub(super) tls: bool,
    /// The name that TLS was asked for.
    pub(super) tls_name: Option<Rc<str>>,
    /// The name of a CONNECT that led here.
    pub(super) named: Option<Rc<str>>,
}

/// The address without what IPv6 wraps around IPv4.
pub(super) fn plain_address(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
