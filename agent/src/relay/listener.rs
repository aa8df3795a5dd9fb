//! The ports of the relay: binds them, and takes connections in as far as there
//! are descriptors for them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use async_io::{Async, Timer};
use log::warn;

use crate::config::RelaySettings;
use crate::wire::KiteId;

/// Connections that the kernel holds for a port until they are taken in: a
/// thousand agents that come back at once must not wait for a second try.
const BACKLOG: i32 = 4096;
/// Pause after the process has run out of descriptors or memory.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// What a port is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Purpose {
    /// Where to listen.
    pub(super) address: SocketAddr,
    /// The port as agents and visitors know it.
    pub(super) public_port: u16,
    /// The one kite that it leads to, on a port for raw connections.
    pub(super) kite: Option<KiteId>,
}

/// The ports that `settings` asks for.
pub(super) fn purposes(settings: &RelaySettings) -> Vec<Purpose> {
    let any = [IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
    let hosts = if settings.hosts.is_empty() { &any[..] } else { &settings.hosts[..] };
    let mut purposes = Vec::new();
    for &host in hosts {
        for &port in &settings.ports {
            let aliased = settings.port_aliases.iter().find(|(heard, _)| *heard == port);
            let public_port = aliased.map_or(port, |&(_, told)| told);
            let address = SocketAddr::new(host, port);
            purposes.push(Purpose { address, public_port, kite: None });
        }
        for (port, kite) in &settings.raw_ports.dedicated {
            let address = SocketAddr::new(host, *port);
            let public_port = kite.port().unwrap_or(*port);
            purposes.push(Purpose { address, public_port, kite: Some(kite.clone()) });
        }
    }
    purposes
}

/// Binds a port; every address of the machine is IPv6 and IPv4, or IPv4 alone
/// where the kernel knows no IPv6.
///
/// # Errors
/// Names the address and says what can be done.
pub(super) fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    let bound = TcpListener::bind(address).or_else(|error| {
        let is_any = address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        let no_ipv6 =
            matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::AddrNotAvailable)
                || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error());
        if is_any && no_ipv6 {
            return TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port()));
        }
        Err(error)
    });
    let listener = bound.map_err(|error| BindError { address, error })?;
    // The standard library's own backlog is 128.
    let deeper = rustix::net::listen(&listener, BACKLOG);
    deeper.map_err(|error| BindError { address, error: error.into() })?;
    Ok(listener)
}

/// Why a port cannot be listened on.
#[derive(Debug)]
pub struct BindError {
    address: SocketAddr,
    error: io::Error,
}

impl std::fmt::Display for BindError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { address, error } = self;
        match error.kind() {
            io::ErrorKind::AddrInUse => write!(
                formatter,
                "port {} is in use by another program ({address}); stop that one, or name other \
                 ports (ports = ...)",
                address.port()
            ),
            io::ErrorKind::PermissionDenied => write!(
                formatter,
                "this user may not listen on port {}; start as root with runas = USER, or give the \
                 program CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities=CAP_NET_BIND_SERVICE)",
                address.port()
            ),
            io::ErrorKind::AddrNotAvailable => write!(
                formatter,
                "cannot listen on {address}: {error}; host = {} is no address of this machine",
                address.ip()
            ),
            _ => write!(formatter, "cannot listen on {address}: {error}"),
        }
    }
}

impl std::error::Error for BindError {}

/// Takes connections in for ever, and hands each to `take`.
pub(super) async fn accept(
    listener: &Async<TcpListener>,
    mut take: impl FnMut(Async<TcpStream>, SocketAddr),
) {
    let mut complains = true;
    loop {
        match listener.accept().await {
            Ok((socket, peer)) => {
                complains = true;
                take(socket, peer);
            }
            Err(error) if is_passing(&error) => {}
            Err(error) => {
                if std::mem::take(&mut complains) {
                    warn!("connections have to wait: {error}");
                }
                Timer::after(EXHAUSTED_PAUSE).await;
            }
        }
    }
}

/// Errors of accept(2) that concern one connection only.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::TimedOut
    )
}
