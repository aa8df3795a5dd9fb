//! Which addresses this machine has, asked of the kernel by what it lets a
//! socket do: no permission and no netlink is needed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Whether `address` is one of this machine's now.
pub fn has_address(address: IpAddr) -> bool {
    match UdpSocket::bind((address, 0)) {
        Ok(_) => true,
        Err(error) => error.kind() != std::io::ErrorKind::AddrNotAvailable,
    }
}

/// The address that packets to `to` would leave from; `None` when no route
/// leads there. Nothing is sent (connect(2) of a datagram socket).
pub fn source_address(to: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr =
        if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(to).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_reached_from_loopback() {
        let loopback = IpAddr::from([127, 0, 0, 1]);
        assert_eq!(source_address((loopback, 443).into()), Some(loopback));
    }

    #[test]
    fn loopback_is_ours_and_a_documentation_address_is_not() {
        assert!(has_address([127, 0, 0, 1].into()));
        assert!(!has_address([192, 0, 2, 77].into()));
    }
}
